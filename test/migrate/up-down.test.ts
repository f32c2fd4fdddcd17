import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** SQL migrations on a real PostgreSQL, by the command line. */

let world: MigrateWorld;
beforeAll(async () => {
  world = await makeMigrateWorld('migrate_up_down');
  await world.write(
    '001_articles.sql',
    sqlFile('CREATE TABLE articles (id bigint PRIMARY KEY, title text);', 'DROP TABLE articles;'),
  );
  await world.write(
    '002_embedding.sql',
    sqlFile(
      'ALTER TABLE articles ADD COLUMN embedding vector(3);\nINSERT INTO articles VALUES (1, $$a;b$$);',
      'DELETE FROM articles;\nALTER TABLE articles DROP COLUMN embedding;',
    ),
  );
  await world.write(
    '003_index.sql',
    sqlFile('CREATE INDEX CONCURRENTLY articles_title ON articles (title);', 'DROP INDEX CONCURRENTLY articles_title;'),
  );
});
afterAll(() => world.close());

const columns = (): Promise<readonly object[]> =>
  world.rows(
    `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('articles') AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
  );
const actions = (): Promise<readonly object[]> =>
  world.rows('SELECT seq::int, number::int, action FROM vecferry_migrations ORDER BY seq');

describe('migrate', () => {
  test('a dry run and a status change nothing, not even the history', async () => {
    const dry = await world.done('up', '--dry-run');
    expect(dry.out).toContain('CREATE INDEX CONCURRENTLY articles_title');
    expect((await world.done('status')).out).toContain('pending  003_index');
    expect(await world.rows(`SELECT to_regclass('vecferry_migrations') AS name, to_regclass('articles') AS t`)).toEqual(
      [{ name: null, t: null }],
    );
  });

  test('up applies in order, once; the index without a transaction is begun first', async () => {
    await world.done('up', '--by', 'ada');
    expect(await columns()).toHaveLength(3);
    expect(await actions()).toEqual([
      { seq: 1, number: 1, action: 'up' },
      { seq: 2, number: 2, action: 'up' },
      { seq: 3, number: 3, action: 'begun up' },
      { seq: 4, number: 3, action: 'up' },
    ]);
    expect((await world.done('up')).out).toContain('nothing to do');
    expect(await actions()).toHaveLength(4);
    const [line] = await world.rows(
      'SELECT by, rollback, checksum, milliseconds::int AS ms FROM vecferry_migrations WHERE seq = 2',
    );
    expect(line).toMatchObject({ by: 'ada', rollback: expect.stringContaining('DROP COLUMN embedding') });
  });

  test('down goes back by what was recorded, and up again', async () => {
    await world.done('down', '2');
    expect(await columns()).toHaveLength(2);
    await world.done('to', '0');
    expect(await columns()).toEqual([]);
    await world.done('to', '2');
    expect(await columns()).toHaveLength(3);
    const status = (await world.done('status', '--json')).events();
    expect(status).toMatchObject([
      { type: 'migrations', problems: [], applied: [{ number: 1 }, { number: 2 }], pending: [{ number: 3 }] },
    ]);
  });
});
