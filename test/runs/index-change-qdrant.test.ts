import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readMoves } from '../../lib/cutover/moves.ts';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { reportSchema } from '../../lib/report/report-schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { qdrantUrl } from '../servers/urls.ts';
import { records, schema, weakGraph } from '../stores/qdrant-recipes.ts';
import { startWriting } from './collection-application.ts';
import { vecferryProcess } from './vecferry-process.ts';
import { type EndpointInput, endpointIn, expectValidated, type Result, type Runs, startRuns } from './world.ts';

/** Another graph or quantization of a vector in Qdrant, which has one index a vector: on its real engine, while it is read and written. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

const recall = { queries: 150, k: 10, atLeast: 0.9, depths: [1] };
const strong = { ...weakGraph, hnsw: { ...weakGraph.hnsw, m: 32, efConstruction: 200 } };

interface Made {
  readonly source: EndpointInput;
  readonly store: Store;
  /** The collection's settings as Qdrant answers them. */
  settings(): Promise<{ readonly hnsw: Record<string, unknown>; readonly quantization: unknown }>;
}

/** A collection of 3,000 random vectors with its index built. */
async function makeCollection(name: string, options: Readonly<Record<string, unknown>>): Promise<Made> {
  const source = await endpointIn(runs, 'qdrant', name);
  const store = await runs.seed({ ...source, options }, schema, records());
  await built(store);
  const settings: Made['settings'] = async () => {
    const answer = await fetch(`${await qdrantUrl()}/collections/${source.collection}`);
    const { config } = ((await answer.json()) as { result: { config: Record<string, Record<string, unknown>> } })
      .result;
    return { hnsw: config['hnsw_config'] ?? {}, quantization: config['quantization_config'] };
  };
  return { source, store, settings };
}

async function built(store: Store): Promise<void> {
  for (let waited = 0; !(await store.indexProgress(schema)).done; waited++) {
    if (waited === 600) throw new Error('the graph was not built within a minute');
    await sleep(100);
  }
}

const change = (source: EndpointInput, index: unknown, more: Record<string, unknown> = {}): Promise<Result> =>
  runs.run({ source, target: { into: 'place' } as never, index, validate: { recall }, ...more });

test('a weak graph is rebuilt denser under an application that reads and writes: no query fails, and the old index is asked before', async () => {
  const { source, store, settings } = await makeCollection('denser', weakGraph);
  const application = startWriting(store, records().count);
  const result = await change(source, { to: { kind: 'hnsw', m: 32, efConstruction: 200 } });
  await application.stop();
  const report = expectValidated(result);

  expect(application.failures).toEqual([]);
  expect(application.counts.reads).toBeGreaterThan(50);
  expect(application.counts.writes).toBeGreaterThan(5);
  expect(await settings()).toMatchObject({ hnsw: { m: 32, ef_construct: 200, full_scan_threshold: 10 } });
  const [entry] = report.recall?.sets ?? [];
  // 0.7 to 0.85 with edges of 6, and 0.98 and more with 32.
  expect(entry?.source.measured && entry.source.mean).toBeLessThan(0.9);
  expect(entry?.target.measured && entry.target.mean).toBeGreaterThan(0.95);
  expect(report.index).toMatchObject({
    how: 'instead',
    oldAsked: 'before',
    from: { index: { kind: 'hnsw', m: 6, efConstruction: 24 }, quantization: null },
    to: { index: { kind: 'hnsw', m: 32, efConstruction: 200 }, quantization: null },
    used: 'new',
    takenBack: null,
  });
  expect(report.summary).toMatch(/^Validated, the index of qdrant .*HNSW \(m 6.* -> HNSW \(m 32.*No record was moved/);
  expect((await readMoves(runs.engine.objects, result.run)).map(({ action, kind, to }) => [action, kind, to])).toEqual([
    ['cutover', 'index', `the index of run ${result.run}`],
  ]);
});

test('a change that makes recall miss its goal is taken back by the run itself: readers had it already', async () => {
  const { source, store, settings } = await makeCollection('worse', strong);
  const result = await change(source, { to: { kind: 'hnsw', m: 2, efConstruction: 4 } });
  expect([result.outcome.status, result.report?.verdict]).toEqual(['FAILED', 'failed']);
  expect(result.outcome).toMatchObject({ error: 'ValidationFailed' });
  expect(await settings()).toMatchObject({ hnsw: { m: 32, ef_construct: 200 } });
  expect(result.report?.index).toMatchObject({
    used: 'old',
    takenBack: {
      reason: 'the new index did not pass validation',
      note: expect.stringMatching(/rebuilds the old index/),
    },
  });
  expect(result.report?.summary).toMatch(/has put the old settings back/);
  expect((await readMoves(runs.engine.objects, result.run)).map(({ action }) => action)).toEqual(['rollback']);
  await built(store);

  // Started again under its id it asks nothing that is there, changes it again, and takes it back again.
  const kept = await beforeOf(result.run);
  const again = await change(source, { to: { kind: 'hnsw', m: 2, efConstruction: 4 } }, { run: result.run });
  expect(again.report?.index?.takenBack).not.toBeNull();
  expect(await beforeOf(result.run)).toEqual(kept);
  expect(await settings()).toMatchObject({ hnsw: { m: 32, ef_construct: 200 } });
});

/** What is kept of the old index's answers, as it lies there. */
async function beforeOf(run: string): Promise<readonly string[]> {
  const { objects } = runs.engine;
  const bodies = await Promise.all((await objects.list(runKeys(run).before)).map((key) => objects.get(key)));
  return bodies.map((body) => new TextDecoder().decode(body));
}

test('quantization is put on and taken off again in place, and a rollback puts back what was there', async () => {
  const { source, store, settings } = await makeCollection('quantized', strong);
  const scalar = { scalar: { type: 'int8', quantile: 0.99, always_ram: true } };
  const on = await change(source, { quantization: scalar });
  expect(expectValidated(on).index).toMatchObject({ from: { quantization: null }, to: { quantization: scalar } });
  expect((await settings()).quantization).toEqual(scalar);

  const off = await change(source, { quantization: null });
  expectValidated(off);
  expect((await settings()).quantization).toBeNull();

  const back = await runs.engine.invoke('roll-back', { run: off.run });
  expect(back).toMatchObject({ action: 'rollback', note: expect.stringMatching(/takes about as long/) });
  expect((await settings()).quantization).toEqual(scalar);
  await built(store);
  // What is searched is the old one again, which says nothing of the new one.
  await runs.engine.invoke('write-report', { run: off.run });
  const report = await getJson(runs.engine.objects, runKeys(off.run).report, reportSchema);
  expect(report).toMatchObject({ verdict: 'unproven', index: { used: 'old' } });
  await expect(runs.engine.invoke('cut-over', { run: off.run })).rejects.toThrow(/has not passed validation/);
  await expect(runs.engine.invoke('retire', { run: on.run })).rejects.toThrow(/nothing left to drop/);
});

test('what cannot be asked is refused before anything is read: a person’s word, and an index that is there', async () => {
  const { source } = await makeCollection('refused', weakGraph);
  const to = { kind: 'hnsw', m: 16, efConstruction: 100 };
  const person = await change(source, { to }, { cutover: { approval: 'person' } });
  expect(person.report?.failure?.message).toMatch(/readers use the new one as soon as it is built/);
  const later = await change(source, { to }, { cutover: null });
  expect(later.report?.failure?.message).toMatch(/cutover is null/);
  const same = await change(source, { to: { kind: 'hnsw', m: 6, efConstruction: 24 } });
  expect(same.report?.failure?.message).toMatch(/already/);
  const odd = await change(source, { quantization: { scalar: { type: 'int4' } } });
  expect(odd.report?.failure?.message).toMatch(/must be "int8"/);
});

test('killed while it asks the old index and while the new one is built, it goes on: the old answers stay what they were', async () => {
  const { source, store, settings } = await makeCollection('killed', weakGraph);
  const vecferry = vecferryProcess(mkdtempSync(join(tmpdir(), 'vecferry-index-')), 'r1');
  const event = {
    source,
    target: { into: 'place' },
    index: { to: { kind: 'hnsw', m: 32, efConstruction: 200 } },
    validate: { recall: { ...recall, queries: 300 } },
  };
  const start = ['run', JSON.stringify(event), '--run', 'r1'];
  const application = startWriting(store, records().count);
  await vecferry.killWhen(start, 'before', 1);
  expect(await settings()).toMatchObject({ hnsw: { m: 6 } });
  const first = readFileSync(vecferry.objects('before/00000.json'), 'utf8');
  // The next file beside plan.json and the others is index.json, of the first look at the build.
  await vecferry.killWhen(start, '.', vecferry.files('.').length + 1);
  expect(vecferry.kills()).toBeGreaterThan(0);
  const before = vecferry.files('before').map((name) => readFileSync(vecferry.objects(`before/${name}`), 'utf8'));
  expect(before).toHaveLength(6);
  expect(before[0]).toBe(first);
  expect(await settings()).toMatchObject({ hnsw: { m: 32 } });
  const said = await vecferry.run(...start);
  await application.stop();
  expect(application.failures).toEqual([]);
  expect(said).toMatch(
    /index {4}HNSW \(m 6, efConstruction 24\).* -> HNSW \(m 32.*recall@10 [678]\d\.\d\d% -> (9|100)/,
  );
  expect(vecferry.files('before').map((name) => readFileSync(vecferry.objects(`before/${name}`), 'utf8'))).toEqual(
    before,
  );
});

test('the way beside: a copy with other settings in another collection, validated, its alias swapped, the old one dropped last', async () => {
  const { source, store } = await makeCollection('beside_v1', weakGraph);
  const [alias, copy] = [runs.unique('beside'), runs.unique('beside_v2')];
  await store.pointer?.move(alias, source.collection);
  const sample = JSON.parse(readFileSync('events/qdrant-index-beside.json', 'utf8'));
  const { optimizers } = weakGraph;
  const options = { ...sample.target.options, optimizers };
  const target = { ...source, collection: copy, options };
  const { validate } = sample;
  const result = await runs.run({ source, target, validate, cutover: { pointer: alias } });
  const report = expectValidated(result);
  const [entry] = report.recall?.sets ?? [];
  expect(entry?.source.measured && entry.target.measured && entry.source.mean < entry.target.mean).toBe(true);
  expect(report.settings?.find(({ setting }) => /^quantization/.test(setting))).toMatchObject({ differs: true });
  expect(await store.pointer?.read(alias)).toBe(copy);
  const { name } = (await runs.engine.invoke('retire', { run: result.run })) as { name: string };
  expect(await runs.engine.invoke('retire', { run: result.run, confirm: name })).toMatchObject({ dropped: true });
  const search = await runs.open({ ...source, collection: alias });
  expect(await search.count()).toBe(records().count);
});
