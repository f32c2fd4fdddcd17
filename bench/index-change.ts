import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { seededRandom } from '../lib/sample.ts';
import { startServer } from '../test/servers/start.ts';
import { vecferry } from './command.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * IVFFlat to HNSW in the same table by `vecferry run`: export for the truth, build, recall and latency of both indexes, report and swap,
 * beside a bare CREATE INDEX CONCURRENTLY of the same index; and the slowest search of an application that goes on meanwhile.
 */

const rows = 20_000;
const dimension = 100;
const rounds = 3;
const settings = { m: 16, efConstruction: 64 };

export async function run(): Promise<BenchRow[]> {
  const server = await startServer('postgres', { own: true });
  const url = server.addresses.POSTGRES_URL ?? '';
  const sql = new pg.Client(url);
  await sql.connect();
  try {
    await fill(sql);
    return await inFolder(async (directory) => await measure(sql, url, directory));
  } finally {
    await sql.end();
    await server.stop();
  }
}

async function measure(sql: pg.Client, url: string, directory: string): Promise<BenchRow[]> {
  let round = 0;
  const slowest = { run: 0, bare: 0, none: 0 };
  const beside = async (kind: keyof typeof slowest, work: () => Promise<unknown>): Promise<Taken> => {
    const application = await startSearching(url);
    const from = performance.now();
    await work();
    const taken = new Taken(from);
    slowest[kind] = Math.max(slowest[kind], await application.stop());
    return taken;
  };
  const ms = await inTurns(
    {
      none: () => beside('none', () => sleep(2000)),
      bare: async () => {
        const { m, efConstruction } = settings;
        const form = `USING hnsw (embedding vector_cosine_ops) WITH (m = ${m}, ef_construction = ${efConstruction})`;
        const taken = await beside('bare', () => sql.query(`CREATE INDEX CONCURRENTLY bench_bare ON bench ${form}`));
        await sql.query('DROP INDEX bench_bare');
        return taken;
      },
      run: async () => {
        round++;
        const event = JSON.stringify({
          source: { store: 'pgvector', connection: { url }, collection: 'public.bench' },
          target: { into: 'place' },
          index: { vector: 'embedding', to: { kind: 'hnsw', ...settings } },
          validate: { recall: { atLeast: 0.8, search: { efSearch: 100 } } },
        });
        const taken = await beside('run', () => vecferry(directory, ['run', event, '--run', `bench-${round}`]));
        await vecferry(directory, ['rollback', `bench-${round}`]);
        return taken;
      },
    },
    { rounds, warmUps: 0 },
  );
  const name = `index change, IVFFlat to HNSW, ${rows.toLocaleString('en')} x ${dimension}`;
  const searches = (what: string, value: number, against: string, other: number): BenchRow => ({
    name: `${name}: slowest search of an application ${what}`,
    value,
    unit: 'ms',
    against,
    ratio: value / other,
  });
  return [
    {
      name: `${name}: the whole run`,
      value: ms('run') / 1000,
      unit: 's',
      against: `a bare CREATE INDEX CONCURRENTLY, ${(ms('bare') / 1000).toFixed(1)} s`,
      ratio: ms('run') / ms('bare'),
    },
    searches('during the run', slowest.run, 'during the bare build', slowest.bare),
    searches('during the bare build', slowest.bare, 'when nothing is built', slowest.none),
  ];
}

/** Searches all the time. @returns from `stop` the slowest, in milliseconds @throws from `stop` whatever one of them threw */
async function startSearching(url: string): Promise<{ stop(): Promise<number> }> {
  const client = new pg.Client(url);
  await client.connect();
  let isOver = false;
  let slowest = 0;
  const searching = (async () => {
    while (!isOver) {
      const from = performance.now();
      const near = `(SELECT embedding FROM bench WHERE id = ${1 + Math.floor(Math.random() * rows)})`;
      const found = await client.query(`SELECT id FROM bench ORDER BY embedding <=> ${near} LIMIT 10`);
      if (found.rows.length === 0) throw new Error('a search has found nothing');
      slowest = Math.max(slowest, performance.now() - from);
      await sleep(5);
    }
  })();
  // Told by stop.
  searching.catch(() => undefined);
  return {
    stop: async () => {
      isOver = true;
      try {
        await searching;
      } finally {
        await client.end();
      }
      return slowest;
    },
  };
}

/** Vectors of which 12 directions are independent, as those of models have fewer than floats. */
async function fill(sql: pg.Client): Promise<void> {
  const random = seededRandom(7);
  const factors = Array.from({ length: 12 }, () => Array.from({ length: dimension }, () => random() - 0.5));
  const vector = (): string => {
    const weights = factors.map(() => random() - 0.5);
    const float = (at: number): number =>
      factors.reduce((sum, factor, i) => sum + (factor[at] ?? 0) * (weights[i] ?? 0), 0);
    return `[${Array.from({ length: dimension }, (_, at) => float(at).toFixed(4)).join(',')}]`;
  };
  await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
  await sql.query(`CREATE TABLE bench (id bigint PRIMARY KEY, title text, embedding vector(${dimension}))`);
  const step = 5000;
  for (let from = 1; from <= rows; from += step) {
    const vectors = Array.from({ length: step }, vector);
    await sql.query(
      `INSERT INTO bench SELECT $1::int + i - 1, 'title ' || i, e::vector FROM unnest($2::text[]) WITH ORDINALITY u (e, i)`,
      [from, vectors],
    );
  }
  await sql.query(`CREATE INDEX bench_idx ON bench USING ivfflat (embedding vector_cosine_ops) WITH (lists = 20)`);
  await sql.query('VACUUM ANALYZE bench');
}
