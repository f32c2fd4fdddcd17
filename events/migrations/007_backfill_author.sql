-- migrate:up
-- In pages of the table, each committed: writers wait for 100 pages at most. It may be repeated, and goes on where it stopped.
DO $$
DECLARE page bigint := 0;
BEGIN
  WHILE page * current_setting('block_size')::bigint < pg_relation_size('articles') LOOP
    UPDATE articles SET author_id = (SELECT min(id) FROM authors)
      WHERE author_id IS NULL AND ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + 100)::tid;
    COMMIT;
    page := page + 100;
  END LOOP;
END $$;

-- migrate:down
-- nothing: 006 takes the column back
