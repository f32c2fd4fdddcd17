import { Incompatible } from '../../errors.ts';
import type { Dropping } from '../port.ts';
import type { Database, Session } from './connect.ts';
import { forgetTable, ledgerTable } from './ledger.ts';
import { findTable, quoteTable, type TableName } from './names.ts';

/**
 * DROP TABLE … RESTRICT: indexes and what the table owns go with it (the sequence of a serial column), types and sequences that
 * others may use stay, and so does everything while a view or a foreign key depends on it.
 */

/** DROP TABLE waits for whoever reads the table, and everybody else waits behind it: rather it gives up, and is tried again. */
const lockTimeout = '5s';

export async function dropTable(
  database: Database,
  name: TableName,
  { collection, dryRun }: { readonly collection: string; readonly dryRun: boolean },
): Promise<Dropping> {
  const what = `table ${quoteTable(name)} with its indexes`;
  return await database.transact(async (session) => {
    const oid = await findTable(session, name);
    if (oid === undefined) return { name: collection, what, isThere: false };
    await refuseOtherKind(session, name, oid);
    await refuseDependents(session, name, oid);
    const [size] = await session.rows('SELECT pg_total_relation_size($1::oid)::text AS bytes', [oid]);
    if (!dryRun) {
      await session.run(`SET LOCAL lock_timeout = '${lockTimeout}'; DROP TABLE ${quoteTable(name)} RESTRICT`);
      await forgetLedger(session, oid);
    }
    return { name: collection, what, isThere: true, bytes: Number(size?.['bytes'] ?? 0) };
  });
}

/** A view by that name may be the readers' pointer, which stands for the target by now. */
async function refuseOtherKind(session: Session, name: TableName, oid: string): Promise<void> {
  const [row] = await session.rows('SELECT relkind::text AS kind FROM pg_class WHERE oid = $1::oid', [oid]);
  if (row?.['kind'] === 'r' || row?.['kind'] === 'p') return;
  const text = `${quoteTable(name)} is a view or a foreign table, whose records are elsewhere`;
  throw new Incompatible(`${text}; drop by hand what nobody needs`, { ids: [quoteTable(name)] });
}

/** What RESTRICT would stop at, said before anything is locked. pg_depend: PostgreSQL manual, system catalogs. */
async function refuseDependents(session: Session, name: TableName, oid: string): Promise<void> {
  const rows = await session.rows(
    `SELECT DISTINCT c.relkind::text AS kind, c.oid::regclass::text AS name
     FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid JOIN pg_class c ON c.oid = r.ev_class
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid AND c.oid <> $1::oid
     UNION SELECT 'f', conrelid::regclass::text FROM pg_constraint
     WHERE confrelid = $1::oid AND contype = 'f' AND conrelid <> $1::oid AND conparentid = 0 ORDER BY 1, 2`,
    [oid],
  );
  if (rows.length === 0) return;
  const named = rows.map(({ kind, name: each }) => (kind === 'f' ? `a foreign key of ${each}` : `view ${each}`));
  throw new Incompatible(`${named.join(', ')} depend on table ${quoteTable(name)}; drop or change them first`, {
    ids: rows.map((row) => row['name'] ?? ''),
  });
}

/** The rows of a table that is gone: its schema's ledger, where that has one. */
async function forgetLedger(session: Session, oid: string): Promise<void> {
  const ledgers = await session.rows(
    `SELECT n.nspname::text AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname = $1::text AND c.relkind = 'r'
       AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'DELETE')`,
    [ledgerTable],
  );
  for (const { schema } of ledgers) await forgetTable(session, schema ?? '', oid);
}
