import { describe, expect, test } from '@jest/globals';
import { cutOver, rollBack } from '../lib/cutover.ts';
import type { FlagStore } from '../lib/flag.ts';
import { readMoves } from '../lib/moves.ts';
import { flagPointer, pointerOf } from '../lib/pointer.ts';
import { memory } from '../lib/stores/memory.ts';
import { load, makeWorld } from './world.ts';

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
