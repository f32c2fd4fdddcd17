import type { WritePosition } from '../port.ts';
import type { Session } from './connect.ts';
import { quoteName } from './names.ts';

/**
 * vecferry_ledger, beside the table: a row for each batch, in the transaction that wrote its records. It is keyed by the
 * table's oid, so that a table made anew under an old name and an old run id is not taken for loaded.
 */

export const ledgerTable = 'vecferry_ledger';

const ledgerName = (schema: string): string => `${quoteName(schema)}.${quoteName(ledgerTable)}`;

export async function makeLedger(session: Session, schema: string): Promise<void> {
  await session.run(`CREATE TABLE IF NOT EXISTS ${ledgerName(schema)} (
    collection oid NOT NULL, run text NOT NULL, shard text NOT NULL, record_offset bigint NOT NULL,
    attempt integer NOT NULL, records bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, run, shard, record_offset))`);
}

/** What was loaded into a table that holds nothing was taken out again by someone. */
export async function forgetTable(session: Session, schema: string, oid: string): Promise<void> {
  await session.rows(`DELETE FROM ${ledgerName(schema)} WHERE collection = $1::oid`, [oid]);
}

/**
 * Takes the batch's place. Of two writers at once the second waits here until the first one's transaction has ended.
 * @returns done: these records were written, in this start of the run or a later one; new: nobody wrote them; again: another
 * number of records was written from here, or an earlier start of the run wrote them, which may be gone since.
 */
export async function claimBatch(
  session: Session,
  schema: string,
  oid: string,
  { run, shard, offset, attempt = 1 }: WritePosition,
  records: number,
): Promise<'done' | 'new' | 'again'> {
  const ledger = ledgerName(schema);
  const place = [oid, run, shard, String(offset), String(records), String(attempt)];
  const inserted = await session.rows(
    `INSERT INTO ${ledger} (collection, run, shard, record_offset, records, attempt)
     VALUES ($1::oid, $2::text, $3::text, $4::bigint, $5::bigint, $6::integer) ON CONFLICT DO NOTHING RETURNING run`,
    place,
  );
  if (inserted.length > 0) return 'new';
  const changed = await session.rows(
    `UPDATE ${ledger} SET records = $5::bigint, attempt = $6::integer, at = now()
     WHERE collection = $1::oid AND run = $2::text AND shard = $3::text AND record_offset = $4::bigint
       AND (attempt < $6::integer OR (attempt = $6::integer AND records <> $5::bigint)) RETURNING run`,
    place,
  );
  return changed.length > 0 ? 'again' : 'done';
}
