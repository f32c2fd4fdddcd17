import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** A role that deploys and owns nothing: no right in public, its tables belong to another role, in a schema of their own. */

let world: MigrateWorld;
const id = process.pid;
const [deployer, owner] = [`deployer_${id}`, `owner_${id}`];
beforeAll(async () => {
  world = await makeMigrateWorld('migrate_rights', {
    config: 'stores:\n  db: {store: pgvector, connection: {secret: migrate/db}}\nhistorySchema: ops\n',
  });
  await world.sql.query(`CREATE ROLE ${owner}; CREATE ROLE ${deployer} LOGIN NOINHERIT IN ROLE ${owner};
    CREATE SCHEMA app AUTHORIZATION ${owner}; CREATE SCHEMA ops AUTHORIZATION ${owner}`);
  await world.write('001_words.sql', sqlFile('CREATE TABLE words (id int PRIMARY KEY);', 'DROP TABLE words;'));
});
afterAll(async () => {
  await world.sql.query(`DROP OWNED BY ${owner}, ${deployer}; DROP ROLE ${deployer}, ${owner}`);
  await world.close();
});

function asDeployer(options: string): void {
  const url = new URL(world.url);
  url.username = deployer;
  url.searchParams.set('options', options);
  process.env['VECFERRY_SECRET_MIGRATE_DB'] = JSON.stringify({ url: url.href });
}

test('who may not write the history is told which rights it needs, and of a schema of its own', async () => {
  asDeployer('');
  const { code, err } = await world.migrate('up');
  expect(code).toBe(4);
  expect(err).toContain('SELECT and INSERT on that table');
  expect(err).toContain('historySchema');
});

test('role and search_path of the connection hold for every file, and the history lies in the schema that was named', async () => {
  asDeployer(`-c role=${owner} -c search_path=app`);
  await world.done('up', '--look');
  expect(
    await world.rows(
      `SELECT relnamespace::regnamespace::text AS schema, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname IN ('words', 'vecferry_migrations') ORDER BY relname`,
    ),
  ).toEqual([
    { schema: 'ops', owner },
    { schema: 'app', owner },
  ]);
  expect((await world.done('status')).out).toContain('ops.vecferry_migrations');
  await world.done('to', '0');
});
