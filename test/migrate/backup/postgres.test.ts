import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeBackup } from '../../../lib/migrate/backup/backup.ts';
import { readBackups } from '../../../lib/migrate/backup/folder.ts';
import { standingsOf } from '../../../lib/migrate/standing.ts';
import { makeWorld, rewriteState, type World } from './world.ts';

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
    expect((await readBackups(world.directory)).map(({ id }) => id)).toEqual([made.id, first.id]);
    await world.sql.query('DELETE FROM articles WHERE id = 501');
    await world.restore(first.id, { seq: 4 });
    expect(await world.rows('SELECT count(*)::int AS n FROM articles')).toEqual([{ n: 100 }]);
    expect(await world.rows("SELECT to_regclass('later.t')::text AS c")).toEqual([{ c: 'later.t' }]);
    expect([...standingsOf(await world.entries()).keys()]).toEqual([1, 2, 3]);
  });
});

/** What pg_dump says of a database, but for what it makes up each time and the history, which goes on. */
async function dumpOf({ url, pgBin }: World): Promise<readonly string[]> {
  const options = { maxBuffer: 64 << 20 };
  const args = ['--exclude-table=*.vecferry_migrations', '--exclude-table=*.vecferry_migrations_head', url];
  const { stdout } = await promisify(execFile)(join(pgBin, 'pg_dump'), args, options);
  return stdout.split('\n').filter((line) => !/^\\(un)?restrict /.test(line));
}

describe('a database with some of everything', () => {
  const role = `backup_reader_${process.pid}`;
  let all: World;
  beforeAll(async () => {
    await world.sql.query(`CREATE ROLE ${role}`);
    const sql = await readFile(join(import.meta.dirname, 'everything.sql'), 'utf8');
    all = await makeWorld('backup_everything', [], sql.replaceAll('backup_reader', role));
    await all.record({ number: 1 });
  });
  afterAll(async () => {
    await all?.close();
    await world.sql.query(`DROP ROLE ${role}`);
  });
  const keep = async () =>
    await makeBackup({ config: all.config, directory: all.directory, pgBin: all.pgBin, reason: 'all', seq: 1 });

  test('is as pg_dump saw it before: partitions, generated columns, sparse and half vectors, grants, servers, large objects', async () => {
    const before = await dumpOf(all);
    const made = await keep();
    await all.sql.query(`CREATE EXTENSION citext; CREATE SCHEMA later; CREATE TABLE later.t (id int PRIMARY KEY, e app.mood, c citext);
      CREATE VIEW later.v AS SELECT * FROM app.big; ALTER TYPE app.mood ADD VALUE 'new'; DROP TABLE app.ev CASCADE; DROP FUNCTION app.tg CASCADE;
      GRANT SELECT ON closed TO ${role}; GRANT UPDATE ON app.big TO PUBLIC; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT UPDATE ON TABLES TO ${role};
      UPDATE app.big SET h = NULL; SELECT lo_from_bytea(4243, 'since'); SELECT nextval('app.free_seq'); DROP SERVER far CASCADE;
      CREATE FUNCTION app.seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$; CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION app.seen();`);
    const { first } = await all.restore(made.id, { seq: 1 });
    // An extension that was made since stays, and hurts nobody.
    await all.sql.query('DROP EXTENSION citext');
    expect(await dumpOf(all)).toEqual(before);

    // And forward again, twice: a restore can be repeated.
    await all.sql.query('CREATE EXTENSION citext');
    await all.restore(first.id, { seq: 2 });
    await all.restore(first.id, { seq: 3 });
    expect((await all.rows('SELECT count(*)::int AS n FROM later.t'))[0]).toEqual({ n: 0 });
    await all.restore(made.id, { seq: 4 });
    await all.sql.query('DROP EXTENSION citext');
    expect(await dumpOf(all)).toEqual(before);
  }, 240_000);

  test('is not committed where one value, one grant or one row came back otherwise, and each is named', async () => {
    const made = await keep();
    const before = await dumpOf(all);
    const states = join(all.directory, 'backups', made.id, 'db', 'state.txt');
    const held = await readFile(states, 'utf8');
    expect(held).toMatch(/^rows app\.big: 60, contents -?\d+$/m);
    // As if something else had been kept: what pg_restore brings is not it.
    const spoil = async (spoiled: string) => {
      const { config, directory, pgBin } = all;
      const copy = await makeBackup({ config, directory, pgBin, reason: 'spoiled', seq: 1 });
      await rewriteState(directory, copy.id, spoiled);
      return await all.restore(copy.id, { seq: 1 });
    };
    await expect(spoil(held.replace(/(rows app\.big: 60, contents) .*/, '$1 1'))).rejects.toMatchObject({
      name: 'ValidationFailed',
      message: expect.stringMatching(
        /missing: rows app\.big: 60, contents 1; not in the backup: rows app\.big: 60, contents -?\d{5}/,
      ),
    });
    await expect(spoil(held.replace(/^(grant public\.closed ).*/m, `$1${role} SELECT`))).rejects.toThrow(
      /grant public\.closed/,
    );
    expect(await dumpOf(all)).toEqual(before);
  }, 240_000);

  test('comes into a server without its roles once it is asked to leave owners and grants out', async () => {
    const made = await keep();
    const other = await makeWorld('backup_no_owner', [], 'CREATE TABLE gone (id int)');
    await other.record({ number: 1 });
    const into = { config: other.config, directory: all.directory, elsewhere: true, seq: 1 };
    await world.sql.query(`ALTER ROLE ${role} RENAME TO ${role}_away`);
    try {
      await expect(all.restore(made.id, into)).rejects.toThrow(/role "backup_reader_\d+" does not exist.*--no-owner/);
      expect(await other.rows("SELECT to_regclass('gone')::text AS t")).toEqual([{ t: 'gone' }]);
      await all.restore(made.id, { ...into, noOwner: true });
      expect(await other.rows('SELECT count(*)::int AS n FROM app.big')).toEqual([{ n: 60 }]);
    } finally {
      await world.sql.query(`ALTER ROLE ${role}_away RENAME TO ${role}`);
      await other.close();
    }
  }, 240_000);
});
