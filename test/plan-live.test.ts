import { describe, expect, test } from '@jest/globals';
import { finish } from '../lib/cutover/cutover.ts';
import { logMove } from '../lib/cutover/moves.ts';
import { Incompatible } from '../lib/errors.ts';
import { runKeys } from '../lib/keys.ts';
import { beginLive } from '../lib/live/live.ts';
import { sealManifest } from '../lib/manifest.ts';
import { planRun } from '../lib/plan.ts';
import { memory } from '../lib/stores/memory.ts';
import { makeBatch, makeSchema } from './make.ts';
import { exportAll, importAll, load, makeWorld, plan, type World } from './world.ts';

async function planOnly(world: World, event = world.event) {
  return await planRun({ ...world, event, run: 'r1', sourceKind: memory, targetKind: memory, now: new Date() });
}

describe('a live run', () => {
  const live = { event: { live: { settleSeconds: 0 } }, shardBytes: 700 };

  /** The run up to its double writes. */
  async function begun(parts = live) {
    const world = await makeWorld(parts);
    const planned = await plan(world);
    await beginLive({ ...world, plan: planned, now: () => new Date() });
    return { world, planned };
  }

  async function write(
    world: World,
    ids: readonly string[],
    sides: readonly World['target'][] = [world.source, world.target],
  ) {
    const batch = makeBatch({ ids, seed: 5 });
    for (const side of sides) await side.write(batch, { mode: 'upsert' });
  }

  const again = (world: World) =>
    planRun({ ...world, run: 'r1', sourceKind: memory, targetKind: memory, now: new Date(), lookAgainMs: 0 });
  const loadedOf = async ({ objects }: World): Promise<number> => (await objects.list(runKeys('r1').loaded)).length;

  test('says what holds while both sides are written to', async () => {
    const { planned } = await begun();
    expect(planned.guarantee).toMatch(/both sides.*inserts only what the target lacks.*counted as mended/);
    expect(planned.guarantee).not.toMatch(/may be missing/);
  });

  test('is refused before anything is written when the target server is too old to insert only what is absent', async () => {
    const world = await makeWorld(live);
    const checkInserts = async (): Promise<void> => {
      throw new Incompatible('it is 1.16, and this needs 1.17');
    };
    const target = { ...world.target, checkInserts };
    await expect(again({ ...world, target })).rejects.toMatchObject({ name: 'Incompatible' });
    expect(await world.objects.list('')).toEqual([]);
    await expect(again({ ...world, target, event: { ...world.event, live: false } })).resolves.toMatchObject({
      run: 'r1',
    });
  });

  test('still refuses a target that holds records when it is started for the first time', async () => {
    const world = await makeWorld(live);
    await world.target.prepare(makeSchema());
    await write(world, ['1'], [world.target]);
    await expect(again(world)).rejects.toMatchObject({ name: 'TargetNotEmpty' });
    // Planned while the target was empty, and killed before anybody wrote to it for this run.
    const other = await makeWorld(live);
    await plan(other);
    await write(other, ['1'], [other.target]);
    await expect(again(other)).rejects.toMatchObject({ name: 'TargetNotEmpty' });
  });

  test('goes on though its application has written to the target and no shard was exported yet', async () => {
    const { world } = await begun();
    await write(world, ['1003', '9001']);
    await expect(again(world)).resolves.toMatchObject({ attempt: 2, hasLiveWrites: true, event: { live: {} } });
  });

  test('goes on though it was killed between the flag and its own note of it, because writers had seen the flag', async () => {
    const world = await makeWorld(live);
    const planned = await plan(world);
    const flags: World['flags'] = {
      ...world.flags,
      write: async (...args) => {
        await world.flags.write(...args);
        throw new Error('killed');
      },
    };
    await expect(beginLive({ ...world, flags, plan: planned, now: () => new Date() })).rejects.toThrow('killed');
    await write(world, ['9001']);
    await expect(again(world)).resolves.toMatchObject({ attempt: 2 });
  });

  /** Exported and loaded, in several shards. */
  async function loaded() {
    const { world, planned } = await begun();
    await exportAll(world, planned);
    await sealManifest({ plan: planned, objects: world.objects });
    await importAll(world, planned);
    const shards = await loadedOf(world);
    expect(shards).toBeGreaterThan(4);
    return { world, planned, shards };
  }

  /** The target dropped and made again with nothing in it. */
  async function empty({ target }: World) {
    await target.delete((await target.fetch(Array.from({ length: 100 }, (_, i) => String(1000 + i)))).ids);
    expect(await target.count()).toBe(0);
  }

  test('keeps its markers when it is started again, whatever was added, changed and deleted on both sides', async () => {
    const { world, shards } = await loaded();
    await write(world, ['1000', '1003', '1004', '10001', '9001']);
    for (const side of [world.source, world.target]) await side.delete(['1001', '1002', '1099']);
    await again(world);
    expect(await loadedOf(world)).toBe(shards);
  });

  test('loads a target anew that was emptied, though live writes came before it was started again', async () => {
    const { world } = await loaded();
    await empty(world);
    await write(world, ['1000', '1003', '1050', '9001']);
    const planned = await again(world);
    expect(await loadedOf(world)).toBe(0);
    await exportAll(world, { ...planned, shardBytes: 700 });
    await importAll(world, planned);
    expect(await world.target.count()).toBe(101);
    expect((await world.target.fetch(['1003'])).vectors).toEqual((await world.source.fetch(['1003'])).vectors);
  });

  test('loads it anew also when its application has written most of it again', async () => {
    const { world } = await loaded();
    await empty(world);
    const written = Array.from({ length: 100 }, (_, i) => String(1000 + i)).filter((_, i) => i % 5 > 0);
    await write(world, written);
    await again(world);
    expect(await loadedOf(world)).toBe(0);
  });

  test('loads one shard anew where the records of that one are gone', async () => {
    const { world, shards } = await loaded();
    await world.target.delete(['1000', '1001', '1002']);
    await again(world);
    expect(await loadedOf(world)).toBe(shards - 1);
  });

  test('takes a write that is between its two sides for no loss', async () => {
    const { world, shards } = await loaded();
    await write(world, ['10001'], [world.source]);
    const fetch: World['target']['fetch'] = async (ids) => {
      const found = await world.target.fetch(ids);
      await write(world, ['10001'], [world.target]);
      return found;
    };
    await again({ ...world, target: { ...world.target, fetch } });
    expect(await loadedOf(world)).toBe(shards);
  });

  test('stays live though the event it is started again with does not say so: its application goes on writing', async () => {
    const { world } = await loaded();
    await logMove(world.objects, 'r1', {
      at: new Date().toISOString(),
      action: 'cutover',
      kind: 'flag',
      name: 'f',
      from: 'a',
      to: 'b',
    });
    const event = { ...world.event, live: false as const };
    await expect(again({ ...world, event })).resolves.toMatchObject({ attempt: 2, event: { live: true } });
  });

  test('cannot be made of one that has exported while writes went to one side alone, or that was finished', async () => {
    const world = await makeWorld();
    await load(world);
    const asLive = { ...world, event: { ...world.event, live: true as const } };
    await expect(again(asLive)).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringMatching(/exported records while writes went to one side alone.*another run id/),
    });
    const { world: other, planned } = await loaded();
    const finished = { plan: planned, objects: other.objects, flags: other.flags, target: other.target };
    await finish({ ...finished, now: () => new Date(Date.now() + 1000) });
    await expect(again(other)).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringMatching(/was finished at .* alone; start a new run/),
    });
  });
});

describe('a run whose readers were moved', () => {
  const move = async (world: World, action: 'step' | 'cutover', kind: 'flag' | 'alias' = 'flag') =>
    await logMove(world.objects, 'r1', { at: new Date().toISOString(), action, kind, name: 'f', from: 'a', to: 'b' });

  test('is live when it is started again in the middle of a canary, because what was written since is in no shard', async () => {
    const world = await makeWorld({ event: { cutover: { canary: {} } } });
    await load(world);
    await move(world, 'step');
    await expect(planOnly(world)).resolves.toMatchObject({ event: { live: true }, hasLiveWrites: true });
    // And again, since the event that a person gives does not say so.
    await expect(planOnly(world)).resolves.toMatchObject({ attempt: 3, event: { live: true } });
  });

  test('is not live where its event asks for none and no canary: an application may write to the target alone', async () => {
    const world = await makeWorld();
    await load(world);
    await move(world, 'cutover');
    await expect(planOnly(world)).resolves.toMatchObject({ event: { live: false }, hasLiveWrites: true });
    const moved = await makeWorld({ event: { cutover: { canary: {} } } });
    await load(moved);
    await move(moved, 'cutover');
    await expect(planOnly(moved)).resolves.toMatchObject({ event: { live: false }, hasLiveWrites: true });
    const alias = await makeWorld();
    await load(alias);
    await move(alias, 'cutover', 'alias');
    await expect(planOnly(alias)).resolves.toMatchObject({ event: { live: false }, hasLiveWrites: false });
  });
});
