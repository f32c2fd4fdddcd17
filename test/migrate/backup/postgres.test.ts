import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { listBackups, makeBackup } from '../../../lib/migrate/backup/backup.ts';
import { standingsOf } from '../../../lib/migrate/standing.ts';
import { makeWorld, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('backup_pg');
});
afterAll(() => world.close());

const backup = async (reason = 'before up to 002', seq = 0) =>
  await makeBackup({ config: world.config, directory: world.directory, pgBin: world.pgBin, reason, seq });

describe('a backup of PostgreSQL', () => {
  test('is restored to exactly what was there: what was changed, dropped and added since is as before, and the history goes on', async () => {
    await world.record({ number: 1 }, { number: 2, name: '002_y' });
    const made = await backup('before up to 003', 2);
    expect(made.parts[0]).toMatchObject({
      kind: 'pg_dump',
      counts: { 'public.articles': 500, 'public.authors': 20, '"Other Team"."Notes"': 2 },
    });

    await world.sql.query(`DELETE FROM articles WHERE id > 100; ALTER TABLE articles DROP COLUMN state CASCADE; DROP TYPE state;
      CREATE TABLE added (id int PRIMARY KEY, article int REFERENCES articles); INSERT INTO added VALUES (1, 1);
      CREATE VIEW newer AS SELECT * FROM articles; CREATE SCHEMA later; CREATE TABLE later.t (id int);
      CREATE FUNCTION public.added() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE counting; DROP SCHEMA "Other Team" CASCADE;`);
    await world.record({ number: 3, name: '003_z' });
    const { first } = await world.restore(made.id, { seq: 3 });

    expect(await world.rows('SELECT count(*)::int AS n, max(id) FROM articles')).toEqual([{ n: 500, max: 500 }]);
    expect(await world.rows('SELECT count(*)::int AS n FROM done')).toEqual([{ n: 500 }]);
    expect(await world.rows('SELECT said FROM "Other Team"."Notes" ORDER BY id')).toEqual([
      { said: 'line\none' },
      { said: null },
    ]);
    expect(
      await world.rows(
        `SELECT to_regclass('added') AS a, to_regclass('newer') AS b, to_regclass('later.t') AS c, to_regclass('counting') AS d, to_regproc('added') AS e`,
      ),
    ).toEqual([{ a: null, b: null, c: null, d: null, e: null }]);
    expect(await world.rows("INSERT INTO articles (author, title) VALUES (1, 'next') RETURNING id")).toEqual([
      { id: 501 },
    ]);

    const entries = await world.entries();
    expect(entries.map(({ action }) => action)).toEqual(['up', 'up', 'up', 'restored']);
    expect(entries[3]).toMatchObject({ seq: 4, number: 0, name: made.id, by: 'ada@test', standsAt: 2 });
    expect([...standingsOf(entries)].map(([number, { state }]) => [number, state])).toEqual([
      [1, 'applied'],
      [2, 'applied'],
    ]);
    await expect(world.sql.query('DELETE FROM vecferry_migrations')).rejects.toThrow('never rewritten');

    // What was there before the restore is kept too, and the way back is the same command.
    expect((await listBackups(world.directory)).map(({ id }) => id)).toEqual([made.id, first.id]);
    await world.sql.query('DELETE FROM articles WHERE id = 501');
    await world.restore(first.id, { seq: 4 });
    expect(await world.rows('SELECT count(*)::int AS n FROM articles')).toEqual([{ n: 100 }]);
    expect(await world.rows("SELECT to_regclass('later.t')::text AS c")).toEqual([{ c: 'later.t' }]);
    expect([...standingsOf(await world.entries()).keys()]).toEqual([1, 2, 3]);
  });
});
