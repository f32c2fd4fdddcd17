import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseEvent } from '../../lib/event.ts';
import { decodeFloats } from '../../lib/float-text.ts';
import { runKeys } from '../../lib/keys.ts';
import { readManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { measureDrift } from '../../lib/recall/drift.ts';
import { driftSchema } from '../../lib/recall/drift-files.ts';
import { type GoldInput, pairedInterval, summariseGold } from '../../lib/recall/gold.ts';
import { findNeighbours } from '../../lib/recall/neighbours.ts';
import { chooseQueries, readQueries } from '../../lib/recall/queries.ts';
import type { Truth } from '../../lib/recall/truths.ts';
import type { Plan } from '../../lib/run-files.ts';
import { makeModel, onCurve } from '../drift-world.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { measureAll } from '../recall-world.ts';
import { load, makeWorld, noDeadline, quiet, type World } from '../world.ts';

const truth = (id: string, expected?: readonly string[]): Truth => ({
  query: { set: 'gold', vector: 'v', id, values: '', ...(expected && { expected: [...expected] }) },
  values: new Float32Array(),
  nearest: [
    { id: 'a', distance: 0 },
    { id: 'b', distance: 1 },
  ],
  candidates: 2,
  filter: [],
});
const found = (recall: number) => ({ recall, ndcg: recall });
const judged = (source: readonly number[], target: readonly number[], more: Partial<GoldInput> = {}) =>
  summariseGold({
    truths: target.map((_, at) => truth(`q${at}`, ['a'])),
    k: 10,
    goldAtLeast: undefined,
    isChanged: true,
    source: source.map(found),
    target: target.map(found),
    ...more,
  })!;
const many = (recall: number, count = 100): number[] => Array.from({ length: count }, () => recall);

describe('what is made of a gold set', () => {
  test('is nothing where no query says what it expects', () => {
    const truths = [truth('q1')];
    const nothing = { truths, k: 10, goldAtLeast: 0.5, isChanged: false, source: [undefined], target: [undefined] };
    expect(summariseGold(nothing)).toBeNull();
  });

  test('holds exact neighbours, both sides, their difference and the worst queries, of those that expect something', () => {
    const truths = [truth('q1', ['a']), truth('q2'), truth('q3', ['b', 'c'])];
    const [source, target] = [
      [found(1), undefined, undefined],
      [found(0.5), undefined, found(1)],
    ];
    expect(judged([], [], { truths, k: 2, source, target, goldAtLeast: null })).toMatchObject({
      queries: 2,
      source: { queries: 1, recall: 1 },
      target: { queries: 2, recall: 0.75 },
      exact: { recall: 0.75 },
      difference: { queries: 1, mean: -0.5 },
      worst: [{ id: 'q1', recall: 0.5 }],
      outcome: 'reported',
    });
  });

  test('is proved by the lower end of the interval, and no mean', () => {
    const goal = (target: readonly number[], goldAtLeast: number) => judged(many(1), target, { goldAtLeast }).outcome;
    expect(goal(many(1), 0.95)).toBe('passed');
    expect(goal(many(0.9), 0.95)).toBe('failed');
    const three = [...many(1, 97), 0, 0, 0];
    expect(goal(three, 0.96)).toBe('unproven');
    expect(judged(many(1), three, { goldAtLeast: 0.96 }).note).toMatch(
      /too few queries to show the 96\.00% asked for; ask more/,
    );
  });

  test('without a goal fails only where the target is provably worse than a source of another model', () => {
    expect(judged(many(0.5), many(0.8)).outcome).toBe('passed');
    expect(judged(many(0.8), many(0.5))).toMatchObject({
      outcome: 'failed',
      difference: { mean: expect.closeTo(-0.3, 9) },
    });
    // One query in a hundred worse is chance.
    expect(judged(many(1), [...many(1, 99), 0])).toMatchObject({
      outcome: 'passed',
      difference: { mean: expect.closeTo(-0.01, 9) },
    });
    // Of the same vectors it is reported: recall is what they are held against.
    expect(judged(many(0.8), many(0.5), { isChanged: false }).outcome).toBe('reported');
  });

  test('is unproven where the side that it needs could not be searched', () => {
    const reason = 'the collection is gone.';
    expect(judged([], many(1), { source: { reason } })).toMatchObject({
      outcome: 'unproven',
      note: expect.stringMatching(/and there is nothing to hold it against: the collection is gone\.$/),
    });
    expect(judged([], many(1), { source: { reason }, goldAtLeast: 0.9 }).outcome).toBe('passed');
    const none = { target: { reason }, truths: [truth('q1', ['a'])] };
    expect(judged(many(1), [], none)).toMatchObject({ outcome: 'unproven', target: { measured: false } });
    expect(judged(many(1), [], { ...none, goldAtLeast: null }).outcome).toBe('reported');
  });
});

test('the paired interval holds its mean, turns with its sides, and narrows with more queries', () => {
  const differences = fc.array(fc.integer({ min: -10, max: 10 }), { minLength: 2, maxLength: 60 });
  fc.assert(
    fc.property(differences, (tenths) => {
      const all = tenths.map((each) => each / 10);
      const { mean, low, high } = pairedInterval(all, 10);
      expect(low).toBeLessThanOrEqual(mean + 1e-9);
      expect(high).toBeGreaterThanOrEqual(mean - 1e-9);
      const turned = pairedInterval(
        all.map((each) => -each),
        10,
      );
      expect(turned.low).toBeCloseTo(-high, 6);
      expect(turned.high).toBeCloseTo(-low, 6);
      const twice = pairedInterval([...all, ...all, ...all, ...all], 10);
      expect(twice.high - twice.low).toBeLessThan(high - low);
    }),
  );
});

describe('in a run that copies vectors', () => {
  const ids = Array.from({ length: 80 }, (_, at) => String(1000 + at));
  const model = makeModel({ name: 'old', provider: 'openai', dimensions: 4 });
  const source = (endpoint: object) => ({
    ...endpoint,
    model: { name: 'old', provider: 'openai', dimensions: 4, isMatryoshka: true },
  });
  const queries = ids.map((id, place) => ({ text: `where is place ${place}`, expected: [id] }));

  async function run(
    set: Record<string, unknown>,
    event: Record<string, unknown> = {},
  ): Promise<{ world: World; plan: Plan }> {
    const values = Float32Array.from(ids.flatMap((_, place) => onCurve(place, 4)));
    const records = {
      ...makeBatch({ ids }),
      vectors: new Map([['embedding', { kind: 'dense', dimension: 4, values } as const]]),
    };
    const made = await makeWorld({ schema: makeSchema(), records });
    const validate = { recall: { sets: [{ name: 'gold', queries, atLeast: null, k: 3, ...set }], depths: [] } };
    const asked = { ...made.event, source: source(made.event.source), validate, ...event };
    const world = { ...made, event: parseEvent(asked) };
    const plan = await load(world);
    const manifest = await readManifest(world.objects, plan.run);
    const models = { open: async () => model, deadline: noDeadline, log: quiet };
    await chooseQueries({ plan, manifest, objects: world.objects, models });
    for (const { shard } of manifest.shards) await findNeighbours({ plan, shard, objects: world.objects });
    return { world, plan };
  }

  test('one vector of a text serves both sides, and goldAtLeast is held against the target', async () => {
    const { world, plan } = await run({ goldAtLeast: 0.9 });
    const [entry] = (await measureAll(world, plan)).sets;
    expect(entry).toMatchObject({ source: { measured: true, mean: 1 }, target: { mean: 1 } });
    expect(entry?.gold).toMatchObject({ outcome: 'passed', source: { recall: 1 }, difference: { mean: 0 } });
    expect(model.asked.query).toHaveLength(80);
  });

  test('that truncates them a text, or a whole vector, is cut as the records are, and the source is asked with all of it', async () => {
    const whole = { vector: onCurve(7, 4).map((each) => each * 3), expected: ['1007'] };
    const set = { queries: [...queries, whole] };
    const { world, plan } = await run(set, { mapping: { vectors: { embedding: { dimensions: 2 } } } });
    const { queries: chosen } = await readQueries(world.objects, plan.run);
    const last = chosen.at(-1)!;
    expect(decodeFloats(last.values)).toHaveLength(2);
    expect(decodeFloats(last.sourceValues!)).toHaveLength(4);
    expect(Math.hypot(...decodeFloats(last.values))).toBeCloseTo(1, 6);
    // Nothing but the first two floats differs here, so nothing is lost; the truth is of what the target has.
    const [entry] = (await measureAll(world, plan)).sets;
    expect(entry).toMatchObject({
      source: { measured: false, reason: 'its vectors are whole, and the target has the first 2 floats of each' },
      target: { measured: true, mean: 1 },
      gold: { outcome: 'passed', source: { recall: 1 }, target: { recall: 1 } },
    });
    const manifest = await readManifest(world.objects, plan.run);
    await measureDrift({ ...world, plan, manifest, deadline: noDeadline });
    const drift = await getJson(world.objects, runKeys(plan.run).drift, driftSchema);
    expect(drift).toMatchObject({ done: true, changed: "vector 'embedding' is truncated to 2 floats" });
    expect(drift?.sets).toMatchObject([{ measured: true, queries: 81, overlap: { mean: 1 } }]);
  });
});
