import { writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { connect } from '@lancedb/lancedb';
import pg from 'pg';
import { type Batch, column, type DenseColumn } from '../../lib/batch.ts';
import { runKeys } from '../../lib/keys.ts';
import { readPlan } from '../../lib/plan.ts';
import type { Plan } from '../../lib/run-files.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { postgresUrl, qdrantUrl } from '../servers/urls.ts';
import { readGlosses, seedGlosses } from './glosses.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** What the plan decides of an embedding, in whole runs against a server that counts what it is asked. */

const glosses = readGlosses(120);
let runs: Runs;
let server: EmbeddingServer;
let source: EndpointInput;
beforeAll(async () => {
  [runs, server] = await Promise.all([startRuns(), startEmbeddings()]);
  source = await seedGlosses(runs.unique('glosses'), glosses);
});
afterAll(async () => {
  await runs.close();
  await server.close();
});
beforeEach(() => {
  server.counts.requests = 0;
});

const modelOf = (name: string, dimensions: number, more: object = {}) => ({
  provider: 'openai',
  name,
  version: '1',
  connection: { url: server.url },
  dimensions,
  usdPerMillionTokens: 1,
  ...more,
});
const recall = { queries: 30, depths: [], atLeast: 0.8 };
const planOf = async (run: string): Promise<Plan> => await readPlan(runs.engine.objects, run);

describe('a budget', () => {
  test('that the estimate passes stops the run before the first paid call, and before anything is written', async () => {
    const target = await endpointIn(runs, 'lancedb', 'copies');
    const embed = { text: 'text', model: modelOf('glove-64', 64), budget: { usd: 0.0005 } };
    const { run, outcome, report } = await runs.run({ source, target, embed });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'BudgetExceeded' });
    expect(report?.summary).toMatch(/would take 0\.00\d+ USD, and budget\.usd is 0\.0005.*nothing was asked or paid/);
    expect(server.counts.requests).toBe(0);
    expect(await runs.engine.objects.list(runKeys(run).shards)).toEqual([]);
    expect(await runs.engine.objects.get(runKeys(run).plan)).toBeUndefined();
    await expect((await runs.open(target)).count()).rejects.toMatchObject({ name: 'NotFound' });
    // The same run, with a budget that it keeps to.
    const again = await runs.run({
      run,
      source,
      target,
      embed: { ...embed, budget: { usd: 1 } },
      validate: { recall },
    });
    expect(expectValidated(again).embedding).toMatchObject({ completed: 120, failed: 0, budget: { usd: 1 } });
  });
});

describe('texts that the model refuses', () => {
  test('are in the report by id and reason, the others arrive, and they alone are asked for again', async () => {
    const target = await endpointIn(runs, 'lancedb', 'refused');
    const embed = { text: 'text', model: modelOf('glove-64', 64) };
    const bad = glosses[17]!;
    server.faults.refuse((text) => (text === bad.text ? 'this text is not allowed' : undefined));
    const { run, outcome, report } = await runs.run({ source, target, embed, validate: { recall } });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report?.embedding).toMatchObject({ completed: 119, failed: 1, failures: [{ id: bad.id }] });
    expect(report?.findings).toMatchObject([{ check: 'embedding', ids: [bad.id] }]);
    expect(report?.findings[0]?.next).toContain(`--run ${run} --only failed`);
    expect(await (await runs.open(target)).count()).toBe(119);

    server.faults.clear();
    server.counts.asked.clear();
    const again = await runs.run({ run, source, target, embed, validate: { recall }, only: 'failed' });
    expect(expectValidated(again).embedding).toMatchObject({ completed: 120, failed: 0 });
    expect([...server.counts.asked.keys()]).toEqual([bad.text]);
  });
});

describe('records without text', () => {
  test('are moved without a vector and without a mark where the target allows it, into columns too, and compared so', async () => {
    const directory = join(runs.directory, 'some');
    await mkdir(directory);
    const lines = glosses.slice(0, 90).map(({ id, text }, at) => ({ id, ...(at % 9 === 0 ? {} : { text }), n: at }));
    writeFileSync(join(directory, 'some.jsonl'), lines.map((line) => JSON.stringify(line)).join('\n'));
    const from = { store: 'files', connection: { path: directory }, collection: 'some.jsonl' };
    const embed = { text: 'text', model: modelOf('glove-64', 64) };
    for (const store of ['pgvector', 'qdrant'] as const) {
      const target = await endpointIn(runs, store, 'some');
      const result = await runs.run({ source: from, target, embed, validate: { recall } });
      const { embedding, compare, notes } = expectValidated(result);
      expect(embedding).toMatchObject({ completed: 80, withoutText: 10, failed: 0 });
      expect(compare).toMatchObject({ equal: 90 });
      expect(notes.join()).toMatch(/10 of 90 sampled records have no text/);
    }
    const skipping = await endpointIn(runs, 'lancedb', 'some');
    const mapping = { missingVectors: 'skip' };
    const left = expectValidated(
      await runs.run({ source: from, target: skipping, embed, mapping, validate: { recall } }),
    );
    expect(left).toMatchObject({ skipped: { records: 10 }, counts: { target: 80 } });
  });
});

describe('the model of a collection', () => {
  test('is what its records and files say: the next run copies its vectors, and asks for nothing', async () => {
    const made = await endpointIn(runs, 'pgvector', 'made');
    const model = modelOf('glove-64', 64);
    const embed = { text: '{words}: {text}', model };
    const first = expectValidated(await runs.run({ source, target: made, embed, validate: { recall } }));
    expect(first.embedding).toMatchObject({
      model: { name: 'glove-64', version: '1' },
      old: null,
      usd: expect.any(Number),
    });
    expect(first.embedding!.tokens).toBeLessThanOrEqual(first.embedding!.estimate.tokens);

    // A table keeps no model of its own, so its columns say it; files say it in their schema.
    const kept = await endpointIn(runs, 'files', 'kept');
    const asked = server.counts.requests;
    expectValidated(await runs.run({ source: made, target: kept, embed, validate: { recall }, cutover: null }));
    const last = await endpointIn(runs, 'lancedb', 'last');
    const { run, ...result } = await runs.run({
      source: kept,
      target: last,
      embed: { ...embed, mark: null },
      validate: { recall },
    });
    expectValidated({ run, ...result });
    const plan = await planOf(run);
    expect(plan.embed).toBeUndefined();
    expect(plan.source.vectors[0]?.model).toEqual({ name: 'glove-64', version: '1' });
    expect(plan.notes.join('\n')).toMatch(/made by glove-64, version 1.*it is copied/);
    expect(server.counts.requests).toBe(asked);

    const [id = ''] = glosses.map((each) => each.id);
    const [before, after] = await Promise.all([made, last].map(async (each) => (await runs.open(each)).fetch([id])));
    expect(vectorOf(after!)).toEqual(vectorOf(before!));
    expect(JSON.parse(after!.payloads[0]!)).toMatchObject({ embedding_model: 'glove-64', embedding_version: '1' });

    // Another model takes the place of the mark too.
    const other = await endpointIn(runs, 'pgvector', 'other');
    const next = { ...embed, model: modelOf('glove-50', 50) };
    const { embedding } = expectValidated(
      await runs.run({ source: made, target: other, embed: next, validate: { recall } }),
    );
    expect(embedding?.old).toEqual({ name: 'glove-64', version: '1' });
    const marked = await (await runs.open(other)).fetch([id]);
    expect(JSON.parse(marked.payloads[0]!)).toMatchObject({ embedding_model: 'glove-50', embedding_version: '1' });
  });
});

const vectorOf = (batch: Batch): Float32Array => {
  const [only] = [...batch.vectors.values()];
  return (only as DenseColumn).values;
};

describe('Matryoshka truncation', () => {
  test('of 100 floats to 40: every record equal to 1e-6, length 1, and recall measured among the truncated', async () => {
    const target = await endpointIn(runs, 'qdrant', 'truncated');
    const model = { name: 'ours', isMatryoshka: true };
    const mapping = { vectors: { embedding: { to: 'embedding', dimensions: 40 } } };
    const event = { source: { ...source, model }, target, mapping, validate: { recall } };
    const report = expectValidated(await runs.run(event));
    expect(report.compare).toMatchObject({ equal: 120, different: 0 });
    expect(report.recall?.sets[0]?.target).toMatchObject({ measured: true });
    expect(report.notes.join('\n')).toMatch(/the first 40 of 100 floats/);
    const described = await (await runs.open(target)).describe();
    expect(described.schema.vectors).toMatchObject([{ dimension: 40 }]);
  });

  test('of what is made: the model is asked for its own length, and the target has the shorter one', async () => {
    const target = await endpointIn(runs, 'lancedb', 'shorter');
    const embed = { text: 'text', model: modelOf('glove-64', 64, { isMatryoshka: true }) };
    const mapping = { vectors: { embedding: { to: 'embedding', dimensions: 32 } } };
    expectValidated(await runs.run({ source, target, embed, mapping, validate: { recall } }));
    const found = await (await runs.open(target)).fetch([glosses[0]!.id]);
    const { values } = column(found, 'embedding');
    expect(values).toHaveLength(32);
    expect(Math.hypot(...values)).toBeCloseTo(1, 5);
  });
});

describe('a collection of texts alone can be embedded, because it has no vectors yet', () => {
  const embedInto = async (from: EndpointInput): Promise<Plan> => {
    const target = await endpointIn(runs, 'lancedb', 'texts');
    const embed = { text: 'text', model: modelOf('glove-64', 64) };
    const { run, ...result } = await runs.run({ source: from, target, embed, validate: { recall }, cutover: null });
    expectValidated({ run, ...result });
    return await planOf(run);
  };
  const rows = glosses.map(({ id, text }, at) => ({ id: at + 1, gloss: id, text }));

  test('a table of PostgreSQL', async () => {
    const table = runs.unique('texts');
    const url = await postgresUrl();
    const sql = new pg.Client(url);
    await sql.connect();
    await sql.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, gloss text, text text)`);
    await sql.query(
      `INSERT INTO ${table} SELECT * FROM jsonb_to_recordset($1) AS r(id bigint, gloss text, text text)`,
      [JSON.stringify(rows)],
    );
    await sql.end();
    const plan = await embedInto({ store: 'pgvector', connection: { url }, collection: table });
    expect(plan.target.vectors).toMatchObject([{ dimension: 64, model: { name: 'glove-64' } }]);
  });

  test('a file of JSON lines', async () => {
    const directory = join(runs.directory, 'lines');
    await mkdir(directory);
    writeFileSync(join(directory, 'texts.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
    await embedInto({ store: 'files', connection: { path: directory }, collection: 'texts.jsonl' });
  });

  test('a table of LanceDB', async () => {
    const path = join(runs.directory, 'lance-texts');
    const database = await connect(path);
    const table = await database.createTable(
      'texts',
      rows.map(({ gloss, text }) => ({ id: gloss, text })),
    );
    table.close();
    database.close();
    await embedInto({ store: 'lancedb', connection: { path }, collection: 'texts' });
  });

  test('a collection of Qdrant that has payloads only', async () => {
    const name = runs.unique('payloads');
    const put = async (path: string, body: object): Promise<void> => {
      const answer = await fetch(`${await qdrantUrl()}${path}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(await answer.text());
    };
    await put(`/collections/${name}`, { vectors: {} });
    const points = rows.map(({ id, ...payload }) => ({ id, vector: {}, payload }));
    await put(`/collections/${name}/points?wait=true`, { points });
    const { connection } = await endpointIn(runs, 'qdrant', 'unused');
    await embedInto({ store: 'qdrant', connection: connection!, collection: name });
  });
});
