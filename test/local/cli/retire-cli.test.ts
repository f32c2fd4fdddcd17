import { mkdtempSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { readGlosses } from '../../runs/glosses.ts';
import { commandLine } from './command-line.ts';

/** A change of the model on one machine, by the command line alone: run, look, validate again, cut over, finish, retire. */

const work = mkdtempSync(join(tmpdir(), 'vecferry-retire-'));
const kept = join(work, 'kept');
const vecferry = commandLine(kept);
const lance = (collection: string) => ({ store: 'lancedb', connection: { path: join(work, 'lance') }, collection });
const recall = { k: 3, queries: 10, atLeast: 0.5 };
const event = (source: unknown, target: unknown, more: Record<string, unknown> = {}): string =>
  JSON.stringify({ source, target, validate: { recall }, ...more });

const json = async (run: string, name: string) => JSON.parse(await readFile(join(kept, 'runs', run, name), 'utf8'));

beforeAll(async () => {
  const lines = readGlosses(60).map(({ id, text }, i) =>
    JSON.stringify({ id, text, vector: [(i % 7) + 0.5, (i % 5) + 0.5, 1.5, i + 0.5] }),
  );
  await mkdir(join(work, 'files'));
  await writeFile(join(work, 'files', 'glosses.jsonl'), `${lines.join('\n')}\n`);
  const files = { store: 'files', connection: { path: join(work, 'files') }, collection: 'glosses.jsonl' };
  const { code, err } = await vecferry(['run', event(files, lance('old')), '--run', 'copy']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect((await vecferry(['finish', 'copy'])).code).toBe(0);
});

test('a file that vecferry did not write is never deleted for its run', async () => {
  const { code, err } = await vecferry(['retire', 'copy', '--confirm', 'glosses.jsonl']);
  expect({ code, err }).toEqual({ code: 3, err: expect.stringMatching(/^Incompatible: vecferry did not write/) });
  expect(await readFile(join(work, 'files', 'glosses.jsonl'), 'utf8')).toContain('"id"');
});

test('a model is changed, the target validated again without a text embedded twice, and the old collection dropped by its name', async () => {
  const embed = { text: 'text', model: { provider: 'local', name: 'universal-sentence-encoder-lite' } };
  const given = event(lance('old'), lance('new'), { embed, cutover: { flag: 'glosses' } });
  const run = await vecferry(['--json', 'run', given, '--run', 'model']);
  expect({ code: run.code, err: run.err }).toEqual({ code: 0, err: '' });
  const progress = run.events().filter(({ type, stage }) => type === 'progress' && stage === 'embed');
  expect(progress.at(-1)).toMatchObject({ state: 'done', done: 60, total: 60, unit: 'records' });
  expect(progress.at(-1)?.['detail']).toMatch(/^60 texts of \d+ tokens$/);
  const states = run
    .events()
    .flatMap(({ type, status, state }) => (type === 'state' && status === 'entered' ? [state] : []));
  for (const state of ['Embed the texts', 'Measure the drift']) expect(states).toContain(state);

  const before = await json('model', 'embedding.json');
  const drift = await json('model', 'drift.json');
  await writeFile(join(kept, 'runs', 'model', 'drift.json'), JSON.stringify({ ...drift, changed: 'an old one' }));
  const again = await vecferry(['--json', 'validate', 'model']);
  expect({ code: again.code, err: again.err }).toEqual({ code: 0, err: '' });
  const validating = again
    .events()
    .flatMap(({ type, status, state }) => (type === 'state' && status === 'entered' ? [state] : []));
  expect(validating).not.toContain('Embed the texts');
  expect(await json('model', 'embedding.json')).toEqual(before);
  // Measured anew, and not the file that was there.
  expect((await json('model', 'drift.json')).changed).toBe(drift.changed);

  const status = await vecferry(['status', 'model']);
  expect(status.out).toMatch(/^embed {4}done {2}60 of 60 records {2}60 texts/m);

  const early = await vecferry(['retire', 'model', '--confirm', 'old']);
  expect({ code: early.code, err: early.err }).toMatchObject({
    code: 2,
    err: expect.stringContaining('vecferry finish model'),
  });
  expect((await vecferry(['finish', 'model'])).code).toBe(0);

  // Readers of the first run's flag were never told of the second run.
  const followed = await vecferry(['retire', 'model']);
  expect({ code: followed.code, err: followed.err }).toMatchObject({
    code: 2,
    err: expect.stringMatching(/the flag \S+old\.json sends reads or writes to lancedb:old/),
  });
  const moved = { active: 'lancedb:new', candidate: 'lancedb:new', weight: 0 };
  await writeFile(join(kept, 'flags', 'old.json'), JSON.stringify(moved));

  const told = await vecferry(['retire', 'model']);
  expect(told).toMatchObject({ code: 0, err: '' });
  expect(told.out).toMatch(/^retire {3}would drop LanceDB table 'old': 60 records, .*; confirm with its name, old,/m);
  expect(told.out).toMatch(/^drop {5}vecferry --dir \S+ retire model --confirm old$/m);
  const wrong = await vecferry(['retire', 'model', '--confirm', 'new']);
  expect({ code: wrong.code, err: wrong.err }).toMatchObject({ code: 2, err: expect.stringContaining("is 'old'") });

  const done = await vecferry(['--json', 'retire', 'model', '--confirm', 'old']);
  expect(done.events()).toMatchObject([{ type: 'retired', run: 'model', dropped: true, name: 'old', records: 60 }]);
  const twice = await vecferry(['retire', 'model', '--confirm', 'old']);
  expect({ code: twice.code, out: twice.out }).toMatchObject({
    code: 0,
    out: expect.stringContaining('was dropped at'),
  });
  for (const command of [
    ['rollback', 'model'],
    ['validate', 'model'],
    ['run', given, '--run', 'model'],
  ]) {
    const { code, err } = await vecferry(command);
    expect({ command, code, err }).toMatchObject({
      code: command[0] === 'run' ? 3 : 2,
      err: expect.stringMatching(/retired|finished/),
    });
  }
  // Its report is still there: it says what was held against what.
  expect(await json('model', 'report.json')).toMatchObject({ verdict: 'validated' });
  expect((await vecferry(['status', 'model'])).out).toMatch(/^readers {2}retired: lancedb:old is dropped for good/m);
});
