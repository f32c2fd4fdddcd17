import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { services } from '../../lib/services.ts';
import { makeDatabase } from '../servers/database.ts';
import { readGlosses } from './glosses.ts';
import { expectValidated, type Runs, startRuns } from './world.ts';

/** Whole runs in place: definitions of WordNet in a table of PostgreSQL, whose old vectors have 100 floats. */

let runs: Runs;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
beforeAll(async () => {
  runs = await startRuns();
  database = await makeDatabase('runs_in_place');
  client = new pg.Client(database.url);
  await client.connect();
}, 120_000);
afterAll(async () => {
  await runs.close();
  await services().close();
  await client.end();
  await database.drop();
});

const query = async (sql: string, values: readonly unknown[] = []): Promise<Record<string, unknown>[]> =>
  (await client.query(sql, [...values])).rows;

/** A table of definitions with an old vector each. */
async function makeTable(count: number): Promise<string> {
  const table = runs.unique('docs');
  await query(`CREATE TABLE ${table} (id text PRIMARY KEY, text text, seen int DEFAULT 0, embedding vector(100))`);
  const glosses = readGlosses(count);
  for (let at = 0; at < glosses.length; at += 500) {
    const part = glosses.slice(at, at + 500);
    await query(
      `INSERT INTO ${table} (id, text, embedding)
       SELECT id, text, (SELECT array_agg(sin(i * ascii(text) + length(text))) FROM generate_series(1, 100) i)::vector
       FROM unnest($1::text[], $2::text[]) t (id, text)`,
      [part.map(({ id }) => id), part.map(({ text }) => text)],
    );
  }
  await query(`CREATE INDEX ${table}_idx ON ${table} USING hnsw (embedding vector_cosine_ops)`);
  return table;
}

const local = { provider: 'local', name: 'universal-sentence-encoder-lite' };

test('a table gets vectors of 512 floats in the place of 100, switched under its name and taken back', async () => {
  const table = await makeTable(300);
  const source = { store: 'pgvector', connection: { url: database.url }, collection: `public.${table}` };
  const result = await runs.run({ source, target: { into: 'place' } as never, embed: { text: 'text', model: local } });
  const report = expectValidated(result);
  expect(report.compare).toMatchObject({ equal: 300 });
  const dims = async () =>
    (await query(`SELECT vector_dims(embedding) AS size, count(*)::int AS count FROM ${table} GROUP BY 1`))[0];
  expect(await dims()).toEqual({ size: 512, count: 300 });
}, 300_000);
