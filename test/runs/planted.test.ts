import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { column, denseVector } from '../../lib/batch.ts';
import { compareShard } from '../../lib/compare/compare.ts';
import { countSides, readCompared } from '../../lib/compare/counts.ts';
import { readManifest } from '../../lib/manifest.ts';
import { readPlan } from '../../lib/plan.ts';
import { seededRandom } from '../../lib/sample.ts';
import { services } from '../../lib/services.ts';
import { noDeadline } from '../world.ts';
import { doubledFaults, type Fault, faults, type Planted, plantRound, respelled } from './faults-plant.ts';
import { type Planter, planters } from './plant.ts';
import {
  type EndpointInput,
  endpointIn,
  expectValidated,
  type Runs,
  type StoreName,
  startRuns,
  stores,
} from './world.ts';

/**
 * A thousand planted faults: collections are moved, validated, changed behind vecferry's back by the store's own API, and
 * validated again. Each fault has to be named by its id with the reason that fits, and nothing else may be named.
 */

/** Another seed draws other records and faults: `FAULT_SEED=7 npm run jest -- planted`. */
const seed = Number(process.env['FAULT_SEED'] ?? 1);
/** A round plants 40 faults in 80 records. */
const recordsMoved = 1000;
const perStore = 200;
const atOnce = 40;
/**
 * LanceDB and files hold an id more than once, so doubled records are planted there: in a round of their own, because
 * LanceDB's records cannot be listed then, and records that were added not be named. What the others cannot express: a doubled record
 * in pgvector (primary key), Qdrant and Chroma (one record an id).
 */
const doubles = { pgvector: 0, qdrant: 0, chroma: 0, lancedb: atOnce, files: atOnce } as const;

let runs: Runs;
let source: EndpointInput;
let original: ReadonlyMap<string, Planted>;
beforeAll(async () => {
  runs = await startRuns();
  const words = join(runs.directory, 'parquet', 'words');
  mkdirSync(words, { recursive: true });
  copyFileSync(join(import.meta.dirname, '../data/words-10k.parquet'), join(words, 'words.parquet'));
  original = await makeRecords({
    store: 'files',
    connection: { path: join(runs.directory, 'parquet') },
    collection: 'words',
  });
  const folder = join(runs.directory, 'sources', 'rich');
  mkdirSync(folder, { recursive: true });
  const lines = [...original.values()].map(
    ({ id, vector, payload }) => `{"id":${id},"vectors":{"embedding":[${vector.join(',')}]},"payload":${payload}}`,
  );
  writeFileSync(join(folder, 'rich.jsonl'), `${lines.join('\n')}\n`);
  source = {
    store: 'files',
    connection: { path: join(runs.directory, 'sources') },
    collection: 'rich',
    options: { distance: 'cosine' },
  };
});
afterAll(async () => await runs.close());

/** Real words with a payload that holds every JSON type; ids ten apart, so that one off by one is no other record's. */
async function makeRecords(endpoint: EndpointInput): Promise<Map<string, Planted>> {
  const store = await runs.open(endpoint);
  const found = new Map<string, Planted>();
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: recordsMoved, maxBytes: 1 << 24 })) {
    const embedding = column(batch, 'embedding');
    if (embedding.kind !== 'dense') throw new Error('the words have no dense vector');
    for (let at = 0; at < batch.count && found.size < recordsMoved; at++) {
      const vector = denseVector(embedding, at).slice();
      // A float as large as others are small: a change of 1e-5 in a large one is found too.
      vector[0] = (vector[0] ?? 0) < 0 ? -9 : 9;
      vector[1] = (vector[1] ?? 0) * 20;
      const id = String((found.size + 1) * 10);
      const { word } = JSON.parse(batch.payloads[at] ?? '{}');
      found.set(id, { id, vector, payload: payloadOf(found.size, JSON.stringify(word)) });
    }
    if (found.size >= recordsMoved) break;
  }
  expect(found.size).toBe(recordsMoved);
  return found;
}

function payloadOf(at: number, word: string): string {
  const meta = `{"lang":"en","at":{"depth":${at % 10},"list":[1,{"x":null},[]]}}`;
  const numbers = `"rank":${at},"price":${at}.50,"code":"${1000 + at}","big":${9_007_199_254_740 + at}0001`;
  return `{"word":${word},"title":"caf\u00e9 ${at}","note":null,"tags":["first","second","last"],"meta":${meta},${numbers},"flag":true,"revision":${at + 2}}`;
}

interface Named {
  readonly id: string;
  readonly verdict: string;
  readonly reason: string;
}

/** What validation names in the target, without the recall and the report of a whole run. */
async function validate(run: string, endpoint: EndpointInput, round: number): Promise<Named[]> {
  const { objects } = services();
  const planned = await readPlan(objects, run);
  // Another seed is another validation: what an earlier round found does not stand for it.
  const event = { ...planned.event, validate: { ...planned.event.validate, seed: 1000 + round, spotCheck: 20 } };
  const plan = { ...planned, event };
  const manifest = await readManifest(objects, run);
  const sides = { source: await runs.open(source), target: await runs.open(endpoint) };
  for (const { shard } of manifest.shards)
    await compareShard({ ...sides, plan, objects, shard, deadline: noDeadline, secondLookMs: 0 });
  const compared = await readCompared(plan, manifest, objects);
  const counts = await countSides({ ...sides, plan, manifest, objects });
  expect(compared.reduce((sum, { records }) => sum + records, 0)).toBe(recordsMoved);
  const extra = counts.extraIds.map((id) => ({ id, verdict: 'extra', reason: '' }));
  return [...compared.flatMap(({ differences }) => differences), ...extra];
}

const byId = (one: { readonly id: string }, other: { readonly id: string }): number =>
  one.id < other.id ? -1 : one.id > other.id ? 1 : 0;

/** Every fault is named as it has to be, and nothing else is. */
function expectNamed(found: readonly Named[], planted: readonly Fault[]): void {
  const missed = planted.flatMap(({ kind, expected }) =>
    expected.flatMap(({ id, verdict, reason }) => {
      const named = found.filter((each) => each.id === id);
      const isRight = named.some((each) => each.verdict === verdict && reason.test(each.reason));
      return isRight ? [] : [{ kind, id, verdict, reason: String(reason), named }];
    }),
  );
  expect({ seed, missed }).toEqual({ seed, missed: [] });
  const ids = new Set(planted.flatMap(({ expected }) => expected.map(({ id }) => id)));
  expect({ seed, falseAlarms: found.filter(({ id }) => !ids.has(id)).toSorted(byId) }).toEqual({
    seed,
    falseAlarms: [],
  });
}

/** What the target holds of a record: Qdrant scales vectors for cosine, so a fault starts from the scaled one. */
function asKept(store: StoreName, record: Planted): Planted {
  if (store !== 'qdrant') return record;
  const length = Math.hypot(...record.vector);
  return { ...record, vector: record.vector.map((value) => value / length) };
}

let planted = 0;

describe.each(stores)('in %s', (store) => {
  let target: EndpointInput;
  let planter: Planter;
  let run: string;
  let kept: ReadonlyMap<string, Planted>;

  test('a clean target is validated', async () => {
    target = {
      ...(await endpointIn(runs, store, 'planted')),
      ...(store === 'files' && { options: { format: 'jsonl' } }),
    };
    const result = await runs.run({
      source,
      target,
      parallel: { shardMiB: 0.25 },
      validate: { recall: null },
      cutover: null,
    });
    expect(expectValidated(result).compare).toMatchObject({ equal: recordsMoved });
    run = result.run;
    planter = await planters[store](target);
    kept = new Map([...original].map(([id, record]) => [id, asKept(store, record)]));
  });

  test(`each of ${perStore} faults is named with its reason, and nothing else is`, async () => {
    const random = seededRandom(seed * 100 + stores.indexOf(store));
    for (let first = 0; first < perStore; first += atOnce) {
      const isDoubled = first >= perStore - doubles[store] && (store === 'lancedb' || store === 'files');
      const kinds = isDoubled ? doubledFaults(store) : faults;
      const roundSeed = seed * 10_000 + stores.indexOf(store) * 1000 + first;
      const round = plantRound({ records: kept, kinds, first, count: atOnce, seed: roundSeed, random });
      const changes = new Map(round.flatMap((fault) => [...fault.changes]));
      await planter.replace(changes);
      expectNamed(await validate(run, target, first), round);
      planted += round.length;
      const repaired = [...changes.keys()].map((id) => [id, [original.get(id) ?? []].flat()] as const);
      await planter.replace(new Map(repaired));
    }
    expect(await validate(run, target, perStore)).toEqual([]);
  });

  test('the same values spelled another way by another client are no difference: 1 and 1.0, keys in another order', async () => {
    const random = seededRandom(seed * 7 + stores.indexOf(store));
    const rewritten = [...original.values()]
      .filter((_, at) => at % 4 === 0)
      .map((record) => ({ ...record, payload: respelled(record.payload, random) }));
    await planter.replace(new Map(rewritten.map((record) => [record.id, [record]])));
    expect({ seed, named: await validate(run, target, perStore + 1) }).toEqual({ seed, named: [] });
  });

  test('`vecferry validate` of the two collections names what is planted, and passes once it is mended', async () => {
    const random = seededRandom(seed * 11 + stores.indexOf(store));
    const planting = {
      records: kept,
      kinds: faults,
      first: 0,
      count: Object.keys(faults).length,
      seed: seed + 77,
      random,
    };
    const round = plantRound(planting);
    const changes = new Map(round.flatMap((fault) => [...fault.changes]));
    await planter.replace(changes);
    const event = { mode: 'validate', source, target, validate: { recall: null } };
    const failed = await runs.run(event);
    expect(failed.outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(failed.report?.verdict).toBe('failed');
    const { different = [], missing = [], extra = [] } = failed.report?.compare?.first ?? {};
    const named = Object.entries({ different, missing, extra }).flatMap(([verdict, all]) =>
      all.map(({ id, reason }) => ({ id, verdict, reason: verdict === 'extra' ? '' : reason })),
    );
    expectNamed(named, round);
    const findings = new Set(failed.report?.findings.flatMap(({ ids }) => ids));
    for (const { expected } of round) for (const { id } of expected) expect(findings).toContain(id);
    await planter.replace(new Map([...changes.keys()].map((id) => [id, [original.get(id) ?? []].flat()])));
    expect(expectValidated(await runs.run(event)).compare).toMatchObject({ equal: recordsMoved, extra: 0 });
    // The run that failed goes on under its id: what it found is looked at anew.
    expect(expectValidated(await runs.run({ ...event, run: failed.run })).compare).toMatchObject({
      equal: recordsMoved,
    });
    // And a run that passed finds what was planted since.
    await planter.replace(changes);
    expect((await runs.run({ ...event, run: failed.run })).report?.compare).toMatchObject({
      different: failed.report?.compare?.different,
      missing: missing.length,
      extra: extra.length,
    });
  });

  afterAll(async () => await planter?.close());
});

test('that were a thousand faults', () => {
  expect(planted).toBe(1000);
});
