import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { commandLine } from '../local/cli/command-line.ts';
import { connectServer } from '../servers/database.ts';
import { type EndpointInput, endpointIn, expectValidated, payloadsOf, type Runs, startRuns } from './world.ts';

/** Shards of every format that there has been, under old names, brought up by the command and moved by whole runs into the schema of today. */

let runs: Runs;
let sql: pg.Client;
let url: string;
let upgraded = '';
let told: Awaited<ReturnType<ReturnType<typeof commandLine>>>;

/** Fields, a vector and the collection have other names by now, and two vectors are not wanted any more. */
const rules = {
  names: {
    collection: 'articles',
    aliases: ['posts'],
    fields: { title: ['headline'] },
    vectors: { embedding: ['emb'] },
  },
  mapping: { vectors: { words: null, tokens: null }, payload: { year: { to: 'published' } } },
};

beforeAll(async () => {
  runs = await startRuns();
  ({ sql, url } = await connectServer());
  const folder = join(runs.directory, 'old', 'posts');
  mkdirSync(folder, { recursive: true });
  cpSync('test/data/shards', folder, { recursive: true });
  const first = readFileSync('test/data/shards/format-1.jsonl');
  writeFileSync(join(folder, 'cut.jsonl'), first.subarray(0, first.length - 200));
  const second = readFileSync('test/data/shards/format-2.parquet');
  second[100]! ^= 1;
  writeFileSync(join(folder, 'altered.parquet'), second);
  upgraded = join(runs.directory, 'new');
  const event = join(runs.directory, 'rules.json');
  const side = { store: 'files', connection: { path: runs.directory }, collection: 'posts' };
  writeFileSync(event, JSON.stringify({ source: side, target: { ...side, collection: 'articles' }, ...rules }));
  const vecferry = commandLine(join(runs.directory, 'runs'));
  told = await vecferry(['upgrade', join(runs.directory, 'old'), '--out', upgraded, '--event', event]);
});
afterAll(async () => {
  await sql.end();
  await runs.close();
});

const source = (): EndpointInput => ({ store: 'files', connection: { path: upgraded }, collection: 'posts' });

const expected = {
  '1': {
    title: 'The first',
    published: 2019,
    meta: { amount: Number('12345678901234567890.10') },
    tags: ['a', 'ü', '😀'],
  },
  '9007199254740993': { title: 'quoted "}\u2028\n', published: null, meta: { amount: 1000 }, tags: [] },
  '-3': { title: null, published: 1999 },
  '10': { title: 'The tenth', published: 2020, meta: { amount: 0.1 }, tags: ['x'] },
  '11': { title: 'No vector', published: 2021, meta: null, tags: null },
  '12': { title: 'ü 😀', published: 2022, meta: {}, tags: [] },
};
const noNulls = (record: object) => Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null));

describe('shards of each old format, with a renamed collection, renamed fields and a renamed vector', () => {
  test('are brought up but for the cut and the altered file, which are refused by name', () => {
    expect(told.code).toBe(4);
    expect(told.err).toMatch(/^ShardDamaged: 2 files stayed behind.*posts\/altered\.parquet, posts\/cut\.jsonl/);
    expect(told.out).toMatch(/failed {3}posts\/altered\.parquet: .*checksum is another/);
    expect(told.out).toMatch(/failed {3}posts\/cut\.jsonl: .*is cut short/);
    expect(told.out).toMatch(/1 file upgraded, 1 of the current format rewritten; 6 records in shards/);
  });

  test("land in today's table, in PostgreSQL, compared and validated, every digit and float as it was", async () => {
    const table = runs.unique('articles');
    await sql.query(
      `CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, published int, meta jsonb, tags jsonb, embedding vector(4))`,
    );
    const target = { store: 'pgvector', connection: { url }, collection: table, into: 'existing' };
    const report = expectValidated(await runs.run({ source: source(), target, validate: { spotCheck: 6 } }));
    expect(report.compare).toMatchObject({ equal: 6, changed: 0, missing: 0 });
    const { rows } = await sql.query(
      `SELECT id::text, title, published, meta::text, tags, embedding::text FROM ${table} ORDER BY id`,
    );
    expect(rows.map(({ id }) => id)).toEqual(['-3', '1', '10', '11', '12', '9007199254740993']);
    for (const { id, meta, embedding: _, ...record } of rows)
      expect([id, noNulls({ ...record, meta: JSON.parse(meta) })]).toEqual([id, noNulls(Object(expected)[id])]);
    expect(rows.find(({ id }) => id === '1')).toMatchObject({
      meta: '{"amount": 12345678901234567890.10}',
      embedding: '[0.1,-0,1.1754944e-38,0.6666667]',
    });
    expect(rows.filter(({ embedding }) => embedding === null).map(({ id }) => id)).toEqual(['-3', '11']);
  });

  test.each(['lancedb', 'files'] as const)('land in %s too', async (store) => {
    const target = await endpointIn(runs, store, 'articles');
    const report = expectValidated(await runs.run({ source: source(), target, validate: { spotCheck: 6 } }));
    expect(report.compare).toMatchObject({ equal: 6, changed: 0, missing: 0 });
    const found = await payloadsOf(await runs.open(target));
    const plain = [...found].map(([id, text]) => [id, noNulls(JSON.parse(text))]);
    expect(Object.fromEntries(plain)).toEqual(
      Object.fromEntries(Object.entries(expected).map(([id, record]) => [id, noNulls(record)])),
    );
  });

  test('are refused by a run that reads the old folder itself, before anything is written: the command is named', async () => {
    const folder = join(runs.directory, 'old');
    const target = await endpointIn(runs, 'lancedb', 'refused');
    const old = { store: 'files', connection: { path: folder }, collection: 'posts' };
    const { outcome } = await runs.run({ source: old, target });
    expect(outcome).toMatchObject({
      status: 'FAILED',
      error: 'UnsupportedFormat',
      cause: expect.stringMatching(/\.jsonl is a shard of format 1.*`vecferry upgrade .*\/old\/posts`/),
    });
  });
});
