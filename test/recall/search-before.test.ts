import { describe, expect, test } from '@jest/globals';
import { forgetFinished, forgetVerdict } from '../../lib/forget.ts';
import { beforeHash, chosenByHash, queriesPerBefore, readBeforePart } from '../../lib/index-change/before-files.ts';
import { searchBefore } from '../../lib/index-change/search-before.ts';
import { beforeKey, runKeys } from '../../lib/keys.ts';
import { type Deadline, handOverMs } from '../../lib/log.ts';
import { readManifest } from '../../lib/manifest.ts';
import { chooseQueries, readQueries } from '../../lib/recall/queries.ts';
import { measureRecall } from '../../lib/recall/recall.ts';
import type { Manifest, Plan } from '../../lib/run-files.ts';
import type { IndexTarget } from '../../lib/stores/index-port.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { findTruth, ids, prepare, searching } from '../recall-world.ts';
import { makeWorld, noDeadline, type World } from '../world.ts';

/** What the old index answers is asked before it is replaced, once; and that is what it is measured by. */

const hnsw = (m: number) => ({ index: { kind: 'hnsw' as const, m, efConstruction: 64 } });
const recall = { k: 5, queries: 120, depths: [1], atLeast: 0.5 };

interface Ready {
  readonly world: World;
  readonly plan: Plan;
  readonly manifest: Manifest;
}

/** A run up to its sealed manifest, as if it replaced an index; `attempt` as of a second start. */
async function makeRun(change: Record<string, unknown> = {}): Promise<Ready> {
  const world = await makeWorld({ records: makeBatch({ ids: ids(200) }), event: { validate: { recall, ...change } } });
  const loaded = await prepare(world);
  const plan: Plan = {
    ...loaded,
    index: { vector: 'body', from: hnsw(4), to: hnsw(16), how: 'instead', oldAsked: 'before', advice: [] },
  };
  return { world, plan, manifest: await readManifest(world.objects, plan.run) };
}

/** The source as it is opened for such a run, counting the searches that are no warm-ups. */
function oldIndex({ source }: World, used: 'old' | 'new' = 'old'): { store: Store; asked: string[] } {
  const asked: string[] = [];
  const watched = searching(source, async (request) => {
    asked.push(`${request.query.join()} ${request.k}`);
    return await source.search(request);
  });
  const never = async (): Promise<never> => {
    throw new Error('not asked here');
  };
  const indexes: IndexTarget = { now: never, check: never, sizes: async () => ({}), used: async () => used };
  return { store: { ...watched, indexes, indexProgress: async () => ({ done: true }) }, asked };
}

const ask = (ready: Ready, store: Store, deadline: Deadline = noDeadline): Promise<{ readonly done: boolean }> =>
  searchBefore({ ...ready, objects: ready.world.objects, source: store, deadline, waitMs: 1 });

const bodies = async ({ world: { objects }, plan: { run } }: Ready): Promise<readonly string[]> => {
  const keys = await objects.list(runKeys(run).before);
  return Promise.all(keys.map(async (key) => new TextDecoder().decode(await objects.get(key))));
};

describe('the old index', () => {
  test('is asked for every query at every depth, and not again by a second call', async () => {
    const ready = await makeRun();
    const { store, asked } = oldIndex(ready.world);
    expect(await ask(ready, store)).toEqual({ done: true });
    const { queries } = await readQueries(ready.world.objects, 'r1');
    // Twenty warm ups, and each query at 5 and at 1.
    expect(asked).toHaveLength(20 + 2 * queries.length);
    expect(await ready.world.objects.list(runKeys('r1').before)).toHaveLength(Math.ceil(120 / queriesPerBefore));
    const first = await readBeforePart(ready.world.objects, 'r1', 0);
    expect(first?.answers[0]?.searches.map(({ k, hits }) => [k, hits.length])).toEqual([
      [5, 5],
      [1, 1],
    ]);
    expect(first?.of).toBe(beforeHash(ready.plan, (await readQueries(ready.world.objects, 'r1')).of));
    const kept = await bodies(ready);
    expect(await ask(ready, store)).toEqual({ done: true });
    expect(asked).toHaveLength(20 + 2 * queries.length);
    expect(await bodies(ready)).toEqual(kept);
  });

  test('that takes several calls is gone on with where it was left, a query a call at least', async () => {
    const ready = await makeRun();
    const { store } = oldIndex(ready.world);
    const late = { remainingMs: () => handOverMs - 1 };
    expect(await ask(ready, store, late)).toEqual({ done: false });
    expect(await ask(ready, store, late)).toEqual({ done: false });
    expect((await readBeforePart(ready.world.objects, 'r1', 0))?.answers).toHaveLength(2);
    const half = await bodies(ready);
    expect(await ask(ready, store)).toEqual({ done: true });
    expect((await readBeforePart(ready.world.objects, 'r1', 0))?.answers).toHaveLength(queriesPerBefore);
    const two = JSON.parse(half[0] ?? '').answers;
    expect(JSON.parse((await bodies(ready))[0] ?? '').answers.slice(0, 2)).toEqual(two);
  });

  test('is not overwritten by what the new one answers: a run that died as it built is started again', async () => {
    const ready = await makeRun();
    await ask(ready, oldIndex(ready.world).store);
    const kept = await bodies(ready);
    const { store, asked } = oldIndex(ready.world, 'new');
    const again = { ...ready, plan: { ...ready.plan, attempt: 2 } };
    expect(await ask(again, store)).toEqual({ done: true });
    expect(asked).toEqual([]);
    expect(await bodies(ready)).toEqual(kept);
  });

  test('that is gone is not asked for other queries, which the report then says; what it answered before stays', async () => {
    const ready = await makeRun();
    await ask(ready, oldIndex(ready.world).store);
    const kept = await bodies(ready);
    const other: Plan = {
      ...ready.plan,
      attempt: 2,
      event: { ...ready.plan.event, validate: { ...ready.plan.event.validate, seed: 99 } },
    };
    await findTruth(ready.world, other);
    const { store, asked } = oldIndex(ready.world, 'new');
    expect(await ask({ ...ready, plan: other }, store)).toEqual({ done: true });
    expect(asked).toEqual([]);
    expect(await bodies(ready)).toEqual(kept);
    const outcome = await measureRecall({ ...ready, ...ready.world, plan: other, source: store });
    expect(outcome.done && outcome.recall.sets[0]?.source).toEqual({
      measured: false,
      reason: expect.stringMatching(/replaced before these queries were chosen/),
    });
    expect(outcome.done && outcome.recall.sets[0]?.target.measured).toBe(true);
  });

  test('that was taken back by an earlier try is asked once it is built again', async () => {
    const ready = await makeRun();
    const { store, asked } = oldIndex(ready.world);
    let looks = 0;
    const building = { ...store, indexProgress: async () => ({ done: ++looks > 3 }) };
    const again = { ...ready, plan: { ...ready.plan, attempt: 2 } };
    expect(await ask(again, building, { remainingMs: () => (looks < 2 ? 900_000 : 0) })).toEqual({ done: false });
    expect(asked).toEqual([]);
    expect(await ask(again, building)).toEqual({ done: true });
    expect(asked.length).toBeGreaterThan(100);
  });

  test('keeps its answers when a validation is done anew', async () => {
    const ready = await makeRun();
    await ask(ready, oldIndex(ready.world).store);
    const kept = await bodies(ready);
    await forgetFinished(ready.world.objects, 'r1');
    await forgetVerdict(ready.world.objects, 'r1');
    expect(await bodies(ready)).toEqual(kept);
  });

  test('is measured by what it answered: it may find nothing by then', async () => {
    const ready = await makeRun();
    const { store } = oldIndex(ready.world);
    // The old index misses the nearest of every second query.
    let at = 0;
    const weak = searching(store, async (request) => {
      const hits = await store.search(request);
      return request.k === 1 || at++ % 2 === 0 ? hits : hits.slice(1);
    });
    await ask(ready, { ...weak, indexes: store.indexes as IndexTarget });
    const gone = searching(store, async () => {
      throw new Error('the old index is gone');
    });
    const outcome = await measureRecall({
      ...ready,
      ...ready.world,
      source: { ...gone, indexes: store.indexes as IndexTarget },
    });
    const [entry] = outcome.done ? outcome.recall.sets : [];
    expect(entry?.source.measured && entry.source.queries).toBe(120);
    const mean = entry?.source.measured ? entry.source.mean : 1;
    expect(mean).toBeLessThan(1);
    expect(mean).toBeGreaterThan(0.8);
    expect(entry?.target.measured && entry.target.mean).toBe(1);
    expect(entry?.source.measured && entry.source.latency.p50).toBeGreaterThan(0);
  });
});

describe('queries', () => {
  test('that the old index was asked stay, though the file that gave them has changed since', async () => {
    const file = 's3://team/queries.jsonl';
    const sets = [{ name: 'given', file, atLeast: null }];
    const line = (first: number): string => JSON.stringify({ vector: [first, 0.5, 0.25, 1] });
    const lines = { text: Array.from({ length: 5 }, (_, at) => line(at)).join('\n') };
    const files = { read: async () => new TextEncoder().encode(lines.text) };
    const ready = await makeRun();
    const event = {
      ...ready.plan.event,
      validate: { ...ready.plan.event.validate, recall: { ...recall, tune: false, sets } },
    };
    const plan = { ...ready.plan, event } as Plan;
    const { objects } = ready.world;
    const choose = () => chooseQueries({ plan, manifest: ready.manifest, objects, files });
    await choose();
    const { of } = await readQueries(objects, 'r1');
    await ask({ ...ready, plan }, oldIndex(ready.world).store);
    lines.text = line(77);
    expect(await choose()).toEqual({ queries: 5 });
    expect((await readQueries(objects, 'r1')).of).toBe(of);
    // Another start that asks for something else has its queries chosen anew.
    const other = { ...plan, event: { ...event, validate: { ...event.validate, seed: 7 } } } as Plan;
    expect(chosenByHash(other, ready.manifest)).not.toBe(chosenByHash(plan, ready.manifest));
    expect(await chooseQueries({ plan: other, manifest: ready.manifest, objects, files })).toEqual({ queries: 1 });
    expect(await objects.get(beforeKey('r1', 0))).toBeDefined();
  });
});
