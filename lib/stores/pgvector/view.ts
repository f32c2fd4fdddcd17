import { Incompatible } from '../../errors.ts';
import type { Pointer } from '../port.ts';
import type { Database, Session } from './connect.ts';
import { serverError } from './errors.ts';
import { findTable, parseTableName, quoteName, quoteTable, quoteText, requireTable } from './names.ts';

/** The pointer that readers follow: a view, `SELECT * FROM` the collection, replaced in one transaction. */

const commentPrefix = 'vecferry stands for ';

export function viewPointer(
  database: Database,
  guard: <T>(doing: string, work: () => Promise<T>) => Promise<T>,
): Pointer {
  return {
    read: async (name) =>
      await guard(
        `reading view ${name}`,
        async () => await database.use(async (session) => await readView(session, name)),
      ),
    move: async (name, collection) =>
      await guard(
        `moving view ${name}`,
        async () => await database.transact(async (session) => await moveView(session, name, collection)),
      ),
  };
}

async function readView(session: Session, name: string): Promise<string | undefined> {
  const oid = await findView(session, name);
  if (oid === undefined) return undefined;
  // The view's rule depends on each table it reads (manual, pg_depend and pg_rewrite).
  const tables = await session.rows(
    `SELECT DISTINCT c.oid::text AS oid, n.nspname::text AS schema, c.relname::text AS name
     FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE r.ev_class = $1::oid AND c.oid <> $1::oid`,
    [oid],
  );
  const [table] = tables;
  if (table === undefined || tables.length > 1) {
    throw new Incompatible(`view ${name} does not stand for one table; name another pointer`, { ids: [name] });
  }
  // The collection as its user wrote it, where it still is that table.
  const [row] = await session.rows("SELECT obj_description($1::oid, 'pg_class')::text AS comment", [oid]);
  const comment = row?.['comment'] ?? '';
  const written = comment.startsWith(commentPrefix) ? comment.slice(commentPrefix.length) : undefined;
  if (written !== undefined && (await findTable(session, parseTableName(written))) === table['oid']) return written;
  return `${bare(table['schema'] ?? '')}.${bare(table['name'] ?? '')}`;
}

/** As parseTableName reads it back. */
function bare(name: string): string {
  return /[".]/.test(name) ? quoteName(name) : name;
}

/** @throws Incompatible when a table has the name: it is never replaced. */
async function findView(session: Session, name: string): Promise<string | undefined> {
  const oid = await findTable(session, parseTableName(name));
  if (oid === undefined) return undefined;
  const [row] = await session.rows('SELECT relkind::text AS kind FROM pg_class WHERE oid = $1::oid', [oid]);
  if (row?.['kind'] === 'v') return oid;
  throw new Incompatible(
    `${name} is a table, not a view; cutover.pointer must be a free name or a view that stands for a table`,
    { ids: [name] },
  );
}

async function moveView(session: Session, name: string, collection: string | undefined): Promise<void> {
  const there = await findView(session, name);
  const view = quoteTable(parseTableName(name));
  if (collection === undefined) {
    if (there !== undefined) await session.run(`DROP VIEW ${view}`);
    return;
  }
  const table = parseTableName(collection);
  await requireTable(session, table);
  const definition = `VIEW ${view} AS SELECT * FROM ${quoteTable(table)}`;
  await session.run('SAVEPOINT before_view');
  try {
    await session.run(`CREATE OR REPLACE ${definition}`);
  } catch (error) {
    // 42P16: the columns differ. Readers wait for the commit and then see the new view; grants on the old one are carried over.
    if (serverError(error)?.code !== '42P16') throw error;
    await session.run('ROLLBACK TO SAVEPOINT before_view');
    const grants = await grantsOf(session, there);
    await session.run(`DROP VIEW ${view}; CREATE ${definition}`);
    for (const grant of grants) await session.run(`GRANT ${grant.privilege} ON ${view} TO ${grant.role}`);
  }
  await session.run(`COMMENT ON VIEW ${view} IS ${quoteText(commentPrefix + collection)}`);
}

interface Grant {
  readonly privilege: string;
  readonly role: string;
}

async function grantsOf(session: Session, oid: string | undefined): Promise<readonly Grant[]> {
  if (oid === undefined) return [];
  const rows = await session.rows(
    `SELECT a.privilege_type::text AS privilege, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
     FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1::oid AND a.grantee <> c.relowner`,
    [oid],
  );
  return rows.map((row) => ({ privilege: row['privilege'] ?? '', role: row['role'] ?? '' }));
}
