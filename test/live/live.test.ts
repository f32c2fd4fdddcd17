import { describe, expect, test } from '@jest/globals';
import { rollBack } from '../../lib/cutover/cutover.ts';
import { flagFinished, flagOnSource, flagOnTarget } from '../../lib/cutover/cutover-flag.ts';
import type { FlagStore } from '../../lib/cutover/flag.ts';
import { readMoves } from '../../lib/cutover/moves.ts';
import { flagPointer } from '../../lib/cutover/pointer.ts';
import { parseEvent } from '../../lib/event.ts';
import { runKeys } from '../../lib/keys.ts';
import { beginLive } from '../../lib/live/live.ts';
import { liveSchema } from '../../lib/live/live-files.ts';
import { getJson, type ObjectStore } from '../../lib/objects.ts';
import { type PlanInput, planRun } from '../../lib/plan.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeWorld, plan } from '../world.ts';

/** A planned live run, and a clock that a test moves on: `seconds`. */
async function planned(live: unknown = true) {
  const world = await makeWorld({ event: { live } });
  const made = await plan(world);
  const clock = { seconds: 0 };
  const now = () => new Date(Date.UTC(2026, 0, 1) + clock.seconds * 1000);
  const begin = (parts: { flags?: FlagStore; objects?: ObjectStore } = {}) =>
    beginLive({ plan: made, objects: world.objects, flags: world.flags, now, ...parts });
  const flag = () => world.flags.read('articles2');
  const noted = () => getJson(world.objects, runKeys('r1').live, liveSchema);
  return { ...world, plan: made, clock, now, begin, flag, noted };
}

const fails = async (): Promise<never> => {
  throw new Error('killed');
};

describe('the live writes', () => {
  test('begin with a flag that sends writes to both sides and readers to the source, and are settled when every client knows', async () => {
    const run = await planned();
    expect(await run.begin()).toEqual({ done: false, detail: expect.stringContaining('00:00:15.000Z') });
    expect(await run.flag()).toEqual({
      active: 'memory:articles',
      candidate: 'memory:articles2',
      weight: 0,
      shadow: 0,
      writes: ['memory:articles', 'memory:articles2'],
      run: 'r1',
    });
    run.clock.seconds = 14;
    expect(await run.begin()).toMatchObject({ done: false });
    run.clock.seconds = 15;
    expect(await run.begin()).toEqual({ done: true, detail: '' });
    expect((await readMoves(run.objects, 'r1')).map(({ action }) => action)).toEqual(['double']);
  });

  test('wait as long as the event says', async () => {
    const run = await planned({ settleSeconds: 0 });
    expect(await run.begin()).toMatchObject({ done: true });
  });

  test('count the time to see the flag from when it can be seen, however long it took to write it', async () => {
    const run = await planned();
    const write: FlagStore['write'] = async (name, flag) => {
      run.clock.seconds += 60;
      await run.flags.write(name, flag);
    };
    await run.begin({ flags: { ...run.flags, write } });
    expect(await run.noted()).toMatchObject({ settledAt: '2026-01-01T00:01:15.000Z' });
  });

  test('killed before the flag is written are begun by the next call, and what the target may hold is already noted', async () => {
    const run = await planned();
    await expect(run.begin({ flags: { ...run.flags, write: fails } })).rejects.toThrow('killed');
    expect(await run.noted()).toMatchObject({ settledAt: null });
    run.clock.seconds = 100;
    expect(await run.begin()).toMatchObject({ done: false });
    expect(await run.noted()).toMatchObject({ settledAt: '2026-01-01T00:01:55.000Z' });
  });

  test('killed between the flag and the word of it give every client the whole time again, and move nothing twice', async () => {
    const run = await planned();
    let puts = 0;
    const put: ObjectStore['put'] = async (key, ...rest) => {
      if (key === runKeys('r1').live && ++puts === 2) await fails();
      await run.objects.put(key, ...rest);
    };
    await expect(run.begin({ objects: { ...run.objects, put } })).rejects.toThrow('killed');
    run.clock.seconds = 100;
    expect(await run.begin()).toMatchObject({ done: false });
    expect(await run.noted()).toMatchObject({ settledAt: '2026-01-01T00:01:55.000Z' });
    expect(await readMoves(run.objects, 'r1')).toHaveLength(1);
  });

  test.each([
    [
      'in the middle of a canary',
      (run: Awaited<ReturnType<typeof planned>>) => flagOnSource(run.plan, { weight: 10, shadow: 5 }),
    ],
    ['after the cutover', (run: Awaited<ReturnType<typeof planned>>) => flagOnTarget(run.plan)],
  ])('of a run that is started again %s leave readers where they are', async (_, flagOf) => {
    const run = await planned();
    await run.begin();
    await run.flags.write('articles2', flagOf(run));
    const before = await run.flag();
    run.clock.seconds = 500;
    expect(await run.begin()).toMatchObject({ done: true });
    expect(await run.flag()).toEqual(before);
  });

  test('are waited for anew where the flag was finished meanwhile, since clients wrote one side alone', async () => {
    const run = await planned();
    await run.begin();
    await run.flags.write('articles2', flagFinished('memory:articles'));
    run.clock.seconds = 500;
    expect(await run.begin()).toMatchObject({ done: false });
    expect(await run.flag()).toMatchObject({ active: 'memory:articles', run: 'r1' });
  });

  test('are refused where the target alone is written: readers would go back to a source that is old', async () => {
    const run = await planned();
    await run.flags.write('articles2', flagFinished('memory:articles2'));
    await expect(run.begin()).rejects.toMatchObject({ name: 'InvalidEvent' });
    expect(await run.flag()).toMatchObject({ active: 'memory:articles2' });
    expect(await readMoves(run.objects, 'r1')).toEqual([]);
  });

  test('are refused while another run moves the flag', async () => {
    const run = await planned();
    await run.flags.write('articles2', { ...flagOnSource(run.plan), run: 'r0' });
    await expect(run.begin()).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('alone are no cutover: there is nothing to take back', async () => {
    const run = await planned();
    await run.begin();
    const pointer = flagPointer(run.plan, run.flags);
    await expect(rollBack({ ...run, pointer })).rejects.toMatchObject({ name: 'NotFound' });
  });
});

describe('the plan of a live run', () => {
  const planOf = async (event: Record<string, unknown>, parts: Partial<PlanInput> = {}) => {
    const world = await makeWorld({ event: { live: true } });
    const changed = parseEvent({ ...world.event, ...event });
    const kinds = { sourceKind: memory, targetKind: memory };
    return await planRun({ ...world, event: changed, run: 'r1', ...kinds, now: new Date(), ...parts });
  };

  test('refuses a target that can only replace records: an old shard would be put over a newer value', async () => {
    const files = {
      ...memory,
      title: 'Files',
      capabilities: { ...memory.capabilities, insertOnly: false, deletes: false },
    };
    const message = expect.stringMatching(
      /Files cannot insert only the records that are absent, nor delete records by id.*leave "live" out.*target store that can/,
    );
    await expect(planOf({}, { targetKind: files })).rejects.toMatchObject({ name: 'Incompatible', message });
    expect((await planOf({ live: false }, { targetKind: files })).run).toBe('r1');
  });

  test('refuses sides that the flag has one name for, as two servers with a collection of the same name', async () => {
    const target = { store: 'memory', connection: { path: 'elsewhere' }, collection: 'articles' };
    await expect(planOf({ target })).rejects.toMatchObject({ name: 'InvalidEvent' });
    await expect(planOf({ target, live: false, cutover: { canary: {} } })).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
    expect((await planOf({ target, live: false })).run).toBe('r1');
  });

  test('says that extra records of a shared target are not looked for', async () => {
    const world = await makeWorld();
    const { notes } = await planOf({ target: { ...world.event.target, into: 'existing' } });
    expect(notes).toContainEqual(expect.stringContaining('are not looked for'));
    expect((await planOf({})).notes).not.toContainEqual(expect.stringContaining('not looked for'));
  });
});
