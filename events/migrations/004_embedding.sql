-- migrate:up
CREATE EXTENSION IF NOT EXISTS vector;
ALTER TABLE articles ADD COLUMN embedding vector(8);

-- migrate:down
-- the extension stays: others may use it
ALTER TABLE articles DROP COLUMN embedding;
