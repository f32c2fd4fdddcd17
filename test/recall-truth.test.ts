import { describe, expect, test } from '@jest/globals';
import { type Batch, type DenseColumn, denseVector } from '../lib/batch.ts';
import { distanceBetween } from '../lib/distance.ts';
import { conditionsOf, meets } from '../lib/filter.ts';
import { neighboursKey, runKeys, shardKey } from '../lib/keys.ts';
import { readManifest } from '../lib/manifest.ts';
import { getJson, putJson } from '../lib/objects.ts';
import { findNearest } from '../lib/recall/nearest.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { readTruths } from '../lib/recall/truths.ts';
import { type Neighbours, neighboursSchema } from '../lib/run-files.ts';
import { seededRandom } from '../lib/sample.ts';
import { makeBatch } from './make.ts';
import { findTruth, ids, prepare } from './recall-world.ts';
import { load, makeWorld, nearAfter, type World } from './world.ts';

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
});

/** What a shard's file says, but for when it was worked out. */
async function neighboursOf(world: World, shard: string): Promise<Partial<Neighbours>> {
  const {
    startedAt: _,
    at: __,
    ...found
  } = (await getJson(world.objects, neighboursKey('r1', shard), neighboursSchema))!;
  return found;
}

describe('the neighbours of a shard', () => {
  const event = { validate: { recall: { queries: 300, k: 3, depths: [1, 10] } } };

  test('are the same whether the work is done at once or handed over', async () => {
    const whole = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    const cut = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    await prepare(whole);
    await prepare(cut, { deadline: () => nearAfter(0) });
    const found = await neighboursOf(cut, '00000-000');
    expect(found.neighbours?.length).toBe(300);
    expect(found.neighbours?.[0]).toHaveLength(20);
    expect(found).toEqual(await neighboursOf(whole, '00000-000'));
  });

  test('are gone on with after a kill, and not looked for again once they are there', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    const plan = await load(world);
    const { objects } = world;
    await findTruth(world, plan);
    const key = neighboursKey('r1', '00000-000');
    const found = (await getJson(objects, key, neighboursSchema))!;
    const marked = found.neighbours.map((list) => list.map((each) => ({ ...each, id: 'seen' })));
    // A call that was killed after 100 queries.
    const half = { candidates: found.candidates.slice(0, 100), neighbours: marked.slice(0, 100) };
    await putJson(objects, key, { ...found, ...half, done: false });
    await findNeighbours({ plan, shard: '00000-000', objects });
    const after = (await getJson(objects, key, neighboursSchema))!;
    expect(after.neighbours.slice(0, 100)).toEqual(marked.slice(0, 100));
    expect(after.neighbours.slice(100)).toEqual(found.neighbours.slice(100));
    expect(after.candidates).toEqual(found.candidates);
    // Done: the shard itself is not read again.
    await objects.delete(shardKey('r1', '00000-000'));
    expect(await findNeighbours({ plan, shard: '00000-000', objects })).toEqual({ done: true });
  });

  test.each([
    ['another seed', { seed: 7 }],
    ['a deeper measure', { recall: { queries: 300, k: 3, depths: [50] } }],
    [
      'a filter',
      { recall: { queries: 300, k: 3, depths: [1, 10], sets: [{ name: 'sampled', filter: { even: true } }] } },
    ],
  ])('are those of other queries when the event asks for %s, and then found anew', async (_, validate) => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    const plan = await prepare(world);
    const before = await neighboursOf(world, '00000-000');
    const changed = {
      ...plan,
      event: { ...plan.event, validate: { ...plan.event.validate, ...(await changes(validate)) } },
    };
    const manifest = await readManifest(world.objects, 'r1');
    await chooseQueries({ plan: changed, manifest, objects: world.objects });
    const truths = readTruths({ plan: changed, manifest, objects: world.objects });
    await expect(truths).rejects.toThrow(/not of these queries/);
    await findTruth(world, changed);
    const after = await neighboursOf(world, '00000-000');
    expect(after.of).not.toBe(before.of);
    expect(after.neighbours).not.toEqual(before.neighbours);
  });
});

/** Part of an event's `validate`, parsed with its defaults. */
async function changes(validate: Record<string, unknown>) {
  const { event } = await makeWorld({ event: { validate } });
  return 'recall' in validate ? { recall: event.validate.recall } : { seed: event.validate.seed };
}

describe('the truth', () => {
  const fields = (at: number) => ({ topic: ['news', 'sport', 'food'][at % 3], rank: at, tags: [`t${at % 5}`, 'all'] });
  const payloads = ids(500).map((_, at) => JSON.stringify(at % 11 === 0 ? {} : fields(at)));

  /** Every record with its distance, as a sort finds it. */
  function sorted(records: Batch, query: Float32Array, filter: Parameters<typeof conditionsOf>[0] | undefined) {
    const column = records.vectors.get('embedding');
    if (column?.kind !== 'dense') throw new Error('no such vector');
    const conditions = filter === undefined ? [] : conditionsOf(filter);
    return records.ids
      .map((id, at) => ({ id, at, distance: distanceBetween.cosine(query, denseVector(column, at)) }))
      .filter(({ at }) => conditions.length === 0 || meets(conditions, records.payloads[at] ?? '{}'))
      .sort((a, b) => a.distance - b.distance);
  }

  test('over several shards is what a sort of all records that meet the filter gives, for filters of sets and of queries', async () => {
    const records = makeBatch({ ids: ids(500), payloads });
    const given = Array.from({ length: 9 }, (_, at) => ({
      id: `q${at}`,
      vector: [at + 1, 2, 3, -at],
      ...(at % 3 > 0 && { filter: { rank: { gte: at * 50 } } }),
    }));
    const sets = [
      { name: 'all', sample: 80 },
      { name: 'news', sample: 80, filter: { topic: 'news' } },
      { name: 'tagged', queries: given, filter: { tags: { in: ['t1', 't2'] } }, atLeast: null, k: 30 },
      { name: 'rare', queries: given.slice(0, 1), filter: { topic: 'nothing' }, atLeast: null },
    ];
    const event = { validate: { recall: { sets, depths: [] } } };
    const world = await makeWorld({ records, event, shardBytes: 4_000 });
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    expect(manifest.shards.length).toBeGreaterThan(3);
    const truths = await readTruths({ plan, manifest, objects: world.objects });
    expect(truths).toHaveLength(80 + 80 + 9 + 1);
    for (const { query, values, nearest, candidates } of truths) {
      const all = sorted(records, values, query.filter);
      expect(candidates).toBe(all.length);
      const kept = query.set === 'tagged' ? 40 : 20;
      expect(nearest.map(({ distance }) => distance)).toEqual(
        all.slice(0, kept).map(({ distance }) => expect.closeTo(distance, 9)),
      );
    }
    expect(truths.at(-1)).toMatchObject({ candidates: 0, nearest: [] });
  });

  test('says which shard lacks its neighbours', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }), shardBytes: 4_000 });
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    const { shard } = manifest.shards[1]!;
    await world.objects.delete(neighboursKey('r1', shard));
    await expect(readTruths({ plan, manifest, objects: world.objects })).rejects.toMatchObject({
      name: 'NotFound',
      ids: [shard],
    });
    await world.objects.delete(runKeys('r1').queries);
    await expect(readTruths({ plan, manifest, objects: world.objects })).rejects.toThrow(/queries\.json is not there/);
  });
});
