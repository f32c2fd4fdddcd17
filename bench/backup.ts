import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { z } from 'zod';
import type { Batch } from '../lib/batch.ts';
import { snapshotServer } from '../lib/migrate/backup/qdrant-backup.ts';
import { readContents } from '../lib/migrate/backup/qdrant-contents.ts';
import { ask, download, type QdrantPlace } from '../lib/migrate/backup/qdrant-requests.ts';
import { seededRandom } from '../lib/sample.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { qdrant } from '../lib/stores/qdrant.ts';
import { pgPrograms } from '../test/servers/pg-programs.ts';
import { startServer } from '../test/servers/start.ts';
import { start, vecferry } from './command.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * `vecferry migrate backup`, which reads back what it wrote, and `restore`, which makes a backup of what is there first and holds the database
 * against the kept one, beside pg_dump and pg_restore alone; and a backup of Qdrant, beside its snapshot.
 */

const rows = 20_000;
const dimension = 384;
const rounds = 3;

export async function run(): Promise<BenchRow[]> {
  return [...(await runPostgres()), ...(await runQdrant())];
}

async function runPostgres(): Promise<BenchRow[]> {
  const server = await startServer('postgres', { own: true });
  const url = server.addresses.POSTGRES_URL ?? '';
  const sql = new pg.Client(url);
  await sql.connect();
  try {
    await sql.query(`CREATE EXTENSION IF NOT EXISTS vector;
      CREATE TABLE bench (id bigint PRIMARY KEY, title text NOT NULL, embedding vector(${dimension}) NOT NULL);
      INSERT INTO bench SELECT i, 'title ' || i, (SELECT array_agg(random() - 0.5) FROM generate_series(1, ${dimension}) WHERE i > 0)::float4[]::vector
        FROM generate_series(1, ${rows}) i`);
    return await inFolder(async (directory) => await measure(url, directory));
  } finally {
    await sql.end();
    await server.stop();
  }
}

async function measure(url: string, directory: string): Promise<BenchRow[]> {
  const migrations = join(directory, 'migrations');
  await mkdir(migrations);
  await writeFile(
    join(migrations, 'vecferry.yaml'),
    'stores:\n  db: {store: pgvector, connection: {secret: bench/db}}\n',
  );
  await writeFile(join(migrations, '001_bench.sql'), '-- migrate:up\nSELECT 1;\n\n-- migrate:down\n');
  const env = { VECFERRY_SECRET_BENCH_DB: JSON.stringify({ url }) };
  const programs = pgPrograms();
  const migrate = (...args: readonly string[]): Promise<void> =>
    vecferry(directory, ['migrate', ...args, '--migrations', migrations, '--pg-bin', programs], env);
  await migrate('up');
  const kept = join(directory, 'backups');
  const dump = join(directory, 'alone.dump');
  const pgDump = (file: string): Promise<void> =>
    start(join(programs, 'pg_dump'), ['--format=custom', '--compress=1', `--file=${file}`, url]);
  await migrate('backup');
  const [first = ''] = await readdir(kept);
  await pgDump(dump);
  const ms = await inTurns(
    {
      backup: async () => {
        const from = performance.now();
        await migrate('backup');
        const taken = new Taken(from);
        await onlyThis(kept, first);
        return taken;
      },
      dump: () => pgDump(join(directory, 'again.dump')),
      restore: async () => {
        const from = performance.now();
        await migrate('restore', first);
        const taken = new Taken(from);
        await onlyThis(kept, first);
        return taken;
      },
      pgRestore: () =>
        start(join(programs, 'pg_restore'), [
          '--clean',
          '--if-exists',
          '--single-transaction',
          `--dbname=${url}`,
          dump,
        ]),
    },
    { rounds, warmUps: 0 },
  );
  const row = (name: string, value: number, against: string, other: number): BenchRow => ({
    name: `vecferry migrate ${name}, PostgreSQL, ${rows.toLocaleString('en')} x ${dimension}`,
    value: value / 1000,
    unit: 's',
    against,
    ratio: value / other,
  });
  return [
    row('backup, read back', ms('backup'), 'pg_dump alone', ms('dump')),
    row('restore, a backup first', ms('restore'), 'pg_dump and pg_restore alone', ms('dump') + ms('pgRestore')),
    row('restore, a backup first', ms('restore'), 'pg_restore alone', ms('pgRestore')),
  ];
}

/** What the proof of a Qdrant backup costs: it reads every record twice, beside a snapshot and its download alone. */
async function runQdrant(): Promise<BenchRow[]> {
  const server = await startServer('qdrant', { apiKey: 'bench' });
  const url = server.addresses.QDRANT_URL ?? '';
  const connection = { url, grpcUrl: server.addresses.QDRANT_GRPC_URL, apiKey: 'bench' };
  const place: QdrantPlace = { name: 'search', url, apiKey: 'bench', connection };
  const store = await qdrant.open({ connection, collection: 'bench', options: {} });
  try {
    await store.prepare(benchSchema);
    for (let from = 0; from < rows; from += 4000)
      await store.write(benchRecords(from, 4000), { position: { run: 'b', shard: '0', offset: from }, mode: 'upsert' });
    return await inFolder(async (folder) => {
      const ms = await inTurns(
        {
          backup: async () => {
            await rm(join(folder, 'search'), { recursive: true, force: true });
            const from = performance.now();
            await snapshotServer(place, { folder, scope: undefined, tell: () => undefined });
            return new Taken(from);
          },
          snapshot: async () => {
            const path = '/collections/bench/snapshots';
            const { name } = await ask(place, 'POST', `${path}?wait=true`, z.object({ name: z.string() }));
            await download(place, `${path}/${name}`, join(folder, 'alone.snapshot'));
            await ask(place, 'DELETE', `${path}/${name}?wait=true`, z.unknown());
          },
          contents: async () => await readContents(store),
          scroll: async () => {
            for await (const { batch } of store.read(
              { from: null, to: null },
              { maxRecords: 10_000, maxBytes: 8 << 20 },
            ))
              if (batch.count === 0) throw new Error('an empty page');
          },
        },
        { rounds, warmUps: 1 },
      );
      const row = (name: string, taken: number, against: string, other: number): BenchRow => ({
        name: `${name}, Qdrant, ${rows.toLocaleString('en')} x ${dimension}`,
        value: taken / 1000,
        unit: 's',
        against,
        ratio: taken / other,
      });
      return [
        row('backup with its proof', ms('backup'), 'snapshot and download alone', ms('snapshot')),
        row('hash of the contents', ms('contents'), 'the scroll alone', ms('scroll')),
      ];
    });
  } finally {
    await store.close();
    await server.stop();
  }
}

const benchSchema: CollectionSchema = {
  store: 'qdrant',
  idType: 'integer',
  key: [],
  vectors: [{ name: '', kind: 'dense', dimension, distance: 'dot', precision: 'float32' }],
  payloadIndexes: [],
  native: {},
};

function benchRecords(from: number, count: number): Batch {
  const random = seededRandom(from + 1);
  const ids = Array.from({ length: count }, (_, at) => String(from + at));
  const payloads = ids.map((id) => JSON.stringify({ title: `title ${id}`, rank: Number(id), score: random() }));
  const values = Float32Array.from({ length: count * dimension }, () => random() - 0.5);
  return { count, ids, payloads, vectors: new Map([['', { kind: 'dense', dimension, values }]]) };
}

async function onlyThis(folder: string, id: string): Promise<void> {
  for (const name of await readdir(folder)) if (name !== id) await rm(join(folder, name), { recursive: true });
}
