import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { InvalidEvent } from '../../../lib/errors.ts';
import { splitStatements, transactionControl } from '../../../lib/migrate/sql/split.ts';
import { makeDatabase } from '../../servers/database.ts';

const file = `-- Größen: 😀 are more bytes than characters
/* and a block; with a semicolon */
CREATE TABLE "Größe" (id int, note text DEFAULT 'a;b -- no comment');

-- the trigger
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  -- a semicolon; and 'a quote
  NEW.note := $$x;y$$;
  RETURN NEW;
END
$body$;
DO $$ BEGIN PERFORM 1; END $$;;
INSERT INTO "Größe" VALUES (1, E'it\\'s; 😀'), (2, 'x''y;');
  CREATE INDEX CONCURRENTLY ON "Größe" (id) -- the last one, without a semicolon
`;

describe('cutting a file into statements', () => {
  test('cuts where the server does: not in quotes, dollar quotes, comments, nor within a letter of several bytes', async () => {
    const statements = await splitStatements(file, '001_sizes.sql');
    expect(statements.map(({ kind, line, isTransactional }) => [kind, line, isTransactional])).toEqual([
      ['CreateStmt', 3, true],
      ['CreateFunctionStmt', 6, true],
      ['DoStmt', 13, true],
      ['InsertStmt', 14, true],
      ['IndexStmt', 15, false],
    ]);
    expect(statements[0]?.text).toBe(`CREATE TABLE "Größe" (id int, note text DEFAULT 'a;b -- no comment')`);
    expect(statements[1]?.text).toMatch(/^CREATE FUNCTION touch[\s\S]*\$body\$$/);
    expect(statements[3]?.text).toBe(`INSERT INTO "Größe" VALUES (1, E'it\\'s; 😀'), (2, 'x''y;')`);
  });

  test('counts lines of files with Windows line ends, and skips the mark that its editors put in front', async () => {
    const statements = await splitStatements('\uFEFF-- a\r\nSELECT 1;\r\n\r\nSELECT 2;\r\n', 'x.sql');
    expect(statements.map(({ text, line }) => [text, line])).toEqual([
      ['SELECT 1', 2],
      ['SELECT 2', 4],
    ]);
  });

  test('finds none in a file of comments, of blanks, or of nothing', async () => {
    for (const empty of ['', '  \n', '-- nothing yet', ';;', '/* a */ ;'])
      expect(await splitStatements(empty, 'x.sql')).toEqual([]);
  });

  test('passes over the fence that pg_dump writes around its statements, and over nothing else that looks like it', async () => {
    const dump =
      '-- a dump\n\n\\restrict aTeh5\n\nSET a.b = 1;\nSELECT $$\n\\restrict text\n$$;\n\n\\unrestrict aTeh5\n';
    expect((await splitStatements(dump, 'a.sql')).map(({ text, line }) => [text, line])).toEqual([
      ['SET a.b = 1', 5],
      ['SELECT $$\n\\restrict text\n$$', 6],
    ]);
    await expect(splitStatements('\\restrict aTeh5 more\nSELECT 1;', 'a.sql')).rejects.toThrow('is a command of psql');
  });

  test.each([
    ['SELECT 1;\n\nSELECT (😀ü;\n', /^a\.sql:3:11: syntax error at or near ";"$/],
    ["SELECT 1;\nSELECT 'abc", /^a\.sql:2:8: unterminated quoted string/],
    ['CREATE TABL t (id int);', /^a\.sql:1:8: syntax error at or near "TABL"$/],
    ['SELECT 1;\n\\i other.sql\n', /^a\.sql:2:1: .*\\i is a command of psql/],
    ['\\copy t from a.csv', /^a\.sql:1:1: .*\\copy is a command of psql/],
    ['SELECT * FROM :table;', /^a\.sql:1:15: .*a variable of psql/],
    ['SELECT 1;\nCOPY t (a, b) FROM stdin;\n1\tx\n\\.\n', /^a\.sql:3:1: .*COPY FROM stdin/],
    ['SELECT 1;\nCOPY t FROM stdin;', /^a\.sql:2:1: COPY FROM stdin/],
    ['SELECT 1; \0 DROP TABLE t;', /^a\.sql:1:11: the file holds a zero byte/],
  ])('refuses %j by file, line and column', async (sql, message) => {
    const refused = splitStatements(sql, 'a.sql');
    await expect(refused).rejects.toThrow(InvalidEvent);
    await expect(refused).rejects.toThrow(message);
  });

  test('marks what would end our transaction, so that a runner can refuse it', async () => {
    const sql =
      "BEGIN; START TRANSACTION; SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT; END; ROLLBACK; ABORT; PREPARE TRANSACTION 'x'";
    const kinds = (await splitStatements(sql, 'x.sql')).map(({ kind }) => kind);
    expect(kinds).toEqual(Array.from({ length: 10 }, () => transactionControl));
  });
});

/** Each is held against the server: refused in a transaction block, or not. */
const alone = [
  'CREATE INDEX CONCURRENTLY made ON t (id)',
  'CREATE UNIQUE INDEX CONCURRENTLY made ON t (id)',
  'DROP INDEX CONCURRENTLY t_id',
  'REINDEX INDEX CONCURRENTLY t_id',
  'REINDEX TABLE CONCURRENTLY t',
  'REINDEX (CONCURRENTLY ON, VERBOSE) TABLE t',
  'REINDEX SCHEMA public',
  'REINDEX DATABASE',
  'REINDEX SYSTEM',
  'VACUUM',
  'VACUUM (ANALYZE) t',
  'VACUUM FULL t',
  'CLUSTER',
  'CREATE DATABASE nowhere',
  'DROP DATABASE IF EXISTS nowhere',
  'ALTER DATABASE CURRENT SET TABLESPACE pg_default',
  "CREATE TABLESPACE nowhere LOCATION '/nowhere'",
  'DROP TABLESPACE IF EXISTS nowhere',
  'ALTER SYSTEM SET work_mem = 4096',
  'ALTER SYSTEM RESET ALL',
  'DISCARD ALL',
  'ALTER TABLE parted DETACH PARTITION part CONCURRENTLY',
  "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p",
  'ALTER SUBSCRIPTION slotted REFRESH PUBLICATION',
  'ALTER SUBSCRIPTION slotted SET PUBLICATION q',
  'ALTER SUBSCRIPTION slotted ADD PUBLICATION q WITH (refresh)',
  'ALTER SUBSCRIPTION slotted SET (failover = true)',
  'DROP SUBSCRIPTION slotted',
  "COMMIT PREPARED 'x'",
  "ROLLBACK PREPARED 'x'",
  'DO $$ BEGIN UPDATE t SET id = id; COMMIT; END $$',
  'DO LANGUAGE plpgsql $$ BEGIN IF true THEN ROLLBACK; END IF; END $$',
];

const together = [
  'CREATE INDEX ON t (id)',
  'DROP INDEX t_id',
  'REINDEX INDEX t_id',
  'REINDEX TABLE t',
  'REINDEX (CONCURRENTLY FALSE) TABLE t',
  'ANALYZE t',
  'CLUSTER t USING t_id',
  "ALTER DATABASE postgres SET work_mem = '4MB'",
  'DISCARD PLANS',
  'DISCARD TEMP',
  'ALTER TABLE parted DETACH PARTITION part',
  "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
  'ALTER SUBSCRIPTION idle SET PUBLICATION q WITH (refresh = false)',
  'ALTER SUBSCRIPTION idle ADD PUBLICATION q WITH (refresh = 0)',
  "ALTER SUBSCRIPTION idle SET (synchronous_commit = 'off')",
  'REFRESH MATERIALIZED VIEW CONCURRENTLY m',
  "ALTER TYPE mood ADD VALUE 'new'",
  'TRUNCATE t',
  'CREATE EXTENSION IF NOT EXISTS vector',
  'DO $$ BEGIN -- COMMIT; is only spoken of\n PERFORM $a$COMMIT;$a$; END $$',
  'CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$',
  'ALTER TABLE t ADD CONSTRAINT n NOT NULL id NOT VALID',
];

describe('what may stand in a transaction', () => {
  let database: Awaited<ReturnType<typeof makeDatabase>>;
  let client: pg.Client;

  beforeAll(async () => {
    database = await makeDatabase('split');
    client = new pg.Client(database.url);
    await client.connect();
    await client.query(`
      CREATE TABLE t (id int); CREATE INDEX t_id ON t (id);
      CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
      CREATE TYPE mood AS ENUM ('old');
      CREATE MATERIALIZED VIEW m AS SELECT 1 AS one; CREATE UNIQUE INDEX ON m (one);
      CREATE SUBSCRIPTION idle CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false);
      CREATE SUBSCRIPTION slotted CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)`);
  });

  afterAll(async () => {
    // A subscription with a slot holds its database.
    await client.query('ALTER SUBSCRIPTION slotted SET (slot_name = NONE)');
    await client.query('DROP SUBSCRIPTION slotted');
    await client.query('DROP SUBSCRIPTION idle');
    await client.end();
    await database.drop();
  });

  const inBlock = async (sql: string): Promise<string> => {
    await client.query('BEGIN');
    try {
      // Only an enabled one is asked for its publications. Outside a block that would start a worker.
      if (/slotted .*PUBLICATION/.test(sql)) await client.query('ALTER SUBSCRIPTION slotted ENABLE');
      await client.query(sql);
      return '';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    } finally {
      await client.query('ROLLBACK');
    }
  };

  test.each(alone)('%s may not, and the server agrees', async (sql) => {
    expect((await splitStatements(sql, 'x.sql'))[0]?.isTransactional).toBe(false);
    expect(await inBlock(sql)).toMatch(
      /cannot run inside a transaction block|cannot be executed within a transaction|invalid transaction termination/,
    );
  });

  test.each(together)('%s may, and the server agrees', async (sql) => {
    expect((await splitStatements(sql, 'x.sql'))[0]?.isTransactional).toBe(true);
    expect(await inBlock(sql)).toBe('');
  });
});
