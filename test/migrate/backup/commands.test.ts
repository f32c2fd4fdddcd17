import { execFile } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import pg from 'pg';
import { makeDatabase } from '../../servers/database.ts';
import { pgPrograms } from '../../servers/pg-programs.ts';

/** The commands as people type them, each a process of its own, which takes seconds on a busy machine. */
jest.setTimeout(240_000);
const cli = join(import.meta.dirname, '..', '..', '..', 'infra', 'local', 'cli', 'cli.ts');
let database: Awaited<ReturnType<typeof makeDatabase>>;
let sql: pg.Client;
let folder: string;

async function vecferry(...args: readonly string[]): Promise<{ code: number; out: string; events: readonly object[] }> {
  const given = [cli, '--dir', join(folder, 'state'), '--json', 'migrate', ...args];
  const options = { cwd: folder, env: { ...process.env, VECFERRY_PG_BIN: pgPrograms(), NODE_OPTIONS: '' } };
  const { code, stdout } = await promisify(execFile)(process.execPath, given, options).then(
    (done) => ({ code: 0, stdout: done.stdout }),
    (error: { code: number; stdout: string }) => error,
  );
  return {
    code,
    out: stdout,
    events: stdout
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line)),
  };
}

beforeAll(async () => {
  database = await makeDatabase('backup_commands');
  sql = new pg.Client(database.url);
  sql.on('error', () => undefined);
  await sql.connect();
  folder = await mkdtemp(join(tmpdir(), 'backup-commands-'));
  await mkdir(join(folder, 'migrations'));
  const write = async (name: string, text: string) => await writeFile(join(folder, 'migrations', name), text);
  await write('vecferry.yaml', `stores:\n  db:\n    store: pgvector\n    connection: {url: '${database.url}'}\n`);
  await write(
    '001_words.sql',
    `-- migrate:up\nCREATE TABLE words (id bigint PRIMARY KEY, word text NOT NULL);\n-- migrate:down\nDROP TABLE words;\n`,
  );
  await write(
    '002_rank.sql',
    `-- migrate:up\nALTER TABLE words ADD COLUMN rank bigint;\n-- migrate:down\nALTER TABLE words DROP COLUMN rank;\n`,
  );
});
afterAll(async () => {
  await sql.end();
  await database.drop();
});

describe('vecferry migrate', () => {
  test('makes a backup before it goes up, looks at the stores after it, and is brought back by restore', async () => {
    expect((await vecferry('up', '1')).code).toBe(0);
    await sql.query("INSERT INTO words VALUES (1, 'ferry')");
    const up = await vecferry('up', '--backup');
    expect([up.code, up.out]).toEqual([0, expect.stringContaining('"type":"checked"')]);
    const listed = await vecferry('backups');
    expect(listed.events).toEqual([expect.objectContaining({ type: 'backup', reason: 'before up 2', seq: 1 })]);
    const id = String(Reflect.get(listed.events[0] ?? {}, 'id'));

    await sql.query('DELETE FROM words');
    const restored = await vecferry('restore', id);
    expect([restored.code, restored.out]).toEqual([0, expect.stringContaining('"type":"restored"')]);
    expect((await sql.query('SELECT * FROM words')).rows).toEqual([{ id: '1', word: 'ferry' }]);
    const status = await vecferry('status');
    expect(status.events[0]).toMatchObject({
      type: 'migrations',
      applied: [{ number: 1 }],
      pending: [{ number: 2 }],
      problems: [],
    });
    // What was restored is where migrations go on from.
    expect((await vecferry('up')).code).toBe(0);
    expect((await vecferry('check')).code).toBe(0);
  });

  test('check ends with 5 where something is wrong, and keeps the report', async () => {
    await sql.query('ALTER TABLE words DROP COLUMN rank');
    const { code, events } = await vecferry('check');
    expect(code).toBe(5);
    expect(events.at(-1)).toMatchObject({ type: 'checked', format: 1, passed: false, tally: { wrong: 1 } });
    const report: unknown = JSON.parse(await readFile(join(folder, 'state', 'check.json'), 'utf8'));
    expect(report).toMatchObject({ format: 1, passed: false });
  });

  test('makes one by hand, deletes the oldest, and says which there are where one is named that is not', async () => {
    expect((await vecferry('backup', '--reason', 'before the release')).code).toBe(0);
    // A restore that is under way, by a process that lives: what it needs stays.
    const there = (await vecferry('backups')).events.map((event) => Reflect.get(event, 'id'));
    const note = join(folder, 'state', 'backups', 'restoring.json');
    const by = { by: 'ada', at: '2026-11-22T00:00:00.000Z', owner: `${process.ppid} another` };
    await writeFile(note, JSON.stringify({ id: there[0], first: there[1], stores: ['db'], ...by }));
    const needed = await vecferry('backups', '--keep', '0');
    expect(needed.events.map((event) => Reflect.get(event, 'state'))).toEqual(['there', 'there', 'deleted']);
    await rm(note);
    expect((await vecferry('backup', '--reason', 'before the release')).code).toBe(0);
    const kept = await vecferry('backups', '--keep', '1');
    expect(kept.events.map((event) => Reflect.get(event, 'state'))).toEqual(['deleted', 'deleted', 'there']);
    expect((await vecferry('backups')).events).toMatchObject([{ reason: 'before the release' }]);
    const none = await vecferry('restore', 'nothing');
    expect([none.code, none.out]).toEqual([2, expect.stringContaining("there is no backup 'nothing'")]);
  });

  test('deletes no good backup for the sake of a later one that was altered', async () => {
    const [made] = (await vecferry('backup', '--reason', 'of tonight')).events;
    const backups = join(folder, 'state', 'backups');
    const altered = join(backups, String(Reflect.get(made ?? {}, 'id')));
    const part = (await readdir(altered, { recursive: true })).find((name) => name.endsWith('.dump'));
    await appendFile(join(altered, String(part)), 'more');
    const kept = await vecferry('backups', '--keep', '1', '--verify');
    expect(kept.code).toBe(4);
    expect(kept.events).toMatchObject([{ state: 'damaged' }, { state: 'verified', reason: 'before the release' }]);
    expect((await vecferry('backups')).events).toHaveLength(2);
  });
});
