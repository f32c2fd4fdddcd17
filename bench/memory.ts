import pg from 'pg';
import { startServer } from '../test/servers/start.ts';
import { timed } from './child.ts';
import { inFolder } from './folder.ts';
import type { BenchRow } from './row.ts';

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
  const event = JSON.stringify({
    source: { store: 'pgvector', connection: { url }, collection: source },
    target: { store: 'pgvector', connection: { url }, collection: `bench_target_${records}` },
    validate: { recall: { queries: 100 } },
  });
  return await inFolder((directory) => timed(['infra/local/cli/cli.ts', '--dir', directory, 'run', event]));
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
