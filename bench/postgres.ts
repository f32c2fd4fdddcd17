import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { type Batch, batchBytes, column, concatBatches, sliceBatch } from '../lib/batch.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { releaseMemory, writeParquet } from '../lib/shard/parquet-wasm.ts';
import { encodeShard, readShard, shardHeader, verifyShard } from '../lib/shard/shard.ts';
import { batchToArrow, shardColumns } from '../lib/shard/shard-arrow.ts';
import { copyHeader, copyTrailer, copyWriter } from '../lib/stores/pgvector/copy.ts';
import { pgvector } from '../lib/stores/pgvector.ts';
import type { Store } from '../lib/stores/port.ts';
import { startServer } from '../test/servers/start.ts';
import type { BenchRow } from './row.ts';

/**
 * PostgreSQL to shards and back, beside what the parts take alone in the same run, in one process: COPY out without
 * looking at a byte, writing Parquet from columns that are there; COPY in of a body that is there, and COPY in of a body
 * encoded from flat arrays.
 */

const records = 40_000;
const dimension = 384;
const rounds = 7;
/** The event's default size of a shard. */
const shardBytes = 32 * 1024 * 1024;
/** What the export asks of a source, and the import of a target. */
const readLimits = { maxRecords: 20_000, maxBytes: 8 * 1024 * 1024 };
const perWrite = 10_000;

export async function run(): Promise<BenchRow[]> {
  const server = await startServer('postgres');
  const url = server.addresses.POSTGRES_URL;
  if (url === undefined) throw new Error('the PostgreSQL test server has no address');
  const client = new pg.Client(url);
  await client.connect();
  const open = (collection: string): Promise<Store> => pgvector.open({ connection: { url }, collection, options: {} });
  const [source, target] = [await open('bench_source'), await open('bench_target')];
  try {
    await client.query(`${dropAll}; ${makeSource}`);
    await client.query('VACUUM ANALYZE bench_source');
    const { schema } = await source.describe();
    const batches = await readShards(source);
    const shards = await Promise.all(batches.map((batch, at) => encode(batch, schema, at)));
    await target.prepare(schema);
    const body = await copyOut(client);
    const flat = flatArrays(batches);
    let round = 0;
    const [copyOutMs = 0, parquetMs = 0, exportMs = 0, copyInMs = 0, encodedMs = 0, importMs = 0, writeMs = 0] =
      await bestOf([
        async () => {
          await copyOut(client);
        },
        async () => {
          for (const batch of batches) writeAlone(batch);
        },
        async () => {
          let at = 0;
          for await (const batch of cutShards(source)) shardHeader(await encode(batch, schema, at++), 'bench');
        },
        async () => {
          await client.query('TRUNCATE bench_plain');
          await copyIn(client, [body]);
        },
        async () => {
          await client.query('TRUNCATE bench_plain');
          await copyIn(client, encodeFlat(flat));
        },
        async () => {
          await client.query('TRUNCATE bench_target');
          round++;
          for (const [at, shard] of shards.entries()) await importShard(target, shard, `bench-${round}`, at);
        },
        async () => {
          await client.query('TRUNCATE bench_target');
          round++;
          for (const [at, batch] of batches.entries()) await writeBatch(target, batch, `bench-${round}`, at);
        },
      ]);
    return [
      rate('PostgreSQL to shards', exportMs, copyOutMs + parquetMs, 'COPY out, then Parquet writing', 'ratio >= 0.5'),
      rate('shards to PostgreSQL', importMs, encodedMs, 'binary COPY encoded from flat arrays', 'ratio >= 0.6'),
      rate('shards to PostgreSQL', importMs, copyInMs, 'binary COPY of a ready-made body'),
      rate('batches to PostgreSQL', writeMs, encodedMs, 'binary COPY encoded from flat arrays'),
      rate('batches to PostgreSQL', writeMs, copyInMs, 'binary COPY of a ready-made body'),
    ];
  } finally {
    await client.query(dropAll);
    await Promise.all([source.close(), target.close(), client.end()]);
    await server.stop();
  }
}

const dropAll = 'DROP TABLE IF EXISTS bench_source, bench_target, bench_plain';
const makeSource = `
  CREATE EXTENSION IF NOT EXISTS vector;
  CREATE TABLE bench_source (id bigint PRIMARY KEY, title text, lang varchar(8), rank int, score float8, at timestamptz, meta jsonb, embedding vector(${dimension}));
  INSERT INTO bench_source SELECT i, 'Article number ' || i, 'en', i, i / 7.0, '2026-01-01Z'::timestamptz + i * interval '1 s', '{"draft": false, "tags": ["a", "b"]}',
    ARRAY(SELECT random() * 2 - 1 + i * 0 FROM generate_series(1, ${dimension}))::real[]::vector
    FROM generate_series(1, ${records}) i;
  CREATE TABLE bench_plain (LIKE bench_source INCLUDING ALL)`;

function rate(name: string, ours: number, alone: number, against: string, goal?: string): BenchRow {
  return {
    name: `${name}, ${records.toLocaleString('en')} x ${dimension}`,
    value: (records * 1000) / ours,
    unit: 'records/s',
    against,
    ratio: alone / ours,
    ...(goal === undefined ? {} : { goal }),
  };
}

interface FlatArrays {
  readonly ids: readonly number[];
  readonly values: Float32Array;
  readonly rows: readonly { title: string; lang: string; rank: number; score: number; meta: string }[];
}

/** The columns of the plain table, already parsed: what a client with the data in hand would begin with. */
function flatArrays(batches: readonly Batch[]): FlatArrays {
  const all = concatBatches(batches);
  const rows = all.payloads.map((payload) => {
    const { title, lang, rank, score, meta } = JSON.parse(payload);
    return { title, lang, rank, score, meta: JSON.stringify(meta) };
  });
  return { ids: all.ids.map(Number), values: column(all, 'embedding').values, rows };
}

const jsonbVersion = Uint8Array.of(1);

/** Tuples of the plain table in pieces of about 1 MiB, each encoded when it is asked for. */
function* encodeFlat({ ids, values, rows }: FlatArrays): Generator<Uint8Array> {
  yield copyHeader;
  const writer = copyWriter((1 << 20) + (1 << 16));
  const whole = (value: number): void => writer.fixed(8, (bytes, at) => bytes.writeBigInt64BE(BigInt(value), at));
  for (const [i, row] of rows.entries()) {
    writer.tuple(8);
    whole(ids[i] ?? 0);
    writer.text(row.title);
    writer.text(row.lang);
    writer.fixed(4, (bytes, at) => bytes.writeInt32BE(row.rank, at));
    writer.fixed(8, (bytes, at) => bytes.writeDoubleBE(row.score, at));
    whole(i * 1_000_000);
    writer.text(row.meta, jsonbVersion);
    writer.fixed(4 + dimension * 4, (bytes, at) => {
      bytes.writeInt32BE(dimension << 16, at);
      const start = values.byteOffset + i * dimension * 4;
      bytes.set(new Uint8Array(values.buffer, start, dimension * 4), at + 4);
      bytes.subarray(at + 4, at + 4 + dimension * 4).swap32();
    });
    if (writer.size() >= 1 << 20) yield writer.take();
  }
  yield writer.take();
  yield copyTrailer;
}

/** As the export cuts them. */
async function* cutShards(source: Store): AsyncIterable<Batch> {
  let pending: Batch[] = [];
  let bytes = 0;
  for await (const { batch } of source.read({ from: null, to: null }, readLimits)) {
    if (bytes + batchBytes(batch) > shardBytes) {
      yield concatBatches(pending);
      pending = [];
      bytes = 0;
    }
    pending.push(batch);
    bytes += batchBytes(batch);
  }
  yield concatBatches(pending);
}

async function readShards(source: Store): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of cutShards(source)) batches.push(batch);
  return batches;
}

const encode = (batch: Batch, schema: CollectionSchema, at: number): Promise<Uint8Array> =>
  encodeShard(batch, { run: 'bench', shard: `00000-00${at}`, range: { from: null, to: null }, rest: null, schema });

function writeAlone(batch: Batch): void {
  writeParquet(batchToArrow(batch, shardColumns(batch.vectors)), batch.count);
}

/** As lib/import.ts: its checksum, then pieces of the shard as they are read. */
async function importShard(target: Store, shard: Uint8Array, name: string, at: number): Promise<void> {
  let offset = 0;
  for await (const group of readShard(shard, name, { maxRecords: perWrite, header: verifyShard(shard, name) })) {
    for (let from = 0; from < group.count; ) {
      const piece = pieceAt(group, from, perWrite);
      await target.write(piece, { position: { run: name, shard: `00000-00${at}`, offset }, mode: 'upsert' });
      from += piece.count;
      offset += piece.count;
    }
    for (const { values } of group.vectors.values()) releaseMemory(values);
  }
}

/** A write is 8 MiB at most. */
function pieceAt(batch: Batch, from: number, count: number): Batch {
  const piece = sliceBatch(batch, from, from + count);
  const bytes = batchBytes(piece);
  if (bytes <= readLimits.maxBytes || piece.count === 1) return piece;
  return pieceAt(batch, from, Math.max(1, Math.floor((piece.count * readLimits.maxBytes) / bytes)));
}

async function writeBatch(target: Store, batch: Batch, name: string, at: number): Promise<void> {
  for (let offset = 0; offset < batch.count; offset += perWrite) {
    const position = { run: name, shard: `00000-00${at}`, offset };
    await target.write(sliceBatch(batch, offset, offset + perWrite), { position, mode: 'upsert' });
  }
}

async function copyOut(client: pg.Client): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const text = 'COPY (SELECT * FROM bench_source ORDER BY id) TO STDOUT (FORMAT binary)';
  for await (const chunk of client.query(copyTo(text, { highWaterMark: 1 << 20 }))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function copyIn(client: pg.Client, body: Iterable<Uint8Array>): Promise<void> {
  const stream = client.query(copyFrom('COPY bench_plain FROM STDIN (FORMAT binary)'));
  await pipeline(Readable.from(cut(body)), stream);
}

function* cut(body: Iterable<Uint8Array>): Generator<Uint8Array> {
  for (const bytes of body) {
    for (let at = 0; at < bytes.length; at += 1 << 20) yield bytes.subarray(at, at + (1 << 20));
  }
}

/** Milliseconds a task takes at best: the round that others on the machine disturbed least. The tasks take turns, so all warm up alike. */
async function bestOf(tasks: readonly (() => Promise<void>)[]): Promise<number[]> {
  const times = tasks.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [at, task] of tasks.entries()) {
      const before = performance.now();
      await task();
      times[at]?.push(performance.now() - before);
    }
  }
  return times.map((each) => Math.min(...each));
}
