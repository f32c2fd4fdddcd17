import { writeFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { cutOver, finish, rollBack } from '../../lib/cutover/cutover.ts';
import { flagOnSource } from '../../lib/cutover/cutover-flag.ts';
import type { FlagStore } from '../../lib/cutover/flag.ts';
import { logMove, readMoves } from '../../lib/cutover/moves.ts';
import type { Notice } from '../../lib/cutover/notices.ts';
import { flagPointer, pointerOf } from '../../lib/cutover/pointer.ts';
import { rollBackFlag, rollBackRun } from '../../lib/cutover/roll-back.ts';
import { StoreUnavailable } from '../../lib/errors.ts';
import { memory } from '../../lib/stores/memory.ts';
import { load, makeWorld, plan } from '../world.ts';

async function loaded(event: Record<string, unknown> = {}) {
  const world = await makeWorld({ event });
  const plan = await load(world);
  const openTarget = async () => ({ store: world.target, kind: memory });
  const pointer = await pointerOf({ plan, flags: world.flags, openTarget });
  return { ...world, plan, pointer, passed: true, now: () => new Date('2026-01-01T00:00:00Z') };
}

describe('the routing flag', () => {
  test('is moved to the target and back, and the log says both', async () => {
    const input = await loaded();
    await cutOver(input);
    expect(await input.flags.read('articles2')).toEqual({
      active: 'memory:articles2',
      candidate: 'memory:articles',
      weight: 0,
      shadow: 0,
      writes: ['memory:articles', 'memory:articles2'],
      run: 'r1',
    });
    await rollBack(input);
    expect(await input.flags.read('articles2')).toEqual({
      active: 'memory:articles',
      candidate: 'memory:articles2',
      weight: 0,
      shadow: 0,
      writes: ['memory:articles', 'memory:articles2'],
      run: 'r1',
    });
    expect((await readMoves(input.objects, 'r1')).map(({ action, from, to }) => [action, from, to])).toEqual([
      ['cutover', 'memory:articles', 'memory:articles2'],
      ['rollback', 'memory:articles2', 'memory:articles'],
    ]);
  });

  test('cut over twice, and rolled back twice, is the same as once', async () => {
    const input = await loaded();
    expect(await cutOver(input)).toEqual(await cutOver(input));
    const { move } = await rollBack(input);
    expect(await rollBack(input)).toEqual({ move, isNew: false });
    expect(await readMoves(input.objects, 'r1')).toHaveLength(2);
  });

  test('can be cut over again after a rollback', async () => {
    const input = await loaded();
    await cutOver(input);
    await rollBack(input);
    await cutOver(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles2');
    await rollBack(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
  });

  test('that could not be moved after it was logged is moved by the next try, and rollback still knows where it was', async () => {
    const input = await loaded();
    const broken: FlagStore = {
      ...input.flags,
      write: async () => {
        throw new Error('killed');
      },
    };
    const pointer = flagPointer(input.plan, broken);
    await expect(cutOver({ ...input, pointer })).rejects.toThrow('killed');
    await cutOver(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles2');
    expect(await readMoves(input.objects, 'r1')).toHaveLength(1);
    await rollBack(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
  });
});

test("a store's own pointer is moved when the event names one, and taken away by a rollback when it was not there", async () => {
  const input = await loaded({ cutover: { pointer: 'live' } });
  expect(await cutOver(input)).toMatchObject({ kind: 'alias', name: 'live', from: null, to: 'articles2' });
  expect(await input.target.pointer?.read('live')).toBe('articles2');
  await rollBack(input);
  expect(await input.target.pointer?.read('live')).toBeUndefined();
});

test('nothing is moved for a run that has not passed validation', async () => {
  const input = await loaded();
  await expect(cutOver({ ...input, passed: false })).rejects.toMatchObject({ name: 'ValidationFailed' });
  expect(await input.flags.read('articles2')).toBeUndefined();
  await expect(rollBack(input)).rejects.toMatchObject({ name: 'NotFound' });
});

test('a pointer in a store that has none is refused with the choice', async () => {
  const input = await loaded({ cutover: { pointer: 'live' } });
  const { pointer: _, ...target } = input.target;
  const openTarget = async () => ({ store: target, kind: memory });
  await expect(pointerOf({ ...input, openTarget })).rejects.toMatchObject({
    name: 'Incompatible',
    message: expect.stringContaining('routing flag'),
  });
});

describe('a rollback', () => {
  test('needs nothing of the target, which may be away', async () => {
    const input = await loaded();
    await cutOver(input);
    const away = async () => {
      throw new StoreUnavailable('the target is away');
    };
    const pointer = await pointerOf({ ...input, openTarget: away });
    await rollBack({ ...input, pointer });
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
  });

  test('puts a flag right that was damaged, and leaves one alone that another run has taken up', async () => {
    const input = await loaded();
    await cutOver(input);
    const file = input.flags.locate('articles2');
    writeFileSync(file, '{"active":');
    await rollBack(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
    const others = {
      active: 'memory:articles',
      candidate: 'x:y',
      weight: 5,
      writes: ['memory:articles', 'x:y'],
      run: 'r2',
    };
    await input.flags.write('articles2', others);
    await expect(rollBack(input)).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringContaining('r2'),
    });
    await expect(cutOver(input)).rejects.toMatchObject({ name: 'RunMismatch' });
    await expect(finish(input)).rejects.toMatchObject({ name: 'RunMismatch' });
    expect(await input.flags.read('articles2')).toMatchObject(others);
  });

  test('after another, with a live run begun again in between, takes nothing back and says what did', async () => {
    const input = await loaded();
    await cutOver(input);
    const { move } = await rollBack(input);
    const { kind, name } = input.pointer;
    await logMove(input.objects, 'r1', { ...move, action: 'double', kind, name, to: 'memory:articles2' });
    expect(await rollBack(input)).toEqual({ move, isNew: false });
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
  });

  test('of an alias goes back to what it stood for before the first cutover since the last rollback', async () => {
    const input = await loaded({ cutover: { pointer: 'live' } });
    await input.target.pointer?.move('live', 'articles');
    await cutOver(input);
    expect((await rollBack(input)).move).toMatchObject({ from: 'articles2', to: 'articles' });
    expect(await input.target.pointer?.read('live')).toBe('articles');
    await input.target.pointer?.move('live', undefined);
    await cutOver(input);
    expect((await rollBack(input)).move).toMatchObject({ to: null });
  });

  test('is not gone against by the execution that was to cut over, but by whoever cuts over by hand afterwards', async () => {
    const input = await loaded();
    const since = '2025-12-31T00:00:00.000Z';
    await cutOver({ ...input, since });
    await rollBack({ ...input, reason: 'looks odd' });
    await expect(cutOver({ ...input, since })).rejects.toMatchObject({
      name: 'TakenBack',
      message: expect.stringContaining('looks odd'),
    });
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles');
    await cutOver(input);
    expect((await input.flags.read('articles2'))?.active).toBe('memory:articles2');
  });
});

describe('finish', () => {
  const finishedOn = (place: string) => ({ active: place, candidate: place, weight: 0, shadow: 0 });

  test('lets reads and writes go to where readers are, once, and ends the way back and every further move', async () => {
    const input = await loaded();
    await expect(finish(input)).rejects.toMatchObject({ name: 'NotFound' });
    await cutOver(input);
    const move = await finish(input);
    expect(await finish(input)).toEqual(move);
    expect(await input.flags.read('articles2')).toEqual(finishedOn('memory:articles2'));
    await expect(rollBack(input)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('other direction'),
    });
    await expect(cutOver(input)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('finished'),
    });
    expect(await input.flags.read('articles2')).toEqual(finishedOn('memory:articles2'));
  });

  test('after a rollback stays on the source, and a later cutover is refused, since the target lacks what was written since', async () => {
    const input = await loaded();
    await cutOver(input);
    await rollBack(input);
    await finish(input);
    expect(await input.flags.read('articles2')).toEqual(finishedOn('memory:articles'));
    await expect(rollBack(input)).rejects.toMatchObject({ name: 'NotFound' });
    await expect(cutOver(input)).rejects.toMatchObject({ name: 'InvalidEvent' });
    expect(await input.flags.read('articles2')).toEqual(finishedOn('memory:articles'));
  });

  test('twice does not touch the flag of a run that has taken it up since', async () => {
    const input = await loaded();
    await cutOver(input);
    await finish(input);
    const next = {
      active: 'memory:articles2',
      candidate: 'x:y',
      weight: 1,
      shadow: 5,
      writes: ['memory:articles2', 'x:y'],
      run: 'r2',
    };
    await input.flags.write('articles2', next);
    await finish(input);
    expect(await input.flags.read('articles2')).toEqual(next);
  });
});

describe('a second run of the same two, as a schedule starts it', () => {
  async function twice() {
    const first = await loaded();
    const event = { ...first.event, target: { ...first.event.target, into: 'existing' as const } };
    const second = async () => ({ ...first, plan: await plan(first, 'r2', event) });
    return { first, second };
  }

  test('takes up the flag once readers are on the target, and goes back to the source, which has every write', async () => {
    const { first, second } = await twice();
    await cutOver(first);
    const made = await second();
    const input = { ...made, pointer: flagPointer(made.plan, made.flags) };
    await cutOver(input);
    expect(await input.flags.read('articles2')).toMatchObject({ active: 'memory:articles2', run: 'r2' });
    await expect(rollBack(first)).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringContaining('vecferry rollback r2'),
    });
    await rollBack(input);
    expect(await input.flags.read('articles2')).toEqual(flagOnSource(input.plan));
  });

  test('is refused by its plan once the first was finished, unless it asks for no cutover: the source is older by then', async () => {
    const { first, second } = await twice();
    await cutOver(first);
    await finish(first);
    await expect(second()).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/articles2 alone is read and written.*cutover to null/),
    });
    expect(await first.objects.list('runs/r2/')).toEqual([]);
    const target = { ...first.event.target, into: 'existing' as const };
    expect(await plan(first, 'r2', { ...first.event, target, cutover: null })).toMatchObject({ run: 'r2' });
  });

  test('that was planned before the first was finished moves nothing, and leaves nothing to take back to a source that is old', async () => {
    const { first, second } = await twice();
    await cutOver(first);
    const made = await second();
    await finish(first);
    const input = { ...made, pointer: flagPointer(made.plan, made.flags) };
    const before = await input.flags.read('articles2');
    expect(await cutOver(input)).toMatchObject({ from: 'memory:articles2', to: 'memory:articles2' });
    await expect(rollBack(input)).rejects.toMatchObject({ name: 'NotFound' });
    expect(await input.flags.read('articles2')).toEqual(before);
  });

  test('is refused by its plan while the first has its readers on the source: it may be moving them', async () => {
    const { first, second } = await twice();
    await first.flags.write('articles2', flagOnSource(first.plan));
    await expect(second()).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringContaining('vecferry finish r1'),
    });
    expect(await first.objects.list('runs/r2/')).toEqual([]);
  });
});

describe('roll-back', () => {
  async function services(event: Record<string, unknown> = {}) {
    const input = await loaded(event);
    const notices: Notice[] = [];
    const send = async (notice: Notice) => void notices.push(notice);
    const warnings: string[] = [];
    return {
      input,
      notices,
      warnings,
      options: {
        services: {
          ...input,
          notices: { send },
          stack: 'search',
          openTarget: async () => ({ store: input.target, kind: memory }),
        },
        now: input.now,
        log: { info: () => {}, warn: (message: string) => void warnings.push(message) },
      },
    };
  }

  test('for an alarm takes readers back and tells people once, however often the alarm rings', async () => {
    const { input, options, notices, warnings } = await services();
    await cutOver(input);
    const ring = () => rollBackFlag({ ...options, flag: 'articles2', reason: "the alarm 'checkout-errors' rang" });
    expect(await ring()).toMatchObject({ action: 'rollback', to: 'memory:articles' });
    expect(await ring()).toMatchObject({ action: 'rollback' });
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatchObject({ kind: 'taken back', subject: 'vecferry: readers taken back, run r1' });
    expect(notices[0]?.text).toContain("Why: the alarm 'checkout-errors' rang");
    expect(notices[0]?.text).toContain('vecferry finish r1 --stack search');
    expect(warnings).toEqual([]);
  });

  test('for an alarm that rings when nothing is to be taken back answers so, since an error would ring in turn', async () => {
    const { input, options, notices, warnings } = await services();
    const ring = () => rollBackFlag({ ...options, flag: 'articles2', reason: undefined });
    expect(await ring()).toEqual({ nothing: expect.stringContaining('no run') });
    await cutOver(input);
    await finish(input);
    expect(await ring()).toEqual({ nothing: expect.stringContaining('no run') });
    // A live run whose readers were never moved has a flag, and nothing to take back either.
    await input.flags.write('articles2', flagOnSource(input.plan));
    expect(await ring()).toEqual({ nothing: expect.stringContaining('finished') });
    expect(warnings).toHaveLength(3);
    expect(notices).toEqual([]);
  });

  test('for an alarm throws what keeps readers from being taken back, so that it is tried again', async () => {
    const { input, options } = await services();
    await cutOver(input);
    const broken = { ...input.flags, write: async () => Promise.reject(new StoreUnavailable('away')) };
    const ring = rollBackFlag({
      ...options,
      services: { ...options.services, flags: broken },
      flag: 'articles2',
      reason: undefined,
    });
    await expect(ring).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });

  test('by hand says as an error that there is nothing to take back', async () => {
    const { options } = await services();
    await expect(rollBackRun({ ...options, run: 'r1', reason: undefined })).rejects.toMatchObject({ name: 'NotFound' });
  });
});
