import { expect, test } from '@jest/globals';
import { statusCommand } from '../infra/local/cli/status-command.ts';
import { logMove } from '../lib/cutover/moves.ts';
import { runKeys } from '../lib/keys.ts';
import { type ObjectStore, putJson } from '../lib/objects.ts';
import { memoryObjects } from './local/memory-objects.ts';
import { makePlan } from './make-plan.ts';

/** Every run of a place, as `vecferry status` without a run lists them. */

const day = (at: number): string => `2026-01-0${at}T12:34:56.000Z`;
const planned = (objects: ObjectStore, run: string, at: number) =>
  putJson(objects, runKeys(run).plan, { ...makePlan({}, run), createdAt: day(at) });
const reported = (objects: ObjectStore, run: string, verdict: string, at: number) =>
  putJson(objects, runKeys(run).report, { verdict, createdAt: day(at) });
const moved = (objects: ObjectStore, run: string, action: 'step' | 'cutover' | 'rollback' | 'finish', percent = 100) =>
  logMove(objects, run, { at: day(3), action, kind: 'flag', name: 'words', from: 'a:b', to: 'c:d', percent });

async function listed(objects: ObjectStore) {
  const lines: string[] = [];
  const events: unknown[] = [];
  const output = {
    json: false,
    event: (event: unknown) => void events.push(event),
    line: (text: string) => void lines.push(text),
    fail: () => undefined,
  };
  expect(await statusCommand({ output, objects, place: { directory: '.vecferry' }, failed: false })).toBe(0);
  return { lines, events };
}

test('runs are listed newest first: how each ended, where it has put readers, what it moves', async () => {
  const objects = memoryObjects({});
  await planned(objects, 'first', 1);
  await reported(objects, 'first', 'validated', 2);
  await moved(objects, 'first', 'cutover');
  await planned(objects, 'shared', 2);
  await reported(objects, 'shared', 'validated', 3);
  await moved(objects, 'shared', 'step', 25);
  await planned(objects, 'back', 3);
  await reported(objects, 'back', 'failed', 4);
  await moved(objects, 'back', 'cutover');
  await moved(objects, 'back', 'rollback');
  await planned(objects, 'fresh', 4);
  const { lines, events } = await listed(objects);
  const what = 'pgvector public.words -> lancedb words';
  expect(lines).toEqual([
    `fresh   2026-01-04 12:34  not ended                               ${what}`,
    `back    2026-01-03 12:34  failed     readers on the source        ${what}`,
    `shared  2026-01-02 12:34  validated  25 % of reads on the target  ${what}`,
    `first   2026-01-01 12:34  validated  readers on the target        ${what}`,
  ]);
  expect(events.at(-1)).toEqual({
    type: 'run',
    run: 'first',
    createdAt: day(1),
    source: 'pgvector public.words',
    target: 'lancedb words',
    ended: 'validated',
    readers: 'target',
    percent: null,
    problem: null,
  });
});

test('a run that was started again has not ended by what its report said before', async () => {
  const objects = memoryObjects({});
  await reported(objects, 'again', 'failed', 1);
  await planned(objects, 'again', 2);
  expect((await listed(objects)).events).toMatchObject([{ run: 'again', ended: null }]);
});

test('a damaged run is told and hides no other, and one whose plan was refused has nothing but its name', async () => {
  const objects = memoryObjects({});
  await planned(objects, 'whole', 1);
  await moved(objects, 'whole', 'finish');
  await objects.put(runKeys('cut').plan, '{"format": 1, "ru', 'application/json');
  await reported(objects, 'refused', 'failed', 1);
  const { lines, events } = await listed(objects);
  expect(events).toMatchObject([
    { run: 'whole', ended: null, readers: 'finished' },
    { run: 'cut', ended: 'unreadable', problem: expect.stringContaining('runs/cut/plan.json') },
    { run: 'refused', ended: 'refused', source: null },
  ]);
  expect(lines[1]).toMatch(/^cut +- +unreadable .*plan\.json/);
});

test('where none is kept the list says so', async () => {
  expect((await listed(memoryObjects({}))).lines).toEqual([expect.stringMatching(/^no run in .*runs\/$/)]);
});
