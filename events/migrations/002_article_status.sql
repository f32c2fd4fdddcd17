-- migrate:up
CREATE TYPE article_status AS ENUM ('draft', 'published');
ALTER TABLE articles ADD COLUMN status article_status NOT NULL DEFAULT 'draft';

-- migrate:down
ALTER TABLE articles DROP COLUMN status;
DROP TYPE article_status;
