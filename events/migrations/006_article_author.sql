-- migrate:up
-- NOT VALID: new rows are held to it from now on, and the table is not read under a lock; 008 reads it.
ALTER TABLE articles ADD COLUMN author_id bigint;
ALTER TABLE articles ADD CONSTRAINT articles_author FOREIGN KEY (author_id) REFERENCES authors (id) NOT VALID;

-- migrate:down
ALTER TABLE articles DROP CONSTRAINT articles_author;
ALTER TABLE articles DROP COLUMN author_id;
