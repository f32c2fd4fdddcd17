import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { readMoves } from '../../lib/cutover/moves.ts';
import { brokenPromises } from './account.ts';
import type { Account, ApplicationOptions, Read } from './application.ts';
import { openApplication } from './application-parts.ts';
import { startApplicationProcess } from './application-process.ts';
import { type FlagHistory, flagBecomes, follow, watchFlag } from './flag-history.ts';
import { type LiveParts, type LiveWorld, makeLiveWorld, quickSteps, withSteps } from './live-world.ts';
import { expectValidated, type Runs, type StoreName, startRuns } from './world.ts';

/**
 * An application that reads and writes through the client during a whole run, in three clients at once, one of them in
 * another process: export, import, validation, each canary step, a rollback in the middle, the same run again, and back.
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

/** Every commit of LanceDB writes files, and Chroma reads one at a time: fewer records and writes. */
const slow = { records: 800, canary: { steps: quickSteps([30, 1], [50, 1], [100, 1]), requests: 10 } };
/** Some ten shards. */
const quick = { records: 1500, canary: { steps: quickSteps([10, 1], [50, 1], [100, 1]) } };
const pairs: readonly (readonly [StoreName, StoreName, Partial<LiveParts>, Partial<ApplicationOptions>])[] = [
  ['pgvector', 'qdrant', quick, {}],
  ['qdrant', 'pgvector', quick, {}],
  ['chroma', 'lancedb', slow, { writeEveryMs: 60, readEveryMs: 30 }],
];

/** Three clients, the third in a process of its own. */
async function startApplications(world: LiveWorld, pace: Partial<ApplicationOptions>) {
  const options = (writer: number) => ({
    name: `application ${writer}`,
    seed: writer + 1,
    writers: 3,
    writer,
    ...pace,
  });
  const own = await Promise.all([0, 1].map((writer) => openApplication(world.application(options(writer)))));
  const other = await startApplicationProcess(world.application(options(2)));
  let ended: Promise<readonly Account[]> | undefined;
  const stop = async (): Promise<readonly Account[]> => {
    const accounts = await Promise.all(own.map(({ application }) => application.stop()));
    await Promise.all(own.map((each) => each.settle()));
    await Promise.all(own.map((each) => each.close()));
    return [...accounts, (await other.stop()).account];
  };
  return {
    works: async () => void (await Promise.all(own.map((each) => each.works()))),
    written: () => own.reduce((sum, { application }) => sum + application.written(), 0),
    stop: () => {
      ended ??= stop();
      return ended;
    },
  };
}

const phases = [
  ['Begin the live writes', 'Export every range'],
  ['Export every range', 'Seal the manifest'],
  ['Seal the manifest', 'Choose the queries'],
  ['Check every shard', 'Measure recall'],
  ['Measure recall', 'Write the report'],
  ['Step the canary', 'Cut over'],
  ['Cut over', 'back on the source'],
  ['back on the source', 'end'],
] as const;

describe('every acknowledged write is on both sides, and no read fails', () => {
  test.each(pairs)(
    'from %s to %s',
    async (from, to, parts, pace) => {
      const world = await makeLiveWorld(runs, { from, to, ...parts });
      const { run, event, flag } = world;
      const history = watchFlag(world.directory, flag);
      const applications = await startApplications(world, pace);
      cleanUp.push(history.stop, applications.stop);
      const seen: { readonly state: string; readonly written: number }[] = [];
      const note = (state: string): void => {
        seen.push({ state, written: applications.written() });
      };

      // Readers are taken back in the middle of the second step, which is not over before.
      const first = runs.run(withSteps(event, [30, 1], [50, 300], [100, 1]), ({ type, state }) =>
        type === 'entered' ? note(state) : undefined,
      );
      await flagBecomes(history, first, (value) => value?.weight === 50);
      await applications.works();
      await runs.engine.invoke('roll-back', { run, reason: 'a colleague called' });
      expect(history.last()).toMatchObject({ active: world.source, weight: 0, writes: [world.source, world.target] });
      const { outcome, report } = await first;
      expect(outcome).toMatchObject({ status: 'FAILED', error: 'TakenBack' });
      expect((outcome as { cause: string }).cause).toContain('a colleague called');
      // Nothing lagged behind or was put over what was newer, so nothing had to be mended.
      expect(report?.live).toMatchObject({ mended: 0, missing: 0, different: 0, extra: 0, unchecked: 0 });
      const { changed = 0, added = 0, deleted = 0, tombstones = 0 } = report?.live ?? {};
      expect(Math.min(changed, added, deleted, tombstones)).toBeGreaterThan(5);

      // The same run goes on, and to its end.
      const again = await runs.run(event, ({ type, state }) => (type === 'entered' ? note(state) : undefined));
      expectValidated(again);
      expect(history.last()).toMatchObject({ active: world.target, weight: 0, writes: [world.source, world.target] });
      await applications.works();

      // Rolled back once more, after the cutover: the source serves all reads, and has all writes made since.
      await runs.engine.invoke('roll-back', { run });
      note('back on the source');
      await applications.works();
      note('end');
      const accounts = await applications.stop();
      history.stop();

      expect(await brokenPromises(accounts, world.records, world.sides)).toEqual([]);
      const reads = accounts.flatMap((account) => account.reads);
      expect(reads.filter(({ error }) => error !== undefined)).toEqual([]);
      expect(reads.filter(({ hits }) => hits !== 5)).toEqual([]);
      expect(accounts.flatMap(({ failedWrites }) => failedWrites)).toEqual([]);
      expect(accounts.flatMap(({ staleReads }) => staleReads)).toEqual([]);
      expectFollowed(reads, history, world);
      expectWrittenDuring(seen);
      const moves = await readMoves(runs.engine.objects, run);
      expect(moves.map(({ action }) => action)).toEqual(
        expect.arrayContaining(['double', 'step', 'rollback', 'cutover', 'rollback']),
      );
      for (const { writes } of accounts) expect(Math.min(writes.upserts, writes.deletes)).toBeGreaterThan(10);
    },
    600_000,
  );
});

/** Reads went where the flag sent their keys: also while it moved, and in every step. */
function expectFollowed(reads: readonly Read[], history: FlagHistory, { flag, source, target }: LiveWorld): void {
  const { astray, certain } = follow(reads, history, flag, source);
  expect(astray).toEqual([]);
  expect(certain.length).toBeGreaterThan(reads.length / 2);
  const asked = (place: string): number => reads.filter(({ asked: [first] }) => first === place).length;
  expect(asked(source)).toBeGreaterThan(0);
  expect(asked(target)).toBeGreaterThan(0);
}

/** The application wrote in each of these phases, else the test proves nothing of it. */
function expectWrittenDuring(seen: readonly { readonly state: string; readonly written: number }[]): void {
  const at = (state: string): number => seen.find((each) => each.state === state)?.written ?? Number.NaN;
  const between = phases.map(([from, to]) => ({ from, to, written: at(to) - at(from) }));
  expect(between.filter(({ written }) => !(written > 0))).toEqual([]);
}
