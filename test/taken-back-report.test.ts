import { expect, test } from '@jest/globals';
import { rollBack } from '../lib/cutover/cutover.ts';
import { hasPassed } from '../lib/cutover/passed.ts';
import { flagPointer } from '../lib/cutover/pointer.ts';
import { runKeys } from '../lib/keys.ts';
import { getJson, putJson } from '../lib/objects.ts';
import { writeFailure } from '../lib/report/report-failure.ts';
import { reportSchema } from '../lib/report/report-schema.ts';
import { makeCanaryWorld, planFor, t0 } from './canary-world.ts';
import { memoryObjects } from './local/memory-objects.ts';
import { makeReport } from './make-report.ts';

test('readers that were taken back leave the verdict of the validation as it was: the report says so above all else', async () => {
  const objects = memoryObjects({});
  const plan = await planFor({});
  const validated = makeReport('', { run: plan.run, verdict: 'validated', findings: [], summary: 'All is equal.' });
  await putJson(objects, runKeys(plan.run).report, validated);
  const message = `readers of run 'r1' are back on memory:articles: at 10% 7 of the last 100 reads of the target failed`;
  const now = () => new Date('2026-03-01T12:00:00Z');
  const options = { objects, run: plan.run, plan, error: 'TakenBack', message, now };
  const report = await writeFailure(options);
  expect(report).toEqual({
    ...validated,
    summary: 'All is equal. Then readers were moved, and taken back.',
    takenBack: {
      at: '2026-03-01T12:00:00.000Z',
      reason: message,
      writes: expect.stringContaining('no write was lost'),
      next: expect.stringContaining('docs/runbook.md'),
    },
  });
  expect(await getJson(objects, runKeys(plan.run).report, reportSchema)).toEqual(report);
  // So the run may be cut over once the cause is mended.
  expect(await hasPassed(objects, plan.run)).toBe(true);
  const page = new TextDecoder().decode(await objects.get(runKeys(plan.run).reportPage));
  const taken = page.indexOf('Readers were taken back');
  expect(taken).toBeGreaterThan(0);
  expect(taken).toBeLessThan(page.indexOf('Every record compared'));
  expect(page).toContain('7 of the last 100 reads of the target failed');
  expect(page).not.toContain('the run may be cut over');
  // Step Functions may call twice.
  expect(await writeFailure(options)).toEqual(report);
});

test('a canary that failed otherwise is reported so too, and a failure that came before the canary is not', async () => {
  const world = await makeCanaryWorld();
  const { objects } = world.services;
  const { plan } = world;
  const createdAt = new Date(t0 - 60_000).toISOString();
  const validated = makeReport('', { run: plan.run, verdict: 'validated', findings: [], createdAt });
  await putJson(objects, runKeys(plan.run).report, validated);
  await world.step();
  const pointer = flagPointer(plan, world.services.flags);
  await rollBack({
    plan,
    ...world.services,
    pointer,
    now: world.now,
    reason: 'the canary failed with StoreUnavailable',
  });
  const options = { objects, run: plan.run, plan, message: 'the flag is away' };
  const { verdict, takenBack, failure } = await writeFailure({ ...options, error: 'StoreUnavailable' });
  expect({ verdict, failure }).toEqual({ verdict: 'validated', failure: null });
  expect(takenBack?.reason).toBe('StoreUnavailable: the flag is away');
  await putJson(objects, runKeys(plan.run).report, validated);
  expect(await writeFailure({ ...options, error: 'ImportFailed' })).toMatchObject({
    verdict: 'failed',
    takenBack: null,
  });
});
