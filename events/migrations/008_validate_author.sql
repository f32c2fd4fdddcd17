-- migrate:up
ALTER TABLE articles VALIDATE CONSTRAINT articles_author;

-- migrate:down
-- what 006 takes back goes with it
