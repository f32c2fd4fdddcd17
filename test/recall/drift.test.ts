import { describe, expect, test } from '@jest/globals';
import { AccessDenied } from '../../lib/errors.ts';
import { runKeys } from '../../lib/keys.ts';
import { readManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { measureDrift } from '../../lib/recall/drift.ts';
import { type Drift, type DriftMeasured, driftSchema } from '../../lib/recall/drift-files.ts';
import { findNeighbours } from '../../lib/recall/neighbours.ts';
import { chooseQueries, readQueries } from '../../lib/recall/queries.ts';
import type { Recall } from '../../lib/run-files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { type DriftWorld, idOf, makeDriftWorld, makeModel, newModel, oldModel, places } from '../drift-world.ts';
import { measureAll, searching } from '../recall-world.ts';
import { nearAfter, noDeadline } from '../world.ts';

/** Where the old neighbours are scattered: place p goes where p times 7 was. */
const scattered = (place: number): number => (place * 7) % places;

async function choose({ plan, objects, models }: DriftWorld): Promise<void> {
  const manifest = await readManifest(objects, plan.run);
  await chooseQueries({ plan, manifest, objects, models });
  for (const { shard } of manifest.shards) await findNeighbours({ plan, shard, objects });
}

async function driftOf(world: DriftWorld, sides: { source?: Store; target?: Store } = {}): Promise<Drift> {
  const { plan, objects } = world;
  const manifest = await readManifest(objects, plan.run);
  await measureDrift({ ...world, ...sides, manifest, deadline: noDeadline });
  return (await getJson(objects, runKeys(plan.run).drift, driftSchema))!;
}

async function found(world: DriftWorld): Promise<{ recall: Recall; drift: Drift; set: DriftMeasured }> {
  await choose(world);
  const recall = await measureAll(world, world.plan);
  const drift = await driftOf(world);
  const [set] = drift.sets;
  if (set?.measured !== true) throw new Error(`not measured: ${set?.reason}`);
  return { recall, drift, set };
}

const one = { mean: 1, low: expect.any(Number), high: 1 };

describe('drift of sampled queries', () => {
  test('is none where the new model puts every record near the same others', async () => {
    const world = await makeDriftWorld({ recall: { queries: 60, k: 5 }, embedder: makeModel(newModel) });
    const { set, drift, recall } = await found(world);
    expect(drift).toMatchObject({ done: true, changed: expect.stringMatching(/^new, version 1, .* in place of/) });
    expect(set).toMatchObject({ k: 5, queries: 60, without: 0, isOwnLeftOut: true, overlap: one, rbo: one });
    expect(set).toMatchObject({
      correlation: one,
      depths: [
        { depth: 1, mean: 1 },
        { depth: 10, mean: 1 },
      ],
    });
    expect(set.spread).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60]);
    // The truth is of the new vectors: what the old ones find is not held against it.
    expect(recall.sets).toMatchObject([
      {
        source: { measured: false, reason: 'its vectors are of another model' },
        target: { measured: true, mean: 1 },
        gold: null,
      },
    ]);
  });

  test('shows where the new model scatters the neighbours, with what is new and what is gone', async () => {
    const world = await makeDriftWorld({
      recall: { queries: 120, k: 5 },
      embedder: makeModel(newModel, scattered),
    });
    const { set } = await found(world);
    expect(set.overlap.mean).toBeLessThan(0.1);
    expect(set.overlap.low).toBeLessThanOrEqual(set.overlap.mean);
    expect(set.correlation.mean).toBeLessThan(-0.4);
    const [example] = set.examples;
    expect(set.examples).toHaveLength(5);
    expect(example).toMatchObject({ overlap: 0, text: `place ${Number(example!.id) - 1000}` });
    expect(example!.source).toHaveLength(5);
    for (const each of [...example!.source, ...example!.target]) {
      expect(each).toMatchObject({ isCommon: false, text: `place ${Number(each.id) - 1000}` });
      expect(each.id).not.toBe(example!.id);
    }
    // The source's are the places beside it; the target's those that 7 times the place is beside.
    const near = (id: string, other: string): number => Math.abs(Number(id) - Number(other));
    for (const { id } of example!.source) expect(near(id, example!.id)).toBeLessThanOrEqual(5);
  });

  test('of a vector that gets a new name is held against the only one that the source has', async () => {
    const event = { embed: { text: 'title', model: newModel, vector: 'other' } };
    const world = await makeDriftWorld({ recall: { queries: 20 }, embedder: makeModel(newModel), event });
    await choose(world);
    expect((await driftOf(world)).sets).toMatchObject([
      { measured: true, vector: 'other', sourceVector: 'embedding', overlap: one },
    ]);
  });

  test('leaves out, and counts, the queries whose records had no vector in the source', async () => {
    const embedder = makeModel(newModel);
    const without = (place: number): boolean => place % 4 === 0;
    const world = await makeDriftWorld({ recall: { queries: places, k: 2, depths: [] }, embedder, without });
    const { set, recall } = await found(world);
    expect(set).toMatchObject({ queries: 90, without: 30 });
    // What the source lacks is new in the target.
    expect(set.overlap.mean).toBeLessThan(1);
    expect(recall.sets).toMatchObject([{ target: { queries: places, mean: 1 } }]);
  });

  test('of a run that makes the missing vectors alone is that of one model: a text is embedded once', async () => {
    const model = { ...newModel, dimensions: 4 };
    const embedder = makeModel(model);
    const queries = Array.from({ length: 30 }, (_, at) => ({ text: `where is place ${at}`, expected: [idOf(at)] }));
    const world = await makeDriftWorld({
      recall: { sets: [{ name: 'asked', queries, k: 2 }], depths: [] },
      embedder,
      without: (place) => place % 4 === 0,
      source: { model: { name: 'new', version: '1' } },
      event: { embed: { text: 'title', model, records: 'missing' } },
    });
    const { set, recall } = await found(world);
    expect(embedder.asked.document).toHaveLength(30);
    expect(embedder.asked.query).toHaveLength(30);
    expect(set).toMatchObject({ queries: 30, without: 0 });
    expect(recall.sets).toMatchObject([
      {
        source: { measured: false, reason: 'it lacks the vectors that the run makes' },
        target: { mean: 1 },
        gold: { outcome: 'passed', target: { recall: 1 }, source: { measured: true } },
      },
    ]);
    expect(recall.sets[0]!.gold!.difference!.mean).toBeGreaterThan(0.2);
  });

  test('goes on where the deadline came, and asks no query twice', async () => {
    const world = await makeDriftWorld({ recall: { queries: 30, k: 3, depths: [] }, embedder: makeModel(newModel) });
    await choose(world);
    const manifest = await readManifest(world.objects, world.plan.run);
    let searches = 0;
    const source = searching(world.source, (request) => {
      searches++;
      return world.source.search(request);
    });
    let calls = 1;
    while (!(await measureDrift({ ...world, source, manifest, deadline: nearAfter(7) })).done) calls++;
    expect(calls).toBeGreaterThan(3);
    expect(searches).toBe(30);
    const [set] = (await driftOf(world)).sets;
    expect(set).toMatchObject({ measured: true, queries: 30, overlap: one });
    expect(await measureDrift({ ...world, source, manifest, deadline: noDeadline })).toEqual({ done: true });
    expect(searches).toBe(30);
  });
});

const askable = { model: { name: 'old', provider: 'openai' } } as const;

describe('queries that are texts', () => {
  const texts = (count: number) =>
    Array.from({ length: count }, (_, at) => ({ id: `q${at}`, text: `where is place ${at * 2}` }));

  test('are embedded by both models, as queries, once, however often they are chosen', async () => {
    const [embedder, old] = [makeModel(newModel), makeModel(oldModel)];
    const sets = [{ name: 'asked', queries: texts(40), k: 3 }];
    const world = await makeDriftWorld({ recall: { sets }, embedder, old, source: askable });
    const { set, recall } = await found(world);
    expect(set).toMatchObject({ queries: 40, isOwnLeftOut: false, overlap: one });
    expect(recall.sets).toMatchObject([{ target: { measured: true, queries: 40, mean: 1 } }]);
    await choose(world);
    expect([embedder.asked.query.length, old.asked.query.length]).toEqual([40, 40]);
    expect(old.asked.document).toEqual([]);
    const { queries } = await readQueries(world.objects, world.plan.run);
    expect(queries[7]).toMatchObject({ id: 'q7', text: 'where is place 14', sourceValues: expect.any(String) });
  });

  test('are not searched for in a source whose model cannot be asked, which is said', async () => {
    const embedder = makeModel(newModel);
    const world = await makeDriftWorld({ recall: { sets: [{ name: 'asked', queries: texts(5) }] }, embedder });
    await choose(world);
    expect((await driftOf(world)).sets).toMatchObject([
      {
        measured: false,
        reason: expect.stringMatching(/^no query has a vector for the source: give texts, and say in source\.model/),
      },
    ]);
  });

  test('that a model refuses are named, with its reason, and are not asked for again', async () => {
    const embedder = makeModel(newModel);
    const sets = [{ name: 'asked', queries: [...texts(3), { id: 'bad', text: 'nowhere' }] }];
    const world = await makeDriftWorld({ recall: { sets }, embedder });
    for (const _ of [1, 2]) {
      await expect(choose(world)).rejects.toMatchObject({
        name: 'InvalidEvent',
        message: "validate.recall.sets 'asked', query 'bad': its text has no vector, it names no place",
      });
    }
    expect(embedder.asked.query).toHaveLength(4);
  });

  test('are kept as they come: what was answered before a fault or a deadline is not asked for again', async () => {
    const embedder = makeModel(newModel);
    const sets = [{ name: 'asked', queries: texts(60) }];
    const world = await makeDriftWorld({ recall: { sets }, embedder });
    let requests = 0;
    const embed: typeof embedder.embed = async (request) => {
      if (++requests > 2) throw new AccessDenied('the key was withdrawn');
      return await embedder.embed(request);
    };
    const failing = { ...world.models, open: async () => ({ ...embedder, embed }) };
    await expect(choose({ ...world, models: failing })).rejects.toMatchObject({ name: 'AccessDenied' });
    const before = embedder.asked.query.length;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(60);
    const late = { ...world.models, deadline: { remainingMs: () => 0 } };
    await expect(choose({ ...world, models: late })).rejects.toMatchObject({
      name: 'Throttled',
      message: expect.stringMatching(/^\d+ texts of queries are still to be embedded by new; call again$/),
    });
    await choose(world);
    expect(new Set(embedder.asked.query).size).toBe(60);
    expect(embedder.asked.query).toHaveLength(60);
  });

  test('count towards the budget', async () => {
    const embedder = makeModel(newModel);
    const sets = [{ name: 'asked', queries: texts(40) }];
    const world = await makeDriftWorld({ recall: { sets }, embedder });
    const { embed } = world.plan.event;
    const event = { ...world.plan.event, embed: { ...embed!, budget: { tokens: 300 } } };
    await expect(choose({ ...world, plan: { ...world.plan, event } })).rejects.toMatchObject({
      name: 'BudgetExceeded',
      message: expect.stringMatching(/bring the run to 3\d\d tokens .*\{"tokens":300\}; raise it/),
    });
  });

  test('of the wrong length are refused by the plan: another model made the vectors', async () => {
    const [embedder, old] = [makeModel(newModel), makeModel({ ...oldModel, dimensions: 5 })];
    const make = (query: object) =>
      makeDriftWorld({ recall: { sets: [{ name: 'asked', queries: [query] }] }, embedder, old, source: askable });
    await expect(make({ text: 'place 3' })).rejects.toThrow(
      /source\.model: old makes vectors of 5 floats, and vector 'embedding' of the source has 4; name the model/,
    );
    // It is not asked for this one.
    await make({ text: 'place 3', sourceVector: [1, 0, 0, 0] });
  });
});

describe('queries that are vectors', () => {
  const embedder = makeModel(newModel);
  const world = (query: Record<string, unknown>) =>
    makeDriftWorld({ recall: { sets: [{ name: 'log', queries: [query] }] }, embedder });

  test('are of the new model, and the source is searched with the old one beside it', async () => {
    const made = await world({ vector: [1, 0, 0, 0, 0, 0], sourceVector: [1, 0, 0, 0] });
    const { set } = await found(made);
    expect(set).toMatchObject({ queries: 1, overlap: one });
  });

  test.each([
    [
      'of the old length',
      { vector: [1, 0, 0, 0] },
      /has 4 floats, and vector 'embedding' has 6; it looks like one of the source's own model/,
    ],
    [
      'with an old one of another length',
      { vector: [1, 0, 0, 0, 0, 0], sourceVector: [1] },
      /has a sourceVector of 1 floats, and vector 'embedding' of the source has 4/,
    ],
    [
      'with an old one that float32 does not hold',
      { vector: [1, 0, 0, 0, 0, 0], sourceVector: [1e300, 0, 0, 0] },
      /sourceVector: float 1 is 1e\+300/,
    ],
  ])('%s are refused', async (_, query, message) => {
    await expect(world(query)).rejects.toThrow(message);
  });

  test('of a length that both models have are refused unless it is said whose they are', async () => {
    const same = makeModel({ ...newModel, dimensions: 4 });
    const make = (query: Record<string, unknown>) =>
      makeDriftWorld({
        recall: { sets: [{ name: 'log', queries: [query] }] },
        embedder: same,
        event: { embed: { text: 'title', model: { ...newModel, dimensions: 4 } } },
      });
    await expect(make({ vector: [1, 0, 0, 0] })).rejects.toThrow(
      /has 4 floats, as vectors of the source's model and of the new one have: give its text/,
    );
    await make({ vector: [1, 0, 0, 0], sourceVector: null });
  });
});

describe('a gold set of another model', () => {
  const queries = Array.from({ length: 80 }, (_, at) => ({ text: `where is place ${at}`, expected: [idOf(at)] }));
  const judge = async (moved: (place: number) => number, set: Record<string, unknown>, source = {}) => {
    // The new model as a whole is moved, and its queries are not: what is expected lies elsewhere.
    const good = makeModel(newModel);
    const bad = makeModel(newModel, moved);
    const embedder = {
      ...good,
      embed: ({ texts, purpose }: Parameters<typeof good.embed>[0]) =>
        (purpose === 'query' ? good : bad).embed({ texts, purpose }),
    };
    const sets = [{ name: 'gold', queries, k: 3, ...set }];
    const world = await makeDriftWorld({ recall: { sets }, embedder, old: makeModel(oldModel), source });
    await choose(world);
    return (await measureAll(world, world.plan)).sets[0]!.gold!;
  };

  test('passes where the target reaches its goal, whatever the source does', async () => {
    expect(await judge((place) => place, { goldAtLeast: 0.95 })).toMatchObject({
      outcome: 'passed',
      atLeast: 0.95,
      source: { measured: false },
      target: { recall: 1, queries: 80 },
      exact: { recall: 1, ndcg: 1 },
      difference: null,
    });
  });

  test('fails where it does not, and names the queries', async () => {
    const gold = await judge(scattered, { goldAtLeast: 0.5 });
    expect(gold).toMatchObject({ outcome: 'failed', note: expect.stringMatching(/below the 50\.00% asked for\.$/) });
    expect(gold.worst).toHaveLength(10);
    expect(gold.exact.recall).toBeLessThan(0.2);
  });

  test('without a goal is held against the source: it fails where the target is provably worse', async () => {
    const same = await judge((place) => place, {}, askable);
    expect(same).toMatchObject({ outcome: 'passed', source: { recall: 1 }, difference: { queries: 80, mean: 0 } });
    const worse = await judge(scattered, {}, askable);
    expect(worse).toMatchObject({ outcome: 'failed', source: { recall: 1 }, atLeast: null });
    expect(worse.difference!.high).toBeLessThan(0);
    expect(worse.note).toMatch(/: the target is worse by 9\d\.\d\d%, with 95% confidence by \d+\.\d\d% or more\.$/);
  });

  test('is all that the source is asked when recall is measured, since its answers are not held against that truth', async () => {
    const embedder = makeModel(newModel);
    const sets = [
      { name: 'sampled', sample: 80 },
      { name: 'gold', queries: queries.slice(0, 30), k: 3 },
    ];
    const world = await makeDriftWorld({ recall: { sets }, embedder, old: makeModel(oldModel), source: askable });
    await choose(world);
    const asked: number[] = [];
    const source = searching(world.source, async (request) => {
      asked.push(request.k);
      return await world.source.search(request);
    });
    const { sets: found } = await measureAll(world, world.plan, { source });
    expect(found.map(({ target }) => target.measured)).toEqual([true, true]);
    expect(asked).toEqual(Array.from({ length: 30 }, () => 3));
    expect(found[1]?.gold).toMatchObject({ source: { measured: true, queries: 30, recall: 1 } });
  });

  test('is only reported where the event says so', async () => {
    expect(await judge(scattered, { goldAtLeast: null }, askable)).toMatchObject({ outcome: 'reported' });
  });

  test('is refused by the plan where there is nothing to hold it against, or too few queries for its goal', async () => {
    await expect(judge((place) => place, {})).rejects.toThrow(
      /sets 'gold': says what its queries expect, and nothing to hold that against: .*; set "goldAtLeast"/,
    );
    const few = { goldAtLeast: 0.99 };
    await expect(judge((place) => place, few)).rejects.toThrow(/its 80 queries with "expected" cannot show that 0\.99/);
  });
});
