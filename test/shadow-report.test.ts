import { execFile } from 'node:child_process';
import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { fileLines, flagLines, shadowReport } from '../lib/cutover/shadow-report.ts';
import { runKeys } from '../lib/keys.ts';
import { putJson } from '../lib/objects.ts';
import { openFileObjects } from '../lib/objects-files.ts';
import { planFor } from './canary-world.ts';
import { appendLines, makeLine } from './client-lines.ts';

const t0 = Date.parse('2026-03-01T12:00:00Z');
const newDirectory = (): string => mkdtempSync(join(tmpdir(), 'vecferry-shadow-'));
const read = (k: number, overlap: number, activeMs: number, otherMs: number) => ({ k, overlap, activeMs, otherMs });

/** 100 queries at k 10, ten of them with half in common; 20 at k 100, all the same; in the files of two clients. */
function record(directory: string): void {
  for (let at = 0; at < 100; at++) {
    const line = makeLine({ at: t0 + at * 1000, shadowReads: [read(10, at < 10 ? 0.5 : 1, 10, at < 10 ? 60 : 5)] });
    appendLines(directory, `client-${at % 2}`, [line]);
  }
  appendLines(directory, 'client-0', [
    makeLine({ at: t0 + 100_000, shadowReads: Array.from({ length: 20 }, () => read(100, 1, 20, 20)) }),
  ]);
}

const expected = {
  goal: 0.9,
  from: '2026-03-01T12:00:00.000Z',
  to: '2026-03-01T12:01:40.000Z',
  places: ['memory:articles2'],
  queries: 120,
  overlap: { mean: 115 / 120, lowest: 0.5, belowGoal: 10 },
  depths: [
    { k: 10, queries: 100, mean: 0.95, lowest: 0.5, belowGoal: 10 },
    { k: 100, queries: 20, mean: 1, lowest: 1, belowGoal: 0 },
  ],
  latency: {
    active: { mean: 1400 / 120, p50: 10, p95: 20 },
    other: { mean: (600 + 450 + 400) / 120, p50: 5, p95: 60 },
    difference: { mean: 50 / 120, p50: -5, p95: 50 },
  },
  otherLines: 0,
};

describe('the shadow report', () => {
  test('says queries, mean and lowest overlap, latencies and what is below the goal, in all and at each k', async () => {
    const directory = newDirectory();
    record(directory);
    expect(await shadowReport(flagLines(join(directory, 'articles2'), 0), 0.9)).toEqual(expected);
    const later = await shadowReport(flagLines(join(directory, 'articles2'), t0 + 10_000), 0.9);
    expect(later).toMatchObject({ queries: 110, overlap: { mean: 1, lowest: 1, belowGoal: 0 } });
  });

  test('of a log in a file leaves other lines out and counts them, a half written last one too', async () => {
    const path = join(newDirectory(), 'app.log');
    const line = JSON.stringify(makeLine({ at: t0, shadowReads: [read(10, 0.8, 10, 12)] }));
    writeFileSync(path, `started\n${line}\n2026-03-01T12:00:00 ${line}\n{"level":"info"}\n\n${line.slice(0, 90)}`);
    const report = await shadowReport(fileLines([path], 0), 0.9);
    expect(report).toMatchObject({ queries: 2, overlap: { belowGoal: 2, lowest: 0.8 }, otherLines: 3 });
    appendFileSync(path, '\nmore\n');
    await expect(shadowReport(fileLines([path], 0), 0.9)).rejects.toMatchObject({ name: 'ShardDamaged' });
  });

  test('of nothing recorded has no figures, where a 0 would read as a bad one', async () => {
    const nothing = { from: null, to: null, queries: 0, overlap: null, depths: [], latency: null };
    expect(await shadowReport(flagLines(join(newDirectory(), 'articles2'), 0), 0.9)).toMatchObject(nothing);
  });
});

describe('vecferry shadow', () => {
  const root = new URL('..', import.meta.url).pathname;
  /** The command as a user types it, in a process of its own. */
  const run = async (...args: readonly string[]) => {
    const options = { cwd: root, env: { ...process.env, NODE_OPTIONS: '' } };
    const work = promisify(execFile)(process.execPath, [join(root, 'infra/local/cli/cli.ts'), ...args], options);
    return await work.then(
      ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    );
  };

  test('takes a flag, files, a goal and a time, prints lines or JSON, and says where nothing is', async () => {
    const directory = newDirectory();
    record(join(directory, 'metrics'));
    const json = await run('--dir', directory, '--json', 'shadow', 'articles2');
    expect(JSON.parse(json.stdout)).toMatchObject({
      type: 'shadow',
      ...expected,
      where: join(directory, 'metrics', 'articles2'),
    });
    const lines = await run(
      '--dir',
      directory,
      'shadow',
      'articles2',
      '--goal',
      '0.4',
      '--since',
      '2026-03-01T12:00:05Z',
    );
    expect(lines.stdout.split('\n')).toEqual([
      '115 queries answered by both sides, 2026-03-01T12:00:05.000Z to 2026-03-01T12:01:40.000Z: memory:articles2 against the other side',
      'overlap     mean 97.82%, lowest 50.00%',
      'below goal  0 (0.00%) below an overlap of 40.00%',
      'active      mean 11.7 ms, p50 10.0 ms, p95 20.0 ms',
      'other       mean 10.0 ms, p50 5.00 ms, p95 20.0 ms',
      'difference  mean -1.74 ms, p50 -5.00 ms, p95 0.00 ms',
      'overlap@10 of 95 queries: mean 97.36%, lowest 50.00%, 0 below',
      'overlap@100 of 20 queries: mean 100.00%, lowest 100.00%, 0 below',
      '',
    ]);
    // A run knows its flag, and since when it goes on.
    const plan = { ...(await planFor({})), createdAt: '2026-03-01T12:00:10.000Z' };
    await putJson(openFileObjects(directory), runKeys('r1').plan, plan);
    const ofRun = await run('--dir', directory, '--json', 'shadow', 'r1');
    expect(JSON.parse(ofRun.stdout)).toMatchObject({ queries: 110, overlap: { lowest: 1 } });
    const later = await run('--dir', directory, 'shadow', 'articles2', '--since', '2027-01-01T00:00:00Z');
    expect(later).toMatchObject({ code: 0, stdout: expect.stringContaining('no shadow read was recorded') });
    expect(await run('--dir', directory, 'shadow', 'nowhere')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no flag with metrics'),
    });
    expect(await run('--dir', directory, 'shadow', 'articles2', '--goal', '90')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--goal'),
    });
  });
});
