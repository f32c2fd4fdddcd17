import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { postgresHistory } from '../../lib/migrate/history-postgres.ts';
import { openSession } from '../../lib/migrate/session.ts';
import { callCommand } from '../local/cli/command-line.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** Files that do not fit the history, and a history that is not as it was written. */

let world: MigrateWorld;
const file = (number: number): string => sqlFile(`CREATE TABLE t${number} (id int);`, `DROP TABLE t${number};`);
beforeEach(async () => {
  world = await makeMigrateWorld('migrate_problems', { command: callCommand });
  for (const name of ['001_a.sql', '002_b.sql', '003_c.sql']) await world.write(name, file(Number(name.slice(0, 3))));
  await world.done('to', '2', '--by', 'ada');
});
afterEach(() => world.close());
const refusal = async (...args: readonly string[]): Promise<string> => {
  const { code, err } = await world.migrate(...args);
  expect(code).toBe(3);
  return err;
};

test('an applied file that was changed is refused, with when it was applied and by whom, though its line ends may change', async () => {
  await world.write('002_b.sql', file(2).replaceAll('\n', '\r\n'));
  await world.done('check');
  await world.write('002_b.sql', `${file(2)}-- a word more\n`);
  const said = await refusal('up');
  expect(said).toContain('002_b.sql was changed after it was applied 20');
  expect(said).toContain('by ada');
  expect(said).toContain('vecferry migrate repair 2 --as applied');
  // Taking it back goes by what was recorded, so a changed file is not in the way.
  await world.write('002_b.sql', 'this is no SQL any more');
  await world.done('down');
  expect(await world.rows(`SELECT to_regclass('t2') AS name`)).toEqual([{ name: null }]);
});

test('what a person says of a changed file is noted, and then it is right', async () => {
  await world.write('002_b.sql', `${file(2)}-- a word more\n`);
  await world.done('repair', '2', '--as', 'applied', '--reason', 'a comment alone', '--by', 'bob');
  await world.done('check');
  const [line] = await world.rows('SELECT action, by, detail FROM vecferry_migrations ORDER BY seq DESC LIMIT 1');
  expect(line).toMatchObject({ action: 'repaired', by: 'bob', detail: expect.stringContaining('(a comment alone)') });
});

test('a file that bears the number of an applied one and another name is told to be another file, and no change of it', async () => {
  await world.remove('002_b.sql');
  await world.write('002_theirs.sql', file(9));
  const said = await refusal('up');
  expect(said).toContain('number 2 is 002_b, applied 20');
  expect(said).toContain('002_theirs.sql is another file; bring 002_b back');
});

test('a number that was taken back and has no file is a gap, as it is on every other stage', async () => {
  await world.done('down');
  await world.remove('002_b.sql');
  expect(await refusal('up')).toContain('number 2 has no file, and a later one has');
  expect(await world.rows(`SELECT to_regclass('t3') AS name`)).toEqual([{ name: null }]);
});

test('a file some of whose statements stand is missed when it is gone', async () => {
  await world.done('up');
  await world.write(
    '004_i.sql',
    sqlFile('CREATE INDEX CONCURRENTLY i ON t1 (id);\nCREATE INDEX CONCURRENTLY j ON nowhere (id);'),
  );
  await world.migrate('up', '--no-lint');
  await world.remove('004_i.sql');
  const said = await refusal('up');
  expect(said).toContain('004_i');
  expect(said).toContain('has no file any more, and 1 of its statements stand already');
});

test('an applied file that is missing, a gap, a number twice, a foreign file and two ways of numbering are named, all at once', async () => {
  await world.remove('002_b.sql');
  await world.write('001_b.sql', file(9));
  await world.write('005_e.sql', file(5));
  await world.write('notes.sql', 'SELECT 1;');
  await world.write('20260101000000_t.sql', file(7));
  const said = await refusal('up');
  expect(said).toContain('002_b, applied 20');
  expect(said).toContain('has no file any more');
  expect(said).toContain('number 4 has no file, and a later one has');
  expect(said).toContain('number 1 is there twice');
  expect(said).toContain("'notes.sql' is no migration");
  expect(said).toContain('some files are numbered from 1 on and some by time');
  expect(said).toContain('5 things do not fit');
});

test('a file that comes before an applied one is refused, since the order would not be what the numbers say', async () => {
  await world.done('up');
  await world.done('repair', '2', '--as', 'pending');
  const said = await refusal('up');
  expect(said).toContain('002_b.sql is not applied, and 3, which comes after it, is');
});

test('a number that is forgotten needs no file', async () => {
  await world.remove('002_b.sql');
  await world.done('repair', '2', '--as', 'forgotten');
  await world.done('up');
  expect((await world.done('status')).out).toContain('2 applied, 0 pending, 0 problems');
});

test('a history that was dropped is told to be so, and is not begun anew by itself', async () => {
  await world.sql.query('DROP TABLE vecferry_migrations');
  for (const command of ['up', 'status', 'check']) {
    const said = await refusal(command);
    expect(said).toContain('the history of migrations, public.vecferry_migrations of');
    expect(said).toContain('was dropped; bring it back');
  }
  await world.sql.query('DROP TABLE vecferry_migrations_head');
  expect(await refusal('up')).toContain('was dropped; bring it back');
  expect(await world.rows(`SELECT to_regclass('t3') AS name`)).toEqual([{ name: null }]);
  await world.sql.query('DROP FUNCTION public.vecferry_migrations_is_append_only()');
  for (const number of ['1', '2']) await world.done('repair', number, '--as', 'applied');
  await world.done('up');
});

test('the history cannot be rewritten, and where somebody has done it all the same it is seen', async () => {
  await expect(world.rows(`UPDATE vecferry_migrations SET by = 'nobody'`)).rejects.toThrow('never rewritten');
  await expect(world.rows('DELETE FROM vecferry_migrations')).rejects.toThrow('never rewritten');
  await expect(world.rows('TRUNCATE vecferry_migrations')).rejects.toThrow('never rewritten');
  await world.sql.query('ALTER TABLE vecferry_migrations DISABLE TRIGGER append_only');
  await world.rows(`UPDATE vecferry_migrations SET by = 'nobody' WHERE seq = 2`);
  await world.sql.query('ALTER TABLE vecferry_migrations ENABLE TRIGGER append_only');
  const said = await refusal('up');
  expect(said).toContain('line 2 of the history, public.vecferry_migrations');
  await world.done('repair', 'history', '--reason', 'looked at it');
  await world.done('check');
});

/** As the table's owner can, with the guard off. */
const byHand = async (sql: string): Promise<void> => {
  await world.sql.query(`ALTER TABLE vecferry_migrations DISABLE TRIGGER append_only; ${sql}`);
  await world.sql.query('ALTER TABLE vecferry_migrations ENABLE TRIGGER append_only');
};

test.each([
  [
    'the last line',
    'DELETE FROM vecferry_migrations WHERE seq > 1',
    'ends with line 1, and line 2 was written after it',
  ],
  ['every line', 'TRUNCATE vecferry_migrations', 'ends with line 0, and lines 1 to 2 were written after it'],
  ['a line at its front', 'DELETE FROM vecferry_migrations WHERE seq = 1', 'line 2 of the history'],
  [
    'the order of its lines',
    'UPDATE vecferry_migrations SET seq = seq + 2; UPDATE vecferry_migrations SET seq = 5 - seq',
    'line 1 of the history',
  ],
  [
    'the last line, for another one',
    `DELETE FROM vecferry_migrations WHERE seq = 2; INSERT INTO vecferry_migrations
      SELECT 2, 2, name, checksum, action, at, by, milliseconds, rollback, detail, kind, declared, statement, sql, stands_at, chain FROM vecferry_migrations`,
    'line 2 of the history',
  ],
  [
    'the end, with one line more',
    `INSERT INTO vecferry_migrations SELECT 3, 3, name, checksum, action, at, by, milliseconds, rollback, detail, kind, declared, statement, sql,
      stands_at, encode(sha256('made up'), 'hex') FROM vecferry_migrations WHERE seq = 2`,
    'was not written by vecferry',
  ],
])('who takes %s is seen by every command, and goes on once a person has looked', async (_, sql, said) => {
  await byHand(sql);
  for (const command of ['up', 'down', 'check']) {
    const { code, err, out } = await world.migrate(command);
    expect(code).toBe(3);
    expect(err + out).toContain(said);
    expect(err + out).toContain('vecferry migrate repair history');
  }
  await world.done('repair', 'history', '--reason', 'known');
  expect((await world.done('status')).out).not.toContain('repair history');
  // What a person has held for right is not the end of it: the next cut is seen like the first.
  await byHand('DELETE FROM vecferry_migrations WHERE seq = (SELECT max(seq) FROM vecferry_migrations)');
  expect(await refusal('up')).toContain('it was cut off');
});

const openHistory = async () => {
  const store = { name: 'db', store: 'pgvector', connection: { secret: 'migrate/db' }, options: {} };
  return postgresHistory(await openSession({ store, by: 'ada', onNotice: () => undefined }), 'db');
};

test('a line that is written after a cut does not hide it, as that of a restore', async () => {
  await byHand('DELETE FROM vecferry_migrations WHERE seq = 2');
  const history = await openHistory();
  const at = new Date().toISOString();
  const line = { number: 0, name: 'a backup', checksum: '', by: 'ada', milliseconds: 1, at } as const;
  await history.locked(() => history.append({ ...line, seq: 2, action: 'restored', standsAt: 1 }), {
    waitMs: 60_000,
    by: 'ada',
  });
  await history.close();
  expect(await refusal('up')).toContain('line 2 of the history');
});

test('whoever looks while others migrate sees no cut that is none', async () => {
  for (let number = 4; number <= 40; number++)
    await world.write(`0${String(number).padStart(2, '0')}_n.sql`, file(number));
  const history = await openHistory();
  let isDone = false;
  const up = world.done('up', '--no-lint').finally(() => {
    isDone = true;
  });
  const found: string[] = [];
  for (let looks = 0; !isDone || looks === 0; looks++) found.push(...(await history.faults()));
  await up;
  await history.close();
  expect(found).toEqual([]);
});

test('the end of the history is missed where it is dropped, and made anew by who says that all is right', async () => {
  await world.sql.query('DROP TABLE vecferry_migrations_head');
  expect(await refusal('up')).toContain('what keeps it was taken away');
  await world.done('repair', 'history');
  await world.done('up');
  await expect(world.sql.query('DELETE FROM vecferry_migrations_head')).rejects.toThrow('never rewritten');
});

test('what is not there is said, with what to do', async () => {
  expect((await world.migrate('to', '44')).err).toContain('there is no migration 44');
  expect((await world.migrate('repair', '44')).err).toContain('there is no migration 44');
  expect((await world.migrate('up', 'many')).code).toBe(2);
  const away = await world.migrate('status', '--config', 'nowhere.yaml');
  expect(away.code).toBe(2);
});

test('new writes the next file in the digits of the last', async () => {
  expect((await world.done('new', 'Add rank!')).out).toContain('004_add_rank.sql');
  await world.done('up', '--no-lint');
});

test('collections are named for the backup of a server alone: of a database all of it is kept', async () => {
  await world.write(
    'vecferry.yaml',
    'stores:\n  db: {store: pgvector, connection: {secret: migrate/db}, backup: {collections: [words]}}\n',
  );
  const { code, err } = await world.migrate('status');
  expect([code, err]).toEqual([2, expect.stringContaining('stores.db is pgvector, whose backup is all that it holds')]);
});

test('a restore that died stops up also where another process bears its number by now, since the lock of migrations is free', async () => {
  const directory = join(world.folder, '..', 'runs');
  await mkdir(join(directory, 'backups'), { recursive: true });
  const note = { id: 'a', first: 'b', stores: ['db', 'search'], by: 'ada', at: '2026-11-22T00:00:00.000Z' };
  const path = join(directory, 'backups', 'restoring.json');
  await writeFile(path, JSON.stringify({ ...note, owner: `${process.ppid} another` }));
  expect(await refusal('up')).toContain('bring it to its end with vecferry migrate restore a, or take it back');
  expect(await world.rows(`SELECT to_regclass('t3') AS name`)).toEqual([{ name: null }]);
  await rm(path);
  await world.done('up');
});

test('what up refuses before its first step is told by status: a file that is wrong, of each kind, and a store that nobody has named', async () => {
  await world.write('003_c.sql', '-- migrate:up\nCREATE TABL t3 (id int);\n-- migrate:down\n');
  await world.write('004_d.yaml', 'store: db\ncollection: words\nvectorss: {}\n');
  await world.write('005_e.yaml', 'store: search\ncollection: words\n');
  const { out } = await world.done('status', '--json');
  const said = JSON.parse(out.split('\n')[0] ?? '');
  const problems = said.problems.filter(({ kind }: { kind: string }) => kind === 'file');
  expect(problems).toEqual([
    { kind: 'file', number: 3, message: expect.stringContaining('003_c.sql') },
    { kind: 'file', number: 4, message: expect.stringContaining('vectorss') },
    { kind: 'file', number: 5, message: expect.stringContaining("store is 'search'") },
  ]);
  for (const number of [3, 4, 5]) {
    const { code, err } = await world.migrate('up');
    const { message } = problems.find((each: { number: number }) => each.number === number);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
    // The next one is found once this one is right, and before anything is applied.
    if (number === 3) await world.write('003_c.sql', file(3));
    else await world.write(`00${number}_${number === 4 ? 'd' : 'e'}.yaml`, 'store: db\ncollection: words\n');
  }
  expect(await world.rows(`SELECT to_regclass('t3') AS name`)).toEqual([{ name: null }]);
  expect((await world.done('status')).out).not.toContain('problem  ');
});
