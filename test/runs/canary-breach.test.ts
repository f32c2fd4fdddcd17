import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { readMoves } from '../../lib/cutover/moves.ts';
import { noticeSchema } from '../../lib/cutover/notices.ts';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { brokenPromises } from './account.ts';
import type { Side } from './application.ts';
import { openApplication } from './application-parts.ts';
import { flagBecomes, watchFlag } from './flag-history.ts';
import { makeLiveWorld, quickSteps } from './live-world.ts';
import { type Runs, startRuns } from './world.ts';

/**
 * Readers are taken back by what the application itself sees: its reads of a target that begins to fail, to be slow or to
 * find something else in the middle of a step, while it goes on reading and writing.
 */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanUp.splice(0)) await end();
});

/** What a read takes of a target that has become slow; processors that others use too may take half of it for a good one. */
const slowMs = 3600;
const maxP95Ms = 3000;

/** What a target does from a moment on. */
const breaches = {
  errors: {
    search: async () => {
      throw new Error('the target is not well');
    },
    reason: /\d+ of the last \d+ reads of the target failed, and at most 50.00% may/,
  },
  latency: {
    search: async (search: Side['search'], query: Parameters<Side['search']>[0]) => {
      await new Promise((resolve) => setTimeout(resolve, slowMs));
      return await search(query);
    },
    reason: /the p95 latency of the last 20 reads of the target is .*, and at most 3,000 ms is allowed/,
  },
  overlap: {
    search: async () => [{ id: 'something' }, { id: 'else' }],
    reason: /the mean overlap of the last 20 shadow reads is .*%, and at least 50.00% is asked for/,
  },
} as const;
type Breach = keyof typeof breaches;

/** Seconds between two looks of the run. */
const watchSeconds = 1;
const steps = [10, 50, 100];

describe.each(Object.keys(breaches) as Breach[])('a breach by %s', (kind) => {
  test('is taken back within a watch interval from each step, and no read fails', async () => {
    const world = await makeLiveWorld(runs, {
      from: 'pgvector',
      to: 'lancedb',
      records: 300,
      event: { validate: { recall: null } },
      canary: {
        steps: quickSteps([10, 1], [50, 1], [100, 90]),
        maxErrorRate: 0.5,
        watchSeconds,
        ...(kind === 'latency' && { maxP95Ms }),
      },
    });
    const history = watchFlag(world.directory, world.flag);
    cleanUp.push(history.stop);
    let isBad = false;
    const { reason, search } = breaches[kind];
    const opened = await openApplication(
      world.application({ name: 'application', readers: 12, readEveryMs: 10, writeEveryMs: 30 }),
      (options) => {
        const target = options.sides[world.target];
        if (target === undefined) throw new Error('no target');
        const bad: Side = {
          ...target,
          search: (query) => (isBad ? search(target.search, query) : target.search(query)),
        };
        return { ...options, timeoutMs: 10_000, sides: { ...options.sides, [world.target]: bad } };
      },
    );
    cleanUp.push(() => opened.application.stop());

    for (const percent of steps) {
      isBad = false;
      const running = runs.run(world.event);
      await flagBecomes(history, running, (flag) => flag?.weight === percent);
      const began = Date.now();
      isBad = true;
      const { outcome } = await running;
      const seconds = (Date.now() - began) / 1000;
      expect(outcome).toMatchObject({ status: 'FAILED', error: 'TakenBack', cause: expect.stringMatching(reason) });
      expect(history.last()).toMatchObject({ active: world.source, weight: 0 });
      const back = (await readMoves(runs.engine.objects, world.run)).at(-1);
      expect(back).toMatchObject({ action: 'rollback', reason: expect.stringContaining(`at ${percent}%`) });
      // The client hands over what it saw each second; then the next look takes readers back, and not the step's end. Reads
      // have to be made, too.
      expect(seconds).toBeLessThan(watchSeconds + 1 + slackSeconds);
    }
    const told = await runs.engine.objects.list(runKeys(world.run).notices);
    const notices = await Promise.all(told.map((key) => getJson(runs.engine.objects, key, noticeSchema)));
    expect(notices.map((notice) => notice?.kind)).toEqual(steps.map(() => 'taken back'));
    const account = await opened.application.stop();
    expect(account.reads.filter(({ error }) => error !== undefined)).toEqual([]);
    await opened.settle();
    await opened.close();
    expect(await brokenPromises([account], world.records, world.sides)).toEqual([]);
  }, 600_000);
});

/** For reads to be made on processors that others use too: less than the last step takes. */
const slackSeconds = 60;
