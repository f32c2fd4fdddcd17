import { z } from 'zod';
import { type Batch, batchBytes, column, concatBatches, noRecords, sliceBatch, type VectorColumn } from '../batch.ts';
import { ShardDamaged } from '../errors.ts';
import { parseAs } from '../event.ts';
import { release } from '../release.ts';
import { fingerprintOf } from '../schema/fingerprint.ts';
import { collectionSchema, type VectorSpec } from '../schema.ts';
import {
  checksumKey,
  damaged,
  findValue,
  footerOf,
  formatKey,
  isSealed,
  noChecksum,
  parquetEnds,
  releaseKey,
  requireFormat,
  sealed,
  shardFormat,
  textOf,
} from './footer.ts';
import { type ByteRanges, joinRowGroups, openParquet, type ParquetFile } from './parquet-file.ts';
import { releaseMemory, writeParquet } from './parquet-wasm.ts';
import { batchFromArrow, batchToArrow, type ShardColumn, shardColumnSchema, shardColumns } from './shard-arrow.ts';

/**
 * A shard is a Parquet file: `id` (text), one column a vector (list of float32; sparse as a struct of indices and values;
 * multi as a list of lists; null where a record lacks it), `payload` (JSON text). Its key-value metadata says what it is.
 * Readers take the current format only; lib/shard/formats brings older ones up. docs/formats.md says what each is.
 */

const keySpan = z.strictObject({ from: z.string().nullable(), to: z.string().nullable() });

export const shardMetaSchema = z.strictObject({
  run: z.string(),
  /** The shard's name, see keys.ts. */
  shard: z.string(),
  /** The source keys that this shard covers, half open. */
  range: keySpan,
  /** What is left of its range after this shard; null when it is the range's last. */
  rest: keySpan.nullable(),
  /** The source's own schema when the records were read: dimensions, distances, field types, and the model that made each vector where that is known. */
  schema: collectionSchema,
  /** What the collection was called that they were read from, or written to. */
  collection: z.string().optional(),
});
export type ShardMeta = z.infer<typeof shardMetaSchema>;

const headerSchema = z.strictObject({
  ...shardMetaSchema.shape,
  records: z.int().nonnegative(),
  columns: z.array(shardColumnSchema),
  /** fingerprintOf the schema: two shards of one fingerprint are read alike. */
  fingerprint: z.string(),
  /** SHA-256 of the whole object with these 64 digits as zeros, hex: what the manifest says of it too. */
  checksum: z.string(),
});
/** All that a shard says of itself without its records. */
export type ShardHeader = z.infer<typeof headerSchema>;

/** Row groups of this size are read one at a time, so that reading takes their memory and not the file's. */
const rowGroupBytes = 8 * 1024 * 1024;

/**
 * The shard's bytes. The batch may hold no records.
 * @throws RecordRefused when an id is no valid Unicode.
 */
export async function encodeShard(batch: Batch, meta: ShardMeta): Promise<Uint8Array> {
  const columns = shardColumns(batch.vectors);
  const bytesPerRecord = Math.max(1, batchBytes(batch) / Math.max(1, batch.count));
  const rowGroupRecords = Math.max(1, Math.floor(rowGroupBytes / bytesPerRecord));
  const models = meta.schema.vectors.flatMap(({ name, model }) =>
    model === undefined ? [] : [[name, model] as const],
  );
  const metadata = new Map([
    [formatKey, String(shardFormat)],
    [releaseKey, release],
    [checksumKey, noChecksum.toString()],
    ['vecferry.run', meta.run],
    ['vecferry.shard', meta.shard],
    ['vecferry.range', JSON.stringify(meta.range)],
    ['vecferry.rest', JSON.stringify(meta.rest)],
    ['vecferry.schema', JSON.stringify(meta.schema)],
    ['vecferry.fingerprint', fingerprintOf(meta.schema)],
    ['vecferry.columns', JSON.stringify(columns)],
    ['vecferry.records', String(batch.count)],
    ...(meta.collection === undefined ? [] : [['vecferry.collection', JSON.stringify(meta.collection)] as const]),
    // The schema says it too; this is for whoever looks at the file with another reader.
    ...(models.length === 0 ? [] : [['vecferry.models', JSON.stringify(Object.fromEntries(models))] as const]),
  ]);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < batch.count || parts.length === 0; at += rowGroupRecords) {
    const group = sliceBatch(batch, at, at + rowGroupRecords);
    parts.push(writeParquet(batchToArrow(group, columns), group.count));
  }
  const bytes = joinRowGroups(parts, metadata);
  return sealed(bytes);
}

/** @throws ShardDamaged when the bytes are cut short or altered, UnsupportedFormat when they are of another format; `where` names the object in the message. */
export async function decodeShard(
  bytes: Uint8Array,
  where: string,
): Promise<{ readonly meta: ShardHeader; readonly batch: Batch }> {
  const meta = verifyShard(bytes, where);
  const groups: Batch[] = [];
  for await (const { batch } of rowGroupsOf(bytes, meta, where, { offset: 0, vectors: true })) groups.push(batch);
  const batch = groups.length === 0 ? noRecords(meta.columns.map(specOf)) : concatBatches(groups);
  if (groups.length > 1)
    for (const group of groups) for (const { values } of group.vectors.values()) releaseMemory(values);
  return { meta, batch };
}

export interface ReadShardOptions {
  readonly maxRecords: number;
  /** The first record to read. */
  readonly offset?: number;
  /** What shardHeader gave for bytes that are known to be whole: they are not verified again. */
  readonly header?: ShardHeader;
  /** False: ids and payloads alone, and the vectors' pages are not looked at. */
  readonly vectors?: boolean;
}

/**
 * The shard's records in order, at most `maxRecords` a batch, from record `offset` on: takes the memory of a row group
 * (8 MiB of vectors and payload), not of the shard. @throws ShardDamaged as decodeShard does, before the first batch.
 */
export async function* readShard(
  bytes: Uint8Array,
  where: string,
  { maxRecords, offset = 0, header, vectors = true }: ReadShardOptions,
): AsyncGenerator<Batch, void, undefined> {
  const meta = header ?? verifyShard(bytes, where);
  for await (const { batch, start } of rowGroupsOf(bytes, meta, where, { offset, vectors })) {
    for (let at = Math.max(0, offset - start); at < batch.count; at += maxRecords)
      yield sliceBatch(batch, at, at + maxRecords);
  }
}

/** What a shard says of itself, once its checksum is found right. @throws ShardDamaged and UnsupportedFormat as decodeShard does. */
export function verifyShard(bytes: Uint8Array, where: string): ShardHeader {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const footer = footerOf(file, where);
  const format = textOf(file, footer, formatKey);
  const checksum = findValue(file, footer, checksumKey);
  // Before the format is believed: a digit of that may be what was altered.
  if (format !== undefined && !isSealed(file, footer, checksum))
    throw damaged(where, 'was altered or cut short after it was written: its checksum is another');
  return shardHeader(bytes, where);
}

/**
 * What a shard says of itself, its checksum not worked out again: only for bytes that were just written or verified.
 * @throws ShardDamaged when they are no shard, UnsupportedFormat when they are one of another format.
 */
export function shardHeader(bytes: Uint8Array, where: string): ShardHeader {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const footer = footerOf(file, where);
  const text = (key: string): string | undefined => textOf(file, footer, key);
  requireFormat(text, where);
  const json = (key: string): unknown => parseJson(text(key) ?? 'null', where);
  const header = {
    run: text('vecferry.run'),
    shard: text('vecferry.shard'),
    range: json('vecferry.range'),
    rest: json('vecferry.rest'),
    schema: json('vecferry.schema'),
    fingerprint: text('vecferry.fingerprint'),
    checksum: text(checksumKey),
    columns: json('vecferry.columns'),
    records: json('vecferry.records'),
    ...(text('vecferry.collection') === undefined ? {} : { collection: json('vecferry.collection') }),
  };
  return parseAs(headerSchema, header, `the metadata of ${where}`, ShardDamaged);
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw damaged(where, 'has metadata that is not JSON', cause);
  }
}

/**
 * The same from the file's end alone, whatever its size; nothing is verified.
 * @throws as shardHeader
 */
export async function peekShard({ size, range }: ByteRanges, where: string): Promise<ShardHeader> {
  return shardHeader(await parquetEnds({ size, range }, where), where);
}

function specOf({ name, kind, dimension }: ShardColumn): VectorSpec {
  return { name, kind, precision: 'float32', ...(dimension === 0 ? {} : { dimension }) };
}

interface RowGroup {
  readonly batch: Batch;
  /** The number of its first record. */
  readonly start: number;
}

/** From the row group that holds record `offset` on. */
async function* rowGroupsOf(
  bytes: Uint8Array,
  meta: ShardHeader,
  where: string,
  { offset, vectors }: Required<Pick<ReadShardOptions, 'offset' | 'vectors'>>,
): AsyncGenerator<RowGroup> {
  const range = async (from: number, to: number): Promise<Uint8Array> => bytes.subarray(from, to);
  const file = await attempt(where, () => openParquet({ size: bytes.length, range }));
  const records = file.rowGroups.reduce((sum, count) => sum + count, 0);
  if (records !== meta.records) throw damaged(where, `holds ${records} records, its metadata says ${meta.records}`);
  let start = 0;
  for (const [group, count] of file.rowGroups.entries()) {
    if (start + count > offset) {
      yield { batch: await attempt(where, () => readGroup(file, group, count, meta.columns, vectors)), start };
    }
    start += count;
  }
}

/** Dense vectors that every record has come straight from the file's bytes; parquet-wasm reads the other columns. */
async function readGroup(
  file: ParquetFile,
  group: number,
  count: number,
  columns: readonly ShardColumn[],
  isWhole: boolean,
): Promise<Batch> {
  if (!isWhole) return await readWithoutVectors(file, group, count, columns);
  const vectors = new Map<string, VectorColumn>();
  const others: ShardColumn[] = [];
  for (const each of columns) {
    const { name, column, kind, dimension } = each;
    const values = kind === 'dense' ? await file.readFloatLists(group, column, dimension) : undefined;
    if (values === undefined) others.push(each);
    else vectors.set(name, { kind: 'dense', dimension, values });
  }
  const omitted = columns.filter(({ name }) => vectors.has(name)).map(({ column }) => column);
  const read = omitted.length === 0 ? file.read(group, count) : file.readWithout(group, count, omitted);
  const batch = concatBatches((await read).map((each) => batchFromArrow(each, others)));
  if (batch.count !== count) throw new RangeError(`row group ${group} has ${batch.count} records, not ${count}`);
  const vectorOf = ({ name }: ShardColumn) => [name, vectors.get(name) ?? column(batch, name)] as const;
  return { ...batch, vectors: new Map(columns.map(vectorOf)) };
}

async function readWithoutVectors(
  file: ParquetFile,
  group: number,
  count: number,
  columns: readonly ShardColumn[],
): Promise<Batch> {
  const omitted = columns.map(({ column }) => column);
  const read = await file.readWithout(group, count, omitted);
  return concatBatches(read.map((each) => batchFromArrow(each, [])));
}

async function attempt<T>(where: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw damaged(where, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
}
