import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { recallSchema } from '../../lib/run-files.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makeDatabase } from '../servers/database.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** Whole runs whose target misses its goal and may keep what tuning finds: ALTER DATABASE on a database of this test's own. */

const vectors = [
  { name: 'embedding', kind: 'dense', dimension: 64, distance: 'cosine', precision: 'float32' } as const,
];
const ids = Array.from({ length: 4000 }, (_, at) => String(at));
const index = { kind: 'hnsw', m: 6, efConstruction: 24 };
const [goal, lowEfSearch] = [0.9, 15];

let runs: Runs;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let source: EndpointInput;
beforeAll(async () => {
  runs = await startRuns();
  database = await makeDatabase('runs_keep');
  source = await endpointIn(runs, 'files', 'keep_source');
  await runs.seed(source, makeSchema({ vectors }), makeBatch({ ids, vectors, seed: 7 }));
  await alter(`SET hnsw.ef_search = ${lowEfSearch}`);
});
afterAll(async () => {
  await runs.close();
  await database.drop();
});

/** In a session of its own, as psql has it. */
async function inNewSession(sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client(database.url);
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}
const alter = async (what: string): Promise<void> => {
  await inNewSession(`ALTER DATABASE ${new URL(database.url).pathname.slice(1)} ${what}`);
};
/** How many rows the index hands over of the 1,000 that are asked for: as many as hnsw.ef_search. */
async function handedOver(collection: string): Promise<number> {
  const client = new pg.Client(database.url);
  await client.connect();
  await client.query('SET enable_seqscan = off');
  const nearness = `embedding <=> (SELECT embedding FROM ${collection} WHERE id = 0)`;
  const { rows } = await client.query(`SELECT id FROM ${collection} ORDER BY ${nearness} LIMIT 1000`);
  await client.end();
  return rows.length;
}

const eventFor = (collection: string, options?: Record<string, unknown>) => ({
  source,
  target: { store: 'pgvector', connection: { url: database.url }, collection, ...(options && { options }) },
  mapping: { vectors: { embedding: { index } } },
  validate: { recall: { queries: 150, k: 10, atLeast: goal, depths: [], tune: true } },
  cutover: null,
});

test('what tuning chose is kept where the options say so: the run passes by recall measured anew, and every new session searches so', async () => {
  const words = await runs.run(eventFor('told'));
  expect(words.report?.verdict).toBe('unproven');
  expect(words.report?.tuning?.[0]).toMatchObject({ kept: false, how: expect.stringContaining('SET hnsw.ef_search') });
  expect(await handedOver('told')).toBe(lowEfSearch);

  const only = eventFor('told', { keepSearch: 'database' });
  const { report: untouched } = await runs.run({ ...only, mode: 'validate', mapping: {} });
  expect(untouched?.tuning?.[0]).toMatchObject({ kept: false, how: expect.stringContaining('SET hnsw.ef_search') });
  expect(await handedOver('told')).toBe(lowEfSearch);

  const result = await runs.run(eventFor('kept', { keepSearch: 'database' }));
  const report = expectValidated(result);
  const [tuned] = report.tuning ?? [];
  const efSearch = tuned?.chosen?.efSearch ?? 0;
  expect(efSearch).toBeGreaterThan(lowEfSearch);
  expect(tuned).toMatchObject({ kept: true, curve: expect.any(Array) });
  expect(tuned?.curve[0]?.settings.efSearch).toBe(lowEfSearch);
  expect(tuned?.curve[0]?.low).toBeLessThan(goal);
  expect(tuned?.how).toMatch(/To take it back: ALTER DATABASE .* SET hnsw.ef_search = '15';$/);
  expect(await handedOver('kept')).toBe(efSearch);
  const recall = await getJson(runs.engine.objects, runKeys(result.run).recall, recallSchema);
  const [entry] = recall?.sets ?? [];
  expect(entry).toMatchObject({ outcome: 'passed', settings: { efSearch } });
  expect(entry?.target.measured && entry.target.low).toBeGreaterThanOrEqual(goal);
  // The same search without a word about settings, by another run: what an application finds now.
  await runs.open({ ...only.target, collection: 'kept' }).then(async (store) => {
    expect((await store.tuning('embedding')).current.efSearch).toBe(efSearch);
  });
  await inNewSession(tuned?.how.split('To take it back: ')[1] ?? '');
  expect(await handedOver('kept')).toBe(lowEfSearch);
});
