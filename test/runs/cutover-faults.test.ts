import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { localPace } from '../../infra/local/bridge.ts';
import { memoryRepairs } from '../../lib/client/memory-repairs.ts';
import { readMoves } from '../../lib/cutover/moves.ts';
import { runKeys } from '../../lib/keys.ts';
import { type Switch, startSwitch } from '../servers/switch.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { until } from '../until.ts';
import { brokenPromises, brokenPromisesOf, heldBy } from './account.ts';
import { recordOf } from './application.ts';
import { type AnyClientOptions, type Opened, openApplication } from './application-parts.ts';
import { endOf, type FlagHistory, flagBecomes, watchFlag } from './flag-history.ts';
import { type LiveParts, type LiveWorld, makeLiveWorld, quickSteps, withSteps } from './live-world.ts';
import { expectValidated, type Runs, startRuns } from './world.ts';

/** What goes wrong around a cutover while an application reads and writes: no read fails, and no acknowledged write is lost. */

let runs: Runs;
let front: Switch;
let grpcFront: Switch;
beforeAll(async () => {
  runs = await startRuns();
  front = await startSwitch(await qdrantUrl());
  grpcFront = await startSwitch(await qdrantGrpcUrl());
});
afterAll(async () => {
  await runs.close();
  await front.close();
  await grpcFront.close();
});
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  on();
  for (const end of cleanUp.splice(0)) await end();
});

const off = (): void => {
  front.off();
  grpcFront.off();
};
const on = (): void => {
  front.on();
  grpcFront.on();
};

/** A canary that is over as soon as a few reads were seen. */
const onePass = { steps: quickSteps([100, 0]), requests: 10, minOverlap: null };

interface Fixture {
  readonly world: LiveWorld;
  readonly history: FlagHistory;
  readonly opened: Opened;
  /** Ends the application once nothing waits, and holds both sides against what it was told. */
  readonly expectKept: (allowed?: RegExp) => Promise<void>;
}

/** From PostgreSQL to a Qdrant that can be taken away, with an application at work. */
async function begin(
  parts: Partial<LiveParts> = {},
  change?: (options: AnyClientOptions) => AnyClientOptions,
): Promise<Fixture> {
  const secret = { url: front.url, grpcUrl: grpcFront.url };
  Object.assign(process.env, { VECFERRY_SECRET_TEST_SWITCHED: JSON.stringify(secret) });
  const world = await makeLiveWorld(runs, {
    from: 'pgvector',
    to: 'qdrant',
    records: 1000,
    connection: { secret: 'test/switched' },
    ...parts,
  });
  const history = watchFlag(world.directory, world.flag);
  const opened = await openApplication(world.application({ name: 'application', readers: 4, readEveryMs: 8 }), change);
  cleanUp.push(history.stop, () => opened.application.stop());
  return {
    world,
    history,
    opened,
    expectKept: async (allowed) => {
      // Enough for some of each kind.
      await until(() => opened.application.written() > 120, 'writes of the application');
      const account = await opened.application.stop();
      await opened.settle();
      await opened.close();
      expect(account.reads.filter(({ error }) => error !== undefined)).toEqual([]);
      expect(account.failedWrites.filter((words) => !allowed?.test(words))).toEqual([]);
      expect(await brokenPromises([account], world.records, world.sides)).toEqual([]);
      expect(account.writes.deletes).toBeGreaterThan(10);
    },
  };
}

describe('the flag cannot be reached', () => {
  test('during a whole canary: reads go on by the last value, writes wait for repair, and the run goes on when it is back', async () => {
    const { world, history, opened, expectKept } = await begin();
    const weightKnown = (): number | undefined => opened.client.status().flag?.weight;
    // Retries that last some seconds, not half a minute: what is tried again is the same. The step is not over before.
    const pace = { ...localPace, hurry: localPace.hurry * 6 };
    const running = runs.run(withSteps(world.event, [10, 300], [100, 1]), undefined, pace);
    await flagBecomes(history, running, (flag) => flag?.weight === 10);
    await until(() => weightKnown() === 10, 'the client that sees the step');
    const flags = join(world.directory, 'flags');
    renameSync(flags, `${flags}.away`);
    writeFileSync(flags, 'no folder');
    cleanUp.push(() => {
      if (existsSync(`${flags}.away`)) renameSync(`${flags}.away`, flags);
    });
    const { outcome } = await running;
    expect(outcome).toMatchObject({ status: 'FAILED' });
    // Once it is longer ago than a write trusts what it knows.
    await until(() => opened.client.status().repairsWaiting > 10, 'writes that wait for repair');
    const { reads } = opened.application;
    const before = reads.length;
    // Of so many one has a key of the ten percent.
    await until(() => reads.length > before + 200, 'reads by the last value');
    const lately = reads.slice(before);
    expect(lately.map(({ error }) => error)).toEqual(lately.map(() => undefined));
    expect(lately.some(({ asked }) => asked[0] === world.target)).toBe(true);
    expect(weightKnown()).toBe(10);

    rmSync(flags);
    renameSync(`${flags}.away`, flags);
    expectValidated(await runs.run(world.event));
    expect(history.last()).toMatchObject({ active: world.target });
    await expectKept();
  }, 600_000);
});

describe('the target is away', () => {
  test('during the import and in the middle of a step: readers get their answers from the source, and the target catches up', async () => {
    const { world, history, opened, expectKept } = await begin();
    const loaded = join(world.directory, runKeys(world.run).loaded);
    const running = runs.run(withSteps(world.event, [10, 1], [50, 300], [100, 1]));
    const isUnderWay = (): boolean => existsSync(loaded) && readdirSync(loaded).length >= 2;
    await until(isUnderWay, 'shards that are loaded', endOf(running));
    off();
    await opened.works();
    await until(() => opened.client.status().repairsWaiting > 0, 'writes that wait for repair');
    on();
    await flagBecomes(history, running, (flag) => flag?.weight === 50);
    await opened.works();
    off();
    const { outcome } = await running;
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'TakenBack', cause: expect.stringContaining('failed') });
    // Readers are on the source though the target is still away: rollback needs nothing of it.
    expect(history.last()).toMatchObject({ active: world.source, weight: 0 });
    await opened.works();
    on();
    await expectKept();
  }, 600_000);
});

describe('the repair queue is full', () => {
  test('a write is refused before either side has it, and goes through when the target is back', async () => {
    const repairs = memoryRepairs({ capacity: 40 });
    const { world, history, opened, expectKept } = await begin({}, (options) => ({ ...options, repairs }));
    expectValidated(await runs.run(world.event));
    expect(history.last()).toMatchObject({ active: world.target });
    off();
    const { failedWrites } = opened.application;
    await until(
      () => failedWrites.length >= 3,
      () => `writes that are refused, where ${repairs.size} wait`,
    );
    expect(repairs.size).toBeLessThanOrEqual(40);
    expect(opened.application.failedWrites[0]).toMatch(/RepairQueueFull.*nothing was written/);
    const more = Array.from({ length: 41 }, (_, at) => recordOf(String(900_000 + at), 'refused', opened.vector));
    await expect(opened.client.upsert(more)).rejects.toThrow(/ids wait for repair already/);
    expect([...(await heldBy(world.sides.source)).keys()].filter((id) => id.startsWith('9000'))).toEqual([]);
    on();
    await opened.works();
    await expectKept(/RepairQueueFull/);
  }, 600_000);
});

describe('approval', () => {
  test('given twice, and at the same time, counts once; another answer is refused, and nobody is moved twice', async () => {
    const { world, history, expectKept } = await begin({
      event: { validate: { recall: null }, cutover: { approval: 'person', approvalHours: 0.2, canary: null } },
    });
    const running = runs.run(world.event);
    const asked = join(world.directory, runKeys(world.run).approval);
    await until(() => existsSync(asked), 'the question', endOf(running));
    expect(history.last()).toMatchObject({ active: world.source, weight: 0 });
    const answer = (what: string) =>
      runs.engine.invoke('answer-approval', { run: world.run, answer: what, by: 'ann', reason: 'looks good' });
    const answers = await Promise.all([answer('approved'), answer('approved'), answer('approved')]);
    expect(answers).toEqual(answers.map(() => expect.anything()));
    await expect(answer('rejected')).rejects.toMatchObject({ name: 'InvalidEvent' });
    expectValidated(await running);
    expect(history.last()).toMatchObject({ active: world.target, weight: 0 });
    const moves = await readMoves(runs.engine.objects, world.run);
    expect(moves.filter(({ action }) => action === 'cutover')).toHaveLength(1);
    await expectKept();
  }, 600_000);
});

describe('a rollback comes in the moment in which a step is moved', () => {
  test('from several people at once: readers end on the source and stay there, and the run says who did it', async () => {
    const { world, history, expectKept } = await begin({
      event: { validate: { recall: null } },
      canary: {
        // Of the application's 400 keys each step has some, whatever the flag's name.
        steps: quickSteps([5, 0], [10, 0], [20, 0], [30, 0], [50, 0], [100, 300]),
        requests: 10,
        minOverlap: null,
      },
    });
    const running = runs.run(world.event);
    // Steps without a time of their own follow one another as fast as the run looks.
    await flagBecomes(history, running, (flag) => (flag?.weight ?? 0) >= 10);
    const back = (by: string) => runs.engine.invoke('roll-back', { run: world.run, reason: `${by} said so` });
    await Promise.all([back('ann'), back('bob'), sleep(30).then(() => back('cleo'))]);
    const { outcome } = await running;
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'TakenBack', cause: expect.stringContaining('said so') });
    expect(history.last()).toMatchObject({ active: world.source, weight: 0 });
    const values = [...history.values];
    await sleep(1000);
    history.last();
    expect(history.values).toEqual(values);
    await expectKept();
  }, 600_000);
});

describe('the double writes are ended while the application writes', () => {
  test('not before the target, which readers use, has every write; from then on it has them all by itself', async () => {
    const { world, history, opened } = await begin({ event: { validate: { recall: null } }, canary: onePass });
    expectValidated(await runs.run(world.event));
    expect(history.last()).toMatchObject({ active: world.target });
    const finish = () => runs.engine.invoke('finish', { run: world.run });
    off();
    await until(() => opened.client.status().repairsWaiting > 0, 'writes that wait for repair');
    await opened.client.flush();
    await expect(finish()).rejects.toMatchObject({ name: 'InvalidEvent', message: expect.stringMatching(/repair/) });
    expect(history.last()).toMatchObject({ writes: [world.source, world.target] });
    on();
    let refused: unknown;
    await until(
      async () => {
        await opened.client.flush();
        refused = await finish().then(
          () => undefined,
          (error: unknown) => error,
        );
        return refused === undefined;
      },
      () => `the end of the double writes, refused with ${refused}`,
    );
    const finished = { active: world.target, candidate: world.target, weight: 0, shadow: 0 };
    expect(history.last()).toEqual(finished);
    await until(() => opened.client.status().flag?.candidate === world.target, 'the client that sees the end');
    await opened.works();
    const account = await opened.application.stop();
    await opened.settle();
    await opened.close();
    expect(account.reads.filter(({ error }) => error !== undefined)).toEqual([]);
    expect(await brokenPromisesOf([account], world.records, world.sides.target)).toEqual([]);
    expect(await brokenPromisesOf([account], world.records, world.sides.source)).not.toEqual([]);
  }, 600_000);
});
