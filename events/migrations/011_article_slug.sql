-- migrate:up
ALTER TABLE articles ADD COLUMN slug text;
CREATE VIEW published_articles AS SELECT id, title, slug FROM articles WHERE status = 'published';

-- migrate:down
DROP VIEW published_articles;
ALTER TABLE articles DROP COLUMN slug;
