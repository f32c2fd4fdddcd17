import type { SqlSession } from './session.ts';

/** Indexes that a build or a drop left half done: writes keep them up, and no search uses them. */

export interface InvalidIndex {
  /** As SQL writes it: `public.articles_embedding_hnsw`. */
  readonly name: string;
  readonly table: string;
}

/** Those that nobody is building at the moment. */
export async function invalidIndexes(session: SqlSession): Promise<readonly InvalidIndex[]> {
  const rows = await session.rows(`
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, i.indrelid::regclass::text AS "table"
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relkind = 'i'
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
    ORDER BY 1`);
  return rows.map(({ name, table }) => ({ name: name ?? '', table: table ?? '' }));
}
