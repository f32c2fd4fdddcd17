import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { cutOver, finish, rollBack } from '../lib/cutover/cutover.ts';
import { flagFinished } from '../lib/cutover/cutover-flag.ts';
import type { FlagStore } from '../lib/cutover/flag.ts';
import { finishOf } from '../lib/cutover/moves.ts';
import { flagPointer } from '../lib/cutover/pointer.ts';
import type { ObjectStore } from '../lib/objects.ts';
import { type CanaryWorld, goodLine, makeCanaryWorld, sourcePlace, targetPlace } from './canary-world.ts';

const canary = {
  steps: [
    { percent: 10, minutes: 1 },
    { percent: 100, minutes: 1 },
  ],
  watchSeconds: 60,
  maxP95Ms: 200,
};
const onSource = {
  active: sourcePlace,
  candidate: targetPlace,
  weight: 0,
  shadow: 0,
  writes: [sourcePlace, targetPlace],
  run: 'r1',
};
type Services = CanaryWorld['services'];

/** A process that is killed at its n-th effect: before it, or after it. From then on it does nothing. */
function killedAt(
  services: Services,
  effect: number,
  when: 'before' | 'after',
): { services: Services; isDead(): boolean } {
  let effects = 0;
  let isDead = false;
  const doing = async <T>(work: () => Promise<T>): Promise<T> => {
    if (isDead) throw new Error('dead');
    effects += 1;
    isDead = effects >= effect;
    if (isDead && when === 'before') throw new Error('killed');
    const made = await work();
    if (isDead) throw new Error('killed');
    return made;
  };
  const { objects, flags, notices } = services;
  return {
    isDead: () => isDead,
    services: {
      ...services,
      objects: {
        ...objects,
        put: (...args) => doing(() => objects.put(...args)),
        create: (...args) => doing(() => objects.create(...args)),
      },
      flags: { ...flags, write: (...args) => doing(() => flags.write(...args)) },
      notices: { send: (notice) => doing(() => notices.send(notice)) },
    },
  };
}

/** Calls as Step Functions does until the canary is over: again after a kill, the next after its wait. */
async function driveKilled(world: CanaryWorld, effect: number, when: 'before' | 'after', readsOf: typeof goodLine) {
  const killed = killedAt(world.services, effect, when);
  for (let calls = 0; calls < 50; calls++) {
    try {
      const look = await world.step(killed.isDead() ? {} : killed.services);
      if (look.done) return { isKilled: killed.isDead(), error: undefined };
      world.time += look.seconds * 1000;
      world.write(readsOf(world.time - 10));
    } catch (error) {
      if (Object(error).message !== 'killed') return { isKilled: killed.isDead(), error };
      // Lambda's retry comes later than the call that was lost.
      world.time += 1500;
    }
  }
  throw new Error('the canary does not come to its end');
}

describe('killed between any two effects, and called again', () => {
  for (const when of ['before', 'after'] as const) {
    test(`${when} each of them: a canary that holds comes to its end with each step logged once`, async () => {
      for (let effect = 1; ; effect++) {
        const world = await makeCanaryWorld({ canary });
        const { isKilled, error } = await driveKilled(world, effect, when, goodLine);
        expect(error).toBeUndefined();
        expect(await world.flag()).toEqual({ ...onSource, weight: 100, shadow: 5 });
        expect((await world.moves()).map(({ percent }) => percent)).toEqual([10, 100]);
        expect(await world.canary()).toMatchObject({ state: 'passed', steps: [{ percent: 10 }, { percent: 100 }] });
        expect(world.notices).toEqual([]);
        if (!isKilled) return expect(effect).toBeGreaterThan(7);
      }
    });

    test(`${when} each of them: a breach is taken back, logged once, and told at least once`, async () => {
      for (let effect = 1; ; effect++) {
        const world = await makeCanaryWorld({ canary });
        const failing = (at: number) => ({
          ...goodLine(at),
          reads: Array.from({ length: 20 }, () => [5, false] as const),
        });
        let looks = 0;
        const readsOf = (at: number) => (++looks > 1 ? failing(at) : goodLine(at));
        const { isKilled, error } = await driveKilled(world, effect, when, readsOf);
        expect(error).toMatchObject({ name: 'TakenBack', message: expect.stringMatching(/of the target failed/) });
        expect(await world.flag()).toEqual(onSource);
        expect((await world.moves()).filter(({ action }) => action === 'rollback')).toHaveLength(1);
        expect(await world.canary()).toMatchObject({ state: 'taken back' });
        expect(world.notices.length).toBeGreaterThanOrEqual(1);
        expect(world.notices.length).toBeLessThanOrEqual(2);
        if (!isKilled) return expect(effect).toBeGreaterThan(9);
      }
    });

    test(`${when} each of them: a cutover, a rollback and a finish are made up for by the next try`, async () => {
      for (let effect = 1; ; effect++) {
        const world = await makeCanaryWorld({ canary: null });
        let isKilled = false;
        const trying = async (work: (services: Services) => Promise<unknown>): Promise<void> => {
          const killed = killedAt(world.services, effect, when);
          await work(killed.services).catch(() => work(world.services));
          isKilled ||= killed.isDead();
        };
        const input = (services: Services) => {
          const { plan, now } = world;
          return { plan, ...services, pointer: flagPointer(plan, services.flags), now, passed: true };
        };
        await trying((services) => cutOver(input(services)));
        expect(await world.flag()).toEqual({ ...onSource, active: targetPlace, candidate: sourcePlace });
        await trying((services) => rollBack(input(services)));
        expect(await world.flag()).toEqual(onSource);
        await trying((services) => cutOver(input(services)));
        await trying((services) => finish(input(services)));
        expect(await world.flag()).toEqual({ active: targetPlace, candidate: targetPlace, weight: 0, shadow: 0 });
        expect((await world.moves()).map(({ action }) => action)).toEqual(['cutover', 'rollback', 'cutover', 'finish']);
        if (!isKilled) return expect(effect).toBeGreaterThan(2);
      }
    });
  }
});

/** Every call waits until the scheduler lets it through, so that two processes meet in any order. */
function scheduled(scheduler: fc.Scheduler, name: string, { objects, flags, ...rest }: Services): Services {
  const slow = <A extends unknown[], R>(
    what: string,
    work: (...args: A) => Promise<R>,
  ): ((...args: A) => Promise<R>) => {
    const through = scheduler.scheduleFunction(async function step(...args: A) {
      return await work(...args);
    });
    return Object.defineProperty(through, 'name', { value: `${name} ${what}` });
  };
  const slowObjects: ObjectStore = {
    ...objects,
    get: slow('get', objects.get),
    put: slow('put', objects.put),
    create: slow('create', objects.create),
    list: slow('list', objects.list),
  };
  const slowFlags: FlagStore = {
    ...flags,
    read: slow('read flag', flags.read),
    write: slow('write flag', flags.write),
  };
  return { ...rest, objects: slowObjects, flags: slowFlags };
}

describe('in every interleaving', () => {
  /** Brings a world to where the other one's call comes. */
  const starts = {
    'its first step': async (_: CanaryWorld) => {},
    'a look': async (world: CanaryWorld) => {
      await world.step();
      world.time += 30_000;
      world.write(goodLine(world.time));
    },
    'its next step': async (world: CanaryWorld) => {
      await world.step();
      world.time += 60_000;
      world.write(goodLine(world.time - 10));
    },
    'a breach': async (world: CanaryWorld) => {
      await world.step();
      world.time += 60_000;
      world.write({ at: world.time, reads: Array.from({ length: 50 }, () => [1, false] as const) });
    },
    'its first step after an earlier rollback': async (world: CanaryWorld) => {
      await world.step();
      await rollBackIn(world, world.services);
      world.time += 600_000;
      world.since = world.now().toISOString();
      world.time += 1000;
    },
  };
  const rollBackIn = (world: CanaryWorld, services: Services) =>
    rollBack({ plan: world.plan, ...services, pointer: flagPointer(world.plan, services.flags), now: world.now });
  const settledOf = async (work: Promise<unknown>) =>
    await work.then(
      () => 'done',
      (error: unknown) => String(Object(error).name),
    );

  for (const [what, start] of Object.entries(starts)) {
    test(`a rollback during ${what} leaves the flag on the source, and the canary ends with it`, async () => {
      const orders = new Set<string>();
      await fc.assert(
        fc.asyncProperty(fc.scheduler(), async (scheduler) => {
          const world = await makeCanaryWorld({ canary });
          await start(world);
          const earlier = (await world.moves()).length;
          const step = settledOf(world.step(scheduled(scheduler, 'canary', world.services)));
          const back = settledOf(rollBackIn(world, scheduled(scheduler, 'rollback', world.services)));
          const [stepped, rolledBack] = await scheduler.waitFor(Promise.all([step, back]));
          orders.add(scheduler.toString());
          const isNew = (await world.moves()).slice(earlier).some(({ action }) => action === 'rollback');
          if (rolledBack === 'NotFound') {
            // It came before the run had moved a reader, and its caller was told so.
            expect(what).toBe('its first step');
            expect(isNew).toBe(false);
            return;
          }
          expect(rolledBack).toBe('done');
          if (!isNew) {
            // Readers had been taken back before, and the canary had not begun when the rollback looked.
            expect(what).toBe('its first step after an earlier rollback');
            return;
          }
          expect(await world.flag()).toEqual(onSource);
          expect(['done', 'TakenBack']).toContain(stepped);
          world.time += 30_000;
          await expect(world.step()).rejects.toMatchObject({ name: 'TakenBack' });
          expect(await world.flag()).toEqual(onSource);
        }),
        { numRuns: 300 },
      );
      expect(orders.size).toBeGreaterThan(30);
    });
  }

  test('a rollback during a cutover wins, whoever writes the flag last, unless it came before the cutover', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.boolean(), async (scheduler, isCutOver) => {
        const world = await makeCanaryWorld({ canary: null });
        const input = (services: Services) => {
          const { plan, now } = world;
          return { plan, ...services, pointer: flagPointer(plan, services.flags), now, passed: true };
        };
        if (isCutOver) await cutOver(input(world.services));
        const cut = settledOf(cutOver(input(scheduled(scheduler, 'cutover', world.services))));
        const back = settledOf(rollBack(input(scheduled(scheduler, 'rollback', world.services))));
        const [cutover, rolledBack] = await scheduler.waitFor(Promise.all([cut, back]));
        const standsLast = (await world.moves()).at(-1)?.action === 'cutover';
        if (rolledBack === 'NotFound' || (cutover === 'done' && standsLast)) {
          expect(await world.flag()).toMatchObject({ active: targetPlace });
          return;
        }
        expect(await world.flag()).toEqual(onSource);
      }),
      { numRuns: 400 },
    );
  });

  /** Both at once; what each ended with, and where the log says the run was finished, if it does. */
  const meet = async (scheduler: fc.Scheduler, other: 'rollback' | 'cutover') => {
    const world = await makeCanaryWorld({ canary: null });
    const input = (services: Services) => {
      const { plan, now } = world;
      return { plan, ...services, pointer: flagPointer(plan, services.flags), now, passed: true };
    };
    await cutOver(input(world.services));
    if (other === 'cutover') await rollBack(input(world.services));
    const moving = other === 'cutover' ? cutOver : rollBack;
    const ends = [
      settledOf(finish(input(scheduled(scheduler, 'finish', world.services)))),
      settledOf(moving(input(scheduled(scheduler, other, world.services)))),
    ];
    const [finished, moved] = await scheduler.waitFor(Promise.all(ends));
    return { finished, moved, place: finishOf(await world.moves())?.to, flag: await world.flag() };
  };

  test('of a finish and a rollback or a cutover one comes after the other, and the flag says what the last did', async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.constantFrom('rollback', 'cutover'), async (scheduler, other) => {
        const { finished, moved, place, flag } = await meet(scheduler, other);
        const [movedTo, before] = other === 'rollback' ? [sourcePlace, targetPlace] : [targetPlace, sourcePlace];
        seen.add(`${other}: ${moved}`);
        // After a finish neither is possible any more; before it the finish is on the side where readers then are.
        expect(finished).toBe('done');
        expect(['done', 'InvalidEvent', 'NotFound']).toContain(moved);
        expect(place).toBe(moved === 'done' ? movedTo : before);
        expect(flag).toEqual(flagFinished(String(place)));
      }),
      { numRuns: 400 },
    );
    // Both orders were met; which of the two was refused hangs on how many calls a finish makes before its own.
    expect([...seen]).toEqual(expect.arrayContaining(['cutover: done', 'rollback: done']));
    expect([...seen].some((end) => end.endsWith('InvalidEvent'))).toBe(true);
  });

  test('two rollbacks at once leave the flag on the source', async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const world = await makeCanaryWorld({ canary });
        await world.step();
        const both = ['one', 'other'].map((name) => rollBackIn(world, scheduled(scheduler, name, world.services)));
        await scheduler.waitFor(Promise.all(both));
        expect(await world.flag()).toEqual(onSource);
      }),
      { numRuns: 100 },
    );
  });
});
