import { describe, expect, test } from '@jest/globals';
import { runKeys } from '../../lib/keys.ts';
import type { Deadline } from '../../lib/log.ts';
import { readManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { measureRecall } from '../../lib/recall/recall.ts';
import { tuneSearch } from '../../lib/recall/tune.ts';
import { type Plan, type Recall, recallSchema, type Tuning, tuningSchema } from '../../lib/run-files.ts';
import type { SearchSettings } from '../../lib/schema.ts';
import { type Approximation, approximate, measure } from '../approximate.ts';
import { makeBatch } from '../make.ts';
import { load, makeWorld, nearAfter, noDeadline, type World } from '../world.ts';

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => String(1000 + i));

interface Tuned {
  readonly tuning: Tuning | undefined;
  readonly recall: Recall | undefined;
  readonly calls: number;
  readonly world: World;
  readonly plan: Plan;
  readonly target: ReturnType<typeof approximate>;
}

/** A target that misses its goal, tuned. */
async function tuned(
  how: Partial<Approximation> = {},
  recall: Record<string, unknown> = {},
  options: { deadline?: () => Deadline; goal?: { atLeast?: number; maxP95Ms?: number }; search?: SearchSettings } = {},
): Promise<Tuned> {
  const world = await makeWorld({
    records: makeBatch({ ids: ids(400) }),
    event: { validate: { recall: { queries: 120, k: 5, depths: [], tune: true, ...recall } } },
  });
  const planned = await load(world);
  const { deadline = () => noDeadline, goal, search = {} } = options;
  const validate = planned.event.validate;
  const asked = validate.recall === null ? null : { ...validate.recall, search };
  const plan = { ...planned, event: { ...planned.event, validate: { ...validate, recall: asked } } };
  const target = approximate(world.target, { efSearch: 100, full: 320, ...how });
  const approximated = { ...world, target };
  const manifest = await measure(approximated, plan);
  let calls = 0;
  for (let done = false; !done && calls < 100; calls++) {
    ({ done } = await tuneSearch({ ...approximated, plan, manifest, deadline: deadline(), goal }));
  }
  return { tuning: await tuningOf(world), recall: await recallOf(world), calls, world, plan, target };
}

const tuningOf = (world: World): Promise<Tuning | undefined> =>
  getJson(world.objects, runKeys('r1').tuning, tuningSchema);
const recallOf = (world: World): Promise<Recall | undefined> =>
  getJson(world.objects, runKeys('r1').recall, recallSchema);

describe('tuning', () => {
  test('raises efSearch until the lower end holds, and chooses the fastest that does; the store keeps nothing', async () => {
    const { tuning, recall } = await tuned({ millis: 0.5 });
    const [set] = tuning?.sets ?? [];
    expect(set?.curve[0]?.settings).toEqual({ efSearch: 100 });
    expect(set?.curve.slice(0, 3).map(({ settings }) => settings.efSearch)).toEqual([100, 200, 400]);
    expect(set?.curve.every(({ queries }) => queries === 120)).toBe(true);
    const holding = set?.curve.filter(({ low }) => low >= 0.95) ?? [];
    // What a search takes is the machine's matter: of those about as fast as the fastest any may be chosen.
    const fastest = Math.min(...holding.map(({ p50 }) => p50));
    const fast = holding.filter(({ p50 }) => p50 <= fastest * 1.05).map(({ settings }) => settings);
    expect(fast).toContainEqual(set?.chosen);
    expect(Math.min(...holding.map(({ settings }) => settings.efSearch ?? 0))).toBeGreaterThan(250);
    expect(set).toMatchObject({ kept: false, how: `send ${JSON.stringify(set?.chosen)} with each search` });
    expect(tuning).toMatchObject({ done: true, measuring: false });
    expect(recall?.sets[0]?.outcome).toBe('failed');
  });

  test('goes on with what it has seen when its time ends, and sees the same', async () => {
    const atOnce = await tuned();
    const inParts = await tuned({}, {}, { deadline: () => nearAfter(50) });
    expect(inParts.calls).toBeGreaterThan(5);
    const seen = ({ tuning }: Tuned) =>
      tuning?.sets[0]?.curve.map(({ settings, mean, low, queries }) => ({ settings, mean, low, queries }));
    expect(seen(inParts)).toEqual(seen(atOnce));
    expect(inParts.tuning?.underWay).toBeUndefined();
  });

  test('has nothing to do where the goal holds, where the event asks for none, or where the target heeds nothing', async () => {
    expect((await tuned({ efSearch: 320 })).tuning?.sets).toEqual([]);
    expect((await tuned({}, { tune: false })).tuning).toBeUndefined();
    const deaf = (await tuned({ tuning: { heeds: {} } })).tuning?.sets[0];
    expect(deaf).toMatchObject({ curve: [], chosen: null, kept: false });
    expect(deaf?.how).toMatch(/heeds no setting/);
  });

  test('changes nothing where no setting holds the goal, and says the best it has seen', async () => {
    const { tuning } = await tuned({ reach: ({ efSearch = 0 }) => (efSearch > 100 ? 0.6 : 0.3), keeps: true });
    expect(tuning?.sets[0]).toMatchObject({ chosen: null, kept: false });
    expect(tuning?.sets[0]?.how).toMatch(
      /^No setting that was tried holds 95.00%; the best is efSearch \d+: at least 5\d/,
    );
  });

  test('says that more queries are needed where those asked could not show the goal without a miss', async () => {
    const { tuning } = await tuned({}, { tune: false }, { goal: { atLeast: 0.999 } });
    expect(tuning?.sets[0]).toMatchObject({ chosen: null });
    expect(tuning?.sets[0]?.how).toMatch(/Its mean of 100\.00% does, but 120 queries cannot show it: ask more\.$/);
  });

  test('takes no setting that is too slow for the limit given', async () => {
    const slow = await tuned({ millis: 1 }, { tune: false }, { goal: { maxP95Ms: 0.2 } });
    expect(slow.tuning?.sets[0]?.curve.some(({ low }) => low >= 0.95)).toBe(true);
    expect(slow.tuning?.sets[0]).toMatchObject({ chosen: null });
    expect(slow.tuning?.sets[0]?.how).toMatch(/holds 95.00% within 0.20 ms/);
  });

  test('takes the goal of the command line in place of the event', async () => {
    const { tuning } = await tuned({ millis: 0.5 }, { tune: false }, { goal: { atLeast: 0.6 } });
    const set = tuning?.sets[0];
    expect(set).toMatchObject({ atLeast: 0.6 });
    const holding = set?.curve.filter(({ low }) => low >= 0.6).map(({ settings }) => settings) ?? [];
    expect(holding).toContainEqual(set?.chosen);
    expect(Math.min(...holding.map(({ efSearch = 0 }) => efSearch))).toBeLessThan(280);
  });

  test('cut off under another goal is begun anew, so that neither its points nor its choice are taken for this one', async () => {
    const { world, plan, target } = await tuned({}, {}, { goal: { atLeast: 0.6 } });
    const manifest = await readManifest(world.objects, 'r1');
    const input = { ...world, target, plan, manifest };
    await tuneSearch({ ...input, deadline: nearAfter(30), goal: { atLeast: 0.7, maxP95Ms: 9000 } });
    expect(await tuningOf(world)).toMatchObject({ done: false, sets: [{ atLeast: 0.7 }] });
    await tuneSearch({ ...input, deadline: noDeadline });
    expect(await tuningOf(world)).toMatchObject({ done: true, goal: {}, sets: [{ atLeast: 0.95 }] });
  });

  test('chooses one setting for all sets of a vector: the larger', async () => {
    const sets = [
      { name: 'easy', sample: 150, atLeast: 0.5 },
      { name: 'hard', sample: 120 },
    ];
    const { tuning } = await tuned({ millis: 0.5 }, { sets });
    const [easy, hard] = tuning?.sets ?? [];
    expect([easy?.set, hard?.set]).toEqual(['easy', 'hard']);
    expect(easy?.chosen).toEqual(hard?.chosen);
    expect(easy?.curve.some(({ settings }) => settings.efSearch === hard?.chosen?.efSearch)).toBe(true);
  });

  test('keeps what the store can keep, measures recall anew with it, and the set passes', async () => {
    const { tuning, recall } = await tuned({ keeps: true });
    expect(tuning).toMatchObject({
      done: true,
      measuring: true,
      sets: [{ kept: true, how: 'kept by the collection' }],
    });
    expect(recall?.sets[0]).toMatchObject({ outcome: 'passed', settings: tuning?.sets[0]?.chosen });
    expect(recall?.sets[0]?.target).toMatchObject({ measured: true, queries: 120 });
  });

  test('whose run is killed before its report goes on from what was measured with the kept settings', async () => {
    const { recall, world, plan, target } = await tuned({ keeps: true });
    const before = target.searches();
    const manifest = await readManifest(world.objects, 'r1');
    const again = await measureRecall({ ...world, target, plan, manifest });
    expect(again.done && again.recall).toEqual(recall);
    expect(target.searches()).toBe(before);
  });

  test('sends on what the application sends, beside what the store keeps', async () => {
    const { tuning, recall, target } = await tuned(
      {
        keeps: true,
        tuning: { heeds: { rescore: true }, isQuantized: true },
        reach: ({ efSearch, rescore }) => (efSearch === 90 && rescore === true ? 1 : 0.3),
      },
      {},
      { search: { efSearch: 90 } },
    );
    expect(tuning?.sets[0]).toMatchObject({ kept: true, chosen: { efSearch: 90, rescore: true } });
    expect((await target.tuning('embedding')).current).toEqual({ efSearch: 100, rescore: true });
    expect(recall?.sets[0]).toMatchObject({ outcome: 'passed', settings: { efSearch: 90, rescore: true } });
  });

  test('keeps nothing in the place of a setting that the application sends itself', async () => {
    const { tuning } = await tuned({ keeps: true }, {}, { search: { efSearch: 90 } });
    expect(tuning?.sets[0]?.curve[0]?.settings).toEqual({ efSearch: 90 });
    expect(tuning?.sets[0]).toMatchObject({ kept: false });
    expect(tuning?.sets[0]?.how).toMatch(/The application sends efSearch with each search/);
  });
});
