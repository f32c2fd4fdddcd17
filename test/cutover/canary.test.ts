import { describe, expect, test } from '@jest/globals';
import { cutOver, finish, rollBack } from '../../lib/cutover/cutover.ts';
import { flagFinished } from '../../lib/cutover/cutover-flag.ts';
import { flagPointer } from '../../lib/cutover/pointer.ts';
import {
  type CanaryWorld,
  flagName,
  goodLine,
  makeCanaryWorld,
  sourcePlace,
  t0,
  targetPlace,
} from '../canary-world.ts';
import { makeReport } from '../make-report.ts';

const canary = {
  steps: [
    { percent: 1, minutes: 1 },
    { percent: 50, minutes: 1 },
    { percent: 100, minutes: 1 },
  ],
  watchSeconds: 30,
  maxP95Ms: 200,
};

/** Looks every time the machine would, with good reads before each, until `stop` or the end. */
async function drive(world: CanaryWorld, { stop = () => false }: { stop?: () => boolean | Promise<boolean> } = {}) {
  for (let looks = 0; looks < 100; looks++) {
    if (await stop()) return undefined;
    const look = await world.step();
    if (look.done) return look;
    world.time += look.seconds * 1000;
    world.write(goodLine(world.time - 10));
  }
  throw new Error('the canary does not come to its end');
}

/** A report in whose query sets the source had these p95s. */
function reportWith(p95s: readonly number[]) {
  const report = makeReport('');
  const entry = report.recall?.sets.find(({ source }) => source.measured);
  const sets = p95s.map((p95) => {
    if (entry === undefined || !entry.source.measured) throw new Error('no set of the report was measured');
    return { ...entry, source: { ...entry.source, latency: { ...entry.source.latency, p95 } } };
  });
  return { ...report, recall: { sets } };
}

const rollBackNow = (world: CanaryWorld, reason = 'by hand') => {
  const { plan, services, now } = world;
  return rollBack({ plan, ...services, pointer: flagPointer(plan, services.flags), now, reason });
};
const cutOverNow = (world: CanaryWorld, since?: string) => {
  const { plan, services, now } = world;
  return cutOver({ plan, ...services, pointer: flagPointer(plan, services.flags), now, passed: true, since });
};

describe('a canary', () => {
  test('begins the double writes with its first share, and moves on as each step holds, each watched for its time', async () => {
    const world = await makeCanaryWorld({ canary });
    expect(await world.step()).toEqual({ done: false, seconds: 30 });
    const flag = {
      active: sourcePlace,
      candidate: targetPlace,
      weight: 1,
      shadow: 5,
      writes: [sourcePlace, targetPlace],
      run: 'r1',
    };
    expect(await world.flag()).toEqual(flag);
    const seen: [number, number][] = [];
    const unseen = new Set<string | undefined>();
    await drive(world, {
      stop: async () => {
        const canary = await world.canary();
        if (canary?.seen === null) unseen.add(canary.says);
        seen.push([(world.time - t0) / 1000, (await world.flag())?.weight ?? -1]);
        return false;
      },
    });
    expect(seen).toEqual(
      [
        [0, 1],
        [30, 1],
        [60, 1],
        [90, 50],
        [120, 50],
        [150, 100],
        [180, 100],
      ].slice(0, seen.length),
    );
    // A step that nobody has looked at yet does not say what was seen at the one before.
    expect([...unseen]).toEqual(['begun']);
    expect(await world.flag()).toEqual({ ...flag, weight: 100 });
    expect(await world.canary()).toMatchObject({
      state: 'passed',
      step: 2,
      steps: [{ percent: 1 }, { percent: 50 }, { percent: 100 }],
    });
    expect((await world.moves()).map(({ action, percent }) => [action, percent])).toEqual([
      ['step', 1],
      ['step', 50],
      ['step', 100],
    ]);
    expect(await cutOverNow(world, world.since)).toMatchObject({ from: sourcePlace, to: targetPlace });
    expect(await world.flag()).toMatchObject({
      active: targetPlace,
      candidate: sourcePlace,
      weight: 0,
      writes: flag.writes,
    });
    expect((await rollBackNow(world)).move).toMatchObject({ from: targetPlace, to: sourcePlace });
    expect(await world.flag()).toEqual({ ...flag, weight: 0, shadow: 0 });
  });

  test('takes readers back at once when a bound is breached, says why in the log, in a notice and as its error', async () => {
    const world = await makeCanaryWorld({ canary });
    await world.step();
    world.time += 30_000;
    world.write({ at: world.time, reads: Array.from({ length: 100 }, (_, at) => [5, at > 6]) });
    await expect(world.step()).rejects.toMatchObject({
      name: 'TakenBack',
      message: expect.stringContaining('at 1% 7 of the last 100 reads of the target failed, and at most 5.00% may'),
    });
    expect(await world.flag()).toMatchObject({
      active: sourcePlace,
      weight: 0,
      shadow: 0,
      writes: [sourcePlace, targetPlace],
    });
    expect((await world.moves()).at(-1)).toMatchObject({
      action: 'rollback',
      to: sourcePlace,
      reason: expect.stringContaining('7 of the last 100'),
    });
    expect(world.notices).toHaveLength(1);
    expect(world.notices[0]?.text).toContain('no write was lost');
    expect(world.notices[0]?.text).toContain('vecferry finish r1');
    // Step Functions may call again, having lost the answer: the same, and nobody is told twice.
    await expect(world.step()).rejects.toMatchObject({
      name: 'TakenBack',
      message: expect.stringContaining('7 of the last 100'),
    });
    expect(world.notices).toHaveLength(1);
    expect(await world.moves()).toHaveLength(2);
  });

  test('says that there are too few requests and waits, and takes readers back when the patience ends', async () => {
    const world = await makeCanaryWorld({ canary: { ...canary, patienceMinutes: 2 } });
    await world.step();
    for (const seconds of [30, 60, 90, 120, 150, 180]) {
      world.time = t0 + seconds * 1000;
      world.write(goodLine(world.time, 1, 0));
      expect(await world.step()).toEqual({ done: false, seconds: 30 });
      const says = `too few requests to judge by: ${seconds / 30} of 100 reads of the target; 0 of 100 shadow reads`;
      expect((await world.canary())?.says).toBe(says);
    }
    world.time = t0 + 181_000;
    await expect(world.step()).rejects.toMatchObject({
      name: 'TakenBack',
      message: expect.stringContaining('within the patience of 2 minutes'),
    });
    expect(await world.flag()).toMatchObject({ active: sourcePlace, weight: 0 });
  });

  test('moves no more readers to a target that takes no writes, however well it is read, and none stay when it does not catch up', async () => {
    const lagging = { ...canary, patienceMinutes: 2 };
    const world = await makeCanaryWorld({ canary: lagging });
    await world.step();
    const look = async (waiting: number) => {
      world.time += 60_000;
      world.write({ ...goodLine(world.time - 10), waiting });
      return await world.step();
    };
    await look(489);
    expect(await look(489)).toMatchObject({ done: false });
    expect(await world.flag()).toMatchObject({ weight: 1 });
    expect((await world.canary())?.says).toBe('the target lags: 489 repairs wait for it');
    // A write that met another waits for a moment, which is no outage.
    await look(3);
    expect(await world.flag()).toMatchObject({ weight: 50 });
    await look(489);
    await expect(look(489)).rejects.toThrow(/at 50% the target lags: 489 repairs wait for it, and did not catch up/);
    expect(await world.flag()).toMatchObject({ weight: 0 });
  });

  test('has one patience for all its steps, as an execution has room for so many looks', async () => {
    const world = await makeCanaryWorld({ canary: { ...canary, patienceMinutes: 2 } });
    await world.step();
    world.time = t0 + 150_000;
    world.write(goodLine(world.time - 10));
    await world.step();
    expect(await world.flag()).toMatchObject({ weight: 50 });
    world.time += 60_000 + 29_000;
    expect(await world.step()).toMatchObject({ done: false });
    world.time += 2_000;
    await expect(world.step()).rejects.toMatchObject({ name: 'TakenBack' });
  });

  test('with a first step of 0 percent judges shadow reads alone, since the target answers nobody yet', async () => {
    const steps = [
      { percent: 0, minutes: 1 },
      { percent: 100, minutes: 1 },
    ];
    const world = await makeCanaryWorld({ canary: { ...canary, steps } });
    await world.step();
    expect(await world.flag()).toMatchObject({ weight: 0, shadow: 5 });
    world.time += 60_000;
    world.write(goodLine(world.time, 0, 100));
    await world.step();
    expect(await world.flag()).toMatchObject({ weight: 100 });
    const worse = await makeCanaryWorld({ canary: { ...canary, steps } });
    await worse.step();
    worse.time += 30_000;
    worse.write({
      at: worse.time,
      shadowReads: Array.from({ length: 100 }, () => ({ k: 10, overlap: 0.8, activeMs: 1, otherMs: 1 })),
    });
    await expect(worse.step()).rejects.toMatchObject({
      message: expect.stringContaining('at 0% the mean overlap of the last 100 shadow reads is 80.00%'),
    });
  });

  test('takes twice the p95 of the source as validation measured it, at least 200 ms; where nothing was measured latency is not judged', async () => {
    const { maxP95Ms: _, ...given } = canary;
    const boundOf = async (report?: unknown) => {
      const world = await makeCanaryWorld({ canary: given, report });
      await world.step();
      return (await world.canary())?.maxP95Ms;
    };
    expect(await boundOf(reportWith([150, 400]))).toBe(800);
    expect(await boundOf(reportWith([12]))).toBe(200);
    expect(await boundOf()).toBeNull();
  });
});

describe('a canary that is not alone', () => {
  test('ends when somebody rolled back, and does not go against it', async () => {
    const world = await makeCanaryWorld({ canary });
    await world.step();
    await rollBackNow(world, 'the search page looks odd');
    world.time += 30_000;
    await expect(world.step()).rejects.toMatchObject({
      name: 'TakenBack',
      message: expect.stringContaining('the search page looks odd'),
    });
    expect(await world.flag()).toMatchObject({ active: sourcePlace, weight: 0 });
    expect(await world.canary()).toMatchObject({ state: 'taken back', says: 'the search page looks odd' });
    await expect(cutOverNow(world, world.since)).rejects.toMatchObject({ name: 'TakenBack' });
    expect(await world.flag()).toMatchObject({ active: sourcePlace });
  });

  test('is over when somebody cut over by hand meanwhile: readers are not moved back to a share', async () => {
    const world = await makeCanaryWorld({ canary });
    await world.step();
    await cutOverNow(world);
    world.time += 30_000;
    expect(await world.step()).toMatchObject({ done: true });
    expect(await world.flag()).toMatchObject({ active: targetPlace, weight: 0 });
  });

  test('refuses a flag that another run moves, one that names neither side, and one on the target before it began', async () => {
    const set = async (flag: Parameters<CanaryWorld['services']['flags']['write']>[1]) => {
      const world = await makeCanaryWorld({ canary });
      await world.services.flags.write(flagName, flag);
      const error = await world.step().catch((thrown: unknown) => thrown);
      expect(await world.flag()).toEqual(flag);
      expect(await world.moves()).toEqual([]);
      return error;
    };
    const foreign = {
      active: sourcePlace,
      candidate: 'x:y',
      weight: 5,
      shadow: 0,
      writes: [sourcePlace, 'x:y'],
      run: 'r2',
    };
    expect(await set(foreign)).toMatchObject({ name: 'RunMismatch' });
    expect(await set(flagFinished('x:y'))).toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('neither'),
    });
    expect(await set(flagFinished(targetPlace))).toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('already'),
    });
  });
});

describe('a run started again in the middle of a canary', () => {
  const again = (world: CanaryWorld) => {
    world.time += 3_600_000;
    world.since = world.now().toISOString();
  };

  test('goes on at the step it was at, with its time begun anew, and logs no second step', async () => {
    const world = await makeCanaryWorld({ canary });
    await drive(world, { stop: async () => (await world.flag())?.weight === 50 });
    again(world);
    expect(await world.step()).toEqual({ done: false, seconds: 30 });
    expect(await world.flag()).toMatchObject({ weight: 50 });
    expect(await world.canary()).toMatchObject({ step: 1, stepAt: world.now().toISOString(), state: 'watching' });
    world.time += 30_000;
    world.write(goodLine(world.time));
    await world.step();
    expect(await world.flag()).toMatchObject({ weight: 50 });
    expect(await drive(world)).toMatchObject({ done: true });
    expect((await world.moves()).map(({ percent }) => percent)).toEqual([1, 50, 100]);
  });

  test('begins at its first step where readers were taken back before', async () => {
    const world = await makeCanaryWorld({ canary });
    await drive(world, { stop: async () => (await world.flag())?.weight === 50 });
    await rollBackNow(world);
    again(world);
    await world.step();
    expect(await world.flag()).toMatchObject({ weight: 1 });
    expect(await drive(world)).toMatchObject({ done: true });
    expect(await cutOverNow(world, world.since)).toMatchObject({ to: targetPlace });
  });

  test('ends where somebody rolled back after it was started, though its canary had not begun yet', async () => {
    const world = await makeCanaryWorld({ canary });
    await world.step();
    again(world);
    world.time += 60_000;
    await rollBackNow(world);
    world.time += 60_000;
    await expect(world.step()).rejects.toMatchObject({ name: 'TakenBack' });
    expect(await world.flag()).toMatchObject({ weight: 0 });
  });

  test('is refused once it was finished, since one side lacks what was written since', async () => {
    const world = await makeCanaryWorld({ canary });
    await world.step();
    await rollBackNow(world);
    await finish({ plan: world.plan, ...world.services, now: world.now });
    again(world);
    await expect(world.step()).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('finished'),
    });
    await expect(cutOverNow(world)).rejects.toMatchObject({ name: 'InvalidEvent' });
    expect(await world.flag()).toEqual(flagFinished(sourcePlace));
  });
});
