import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { services } from '../../lib/services.ts';
import { makeDatabase } from '../servers/database.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { readGlosses } from './glosses.ts';
import { startApplication } from './table-application.ts';
import { expectValidated, fewQueries, type RunInput, type Runs, startRuns } from './world.ts';

/** What goes wrong with a table that is changed in place, and whether the run says so. */

let runs: Runs;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
let server: EmbeddingServer;
beforeAll(async () => {
  runs = await startRuns();
  database = await makeDatabase('in_place_faults');
  client = new pg.Client(database.url);
  await client.connect();
  server = await startEmbeddings();
});
afterAll(async () => {
  await runs.close();
  await services().close();
  await client.end();
  await server.close();
  await database.drop();
});

async function makeTable(
  count: number,
  url = server.url,
): Promise<{ readonly table: string; readonly event: RunInput }> {
  const table = runs.unique('docs');
  await client.query(`CREATE TABLE ${table} (id text PRIMARY KEY, text text, embedding vector(3))`);
  const glosses = readGlosses(count);
  await client.query(
    `INSERT INTO ${table} SELECT id, text, '[1,2,3]' FROM unnest($1::text[], $2::text[]) t (id, text)`,
    [glosses.map(({ id }) => id), glosses.map(({ text }) => text)],
  );
  const source = { store: 'pgvector', connection: { url: database.url }, collection: table };
  const model = { provider: 'openai', connection: { url }, name: 'glove-50', version: '1', dimensions: 50 };
  const embed = { text: 'text', model: { ...model, maxInputTokens: 500, usdPerMillionTokens: 1 } };
  return { table, event: { source, target: { ...source, into: 'place' }, embed, validate: fewQueries } };
}

const madeColumn = async (table: string): Promise<string> => {
  const { rows } = await client.query(
    `SELECT attname FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attname LIKE 'embedding\\_\\_vecferry%'`,
  );
  return rows[0].attname;
};

test('a vector that is not the text’s, or gone, is found, named, and nothing is switched', async () => {
  const { table, event } = await makeTable(120);
  const ids = (await client.query(`SELECT id FROM ${table} ORDER BY id LIMIT 4`)).rows.map(({ id }) => id);
  let isPlanted = false;
  const { outcome, report } = await runs.run(event, async ({ state }) => {
    if (state !== 'Choose the queries' || isPlanted) return;
    isPlanted = true;
    const made = await madeColumn(table);
    await client.query(`UPDATE ${table} SET ${made} = array_fill(0.5::real, ARRAY[50])::vector WHERE id = '${ids[0]}'`);
    await client.query(`UPDATE ${table} SET ${made} = NULL WHERE id = '${ids[1]}'`);
    // These are the application's, and no fault.
    await client.query(`UPDATE ${table} SET text = 'another text by now' WHERE id = '${ids[2]}'`);
    await client.query(`DELETE FROM ${table} WHERE id = '${ids[3]}'`);
  });
  expect(isPlanted).toBe(true);
  expect(outcome.status).toBe('FAILED');
  expect(report?.compare).toMatchObject({ equal: 118, different: 2, changed: 2, missing: 0 });
  expect(report?.compare?.first.different.map(({ id }) => id).sort()).toEqual([ids[0], ids[1]].sort());
  expect(await madeColumn(table)).toMatch(/__vecferry_/);
});

test('a text that is too long fails the run by name; once it is shortened in the table, the run goes on and passes', async () => {
  const { table, event } = await makeTable(60);
  const { rows } = await client.query(`SELECT id, text FROM ${table} ORDER BY id LIMIT 1`);
  await client.query(`UPDATE ${table} SET text = repeat('river ', 2000) WHERE id = $1`, [rows[0].id]);
  const first = await runs.run(event);
  expect(first.outcome.status).toBe('FAILED');
  expect(JSON.stringify(first.report?.findings)).toContain(rows[0].id);
  await client.query(`UPDATE ${table} SET text = 'a river' WHERE id = $1`, [rows[0].id]);
  const second = await runs.run({ ...event, run: first.run });
  expectValidated(second);
  const sizes = await client.query(
    `SELECT vector_dims(embedding) AS size, count(*)::int AS count FROM ${table} GROUP BY 1`,
  );
  expect(sizes.rows).toEqual([{ size: 50, count: 60 }]);
});

test('a budget that is used up stops the catch-up too, and what was made is kept', async () => {
  const { table, event } = await makeTable(60);
  const budget = { tokens: 1500 };
  const planned = { ...event, embed: { ...Object(event['embed']), budget } };
  let isWritten = false;
  const { outcome, run } = await runs.run(planned, async ({ state }) => {
    if (state !== 'Await the import' || isWritten) return;
    isWritten = true;
    await client.query(
      `INSERT INTO ${table} SELECT 'new ' || i, repeat('town ' || i || ' ', 100) FROM generate_series(1, 20) i`,
    );
  });
  expect(outcome).toMatchObject({ status: 'FAILED', error: 'BudgetExceeded' });
  const raised = { ...event, run, embed: { ...Object(event['embed']), budget: { tokens: 100_000 } } };
  expectValidated(await runs.run(raised));
  const lacking = await client.query(`SELECT count(*)::int AS count FROM ${table} WHERE embedding IS NULL`);
  expect(lacking.rows).toEqual([{ count: 0 }]);
});

test('a table whose texts change all the time is switched all the same, and no write of its application fails', async () => {
  const slow = await startEmbeddings({ delayMs: 40 });
  const { table, event } = await makeTable(3000, slow.url);
  await client.query(`ALTER TABLE ${table} ADD COLUMN seen int DEFAULT 0`);
  const application = await startApplication({ url: database.url, table, textEveryMs: 15 });
  let tookMs = 0;
  try {
    await application.hasLooked();
    const began = performance.now();
    expectValidated(await runs.run(event));
    tookMs = performance.now() - began;
    await application.hasLooked();
  } finally {
    await application.stop();
    await slow.close();
  }
  expect(application.failures).toEqual([]);
  expect(application.sizes).toEqual([3, 50]);
  // A switch makes writers wait for the model, a second at most, and for the two locks; not for most of the run.
  expect(application.longest.text).toBeLessThan(Math.max(4000, tookMs / 5));
});
