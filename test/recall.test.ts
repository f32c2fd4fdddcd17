import { describe, expect, test } from '@jest/globals';
import type { DenseColumn } from '../lib/batch.ts';
import { distanceBetween } from '../lib/distance.ts';
import { RecordRefused } from '../lib/errors.ts';
import { neighboursKey, runKeys } from '../lib/keys.ts';
import type { Deadline } from '../lib/log.ts';
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
  for (const { shard } of manifest.shards) {
    const input = { plan: planned, shard, objects: world.objects };
    const limit = (): { deadline?: Deadline } => (deadline === undefined ? {} : { deadline: deadline() });
    let result = await findNeighbours({ ...input, ...limit() });
    while (!result.done) result = await findNeighbours({ ...input, ...limit() });
  }
  return planned;
}

async function recallOf(world: World, sides: { source?: Store; target?: Store } = {}): Promise<Recall> {
  const planned = await prepare(world);
  const manifest = await readManifest(world.objects, 'r1');
  const outcome = await measureRecall({ ...world, ...sides, plan: planned, manifest });
  if (!outcome.done) throw new Error('not done without a deadline');
  return outcome.recall;
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
});
