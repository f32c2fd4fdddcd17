import { describe, expect, test } from '@jest/globals';
import type { DenseColumn } from '../lib/batch.ts';
import { distanceBetween } from '../lib/distance.ts';
import { RecordRefused } from '../lib/errors.ts';
import { queriesNeeded, recallInterval } from '../lib/interval.ts';
import { neighboursKey, runKeys } from '../lib/keys.ts';
import { type Deadline, handOverMs } from '../lib/log.ts';
import { readManifest } from '../lib/manifest.ts';
import { findNearest } from '../lib/nearest.ts';
import { findNeighbours } from '../lib/neighbours.ts';
import { getJson } from '../lib/objects.ts';
import { chooseQueries } from '../lib/queries.ts';
import { measureRecall } from '../lib/recall.ts';
import { neighboursSchema, type Plan, type Recall } from '../lib/run-files.ts';
import { drawPositions, seededRandom } from '../lib/sample.ts';
import type { Hit, SearchRequest, Store } from '../lib/stores/port.ts';
import { makeBatch, makeSchema } from './make.ts';
import { load, makeWorld, nearAfter, type World } from './world.ts';

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => String(1000 + i));

async function prepare(world: World, deadline?: () => Deadline): Promise<Plan> {
  const planned = await load(world);
  const manifest = await readManifest(world.objects, planned.run);
  await chooseQueries({ plan: planned, manifest, objects: world.objects });
  const k = planned.event.validate.recall?.k ?? 1;
  for (const { shard } of manifest.shards) {
    const input = { plan: planned, shard, objects: world.objects, k };
    const limit = (): { deadline?: Deadline } => (deadline === undefined ? {} : { deadline: deadline() });
    let result = await findNeighbours({ ...input, ...limit() });
    while (!result.done) result = await findNeighbours({ ...input, ...limit(), offset: result.offset });
  }
  return planned;
}

async function recallOf(world: World, sides: { source?: Store; target?: Store } = {}): Promise<Recall> {
  const planned = await prepare(world);
  return await measureRecall({ ...world, ...sides, plan: planned, manifest: await readManifest(world.objects, 'r1') });
}

/** The store with another search. */
function searching(store: Store, change: (request: SearchRequest) => Promise<readonly Hit[]>): Store {
  return { ...store, search: change };
}

describe('the nearest records', () => {
  test.each(['cosine', 'dot', 'euclid', 'manhattan'] as const)(
    'by %s are those that a sort of all finds',
    (distance) => {
      const random = seededRandom(7);
      for (const [count, dimension, queries, keep] of [
        [500, 7, 9, 12],
        [3, 5, 2, 10],
        [1, 1, 1, 1],
        [130, 64, 4, 130],
      ] as const) {
        const values = Float32Array.from({ length: count * dimension }, () => Math.round(random() * 8) - 4);
        const present = Uint8Array.from({ length: count }, (_, at) => (at % 5 === 4 ? 0 : 1));
        const column: DenseColumn = { kind: 'dense', dimension, values, present };
        const asked = Array.from({ length: queries }, () =>
          Float32Array.from({ length: dimension }, () => random() * 8 - 4),
        );
        const found = findNearest(column, count, asked, distance, keep);
        asked.forEach((query, q) => {
          const all = Array.from({ length: count }, (_, at) => at)
            .filter((at) => at % 5 !== 4)
            .map((at) => ({
              at,
              distance: distanceBetween[distance](query, values.subarray(at * dimension, (at + 1) * dimension)),
            }))
            .sort((a, b) => a.distance - b.distance || a.at - b.at)
            .slice(0, keep);
          expect(found[q]?.distances.length).toBe(all.length);
          all.forEach((each, i) => {
            expect(found[q]?.distances[i]).toBeCloseTo(each.distance, 9);
          });
        });
      }
    },
  );

  test('of a shard are the same whether the work is done at once or handed over', async () => {
    const event = { validate: { recall: { queries: 300, k: 3 } } };
    const whole = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    const cut = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    await prepare(whole);
    await prepare(cut, () => nearAfter(0));
    const key = neighboursKey('r1', '00000-000');
    const found = await getJson(cut.objects, key, neighboursSchema);
    expect(found?.neighbours.length).toBe(300);
    expect(found).toEqual(await getJson(whole.objects, key, neighboursSchema));
  });
});

/** Numerical Recipes' linear congruential generator: jest's sandbox makes each use of Math slow, and this needs none. */
function fastRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

describe('the interval of a mean recall', () => {
  /** Skewed recalls of a query, as searches have them: most perfect, some bad; each with its true mean. */
  const draws: Record<string, { mean: number; draw: (random: () => number) => number }> = {
    'always perfect': { mean: 1, draw: () => 1 },
  };
  const binomial = (random: () => number, p: number): number => {
    let hits = 0;
    for (let i = 0; i < 10; i++) hits += random() < p ? 1 : 0;
    return hits / 10;
  };
  for (const p of [0.5, 0.8, 0.95, 0.99, 0.999])
    draws[`binomial ${p}`] = { mean: p, draw: (random) => binomial(random, p) };
  for (const [share, bad] of [
    [0.02, 0.5],
    [0.05, 0.5],
    [0.01, 0.5],
    [0.03, 0.9],
    [0.3, 0.5],
    [0.02, 0],
  ] as const) {
    const draw = (random: () => number): number => (random() < share ? bad : 1);
    draws[`${share} of them ${bad}`] = { mean: 1 - share * (1 - bad), draw };
  }
  for (const [share, bad] of [
    [0.05, 0.3],
    [0.02, 0.5],
    [0.1, 0.5],
  ] as const) {
    const draw = (random: () => number): number => binomial(random, random() < share ? bad : 0.995);
    draws[`about ${share} of them near ${bad}`] = { mean: share * bad + (1 - share) * 0.995, draw };
  }
  // 1 - u^a / 2 lies in 0.5..1 with mean 1 - 1 / (2 (a + 1)), the more skewed the larger a.
  for (const a of [1, 4, 19])
    draws[`skewed ${a}`] = { mean: 1 - 0.5 / (a + 1), draw: (random) => 1 - random() ** a / 2 };

  test.each(Object.entries(draws))('covers the truth 94 times of 100 at least: %s', (name, { mean, draw }) => {
    const random = fastRandom(name.length * 7919 + 1);
    for (const n of [50, 200]) {
      let covered = 0;
      const rounds = 1000;
      for (let round = 0; round < rounds; round++) {
        const { low, high } = recallInterval(
          Array.from({ length: n }, () => draw(random)),
          10,
        );
        if (low <= mean + 1e-12 && mean - 1e-12 <= high) covered++;
      }
      // 1.5 standard errors of a coverage of 94% simulated 1,000 times are 1.1%.
      expect(covered / rounds).toBeGreaterThanOrEqual(0.94 - 0.011);
    }
  });

  test('is not wider than it must be: within a third of the textbook one where that is right', () => {
    const random = seededRandom(5);
    const recalls = Array.from({ length: 200 }, () => binomial(random, 0.8));
    const { mean, low, high } = recallInterval(recalls, 10);
    const deviation = Math.sqrt(recalls.reduce((sum, recall) => sum + (recall - mean) ** 2, 0) / 199 / 200);
    expect(high - low).toBeLessThan(1.33 * 2 * 1.96 * deviation);
  });

  test('lets 200 queries without a miss pass a goal of 0.95, and knows that 72 are needed', () => {
    expect(recallInterval(Array(200).fill(1), 10)).toEqual({ mean: 1, low: expect.closeTo(0.98172, 5), high: 1 });
    expect(queriesNeeded(0.95)).toBe(72);
    expect(recallInterval(Array(72).fill(1), 10).low).toBeGreaterThanOrEqual(0.95);
    expect(recallInterval(Array(71).fill(1), 10).low).toBeLessThan(0.95);
  });

  test('is the figures of Clopper and Pearson where each query is all or nothing', () => {
    // R: binom.test(90, 100)$conf.int
    const tenMisses = Array.from({ length: 100 }, (_, i) => (i < 90 ? 1 : 0));
    expect(recallInterval(tenMisses, 1)).toEqual({
      mean: 0.9,
      low: expect.closeTo(0.8237774, 6),
      high: expect.closeTo(0.9509953, 6),
    });
  });

  test('is the mean itself when every record was a query, for then nothing is estimated', () => {
    expect(recallInterval([1, 0.9, 1], 10, 3)).toMatchObject({
      low: expect.closeTo(2.9 / 3),
      high: expect.closeTo(2.9 / 3),
    });
  });
});

describe('a seeded sample', () => {
  test('has each position once, all in range, and every position as often as any other', () => {
    const seen = new Float64Array(40);
    for (let seed = 0; seed < 4000; seed++) {
      const drawn = drawPositions(40, 10, seed);
      expect(new Set(drawn).size).toBe(10);
      for (const at of drawn) seen[at]! += 1;
    }
    // Expected 1,000 each with a standard deviation of 27.
    expect(Math.min(...seen)).toBeGreaterThan(870);
    expect(Math.max(...seen)).toBeLessThan(1130);
    expect(drawPositions(3, 10, 1).sort()).toEqual([0, 1, 2]);
    expect(drawPositions(0, 10, 1)).toEqual([]);
  });
});

describe('recall', () => {
  test('is 1 on both sides of an exact store, over several shards and mapped names', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ids(600) }),
      shardBytes: 10_000,
      event: { mapping: { vectors: { embedding: { to: 'content' } } } },
    });
    const { sets: vectors } = await recallOf(world);
    expect((await readManifest(world.objects, 'r1')).shards.length).toBeGreaterThan(2);
    expect(vectors).toHaveLength(1);
    expect(vectors[0]).toMatchObject({
      vector: 'embedding',
      targetVector: 'content',
      k: 10,
      outcome: 'passed',
      candidates: 600,
    });
    expect(vectors[0]?.source).toMatchObject({ measured: true, mean: 1, high: 1, queries: 200 });
    expect(vectors[0]?.target).toMatchObject({ measured: true, mean: 1, worst: [] });
  });

  test('is the share that is really found when a search misses one neighbour of five', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(500) }), event: { validate: { recall: { k: 5 } } } });
    const target = searching(world.target, async (request) => {
      const hits = await world.target.search({ ...request, k: 60 });
      return [...hits.slice(0, 4), hits[59]!];
    });
    const [found] = (await recallOf(world, { target })).sets;
    expect(found?.target).toMatchObject({ measured: true, mean: expect.closeTo(0.8, 10) });
    expect(found?.outcome).toBe('failed');
    expect(found?.note).toMatch(/^The recall@5 of the target is 80.00%, .* below the 95.00% asked for\.$/);
  });

  test('counts a record at the same distance as the k-th, whichever the store hands over', async () => {
    // Sixty copies of each of ten vectors: the k-th neighbour ties with fifty others, more than any list keeps.
    const some = makeBatch({ ids: ids(600) });
    const column = some.vectors.get('embedding')!;
    const values = column.values.map((_, i) => column.values[i % 40] ?? 0);
    const records = { ...some, vectors: new Map([['embedding', { ...column, values }]]) };
    const world = await makeWorld({ records });
    const target = searching(world.target, async (request) =>
      (await world.target.search({ ...request, k: 60 })).toReversed().slice(0, request.k),
    );
    const [found] = (await recallOf(world, { target })).sets;
    expect(found?.target).toMatchObject({ mean: 1 });
    const farther = searching(world.target, async (request) =>
      (await world.target.search({ ...request, k: 90 })).toReversed().slice(0, request.k),
    );
    const [none] = (await recallOf(world, { target: farther })).sets;
    expect(none?.target).toMatchObject({ mean: 0 });
  });

  test('counts a record once, however often the store names it', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }) });
    const target = searching(world.target, async (request) => {
      const [first] = await world.target.search({ ...request, k: 1 });
      return Array(request.k).fill(first);
    });
    const [found] = (await recallOf(world, { target })).sets;
    expect(found?.target).toMatchObject({ mean: expect.closeTo(0.1, 10) });
  });

  test('of few records is no failure: one record, and every record a query', async () => {
    const one = await recallOf(await makeWorld({ records: makeBatch({ ids: ['1'] }) }));
    expect(one.sets[0]).toMatchObject({ k: 1, outcome: 'passed', target: { queries: 1, low: 1 } });
    const few = await recallOf(await makeWorld({ records: makeBatch({ ids: ids(30) }) }));
    expect(few.sets[0]).toMatchObject({ k: 10, outcome: 'passed', target: { queries: 30, low: 1 } });
  });

  test('of an empty collection, of absent vectors, or not asked for, is told as not measured', async () => {
    const empty = await recallOf(await makeWorld({ records: makeBatch({ ids: [] }) }));
    expect(empty).toEqual({ reason: 'the collection is empty', sets: [] });
    const absent = await recallOf(await makeWorld({ records: makeBatch({ ids: ['1', '2'], missing: [0, 1] }) }));
    expect(absent.sets[0]).toMatchObject({ outcome: 'nothing to measure', target: { measured: false } });
    const sparse = makeSchema({ vectors: [{ name: 'words', kind: 'sparse', precision: 'float32' }] });
    const world = await makeWorld({ schema: sparse, records: makeBatch({ vectors: sparse.vectors }) });
    expect(await recallOf(world)).toEqual({ reason: 'the run moves no dense vector', sets: [] });
    const none = await recallOf(await makeWorld({ event: { validate: { recall: null } } }));
    expect(none.reason).toBe('the event asks for none');
  });

  test('is unproven, not passed, when the queries are too few or the target cannot be searched', async () => {
    const event = { validate: { recall: { queries: 80 } } };
    const near = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    let asked = 0;
    const losing = searching(near.target, async (request) => {
      const hits = await near.target.search(request);
      return asked++ % 5 < 2 ? hits.slice(1) : hits;
    });
    const few = await recallOf(near, { target: losing });
    expect(few.sets[0]).toMatchObject({ outcome: 'unproven', target: { mean: expect.closeTo(0.96, 10) } });
    expect(few.sets[0]?.note).toMatch(/80 queries are too few to show the 95\.00% asked for; ask more queries\.$/);
    const world = await makeWorld({ records: makeBatch({ ids: ids(100) }) });
    const target = searching(world.target, () => Promise.reject(new RecordRefused('no index on it')));
    const [found] = (await recallOf(world, { target })).sets;
    expect(found).toMatchObject({
      outcome: 'unproven',
      target: { measured: false, reason: 'no index on it' },
      source: { mean: 1 },
    });
  });

  test('leaves the source unmeasured when it ranks by another distance, and passes on the target alone', async () => {
    const event = { mapping: { vectors: { embedding: { distance: 'euclid' } } } };
    const [found] = (await recallOf(await makeWorld({ records: makeBatch({ ids: ids(300) }), event }))).sets;
    expect(found?.source).toEqual({ measured: false, reason: 'the source ranks by cosine, the target by euclid' });
    expect(found).toMatchObject({ outcome: 'passed', distance: 'euclid', target: { mean: 1 } });
  });

  test('draws other queries where most records lack the vector, in the same order every time', async () => {
    const missing = Array.from({ length: 380 }, (_, at) => at);
    const records = makeBatch({ ids: ids(400), missing });
    const event = { validate: { recall: { queries: 15, atLeast: 0.5 } } };
    const [one, other] = [await makeWorld({ records, event }), await makeWorld({ records, event })];
    await prepare(one);
    await prepare(other);
    const key = runKeys('r1').queries;
    expect(await one.objects.get(key)).toEqual(await other.objects.get(key));
    const [found] = (await recallOf(one)).sets;
    expect(found).toMatchObject({ candidates: 20, target: { queries: 15, mean: 1 } });
  });

  test('asks fewer queries when the time ends, and says so', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(500) }) });
    const planned = await prepare(world);
    let calls = 0;
    const deadline: Deadline = { remainingMs: () => (++calls > 100 ? 0 : handOverMs * 2) };
    const manifest = await readManifest(world.objects, 'r1');
    const [found] = (await measureRecall({ ...world, plan: planned, manifest, deadline })).sets;
    expect(found).toMatchObject({ outcome: 'passed', target: { queries: 100 } });
    expect(found?.note).toMatch(/The time ended after 100 of 200 queries\.$/);
  });
});
