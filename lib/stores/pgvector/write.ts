import { type Batch, sliceBatch } from '../../batch.ts';
import type { WriteOptions } from '../port.ts';
import type { Layout } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { copyLine, isDataError, serverError, storeError } from './errors.ts';
import { claimBatch } from './ledger.ts';
import { quoteName } from './names.ts';
import { tableOf } from './read.ts';
import { type EncodedBatch, encodeBatch } from './rows.ts';

/**
 * One transaction a batch: its ledger row, then binary COPY straight into the table. Where records of the batch are there
 * already, or a column needs a cast, COPY goes into a staging table and one INSERT from there.
 */

export interface WriteMemory {
  /** Set once a batch met records that were there: the next ones are staged from the start. */
  meetsRecords: boolean;
}

/** @throws RecordRefused with the id of the record that the server refused. */
export async function writeBatch(
  database: Database,
  layout: Layout,
  batch: Batch,
  { position, mode }: WriteOptions,
  memory: WriteMemory,
): Promise<{ readonly written: number }> {
  const encoded = encodeBatch(layout, batch);
  const doing =
    position === undefined
      ? `writing ${batch.count} records`
      : `writing records ${position.offset} to ${position.offset + batch.count} of shard ${position.shard}`;
  try {
    await database.transact(async (session) => {
      const place =
        position === undefined ? 'again' : await claimBatch(session, layout.schema, layout.oid, position, batch.count);
      if (place === 'done') return;
      const canCopy =
        place === 'new' &&
        mode === 'upsert' &&
        !memory.meetsRecords &&
        encoded.columns.every(({ isDirect }) => isDirect);
      if (canCopy && (await copyInto(session, layout, encoded))) return;
      if (canCopy) memory.meetsRecords = true;
      await stage(session, layout, encoded, mode);
    });
  } catch (error) {
    if (!isDataError(error) || copyLine(error) !== undefined || batch.count < 2)
      throw storeError(error, doing, batch.ids);
    const at = await findRefused(database, layout, batch, mode);
    const id = batch.ids[at];
    throw storeError(error, id === undefined ? doing : `${doing}, record ${id}`, id === undefined ? batch.ids : [id]);
  }
  return { written: batch.count };
}

/** False when a record of the batch is there already; the table is then as it was. */
async function copyInto(session: Session, layout: Layout, { body, columns }: EncodedBatch): Promise<boolean> {
  const names = columns.map(({ column }) => quoteName(column.name)).join(', ');
  await session.run('SAVEPOINT before_copy');
  try {
    await session.copyIn(`${tableOf(layout)} (${names})`, body());
    return true;
  } catch (error) {
    if (serverError(error)?.code !== '23505') throw error;
    await session.run('ROLLBACK TO SAVEPOINT before_copy');
    return false;
  }
}

async function stage(
  session: Session,
  layout: Layout,
  { body, columns }: EncodedBatch,
  mode: WriteOptions['mode'],
): Promise<void> {
  const staged = columns.map((each, at) => ({ ...each, name: quoteName(each.column.name), stage: `c${at}` }));
  const definitions = staged.map(({ stage: name, column, isDirect }) => `${name} ${isDirect ? column.native : 'text'}`);
  await session.run(`CREATE TEMP TABLE vecferry_stage (${definitions.join(', ')}) ON COMMIT DROP`);
  await session.copyIn(`vecferry_stage (${staged.map(({ stage: name }) => name).join(', ')})`, body());
  const names = staged.map(({ name }) => name).join(', ');
  const values = staged
    .map(({ stage: name, column, isDirect }) => (isDirect ? name : `${name}::${column.type}`))
    .join(', ');
  const keys = staged.filter(({ isKey }) => isKey);
  const keyStages = keys.map(({ stage: name }) => name).join(', ');
  const updates = staged.filter(({ isKey }) => !isKey).map(({ name }) => `${name} = EXCLUDED.${name}`);
  const action = mode === 'insert' || updates.length === 0 ? 'DO NOTHING' : `DO UPDATE SET ${updates.join(', ')}`;
  // ctid is the order of the batch here: of an id that stands in it twice the last record counts.
  await session.run(
    `INSERT INTO ${tableOf(layout)} (${names}) OVERRIDING SYSTEM VALUE
     SELECT ${values} FROM (SELECT DISTINCT ON (${keyStages}) * FROM vecferry_stage ORDER BY ${keyStages}, ctid DESC) s
     ON CONFLICT (${keys.map(({ name }) => name).join(', ')}) ${action};
     DROP TABLE vecferry_stage`,
  );
}

/** Thrown to take a trial back. */
class TrialPassed extends Error {}

/** The position of the first record that the server refuses: the staged INSERT does not say which, so halves are tried. */
async function findRefused(
  database: Database,
  layout: Layout,
  batch: Batch,
  mode: WriteOptions['mode'],
): Promise<number> {
  const isRefused = async (from: number, to: number): Promise<boolean> => {
    try {
      await database.transact(async (session) => {
        await stage(session, layout, encodeBatch(layout, sliceBatch(batch, from, to)), mode);
        throw new TrialPassed();
      });
    } catch (error) {
      if (error instanceof TrialPassed) return false;
      if (isDataError(error)) return true;
      throw error;
    }
    return false;
  };
  let [from, to] = [0, batch.count];
  while (to - from > 1) {
    const middle = Math.floor((from + to) / 2);
    if (await isRefused(from, middle)) to = middle;
    else from = middle;
  }
  return from;
}
