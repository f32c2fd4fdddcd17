import { describe, expect, test } from '@jest/globals';
import { statusLines } from '../../../infra/local/cli/describe.ts';
import type { Embedding } from '../../../lib/embed/stage/embed-files.ts';
import { embeddedKey, runKeys } from '../../../lib/keys.ts';
import { putJson } from '../../../lib/objects.ts';
import { readSpans, timelineOf, workedSeconds } from '../../../lib/report/timeline.ts';
import type { Plan } from '../../../lib/run-files.ts';
import { runStatus } from '../../../lib/status.ts';
import { memoryObjects } from '../../local/memory-objects.ts';
import { makeEmbedding, makeEmbedPlan, makePlan } from '../../make-plan.ts';

const run = 'r1';
const keys = runKeys(run);
const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();

const event = { embed: { text: 'word', model: { provider: 'openai', name: 'small', dimensions: 8 } } };
const made = makePlan(event);
const plan: Plan = {
  ...made,
  embed: makeEmbedPlan(),
  mapping: { ...made.mapping, vectors: { embedding: 'embedding' } },
};
const embedding = (changes: Partial<Embedding>) => makeEmbedding({ records: 120, pending: 120, ...changes });
async function statusOf(files: Record<string, unknown>, of: Plan = plan) {
  const objects = memoryObjects({});
  for (const [key, value] of Object.entries({ [keys.plan]: of, ...files })) await putJson(objects, key, value);
  const status = await runStatus({ objects, run });
  return { status, text: status.stages.map(({ name, state, done, total }) => `${name} ${state} ${done}/${total}`) };
}

describe('the status of a run that embeds', () => {
  test('has its embedding before the import and its drift after the recall, and a run that copies has neither', async () => {
    expect((await statusOf({})).text).toEqual([
      'export running 0/100',
      'embed waiting 0/100',
      'import waiting 0/100',
      'index waiting 0/1',
      'compare waiting 0/100',
      'recall waiting 0/2',
      'drift waiting 0/1',
      'cutover waiting 0/1',
    ]);
    expect((await statusOf({}, makePlan())).text.join()).not.toMatch(/embed|drift|catch up/);
  });

  test('counts every record that has an answer, be it that it failed, and says what was spent so far', async () => {
    const seen = {
      completed: 50,
      failed: 3,
      withoutText: 2,
      texts: 48,
      tokens: 1234,
      usd: 0.0025,
      pending: 65,
      throttled: 4,
      trouble: 'connection refused',
    };
    const failures = Array.from({ length: 12 }, (_, i) => ({ id: String(i), reason: 'too long' }));
    const { status, text } = await statusOf({ [keys.embedding]: embedding({ ...seen, failures }) });
    expect(text[1]).toBe('embed running 55/120');
    expect(status.stages[1]?.detail).toBe(
      '48 texts of 1,234 tokens, 0.0025 USD, 3 failed, 2 without text, throttled 4 times, waiting: connection refused',
    );
    expect(status.embedding).toMatchObject(seen);
    const lines = statusLines(status, { directory: '.vecferry' });
    expect(lines).toContain('failed   the text of record 0: too long');
    // --json and the run's objects name the others.
    expect(lines.filter((line) => line.includes('too long'))).toHaveLength(10);
    const many = await statusOf({ [keys.embedding]: embedding({ failed: 12, failures }) });
    expect(statusLines(many.status, { directory: '.vecferry' })).toContain(
      'failed   12 texts in all: vecferry status r1 --failed',
    );
  });

  test('is done with the embedding when that says so, and with the drift when it is measured', async () => {
    const done = embedding({ done: true, pending: 0, completed: 120, texts: 120, usd: null });
    const { status, text } = await statusOf({ [keys.embedding]: done, [keys.drift]: { done: false } });
    expect([text[1], text[6]]).toEqual(['embed done 120/120', 'drift running 0/1']);
    expect(status.stages[1]?.detail).toBe('120 texts of 0 tokens');
    const measured = await statusOf({ [keys.embedding]: done, [keys.drift]: { done: true } });
    expect(measured.text[6]).toBe('drift done 1/1');
  });

  test('of a run in place has a stage for what the table got meanwhile, done once its index is begun', async () => {
    const { model: _, ...source } = plan.event.source;
    const inPlace: Plan = { ...plan, event: { ...plan.event, target: { ...source, into: 'place' } } };
    expect((await statusOf({}, inPlace)).text[3]).toBe('catch up waiting 0/1');
    const indexing = await statusOf({ [keys.index]: { done: false, detail: 'building' } }, inPlace);
    expect(indexing.text[3]).toBe('catch up done 1/1');
  });
});

test('the time line has a strip for embedding, by the markers beside the vectors; its seconds are counted elsewhere', async () => {
  const objects = memoryObjects({});
  await objects.put(embeddedKey(run, '00000-000'), 'not JSON: vectors');
  const marker = embeddedKey(run, '00000-000').replace('.parquet', '.json');
  await putJson(objects, marker, { shard: '00000-000', records: 60, startedAt: at(0), at: at(60) });
  const spans = await readSpans(objects, run);
  expect(timelineOf(spans)?.stages).toMatchObject([{ stage: 'embed', records: 60 }]);
  // Shards are embedded several at once by one call: their sum would be paid for twice.
  expect(workedSeconds(spans)).toBe(0);
});
