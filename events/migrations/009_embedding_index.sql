-- migrate:up
-- Concurrently, so by itself: no transaction can hold it, and readers and writers go on.
SET maintenance_work_mem = '256MB';
CREATE INDEX CONCURRENTLY articles_embedding ON articles USING hnsw (embedding vector_cosine_ops);

-- migrate:down
DROP INDEX CONCURRENTLY articles_embedding;
