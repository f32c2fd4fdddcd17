import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { type Batch, batchBytes, concatBatches, sliceBatch } from '../lib/batch.ts';
import { writeParquet } from '../lib/parquet-wasm.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { decodeShard, encodeShard, shardChecksum } from '../lib/shard.ts';
import { batchToArrow, shardColumns } from '../lib/shard-arrow.ts';
import { pgvector } from '../lib/stores/pgvector.ts';
import type { Store } from '../lib/stores/port.ts';
import { startServer } from '../test/servers/start.ts';

/**
 * PostgreSQL to shards and back, beside what the parts take alone in the same run, in one process: COPY out without
 * looking at a byte, writing Parquet from columns that are there, COPY in of a body that is there.
 * `node bench/postgres.ts` runs it alone.
 */
export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The ceiling measured in the same run. */
  readonly against: number;
  /** value / against */
  readonly ratio: number;
  readonly goal: string;
}

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
    let round = 0;
    const [copyOutMs = 0, parquetMs = 0, exportMs = 0, copyInMs = 0, importMs = 0, writeMs = 0] = await bestOf([
      async () => {
        await copyOut(client);
      },
      async () => {
        for (const batch of batches) writeAlone(batch);
      },
      async () => {
        let at = 0;
        for await (const batch of cutShards(source)) shardChecksum(await encode(batch, schema, at++));
      },
      async () => {
        await client.query('TRUNCATE bench_plain');
        await copyIn(client, body);
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
      rate(
        'PostgreSQL to shards',
        exportMs,
        copyOutMs + parquetMs,
        'at least 0.5 of COPY out and Parquet writing, one after the other',
      ),
      rate('shards to PostgreSQL', importMs, copyInMs, 'at least 0.6 of binary COPY in'),
      rate('batches to PostgreSQL', writeMs, copyInMs, 'for comparison: the import without reading Parquet'),
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

function rate(name: string, ours: number, alone: number, goal: string): BenchRow {
  const [value, against] = [(records * 1000) / ours, (records * 1000) / alone];
  return {
    name: `${name}, ${records} x ${dimension}`,
    value,
    unit: 'records/s',
    against,
    ratio: value / against,
    goal,
  };
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

async function importShard(target: Store, shard: Uint8Array, name: string, at: number): Promise<void> {
  const { batch } = await decodeShard(shard, name);
  await writeBatch(target, batch, name, at);
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

async function copyIn(client: pg.Client, body: Buffer): Promise<void> {
  const stream = client.query(copyFrom('COPY bench_plain FROM STDIN (FORMAT binary)'));
  await new Promise<void>((resolve, reject) => {
    stream.on('finish', resolve).on('error', reject);
    for (let at = 0; at < body.length; at += 1 << 20) stream.write(body.subarray(at, at + (1 << 20)));
    stream.end();
  });
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

if (import.meta.main) {
  for (const { name, value, unit, against, ratio, goal } of await run()) {
    console.log(`${name}: ${value.toFixed(0)} ${unit}, ceiling ${against.toFixed(0)}: ${ratio.toFixed(2)} (${goal})`);
  }
}
