import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** One folder for every stage: what differs between them is said as variables. */

let world: MigrateWorld;
const role = `reader_${process.pid}`;
beforeAll(async () => {
  world = await makeMigrateWorld('migrate_variables', {
    config:
      'stores:\n  db: {store: pgvector, connection: {secret: migrate/db}}\nvariables: {table: words, reader: null}\n',
  });
  await world.sql.query(`CREATE ROLE ${role}`);
  await world.write(
    '001_words.sql',
    sqlFile(
      `CREATE TABLE \${table} (id int);\nGRANT SELECT ON \${table} TO "\${reader}";`,
      `REVOKE SELECT ON \${table} FROM "\${reader}";\nDROP TABLE \${table};`,
    ),
  );
});
afterAll(async () => {
  await world.sql.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await world.close();
});

test('the linter needs no value, and up does: it says which, and where', async () => {
  await world.done('lint');
  const { code, err } = await world.migrate('up');
  expect(code).toBe(2);
  expect(err).toContain(`001_words.sql:3: \${reader} has no value on this stage: give it with --set reader=`);
  const slip = await world.migrate('up', '--set', `raeder=${role}`);
  expect(slip.err).toContain('those are table, reader');
});

test('a stage has its own value and the same checksum; what takes it back is what was applied there', async () => {
  await world.done('up', '--set', `reader=${role}`, '--set', 'table=words_here');
  const may = `SELECT has_table_privilege('${role}', 'words_here', 'SELECT') AS yes`;
  expect(await world.rows(may)).toEqual([{ yes: true }]);
  // Another value by now: the file is the same.
  await world.done('check', '--set', 'reader=somebody', '--set', 'table=words_here');
  await world.done('down', '--set', 'reader=somebody');
  expect(await world.rows(`SELECT to_regclass('words_here') AS name`)).toEqual([{ name: null }]);
});

test('what stands of a step without a transaction stands as its variables were, so the rest follows on those alone', async () => {
  const given = ['--set', 'reader=x', '--no-lint'];
  await world.write('001_words.sql', sqlFile(`CREATE TABLE \${table} (id int);`, `DROP TABLE \${table};`));
  await world.write(
    '002_i.sql',
    sqlFile(
      `CREATE INDEX CONCURRENTLY \${table}_id ON \${table} (id);\nCREATE INDEX CONCURRENTLY later ON \${table} (later);`,
    ),
  );
  expect((await world.migrate('up', ...given)).err).toContain('column "later" does not exist');
  await world.sql.query('CREATE TABLE others (id int, later int); ALTER TABLE words ADD COLUMN later int');
  const other = await world.migrate('up', ...given, '--set', 'table=others');
  expect(other.code).toBe(3);
  expect(other.err).toContain('002_i.sql was changed, or its variables were');
  await world.done('up', ...given);
  await world.done('to', '0', '--set', 'reader=x');
  await world.remove('002_i.sql');
});

test('a variable that nobody declares is refused with its line, also where it stands in a text', async () => {
  await world.write('002_note.sql', sqlFile(`SELECT '\${raeder}';`));
  const { code, err } = await world.migrate('up', '--set', `reader=${role}`);
  expect(code).toBe(2);
  expect(err).toContain(`002_note.sql:2: \${raeder} is not declared`);
});
