import { spawn } from 'node:child_process';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startServer } from '../test/servers/start.ts';
import type { BenchRow } from './row.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const dimension = 100;

/**
 * The most memory that one process takes while it moves, compares and searches a whole collection: `vecferry run` from
 * PostgreSQL to PostgreSQL, at 100,000 records and at ten times that. It must not grow with the collection.
 */
export async function run(): Promise<BenchRow[]> {
  const server = await startServer('postgres');
  try {
    const url = server.addresses.POSTGRES_URL ?? '';
    const few = await move(url, 100_000);
    const many = await move(url, 1_000_000);
    const name = (records: number): string =>
      `peak memory of a run, ${records.toLocaleString('en')} x ${dimension}, PostgreSQL to PostgreSQL`;
    return [
      { name: name(100_000), value: few.peakMb, unit: 'MB' },
      {
        name: name(1_000_000),
        value: many.peakMb,
        unit: 'MB',
        against: 'a tenth of the records',
        ratio: many.peakMb / few.peakMb,
        goal: '< 700 MB',
      },
      {
        name: 'the same: plan to cutover, every record compared',
        value: many.seconds,
        unit: 's',
        against: 'a tenth of the records',
        ratio: many.seconds / few.seconds,
      },
    ];
  } finally {
    await server.stop();
  }
}

async function move(url: string, records: number): Promise<{ peakMb: number; seconds: number }> {
  const source = `bench_source_${records}`;
  await fill(url, source, records);
  const directory = await mkdtemp(join(tmpdir(), 'vecferry-bench-'));
  const event = JSON.stringify({
    source: { store: 'pgvector', connection: { url }, collection: source },
    target: { store: 'pgvector', connection: { url }, collection: `bench_target_${records}` },
    validate: { recall: { queries: 100 } },
  });
  const begin = performance.now();
  const child = spawn(process.execPath, ['infra/local/cli.ts', '--dir', directory, 'run', event], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output: string[] = [];
  child.stdout.on('data', (data: Buffer) => output.push(data.toString()));
  child.stderr.on('data', (data: Buffer) => output.push(data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let peakMb = 0;
  while (child.exitCode === null) {
    peakMb = Math.max(peakMb, await peakOf(child.pid ?? 0));
    await Promise.race([ended, sleep(200)]);
  }
  if ((await ended) !== 0) throw new Error(`the run failed:\n${output.join('')}`);
  return { peakMb, seconds: (performance.now() - begin) / 1000 };
}

async function fill(url: string, table: string, records: number): Promise<void> {
  const sql = new pg.Client(url);
  await sql.connect();
  try {
    await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
    await sql.query(
      `CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, embedding vector(${dimension}) NOT NULL)`,
    );
    await sql.query(
      `INSERT INTO ${table} SELECT i, 'title ' || i, (SELECT array_agg(random() - 0.5) FROM generate_series(1, ${dimension}) WHERE i > 0)::float4[]::vector FROM generate_series(1, $1::int) i`,
      [records],
    );
    await sql.query(`VACUUM ANALYZE ${table}`);
  } finally {
    await sql.end();
  }
}

/** The highest resident memory the process ever had, in MB (10^6 bytes): the kernel keeps it as VmHWM. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return (Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
