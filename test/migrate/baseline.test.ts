import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { callCommand } from '../local/cli/command-line.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** A database that was there before vecferry: its first migrations are said to be applied, and are not run. */

let world: MigrateWorld;
beforeEach(async () => {
  world = await makeMigrateWorld('migrate_baseline', { command: callCommand });
  await world.write('001_words.sql', sqlFile('CREATE TABLE words (id int PRIMARY KEY);', 'DROP TABLE words;'));
  await world.write(
    '002_rank.sql',
    sqlFile('ALTER TABLE words ADD COLUMN rank int;', 'ALTER TABLE words DROP COLUMN rank;'),
  );
  await world.write('003_notes.sql', sqlFile('CREATE TABLE notes (id int PRIMARY KEY);', 'DROP TABLE notes;'));
});
afterEach(() => world.close());

/** What Flyway, Prisma or a person made of 001 and 002, with a row that must outlive everything. */
const madeBefore = (): Promise<unknown> =>
  world.sql.query('CREATE TABLE words (id int PRIMARY KEY, rank int); INSERT INTO words VALUES (1, 7)');
const lines = async (): Promise<readonly unknown[]> =>
  (await world.rows('SELECT number, action, declared FROM vecferry_migrations ORDER BY seq')).map(
    ({ number, action, declared }) => `${number} ${action}${declared === null ? '' : ` ${declared}`}`,
  );
const rows = (): Promise<readonly object[]> => world.rows('SELECT id, rank FROM words');

test('what was there is noted and not run, what comes after is applied, and the same command finds nothing to do', async () => {
  await madeBefore();
  const dry = await world.done('up', '--baseline', '2', '--dry-run');
  expect(dry.out).toContain('baseline 002_rank');
  expect(dry.out).toContain('planned  1 migration');
  expect(await world.rows(`SELECT to_regclass('vecferry_migrations') AS name`)).toEqual([{ name: null }]);

  const { out } = await world.done('up', '--baseline', '2', '--by', 'ada');
  expect(out).toContain('baseline 001_words');
  expect(await lines()).toEqual(['1 repaired applied', '2 repaired applied', '3 up']);
  expect(await rows()).toEqual([{ id: 1, rank: 7 }]);
  expect((await world.done('up', '--baseline', '2')).out).toContain('nothing to do');
  expect(await lines()).toHaveLength(3);
});

test('down goes back to the baseline and no further, since it would drop what stood before the history began', async () => {
  await madeBefore();
  await world.done('up', '--baseline', '2');
  await world.done('to', '2');
  const { code, err } = await world.migrate('to', '0');
  expect(code).toBe(3);
  expect(err).toContain('002_rank was there before vecferry (--baseline)');
  expect(await rows()).toEqual([{ id: 1, rank: 7 }]);
});

test('nor does it go by the down part of a collection file, which would drop the records of before', async () => {
  await world.sql.query(
    "CREATE TABLE docs (id bigint PRIMARY KEY, embedding vector(3)); INSERT INTO docs VALUES (1, '[1,2,3]')",
  );
  for (const name of ['001_words.sql', '002_rank.sql', '003_notes.sql']) await world.remove(name);
  await world.write(
    '001_docs.yaml',
    'store: db\ncollection: docs\nvectors: {embedding: {size: 3, distance: cosine}}\ndown: {drop: {collection: true}}\n',
  );
  await world.write('002_tags.sql', sqlFile('CREATE TABLE tags (id int);', 'DROP TABLE tags;'));
  await world.done('up', '--baseline', '1');
  for (const args of [
    ['to', '0', '--dry-run'],
    ['to', '0'],
  ]) {
    const { code, err } = await world.migrate(...args);
    expect(code).toBe(3);
    expect(err).toContain('001_docs was there before vecferry (--baseline)');
  }
  expect(await world.rows(`SELECT id, to_regclass('tags')::text AS tags FROM docs`)).toEqual([
    { id: '1', tags: 'tags' },
  ]);
});

test('a process that died between two lines of it is followed by one that goes on', async () => {
  await madeBefore();
  await world.done('repair', '1', '--as', 'applied');
  await world.done('up', '--baseline', '2');
  expect(await lines()).toEqual(['1 repaired applied', '2 repaired applied', '3 up']);
});

describe('refused, with nothing noted', () => {
  test('a number whose change is not there: the next file would be left out for ever', async () => {
    await world.sql.query('CREATE TABLE words (id int PRIMARY KEY)');
    const { code, err } = await world.migrate('up', '--baseline', '2', '--look');
    expect(code).toBe(3);
    expect(err).toContain('not as 002_rank leaves them');
    expect(err).toContain('column rank');
    expect(await lines()).toEqual([]);
    expect((await world.migrate('up', '--baseline', '2', '--look', '--dry-run')).code).toBe(3);
  });

  test('an empty database, which up makes whole without it', async () => {
    expect((await world.migrate('up', '--baseline', '2', '--look')).err).toContain('leave --baseline out');
    await world.done('up');
  });

  test('a history that has begun by itself', async () => {
    await world.done('up', '1');
    const { code, err } = await world.migrate('up', '--baseline', '2');
    expect(code).toBe(3);
    expect(err).toContain('001_words was applied here by');
    expect(await lines()).toEqual(['1 up']);
  });

  test('a file that no other stage could begin with', async () => {
    await madeBefore();
    await world.write('002_rank.sql', 'ALTER TABLE words ADD COLUMN rank int;');
    const { code, err } = await world.migrate('up', '--baseline', '2');
    expect(code).toBe(2);
    expect(err).toContain('002_rank.sql lacks a mark');
    expect(await world.rows(`SELECT to_regclass('vecferry_migrations') AS name`)).toEqual([{ name: null }]);
  });

  test('a number that no file has', async () => {
    expect((await world.migrate('up', '--baseline', '9')).err).toContain('the highest is 3');
  });
});

test('who runs up on such a database is told of the baseline', async () => {
  await madeBefore();
  const { err } = await world.migrate('up');
  expect(err).toContain('relation "words" already exists');
  expect(err).toContain('vecferry migrate up --baseline N');
  await world.done('up', '--baseline', '2');
});
