import { describe, expect, test } from '@jest/globals';
import { runKeys, tombstoneKey } from '../../lib/keys.ts';
import { appliedSchema } from '../../lib/live/live-files.ts';
import { applyTombstones } from '../../lib/live/tombstones.ts';
import { getJson, putJson } from '../../lib/objects.ts';
import type { Plan } from '../../lib/run-files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { load, makeWorld, nearAfter, noDeadline, type World } from '../world.ts';

async function moved(): Promise<{ world: World; plan: Plan }> {
  const world = await makeWorld({ event: { live: true } });
  return { world, plan: await load(world) };
}

/** As the client does: the tombstone, then the source; the target is left to the run. @param at when, by the client's clock */
async function deleted(world: World, ids: readonly string[], at = new Date().toISOString()): Promise<void> {
  await putJson(world.objects, tombstoneKey('r1', at), { at, ids });
  await world.source.delete(ids);
}

const apply = ({ world, plan }: { world: World; plan: Plan }, target = world.target, deadline = noDeadline) =>
  applyTombstones({ ...world, plan, target, deadline });
const applied = ({ objects }: World) => getJson(objects, runKeys('r1').tombstonesApplied, appliedSchema);
const held = async ({ target }: World, ids: readonly string[]) => [...(await target.fetch(ids)).ids].sort();

describe('tombstones', () => {
  test('take away what an old shard brought back, and leave what was written again since', async () => {
    const run = await moved();
    await deleted(run.world, ['1000', '1001', '1002']);
    await run.world.source.write(makeBatch({ ids: ['1001'], payloads: ['{"title":"again"}'] }), { mode: 'upsert' });
    expect(await apply(run)).toEqual({ done: true });
    expect(await held(run.world, ['1000', '1001', '1002', '1003'])).toEqual(['1001', '1003']);
    expect((await run.world.target.fetch(['1001'])).payloads).toEqual(['{"title":"again"}']);
  });

  test('that are more than a mirror takes are applied in parts, and those of one call of delete together', async () => {
    const ids = Array.from({ length: 2500 }, (_, at) => String(10_000 + at));
    const world = await makeWorld({ records: makeBatch({ ids }), event: { live: true } });
    const run = { world, plan: await load(world) };
    await deleted(world, ids.slice(0, 2400));
    for (const id of ids.slice(2400, 2410)) await deleted(world, [id]);
    const sizes: number[] = [];
    const target: Store = {
      ...world.target,
      delete: async (gone) => {
        sizes.push(gone.length);
        await world.target.delete(gone);
      },
    };
    await apply(run, target);
    expect(sizes.toSorted((a, b) => a - b)).toEqual([10, 400, 1000, 1000]);
    expect(await world.target.count()).toBe(90);
  });

  test('go on where a call handed over at its deadline, and none is applied twice', async () => {
    const run = await moved();
    for (const at of [0, 1, 2]) {
      const ids = Array.from({ length: 600 }, (_, i) => String(20_000 + at * 600 + i));
      await deleted(run.world, [...ids, `100${at}`], `2026-01-0${at + 1}T00:00:00.000Z`);
    }
    const calls: { done: boolean }[] = [];
    while (calls.at(-1)?.done !== true && calls.length < 10) calls.push(await apply(run, undefined, nearAfter(0)));
    expect(calls.map(({ done }) => done)).toEqual([false, false, false, true]);
    expect(await applied(run.world)).toMatchObject({ done: true, ids: 1803 });
    expect(await held(run.world, ['1000', '1001', '1002'])).toEqual([]);
  });

  test('that come while others are applied are applied too, also from a client whose clock is slow', async () => {
    const run = await moved();
    await deleted(run.world, ['1000']);
    let isFirst = true;
    const target: Store = {
      ...run.world.target,
      delete: async (gone) => {
        if (isFirst) await deleted(run.world, ['1001'], '2020-01-01T00:00:00.000Z');
        isFirst = false;
        await run.world.target.delete(gone);
      },
    };
    expect(await apply(run, target)).toEqual({ done: true });
    expect(await held(run.world, ['1000', '1001'])).toEqual([]);
  });

  test('that come without end do not keep the run: who deletes now deletes from both sides', async () => {
    const run = await moved();
    let at = 0;
    await deleted(run.world, [String(1000 + at)]);
    const target: Store = {
      ...run.world.target,
      delete: async (gone) => {
        await run.world.target.delete(gone);
        if (++at < 90) await deleted(run.world, [String(1000 + at)]);
      },
    };
    expect(await apply(run, target)).toEqual({ done: true });
    expect(at).toBeLessThan(10);
  });

  test('are applied again by another attempt, since its importers insert again', async () => {
    const run = await moved();
    await deleted(run.world, ['1000']);
    await apply(run);
    await run.world.target.write(makeBatch({ ids: ['1000'] }), { mode: 'insert' });
    await apply(run);
    expect(await held(run.world, ['1000'])).toEqual(['1000']);
    await apply({ ...run, plan: { ...run.plan, attempt: 2 } });
    expect(await held(run.world, ['1000'])).toEqual([]);
  });

  test('of another form fail the run: to pass one over could bring a record back', async () => {
    const run = await moved();
    await run.world.objects.put(tombstoneKey('r1', '2026-01-01T00:00:00.000Z'), '{"id":"1000"}');
    await expect(apply(run)).rejects.toMatchObject({ name: 'ShardDamaged' });
  });
});
