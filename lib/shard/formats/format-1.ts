import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Batch, VectorColumn } from '../../batch.ts';
import { ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { CollectionSchema, Distance, FieldType, VectorSpec } from '../../schema.ts';
import { packVectors, type RawVector } from '../../stores/files/vectors.ts';
import { splitObject, stringOf } from '../../stores/json-members.ts';
import { jsonLinesMark } from '../footer.ts';
import type { ByteRanges } from '../parquet-file.ts';
import { encodeShard, type ShardMeta } from '../shard.ts';

/**
 * Format 1: JSON lines. A header, a record a line, and a last line with the number of records and the SHA-256 of every byte
 * before it. docs/formats.md has an example. Nothing writes it any more.
 */

const metrics = { cosine: 'cosine', ip: 'dot', l2: 'euclid', l1: 'manhattan' } satisfies Record<string, Distance>;
const types = {
  bool: 'boolean',
  int: 'integer',
  float: 'float',
  string: 'text',
  time: 'timestamp',
  json: 'json',
  list: 'list',
} satisfies Record<string, FieldType>;
const keysOf = <K extends string>(named: Readonly<Record<K, unknown>>): K[] => {
  const isKey = (name: string): name is K => Object.hasOwn(named, name);
  return Object.keys(named).filter(isKey);
};

const headerSchema = z.strictObject({
  'vecferry.format': z.literal(1),
  run: z.string(),
  shard: z.string(),
  /** A shard was a whole range: nothing was left of it. */
  from: z.string().nullable(),
  to: z.string().nullable(),
  store: z.string(),
  collection: z.string().optional(),
  ids: z.enum(['integer', 'uuid', 'string']),
  vectors: z.record(
    z.string(),
    z
      .strictObject({
        kind: z.enum(['dense', 'sparse', 'multi']).default('dense'),
        /** Floats a vector; left out for sparse ones. */
        size: z.int().positive().optional(),
        metric: z.enum(keysOf(metrics)).optional(),
      })
      .refine(({ kind, size }) => kind === 'sparse' || size !== undefined, 'has no size'),
  ),
  /** What made all of its vectors, by one name. */
  model: z.string().min(1).optional(),
  /** Left out: any record may hold anything. */
  fields: z.record(z.string(), z.enum(keysOf(types))).optional(),
});
type Header = z.infer<typeof headerSchema>;

const trailerSchema = z.strictObject({ records: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
type Trailer = z.infer<typeof trailerSchema>;

/** True for the last line of a shard of format 1, whatever became of its first. */
export const isTrailer = (line: string): boolean => /^\{"records":\d+,"sha256":"[0-9a-f]{64}"\}$/.test(line);

/** A trailer takes less than 120 bytes. */
const trailerBytes = 256;
/** A header is a few hundred bytes; one of a thousand fields has some ten thousand. */
const headerBytes = [64 * 1024, 4 * 1024 * 1024];

/** What a shard of format 1 says of itself. */
export interface Format1 {
  readonly meta: ShardMeta;
  readonly records: number;
  readonly checksum: string;
}

/** From the file's two ends, whatever its size; nothing is verified. @throws ShardDamaged when it is cut short, or they are not as format 1 has them */
export async function peekFormat1({ size, range }: ByteRanges, where: string): Promise<Format1> {
  let line: string | undefined;
  for (const bytes of headerBytes) {
    const head = Buffer.from(await range(0, Math.min(size, bytes)));
    const end = head.indexOf(10);
    if (end < 0) continue;
    line = head.toString('utf8', 0, end);
    break;
  }
  if (line === undefined) throw damaged(where, 'ends within its first line');
  const { trailer } = trailerIn(Buffer.from(await range(Math.max(0, size - trailerBytes), size)), where);
  return { meta: metaOf(headerOf(line, where)), records: trailer.records, checksum: trailer.sha256 };
}

/** The same, once the checksum and the number of records are found right. @throws ShardDamaged */
export function verifyFormat1(bytes: Uint8Array, where: string): Format1 {
  const { header, trailer } = open(bytes, where);
  return { meta: metaOf(header), records: trailer.records, checksum: trailer.sha256 };
}

/** A shard of format 1 as one of format 2. @throws ShardDamaged when it is cut short or altered, RecordRefused when a vector is not as the header says */
export async function upgradeFrom1(bytes: Uint8Array, where: string): Promise<Uint8Array> {
  const { header, lines } = open(bytes, where);
  const meta = metaOf(header);
  return await encodeShard(readLines(lines, meta.schema, where), meta);
}

interface Opened {
  readonly header: Header;
  readonly trailer: Trailer;
  /** Those of the records. */
  readonly lines: readonly Buffer[];
}

/** Everything is held against the checksum before a line of it is parsed. */
function open(bytes: Uint8Array, where: string): Opened {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { trailer, length } = trailerIn(file, where);
  const body = file.subarray(0, file.length - length);
  if (createHash('sha256').update(body).digest('hex') !== trailer.sha256)
    throw damaged(where, 'was altered or cut short after it was written: its checksum is another');
  const [first, ...lines] = linesOf(body);
  const header = headerOf(first?.toString('utf8') ?? '', where);
  if (lines.length !== trailer.records)
    throw damaged(where, `holds ${lines.length} records, its last line says ${trailer.records}`);
  return { header, trailer, lines };
}

/** @param length of the last line in bytes, its end included */
function trailerIn(file: Buffer, where: string): { readonly trailer: Trailer; readonly length: number } {
  const start = file.lastIndexOf(10, file.length - 2) + 1;
  const line = file.toString('utf8', start, file.length - 1);
  if (file.at(-1) !== 10 || start === 0 || !isTrailer(line))
    throw damaged(where, 'is cut short: it does not end with the line of its checksum');
  return { trailer: parseAs(trailerSchema, JSON.parse(line), where, ShardDamaged), length: file.length - start };
}

function headerOf(line: string, where: string): Header {
  if (!line.startsWith(jsonLinesMark)) throw damaged(where, 'does not begin as a shard of format 1');
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (cause) {
    throw damaged(where, 'has a first line that is not JSON', cause);
  }
  return parseAs(headerSchema, parsed, `the first line of ${where}`, ShardDamaged);
}

function* linesOf(body: Buffer): Generator<Buffer> {
  let start = 0;
  for (let end = body.indexOf(10); end >= 0; end = body.indexOf(10, start)) {
    yield body.subarray(start, end);
    start = end + 1;
  }
}

/** Today's words for what the header says. */
function metaOf(header: Header): ShardMeta {
  const { run, shard, from, to, collection } = header;
  const named = collection === undefined ? {} : { collection };
  return { run, shard, range: { from, to }, rest: null, schema: schemaOf(header), ...named };
}

function schemaOf({ store, ids, vectors, model, fields }: Header): CollectionSchema {
  return {
    store,
    idType: ids,
    key: [],
    vectors: Object.entries(vectors).map(
      ([name, { kind, size, metric }]): VectorSpec => ({
        name,
        kind,
        precision: 'float32',
        ...(size === undefined ? {} : { dimension: size }),
        ...(metric === undefined ? {} : { distance: metrics[metric] }),
        ...(model === undefined ? {} : { model: { name: model } }),
      }),
    ),
    ...(fields === undefined
      ? {}
      : { fields: Object.entries(fields).map(([name, type]) => ({ name, type: types[type], nullable: true })) }),
    payloadIndexes: [],
    native: {},
  };
}

/** Payload text is cut out of its line and not parsed, so every digit stays. */
function readLines(lines: readonly Buffer[], { idType, vectors: specs }: CollectionSchema, where: string): Batch {
  const ids: string[] = [];
  const payloads: string[] = [];
  const found = specs.map((): (RawVector | undefined)[] => []);
  for (const [at, line] of lines.entries()) {
    const refuse = (what: string): ShardDamaged => damaged(where, `has a record in line ${at + 2} ${what}`);
    const { id, vectors, payload } = membersOf(line.toString('utf8'), refuse);
    if (idType === 'integer' ? !integer.test(id) : !id.startsWith('"')) throw refuse(`whose id is ${id.slice(0, 40)}`);
    ids.push(idType === 'integer' ? id : stringOf(id));
    payloads.push(payload);
    for (const [i, spec] of specs.entries()) {
      const { name, kind } = spec;
      const text = vectors.get(name);
      vectors.delete(name);
      const vector = text === undefined || text === 'null' ? undefined : vectorOf(text, spec);
      if (vector === 'none') throw refuse(`whose vector '${name}' is none of kind ${kind}`);
      found[i]?.push(vector);
    }
    const [odd] = vectors.keys();
    if (odd !== undefined) throw refuse(`with a vector '${odd}' that the first line does not name`);
  }
  const columns = specs.map((spec, i): [string, VectorColumn] => [spec.name, packVectors(spec, ids, found[i] ?? [])]);
  return { count: ids.length, ids, vectors: new Map(columns), payloads };
}

const integer = /^(0|-?[1-9][0-9]*)$/;

interface Members {
  readonly id: string;
  readonly vectors: Map<string, string>;
  readonly payload: string;
}

function membersOf(text: string, refuse: (what: string) => Error): Members {
  try {
    const { id, vectors, payload = '{}', ...others } = Object.fromEntries(splitObject(text));
    const [other] = Object.keys(others);
    if (id === undefined || vectors === undefined) throw refuse('without an id or vectors');
    if (other !== undefined) throw refuse(`with a member '${other}', which format 1 does not have`);
    if (!payload.startsWith('{')) throw refuse('whose payload is no object');
    return { id, vectors: splitObject(vectors), payload };
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse('that is no JSON object');
    throw error;
  }
}

/** As packVectors takes it. */
function vectorOf(text: string, { kind, dimension: size = 0 }: VectorSpec): RawVector | 'none' {
  const value: unknown = JSON.parse(text);
  if (kind === 'sparse') {
    const { indices, values } = Object(value);
    const isOne = isNumbers(indices) && isNumbers(values) && indices.length === values.length;
    return isOne && indices.every((each) => each >>> 0 === each) ? { kind, indices, values } : 'none';
  }
  if (kind === 'dense') return isNumbers(value) ? { kind, dimension: value.length, values: value } : 'none';
  const rows: readonly unknown[] = Array.isArray(value) ? value : [undefined];
  if (!rows.every(isNumbers)) return 'none';
  const dimension = rows[0]?.length ?? size;
  return rows.every(({ length }) => length === dimension) ? { kind, dimension, values: rows.flat() } : 'none';
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'number');
}

function damaged(where: string, what: string, cause?: unknown): ShardDamaged {
  return new ShardDamaged(`${where} ${what}; take another copy of it, or export its records again`, {
    ids: [where],
    cause,
  });
}
