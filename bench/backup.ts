import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { pgPrograms } from '../test/servers/pg-programs.ts';
import { startServer } from '../test/servers/start.ts';
import { start, vecferry } from './command.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * `vecferry migrate backup`, which reads back what it wrote, and `restore`, which makes a backup of what is there first and holds the database
 * against the kept one, beside pg_dump and pg_restore alone.
 */

const rows = 20_000;
const dimension = 384;
const rounds = 3;

export async function run(): Promise<BenchRow[]> {
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

async function onlyThis(folder: string, id: string): Promise<void> {
  for (const name of await readdir(folder)) if (name !== id) await rm(join(folder, name), { recursive: true });
}
