import { mkdtempSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { spawnCommand } from '../command-line.ts';

const folder = join(mkdtempSync(join(tmpdir(), 'vecferry-lint-')), 'migrations');
const lint = (...args: readonly string[]) => spawnCommand(['migrate', 'lint', ...args]);
const migration = (name: string): string => join(folder, name);

beforeAll(async () => {
  await mkdir(folder, { recursive: true });
  const up = '-- migrate:up\n';
  await writeFile(
    migration('001_articles.sql'),
    `${up}CREATE TABLE articles (id int);\nCREATE INDEX ON articles (id);\n`,
  );
  await writeFile(migration('002_lang.sql'), `${up}\nALTER TABLE articles\n  ADD COLUMN lang text NOT NULL;\n`);
  await writeFile(migration('003_drop.sql'), `${up}ALTER TABLE articles DROP COLUMN lang;\n`);
  await writeFile(migration('004_search.yaml'), 'collection: articles\n');
});

describe('vecferry migrate lint', () => {
  test('prints file, line, rule, level and message, the safe steps below, and ends with 3 for an error', async () => {
    const { code, out, err } = await lint('--migrations', folder);
    expect({ code, err }).toEqual({ code: 3, err: '' });
    const lines = out.split('\n');
    expect(lines[0]).toMatch(
      /002_lang\.sql:4 adding-required-field error articles\.lang is NOT NULL without a default/,
    );
    expect(lines[1]).toBe('    expand: ALTER TABLE articles ADD COLUMN lang text;');
    expect(out).toMatch(/003_drop\.sql:2 ban-drop-column warning /);
    expect(lines.at(-2)).toBe('1 error, 1 warning in 3 SQL files');
  });

  test('says the same as one JSON object a line, the sums last', async () => {
    const { code, events } = await spawnCommand(['--json', 'migrate', 'lint', '--migrations', folder]);
    expect(code).toBe(3);
    expect(events()).toMatchObject([
      { type: 'lint', line: 4, rule: 'adding-required-field', level: 'error', safeSteps: expect.any(Array) },
      { type: 'lint', line: 2, rule: 'ban-drop-column', level: 'warning' },
      { type: 'lint', files: 3, errors: 1, warnings: 1 },
    ]);
  });

  test('takes files and drafts by name, ends with 0 for a warning, and leaves rules out', async () => {
    expect(await lint(migration('003_drop.sql'))).toMatchObject({ code: 0, err: '' });
    const left = await lint('--ignore', 'adding-required-field,ban-drop-column', folder);
    expect(left).toMatchObject({ code: 0, out: '0 errors, 0 warnings in 3 SQL files\n' });
    await writeFile(join(folder, '..', 'draft.sql'), 'DROP TABLE articles;');
    expect((await lint(join(folder, '..', 'draft.sql'))).out).toMatch(/draft\.sql:1 ban-drop-table error/);
  });

  test("leaves out what the folder's configuration does without, and needs none", async () => {
    const config =
      'stores:\n  main: { store: pgvector, connection: { secret: db } }\nlint: { ignore: [adding-required-field] }\n';
    await writeFile(migration('vecferry.yaml'), config);
    expect(await lint('--migrations', folder)).toMatchObject({ code: 0, err: '' });
  });

  test('refuses a name that is nothing: a folder that is not there, a rule', async () => {
    expect(await lint('--migrations', join(folder, 'nowhere'))).toMatchObject({
      code: 2,
      err: expect.stringMatching(/no file or folder/),
    });
    expect(await lint('--ignore', 'nonsense', folder)).toMatchObject({
      code: 2,
      err: expect.stringMatching(/'nonsense' is no rule/),
    });
  });
});
