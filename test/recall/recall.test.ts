import { describe, expect, test } from '@jest/globals';
import { InvalidEvent, RecordRefused } from '../../lib/errors.ts';
import { conditionsOf } from '../../lib/filter.ts';
import { forgetVerdict } from '../../lib/forget.ts';
import { readManifest } from '../../lib/manifest.ts';
import { latencyOf } from '../../lib/recall/recall-summary.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { findTruth, ids, measureAll, prepare, recallOf, searching } from '../recall-world.ts';
import { makeWorld } from '../world.ts';

/** As many queries as show the usual goal, and few searches each. */
const quick = { queries: 80, depths: [1] };

describe('recall', () => {
  test('is 1 on both sides of an exact store, over several shards and mapped names', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ids(600) }),
      shardBytes: 10_000,
      event: { mapping: { vectors: { embedding: { to: 'content' } } }, validate: { recall: { depths: [] } } },
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

  test('a source that names no distance is searched by the one that the target was given: it was said to miss what it finds', async () => {
    const schema = makeSchema({ vectors: [{ name: 'embedding', kind: 'dense', dimension: 4, precision: 'float32' }] });
    const event = { mapping: { vectors: { embedding: { distance: 'euclid' } } }, validate: { recall: quick } };
    const world = await makeWorld({ schema, records: makeBatch({ ids: ids(200) }), event });
    const asked: unknown[] = [];
    const watched = (store: typeof world.source) =>
      searching(store, async (request) => {
        asked.push(request.distance);
        return await store.search(request);
      });
    const { sets } = await recallOf(world, { source: watched(world.source) });
    expect(new Set(asked)).toEqual(new Set(['euclid']));
    expect(sets[0]).toMatchObject({ source: { mean: 1 }, target: { mean: 1 } });
  });

  test('is the share that is really found when a search misses one neighbour of five', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ids(500) }),
      event: { validate: { recall: { ...quick, k: 5 } } },
    });
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
    const world = await makeWorld({ records, event: { validate: { recall: quick } } });
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
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }), event: { validate: { recall: quick } } });
    const target = searching(world.target, async (request) => {
      const [first] = await world.target.search({ ...request, k: 1 });
      return Array(request.k).fill(first);
    });
    const [found] = (await recallOf(world, { target })).sets;
    expect(found?.target).toMatchObject({ mean: expect.closeTo(0.1, 10) });
  });

  test('counts records of the target that are in no shard where it may hold others, and takes them for misses where not', async () => {
    const event = { validate: { recall: quick } };
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }), event });
    // Each record of the shards has a double in the target, as near to every query as itself.
    const doubles = makeBatch({ ids: ids(300).map((id) => `${id}0`) });
    const plan = await prepare(world);
    await world.target.write(doubles, { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    const [alone] = (await measureAll(world, plan)).sets;
    expect(alone?.target.measured && alone.target.mean).toBeLessThan(0.6);
    await forgetVerdict(world.objects, 'r1');
    const existing = { ...plan, event: { ...plan.event, target: { ...plan.event.target, into: 'existing' as const } } };
    const [beside] = (await measureAll(world, existing)).sets;
    expect(beside?.target).toMatchObject({ mean: 1 });
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
    const event = { validate: { recall: quick } };
    const near = await makeWorld({ records: makeBatch({ ids: ids(400) }), event });
    let asked = 0;
    const losing = searching(near.target, async (request) => {
      const hits = await near.target.search(request);
      return asked++ % 5 < 2 ? hits.slice(1) : hits;
    });
    const few = await recallOf(near, { target: losing });
    expect(few.sets[0]).toMatchObject({ outcome: 'unproven', target: { mean: expect.closeTo(0.96, 10) } });
    expect(few.sets[0]?.note).toMatch(/80 queries are too few to show the 95\.00% asked for; ask more queries\.$/);
    const world = await makeWorld({ records: makeBatch({ ids: ids(100) }), event: { validate: { recall: quick } } });
    const target = searching(world.target, () => Promise.reject(new RecordRefused('no index on it')));
    const [found] = (await recallOf(world, { target })).sets;
    expect(found).toMatchObject({
      outcome: 'unproven',
      target: { measured: false, reason: 'no index on it' },
      source: { mean: 1 },
    });
  });
});

describe('recall is held against the distance that the run is about:', () => {
  const records = makeBatch({ ids: ids(300) });

  test("the source's, so that a target which ranks otherwise shows as it is and not as perfect", async () => {
    const world = await makeWorld({ records, event: { validate: { recall: quick } } });
    // A collection that somebody else filled, and made for another distance.
    const own = await prepare(world);
    const plan = { ...own, target: makeSchema({ vectors: [{ ...makeSchema().vectors[0]!, distance: 'dot' }] }) };
    await findTruth(world, plan);
    const target = await memory.open({ connection: { path: 'by-dot' }, collection: 'dot', options: {} });
    await target.prepare(makeSchema({ vectors: [{ ...makeSchema().vectors[0]!, distance: 'dot' }] }));
    await target.write(records, { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    const [found] = (await measureAll(world, plan, { target })).sets;
    expect(found).toMatchObject({ outcome: 'failed', distance: 'cosine', source: { mean: 1 } });
    expect(found?.target).toMatchObject({ measured: true });
    expect(found?.target.measured && found.target.mean).toBeLessThan(0.9);
  });

  test("the mapping's where it names one, and the source, which ranks otherwise, is said to", async () => {
    const event = { mapping: { vectors: { embedding: { distance: 'euclid' } } }, validate: { recall: quick } };
    const [found] = (await recallOf(await makeWorld({ records, event }))).sets;
    expect(found).toMatchObject({ outcome: 'passed', distance: 'euclid', target: { mean: 1 } });
    expect(found?.source.measured && found.source.mean).toBeLessThan(0.95);
    expect(found?.note).toMatch(
      /The source ranks by cosine, and is held against the euclid that the mapping asks for\.$/,
    );
  });
});

describe('every measure of a set', () => {
  test('is 1 for an exact store, at the depths there are records for', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(80) }) });
    const [found] = (await recallOf(world)).sets;
    expect(found?.target).toMatchObject({
      depths: [{ depth: 1, mean: 1 }],
      spread: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80],
      ndcg: 1,
      rbo: expect.closeTo(1, 12),
      short: 0,
    });
  });

  test('tells apart what is found at each depth, searched for by itself, k first', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(400) }) });
    const asked: number[] = [];
    const target = searching(world.target, async (request) => {
      asked.push(request.k);
      const hits = await world.target.search({ ...request, k: request.k + 50 });
      // A search that finds its first ten, and loses every second record farther down.
      return hits.filter((_, at) => at < 10 || at % 2 === 0).slice(0, request.k);
    });
    const [found] = (await recallOf(world, { target })).sets;
    expect(asked.slice(20, 26)).toEqual([10, 1, 100, 10, 1, 100]);
    expect(found?.target).toMatchObject({ mean: 1, depths: [{ depth: 1, mean: 1 }, { depth: 100 }] });
    expect(found?.target.measured && found.target.depths[1]?.mean).toBeCloseTo(0.55, 2);
  });

  test('counts short answers and spreads queries by their recall', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(200) }), event: { validate: { recall: quick } } });
    let at = 0;
    const target = searching(world.target, async (request) => {
      const hits = await world.target.search(request);
      return request.k === 10 && at++ % 4 === 3 ? hits.slice(0, 7) : hits;
    });
    const [found] = (await recallOf(world, { target })).sets;
    expect(found?.target).toMatchObject({ short: 20, spread: [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 60] });
    expect(found?.target.measured && found.target.worst[0]?.recall).toBeCloseTo(0.7, 12);
  });

  test('has a latency with its spread', async () => {
    expect(latencyOf([3, 1, 2, 6])).toEqual({
      min: 1,
      p50: 2,
      p95: 6,
      p99: 6,
      max: 6,
      mean: 3,
      deviation: expect.closeTo(Math.sqrt(14 / 3), 12),
    });
    expect(latencyOf([5])).toMatchObject({ mean: 5, deviation: 0 });
  });
});

describe('a set with a filter', () => {
  test('is searched with it on both sides, and asks for as many as there are', async () => {
    const records = makeBatch({ ids: ids(400) });
    const sets = [
      { name: 'even', filter: { even: true } },
      { name: 'first six', filter: { rank: { lt: 6 } }, atLeast: 0.3 },
    ];
    const world = await makeWorld({ records, event: { validate: { recall: { ...quick, sets } } } });
    const { sets: found } = await recallOf(world);
    expect(found[0]).toMatchObject({ outcome: 'passed', candidates: 200, k: 10, filter: { even: true } });
    expect(found[1]).toMatchObject({ outcome: 'passed', candidates: 6, k: 6, target: { mean: 1, queries: 6 } });
    expect(found[1]?.note).toMatch(/No query has more than 6 records to find\.$/);

    const blind = searching(world.target, ({ filter: _, ...request }) => world.target.search(request));
    const [even] = (await recallOf(world, { target: blind })).sets;
    expect(even).toMatchObject({ outcome: 'failed', source: { mean: 1 } });
    expect(even?.target.measured && even.target.mean).toBeLessThan(0.7);
  });

  test('is not measured on a side that cannot filter, with the reason, while other sets are', async () => {
    const sets = [{ name: 'even', filter: { even: true } }, { name: 'all' }];
    const world = await makeWorld({
      records: makeBatch({ ids: ids(400) }),
      event: { validate: { recall: { ...quick, sets } } },
    });
    const cannot = searching(world.source, async (request) => {
      if (request.filter !== undefined) throw new InvalidEvent('this store has no filters');
      return await world.source.search(request);
    });
    const { sets: found } = await recallOf(world, { source: cannot });
    expect(found[0]?.source).toEqual({ measured: false, reason: 'this store has no filters' });
    expect(found[0]).toMatchObject({ outcome: 'passed', target: { mean: 1 } });
    expect(found[1]).toMatchObject({ outcome: 'passed', source: { mean: 1 } });
  });

  test('does not count a record that the filter leaves out, though it is as near as the last that counts', async () => {
    // All records have the same vector, so each ties with every other.
    const some = makeBatch({ ids: ids(300) });
    const column = some.vectors.get('embedding')!;
    const values = column.values.map((_, i) => column.values[i % 4] ?? 0);
    const records = { ...some, vectors: new Map([['embedding', { ...column, values }]]) };
    const sets = [{ name: 'even', filter: { even: true } }];
    const world = await makeWorld({ records, event: { validate: { recall: { ...quick, sets } } } });
    const odd = searching(world.target, (request) =>
      world.target.search({ ...request, filter: conditionsOf({ even: false }) }),
    );
    const [found] = (await recallOf(world, { target: odd })).sets;
    expect(found).toMatchObject({ source: { mean: 1 }, target: { mean: 0 } });
  });

  test('with conditions of its queries asks each for as many as it has', async () => {
    const vector = [1, 2, 3, 4];
    const queries = [{ vector }, { vector, filter: { rank: { lt: 4 } } }];
    const sets = [{ name: 'given', queries, atLeast: null }];
    const world = await makeWorld({ records: makeBatch({ ids: ids(200) }), event: { validate: { recall: { sets } } } });
    const [found] = (await recallOf(world)).sets;
    expect(found).toMatchObject({ k: 10, candidates: 4, target: { mean: 1, short: 0, ndcg: 1 } });
  });

  test('leaves out queries that have nothing to find, and has nothing to measure where no query has', async () => {
    const vector = [1, 2, 3, 4];
    const queries = [
      { vector, filter: { rank: 3 } },
      { vector, filter: { rank: -1 } },
    ];
    const sets = [
      { name: 'some', queries, atLeast: null },
      { name: 'nothing', filter: { rank: -1 }, atLeast: null },
      { name: 'misspelt', filter: { Rank: 3 } },
    ];
    const world = await makeWorld({
      records: makeBatch({ ids: ids(200) }),
      event: { validate: { recall: { ...quick, sets } } },
    });
    const { sets: found } = await recallOf(world);
    expect(found[0]).toMatchObject({ outcome: 'reported', k: 1, target: { queries: 1, mean: 1 } });
    expect(found[0]?.note).toMatch(
      /1 query is left out, since no record meets the filter\. It is held against no goal\.$/,
    );
    expect(found[1]).toMatchObject({
      outcome: 'nothing to measure',
      note: expect.stringMatching(/^No record meets its filter/),
    });
    expect(found[2]).toMatchObject({
      outcome: 'unproven',
      note: expect.stringMatching(/^No record meets its filter, .* its goal of .* is not proved\.$/),
    });
  });
});

describe('a gold set', () => {
  test('says how much of what is expected each side finds, and what no search by these vectors passes', async () => {
    const records = makeBatch({ ids: ids(300) });
    const column = records.vectors.get('embedding')!;
    // Each expects its own record and one that the mapping renames but no search finds near.
    const queries = Array.from({ length: 80 }, (_, at) => ({
      vector: [...column.values.slice(at * 4, at * 4 + 4)],
      expected: [records.ids[at]!, 'not there'],
    }));
    const sets = [{ name: 'gold', queries, k: 3, atLeast: 0.9 }];
    const world = await makeWorld({ records, event: { validate: { recall: { ...quick, sets } } } });
    const target = searching(world.target, async (request) => (await world.target.search(request)).slice(1));
    const [found] = (await recallOf(world, { target })).sets;
    expect(found).toMatchObject({ k: 3, outcome: 'failed', gold: { queries: 80, exact: { recall: 0.5 } } });
    const half = { measured: true, queries: 80, recall: 0.5, ndcg: expect.closeTo(1 / 1.63093, 5) };
    expect(found?.gold).toMatchObject({
      source: half,
      target: { queries: 80, recall: 0, ndcg: 0 },
      outcome: 'reported',
    });
    expect(found?.gold?.difference).toMatchObject({ queries: 80, mean: -0.5 });
  });
});

describe('a given set', () => {
  test('stands for more than the records there are: its interval is no point, though every record is a query', async () => {
    const records = makeBatch({ ids: ids(80) });
    const column = records.vectors.get('embedding')!;
    const queries = ids(80).map((_, at) => ({ vector: [...column.values.slice(at * 4, at * 4 + 4)] }));
    const sets = [{ name: 'given', queries }, { name: 'sampled' }];
    const world = await makeWorld({ records, event: { validate: { recall: { ...quick, sets } } } });
    const { sets: found } = await recallOf(world);
    expect(found.map(({ target }) => target.measured && target.queries)).toEqual([80, 80]);
    expect(found[0]?.target.measured && found[0].target.low).toBeLessThan(0.96);
    expect(found[1]?.target).toMatchObject({ low: 1 });
  });
});

describe('the search settings', () => {
  test('of the event go with each search of the target alone', async () => {
    const event = { validate: { recall: { ...quick, search: { efSearch: 40, rescore: true } } } };
    const world = await makeWorld({ records: makeBatch({ ids: ids(200) }), event: { validate: { recall: quick } } });
    const plan = await prepare(world);
    const asked = { ...plan, event: { ...plan.event, validate: (await validation(event)).validate } };
    const seen = { source: new Set<string>(), target: new Set<string>() };
    const watched = (side: 'source' | 'target') =>
      searching(world[side], async (request) => {
        seen[side].add(JSON.stringify(request.settings));
        return await world[side].search({ ...request, settings: {} });
      });
    const sides = { source: watched('source'), target: watched('target') };
    const [found] = (await measureAll(world, asked, sides)).sets;
    expect(found?.settings).toEqual({ efSearch: 40, rescore: true });
    expect([[...seen.source], [...seen.target]]).toEqual([[undefined], ['{"efSearch":40,"rescore":true}']]);
  });
});

/** An event as the memory store's plan would refuse it, for it heeds no settings. */
async function validation(event: Record<string, unknown>) {
  return (await makeWorld({ event })).event;
}
