import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { readMoves } from '../../lib/cutover/moves.ts';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { reportSchema } from '../../lib/report/report-schema.ts';
import { until } from '../until.ts';
import { brokenPromises } from './account.ts';
import { openApplication } from './application-parts.ts';
import { startApplicationProcess } from './application-process.ts';
import { follow, watchFlag } from './flag-history.ts';
import { type LiveWorld, makeLiveWorld, withSteps } from './live-world.ts';
import { type RunInput, type Runs, startRuns } from './world.ts';

/** `vecferry run` in a process of its own, killed with SIGKILL while an application reads and writes, and started again. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of cleanUp.splice(0)) await end();
});

function start({ directory }: LiveWorld, event: RunInput) {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(
    process.execPath,
    ['infra/local/vecferry.mjs', '--dir', directory, '--json', 'run', JSON.stringify(event)],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env },
  );
  let words = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      words = (words + data.toString()).slice(-4000);
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const kill = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL');
    await ended;
  };
  cleanUp.push(kill);
  const when = async (happens: () => boolean): Promise<void> => {
    const end = () => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`);
    await until(happens, () => `what it was to be killed at (${words})`, end);
  };
  return { ended, kill, when, words: () => words };
}

test('in the live import, in the middle of a step and at its begin: readers go on where they were, and no write is lost', async () => {
  const world = await makeLiveWorld(runs, {
    from: 'pgvector',
    to: 'qdrant',
    records: 800,
  });
  // What a run is killed in is not over before.
  const upTo50 = withSteps(world.event, [10, 1], [50, 300], [100, 1]);
  const upTo100 = withSteps(world.event, [10, 1], [50, 1], [100, 300]);
  const history = watchFlag(world.directory, world.flag);
  const options = (writer: number) => ({ name: `application ${writer}`, seed: writer + 7, writers: 2, writer });
  const one = await openApplication(world.application(options(0)));
  cleanUp.push(() => one.application.stop());
  const other = await startApplicationProcess(world.application(options(1)));
  cleanUp.push(other.kill);
  const filesIn = (folder: string): number => {
    const path = join(world.directory, folder);
    return existsSync(path) ? readdirSync(path).length : 0;
  };
  const weight = (): number => history.last()?.weight ?? 0;

  const importing = start(world, upTo50);
  await importing.when(() => filesIn(runKeys(world.run).loaded) >= 3);
  await importing.kill();
  expect(history.last()).toMatchObject({ writes: [world.source, world.target], weight: 0 });

  const stepping = start(world, upTo50);
  await stepping.when(() => weight() === 50);
  await one.works();
  await stepping.kill();
  // Nobody watches now: readers stay where they are.
  await one.works();
  expect(weight()).toBe(50);

  const last = start(world, upTo100);
  await last.when(() => weight() === 100);
  await last.kill();
  const final = start(world, withSteps(world.event, [10, 1], [50, 1], [100, 1]));
  expect([await final.ended, final.words()]).toEqual([0, expect.any(String)]);

  expect(history.last()).toMatchObject({ active: world.target, weight: 0 });
  const weights = history.values.flatMap(({ flag }) => (flag?.active === world.source ? [flag.weight] : []));
  expect(weights).toEqual(weights.toSorted((a, b) => a - b));
  const moves = await readMoves(runs.engine.objects, world.run);
  expect(moves.map(({ action, percent }) => `${action} ${percent ?? ''}`.trim())).toEqual([
    'double',
    'step 10',
    'step 50',
    'step 100',
    'cutover',
  ]);
  const report = await getJson(runs.engine.objects, runKeys(world.run).report, reportSchema);
  expect(report?.verdict).toBe('validated');

  await one.works();
  const accounts = [await one.application.stop(), (await other.stop()).account];
  await one.settle();
  await one.close();
  history.stop();
  expect(await brokenPromises(accounts, world.records, world.sides)).toEqual([]);
  const reads = accounts.flatMap((account) => account.reads);
  expect(reads.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(follow(reads, history, world.flag, world.source).astray).toEqual([]);
  expect(accounts.flatMap(({ failedWrites }) => failedWrites)).toEqual([]);
}, 600_000);
