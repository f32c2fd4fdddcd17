import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, jest, test } from '@jest/globals';
import type { Output } from '../../../infra/local/cli/output.ts';
import { followRun } from '../../../infra/local/cli/progress.ts';
import { fileLedger } from '../../../lib/client/file-ledger.ts';
import { runKeys } from '../../../lib/keys.ts';
import { putJson } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { runStatus } from '../../../lib/status.ts';
import { makeEmbedding, makeEmbedPlan, makePlan } from '../../make-plan.ts';
import { until } from '../../until.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-progress-'));
afterAll(() => rm(directory, { recursive: true }));

function keepOutput() {
  const lines: string[] = [];
  const events: object[] = [];
  const output: Output = {
    json: false,
    event: (event) => void events.push(event),
    line: (text) => void lines.push(text),
    fail: () => undefined,
  };
  return { output, lines, events };
}

test('what live writes are at is a line when it is something else, not one for each record that is deleted', async () => {
  const objects = openFileObjects(directory);
  const since = '2026-01-01T00:00:00.000Z';
  const { output, lines } = keepOutput();
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

test('how far the texts are embedded is a line now and then, with rate and price, not one a look', async () => {
  const objects = openFileObjects(directory);
  const { output, lines } = keepOutput();
  const event = { embed: { text: 'word', model: { provider: 'openai', name: 'small', dimensions: 8 } } };
  await putJson(objects, runKeys('r2').plan, { ...makePlan(event, 'r2'), embed: makeEmbedPlan() });
  // However long the looks take: it is not yet time to say it again.
  const clock = jest.spyOn(performance, 'now');
  const base = performance.now();
  let passed = 0;
  clock.mockImplementation(() => base + passed);
  const following = followRun({ objects, run: 'r2', output, isTerminal: false, intervalMs: 10, place: { directory } });
  const ofEmbed = (): string[] => lines.filter((line) => line.startsWith('embed'));
  for (let completed = 10; completed <= 100; completed += 10) {
    const seen = {
      completed,
      pending: 100 - completed,
      texts: completed,
      tokens: completed * 5,
      usd: completed / 1000,
    };
    await putJson(objects, runKeys('r2').embedding, makeEmbedding({ ...seen, done: completed === 100 }));
    passed += 1000;
    await until(() => ofEmbed().length > 0, 'the first line');
    await sleep(30);
  }
  await following.stop();
  clock.mockRestore();
  expect(ofEmbed()).toEqual([
    expect.stringMatching(/^embed {4}\d+ of 100 records .*texts of \d+ tokens, 0\.\d+ USD$/),
    expect.stringMatching(/^embed {4}100 of 100 records {2}\d+\/s {2}.* s {2}100 texts of 500 tokens, 0\.10 USD$/),
  ]);
});

test('a plan that cannot be read ends no run that is followed: it is said once, and looked at again', async () => {
  const objects = openFileObjects(directory);
  const { output, lines, events } = keepOutput();
  await objects.put(runKeys('r3').plan, '{"run": "r3", "event": ', 'application/json');
  const following = followRun({ objects, run: 'r3', output, isTerminal: false, intervalMs: 5, place: { directory } });
  await sleep(100);
  expect(await following.stop()).toBeUndefined();
  expect(lines).toEqual([expect.stringMatching(/^warning {2}how far the run is cannot be shown: .*plan\.json/)]);
  expect(events).toEqual([expect.objectContaining({ type: 'warning' })]);
});

test('an index that is built for long says now and then how far it is and whom it waits for; one that is quick says nothing', async () => {
  const objects = openFileObjects(directory);
  const { output, lines } = keepOutput();
  await putJson(objects, runKeys('r4').plan, makePlan({}, 'r4'));
  await putJson(objects, runKeys('r4').manifest, { format: 1, run: 'r4', records: 0, bytes: 0, shards: [] });
  const clock = jest.spyOn(performance, 'now');
  const base = performance.now();
  clock.mockImplementation(() => base);
  const following = followRun({ objects, run: 'r4', output, isTerminal: false, intervalMs: 5, place: { directory } });
  const detail = '0 of 1 indexes; words_idx: waiting for writers before build, 0 %; waits for process 7, nightly';
  await putJson(objects, runKeys('r4').index, { done: false, detail, startedAt: new Date().toISOString() });
  await sleep(100);
  const ofIndex = (): string[] => lines.filter((line) => line.startsWith('index'));
  expect(ofIndex()).toEqual([]);
  clock.mockImplementation(() => base + 31_000);
  await until(() => ofIndex().length > 0, 'the line of an index that takes long');
  clock.mockImplementation(() => base + 62_000);
  await sleep(100);
  await following.stop();
  clock.mockRestore();
  // The same words are not said twice.
  expect(ofIndex()).toEqual([`index    ${detail}`]);
});
