import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { readMoves } from '../../lib/cutover/moves.ts';
import { services } from '../../lib/services.ts';
import { makeDatabase } from '../servers/database.ts';
import { type Runs, startRuns } from './world.ts';

/** An index of PostgreSQL that does not pass: its planner would use it all the same. */

let runs: Runs;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
beforeAll(async () => {
  runs = await startRuns();
  database = await makeDatabase('index_back');
  client = new pg.Client(database.url);
  await client.connect();
});
afterAll(async () => {
  await runs.close();
  await services().close();
  await client.end();
  await database.drop();
});

async function indexesOf(table: string): Promise<string[]> {
  const { rows } = await client.query(
    `SELECT indexname FROM pg_indexes WHERE tablename = '${table}' AND indexname NOT LIKE '%pkey' ORDER BY 1`,
  );
  return rows.map(({ indexname }) => indexname);
}

test('a new index that misses its goal is dropped by the run itself, for searches would use it; the old one is untouched', async () => {
  await client.query(`CREATE TABLE docs (id int PRIMARY KEY, embedding vector(32))`);
  await client.query('SELECT setseed(0.5)');
  await client.query(
    `INSERT INTO docs SELECT i, array_agg(random())::real[]::vector FROM generate_series(1, 4000) i, generate_series(1, 32) GROUP BY i`,
  );
  await client.query('CREATE INDEX docs_idx ON docs USING ivfflat (embedding vector_l2_ops) WITH (lists = 4)');
  const source = { store: 'pgvector', connection: { url: database.url }, collection: 'public.docs' };
  // Two edges a node lead nowhere far.
  const index = { to: { kind: 'hnsw', m: 2, efConstruction: 4 } };
  const validate = { recall: { queries: 100, atLeast: 0.95, search: { efSearch: 10, probes: 4 }, depths: [] } };
  const change = async (more: object = {}) =>
    await runs.run({ source, target: { into: 'place' } as never, index, validate, ...more });

  const { run, outcome, report } = await change();
  expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
  expect(report?.verdict).toBe('failed');
  expect(await indexesOf('docs')).toEqual(['docs_idx']);
  expect(report?.index).toMatchObject({
    how: 'beside',
    oldAsked: 'in turn',
    used: 'old',
    takenBack: { reason: expect.stringMatching(/did not pass/) },
  });
  expect(report?.summary).toMatch(/The run has dropped the new index, so searches use the old one/);
  expect(report?.summary).not.toMatch(/vecferry rollback/);
  expect((await readMoves(runs.engine.objects, run)).map(({ action }) => action)).toEqual(['rollback']);

  // Started again with a goal that it meets it builds the index again, and moves readers to it.
  const again = await change({ run, validate: { recall: { ...validate.recall, atLeast: 0 } } });
  expect([again.outcome.status, again.report?.verdict]).toEqual(['SUCCEEDED', 'validated']);
  expect(await indexesOf('docs')).toEqual(['docs_idx', expect.stringMatching(/^docs_idx__before_/)]);

  // The same once more has nothing to do but to end that run.
  const same = await change();
  expect(same.outcome).toMatchObject({ error: 'Incompatible', cause: expect.stringMatching(/left by another run/) });
});

test('a new index that finds more than the old one stays, though it misses its goal: with other search settings the run goes on without another build', async () => {
  await client.query(`CREATE TABLE kept (id int PRIMARY KEY, embedding vector(32))`);
  await client.query(
    `INSERT INTO kept SELECT i, array_agg(random())::real[]::vector FROM generate_series(1, 4000) i, generate_series(1, 32) GROUP BY i`,
  );
  await client.query('CREATE INDEX kept_idx ON kept USING ivfflat (embedding vector_l2_ops) WITH (lists = 20)');
  const source = { store: 'pgvector', connection: { url: database.url }, collection: 'public.kept' };
  const index = { to: { kind: 'hnsw', m: 8, efConstruction: 64 } };
  const recall = { queries: 100, atLeast: 0.95, depths: [] };
  const change = async (efSearch: number, more: object = {}) => {
    const validate = { recall: { ...recall, search: { efSearch } } };
    return await runs.run({ source, target: { into: 'place' } as never, index, validate, ...more });
  };
  const oid = async (): Promise<string[]> => {
    const { rows } = await client.query(
      `SELECT c.oid::text FROM pg_class c JOIN pg_am m ON m.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
       WHERE indrelid = 'kept'::regclass AND amname = 'hnsw'`,
    );
    return rows.map((row) => String(row.oid));
  };

  const { run, outcome, report } = await change(12);
  expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
  expect(report?.index).toMatchObject({ kept: 'it finds no less than the old one', takenBack: null });
  expect(report?.summary).toMatch(/the new index stays.*vecferry tune .*without another build/);
  expect(await readMoves(runs.engine.objects, run)).toEqual([]);
  const built = await oid();
  expect(built).toHaveLength(1);

  // Whether it stays may be said anew too: it is no part of what the run builds.
  const again = await change(400, { run, index: { ...index, keep: true } });
  expect([again.outcome.status, again.report?.verdict]).toEqual(['SUCCEEDED', 'validated']);
  expect(await oid()).toEqual(built);
  expect(await indexesOf('kept')).toEqual(['kept_idx', expect.stringMatching(/^kept_idx__before_/)]);
});
