import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startServer } from '../test/servers/start.ts';
import { timed } from './child.ts';
import type { BenchRow } from './row.ts';

const dimension = 100;

/** Reads both collections from end to end and does nothing with them: less than that no comparison can do. */
const readBoth = `
const { pgvector } = await import('./lib/stores/pgvector.ts');
const [url, ...tables] = process.argv.slice(1);
await Promise.all(tables.map(async (collection) => {
  const store = await pgvector.open({ connection: { url }, collection, options: {} });
  for await (const _ of store.read({ from: null, to: null }, { maxRecords: 20000, maxBytes: 2 ** 23 }));
  await store.close();
}));`;

/** Memory that V8 may take before it has to collect: a peak above it is what the work itself holds. */
const tightHeap = ['--max-old-space-size=128', '--max-semi-space-size=4'];

/**
 * `vecferry validate` of two PostgreSQL collections, every record compared, at 1,000,000 records and at twice that: records a
 * second against reading both sides alone, and the most memory its process takes, which must not grow with the collection.
 * Both are past the first seconds, in which V8's young generation and the allocator's arenas take their size; how little
 * of that is needed is seen where V8 may take little.
 */
export async function run(): Promise<BenchRow[]> {
  const server = await startServer('postgres');
  try {
    const url = server.addresses.POSTGRES_URL ?? '';
    const once = await measure(url, 1_000_000);
    const twice = await measure(url, 2_000_000);
    const tight = await measure(url, 2_000_000, tightHeap);
    const rows = ({ records, seconds, reading }: Measured): BenchRow => ({
      name: `vecferry validate, every record compared, ${records.toLocaleString('en')} x ${dimension}`,
      value: records / seconds,
      unit: 'records/s',
      against: 'reading both sides alone, side by side',
      ratio: reading / seconds,
    });
    return [
      rows(once),
      rows(twice),
      { name: 'the same: peak memory, 1,000,000 records', value: once.peakMb, unit: 'MB', goal: '< 700 MB' },
      {
        name: 'the same: peak memory, 2,000,000 records',
        value: twice.peakMb,
        unit: 'MB',
        against: 'half of the records',
        ratio: twice.peakMb / once.peakMb,
        goal: 'ratio <= 1.1',
      },
      {
        name: `the same with ${tightHeap.join(' ')}`,
        value: tight.peakMb,
        unit: 'MB',
        against: 'as much heap as V8 takes',
        ratio: tight.peakMb / twice.peakMb,
        goal: '< 450 MB',
      },
    ];
  } finally {
    await server.stop();
  }
}

interface Measured {
  readonly records: number;
  readonly seconds: number;
  /** Seconds that reading both sides takes. */
  readonly reading: number;
  readonly peakMb: number;
}

async function measure(url: string, records: number, flags: readonly string[] = []): Promise<Measured> {
  const [one, other] = [`bench_one_${records}`, `bench_other_${records}`];
  await fill(url, one, other, records);
  const directory = await mkdtemp(join(tmpdir(), 'vecferry-bench-'));
  try {
    const event = {
      source: { store: 'pgvector', connection: { url }, collection: one },
      target: { store: 'pgvector', connection: { url }, collection: other },
      mode: 'validate',
      validate: { recall: null },
    };
    const reading = await timed(['--input-type=module', '-e', readBoth, url, one, other]);
    const command = [...flags, 'infra/local/cli/cli.ts', '--dir', directory, 'validate', JSON.stringify(event)];
    const { seconds, peakMb } = await timed(command);
    return { records, seconds, reading: reading.seconds, peakMb };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Rows whose floats are drawn; the others are these, each copy a little longer: drawing takes the server a minute a million. */
const drawn = 100_000;

/** Two tables with the same rows; those that are there already stay. */
async function fill(url: string, one: string, other: string, records: number): Promise<void> {
  const sql = new pg.Client(url);
  await sql.connect();
  try {
    const { rows } = await sql.query('SELECT to_regclass($1) IS NOT NULL AS there', [one]);
    if (rows[0]?.there === true) return;
    await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
    await sql.query(`CREATE TABLE ${one} (id bigint PRIMARY KEY, title text, embedding vector(${dimension}) NOT NULL)`);
    await sql.query(
      `INSERT INTO ${one} SELECT i, 'title ' || i, (SELECT array_agg(random() - 0.5) FROM generate_series(1, ${dimension}) WHERE i > 0)::float4[]::vector FROM generate_series(1, ${drawn}) i`,
    );
    for (let from = drawn; from < records; from += drawn) {
      const longer = `array_fill((1 + ${from / records})::float4, ARRAY[${dimension}])::vector`;
      const copies = `SELECT id + ${from}, 'title ' || (id + ${from}), embedding * ${longer} FROM ${one} WHERE id <= ${drawn}`;
      await sql.query(`INSERT INTO ${one} ${copies}`);
    }
    await sql.query(`CREATE TABLE ${other} (LIKE ${one} INCLUDING ALL)`);
    await sql.query(`INSERT INTO ${other} SELECT * FROM ${one}`);
    await sql.query(`VACUUM ANALYZE ${one}`);
    await sql.query(`VACUUM ANALYZE ${other}`);
  } finally {
    await sql.end();
  }
}
