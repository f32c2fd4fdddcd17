import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { makeSampleDatabase } from '../../infra/local/sample.ts';
import { column, hasVector } from '../../lib/batch.ts';
import { mapId } from '../../lib/mapping/mapping.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { connectServer } from '../servers/database.ts';
import { postgresUrl } from '../servers/urls.ts';
import { endpointIn, expectValidated, fewQueries, payloadsOf, type Runs, startRuns } from './world.ts';

/** Whole runs on real input, from plan to cutover, through the state machine that is deployed. */

let runs: Runs;
let sql: pg.Client;
beforeAll(async () => {
  runs = await startRuns();
  ({ sql } = await connectServer());
});
afterAll(async () => {
  await sql.end();
  await runs.close();
});

const embedding: VectorSpec = {
  name: 'embedding',
  kind: 'dense',
  dimension: 4,
  distance: 'cosine',
  precision: 'float32',
};

test('the sample: 10,000 words from PGlite to LanceDB', async () => {
  const path = join(runs.directory, 'words');
  await makeSampleDatabase(path);
  const source = { store: 'pgvector', connection: { path }, collection: 'public.words' };
  const target = await endpointIn(runs, 'lancedb', 'words');
  const report = expectValidated(await runs.run({ source, target }));
  expect(report.compare).toMatchObject({ equal: 10_000 });
  expect(report.counts).toMatchObject({ source: 10_000, manifest: 10_000, target: 10_000, agree: true });
});

describe('PostgreSQL', () => {
  test('to Qdrant: columns become payload, the vector the unnamed one, and the source is left as it was', async () => {
    const table = runs.unique('articles');
    await sql.query(
      `CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, price numeric(10,2), big numeric, at timestamptz, tags text[], embedding vector(4))`,
    );
    await sql.query(
      `INSERT INTO ${table} SELECT i, 'title ' || i, i / 100.0, 12345678901234567890.123456789 + i, '2026-03-29 01:30:00+01'::timestamptz + i * interval '1 hour', ARRAY['a', 'b' || i], ARRAY[random(), random(), random(), random()]::float4[]::vector FROM generate_series(1, 3000) i`,
    );
    const before = (await sql.query(`SELECT md5(string_agg(t::text, ',' ORDER BY id)) AS sum FROM ${table} t`)).rows;
    const source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection: table };
    const target = await endpointIn(runs, 'qdrant', 'articles');
    const report = expectValidated(await runs.run({ source, target, validate: fewQueries }));
    expect(report.compare).toMatchObject({ equal: 3000 });
    const found = await (await runs.open(target)).fetch(['7']);
    expect([...found.vectors.keys()]).toEqual(['']);
    expect(JSON.parse(found.payloads[0] ?? '')).toEqual({
      title: 'title 7',
      price: 0.07,
      big: '12345678901234567897.123456789',
      at: '2026-03-29T07:30:00Z',
      tags: ['a', 'b7'],
    });
    expect((await sql.query(`SELECT md5(string_agg(t::text, ',' ORDER BY id)) AS sum FROM ${table} t`)).rows).toEqual(
      before,
    );
  });

  test('to files to PostgreSQL gives the same columns, types and rows', async () => {
    const table = runs.unique('typed');
    await sql.query(`CREATE TABLE ${table} (
      region varchar(8) NOT NULL, "Number" integer NOT NULL, title text, price numeric(12,4), loose numeric, small smallint, big bigint, real4 real, real8 double precision,
      flag boolean, day date, clock time, at timestamptz, local timestamp, span interval, raw bytea, key uuid, doc jsonb, tags text[], counts integer[], address inet,
      embedding vector(4) NOT NULL, half halfvec(3), terms sparsevec(100), PRIMARY KEY (region, "Number"))`);
    await sql.query(`INSERT INTO ${table} SELECT 'r' || i % 3, i, CASE WHEN i % 7 = 0 THEN NULL ELSE E'tab\\t quote" \\\\ ' || i END, i * 1.2345, 98765432109876543210.0123456789, i % 30000, 9007199254740993 + i,
      0.1::real * i, 0.1::float8 * i, i % 2 = 0, date '2026-01-01' + i, time '10:00:00.123456', timestamptz '2026-03-29 02:30:00.123456+02', timestamp '2026-03-29 02:30:00', interval '1 day 2:03:04.5', '\\x00ff'::bytea,
      '00000000-0000-4000-8000-000000000001'::uuid, '{"a": [1, {"b": null}], "n": 9007199254740993.5}'::jsonb, ARRAY['x', NULL, 'y"z'], ARRAY[1, 2], '10.0.0.1/8'::inet,
      ARRAY[i, 1, 2, 3]::float4[]::vector, ARRAY[i % 100, 0.5, -1]::float4[]::halfvec, '{1:0.5,7:1.5}/100'::sparsevec FROM generate_series(1, 500) i`);
    const source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection: table };
    const middle = await endpointIn(runs, 'files', 'typed');
    const back = await endpointIn(runs, 'pgvector', 'typed');
    expectValidated(await runs.run({ source, target: middle, validate: fewQueries }));
    expectValidated(await runs.run({ source: middle, target: back, validate: fewQueries }));
    const columns = (name: string) =>
      sql.query(
        `SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attname`,
        [name],
      );
    expect((await columns(back.collection)).rows).toEqual((await columns(table)).rows);
    const names = (await columns(table)).rows.map(({ attname }) => `"${attname}"::text`).join(" || '|' || coalesce(");
    expect(names).toContain('embedding');
    const rows = (name: string) =>
      sql.query(`SELECT to_jsonb(t)::text AS row FROM ${name} t ORDER BY region, "Number"`);
    const sorted = async (name: string) => (await rows(name)).rows.map(({ row }) => row);
    expect(await sorted(back.collection)).toEqual(await sorted(table));
  });

  test('records without an embedding are moved without it, and said', async () => {
    const table = runs.unique('partly');
    await sql.query(`CREATE TABLE ${table} (id integer PRIMARY KEY, title text, embedding vector(4))`);
    await sql.query(
      `INSERT INTO ${table} SELECT i, 't' || i, CASE WHEN i % 10 = 0 THEN NULL ELSE ARRAY[i, 1, 2, 3]::float4[]::vector END FROM generate_series(1, 100) i`,
    );
    const source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection: table };
    const target = await endpointIn(runs, 'qdrant', 'partly');
    const report = expectValidated(await runs.run({ source, target, validate: fewQueries }));
    expect(report.notes.join('\n')).toMatch(/10 of 100 records have no vector/);
    const found = await (await runs.open(target)).fetch(['10', '11']);
    for (const [at, id] of found.ids.entries()) expect(hasVector(column(found, ''), at)).toBe(id === '11');
  });

  test('records without an embedding are refused by a store that needs one, and left out by name when the event says so', async () => {
    const table = runs.unique('partly');
    await sql.query(`CREATE TABLE ${table} (id integer PRIMARY KEY, title text, embedding vector(4))`);
    await sql.query(
      `INSERT INTO ${table} SELECT i, 't' || i, CASE WHEN i % 10 = 0 THEN NULL ELSE ARRAY[i, 1, 2, 3]::float4[]::vector END FROM generate_series(1, 100) i`,
    );
    const source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection: table };
    const target = await endpointIn(runs, 'chroma', 'partly');
    expect((await runs.run({ source, target, validate: fewQueries })).outcome).toMatchObject({
      status: 'FAILED',
      error: 'Incompatible',
      cause: expect.stringContaining('"missingVectors": "skip"'),
    });
    const report = expectValidated(
      await runs.run({ source, target, validate: fewQueries, mapping: { missingVectors: 'skip' } }),
    );
    expect(report.skipped).toMatchObject({ records: 10 });
    expect(JSON.stringify(report.skipped)).toContain('"100"');
    expect(await (await runs.open(target)).count()).toBe(90);
  });

  test('a NaN in a column is refused by record and column, before anything else of its shard is written', async () => {
    const table = runs.unique('nan');
    await sql.query(`CREATE TABLE ${table} (id integer PRIMARY KEY, score double precision, embedding vector(2))`);
    await sql.query(`INSERT INTO ${table} VALUES (1, 1, '[1,2]'), (2, 'NaN', '[1,2]')`);
    const source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection: table };
    const target = await endpointIn(runs, 'qdrant', 'nan');
    const { outcome } = await runs.run({ source, target, validate: fewQueries });
    expect(outcome).toMatchObject({
      status: 'FAILED',
      error: 'RecordRefused',
      cause: expect.stringMatching(/score.*NaN|NaN.*score/s),
    });
    expectValidated(
      await runs.run({
        source,
        target: await endpointIn(runs, 'qdrant', 'nan'),
        mapping: { payload: { score: null } },
        validate: fewQueries,
      }),
    );
  });
});

test('Chroma to Qdrant: string ids become UUIDs, the original is kept, found again and used by validation', async () => {
  const ids = Array.from({ length: 300 }, (_, at) => `doc-${at}`);
  const source = await endpointIn(runs, 'chroma', 'notes');
  await runs.seed(
    source,
    makeSchema({ idType: 'string', vectors: [embedding] }),
    makeBatch({ ids, vectors: [embedding] }),
  );
  const target = await endpointIn(runs, 'qdrant', 'notes');
  const report = expectValidated(await runs.run({ source, target, validate: fewQueries }));
  expect(report.compare).toMatchObject({ equal: 300 });
  const id = mapId(qdrant.capabilities.ids, 'doc-42');
  const found = await (await runs.open(target)).fetch([id]);
  expect(JSON.parse(found.payloads[0] ?? '')).toMatchObject({ original_id: 'doc-42', title: 'record doc-42' });
});

test('Qdrant to PostgreSQL and back to Qdrant ends equal, with integers and UUIDs side by side', async () => {
  const ids = [
    ...Array.from({ length: 200 }, (_, at) => String(at * 7)),
    '18446744073709551615',
    ...Array.from({ length: 50 }, (_, at) => `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`),
  ];
  const unnamed: VectorSpec = { ...embedding, name: '' };
  const first = await endpointIn(runs, 'qdrant', 'mixed');
  const before = await runs.seed(
    first,
    makeSchema({ idType: 'mixed', vectors: [unnamed] }),
    makeBatch({ ids, vectors: [unnamed] }),
  );
  const middle = await endpointIn(runs, 'pgvector', 'mixed');
  const last = await endpointIn(runs, 'qdrant', 'mixed');
  expectValidated(await runs.run({ source: first, target: middle, validate: fewQueries }));
  expectValidated(await runs.run({ source: middle, target: last, validate: fewQueries }));
  const after = await runs.open(last);
  expect(await payloadsOf(after)).toEqual(await payloadsOf(before));
  const [one, other] = await Promise.all([before.fetch(ids), after.fetch(ids)]);
  const vectors = (batch: typeof one) =>
    new Map(
      batch.ids.map((id, at) => [
        id,
        [...column(batch, '').values.subarray(at * 4, at * 4 + 4)].map((value) => value.toFixed(6)),
      ]),
    );
  expect(vectors(other)).toEqual(vectors(one));
});

describe('shapes', () => {
  test.each(['qdrant', 'pgvector', 'lancedb', 'files'] as const)(
    'two dense and one sparse vector a record, to %s where it holds them',
    async (to) => {
      const vectors: VectorSpec[] = [
        { name: 'title', kind: 'dense', dimension: 8, distance: 'cosine', precision: 'float32' },
        { name: 'body', kind: 'dense', dimension: 4, distance: 'euclid', precision: 'float32' },
        { name: 'terms', kind: 'sparse', dimension: 1000, distance: 'dot', precision: 'float32' },
      ];
      const ids = Array.from({ length: 120 }, (_, at) => String(at));
      const source = await endpointIn(runs, 'qdrant', 'three');
      await runs.seed(source, makeSchema({ vectors }), makeBatch({ ids, vectors }));
      const target = await endpointIn(runs, to, 'three');
      const whole = await runs.run({ source, target, validate: fewQueries });
      if (to !== 'lancedb') {
        expect(expectValidated(whole).compare).toMatchObject({ equal: 120 });
        return;
      }
      expect(whole.outcome).toMatchObject({
        status: 'FAILED',
        error: 'Incompatible',
        cause: expect.stringContaining(`'terms' is sparse`),
      });
      expectValidated(await runs.run({ source, target, validate: fewQueries, mapping: { vectors: { terms: null } } }));
    },
  );

  test('1,536 dimensions', async () => {
    const vectors = [{ ...embedding, dimension: 1536 }];
    const ids = Array.from({ length: 400 }, (_, at) => String(at + 1));
    const source = await endpointIn(runs, 'pgvector', 'wide');
    await runs.seed(source, makeSchema({ vectors }), makeBatch({ ids, vectors }));
    expectValidated(await runs.run({ source, target: await endpointIn(runs, 'qdrant', 'wide'), validate: fewQueries }));
  });

  test.each([0, 1])('a collection of %i records', async (count) => {
    const ids = Array.from({ length: count }, (_, at) => String(at + 1));
    const source = await endpointIn(runs, 'pgvector', 'few');
    await runs.seed(source, makeSchema({ vectors: [embedding] }), makeBatch({ ids, vectors: [embedding] }));
    const target = await endpointIn(runs, 'qdrant', 'few');
    const report = expectValidated(await runs.run({ source, target }));
    expect(report.counts).toMatchObject({ source: count, manifest: count, target: count });
  });
});
