import { describe, expect, test } from '@jest/globals';
import type { Batch, DenseColumn } from '../lib/batch.ts';
import { compareShard } from '../lib/compare/compare.ts';
import { findCauses } from '../lib/diagnose.ts';
import type { Cause, Plan } from '../lib/run-files.ts';
import type { Distance, SearchSettings } from '../lib/schema.ts';
import { memory } from '../lib/stores/memory.ts';
import type { Store } from '../lib/stores/port.ts';
import { type Approximation, approximate, measure } from './approximate.ts';
import { makeBatch, makeSchema } from './make.ts';
import { load, makeWorld, nearAfter, noDeadline, type World, type WorldParts } from './world.ts';

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => String(1000 + i));
const names = (causes: readonly Cause[]): readonly string[] => causes.map(({ cause }) => cause);

interface Parts extends WorldParts {
  readonly recall?: Record<string, unknown>;
  readonly how?: Partial<Approximation>;
  readonly change?: (plan: Plan) => Plan;
  readonly target?: (world: World, store: Store) => Promise<Store> | Store;
}

/** The causes of what is measured on an approximate target. */
async function causesOf({ recall = {}, how = {}, change = (plan) => plan, target, ...parts }: Parts = {}) {
  const world = await makeWorld({
    records: makeBatch({ ids: ids(400) }),
    ...parts,
    event: { validate: { recall: { queries: 120, k: 5, depths: [], ...recall } }, ...parts.event },
  });
  const plan = change(await load(world));
  const store = approximate((await target?.(world, world.target)) ?? world.target, {
    efSearch: 100,
    full: 100,
    ...how,
  });
  const own = { ...world, target: store };
  const manifest = await measure(own, plan);
  for (const { shard } of manifest.shards) {
    await compareShard({ ...own, plan, shard, deadline: noDeadline, secondLookMs: 0 });
  }
  const before = store.searches();
  const { causes } = await findCauses({ ...own, plan, manifest, deadline: noDeadline });
  return { causes, world, plan, manifest, store, searches: store.searches() - before };
}

describe('nothing is named', () => {
  test('where every set holds its goal, and nothing is searched again', async () => {
    expect(await causesOf()).toMatchObject({ causes: [], searches: 0 });
  });

  test('where no experiment brings back what is missing', async () => {
    const how = { reach: () => 0.5, canBeExact: false, tuning: { heeds: { efSearch: true, probes: 100 } } } as const;
    expect((await causesOf({ how })).causes).toEqual([]);
  });

  test('near the deadline: the report is not held up', async () => {
    const { plan, manifest, world, store } = await causesOf({ how: { full: 300 } });
    const input = { ...world, target: store, plan, manifest };
    expect((await findCauses({ ...input, deadline: noDeadline })).causes.length).toBe(1);
    expect((await findCauses({ ...input, deadline: nearAfter(0) })).causes).toEqual([]);
  });
});

describe('search settings', () => {
  test('efSearch is named where a wider search finds what is missing, with figures before and after', async () => {
    const { causes } = await causesOf({ how: { full: 300 } });
    expect(names(causes)).toEqual(['efSearch too low']);
    expect(causes[0]).toMatchObject({ check: 'recall', set: 'sampled', vector: 'embedding' });
    expect(causes[0]?.what).toMatch(/efSearch is 100/);
    expect(causes[0]?.evidence).toMatch(
      /^With efSearch 400, recall@5 over its 40 worst queries and 10 others goes from \d+\.\d\d% to 100\.00%\. An exact search finds 100\.00%\.$/,
    );
    expect(causes[0]?.next).toMatch(/vecferry tune r1/);
  });

  test('probes are named by their own name', async () => {
    const reach = ({ probes = 1 }: { probes?: number | undefined }): number => probes / 8;
    const { causes } = await causesOf({ how: { reach, tuning: { current: { probes: 1 }, heeds: { probes: 100 } } } });
    expect(names(causes)).toEqual(['probes too low']);
  });

  test('quantization is named before a wider search, which does not help it', async () => {
    const how: Partial<Approximation> = {
      reach: ({ rescore, efSearch = 0 }) => (rescore === true ? 1 : 0.5 + Math.min(0.1, efSearch / 10_000)),
      tuning: { isQuantized: true, heeds: { efSearch: true, rescore: true } },
    };
    expect(names((await causesOf({ how })).causes)).toEqual(['quantized without rescoring']);
    const rescored = { ...how, tuning: { ...how.tuning, current: { rescore: true } } };
    expect(names((await causesOf({ how: rescored })).causes)).toEqual([]);
  });

  test('oversampling is named where hits are rescored and too few of them are, and not where a wider search does as well', async () => {
    const tuning = {
      isQuantized: true,
      current: { efSearch: 100, rescore: true },
      heeds: { efSearch: true, rescore: true, oversampling: 64 },
    } as const;
    const fewHits = { reach: ({ oversampling = 1 }: SearchSettings) => 0.3 + Math.min(0.7, oversampling / 60), tuning };
    const { causes } = await causesOf({ how: fewHits });
    expect(names(causes)).toEqual(['oversampling too low']);
    expect(causes[0]?.what).toMatch(/oversampling is 1\.$/);
    expect(causes[0]?.evidence).toMatch(/^With oversampling 64, /);
    // Up to what the store takes.
    const strict = { ...fewHits, tuning: { ...tuning, heeds: { ...tuning.heeds, oversampling: 20 } } };
    expect((await causesOf({ how: strict })).causes[0]?.evidence).toMatch(/^With oversampling 20, /);
    const none = { ...fewHits, tuning: { ...tuning, heeds: { efSearch: true } } } as const;
    expect((await causesOf({ how: none })).causes).toEqual([]);
    const narrow = {
      reach: ({ oversampling = 1, efSearch = 0 }: SearchSettings) => (oversampling * efSearch >= 400 ? 1 : 0.4),
      tuning,
    };
    expect(names((await causesOf({ how: narrow })).causes)).toEqual(['efSearch too low']);
  });

  test('two causes are both named where both are needed, the greater first', async () => {
    const how: Partial<Approximation> = {
      reach: ({ rescore, efSearch = 0 }) => (rescore === true ? 0.5 : 0.2) + (efSearch > 100 ? 0.5 : 0),
      tuning: { isQuantized: true, current: { efSearch: 100 }, heeds: { efSearch: true, rescore: true } },
    };
    expect(names((await causesOf({ how })).causes)).toEqual(['efSearch too low', 'quantized without rescoring']);
  });
});

const filtered = { sets: [{ name: 'even ones', sample: 120, filter: { even: true } }] };

describe('filters', () => {
  const scan: Partial<Approximation> = {
    reach: ({ iterativeScan }, { filter }) => (filter === undefined || iterativeScan === true ? 1 : 0.02),
    tuning: { heeds: { efSearch: 1000, iterativeScan: true }, current: { efSearch: 40, iterativeScan: false } },
  };

  test('filtered after the index is named where a scan that goes on fills the answers', async () => {
    const { causes } = await causesOf({ how: scan, recall: filtered });
    expect(names(causes)).toEqual(['filtered after the index']);
    expect(causes[0]?.evidence).toMatch(/\d+ queries got fewer than 5 records; with it 0 did/);
  });

  test('it is not named where the same miss has no filter in it', async () => {
    const how: Partial<Approximation> = { ...scan, reach: ({ efSearch = 0 }) => efSearch / 160 };
    expect(names((await causesOf({ how })).causes)).toEqual(['efSearch too low']);
    expect(names((await causesOf({ how, recall: filtered })).causes)).toEqual(['efSearch too low']);
  });

  test('it is not named where answers are short without a filter', async () => {
    const how: Partial<Approximation> = {
      ...scan,
      reach: ({ efSearch = 0, iterativeScan }) => (iterativeScan === true || efSearch > 40 ? 1 : 0.02),
    };
    expect(names((await causesOf({ how })).causes)).toEqual(['efSearch too low']);
  });

  const onQdrant = (plan: Plan): Plan => ({
    ...plan,
    event: { ...plan.event, target: { ...plan.event.target, store: 'qdrant' } },
  });
  const unlinked: Partial<Approximation> = {
    reach: ({ efSearch = 0 }, { filter }) => (filter === undefined ? 1 : 0.3 + efSearch / 10_000),
  };
  const indexed = makeSchema({ payloadIndexes: [{ field: 'even', type: 'bool' }] });

  test('a payload index that is missing is named with its field, and with the source where that has one', async () => {
    const bare = await causesOf({ how: unlinked, recall: filtered, change: onQdrant });
    expect(names(bare.causes)).toEqual(['payload index missing']);
    expect(bare.causes[0]?.what).toMatch(/no payload index on even,/);
    const target = (_: World, store: Store): Store => ({
      ...store,
      describe: async () => ({ ...(await store.describe()), schema: makeSchema() }),
    });
    const lost = await causesOf({ how: unlinked, recall: filtered, change: onQdrant, schema: indexed, target });
    expect(lost.causes[0]?.what).toMatch(/The source has one on even/);
  });

  test('a wider search that would hide it is not called the cause', async () => {
    const how: Partial<Approximation> = {
      reach: ({ efSearch = 0 }, { filter }) => (filter === undefined || efSearch > 100 ? 1 : 0.3),
    };
    expect(names((await causesOf({ how, recall: filtered, change: onQdrant })).causes)).toEqual([
      'payload index missing',
    ]);
  });

  test('it is not named where the field is indexed, where the store has no such index, or where every search misses', async () => {
    const there = await causesOf({ how: unlinked, recall: filtered, change: onQdrant, schema: indexed });
    expect(names(there.causes)).toEqual([]);
    expect(names((await causesOf({ how: unlinked, recall: filtered })).causes)).toEqual([]);
    const all = { ...unlinked, reach: () => 0.3 };
    expect(names((await causesOf({ how: all, recall: filtered, change: onQdrant })).causes)).toEqual([]);
  });
});

describe('the index', () => {
  const state =
    (done: boolean) =>
    (_: World, store: Store): Store => ({
      ...store,
      indexProgress: async () => ({ done, detail: '12 of 400 vectors indexed' }),
    });
  const low: Partial<Approximation> = { reach: () => 0.4, tuning: { heeds: {} } };

  test('is named when it is under way, and an exact search finds what is missing', async () => {
    const { causes } = await causesOf({ how: low, target: state(false) });
    expect(names(causes)).toEqual(['index not built']);
    expect(causes[0]?.what).toMatch(/it is not built yet \(12 of 400 vectors indexed\)/);
  });

  test('is named when it is not there though the plan has one', async () => {
    const wanting = (plan: Plan): Plan => ({
      ...plan,
      target: {
        ...plan.target,
        vectors: plan.target.vectors.map((each) => ({ ...each, index: { kind: 'hnsw' as const } })),
      },
    });
    expect(names((await causesOf({ how: low, change: wanting })).causes)).toEqual(['index not built']);
  });

  test('is not named when it is done, or when an exact search misses as much', async () => {
    expect(names((await causesOf({ how: low, target: state(true) })).causes)).toEqual([]);
    expect(names((await causesOf({ how: { ...low, canBeExact: false }, target: state(false) })).causes)).toEqual([]);
  });

  test('is named where the target could not be searched in time', async () => {
    const { NotFound } = await import('../lib/errors.ts');
    const target = (world: World, store: Store): Store => ({
      ...state(false)(world, store),
      search: async () => {
        throw new NotFound('canceling statement due to statement timeout');
      },
    });
    const { causes } = await causesOf({ target });
    expect(names(causes)).toEqual(['index not built']);
    expect(causes[0]?.evidence).toMatch(/could not be searched: canceling statement/);
  });
});

/** Records whose vectors have lengths from 0.2 to 5, or all of 1. */
function withLengths(isUnit: boolean, count = 400): Batch {
  const batch = makeBatch({ ids: ids(count) });
  const column = batch.vectors.get('embedding') as DenseColumn;
  const values = column.values.slice();
  for (let at = 0; at < count; at++) {
    const vector = values.subarray(at * 4, at * 4 + 4);
    const length = Math.hypot(...vector);
    const wanted = isUnit ? 1 : 0.2 * 25 ** ((at % 17) / 16);
    vector.forEach((value, i) => {
      vector[i] = (value * wanted) / length;
    });
  }
  return { ...batch, vectors: new Map([['embedding', { ...column, values }]]) };
}

/** A target that holds the same records and ranks by another distance. */
const ranksBy =
  (distance: Distance | undefined, records?: Batch) =>
  async (world: World): Promise<Store> => {
    const path = `ranks-${distance}-${world.event.source.connection && JSON.stringify(world.event.source.connection)}`;
    const store = await memory.open({ connection: { path }, collection: 'other', options: {} });
    const vectors = makeSchema().vectors.map(({ distance: _, ...each }) => ({
      ...each,
      ...(distance && { distance }),
    }));
    await store.prepare(makeSchema({ vectors }));
    for await (const { batch } of world.source.read(
      { from: null, to: null },
      { maxRecords: 1000, maxBytes: 1 << 24 },
    )) {
      await store.write(records ?? batch, { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    }
    return store;
  };

describe('distance', () => {
  test('another one is named where the lengths differ so that it ranks otherwise', async () => {
    const { causes } = await causesOf({ records: withLengths(false), target: ranksBy('euclid') });
    expect(names(causes)).toContain('other distance');
    const [found] = causes.filter(({ cause }) => cause === 'other distance');
    expect(found?.what).toBe('The target ranks by euclid, what is near is told by cosine.');
    expect(found?.evidence).toMatch(/Their lengths are from 0\.2 to 5\.$/);
  });

  test('another one is named too where the target says none: what it ranks by then is held against its answers', async () => {
    const schema = makeSchema({
      vectors: makeSchema().vectors.map((each) => ({ ...each, distance: 'euclid' as const })),
    });
    const { causes } = await causesOf({ records: withLengths(false), schema, target: ranksBy(undefined) });
    const [found] = causes.filter(({ cause }) => cause === 'other distance');
    expect(found?.what).toBe('The target ranks by cosine, what is near is told by euclid.');
    expect(found?.next).toMatch(
      /^The collection says no distance, .* target\.options, \{"distance": "euclid"\}; or, if/,
    );
  });

  test('vectors that are not normalised are named where lengths of 1 would rank as cosine does', async () => {
    const { causes } = await causesOf({ records: withLengths(false), target: ranksBy('dot') });
    expect(names(causes)).toEqual(['not normalised', 'other distance']);
    expect(causes[0]?.evidence).toMatch(/Scaled to length 1 they give 100\.00%/);
  });

  test('neither is named where all lengths are 1: cosine, dot and euclid then rank alike', async () => {
    const how = { full: 300 };
    for (const distance of ['dot', 'euclid'] as const) {
      expect(names((await causesOf({ records: withLengths(true), target: ranksBy(distance) })).causes)).toEqual([]);
      const missed = await causesOf({ records: withLengths(true), target: ranksBy(distance), how });
      expect(names(missed.causes)).toEqual(['efSearch too low']);
    }
  });

  test('neither is named where all lengths are 1 and the target lacks records', async () => {
    const target = async (world: World): Promise<Store> =>
      without((_, at) => at >= 100 && at < 220)(world, await ranksBy('dot')(world));
    const { causes } = await causesOf({ records: withLengths(true), target, shardBytes: 4000 });
    expect(names(causes)).toEqual(['range missing', 'range missing']);
  });

  test('lengths that are not those of the source are named though both rank by dot', async () => {
    const schema = makeSchema({ vectors: makeSchema().vectors.map((each) => ({ ...each, distance: 'dot' as const })) });
    const { causes } = await causesOf({
      records: withLengths(true),
      schema,
      target: ranksBy('dot', withLengths(false)),
    });
    expect(names(causes)).toEqual(['not normalised']);
    expect(causes[0]?.evidence).toMatch(/lengths of 1 in the source and from 0\.2 to 5 in the target/);
  });

  test('a distance that does not normalise is not to blame for unlike lengths under cosine', async () => {
    const how = { full: 300 };
    const { causes } = await causesOf({ records: withLengths(false), how });
    expect(names(causes)).toEqual(['efSearch too low']);
  });
});

/** A target that lacks these records. */
const without =
  (isGone: (id: string, at: number) => boolean) =>
  (_: World, store: Store): Store => {
    const gone = new Set(ids(400).filter(isGone));
    return {
      ...store,
      count: async () => 400 - gone.size,
      fetch: async (wanted) => store.fetch(wanted.filter((id) => !gone.has(id))),
      search: async (request) =>
        (await store.search({ ...request, k: 400 })).filter(({ id }) => !gone.has(id)).slice(0, request.k),
    };
  };

describe('missing records', () => {
  const parts = { shardBytes: 4000 };
  const ofCompare = (causes: readonly Cause[]) => causes.filter(({ check }) => check === 'compare');

  test('are named by their stretch when they lie side by side, over the end of a shard', async () => {
    const target = without((_, at) => at >= 100 && at < 220);
    const { causes, manifest } = await causesOf({ ...parts, target });
    expect(manifest.shards.length).toBeGreaterThan(3);
    const [range] = ofCompare(causes);
    expect(range?.cause).toBe('range missing');
    expect(range?.what).toMatch(
      /^A part of the source is missing as a whole: 120 records from id 1100 to id 1219 \(shards 00000-\d{3} to 00000-\d{3}\)\.$/,
    );
    expect(range?.evidence).toMatch(/^120 of 120 missing records lie in 1 unbroken stretch of the source's keys/);
    expect(range?.next).toMatch(/delete runs\/r1\/loaded\/00000-\d{3}\.json/);
  });

  test('explain what a search misses too', async () => {
    const { causes } = await causesOf({ ...parts, target: without((_, at) => at >= 100 && at < 220) });
    expect(causes.map(({ cause, check }) => [cause, check])).toEqual([
      ['range missing', 'compare'],
      ['range missing', 'recall'],
    ]);
    expect(causes[1]?.evidence).toMatch(/of the true neighbours are not in the target/);
  });

  test('are named by several stretches, the largest first, beside some that lie alone', async () => {
    const target = without((_, at) => (at >= 10 && at < 40) || (at >= 300 && at < 380) || at % 97 === 5);
    const [range] = ofCompare((await causesOf({ ...parts, target })).causes);
    expect(range?.what).toMatch(/: 80 records from id 1300 to id 1379 .*; 30 records from id 1010 to id 1039 /);
    expect(range?.evidence).toMatch(/^110 of 11\d missing records lie in 2 unbroken stretches/);
  });

  test('are not called a range when they lie here and there', async () => {
    const { causes } = await causesOf({ ...parts, target: without((_, at) => at % 5 === 0) });
    expect(ofCompare(causes)).toEqual([]);
  });

  test('all of them are one range', async () => {
    const [range] = ofCompare((await causesOf({ ...parts, target: without(() => true) })).causes);
    expect(range?.what).toMatch(/400 records from id 1000 to id 1399/);
  });
});
