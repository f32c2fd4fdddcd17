import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { callCommand } from '../local/cli/command-line.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** What a file says to its session: the next file finds nothing of it, and what cannot be said is refused in words that help. */

let world: MigrateWorld;
beforeAll(async () => {
  world = await makeMigrateWorld('migrate_sessions', { command: callCommand });
});
afterAll(() => world.close());

test('a temporary table, a prepared statement, a cursor, a role and a search path end with their file, so that all at once is as one by one', async () => {
  await world.write('001_words.sql', sqlFile('CREATE TABLE words (id int);', 'DROP TABLE words;'));
  const session = [
    'CREATE TEMP TABLE words (id int);',
    'PREPARE one AS SELECT 1;',
    'DECLARE rows CURSOR WITH HOLD FOR SELECT 1;',
    'LISTEN words;',
    'CREATE SCHEMA elsewhere;',
    'SET search_path = elsewhere;',
    "SET session_replication_role = 'replica';",
    'SET ROLE pg_monitor;',
  ].join('\n');
  await world.write('002_session.sql', sqlFile(session, 'DROP SCHEMA elsewhere;'));
  // Without a schema, which would otherwise mean the temporary table of the file before.
  const next = 'ALTER TABLE words ADD COLUMN n int;\nPREPARE one AS SELECT 2;\nCREATE TABLE here (id int);';
  await world.write('003_next.sql', sqlFile(next, 'DROP TABLE here; ALTER TABLE words DROP COLUMN n;'));
  await world.write('004_vacuum.sql', sqlFile('VACUUM words;'));
  await world.done('up', '--no-lint');
  expect(
    await world.rows(
      `SELECT attrelid::regclass::text AS name FROM pg_attribute WHERE attname = 'n' AND attrelid IN (to_regclass('public.words'))`,
    ),
  ).toEqual([{ name: 'words' }]);
  expect(await world.rows(`SELECT to_regclass('public.here')::text AS name`)).toEqual([{ name: 'here' }]);
  await world.done('to', '0');
});

test.each([
  [
    "SET client_encoding = 'LATIN1';",
    2,
    "line 2: SET client_encoding = 'LATIN1': the file is sent as the UTF-8 that it is",
  ],
  ["SET NAMES 'SQL_ASCII';", 2, 'the file is sent as the UTF-8 that it is'],
  ['SET TRANSACTION READ ONLY;', 3, 'put the address of the primary into the secret'],
  ['DROP TABLE vecferry_migrations;', 3, 'was dropped or renamed by a statement of this migration; take it out'],
  [
    'CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CALL fill();',
    3,
    'in a file of its own write DO $$ BEGIN CALL …; COMMIT; END $$',
  ],
])('%s is refused with what to do, and nothing of it stands', async (statement, code, said) => {
  await world.done('up', '--no-lint');
  await world.write('005_odd.sql', sqlFile(statement));
  const answer = await world.migrate('up', '--no-lint');
  expect([answer.code, answer.err]).toEqual([code, expect.stringContaining(said)]);
  // What the file alone shows to be wrong is told before it is tried.
  expect((await world.done('status')).out).toContain(`4 applied, 1 pending, ${code === 2 ? 1 : 0} problems`);
  await world.remove('005_odd.sql');
});

test("pg_dump's own settings of the encoding pass, and a procedure that commits is called as the advice says", async () => {
  await world.write('005_dump.sql', sqlFile("SET client_encoding = 'UTF8';\nSET NAMES 'utf-8';"));
  await world.write(
    '006_fill.sql',
    sqlFile('CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;', 'DROP PROCEDURE fill();'),
  );
  await world.write('007_call.sql', sqlFile('DO $$ BEGIN CALL fill(); COMMIT; END $$;'));
  await world.done('up', '--no-lint');
  await world.done('to', '0');
});

test('a file that was applied with line ends of Windows is the same on Linux, also the text of its function', async () => {
  const text = sqlFile(
    'CREATE FUNCTION two() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 2;\nEND $$;',
    'DROP FUNCTION two();',
  );
  await world.write('008_two.sql', text.replaceAll('\n', '\r\n'));
  await world.done('up', '--no-lint');
  await world.write('008_two.sql', text);
  expect((await world.migrate('check')).out).toContain(' 0 wrong, ');
  await world.done('to', '0');
});
