import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test } from '@jest/globals';
import type { Output } from '../../infra/local/output.ts';
import { followRun } from '../../infra/local/progress.ts';
import { fileLedger } from '../../lib/client/file-ledger.ts';
import { runKeys } from '../../lib/keys.ts';
import { putJson } from '../../lib/objects.ts';
import { openFileObjects } from '../../lib/objects-files.ts';
import { runStatus } from '../../lib/status.ts';
import { makePlan } from '../make-plan.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-progress-'));
afterAll(() => rm(directory, { recursive: true }));

test('what live writes are at is a line when it is something else, not one for each record that is deleted', async () => {
  const objects = openFileObjects(directory);
  const since = '2026-01-01T00:00:00.000Z';
  const lines: string[] = [];
  const output: Output = {
    json: false,
    event: () => undefined,
    line: (text) => void lines.push(text),
    fail: () => undefined,
  };
  await putJson(objects, runKeys('r1').plan, makePlan({ live: true }));
  await putJson(objects, runKeys('r1').live, { flag: 'words', since, settledAt: since });
  const place = { directory };
  const following = followRun({ objects, run: 'r1', output, isTerminal: false, intervalMs: 20, place });
  const ledger = fileLedger(directory);
  for (let deleted = 1; deleted <= 150; deleted += 15) {
    for (let each = 0; each < 15; each++) await ledger.addTombstones('r1', [String(deleted + each)]);
    await sleep(50);
  }
  await following.stop();
  const live = (await runStatus({ objects, run: 'r1' })).stages.find(({ name }) => name === 'live');
  expect(live?.detail).toContain('150 tombstones so far');
  const told = lines.filter((line) => line.includes('tombstone'));
  // "1 tombstone" and "2 tombstones" may each have been seen.
  expect(told.length).toBeGreaterThan(0);
  expect(told.length).toBeLessThanOrEqual(2);
});
