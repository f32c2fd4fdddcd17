import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { reportSchema } from '../../lib/report/report-schema.ts';
import { loadedSchema, manifestSchema } from '../../lib/run-files.ts';
import { until } from '../until.ts';

/** A real process on real files, killed with SIGKILL in each step and started again by the same command. */

interface Place {
  readonly run?: string;
  readonly directory: string;
  readonly event: string;
  readonly objects: (name: string) => string;
}

/** 10,000 words in some thirty shards, from a folder of Parquet to LanceDB. */
function makePlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-kill-'));
  mkdirSync(join(directory, 'source', 'words'), { recursive: true });
  copyFileSync('test/data/words-10k.parquet', join(directory, 'source', 'words', 'words.parquet'));
  const event = JSON.stringify({
    source: { store: 'files', connection: { path: join(directory, 'source') }, collection: 'words' },
    target: { store: 'lancedb', connection: { path: join(directory, 'lancedb') }, collection: 'words' },
    parallel: { shardMiB: 0.25 },
    validate: { recall: { depths: [1] } },
  });
  return { directory, event, objects: (name) => join(directory, 'state', 'runs', 'r1', name) };
}

/** The same two collections, only held against each other. */
function validationOf({ event }: Place): string {
  return JSON.stringify({ ...JSON.parse(event), mode: 'validate' });
}

function start({ directory, event, run = 'r1' }: Place) {
  const child = spawn(
    process.execPath,
    ['infra/local/vecferry.mjs', '--dir', join(directory, 'state'), '--json', 'run', event, '--run', run],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: the kill reaches whatever the command has started.
      detached: true,
    },
  );
  const lines: string[] = [];
  child.stdout.on('data', (data: Buffer) => lines.push(data.toString()));
  child.stderr.on('data', (data: Buffer) => lines.push(data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  return { child, ended, lines };
}

/** Kills the run as soon as a folder of its objects holds `count` files. */
async function killWhen(place: Place, folder: string, count: number): Promise<void> {
  const { child, ended, lines } = start(place);
  await until(
    () => filesIn(place.objects(folder)).length >= count,
    () => `${count} files in ${folder} (${lines.join('').slice(-2000)})`,
    () => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`),
  );
  process.kill(-(child.pid ?? 0), 'SIGKILL');
  await ended;
  expect(existsSync(place.objects('report.json'))).toBe(false);
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => /\.(parquet|json)$/.test(name)) : [];
}

/** When each file of a folder was written: one that is made again gets another time. */
function writtenAt(place: Place, folder = 'shards'): Map<string, number> {
  return new Map(
    filesIn(place.objects(folder)).map((name) => [name, statSync(join(place.objects(folder), name)).mtimeMs]),
  );
}

/** Every file that was there before is there as it was: a shard that took less than ten seconds has only its last marker. */
function expectUntouched(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): void {
  expect([...before].filter(([name, time]) => after.get(name) !== time)).toEqual([]);
}

async function finish(place: Place): Promise<void> {
  const { ended, lines } = start(place);
  const code = await ended;
  if (code !== 0) throw new Error(`exit ${code}: ${lines.join('').slice(-3000)}`);
}

function expectWhole(place: Place): void {
  const manifest = manifestSchema.parse(JSON.parse(readFileSync(place.objects('manifest.json'), 'utf8')));
  expect(manifest.records).toBe(10_000);
  const loaded = filesIn(place.objects('loaded')).map((name) =>
    loadedSchema.parse(JSON.parse(readFileSync(join(place.objects('loaded'), name), 'utf8'))),
  );
  expect(loaded.reduce((sum, { written }) => sum + written, 0)).toBe(10_000);
  const report = reportSchema.parse(JSON.parse(readFileSync(place.objects('report.json'), 'utf8')));
  expect(report).toMatchObject({
    verdict: 'validated',
    compare: { equal: 10_000 },
    counts: { source: 10_000, manifest: 10_000, target: 10_000, extra: 0 },
  });
}

/** Every shard but the newest, which a kill may have cut off, stays as it was: it is not exported again. */
function wholeShards(place: Place): ReadonlyMap<string, number> {
  const all = writtenAt(place);
  const newest = Math.max(...all.values());
  return new Map([...all].filter(([, time]) => time < newest));
}

describe('killed in every step and started again, the result is the same, and only what was under way is done again', () => {
  const folders = ['compared', 'neighbours', 'answers'];
  let moved: Place | undefined;

  test('of a run: in export, in import, while it compared, looked for the exact neighbours, and measured recall', async () => {
    const place = makePlace();
    const exported: ReadonlyMap<string, number>[] = [];
    for (const [folder, count] of [
      ['shards', 4],
      ['loaded', 3],
    ] as const) {
      await killWhen(place, folder, count);
      exported.push(wholeShards(place));
    }
    const killed: ReadonlyMap<string, number>[][] = [];
    for (const [folder, count] of [
      ['compared', 10],
      ['neighbours', 22],
      ['answers', 2],
    ] as const) {
      await killWhen(place, folder, count);
      killed.push(folders.map((each) => writtenAt(place, each)));
    }
    await finish(place);
    expectWhole(place);
    for (const before of exported) {
      expect(before.size).toBeGreaterThan(0);
      expectUntouched(before, writtenAt(place));
    }
    for (const before of killed) {
      for (const [at, folder] of folders.entries()) {
        expectUntouched(before[at] ?? new Map(), writtenAt(place, folder));
      }
    }
    moved = place;
  });

  test('of a validation of two collections that are both there: those of the run before', async () => {
    if (moved === undefined) throw new Error('the run before did not end, so there is nothing to validate');
    const { objects } = moved;
    const place = {
      ...moved,
      event: validationOf(moved),
      objects: (name: string) => objects(`../r2/${name}`),
      run: 'r2',
    };
    await killWhen(place, 'shards', 3);
    await killWhen(place, 'compared', 10);
    const compared = writtenAt(place, 'compared');
    await killWhen(place, 'answers', 2);
    const answers = writtenAt(place, 'answers');
    await finish(place);
    const report = reportSchema.parse(JSON.parse(readFileSync(place.objects('report.json'), 'utf8')));
    expect(report).toMatchObject({ mode: 'validate', verdict: 'validated', compare: { equal: 10_000, extra: 0 } });
    expect(report.recall?.sets).toMatchObject([{ outcome: 'passed', target: { queries: 200 } }]);
    expectUntouched(compared, writtenAt(place, 'compared'));
    expectUntouched(answers, writtenAt(place, 'answers'));
    expect(Date.parse(report.compare?.startedAt ?? '')).toBeLessThan(Math.min(...compared.values()));
  });
});
