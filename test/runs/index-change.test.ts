import { appendFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { type Report, reportSchema } from '../../lib/report/report-schema.ts';
import { makeDatabase } from '../servers/database.ts';
import { until } from '../until.ts';
import { startSearching } from './search-application.ts';
import { type VecferryProcess, vecferryProcess } from './vecferry-process.ts';

/** An index is changed, by processes that are killed, while an application searches and writes 100,000 rows all the time. */

let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
beforeAll(async () => {
  database = await makeDatabase('runs_index');
  client = new pg.Client(database.url);
  await client.connect();
});
const stopping: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const stop of stopping) await stop();
  await client.end();
  await database.drop();
});

const query = async (sql: string): Promise<Record<string, unknown>[]> => (await client.query(sql)).rows;

/** Rows of 100 floats of which 12 are independent, as those of models are fewer than their floats. */
async function makeTable(table: string, rows: number): Promise<void> {
  let state = 1;
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647 - 0.5;
  };
  const factors = Array.from({ length: 12 }, () => Array.from({ length: 100 }, random));
  const vector = (): string => {
    const floats = new Float64Array(100);
    for (const factor of factors) {
      const weight = random();
      for (const [at, each] of factor.entries()) floats[at] = (floats[at] ?? 0) + weight * each;
    }
    return `[${Array.from(floats, (each) => each.toFixed(3)).join(',')}]`;
  };
  await query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, topic text, n int, embedding vector(100))`);
  const step = 5000;
  for (let from = 1; from <= rows; from += step) {
    const vectors = Array.from({ length: step }, vector);
    await client.query(
      `INSERT INTO ${table} SELECT $1::int + i - 1, 'topic ' || i % 10, 0, e::vector FROM unnest($2::text[]) WITH ORDINALITY u (e, i)`,
      [from, vectors],
    );
  }
  await query(`VACUUM ANALYZE ${table}`);
}

/** Name, method and whether it is valid, of the indexes on vectors. */
async function indexesOf(table: string): Promise<string[]> {
  const rows =
    await query(`SELECT c.relname || ' ' || m.amname || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END AS text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    WHERE i.indrelid = '${table}'::regclass AND m.amname <> 'btree' ORDER BY 1`);
  return rows.map(({ text }) => String(text));
}

/** Follows what is built of a table, on a connection of its own: other tests build in the same server. */
async function watchBuilds(table: string): Promise<{ stop(): Promise<{ readonly longestMs: number }> }> {
  const own = new pg.Client(database.url);
  await own.connect();
  let isOver = false;
  let longestMs = 0;
  const watching = (async () => {
    for (let since: number | undefined; !isOver; await sleep(50)) {
      const { rows } = await own.query(
        `SELECT pid FROM pg_stat_progress_create_index WHERE relid = '${table}'::regclass`,
      );
      since = rows.length === 0 ? undefined : (since ?? performance.now());
      if (since !== undefined) longestMs = Math.max(longestMs, performance.now() - since);
    }
    await own.end();
  })();
  return {
    stop: async () => {
      isOver = true;
      await watching;
      return { longestMs };
    },
  };
}

async function isBuilding(table: string): Promise<boolean> {
  const rows = await query(
    `SELECT pid FROM pg_stat_progress_create_index WHERE relid = '${table}'::regclass AND phase LIKE 'building%' AND tuples_done > 2000`,
  );
  return rows.length > 0;
}

const reportOf = (vecferry: VecferryProcess): Report =>
  reportSchema.parse(JSON.parse(readFileSync(vecferry.objects('report.json'), 'utf8')));

/** Mean recall@k of both indexes, and the median of how long each took. */
function measuredBy({ recall }: Report): Record<'source' | 'target', { mean: number; p50: number }> {
  const [set] = recall?.sets ?? [];
  if (set?.source.measured !== true || set.target.measured !== true) throw new Error('a side was not measured');
  const { source, target } = set;
  return {
    source: { mean: source.mean, p50: source.latency.p50 },
    target: { mean: target.mean, p50: target.latency.p50 },
  };
}

async function retire(vecferry: VecferryProcess, run: string): Promise<void> {
  const told = await vecferry.run('retire', run);
  const name = /--confirm '?([^'\s]+)'?/.exec(told)?.[1] ?? '';
  await vecferry.run('retire', run, '--confirm', name);
}

/** Figures of a run, for whoever asks: a file named in VECFERRY_FIGURES. */
function keepFigures(what: string, figures: unknown): void {
  const file = process.env['VECFERRY_FIGURES'];
  if (file !== undefined) appendFileSync(file, `${what} ${JSON.stringify(figures)}\n`);
}

test('100,000 rows go from IVFFlat to HNSW and back while an application searches and writes: killed in the build and at the swap, taken back, built again, and no query fails', async () => {
  await makeTable('docs', 100_000);
  await query('CREATE INDEX docs_idx ON docs USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100)');
  await query(`COMMENT ON INDEX docs_idx IS 'for the search page'`);
  const event = (run: string, to: object, more: object = {}): readonly string[] => [
    'run',
    JSON.stringify({
      source: { store: 'pgvector', connection: { url: database.url }, collection: 'public.docs' },
      target: { into: 'place' },
      index: { vector: 'embedding', to },
      validate: { recall: { queries: 100, atLeast: 0.8, search: { efSearch: 100, probes: 20 }, depths: [10] } },
      ...more,
    }),
    '--run',
    run,
  ];
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-index-'));
  const vecferry = vecferryProcess(directory, 'r1');
  const application = await startSearching({ url: database.url, table: 'docs' });
  const steps: Record<string, number> = {};
  let begun = performance.now();
  const step = (name: string): void => {
    steps[name] = Math.round(performance.now() - begun);
    begun = performance.now();
  };
  const builds = await watchBuilds('docs');
  stopping.push(application.stop, async () => void (await builds.stop()));

  // Killed in the build: the server goes on with it, until that is ended too, and leaves an invalid index.
  const start = event('r1', { kind: 'hnsw', m: 8, efConstruction: 24 }, { cutover: null });
  await vecferry.killOnce(start, () => isBuilding('docs'));
  expect(vecferry.kills()).toBe(1);
  await query(`SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index WHERE relid = 'docs'::regclass`);
  await until(
    async () =>
      (await query(`SELECT pid FROM pg_stat_progress_create_index WHERE relid = 'docs'::regclass`)).length === 0,
    'the end of the build',
  );
  expect(await indexesOf('docs')).toEqual([
    expect.stringMatching(/^docs_embedding__vecferry_\w{8} hnsw INVALID$/),
    'docs_idx ivfflat',
  ]);
  step('killed in the build');
  await vecferry.run(...start);
  step('to HNSW');
  const there = reportOf(vecferry);
  expect(there.verdict).toBe('validated');
  const measured = measuredBy(there);
  expect(measured.target.mean).toBeGreaterThan(0.8);
  expect(measured.source.mean).toBeLessThan(1);
  // Nothing was written, so no record is called equal.
  expect(there.compare).toMatchObject({ equal: 0, different: 0, missing: 0 });

  // Killed at the swap, which its log has already.
  await vecferry.killWhen(['cutover', 'r1'], 'moves', 1);
  await vecferry.run('cutover', 'r1');
  await vecferry.run('cutover', 'r1');
  const backup = expect.stringMatching(/^docs_idx__before_\w{8} ivfflat$/);
  expect(await indexesOf('docs')).toEqual(['docs_idx hnsw', backup]);
  const [{ words } = { words: '' }] = await query(`SELECT obj_description('docs_idx'::regclass) AS words`);
  expect(words).toBe('for the search page');

  step('swapped');

  // Taken back: the new one goes, so that the planner has no choice.
  await vecferry.run('rollback', 'r1');
  await vecferry.run('rollback', 'r1');
  expect(await indexesOf('docs')).toEqual(['docs_idx ivfflat']);
  await expect(vecferry.run('cutover', 'r1')).rejects.toThrow(/start the run again under its id/);

  step('taken back');
  await vecferry.run(...event('r1', { kind: 'hnsw', m: 8, efConstruction: 24 }));
  expect(await indexesOf('docs')).toEqual(['docs_idx hnsw', backup]);
  await retire(vecferry, 'r1');
  expect(await indexesOf('docs')).toEqual(['docs_idx hnsw']);

  step('again, and retired');

  const back = vecferryProcess(directory, 'r2');
  await back.run(...event('r2', { kind: 'ivfflat' }));
  expect(reportOf(back).verdict).toBe('validated');
  await retire(back, 'r2');
  expect(await indexesOf('docs')).toEqual(['docs_idx ivfflat']);

  step('to IVFFlat, and retired');
  await application.stop();
  expect(application.failures).toEqual([]);
  for (const count of Object.values(application.counts)) expect(count).toBeGreaterThan(100);
  // A build that locks the table would make writes wait for all of it.
  const { longestMs } = await builds.stop();
  for (const waited of Object.values(application.longest)) expect(waited).toBeLessThan(Math.max(3000, longestMs / 2));
  keepFigures('index change', { application, longestMs, steps, there: measured, back: measuredBy(reportOf(back)) });
}, 600_000);
