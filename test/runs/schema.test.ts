import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { z } from 'zod';
import { failedKey, loadedKey } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { failedSchema, loadedSchema } from '../../lib/run-files.ts';
import { services } from '../../lib/services.ts';
import { postgresUrl } from '../servers/urls.ts';
import { type EndpointInput, endpointIn, expectValidated, payloadsOf, type Runs, startRuns } from './world.ts';

/** A table whose columns change between the plan and the export: nothing is carried in a shape that nobody asked for. */

let runs: Runs;
let sql: pg.Client;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  url = await postgresUrl();
  sql = new pg.Client(url);
  await sql.connect();
  await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
}, 120_000);
afterAll(async () => {
  await sql.end();
  await runs.close();
});

const records = 300;

async function makeTable(): Promise<EndpointInput> {
  const table = runs.unique('shape');
  await sql.query(
    `CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, rank int, note text, embedding vector(4))`,
  );
  await sql.query(
    `INSERT INTO ${table} SELECT i, 'title ' || i, i, 'note ' || i, ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector FROM generate_series(1, ${records}) i`,
  );
  return { store: 'pgvector', connection: { url }, collection: table };
}

/** The run is planned and stops; the table is changed; the run goes on. */
async function runAfter(change: (table: string) => string, more: object) {
  const source = await makeTable();
  const target = await endpointIn(runs, 'lancedb', 'shaped');
  const run = runs.unique('run');
  const event = { run, source, target, validate: { spotCheck: records }, ...more };
  const planned = await runs.run({ ...event, dryRun: true });
  expect(planned.outcome.status).toBe('SUCCEEDED');
  await sql.query(change(source.collection));
  return { ...(await runs.run(event)), event, run, target };
}

const shard = '00000-000';
const failureOf = async (run: string) => await getJson(services().objects, failedKey(run, shard), failedSchema);
const loadedOf = async (run: string) => await getJson(services().objects, loadedKey(run, shard), loadedSchema);

const accept = { mapping: { schema: { accept: true, defaults: { rank: 7 } } } };

describe('a column that changes between plan and export', () => {
  test.each([
    ['added', (t: string) => `ALTER TABLE ${t} ADD COLUMN lang text DEFAULT 'en'`, /field added: 'lang' \(text\)/],
    ['dropped', (t: string) => `ALTER TABLE ${t} DROP COLUMN note`, /field removed: 'note' \(text\)/],
    [
      'renamed',
      (t: string) => `ALTER TABLE ${t} RENAME COLUMN title TO headline`,
      /field added: 'headline' \(text\); field removed: 'title' \(text\)/,
    ],
    [
      'retyped',
      (t: string) => `ALTER TABLE ${t} ALTER COLUMN rank TYPE text`,
      /field retyped: 'rank' is text, and integer in the run's schema/,
    ],
  ])(
    '%s: nothing is imported, and the shard, what differs and what to write are named',
    async (_, change, expected) => {
      const { run, outcome, target } = await runAfter(change, {});
      expect(outcome).toMatchObject({ status: 'FAILED', error: 'ImportFailed' });
      const failed = await failureOf(run);
      expect(failed).toMatchObject({ error: 'SchemaMismatch', final: true });
      expect(failed?.message).toMatch(expected);
      expect(failed?.message).toMatch(/shard 00000-000 .*mapping\.schema \{"accept": true\}/s);
      expect(await (await runs.open(target)).count()).toBe(0);
    },
  );

  test('with the flag what is new is left out, what is gone takes its default, and both are counted', async () => {
    const result = await runAfter(
      (t) => `ALTER TABLE ${t} ADD COLUMN lang text DEFAULT 'en', DROP COLUMN note, DROP COLUMN rank`,
      accept,
    );
    expectValidated(result);
    expect(await loadedOf(result.run)).toMatchObject({
      schema: { defaulted: { note: records, rank: records }, removed: { lang: records }, renamed: {} },
    });
    const found = await payloadsOf(await runs.open(result.target));
    expect(found.size).toBe(records);
    expect(z.json().parse(JSON.parse(found.get('17') ?? ''))).toEqual({ title: 'title 17', rank: 7, note: null });
  });
});
