import { mkdtempSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Engine, startEngine } from '../../infra/local/engine.ts';
import { loadDeployment } from '../../infra/local/synthesize.ts';
import { fileFlags } from '../../lib/cutover/flag.ts';
import { noticeSchema } from '../../lib/cutover/notices.ts';
import { errorNames } from '../../lib/errors.ts';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** The ways in which a validated run ends without its cutover, through the states that are deployed. */

const directory = mkdtempSync(join(tmpdir(), 'vecferry-ways-out-'));
const connection = { path: 'ways-out' };
let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ directory, deployment: await loadDeployment(directory) });
  const source = await memory.open({ connection, collection: 'words', options: {} });
  await source.prepare(makeSchema());
  const batch = makeBatch({ ids: ['1', '2', '3'] });
  await source.write(batch, { position: { run: 'seed', shard: '00000-000', offset: 0 }, mode: 'upsert' });
});
afterAll(async () => {
  await engine.close();
});

async function run(name: string, cutover: object, onEntered?: (state: string) => void) {
  const states: string[] = [];
  const event = {
    source: { store: 'memory', connection, collection: 'words' },
    target: { store: 'memory', connection, collection: name },
    validate: { recall: null },
    cutover,
  };
  const outcome = await engine.run({
    run: name,
    event,
    signal: new AbortController().signal,
    onState: ({ type, state }) => {
      if (type !== 'entered') return;
      states.push(state);
      onEntered?.(state);
    },
  });
  return { outcome, states };
}

test('a question that nobody answers ends the run well: readers stay, and people are told', async () => {
  const { outcome, states } = await run('unanswered', { approval: 'person', approvalHours: 1 / 3600 });
  expect(outcome).toMatchObject({ status: 'SUCCEEDED', output: { answer: { approved: false } } });
  expect(states.slice(-4)).toEqual([
    'Ask for approval',
    'Nobody answered',
    'Tell that readers stay',
    'Readers stay put',
  ]);
  const keys = await engine.objects.list(runKeys('unanswered').notices);
  const notices = await Promise.all(keys.map((key) => getJson(engine.objects, key, noticeSchema)));
  expect(notices.map((notice) => notice?.kind)).toEqual(['approval asked', 'approval not given']);
  expect(notices[1]?.text).toMatch(/nobody answered in time.*readers use what they used before/);
  expect(await engine.objects.list(runKeys('unanswered').moves)).toEqual([]);
});

test('a canary that fails before it has moved a reader takes nothing back, and the run fails under the canary’s own error', async () => {
  const flags = fileFlags(join(directory, 'flags'));
  // After the plan, which would refuse it.
  const goAstray = (state: string): void => {
    const astray = { active: 'memory:third', candidate: 'memory:third', weight: 0 };
    if (state === 'Write the report') void flags.write('elsewhere', astray);
  };
  const { outcome, states } = await run('astray', { flag: 'elsewhere', canary: {} }, goAstray);
  expect(states.slice(-5)).toEqual([
    'Step the canary',
    'Take readers back',
    'Readers are on the source',
    'Report the failure',
    'The run failed',
  ]);
  expect(outcome).toEqual({
    status: 'FAILED',
    error: errorNames.invalidEvent,
    cause: expect.stringMatching(/readers use memory:third, which is neither memory:words nor memory:astray/),
  });
});

test('a canary that fails with readers on the target takes them back before it is reported', async () => {
  const canary = { steps: [{ percent: 100, minutes: 10 }], patienceMinutes: 10, watchSeconds: 1 };
  const flags = fileFlags(join(directory, 'flags'));
  const running = run('away', { flag: 'away', canary });
  const isOver = running.then(() => true);
  const isMoved = async (): Promise<boolean> => (await flags.read('away'))?.weight === 100;
  while (!(await Promise.race([isOver, isMoved()]))) await sleep(20);
  // Whatever may go wrong in a look: here a metric that cannot be read.
  await mkdir(join(directory, 'metrics', 'away'), { recursive: true });
  await writeFile(join(directory, 'metrics', 'away', '2026-11-21T10-1-a.jsonl'), '{"reads": 1}\n{"reads": 1}\n');
  const { outcome, states } = await running;
  expect(outcome).toMatchObject({ status: 'FAILED', error: errorNames.shardDamaged });
  expect(states).toContain('Take readers back');
  expect(await flags.read('away')).toMatchObject({ active: 'memory:words', weight: 0 });
});
