import { parse } from 'lossless-json';
import { type Batch, concatBatches, noRecords } from '../../batch.ts';
import type { CollectionSchema, IdType, PayloadIndex, VectorSpec } from '../../schema.ts';
import type { Description, Piece, PlannedRange, Range, ReadOptions } from '../port.ts';
import { type Column, isVectorIndex, type Layout, type TableIndex, vectorForms } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { isDataError } from './errors.ts';
import { quoteName, quoteText } from './names.ts';
import {
  areNumbers,
  compositeId,
  type KeyValues,
  keyList,
  keyLiterals,
  rangeFilter,
  readPieces,
  selectRecords,
  tableOf,
  writeBound,
} from './read.ts';
import { fieldOf } from './types.ts';

/** What a table says of itself, and how its records are found: describe, ranges, read, fetch, delete. */

export async function describeTable(session: Session, layout: Layout): Promise<Description> {
  const nullable = layout.vectors.filter(({ column, isHidden }) => !column.notNull && isHidden !== true);
  const counts = ['count(*)', ...nullable.map(({ column }) => `count(${quoteName(column.name)})`)];
  const selected = counts.map((count, at) => `${count}::text AS c${at}`).join(', ');
  const [row] = await session.rows(`SELECT ${selected} FROM ${rowsOf(layout)}`);
  const count = Number(row?.['c0'] ?? 0);
  const missing = nullable
    .map(({ name }, at): [string, number] => [name, count - Number(row?.[`c${at + 1}`] ?? 0)])
    .filter(([, records]) => records > 0);
  return {
    schema: schemaOf(layout),
    count,
    payloadBytes: await payloadBytes(session, layout),
    ...(missing.length === 0 ? {} : { withoutVector: Object.fromEntries(missing) }),
  };
}

export function schemaOf(layout: Layout): CollectionSchema {
  return {
    store: 'pgvector',
    idType: idTypeOf(layout.key),
    key: layout.key.map(fieldOf),
    vectors: layout.vectors.map(({ name, form, dimension, distance, index, column }): VectorSpec => {
      const size = dimension === undefined ? {} : { dimension };
      return {
        name,
        ...vectorForms[form],
        ...size,
        ...(distance === undefined ? {} : { distance }),
        index,
        ...(column.notNull ? { nullable: false } : {}),
      };
    }),
    ...(layout.payload === undefined ? { fields: layout.fields.map(fieldOf) } : {}),
    payloadIndexes: layout.indexes.flatMap((index) => payloadIndex(layout, index)),
    native: defaultsOf(layout),
  };
}

/** An index on a vector is the vector's, and one that is not valid none; of every other its definition from USING on, which names no table. */
function payloadIndex(layout: Layout, index: TableIndex): PayloadIndex[] {
  const { subject, method, isUnique, isValid, definition } = index;
  if (!isValid || isVectorIndex(index)) return [];
  const using = definition.slice(definition.indexOf(` USING ${method} `) + 1);
  return [{ field: payloadField(layout, subject) ?? subject, type: method, native: { isUnique, using } }];
}

/** The field of `((payload ->> 'year'::text))::integer`, where that is the column of whole payloads. */
function payloadField({ payload }: Layout, subject: string): string | undefined {
  const match = /^\(*("(?:[^"]|"")+"|\w+) ->>? '((?:[^']|'')+)'::text\)*(?:::[\w ]+\)*)?$/.exec(subject);
  const column = match?.[1]?.replace(/^"(.*)"$/, '$1').replaceAll('""', '"');
  return column !== undefined && column === payload?.name ? match?.[2]?.replaceAll("''", "'") : undefined;
}

/** Defaults that mean the same in another database: constants and the functions every server has. */
export const portableDefault =
  /^(?:'(?:[^']|'')*'(?:::[\w ".()[\],]+)?|-?[\d.]+|true|false|now\(\)|CURRENT_(?:TIMESTAMP|DATE)|gen_random_uuid\(\)|\('(?:[^']|'')*'(?:::[\w ".()[\],]+)?\)(?:::[\w ".()[\],]+)?)$/;

function defaultsOf({ fields, key }: Layout): CollectionSchema['native'] {
  const found = [...key, ...fields].flatMap((column): [string, string][] =>
    column.default !== null && portableDefault.test(column.default) ? [[column.name, column.default]] : [],
  );
  return found.length === 0 ? {} : { defaults: Object.fromEntries(found) };
}

function idTypeOf(key: readonly Column[]): IdType {
  const [only] = key;
  if (only === undefined || key.length > 1) return 'composite';
  if (/^int[248]$/.test(only.base) || isWholeNumeric(only)) return 'integer';
  return only.base === 'uuid' ? 'uuid' : 'string';
}

/** numeric(20, 0): made for ids beyond int8. */
const isWholeNumeric = ({ base, native }: Column): boolean => base === 'numeric' && /^numeric\(\d+,0\)$/.test(native);

/** Rows that the mean payload is taken from. */
const sampleRows = 500;

async function payloadBytes(session: Session, layout: Layout): Promise<number> {
  const { payload, fields } = layout;
  if (payload === undefined && fields.length === 0) return 2;
  const columns = (payload === undefined ? fields : [payload]).map(({ name }) => quoteName(name)).join(', ');
  const text = payload === undefined ? 'row_to_json("vecferry row")::text' : `${quoteName(payload.name)}::text`;
  const [row] = await session.rows(
    `SELECT coalesce(round(avg(octet_length(${text}))), 0)::text AS bytes FROM (SELECT ${columns} FROM ${tableOf(layout)} LIMIT ${sampleRows}) "vecferry row"`,
  );
  return Number(row?.['bytes'] ?? 0);
}

/** Up to here the bounds are exact; beyond, sorting every key costs more than an uneven range. */
const exactRows = 1_000_000;
/** Sampled keys a range: its size then varies by about a tenth (1 / sqrt(100)). */
const sampledKeys = 100;

/** The table, or those of its rows that are ranged over. */
const rowsOf = (layout: Layout): string =>
  `${tableOf(layout)}${layout.filter === undefined ? '' : ` WHERE ${layout.filter}`}`;

export async function planRanges(session: Session, layout: Layout, records: number): Promise<readonly PlannedRange[]> {
  const [row] = await session.rows(`SELECT count(*)::text AS count FROM ${rowsOf(layout)}`);
  const count = Number(row?.['count'] ?? 0);
  if (count <= records) return [{ from: null, to: null, records: count }];
  const parts = Math.ceil(count / records);
  const bounds = await cutPoints(session, layout, count, parts);
  const share = Math.ceil(count / (bounds.length + 1));
  return [null, ...bounds].map((from, at): PlannedRange => {
    const left = Math.max(count - at * share, 0);
    return { from, to: bounds[at] ?? null, records: Math.min(share, left) };
  });
}

/** The keys that begin each part but the first. */
async function cutPoints(session: Session, layout: Layout, count: number, parts: number): Promise<string[]> {
  const percent = count <= exactRows ? 100 : Math.min(100, (100 * parts * sampledKeys) / count);
  // A fixed seed: planning twice cuts alike.
  const sample = percent >= 100 ? '' : `TABLESAMPLE SYSTEM (${percent}) REPEATABLE (1)`;
  const keys = layout.key.map(({ name }) => quoteName(name));
  const texts = keys.map((name, at) => `${name}::text AS k${at}`).join(', ');
  const rows = await session.rows(
    `SELECT ${texts} FROM (
      SELECT ${keys.join(', ')}, row_number() OVER (ORDER BY ${keys.join(', ')}) - 1 AS "vecferry position", count(*) OVER () AS "vecferry total"
      FROM ${tableOf(layout)} ${sample}${layout.filter === undefined ? '' : ` WHERE ${layout.filter}`}) sampled
    WHERE "vecferry position" * ${parts} / "vecferry total" > ("vecferry position" - 1) * ${parts} / "vecferry total"
      AND "vecferry position" > 0 ORDER BY "vecferry position"`,
  );
  return rows.map((row) => writeBound(keys.map((_, at) => row[`k${at}`] ?? '')));
}

export interface RangeReader {
  /** What the table is in the transaction that reads it, and what of it is read. */
  readonly layouts: (session: Session) => Promise<{ readonly layout: Layout; readonly readable: Layout }>;
  readonly lock: string | undefined;
}

/** The layout is learned in the transaction that reads: a column that comes, goes or changes meanwhile is seen, or waits. */
export async function* readRange(
  database: Database,
  { layouts, lock }: RangeReader,
  range: Range,
  limits: ReadOptions,
): AsyncIterable<Piece> {
  yield* database.stream(async function* (session, copyOut): AsyncIterable<Piece> {
    const { layout, readable } = await layouts(session);
    const schema = schemaOf(layout);
    const select = selectRecords(readable, `${rangeFilter(readable, range)} ORDER BY ${keyList(readable)}`);
    for await (const piece of readPieces(readable, copyOut(select), range.to, limits)) yield { ...piece, schema };
  }, lock);
}

/** Undefined where the role may not lock the table, having a right to some columns alone, or it is no table (a materialized view). */
export async function lockToRead(session: Session, oid: string, name: string): Promise<string | undefined> {
  const [row] = await session.rows(
    "SELECT (relkind IN ('r', 'p') AND has_table_privilege(oid, 'SELECT'))::text AS may FROM pg_class WHERE oid = $1::oid",
    [oid],
  );
  return row?.['may'] === 'true' ? `LOCK TABLE ${name} IN ACCESS SHARE MODE` : undefined;
}

const unlimited: ReadOptions = { maxRecords: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY };

export async function fetchRecords(session: Session, layout: Layout, ids: readonly string[]): Promise<Batch> {
  const keys = keysOfIds(layout, ids);
  const empty = noRecords(schemaOf(layout).vectors);
  if (keys.length === 0) return empty;
  const body = await withKeys(layout, keys, (filter) => session.copyOut(selectRecords(layout, `WHERE ${filter}`)));
  const pieces: Batch[] = [];
  for await (const { batch } of readPieces(layout, once(body), null, unlimited, keys.length)) pieces.push(batch);
  return pieces.length === 0 ? empty : concatBatches(pieces);
}

/** The keys of the ids that a row can have. */
function keysOfIds(layout: Layout, ids: readonly string[]): readonly KeyValues[] {
  return ids.flatMap((id) => {
    const values = keyOfId(layout.key, id);
    return values === undefined ? [] : [values];
  });
}

/** Runs a statement on the rows with one of these keys. @param run takes the condition */
async function withKeys<T>(
  layout: Layout,
  keys: readonly KeyValues[],
  run: (filter: string) => Promise<T>,
): Promise<T> {
  try {
    return await run(isOneOf(layout, keys));
  } catch (error) {
    if (!isDataError(error)) throw error;
    // An id that is no value of the key's type is not there; as texts they can all be compared, if slower.
    const texts = keys.map((values) => `(${values.map(quoteText).join(', ')})`).join(', ');
    const columns = layout.key.map(({ name }) => `${quoteName(name)}::text`).join(', ');
    return await run(`(${columns}) IN (${texts})`);
  }
}

/** One statement, which is a transaction of its own. Rows are locked in the order in which writes lock them. */
export async function deleteRecords(session: Session, layout: Layout, ids: readonly string[]): Promise<void> {
  const keys = keysOfIds(layout, ids);
  if (keys.length === 0) return;
  const [table, columns] = [tableOf(layout), keyList(layout)];
  await withKeys(layout, keys, (filter) =>
    session.run(
      `DELETE FROM ${table} WHERE (${columns}) IN (SELECT ${columns} FROM ${table} WHERE ${filter} ORDER BY ${columns} FOR UPDATE)`,
    ),
  );
}

/** Rows with one of these keys. An array literal, which the server reads in two thirds of the time, where no value needs quotes. */
function isOneOf({ key }: Layout, keys: readonly KeyValues[]): string {
  const [only, ...others] = key;
  if (only !== undefined && others.length === 0 && (integerBits[only.base] !== undefined || only.base === 'uuid'))
    return `${quoteName(only.name)} = ANY ('{${keys.join(',')}}'::pg_catalog.${only.base}[])`;
  const typed = keys.map((values) => `(${keyLiterals(key, values)})`).join(', ');
  return `(${key.map(({ name }) => quoteName(name)).join(', ')}) IN (${typed})`;
}

async function* once(body: Uint8Array): AsyncIterable<Uint8Array> {
  yield body;
}

const integerBits: Readonly<Record<string, bigint>> = { int2: 16n, int4: 32n, int8: 64n };

/**
 * The key's values; undefined when no row can have such an id. An id in another spelling (007, a UUID in upper case) is none:
 * records are told apart by the text of their ids.
 * @param id canonical text, a compact JSON array for composite keys
 */
export function keyOfId(key: readonly Column[], id: string): readonly string[] | undefined {
  const values = key.length === 1 ? [id] : parseArray(id);
  if (values?.length !== key.length || !key.every((column, at) => canHold(column, values[at] ?? ''))) return undefined;
  return key.length === 1 || compositeId(values, areNumbers(key)) === id ? values : undefined;
}

function canHold(column: Column, value: string): boolean {
  if (value.includes('\0')) return false;
  const bits = integerBits[column.base];
  if (bits !== undefined) return isInteger(value, Number(bits));
  if (column.base === 'numeric') return /^-?\d+(\.\d+)?$/.test(value);
  if (column.base === 'uuid') return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value);
  return true;
}

function isInteger(value: string, bits: number): boolean {
  if (!/^(?:0|-?[1-9]\d*)$/.test(value)) return false;
  const bound = 2 ** (bits - 1);
  // A double holds 15 digits.
  if (value.length <= 15) return Number(value) >= -bound && Number(value) < bound;
  return BigInt.asIntN(bits, BigInt(value)) === BigInt(value);
}

/** The elements as texts, a number's digits as they are. */
function parseArray(id: string): string[] | undefined {
  try {
    const parsed = parse(id);
    return Array.isArray(parsed) ? parsed.map(String) : undefined;
  } catch {
    return undefined;
  }
}
