import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { callCommand } from '../local/cli/command-line.ts';
import { until } from '../until.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** What goes wrong while migrations are applied: nothing half done stands, and the history says what happened. */

let world: MigrateWorld;
beforeEach(async () => {
  world = await makeMigrateWorld('migrate_faults', { command: callCommand });
});
afterEach(() => world.close());

const table = (name: string): string =>
  sqlFile(`CREATE TABLE ${name} (id int PRIMARY KEY, n int);`, `DROP TABLE ${name};`);
const tables = async (): Promise<readonly unknown[]> =>
  (
    await world.rows(
      `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'vecferry_migrations%' ORDER BY 1`,
    )
  ).map(({ relname }) => relname);
const actions = async (): Promise<readonly string[]> =>
  (await world.rows('SELECT number, action FROM vecferry_migrations ORDER BY seq')).map(
    ({ number, action }) => `${number} ${action}`,
  );
const failed = async (...args: string[]): Promise<{ readonly code: number | null; readonly err: string }> => {
  const { code, err } = await world.migrate(...args);
  expect(code).not.toBe(0);
  return { code, err };
};

test('a failing migration leaves nothing of itself, what was before it stands, and the history says which line failed and why', async () => {
  await world.write('001_a.sql', table('a'));
  await world.write(
    '002_b.sql',
    sqlFile(
      'CREATE TABLE b (id int);\nINSERT INTO b VALUES (1);\nINSERT INTO b\n  SELECT missing FROM a;',
      'DROP TABLE b;',
    ),
  );
  await world.write('003_c.sql', table('c'));
  const { code, err } = await failed('up');
  expect(code).toBe(3);
  expect(err).toContain('002_b.sql, line 5: column "missing" does not exist');
  expect(await tables()).toEqual(['a']);
  expect(await actions()).toEqual(['1 up', '2 failed']);
  const [line] = await world.rows('SELECT detail, rollback FROM vecferry_migrations WHERE seq = 2');
  expect(line).toEqual({ detail: expect.stringContaining('42703'), rollback: null });
  await world.write('002_b.sql', table('b'));
  await world.done('up');
  expect(await tables()).toEqual(['a', 'b', 'c']);
  expect(await actions()).toEqual(['1 up', '2 failed', '2 up', '3 up']);
});

test('a constraint that is deferred to the end of the transaction fails it whole', async () => {
  await world.write(
    '001_a.sql',
    sqlFile(
      'CREATE TABLE a (id int PRIMARY KEY, parent int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO a VALUES (1, 7);',
      'DROP TABLE a;',
    ),
  );
  expect((await failed('up')).err).toContain(
    '001_a.sql, at COMMIT: insert or update on table "a" violates foreign key',
  );
  expect(await tables()).toEqual([]);
  expect(await actions()).toEqual(['1 failed']);
});

test('an index that could not be built concurrently is dropped again, since writes would keep it up for nothing, and the same command goes on', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (1);', 'DROP TABLE a;'));
  await world.write(
    '002_unique.sql',
    sqlFile('CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);', 'DROP INDEX CONCURRENTLY a_id;'),
  );
  await world.write('003_c.sql', table('c'));
  const { out, err } = await world.migrate('up');
  expect(err).toContain('could not create unique index "a_id"');
  expect(out).toContain('public.a_id was left not valid, and is dropped');
  expect(await actions()).toEqual(['1 up', '2 begun up', '2 failed']);
  expect(await world.rows(`SELECT to_regclass('a_id') AS name`)).toEqual([{ name: null }]);
  expect(await tables()).toEqual(['a']);
  await world.sql.query('DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)');
  await world.done('up');
  expect(await world.rows(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass`)).toEqual([
    { indisvalid: true },
  ]);
  expect(await actions()).toEqual(['1 up', '2 begun up', '2 failed', '2 begun up', '2 up', '3 up']);
});

describe('a step without a transaction, the first of whose two statements stands', () => {
  const two = (first: string, second: string): string =>
    sqlFile(
      `CREATE INDEX CONCURRENTLY ${first} ON a (n);\nCREATE UNIQUE INDEX CONCURRENTLY ${second};`,
      'DROP INDEX CONCURRENTLY a_n;\nDROP INDEX CONCURRENTLY a_id;',
    );
  beforeEach(async () => {
    await world.write(
      '001_a.sql',
      sqlFile('CREATE TABLE a (id int, n int);\nINSERT INTO a VALUES (1, 1), (1, 2);', 'DROP TABLE a;'),
    );
    await world.write('002_i.sql', two('a_n', 'a_id ON a (id)'));
    expect((await failed('up')).err).toContain('could not create unique index');
  });

  test('goes on once the file was mended in what does not stand yet', async () => {
    await world.write('002_i.sql', `-- mended\n${two('a_n', 'a_id ON a (id, n)')}`);
    await world.done('status');
    await world.done('up');
    expect(await actions()).toEqual(['1 up', '2 begun up', '2 begun up', '2 failed', '2 begun up', '2 up']);
    await world.done('down');
    expect(await world.rows(`SELECT indexrelid FROM pg_index WHERE indrelid = 'a'::regclass`)).toEqual([]);
  });

  test('is refused where what stands was changed, for the rest would not follow on it', async () => {
    await world.write('002_i.sql', two('a_other', 'a_id ON a (id, n)'));
    const { code, err } = await failed('up');
    expect(code).toBe(3);
    expect(err).toContain('in what stands already, its first 1 statements');
  });

  test('is told of its mistake, with the line, where the mended file is no SQL', async () => {
    await world.write('002_i.sql', two('a_n', 'a_id ON'));
    expect((await failed('up')).err).toContain('002_i.sql:3');
  });
});

describe('a file without a transaction that sets something for itself', () => {
  beforeEach(() =>
    world.write(
      '001_a.sql',
      sqlFile('CREATE TABLE a (id int, n int);\nINSERT INTO a VALUES (1, 1), (1, 2);', 'DROP TABLE a;'),
    ),
  );

  test('may be mended twice, and in its setting too: a setting that is made again is no step, and none that stands', async () => {
    const file = (memory: string, columns: string): string =>
      sqlFile(
        `SET maintenance_work_mem = '${memory}';\nCREATE INDEX CONCURRENTLY a_n ON a (n);\nCREATE UNIQUE INDEX CONCURRENTLY a_id ON a (${columns});`,
        'DROP INDEX CONCURRENTLY a_n;\nDROP INDEX CONCURRENTLY a_id;',
      );
    await world.write('002_i.sql', file('32MB', 'id'));
    expect((await failed('up')).err).toContain('could not create unique index');
    await world.write('002_i.sql', file('32MB', 'missing'));
    expect((await failed('up')).err).toContain('column "missing" does not exist');
    await world.write('002_i.sql', file('64MB', 'id, n'));
    await world.done('up');
  });

  test('is held to its own limits, and not to those of the command line', async () => {
    await world.write(
      '002_s.sql',
      sqlFile(
        "SET lock_timeout = '1s';\nSET statement_timeout = '200ms';\nDO $$ BEGIN COMMIT; PERFORM pg_sleep(2); END $$;",
        '',
      ),
    );
    const { code, err } = await failed('up', '--no-lint', '--statement-timeout', '60');
    expect(code).toBe(4);
    expect(err).toContain('canceling statement due to statement timeout');
  });
});

test('what takes a file back goes on with the statement that failed, since those before it are taken back', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int, n int);', 'DROP TABLE a;'));
  await world.write(
    '002_i.sql',
    sqlFile(
      'CREATE INDEX CONCURRENTLY a_n ON a (n);',
      'DROP INDEX CONCURRENTLY a_n;\nCREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);',
    ),
  );
  await world.done('up');
  await world.sql.query('INSERT INTO a VALUES (1, 1), (1, 2)');
  expect((await failed('down')).err).toContain('could not create unique index');
  await world.sql.query('DELETE FROM a');
  await world.done('down');
  await world.done('status');
  expect((await actions()).slice(-2)).toEqual(['2 begun down', '2 down']);
});

test('repair takes one past the last statement for done, as it says itself', async () => {
  await world.write('001_a.sql', sqlFile('DO $$ BEGIN COMMIT; RAISE division_by_zero; END $$;', ''));
  await failed('up', '--no-lint');
  expect((await failed('repair', '1')).err).toContain('--from 2 where it is done');
  expect((await failed('repair', '1', '--from', '3')).err).toContain('has 1 statements');
  expect((await world.done('repair', '1', '--from', '2')).out).toContain('all of it stands');
  expect((await world.done('up')).out).toContain('nothing to do');
});

test('a rebuild that failed leaves no half index beside the old one', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nCREATE INDEX a_id ON a (id);', 'DROP TABLE a;'));
  await world.write('002_r.sql', sqlFile('REINDEX INDEX CONCURRENTLY a_id;', ''));
  await world.done('up', '1');
  // The rebuild waits for this transaction, and its time is up.
  const other = new pg.Client(world.url);
  await other.connect();
  await other.query('BEGIN');
  await other.query('INSERT INTO a VALUES (1)');
  const going = world.migrate('up', '--statement-timeout', '1', '--no-lint');
  const cancelled = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND query LIKE 'DROP INDEX CONCURRENTLY%' AND state = 'active'`;
  while ((await world.rows(cancelled)).length === 0) await sleep(50);
  await other.query('COMMIT');
  await other.end();
  expect((await going).err).toContain('canceling statement due to statement timeout');
  expect(
    await world.rows(`SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = 'a'::regclass`),
  ).toEqual([{ name: 'a_id' }]);
  await world.done('up', '--no-lint');
});

test('a concurrent index that failed before it was begun leaves nothing, and the same command goes on', async () => {
  await world.write('001_i.sql', sqlFile('CREATE INDEX CONCURRENTLY i ON later (n);', 'DROP INDEX CONCURRENTLY i;'));
  expect((await failed('up')).err).toContain('relation "later" does not exist');
  await world.sql.query('CREATE TABLE later (n int)');
  await world.done('up');
  expect(await actions()).toEqual(['1 begun up', '1 failed', '1 begun up', '1 up']);
});

test('what a file sets for its session is not there for the next one', async () => {
  await world.write(
    '001_path.sql',
    sqlFile('CREATE SCHEMA other;\nSET search_path = other;\nCREATE TABLE a (id int);\nSET ROLE pg_monitor;', ''),
  );
  await world.write('002_b.sql', table('b'));
  await world.done('up');
  expect(await tables()).toEqual(['b']);
});

test('a file that lets go of the lock is rolled back, since two could migrate at once', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nSELECT pg_advisory_unlock_all();', ''));
  expect((await failed('up')).err).toContain('pg_advisory_unlock_all');
  expect(await tables()).toEqual([]);
});

describe('refused before anything runs', () => {
  test.each([
    [
      'BEGIN within a file',
      'BEGIN;\nCREATE TABLE b (id int);\nCOMMIT;',
      'line 2: BEGIN: each file is a transaction of its own',
    ],
    [
      'what no transaction can hold beside what should be in one',
      'CREATE TABLE b (id int);\nCREATE INDEX CONCURRENTLY i ON b (id);',
      'line 3 (CREATE INDEX CONCURRENTLY',
    ],
    ['no SQL', 'CREATE TABLE b (id int;', '002_b.sql:2'],
  ])('%s', async (_what, text, said) => {
    await world.write('001_a.sql', table('a'));
    await world.write('002_b.sql', sqlFile(text, ''));
    const { code, err } = await failed('up', '--no-lint');
    expect(code).toBe(2);
    expect(err).toContain(said);
    expect(await tables()).toEqual([]);
  });

  test('a file without its down mark, for silence does not say whether there is a way back', async () => {
    await world.write('001_a.sql', '-- migrate:up\nCREATE TABLE a (id int);\n');
    expect((await failed('up', '--no-lint')).err).toContain('-- migrate:down irreversible');
  });

  test('taking back what says that nothing takes it back', async () => {
    await world.write('001_a.sql', '-- migrate:up\nCREATE TABLE a (id int);\n-- migrate:down irreversible\n');
    await world.done('up');
    expect((await failed('down')).err).toContain('nothing takes it back');
    expect(await tables()).toEqual(['a']);
  });
});

test('a statement that took longer than it may is no fault of the file: the same command goes on, with more time', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nSELECT pg_sleep(0.5);', 'DROP TABLE a;'));
  const { code, err } = await failed('up', '--statement-timeout', '0.1');
  expect(code).toBe(4);
  expect(err).toContain('give it longer with --statement-timeout');
  expect(await tables()).toEqual([]);
  await world.done('up', '--statement-timeout', '30');
});

describe('a table that others hold', () => {
  test('is waited for a short time and asked for again, so that its readers do not queue behind the migration', async () => {
    await world.write('001_a.sql', table('a'));
    await world.done('up');
    await world.write('002_n.sql', sqlFile('ALTER TABLE a ADD COLUMN m int;', 'ALTER TABLE a DROP COLUMN m;'));
    await world.sql.query('BEGIN');
    await world.sql.query('SELECT FROM a');
    const held = await world.migrate('up', '--lock-timeout', '0.2', '--lock-tries', '2');
    expect(held.code).toBe(4);
    expect(held.err).toContain('canceling statement due to lock timeout');
    expect(held.out).toContain('is tried again in');
    // Who is to be asked, or ended.
    const [mine] = await world.rows('SELECT pg_backend_pid() AS pid');
    expect(held.err).toContain(`open now, the oldest first: server process ${mine?.['pid']} (`);
    const going = world.migrate('up', '--lock-timeout', '0.2', '--lock-tries', '20');
    // The first try has begun, and has been given up.
    const waits = async (): Promise<boolean> => {
      // Within a transaction the server shows what it has shown before.
      await world.rows('SELECT pg_stat_clear_snapshot()');
      const waiting = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND wait_event_type = 'Lock'`;
      return (await world.rows(waiting)).length > 0;
    };
    await until(waits, 'the first try');
    await until(async () => !(await waits()), 'its end');
    await world.sql.query('COMMIT');
    expect(await going).toMatchObject({ code: 0, out: expect.stringContaining('is tried again in') });
    expect(await actions()).toEqual(['1 up', '2 failed', '2 up']);
  });
});
