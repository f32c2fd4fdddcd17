import type { Node } from 'libpg-query';
import { Incompatible } from '../errors.ts';
import type { SqlSession } from './session.ts';

/** Indexes that a build or a drop left half done: writes keep them up, and no search uses them. */

export interface InvalidIndex {
  /** As SQL writes it: `public.articles_embedding_hnsw`. */
  readonly name: string;
  readonly schema: string;
  readonly table: string;
}

/** Those that nobody is building at the moment. */
export async function invalidIndexes(session: SqlSession): Promise<readonly InvalidIndex[]> {
  const rows = await session.rows(`
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, n.nspname::text AS schema,
      i.indrelid::regclass::text AS "table"
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relkind = 'i'
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
    ORDER BY 1`);
  return rows.map(({ name, schema, table }) => ({ name: name ?? '', schema: schema ?? '', table: table ?? '' }));
}

/**
 * Drops those of `found` that this CREATE INDEX or REINDEX has left. @returns their names
 * @throws Incompatible where the statement names no schema, and several hold such an index: only a person knows which one is meant.
 */
export async function dropInvalid(
  session: SqlSession,
  node: Node,
  found: readonly InvalidIndex[],
): Promise<readonly string[]> {
  const left = found.filter((index) => isLeftBy(node, index));
  if ('IndexStmt' in node && new Set(left.map(({ schema }) => schema)).size > 1) {
    const names = left.map(({ name }) => name);
    const how = 'drop the one that the statement has left with DROP INDEX CONCURRENTLY, and say the same again';
    throw new Incompatible(`${names.join(' and ')} are not valid, and the statement names no schema; ${how}`, {
      ids: names,
    });
  }
  for (const { name } of left) await session.run(`DROP INDEX CONCURRENTLY ${name}`);
  return left.map(({ name }) => name);
}

function isLeftBy(node: Node, { name, schema, table }: InvalidIndex): boolean {
  // The new index beside the old one, or the old one after their change: postgresql.org/docs/current/sql-reindex.html
  if ('ReindexStmt' in node) return /_cc(new|old)\d*$/.test(lastPart(name));
  if (!('IndexStmt' in node)) return false;
  const { idxname, relation } = node.IndexStmt;
  if (relation?.schemaname !== undefined && relation.schemaname !== schema) return false;
  return idxname === undefined ? lastPart(table) === relation?.relname : lastPart(name) === idxname;
}

/** The last name of `schema.name`, without its quotes. */
function lastPart(name: string): string {
  const match = /(?:"((?:[^"]|"")*)"|([^".]+))$/.exec(name);
  return match?.[1]?.replaceAll('""', '"') ?? match?.[2] ?? name;
}
