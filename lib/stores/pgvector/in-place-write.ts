import { setTimeout as sleep } from 'node:timers/promises';
import { type Batch, hasVector, selectRecords, sliceBatch } from '../../batch.ts';
import { splitObject } from '../json-members.ts';
import type { Lacking } from '../place-port.ts';
import type { Column, Layout, VectorField } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { storeError } from './errors.ts';
import { mayHaveText, type Placed, type PlacedLayout, requireMade, textDiffers } from './in-place.ts';
import { quoteName } from './names.ts';
import {
  keyList,
  keyLiterals,
  parseBound,
  readPieces,
  selectRecords as selectRows,
  tableOf,
  writeBound,
} from './read.ts';
import { encodeBatch } from './rows.ts';
import { keyOfId } from './source.ts';

/**
 * Fills the run's column, while applications read and write the table. A row is written where it lacks the vector and its
 * text is still the one that was embedded; one that somebody else has locked is passed over, so that this never waits for
 * an application while it holds rows itself, and no deadlock can come of it. What was passed over lacks its vector still,
 * and is found by the catch-up.
 */

/** Rows of a transaction: an application that wants one of them waits for as long as that takes, some tens of milliseconds. */
const maxRows = 500;

export interface PlaceWriteOptions {
  /** Rows a second, of all who write to the table together; undefined: as many as go. */
  readonly rowsPerSecond?: number | undefined;
}

/** @returns the records of the batch: those that were not written are counted too, and lack their vector */
export async function writePlace(
  database: Database,
  layout: PlacedLayout,
  batch: Batch,
  { rowsPerSecond }: PlaceWriteOptions,
): Promise<{ readonly written: number }> {
  const made = requireMade(layout.placed, tableOf(layout));
  const filled = withVector(batch, layout.placed.vector);
  const step = Math.min(maxRows, rowsPerSecond ?? maxRows);
  for (let at = 0; at < filled.count; at += step) {
    const part = sliceBatch(filled, at, at + step);
    try {
      if (rowsPerSecond === undefined)
        await database.transact(async (session) => await fill(session, layout, made, part));
      else
        await inTurn(
          database,
          layout,
          rowsPerSecond,
          part.count,
          async (session) => await fill(session, layout, made, part),
        );
    } catch (error) {
      throw storeError(error, `filling column ${quoteName(made.column.name)}`, part.ids);
    }
  }
  return { written: batch.count };
}

/** The same of few records, in the transaction of `session`. */
export async function fillRows(session: Session, layout: PlacedLayout, batch: Batch): Promise<void> {
  const filled = withVector(batch, layout.placed.vector);
  if (filled.count > 0) await fill(session, layout, requireMade(layout.placed, tableOf(layout)), filled);
}

/** The records that have the made vector, and of their vectors that one alone. */
function withVector(batch: Batch, vector: string): Batch {
  const column = batch.vectors.get(vector);
  if (column === undefined) return sliceBatch(batch, 0, 0);
  const alone = { ...batch, vectors: new Map([[vector, column]]) };
  if (column.present === undefined) return alone;
  return selectRecords(
    alone,
    batch.ids.flatMap((_, at) => (hasVector(column, at) ? [at] : [])),
  );
}

/**
 * One at a time, whoever else writes, and slowly: the lock is held for as long as so many rows may take, on a connection
 * without a transaction, so that no row is locked and no snapshot kept meanwhile.
 */
async function inTurn(
  database: Database,
  { oid }: Layout,
  rowsPerSecond: number,
  rows: number,
  work: (session: Session) => Promise<void>,
): Promise<void> {
  const lock = `hashtextextended('vecferry place ${oid}', 0)`;
  await database.use(async (session) => {
    await session.run(`SELECT pg_advisory_lock(${lock})`);
    const begun = performance.now();
    try {
      await session.run('BEGIN');
      await work(session);
      await session.run('COMMIT');
      await sleep(Math.max(0, (rows / rowsPerSecond) * 1000 - (performance.now() - begun)));
    } catch (error) {
      await session.run('ROLLBACK').catch(() => undefined);
      throw error;
    } finally {
      // A connection that broke has given it back.
      await session.run(`SELECT pg_advisory_unlock(${lock})`).catch(() => undefined);
    }
  });
}

async function fill(session: Session, layout: PlacedLayout, made: VectorField, batch: Batch): Promise<void> {
  const { placed } = layout;
  const { body, columns } = encodeBatch(stagedLayout(layout, made), {
    ...batch,
    payloads: batch.payloads.map(pick(placed, layout)),
  });
  const stage = quoteName(placed.names.stage);
  const definitions = columns.map(({ column, isDirect }, at) => `c${at} ${stagedType(column, isDirect)}`);
  // Kept for the session: a new one each time would fill the catalogs with dead rows.
  await session.run(`CREATE TEMP TABLE IF NOT EXISTS ${stage} (${definitions.join(', ')}) ON COMMIT DELETE ROWS`);
  await session.copyIn(`${stage} (${columns.map((_, at) => `c${at}`).join(', ')})`, body());
  const values = columns.map(
    ({ column, isDirect }, at) => `c${at}${isDirect ? '' : `::${column.type}`} AS ${quoteName(column.name)}`,
  );
  const [table, name] = [tableOf(layout), quoteName(made.column.name)];
  const keys = (row: string): string => layout.key.map((column) => `${row}.${quoteName(column.name)}`).join(', ');
  const isDue = `(${keys('t')}) = (${keys('s')}) AND t.${name} IS NULL AND NOT (${textDiffers(placed, 't', 's')})`;
  const staged = `(SELECT ${values.join(', ')} FROM ${stage}) s`;
  // The key's index is always there, and the statistics of a table that was just filled are not.
  await session.run(`SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
    UPDATE ${table} t SET ${name} = s.${name} FROM ${staged} WHERE ${isDue} AND (${keys('t')}) IN (
      SELECT ${keys('t')} FROM ${table} t, ${staged} WHERE ${isDue} FOR NO KEY UPDATE OF t SKIP LOCKED)`);
}

const stagedType = (column: Column, isDirect: boolean): string => (isDirect ? column.native : 'text');

/** The columns that a row is known by: its key, the vector, and what the text is made of. */
function stagedLayout(layout: PlacedLayout, made: VectorField): Layout {
  const { placed, payload } = layout;
  const fields = [...new Set(placed.texts.map(({ column }) => column))];
  return {
    ...layout,
    vectors: [{ ...made, name: placed.vector }],
    fields: payload === undefined ? fields : [],
  };
}

/** Of a payload the fields that the text is made of. */
function pick({ texts }: Placed, { payload }: Layout): (text: string) => string {
  if (payload !== undefined) return (text) => text;
  const names = [...new Set(texts.map(({ column }) => column.name))];
  return (text) => {
    const members = splitObject(text);
    return `{${names.map((name) => `${JSON.stringify(name)}:${members.get(name) ?? 'null'}`).join(',')}}`;
  };
}

const wholePage = { maxRecords: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY };

/** Rows that lack the vector and may have a text, in key order, without vectors. */
export async function readLacking(
  session: Session,
  layout: PlacedLayout,
  after: string | null,
  limit: number,
): Promise<Lacking> {
  const made = requireMade(layout.placed, tableOf(layout));
  const bare = { ...layout, vectors: [] };
  const from = after === null ? '' : ` AND (${keyList(layout)}) > (${keyLiterals(layout.key, parseBound(after))})`;
  const where = `WHERE ${quoteName(made.column.name)} IS NULL AND ${mayHaveText(layout.placed)}${from}`;
  const body = await session.copyOut(selectRows(bare, `${where} ORDER BY ${keyList(layout)} LIMIT ${limit}`));
  const pieces: Batch[] = [];
  for await (const { batch } of readPieces(bare, once(body), null, wholePage, limit)) pieces.push(batch);
  const batch = pieces[0] ?? { count: 0, ids: [], payloads: [], vectors: new Map() };
  const last = batch.ids.at(-1);
  const key = last === undefined || batch.count < limit ? undefined : keyOfId(layout.key, last);
  return { batch, next: key === undefined ? null : writeBound(key) };
}

async function* once(body: Uint8Array): AsyncIterable<Uint8Array> {
  yield body;
}
