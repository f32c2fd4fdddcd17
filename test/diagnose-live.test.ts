import { expect, test } from '@jest/globals';
import { compareShard } from '../lib/compare/compare.ts';
import { findCauses } from '../lib/diagnose.ts';
import { runKeys } from '../lib/keys.ts';
import { getJson } from '../lib/objects.ts';
import { type TuneOptions, tuneSearch } from '../lib/recall/tune.ts';
import { recallSchema } from '../lib/run-files.ts';
import type { Store } from '../lib/stores/port.ts';
import { approximate, measure } from './approximate.ts';
import { makeBatch } from './make.ts';
import { load, makeWorld, noDeadline, type World } from './world.ts';

/** Live runs: what was written since the export is no cause of anything. */

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

interface Parts {
  /** What the application writes once all is loaded. */
  readonly write: (world: World) => Promise<void>;
  readonly target?: (store: Store) => Store;
  /** efSearch at which the target reaches every record; it is searched with 100. */
  readonly full?: number;
}

async function diagnose({ write, target = (store) => store, full = 100 }: Parts) {
  const recall = { queries: 120, k: 5, depths: [], tune: true };
  const made = await makeWorld({
    records: makeBatch({ ids: numbers(1000, 1399) }),
    event: { live: true, validate: { recall, spotCheck: 0 } },
  });
  const plan = await load(made);
  await write(made);
  const world = { ...made, target: approximate(target(made.target), { efSearch: 100, full, keeps: true }) };
  const manifest = await measure(world, plan);
  for (const { shard } of manifest.shards)
    await compareShard({ ...world, plan, shard, deadline: noDeadline, secondLookMs: 0 });
  const { causes } = await findCauses({ ...world, plan, manifest, deadline: noDeadline });
  const tuning: TuneOptions = { ...world, plan, manifest, deadline: noDeadline };
  const read = async () => (await getJson(made.objects, runKeys('r1').recall, recallSchema))?.sets[0];
  return { causes, world, tuning, read };
}

/** A third of the records deleted, some changed and some added, on both sides. */
async function writeMuch({ source, target }: World): Promise<void> {
  for (const side of [source, target]) {
    await side.delete(numbers(1100, 1219));
    await side.write(makeBatch({ ids: numbers(1300, 1339), seed: 9 }), { mode: 'upsert' });
    await side.write(makeBatch({ ids: numbers(5000, 5059), seed: 10 }), { mode: 'upsert' });
  }
}

/** These records are never seen in the target, whatever is written to it. */
const without =
  (lost: readonly string[]) =>
  (store: Store): Store => {
    const gone = new Set(lost);
    return {
      ...store,
      fetch: async (ids) => await store.fetch(ids.filter((id) => !gone.has(id))),
      search: async (request) => {
        const hits = await store.search({ ...request, k: request.k + gone.size });
        return hits.filter(({ id }) => !gone.has(id)).slice(0, request.k);
      },
    };
  };

test('where both sides have what was written nothing is missed, and no cause is looked for', async () => {
  const { causes, read } = await diagnose({ write: writeMuch });
  expect(causes).toEqual([]);
  expect(await read()).toMatchObject({ outcome: 'passed', source: { mean: 1 }, target: { mean: 1 } });
});

test('a stretch that was deleted on both sides is no missing range, though other records are missing', async () => {
  const others = [...numbers(1000, 1099), ...numbers(1220, 1399)];
  const lost = others.filter((_, at) => at % 2 === 0);
  const { causes } = await diagnose({ write: writeMuch, target: without(lost) });
  expect(causes.filter(({ check }) => check === 'compare')).toEqual([]);
  expect(causes.map(({ cause }) => cause)).not.toContain('range missing');
});

test('a stretch that the target alone has lost still is one', async () => {
  const { causes } = await diagnose({ write: writeMuch, target: without(numbers(1020, 1079)) });
  expect(causes[0]).toMatchObject({ cause: 'range missing', check: 'compare' });
  expect(causes[0]?.what).toMatch(/60 records from id 1020 to id 1079/);
  // What the application deleted is nothing that the target lacks: the lost records are all that is missed.
  const inRecall = causes.find(({ check }) => check === 'recall');
  const [lost = 0, found = 0] = (inRecall?.evidence.match(/\d+\.\d+(?=%)/g) ?? []).map(Number);
  expect(inRecall?.evidence).toMatch(/of the true neighbours are not in the target; recall@5/);
  expect(lost + found).toBeCloseTo(100, 1);
});

test('a search that is too narrow is the one cause of what it misses, and what was written is none', async () => {
  const { causes, tuning, read } = await diagnose({ write: writeMuch, full: 300 });
  expect(causes.map(({ cause }) => cause)).toEqual(['efSearch too low']);
  expect(causes[0]?.evidence).toMatch(/to 100\.00%\. An exact search finds 100\.00%\./);
  // And tuning finds the setting that mends it, since it goes by the same truth.
  expect(await read()).toMatchObject({ outcome: 'failed' });
  expect((await tuneSearch(tuning)).done).toBe(true);
  expect(await read()).toMatchObject({ outcome: 'passed', target: { mean: expect.any(Number) } });
});
