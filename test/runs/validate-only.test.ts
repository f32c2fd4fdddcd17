import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect } from '@lancedb/lancedb';
import type pg from 'pg';
import { runKeys } from '../../lib/keys.ts';
import { runStatus } from '../../lib/status.ts';
import { connectServer } from '../servers/database.ts';
import { chromaUrl, postgresUrl, qdrantUrl } from '../servers/urls.ts';
import { type EndpointInput, endpointIn, expectValidated, type Result, type Runs, startRuns } from './world.ts';

/** Mode "validate": two collections that vecferry did not move, filled by plain scripts as their owners would. */

const records = 600;
const floats = (id: number): number[] => [0, 1, 2, 3].map((axis) => Math.fround(Math.sin(id * (axis + 1))));
/** PostgreSQL's rows as JSON; 1.0 and the order of keys are for the other side to have otherwise. */
const word = (id: number) => ({ word: `word ${id}`, rank: id, weight: id / 4, tags: ['a', `b${id}`] });
const ids = Array.from({ length: records }, (_, at) => at + 1);

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

/** In several shards; recall has tests of its own. */
const small = { mode: 'validate', parallel: { shardMiB: 0.01 }, validate: { recall: null } };

async function validate(source: EndpointInput, target: EndpointInput & { into?: string }, more = {}): Promise<Result> {
  return await runs.run({ ...small, source, target, ...more });
}

async function post(method: string, url: string, body?: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  return await response.json();
}

describe('PostgreSQL and Qdrant', () => {
  let source: EndpointInput;
  beforeAll(async () => {
    const collection = runs.unique('words');
    await sql.query(
      `CREATE TABLE ${collection} (id bigint PRIMARY KEY, word text, rank int, weight float8, tags jsonb, embedding vector(4))`,
    );
    for (const id of ids) {
      const { word: text, rank, weight, tags } = word(id);
      await sql.query(`INSERT INTO ${collection} VALUES ($1, $2, $3, $4, $5, $6)`, [
        id,
        text,
        rank,
        weight,
        JSON.stringify(tags),
        JSON.stringify(floats(id)),
      ]);
    }
    source = { store: 'pgvector', connection: { url: await postgresUrl() }, collection };
  });

  const point = (id: number) =>
    `{"id":${id},"vector":[${floats(id)}],"payload":{"weight":${(id / 4).toFixed(4)},"tags":["a","b${id}"],"rank":${id},"word":"word ${id}"}}`;

  /** Keys in another order, 1.0 for 1. */
  async function copy(): Promise<{ target: EndpointInput; at: string }> {
    const target = await endpointIn(runs, 'qdrant', 'words');
    const at = `${await qdrantUrl()}/collections/${target.collection}`;
    await post('PUT', at, { vectors: { size: 4, distance: 'Cosine' } });
    await post('PUT', `${at}/points?wait=true`, `{"points":[${ids.map(point).join()}]}`);
    return { target, at };
  }

  test('a clean copy is validated, and the report speaks of two collections and of no move', async () => {
    const { target } = await copy();
    const result = await validate(source, target);
    const report = expectValidated(result);
    expect(report).toMatchObject({
      mode: 'validate',
      compare: { equal: records, different: 0, extra: 0, asked: 'all' },
      counts: { source: records, manifest: records, target: records, skipped: 0, agree: true },
      skipped: { records: 0, ids: [] },
      importedAt: null,
    });
    expect(report.summary).toBe(
      `Validated: pgvector ${source.collection} and qdrant ${target.collection} hold the same 600 records.`,
    );
    expect(Date.parse(report.compare?.startedAt ?? '')).toBeLessThanOrEqual(Date.parse(report.compare?.endedAt ?? ''));
    const { objects } = runs.engine;
    const status = await runStatus({ objects, run: result.run });
    expect(status.stages.map(({ name, state }) => `${name} ${state}`)).toEqual([
      'export done',
      'import skipped',
      'index skipped',
      'compare done',
      'recall skipped',
      'cutover skipped',
    ]);
    // Nothing was queued, nothing loaded, nothing cut over.
    expect(await objects.list(runKeys(result.run).loaded)).toEqual([]);
    expect(await objects.list(runKeys(result.run).moves)).toEqual([]);
    expect((await objects.list(runKeys(result.run).shards)).length).toBeGreaterThan(2);
  });

  test.each<[string, (at: string) => Promise<unknown>, object]>([
    [
      'lost',
      (at) => post('POST', `${at}/points/delete?wait=true`, { points: [17] }),
      { missing: 1, equal: 599, first: { missing: [{ id: '17' }] } },
    ],
    [
      'changed in its payload',
      (at) => post('POST', `${at}/points/payload?wait=true`, { payload: { rank: 3001 }, points: [301] }),
      { different: 1, equal: 599, first: { different: [{ id: '301', reason: /payload field rank.*301.*3001/ }] } },
    ],
    [
      'changed in one float',
      (at) => {
        const [first = 0, ...rest] = floats(44);
        return post('PUT', `${at}/points?wait=true`, {
          points: [{ id: 44, vector: [first + 1e-3, ...rest], payload: word(44) }],
        });
      },
      { different: 1, equal: 599, first: { different: [{ id: '44', reason: /float \d: expected/ }] } },
    ],
    [
      'added',
      (at) => post('PUT', `${at}/points?wait=true`, `{"points":[${point(9001)}]}`),
      { extra: 1, equal: 600, first: { extra: [{ id: '9001' }] } },
    ],
  ])('a record %s in the copy is named', async (_, plant, expected) => {
    const { target, at } = await copy();
    await plant(at);
    const { outcome, report } = await validate(source, target);
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report).toMatchObject({ verdict: 'failed', compare: matching(expected) });
    expect(report?.summary).toMatch(/^Failed, pgvector .* and qdrant .* Neither was changed\.$/);
    const advice = report?.findings.map(({ next }) => next).join(' ');
    expect(advice).not.toMatch(/into a new collection|start the run again/i);
  });

  test('records beside those of the source are no fault where the event says that the target may hold them', async () => {
    const { target, at } = await copy();
    await post('PUT', `${at}/points?wait=true`, `{"points":[${point(9001)}]}`);
    const report = expectValidated(await validate(source, { ...target, into: 'existing' }));
    expect(report.summary).toMatch(/others that the second may hold were not looked for/);
  });

  test('fields that the event leaves out are left out on both sides, and casts are made as in a move', async () => {
    const { target, at } = await copy();
    await post('POST', `${at}/points/payload?wait=true`, { payload: { copied_at: 'today' }, points: ids });
    await post('POST', `${at}/points/payload?wait=true`, { payload: { rank: '12' }, points: [12] });
    const failed = await validate(source, target);
    expect(failed.report?.compare).toMatchObject({ different: records });
    const mapping = { payload: { copied_at: null, rank: null } };
    expectValidated(await validate(source, target, { mapping }));
    const cast = await validate(source, target, { mapping: { payload: { copied_at: null, rank: 'string' } } });
    expect(cast.report?.compare).toMatchObject({ equal: 1, different: records - 1 });
  });

  test('the other way round: Qdrant keeps vectors at length 1, so lengths in PostgreSQL are not held against it', async () => {
    const { target } = await copy();
    const report = expectValidated(await validate(target, source));
    expect(report.notes).toContainEqual(expect.stringMatching(/kept at length 1 in the source/));
    await sql.query(`UPDATE ${source.collection} SET embedding = '[1,1,1,1]' WHERE id = 5`);
    const { report: turned } = await validate(target, source);
    await sql.query(`UPDATE ${source.collection} SET embedding = $1 WHERE id = 5`, [JSON.stringify(floats(5))]);
    expect(turned?.compare).toMatchObject({ different: 1, first: { different: [{ id: '5' }] } });
  });

  test('recall of both is measured, by the distance of the target where the source names none', async () => {
    const { target } = await copy();
    const recall = { k: 5, queries: 100, atLeast: 0.9 };
    const report = expectValidated(await validate(source, target, { validate: { recall } }));
    expect(report.recall?.sets).toMatchObject([
      { vector: 'embedding', targetVector: '', distance: 'cosine', outcome: 'passed', source: { measured: true } },
    ]);
    expect(report.summary).toMatch(/hold the same 600 records\. The recall@5 of the target/);
  });

  test('another distance is no reason to refuse: records are compared, and what it does to recall is measured', async () => {
    const { target } = await copy();
    const dot = await endpointIn(runs, 'qdrant', 'words');
    const at = `${await qdrantUrl()}/collections/${dot.collection}`;
    await post('PUT', at, { vectors: { size: 4, distance: 'Dot' } });
    await post('PUT', `${at}/points?wait=true`, `{"points":[${ids.map(point).join()}]}`);
    const recall = { k: 5, queries: 100, atLeast: 0.9 };
    const { report } = await validate(target, dot, { validate: { recall } });
    expect(report).toMatchObject({
      verdict: 'failed',
      compare: { equal: records },
      recall: { sets: [{ distance: 'cosine', outcome: 'failed', source: { mean: 1 }, target: { measured: true } }] },
    });
    expect(report?.notes).toContainEqual(expect.stringMatching(/by cosine in the source and by dot in the target/));
    expect(report?.findings).toMatchObject([{ check: 'recall', causes: [{ check: 'recall' }] }]);
  });

  test('an empty column became null in one copy and nothing in the other, and neither is a fault; a value in its place is', async () => {
    const { target, at } = await copy();
    await sql.query(`ALTER TABLE ${source.collection} ADD note text, ADD remark text`);
    await post('POST', `${at}/points/payload?wait=true`, {
      payload: { note: null, other: null },
      points: ids.slice(300),
    });
    const report = expectValidated(await validate(source, target));
    expect(report.notes).toContainEqual(
      expect.stringMatching(/null on one side and not there on the other counts as equal/),
    );
    await post('POST', `${at}/points/payload?wait=true`, { payload: { note: 'written' }, points: [400] });
    const { report: second } = await validate(source, target);
    expect(second?.compare).toMatchObject({ different: 1, first: { different: [{ id: '400' }] } });
    await sql.query(`ALTER TABLE ${source.collection} DROP note, DROP remark`);
  });

  test('a target that is not there is not made: it is named as not found', async () => {
    const target = await endpointIn(runs, 'qdrant', 'nowhere');
    const { outcome } = await validate(source, target);
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'NotFound', cause: expect.stringContaining('nowhere') });
    await expect((await runs.open(target)).describe()).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('dimensions that differ are refused with what to do', async () => {
    const target = await endpointIn(runs, 'qdrant', 'words');
    const at = `${await qdrantUrl()}/collections/${target.collection}`;
    await post('PUT', at, { vectors: { size: 8, distance: 'Cosine' } });
    const { outcome } = await validate(source, target);
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'Incompatible' });
    expect(outcome).toMatchObject({ cause: expect.stringMatching(/4 dimensions in the source and 8 in the target/) });
  });

  test('rights to read are enough, because nothing is written', async () => {
    const role = runs.unique('reader');
    const copied = runs.unique('words');
    await sql.query(`CREATE TABLE ${copied} (LIKE ${source.collection} INCLUDING ALL)`);
    await sql.query(`INSERT INTO ${copied} SELECT * FROM ${source.collection}`);
    await sql.query(`CREATE ROLE ${role} LOGIN; GRANT SELECT ON ${source.collection}, ${copied} TO ${role}`);
    const url = new URL(await postgresUrl());
    url.username = role;
    const side = (collection: string) => ({ store: 'pgvector', connection: { url: url.href }, collection });
    expectValidated(await validate(side(source.collection), side(copied)));
    await sql.query(`DELETE FROM ${copied} WHERE id = 99`);
    const { report } = await validate(side(source.collection), side(copied));
    expect(report?.compare).toMatchObject({ missing: 1, first: { missing: [{ id: '99' }] } });
  });
});

describe('Chroma and LanceDB', () => {
  const key = (id: number): string => `doc-${id}`;
  /** Chroma keeps no lists. */
  const fields = (id: number) => ({ word: `word ${id}`, rank: id, weight: id / 4 });

  async function inChroma(): Promise<EndpointInput> {
    const source = await endpointIn(runs, 'chroma', 'words');
    const at = `${await chromaUrl()}/api/v2/tenants/default_tenant/databases/default_database/collections`;
    const made = await post('POST', at, { name: source.collection });
    const { id } = Object(made);
    await post('POST', `${at}/${id}/add`, {
      ids: ids.map(key),
      embeddings: ids.map(floats),
      metadatas: ids.map(fields),
    });
    return source;
  }

  async function inLance(change = (row: Record<string, unknown>) => row): Promise<EndpointInput> {
    const target = await endpointIn(runs, 'lancedb', 'words');
    const database = await connect(target.connection?.['path'] ?? '');
    const rows = ids.map((id) =>
      change({ weight: id / 4, key: key(id), vector: floats(id), word: `word ${id}`, rank: id }),
    );
    await database.createTable(target.collection, rows);
    database.close();
    return { ...target, options: { id: 'key' } };
  }

  test('a clean copy is validated, and not one file of it is touched', async () => {
    const [source, target] = [await inChroma(), await inLance()];
    const folder = join(target.connection?.['path'] ?? '', `${target.collection}.lance`);
    const before = filesOf(folder);
    const report = expectValidated(await validate(source, target));
    expect(report.compare).toMatchObject({ equal: records, extra: 0 });
    expect(filesOf(folder)).toEqual(before);
  });

  test('a record that is lost, one that is changed and one too many are named', async () => {
    const source = await inChroma();
    const target = await inLance((row) => (row['key'] === 'doc-7' ? { ...row, key: 'doc-9007' } : row));
    const { report } = await validate(source, target);
    expect(report?.compare).toMatchObject({
      equal: records - 1,
      missing: 1,
      extra: 1,
      first: { missing: [{ id: 'doc-7' }], extra: [{ id: 'doc-9007' }] },
    });
    const changed = await inLance((row) => (row['key'] === 'doc-8' ? { ...row, word: 'another' } : row));
    const { report: second } = await validate(source, changed);
    expect(second?.compare).toMatchObject({
      different: 1,
      first: { different: [{ id: 'doc-8', reason: expect.stringMatching(/payload field word.*word 8.*another/) }] },
    });
  });
});

/** Each file's size, time and content. */
function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .filter((name) => statSync(join(folder, name)).isFile())
    .map((name) => {
      const hash = createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex');
      return `${name} ${statSync(join(folder, name)).mtimeMs} ${hash}`;
    });
}

/** Regular expressions within, as matchers. */
function matching(expected: unknown): object {
  if (expected instanceof RegExp) return expect.stringMatching(expected);
  if (Array.isArray(expected)) return expected.map((each) => matching(each));
  if (typeof expected !== 'object' || expected === null) return Object(expected);
  return Object.fromEntries(
    Object.entries(expected).map(([name, value]) => [name, typeof value === 'object' ? matching(value) : value]),
  );
}
