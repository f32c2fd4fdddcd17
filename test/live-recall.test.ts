import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { denseVector, selectRecords } from '../lib/batch.ts';
import { distanceBetween } from '../lib/distance.ts';
import { meets } from '../lib/filter.ts';
import { readManifest } from '../lib/manifest.ts';
import { allowedAt, recallAt } from '../lib/recall/measures.ts';
import { readTruths, type Truth } from '../lib/recall/truths.ts';
import type { Plan } from '../lib/run-files.ts';
import { seededRandom } from '../lib/sample.ts';
import type { Store } from '../lib/stores/port.ts';
import { makeBatch } from './make.ts';
import { findTruth, measureAll } from './recall-world.ts';
import { load, makeWorld, type World } from './world.ts';

/** Recall of live runs as it is measured whole: random writes after the export. */

/** A live run that was loaded, with its truth, and then written to. */
async function writtenTo(seed: number, records: number, share: number, isFiltered: boolean) {
  const recall = {
    k: 10,
    queries: 60,
    atLeast: 0.5,
    sets: [{ name: 's', ...(isFiltered && { filter: { even: true } }) }],
  };
  const batch = makeBatch({ ids: Array.from({ length: records }, (_, i) => String(1000 + i)), seed });
  const world = await makeWorld({ records: batch, event: { live: true, validate: { recall } }, shardBytes: 2000 });
  const planned = await load(world);
  await findTruth(world, planned);
  const random = seededRandom(seed);
  const changes = makeBatch({ ids: [...batch.ids, ...batch.ids.map((id) => `new${id}`)], seed: seed + 1 });
  for (let at = 0; at < changes.count; at++) {
    if (random() > share) continue;
    const id = changes.ids[at] ?? '';
    const isDeleted = at < records && random() < 0.5;
    for (const side of [world.source, world.target]) {
      if (isDeleted) await side.delete([id]);
      else await side.write(selectRecords(changes, [at]), { mode: 'upsert' });
    }
  }
  return { world, planned, random };
}

const shapes = fc.record({
  seed: fc.nat(),
  records: fc.integer({ min: 60, max: 250 }),
  share: fc.constantFrom(0.02, 0.2, 0.5),
  isFiltered: fc.boolean(),
});

/** What each query finds in the target by reading everything, held against the source by reading everything. */
async function deserved({ source, target, objects }: World, planned: Plan): Promise<number> {
  const manifest = await readManifest(objects, planned.run);
  const truths = await readTruths({ plan: planned, manifest, objects });
  const rank = async (store: Store, truth: Truth): Promise<{ id: string; distance: number }[]> => {
    const found: { id: string; distance: number }[] = [];
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1e9 })) {
      const column = batch.vectors.get('embedding');
      if (column?.kind !== 'dense') throw new Error('no vector');
      batch.ids.forEach((id, at) => {
        if (!meets(truth.filter, batch.payloads[at] ?? '{}')) return;
        found.push({ id, distance: distanceBetween.cosine(truth.values, denseVector(column, at)) });
      });
    }
    return found.sort((a, b) => a.distance - b.distance);
  };
  let sum = 0;
  for (const truth of truths) {
    const now = await rank(source, truth);
    const depth = Math.min(10, now.length);
    const known = new Map(now.map(({ id, distance }) => [id, distance]));
    const answered = (await rank(target, truth)).slice(0, depth);
    const distances = answered.map(({ id }) => known.get(id) ?? Number.POSITIVE_INFINITY);
    sum += depth === 0 ? 1 : recallAt(distances, depth, allowedAt(now, depth, 'cosine'));
  }
  return sum / truths.length;
}

test('what was answered before a run was started again is asked anew, because writes went on since', async () => {
  const { world, planned } = await writtenTo(7, 100, 0.2, false);
  const counted = (store: Store) => {
    const state = { searches: 0 };
    const search: Store['search'] = async (request) => {
      state.searches++;
      return await store.search(request);
    };
    return { store: { ...store, search }, state };
  };
  await measureAll(world, planned);
  const same = counted(world.target);
  await measureAll(world, planned, { target: same.store });
  expect(same.state.searches).toBe(0);
  const again = counted(world.target);
  await measureAll(world, { ...planned, attempt: 2 }, { target: again.store });
  expect(again.state.searches).toBeGreaterThanOrEqual(60);
});

describe('whatever is written after the export', () => {
  test('recall is 1 on both sides, exactly, where both have it and search exactly', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async ({ seed, records, share, isFiltered }) => {
        const { world, planned } = await writtenTo(seed, records, share, isFiltered);
        const [set] = (await measureAll(world, planned)).sets;
        for (const side of [set?.source, set?.target]) expect(side).toMatchObject({ mean: 1, short: 0, worst: [] });
        if (share > 0.1) expect(set?.note).toMatch(/Near \d+ quer.* records were written since the export: /);
      }),
      { numRuns: 20, seed: 5 },
    );
  });

  test('a target that lost records gets the recall that it deserves, exactly, and the source 1', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async ({ seed, records, share, isFiltered }) => {
        const { world, planned, random } = await writtenTo(seed, records, share, isFiltered);
        const { source, target } = world;
        // Lost, brought back, and left as they were.
        for (const id of Array.from({ length: records }, (_, i) => String(1000 + i))) {
          const at = random();
          if (at < 0.1) await target.delete([id]);
          else if (at < 0.15) await source.delete([id]);
          else if (at < 0.2) await target.write(makeBatch({ ids: [id], seed: seed + Number(id) }), { mode: 'upsert' });
        }
        const expected = await deserved(world, planned);
        const [set] = (await measureAll(world, planned)).sets;
        expect(set?.source).toMatchObject({ mean: 1 });
        expect(set?.target).toMatchObject({ mean: expect.closeTo(expected, 12) });
        expect(expected).toBeLessThan(1);
      }),
      { numRuns: 20, seed: 6 },
    );
  });
});
