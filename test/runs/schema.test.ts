import { existsSync, readdirSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { z } from 'zod';
import { failedKey, loadedKey, runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { failedSchema, loadedSchema } from '../../lib/run-files.ts';
import { services } from '../../lib/services.ts';
import { verifyShard } from '../../lib/shard/shard.ts';
import { connectServer } from '../servers/database.ts';
import { until } from '../until.ts';
import { endOf } from './flag-history.ts';
import {
  type EndpointInput,
  endpointIn,
  expectValidated,
  fewQueries,
  payloadsOf,
  type Runs,
  startRuns,
} from './world.ts';

/** A table whose columns change between the plan and the export: nothing is carried in a shape that nobody asked for. */

let runs: Runs;
let sql: pg.Client;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  ({ sql, url } = await connectServer());
});
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
  const event = { run, source, target, validate: { ...fewQueries, spotCheck: records }, ...more };
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
    // Compared as the run's schema has them: a record that only agrees with the source of now would count as changed.
    expect(expectValidated(result).compare).toMatchObject({ equal: records, changed: 0 });
    expect(await loadedOf(result.run)).toMatchObject({
      schema: { defaulted: { note: records, rank: records }, removed: { lang: records }, renamed: {} },
    });
    const found = await payloadsOf(await runs.open(result.target));
    expect(found.size).toBe(records);
    expect(z.json().parse(JSON.parse(found.get('17') ?? ''))).toEqual({ title: 'title 17', rank: 7, note: null });
  });
});

describe('a table whose names change between plan and export', () => {
  test('is read under its stable names, the table’s own included: nothing differs, and nobody has to accept anything', async () => {
    const stable = runs.unique('stable');
    const names = {
      collection: stable,
      aliases: [] as string[],
      fields: { title: ['headline'] },
      vectors: { embedding: ['emb'] },
    };
    const source = await makeTable();
    names.aliases.push(source.collection);
    const target = await endpointIn(runs, 'lancedb', 'named');
    const run = runs.unique('run');
    const sets = [
      { name: 'low', filter: { headline: 'title 3' }, vector: 'emb', k: 1, atLeast: null },
      { name: 'all', atLeast: 0.9 },
    ];
    const mapping = { payload: { headline: { to: 'caption' } } };
    const event = {
      run,
      source: { ...source, collection: stable },
      target,
      names,
      mapping,
      validate: { spotCheck: records, recall: { queries: 50, k: 5, depths: [], sets } },
    };
    expect((await runs.run({ ...event, dryRun: true })).outcome.status).toBe('SUCCEEDED');
    await sql.query(`ALTER TABLE ${source.collection} RENAME COLUMN title TO headline`);
    await sql.query(`ALTER TABLE ${source.collection} RENAME COLUMN embedding TO emb`);
    await sql.query(`ALTER TABLE ${source.collection} RENAME TO ${stable}`);
    const report = expectValidated(await runs.run(event));
    expect(report.schema?.changes).toMatchObject([
      { name: 'headline', how: 'renamed', records },
      { name: "vector 'emb'", how: 'renamed', records },
    ]);
    const found = await payloadsOf(await runs.open(target));
    expect(JSON.parse(found.get('17') ?? '')).toEqual({ caption: 'title 17', rank: 17, note: 'note 17' });
    expect(report.spotCheck).toMatchObject({ checked: records, different: 0 });
    expect(report.recall?.sets.find(({ set }) => set === 'low')).toMatchObject({
      source: { measured: true, mean: 1 },
      target: { mean: 1 },
    });
  });
});

describe('a table that is altered between two ranges of one run', () => {
  test('has each shard say what it was read under, so that those from before still come in', async () => {
    const source = await makeTable();
    await sql.query(
      `INSERT INTO ${source.collection} SELECT i, 'title ' || i, i, 'note', '[1,2,3,4]' FROM generate_series(${records + 1}, 6000) i`,
    );
    const target = await endpointIn(runs, 'lancedb', 'between');
    const run = runs.unique('run');
    const event = {
      run,
      source,
      target,
      parallel: { exporters: 1, shardMiB: 0.1 },
      validate: { spotCheck: 6000, recall: null },
    };
    const before = runs.run(event);
    const exported = services().objects.locate(runKeys(run).exported);
    await until(() => existsSync(exported) && readdirSync(exported).length > 0, 'the first shard', endOf(before));
    await sql.query(`ALTER TABLE ${source.collection} ADD COLUMN lang text DEFAULT 'en'`);
    expect((await before).outcome).toMatchObject({ status: 'FAILED', error: 'ImportFailed' });
    // What the shards say of themselves is the truth that the report is held against.
    const headers = await Promise.all(
      (await services().objects.list(runKeys(run).shards)).map(async (key) =>
        verifyShard((await services().objects.get(key)) ?? new Uint8Array(), key),
      ),
    );
    const later = headers.filter(({ schema }) => schema.fields?.some(({ name }) => name === 'lang'));
    const altered = later.reduce((sum, each) => sum + each.records, 0);
    expect(altered).toBeGreaterThan(0);
    expect(altered).toBeLessThan(6000);
    const report = expectValidated(await runs.run({ ...event, mapping: { schema: { accept: true } } }));
    expect(report.schema?.changes).toMatchObject([{ name: 'lang', how: 'removed', records: altered }]);
    const found = [...(await payloadsOf(await runs.open(target))).values()];
    expect(found).toHaveLength(6000);
    expect(found.filter((each) => each.includes('lang'))).toEqual([]);
  });
});

describe('a folder with an old export beside a newer one, of a collection that was renamed', () => {
  const path = () => join(runs.directory, 'archive');
  const folder = (collection: string): EndpointInput => ({ store: 'files', connection: { path: path() }, collection });
  const plain = { validate: { recall: null }, cutover: null };

  /** 60 posts with headlines and notes; then 40 articles with titles and ranks, of which ten were posts. */
  async function exportBoth(): Promise<{ readonly stable: string; readonly old: string }> {
    const [stable, old] = [runs.unique('articles'), runs.unique('posts')];
    const vector = 'ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector';
    await sql.query(`CREATE TABLE ${old} (id bigint PRIMARY KEY, headline text, note text, emb vector(4))`);
    await sql.query(`INSERT INTO ${old} SELECT i, 'old ' || i, 'note', ${vector} FROM generate_series(1, 60) i`);
    await sql.query(`CREATE TABLE ${stable} (id bigint PRIMARY KEY, title text, rank int, embedding vector(4))`);
    await sql.query(`INSERT INTO ${stable} SELECT i, 'new ' || i, i, ${vector} FROM generate_series(51, 90) i`);
    for (const table of [old, stable]) {
      const source = { store: 'pgvector', connection: { url }, collection: table };
      expect((await runs.run({ source, target: folder(table), ...plain })).outcome.status).toBe('SUCCEEDED');
    }
    return { stable, old };
  }

  const names = (stable: string, old: string, strict: boolean) => ({
    collection: stable,
    aliases: [old],
    fields: { title: ['headline'] },
    vectors: { embedding: ['emb'] },
    strict,
  });

  test('lands in the schema of today: old names are read as the new ones, the newer record stands, and each change is counted', async () => {
    const { stable, old } = await exportBoth();
    const target = await endpointIn(runs, 'lancedb', 'today');
    const event = {
      source: folder(stable),
      target,
      names: names(stable, old, false),
      mapping: { payload: { headline: 'string' }, schema: { accept: true, defaults: { rank: 0 } } },
      validate: { spotCheck: 200, recall: { queries: 20, k: 5, sets: [{ name: 's', vector: 'emb', atLeast: null }] } },
    };
    const result = await runs.run(event);
    const report = expectValidated(result);
    const found = await payloadsOf(await runs.open(target));
    expect(found.size).toBe(90);
    expect(JSON.parse(found.get('7') ?? '')).toEqual({ title: 'old 7', rank: 0 });
    expect(JSON.parse(found.get('55') ?? '')).toEqual({ title: 'new 55', rank: 55 });
    expect(report.schema?.changes.map(({ said }) => said)).toEqual([
      "field 'rank': default taken in 50 records",
      "field 'note': skipped in 50 records",
      "field 'headline': read under its stable name in 50 records",
      "vector 'emb': read under its stable name in 50 records",
    ]);
    expect(report.spotCheck).toMatchObject({ checked: 90, different: 0 });
    expect(report.compare).toMatchObject({ equal: 90, changed: 0 });
    expect(report.notes.join(' ')).toMatch(/differ from the schema taken for the folder.*field added: 'headline'/s);
  });

  test('is refused in strict mode for the name that nobody gave, and without the flag for the field that it lacks', async () => {
    const { stable, old } = await exportBoth();
    const run = async (strict: boolean, mapping: object) => {
      const target = await endpointIn(runs, 'lancedb', 'refused');
      const result = await runs.run({
        source: folder(stable),
        target,
        names: names(stable, old, strict),
        mapping,
        ...plain,
      });
      expect(result.outcome).toMatchObject({ status: 'FAILED', error: 'ImportFailed' });
      return (
        await Promise.all(
          ['00000-000', '00000-001'].map(
            async (each) => await getJson(services().objects, failedKey(result.run, each), failedSchema),
          ),
        )
      ).find(Boolean);
    };
    expect(await run(true, { schema: { accept: true } })).toMatchObject({
      error: 'SchemaMismatch',
      message: expect.stringMatching(/field added: 'note'.*names\.strict false/s),
    });
    expect(await run(false, {})).toMatchObject({
      error: 'SchemaMismatch',
      message: expect.stringMatching(/field removed: 'rank'.*"accept": true/s),
    });
  });

  test('a shard of another collection is refused by name in strict mode, and left out without it', async () => {
    const { stable, old } = await exportBoth();
    const other = runs.unique('others');
    const at = (strict: boolean) => ({ ...names(other, stable, strict), fields: {}, vectors: {} });
    await rename(join(path(), old), join(path(), other));
    const target = await endpointIn(runs, 'lancedb', 'other');
    const refused = await runs.run({ source: folder(other), target, names: at(true), ...plain });
    expect(refused.outcome).toMatchObject({
      status: 'FAILED',
      error: 'SchemaMismatch',
      cause: expect.stringMatching(new RegExp(`collection '${old}'`)),
    });
    const lax = await runs.run({ source: folder(other), target, names: at(false), ...plain });
    expect(expectValidated(lax).notes.join(' ')).toMatch(/of another collection than names says, and left out/);
    expect(
      [...(await payloadsOf(await runs.open(target))).values()].filter((each) => /"new \d+"/.test(each)),
    ).toHaveLength(40);
    expect(await (await runs.open(target)).count()).toBe(40);
  });
});
