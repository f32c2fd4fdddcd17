import { describe, expect, test } from '@jest/globals';
import { StoreUnavailable } from '../lib/errors.ts';
import { answersKey, runKeys } from '../lib/keys.ts';
import { handOverMs } from '../lib/log.ts';
import { readManifest } from '../lib/manifest.ts';
import { getJson } from '../lib/objects.ts';
import { queriesPerPart } from '../lib/recall/answers.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import { type Recall, recallSchema } from '../lib/run-files.ts';
import type { Store } from '../lib/stores/port.ts';
import { makeBatch } from './make.ts';
import { ids, measureAll, prepare, searching } from './recall-world.ts';
import { makeWorld, nearAfter, type World } from './world.ts';

/** Recall outlasts a call, and a kill. */

const sets = [
  { name: 'all', sample: 120 },
  { name: 'even', sample: 60, filter: { even: true }, atLeast: 0.9 },
];
const event = { validate: { recall: { sets, depths: [1] } } };

const makeRun = () => makeWorld({ records: makeBatch({ ids: ids(200) }), event });

/** Counts the searches of a side beyond those that only warm it, by the query's first float and k. */
function counting(store: Store): { store: Store; asked: string[] } {
  const asked: string[] = [];
  const watched = searching(store, async (request) => {
    asked.push(`${request.query.join()} ${request.k}`);
    return await store.search(request);
  });
  return { store: watched, asked };
}

/** What was found, without how long it took. */
function found(recall: Recall): unknown {
  return JSON.parse(JSON.stringify(recall, (key, value) => (key === 'latency' ? undefined : value)));
}

const recallOf = async (world: World): Promise<Recall> =>
  (await getJson(world.objects, runKeys('r1').recall, recallSchema))!;

describe('recall that is measured', () => {
  test('in many calls is the same as in one', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    let calls = 1;
    for (; ; calls++) {
      const outcome = await measureRecall({ ...world, plan, manifest, deadline: nearAfter(40) });
      if (outcome.done) break;
      expect(await world.objects.get(runKeys('r1').recall)).toBeUndefined();
    }
    expect(calls).toBeGreaterThan(3);
    const other = await makeRun();
    expect(found(await recallOf(world))).toEqual(found(await measureAll(other, await prepare(other))));
    expect((await recallOf(world)).sets.map(({ target }) => target.measured && target.queries)).toEqual([120, 60]);
  });

  test('by calls that have no time at all still goes on by a query a call', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    const deadline = { remainingMs: () => handOverMs - 1 };
    for (let call = 0; call < 3; call++)
      expect(await measureRecall({ ...world, plan, manifest, deadline })).toEqual({ done: false });
    const part = JSON.parse(new TextDecoder().decode(await world.objects.get(answersKey('r1', 0))));
    expect(part.asked).toBe(3);
    expect(part.target.answers).toHaveLength(3);
  });

  test('by a call that is killed is asked again for one part at most', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    let left = 20 + 2 * 130;
    const dying = searching(world.target, async (request) => {
      // No fault that is waited out: the process is gone.
      if (left-- === 0) throw new Error('killed');
      return await world.target.search(request);
    });
    await expect(measureRecall({ ...world, target: dying, plan, manifest })).rejects.toThrow('killed');
    const { store, asked } = counting(world.target);
    await measureAll(world, plan, { target: store });
    const all = 2 * (120 + 60 + 20);
    const done = Math.floor(130 / queriesPerPart) * queriesPerPart;
    expect(asked.length).toBeLessThanOrEqual(all - 2 * done);
    expect((await recallOf(world)).sets.every(({ outcome }) => outcome === 'passed')).toBe(true);
  });

  test('once is not asked for again, unless what is asked has changed', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    await measureAll(world, plan);
    const again = counting(world.target);
    await measureAll(world, plan, { target: again.store });
    expect(again.asked).toEqual([]);
    const recall = { ...plan.event.validate.recall!, depths: [1, 20] };
    const deeper = { ...plan, event: { ...plan.event, validate: { ...plan.event.validate, recall } } };
    const manifest = await readManifest(world.objects, 'r1');
    // Other depths keep other neighbours, so the truth is another one too.
    await expect(measureRecall({ ...world, plan: deeper, manifest })).rejects.toMatchObject({ name: 'NotFound' });
    const goal = { ...plan.event.validate.recall!, search: { efSearch: 9 } };
    const tuned = { ...plan, event: { ...plan.event, validate: { ...plan.event.validate, recall: goal } } };
    const target = searching(again.store, ({ settings: _, ...request }) => again.store.search(request));
    await measureAll(world, tuned, { target });
    expect(again.asked.length).toBe(2 * (120 + 60 + 20));
  });

  test('before a side was set to be searched otherwise is asked again, since half of each would be neither', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    const setTo = (store: Store, efSearch: number): Store => ({
      ...store,
      tuning: async (vector) => ({ ...(await store.tuning(vector)), current: { efSearch } }),
    });
    const sides = { source: setTo(world.source, 40), target: setTo(world.target, 40) };
    await measureAll(world, plan, sides);
    for (const side of ['source', 'target'] as const) {
      sides[side] = setTo(world[side], 80);
      const { store, asked } = counting(sides.target);
      await measureAll(world, plan, { ...sides, target: store });
      expect(asked.length).toBe(2 * (120 + 60 + 20));
    }
  });

  test('passes on a store that is away, since it may come back', async () => {
    const world = await makeRun();
    const plan = await prepare(world);
    const manifest = await readManifest(world.objects, 'r1');
    let tries = 0;
    const away = searching(world.target, async (request) => {
      if (++tries === 3) throw new StoreUnavailable('the connection was reset');
      return await world.target.search(request);
    });
    const outcome = await measureRecall({ ...world, target: away, plan, manifest });
    expect(outcome.done && outcome.recall.sets[0]?.outcome).toBe('passed');
  });
});
