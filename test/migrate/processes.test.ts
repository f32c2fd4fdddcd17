import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { until } from '../until.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** Migrations by several processes, and by ones that die: real children on a real server. */

let world: MigrateWorld;
beforeEach(async () => {
  world = await makeMigrateWorld('migrate_processes');
});
afterEach(() => world.close());

const actions = async (): Promise<readonly string[]> =>
  (await world.rows('SELECT number, action FROM vecferry_migrations ORDER BY seq')).map(
    ({ number, action }) => `${number} ${action}`,
  );
const exists = async (name: string): Promise<boolean> =>
  (await world.rows(`SELECT to_regclass('${name}') IS NOT NULL AS yes`))[0]?.['yes'] === true;

/** Starts `up`, and kills it, SIGKILL, once the server runs a statement of it that holds `text`. */
async function killAt(text: string): Promise<void> {
  const child = spawn(process.execPath, ['infra/local/vecferry.mjs', 'migrate', 'up', '--migrations', world.folder], {
    stdio: 'ignore',
    env: { ...process.env, NODE_OPTIONS: '' },
    detached: true,
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const running = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND state = 'active' AND query LIKE '%${text}%'`;
  const hasEnded = (): string | undefined => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`);
  await until(async () => (await world.rows(running)).length > 0, `a statement that holds ${text}`, hasEnded);
  process.kill(-(child.pid ?? 0), 'SIGKILL');
  await ended;
}

test('of processes that migrate at once each migration is applied by one, and all end well', async () => {
  for (let number = 1; number <= 6; number++)
    await world.write(
      `00${number}_t${number}.sql`,
      sqlFile(
        `SELECT pg_sleep(0.15);\nCREATE TABLE t${number} (id int);\nINSERT INTO t${number} VALUES (1);`,
        `DROP TABLE t${number};`,
      ),
    );
  await world.write(
    '007_index.sql',
    sqlFile('CREATE INDEX CONCURRENTLY t1_id ON t1 (id);', 'DROP INDEX CONCURRENTLY t1_id;'),
  );
  const ended = await Promise.all(
    ['ada', 'bob', 'eve'].map((by) => world.migrate('up', '--by', by, '--lock-wait', '170')),
  );
  expect(ended.map(({ code, err }) => [code, err])).toEqual([
    [0, ''],
    [0, ''],
    [0, ''],
  ]);
  expect(await actions()).toEqual([1, 2, 3, 4, 5, 6].map((number) => `${number} up`).concat('7 begun up', '7 up'));
  expect(ended.filter(({ out }) => out.includes('another process did it meanwhile'))).toHaveLength(2);
  for (let number = 1; number <= 6; number++) expect(await world.rows(`SELECT * FROM t${number}`)).toHaveLength(1);
});

test('who waits too long is told who holds the lock, since when and from where', async () => {
  await world.sql.query('SELECT pg_advisory_lock(42)');
  await world.write('001_a.sql', sqlFile('SELECT pg_advisory_xact_lock(42);', ''));
  const first = world.migrate('up', '--by', 'ada of the night shift', '--lock-timeout', '0', '--no-lint');
  const waits = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%xact_lock(42)%' AND wait_event = 'advisory'`;
  while ((await world.rows(waits)).length === 0) await sleep(50);
  const second = await world.migrate('up', '--lock-wait', '0.5');
  await world.sql.query('SELECT pg_advisory_unlock(42)');
  expect(second.code).toBe(4);
  expect(second.err).toContain('vecferry migrate, ada of the night shift');
  expect((await first).code).toBe(0);
});

test('a step without a transaction that another process is at is waited for, and never called dead', async () => {
  await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);', 'DROP TABLE a;'));
  await world.done('up');
  await world.write('002_i.sql', sqlFile('CREATE INDEX CONCURRENTLY a_id ON a (id);', 'DROP INDEX CONCURRENTLY a_id;'));
  // The build waits for this transaction.
  const other = new pg.Client(world.url);
  await other.connect();
  await other.query('BEGIN');
  await other.query('INSERT INTO a VALUES (2)');
  const first = world.migrate('up', '--by', 'ada');
  const building = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND state = 'active' AND query LIKE 'CREATE INDEX%'`;
  while ((await world.rows(building)).length === 0) await sleep(20);
  const second = world.migrate('up', '--by', 'bob', '--lock-wait', '170');
  const status = (await world.done('status')).out;
  await other.query('COMMIT');
  await other.end();
  expect(status).toContain('it may be under way, for the lock of migrations is held by vecferry migrate, ada');
  expect(status).not.toContain('repair');
  expect([(await first).code, (await second).err, (await second).code]).toEqual([0, '', 0]);
  expect(await actions()).toEqual(['1 up', '2 begun up', '2 up']);
});

describe('a process that is killed', () => {
  test('within a transaction leaves nothing, holds nobody up, and the same command goes on', async () => {
    await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);', 'DROP TABLE a;'));
    await world.write('002_b.sql', sqlFile('CREATE TABLE b (id int);\nSELECT pg_sleep(60);', 'DROP TABLE b;'));
    await killAt('pg_sleep');
    await world.write('002_b.sql', sqlFile('CREATE TABLE b (id int);', 'DROP TABLE b;'));
    await world.done('up', '--lock-wait', '30');
    expect(await exists('b')).toBe(true);
    expect(await actions()).toEqual(['1 up', '2 up']);
  });

  test('while an index is built concurrently: the server goes on, the next one waits for it, and repair finds that it stands', async () => {
    await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);', 'DROP TABLE a;'));
    await world.done('up');
    await world.write(
      '002_i.sql',
      sqlFile('CREATE INDEX CONCURRENTLY a_id ON a (id);', 'DROP INDEX CONCURRENTLY a_id;'),
    );
    // The build waits for this transaction.
    const other = new pg.Client(world.url);
    await other.connect();
    await other.query('BEGIN');
    await other.query('INSERT INTO a VALUES (2)');
    await killAt('CREATE INDEX CONCURRENTLY');
    const waiting = world.migrate('up', '--lock-wait', '170');
    await sleep(1000);
    await other.query('COMMIT');
    await other.end();
    const { code, err } = await waiting;
    expect(code).toBe(3);
    expect(err).toContain('002_i was begun up and did not end');
    expect(err).toContain('statement 1 of 1, line 2: CREATE INDEX CONCURRENTLY a_id');
    expect((await world.done('repair', '2')).out).toContain('a_id is valid');
    expect((await world.done('up')).out).toContain('nothing to do');
    expect(await actions()).toEqual(['1 up', '2 begun up', '2 repaired']);
    await world.done('down');
    expect(await exists('a_id')).toBe(false);
  });

  test('whose server process dies too leaves an index that is not valid: up refuses, repair drops it, up goes on with that statement', async () => {
    await world.write('001_ab.sql', sqlFile('CREATE TABLE a (id int);\nCREATE TABLE b (n int);', 'DROP TABLE a, b;'));
    await world.done('up');
    await world.write(
      '002_i.sql',
      sqlFile(
        'CREATE INDEX CONCURRENTLY a_id ON a (id);\nCREATE INDEX CONCURRENTLY b_n ON b (n);',
        'DROP INDEX CONCURRENTLY b_n;\nDROP INDEX CONCURRENTLY a_id;',
      ),
    );
    // The second build waits for this transaction.
    const other = new pg.Client(world.url);
    await other.connect();
    await other.query('BEGIN');
    await other.query('INSERT INTO b VALUES (1)');
    const going = world.migrate('up');
    const building = `FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND state = 'active' AND query LIKE '%b_n%'`;
    while ((await world.rows(`SELECT 1 ${building}`)).length === 0) await sleep(20);
    await world.rows(`SELECT pg_terminate_backend(pid) ${building}`);
    expect((await going).err).toContain('terminating connection');
    await other.query('COMMIT');
    await other.end();
    expect((await world.migrate('up')).err).toContain('vecferry migrate repair 2');
    const repaired = (await world.done('repair', '2')).out;
    expect(repaired).toContain('b_n was not valid and is dropped');
    expect(repaired).toContain('goes on with statement 2 of 2');
    await world.done('up');
    expect(
      await world.rows(
        `SELECT indexrelid::regclass::text AS name, indisvalid FROM pg_index WHERE indrelid::regclass::text IN ('a', 'b') ORDER BY 1`,
      ),
    ).toEqual([
      { name: 'a_id', indisvalid: true },
      { name: 'b_n', indisvalid: true },
    ]);
    expect(await actions()).toEqual([
      '1 up',
      '2 begun up',
      '2 begun up',
      '2 failed',
      '2 repaired',
      '2 begun up',
      '2 up',
    ]);
  });

  test('in a statement that its file says otherwise by the time of the repair: what it left is found by how it was begun', async () => {
    await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int, n int);', 'DROP TABLE a;'));
    await world.done('up');
    const file = (name: string): string =>
      sqlFile(`CREATE INDEX CONCURRENTLY ${name} ON a (id);`, `DROP INDEX CONCURRENTLY ${name};`);
    await world.write('002_i.sql', file('a_id'));
    const other = new pg.Client(world.url);
    await other.connect();
    await other.query('BEGIN');
    await other.query('INSERT INTO a VALUES (1, 1)');
    const going = world.migrate('up');
    const building = `FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND state = 'active' AND query LIKE 'CREATE INDEX%'`;
    while ((await world.rows(`SELECT 1 ${building}`)).length === 0) await sleep(20);
    await world.rows(`SELECT pg_terminate_backend(pid) ${building}`);
    await going;
    await other.query('COMMIT');
    await other.end();
    await world.write('002_i.sql', file('a_better_name'));
    expect((await world.done('repair', '2')).out).toContain('a_id was not valid and is dropped');
    await world.done('up');
    expect([await exists('a_id'), await exists('a_better_name')]).toEqual([false, true]);
  });

  test('whose connection is ended by an operator within a transaction: nothing stands, and the history says why', async () => {
    await world.write('001_a.sql', sqlFile('CREATE TABLE a (id int);\nSELECT pg_sleep(30);', 'DROP TABLE a;'));
    const going = world.migrate('up');
    const mine = `FROM pg_stat_activity WHERE application_name LIKE 'vecferry migrate%' AND query LIKE '%pg_sleep%' AND state = 'active'`;
    while ((await world.rows(`SELECT 1 ${mine}`)).length === 0) await sleep(50);
    await world.rows(`SELECT pg_terminate_backend(pid) ${mine}`);
    const { code, err } = await going;
    expect(code).toBe(4);
    expect(err).toContain('terminating connection due to administrator command');
    expect(await exists('a')).toBe(false);
    expect(await actions()).toEqual(['1 failed']);
  });
});
