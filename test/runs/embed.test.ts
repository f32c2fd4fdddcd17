import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { column, denseVector } from '../../lib/batch.ts';
import { embeddingSchema } from '../../lib/embed/stage/embed-files.ts';
import { runKeys } from '../../lib/keys.ts';
import { mapId } from '../../lib/mapping/mapping.ts';
import { getJson } from '../../lib/objects.ts';
import { readPlan } from '../../lib/plan.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { commandLine } from '../local/cli/command-line.ts';
import { embedText } from '../servers/embedding-models.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { postgresUrl } from '../servers/urls.ts';
import { readGlosses, seedGlosses } from './glosses.ts';
import { type EndpointInput, endpointIn, expectValidated, fewQueries, type Runs, startRuns } from './world.ts';

/** Whole runs that embed: definitions of WordNet, whose old vectors have 100 floats. */

let runs: Runs;
let server: EmbeddingServer;
beforeAll(async () => {
  runs = await startRuns();
  server = await startEmbeddings();
});
afterAll(async () => {
  await server.close();
  await runs.close();
});
beforeEach(() => {
  server.faults.clear();
  server.counts.embedded.clear();
});

const records = 400;
const glosses = readGlosses(records);
const distinct = new Set(glosses.map(({ text }) => text));
const parallel = { shardMiB: 0.1 };

/** A model of the test server with another dimension than the source's. */
function embedWith(more: Record<string, unknown> = {}) {
  const model = {
    provider: 'openai',
    name: 'glove-50',
    dimensions: 50,
    connection: { url: server.url },
    usdPerMillionTokens: 0.1,
    maxInputTokens: 8000,
  };
  return { text: 'text', model, ...more };
}

async function embeddingOf(run: string) {
  const found = await getJson(runs.engine.objects, runKeys(run).embedding, embeddingSchema);
  if (found === undefined) throw new Error(`run ${run} has no embedding.json`);
  return found;
}

/** Every record of a PostgreSQL target has the vector of its own text. */
async function expectVectorsOfTexts(target: EndpointInput): Promise<void> {
  const store = await runs.open(target);
  const found = await store.fetch(glosses.map(({ id }) => id));
  const vectors = column(found, 'embedding');
  const texts = new Map(glosses.map(({ id, text }) => [id, text]));
  expect(found.count).toBe(records);
  for (const [at, id] of found.ids.entries()) {
    const wanted = await embedText(texts.get(id) ?? '', 50);
    if (vectors.kind !== 'dense') throw new Error('no dense vector');
    const difference = Math.max(...denseVector(vectors, at).map((each, i) => Math.abs(each - (wanted[i] ?? 0))));
    expect(difference).toBeLessThan(1e-6);
  }
}

async function inSql(text: string, values: readonly unknown[] = []): Promise<pg.QueryResult> {
  const sql = new pg.Client(await postgresUrl());
  await sql.connect();
  try {
    return await sql.query(text, [...values]);
  } finally {
    await sql.end();
  }
}

const paidMoreThanOnce = (): [string, number][] => [...server.counts.embedded].filter(([, times]) => times !== 1);

test('PostgreSQL to Qdrant through the local model: 100 floats become 512, and every record is where its text says', async () => {
  const few = readGlosses(100);
  const source = await seedGlosses(runs.unique('glosses'), few);
  const target = await endpointIn(runs, 'qdrant', 'glosses');
  const embed = { text: 'text', model: { provider: 'local', name: 'universal-sentence-encoder-lite' } };
  const report = expectValidated(await runs.run({ source, target, embed, parallel, validate: fewQueries }));
  expect(report.compare).toMatchObject({ equal: 100 });
  const ids = few.map(({ id }) => mapId(qdrant.capabilities.ids, id));
  const found = await (await runs.open(target)).fetch(ids.slice(0, 1));
  expect(column(found, '').values).toHaveLength(512);
});

describe('a provider that', () => {
  test.each([
    [
      'answers 429 again and again',
      () => server.faults.every(2, { kind: 'throttle', headers: { 'retry-after': '0' } }),
    ],
    ['gives half a batch', () => server.faults.every(2, { kind: 'half' })],
    ['gives vectors of the wrong length', () => server.faults.every(2, { kind: 'length' })],
  ])('%s loses nothing, and no text that it embedded well is paid for twice', async (_, fault) => {
    const source = await seedGlosses(runs.unique('glosses'), glosses);
    const target = await endpointIn(runs, 'pgvector', 'glosses');
    fault();
    const { run, ...result } = await runs.run({ source, target, embed: embedWith(), parallel, validate: fewQueries });
    const report = expectValidated({ run, ...result });
    expect(report.compare).toMatchObject({ equal: records });
    expect(server.counts.faulty).toBeGreaterThan(0);
    expect(paidMoreThanOnce()).toEqual([]);
    expect(server.counts.embedded.size).toBe(distinct.size);
    expect(await embeddingOf(run)).toMatchObject({ done: true, completed: records, failed: 0, texts: distinct.size });
    await expectVectorsOfTexts(target);
  });

  test('refuses some texts fails these records by name, and "only": "failed" makes the run whole', async () => {
    const table = runs.unique('glosses');
    const source = await seedGlosses(table, glosses);
    const target = await endpointIn(runs, 'pgvector', 'glosses');
    const odd = glosses.filter(({ text }) => text.includes('bird'));
    expect(odd.length).toBeGreaterThan(0);
    server.faults.refuse((text) => (text.includes('bird') ? 'no birds here' : undefined));
    const event = { source, target, embed: embedWith(), parallel, validate: fewQueries };
    const { run, outcome, report } = await runs.run(event);
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report?.compare).toMatchObject({ equal: records - odd.length, missing: odd.length, different: 0 });
    expect(report?.compare?.first.missing[0]).toMatchObject({ reason: expect.stringContaining('no birds here') });
    expect(await embeddingOf(run)).toMatchObject({ failed: odd.length, completed: records - odd.length });
    expect(await (await runs.open(target)).count()).toBe(records - odd.length);

    const status = commandLine(join(runs.directory, 'objects'));
    const listed = await status(['--json', 'status', run, '--failed']);
    expect(listed.events().map(({ type, id }) => [type, id])).toEqual(odd.map(({ id }) => ['failed', id]));
    expect((await status(['status', run, '--failed'])).out).toContain(`${odd[0]?.id}\t`);
    expect((await status(['status', run])).out).toMatch(/embed +done.*failed/);

    server.faults.clear();
    const asked = new Map(server.counts.asked);
    const again = await runs.run({ ...event, run, only: 'failed' });
    expect(expectValidated(again).compare).toMatchObject({ equal: records, missing: 0 });
    const askedNow = [...server.counts.asked].filter(([text, times]) => times !== (asked.get(text) ?? 0));
    expect(askedNow.map(([text]) => text).sort()).toEqual([...new Set(odd.map(({ text }) => text))].sort());
    expect(paidMoreThanOnce()).toEqual([]);
    await expectVectorsOfTexts(target);
  });
});

test('a table without any vector gets its first one', async () => {
  const table = runs.unique('glosses');
  const source = await seedGlosses(table, glosses);
  await inSql(`ALTER TABLE ${table} DROP COLUMN embedding`);
  const target = await endpointIn(runs, 'pgvector', 'glosses');
  const report = expectValidated(
    await runs.run({ source, target, embed: embedWith(), parallel, validate: fewQueries }),
  );
  expect(report.compare).toMatchObject({ equal: records });
  await expectVectorsOfTexts(target);
});

test('only the records that lack their vector are embedded where the event says so, and the others keep theirs', async () => {
  const table = runs.unique('glosses');
  const source = {
    ...(await seedGlosses(table, glosses)),
    model: { name: 'glove-100', version: '1' },
  };
  const lacking = glosses.filter((_, at) => at % 10 === 0);
  await inSql(`UPDATE ${table} SET embedding = NULL WHERE id = ANY($1)`, [lacking.map(({ id }) => id)]);
  const target = await endpointIn(runs, 'pgvector', 'glosses');
  const model = { ...embedWith().model, name: 'glove-100', version: '1', dimensions: 100 };
  const { run, ...result } = await runs.run({
    source,
    target,
    embed: embedWith({ model, records: 'missing' }),
    parallel,
    validate: fewQueries,
  });
  expect(expectValidated({ run, ...result }).compare).toMatchObject({ equal: records });
  const asked = new Set(lacking.map(({ text }) => text));
  expect(new Set(server.counts.embedded.keys())).toEqual(asked);
  expect(await embeddingOf(run)).toMatchObject({ completed: records, copied: records - lacking.length });
  // One model made both, so every vector is the model's of the record's text.
  const same = await inSql(
    `SELECT count(*)::int AS same FROM ${table} s JOIN ${target.collection} t USING (id) WHERE s.embedding <-> t.embedding < 1e-6`,
  );
  expect(same.rows[0]).toEqual({ same: records - lacking.length });
  const whole = await inSql(`SELECT count(*)::int AS made FROM ${target.collection} WHERE embedding IS NOT NULL`);
  expect(whole.rows[0]).toEqual({ made: records });
});

test('a budget that is passed in the middle stops the run; a greater one goes on, and nothing is paid for twice', async () => {
  const source = await seedGlosses(runs.unique('glosses'), glosses);
  const target = await endpointIn(runs, 'pgvector', 'glosses');
  const event = { source, target, parallel, validate: fewQueries };
  const planned = await runs.run({ ...event, embed: embedWith(), dryRun: true });
  const { embed } = await readPlan(runs.engine.objects, planned.run);
  const tokens = embed?.estimate.tokens ?? 0;
  // What is left out of an answer is charged with it, and again when it is asked for again: more than any plan can know.
  server.faults.every(1, { kind: 'half' });
  const limits = { concurrency: 1 };
  const stopped = await runs.run({ ...event, embed: embedWith({ limits, budget: { tokens } }) });
  expect(stopped.outcome).toMatchObject({ status: 'FAILED', error: 'BudgetExceeded' });
  const spent = await embeddingOf(stopped.run);
  expect(spent.tokens).toBeLessThanOrEqual(tokens);
  expect(spent.tokens).toBeGreaterThan(tokens / 2);
  expect(spent).toMatchObject({ done: false, processing: 0 });
  expect(spent.pending).toBeGreaterThan(0);
  const { run } = stopped;
  const again = await runs.run({ ...event, run, embed: embedWith({ budget: { tokens: tokens * 10 } }) });
  expect(expectValidated(again).compare).toMatchObject({ equal: records });
  expect(paidMoreThanOnce()).toEqual([]);
  await expectVectorsOfTexts(target);
});

test('a run goes on with another budget, limit, price and address, and not with another model or text', async () => {
  const source = await seedGlosses(runs.unique('glosses'), glosses);
  const target = await endpointIn(runs, 'pgvector', 'glosses');
  const event = { source, target, parallel, embed: embedWith(), validate: fewQueries };
  const { run } = await runs.run(event);
  const elsewhere = { ...embedWith().model, connection: { url: `${server.url}/` }, usdPerMillionTokens: 7 };
  const more = { model: elsewhere, budget: { usd: 99 }, limits: { concurrency: 2 }, longText: 'truncate' };
  expectValidated(await runs.run({ ...event, run, embed: embedWith(more), only: 'failed' }));
  for (const other of [
    { text: '{words}: {text}' },
    { model: { ...embedWith().model, name: 'glove-64', dimensions: 64 } },
    { model: { ...embedWith().model, dimensions: 25 } },
  ]) {
    const { outcome } = await runs.run({ ...event, run, embed: embedWith(other) });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'RunMismatch' });
  }
  expect(paidMoreThanOnce()).toEqual([]);
});

test('a text that changed after the export is told apart from one that is wrong', async () => {
  const table = runs.unique('glosses');
  const source = await seedGlosses(table, glosses);
  const target = await endpointIn(runs, 'pgvector', 'glosses');
  const sql = new pg.Client(await postgresUrl());
  await sql.connect();
  let isChanged = false;
  const event = { source, target, embed: embedWith(), parallel, validate: { ...fewQueries, spotCheck: records } };
  const { outcome, report } = await runs.run(event, ({ type, state }) => {
    if (isChanged || type !== 'entered' || state !== 'Build the index') return;
    isChanged = true;
    void sql.query(`UPDATE ${table} SET text = 'another text' WHERE id = $1`, [glosses[7]?.id]);
  });
  await sql.end();
  expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
  expect(JSON.stringify(report)).toContain('its text changed since it was embedded');
});
