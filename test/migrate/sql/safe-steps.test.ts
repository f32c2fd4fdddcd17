import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { lintFiles } from '../../../lib/migrate/sql/lint.ts';
import { splitStatements } from '../../../lib/migrate/sql/split.ts';
import { makeDatabase } from '../../servers/database.ts';
import { sqlFile } from './files.ts';

/**
 * The steps that findings give, run as they stand, with what each locks and reads: none may read the table while it holds a lock that
 * keeps readers or writers out. Locks and counts of rows are the server's own words; nothing is timed.
 */

const rows = 20_000;

/** The modes that writes wait for, or reads too (PostgreSQL's manual, "Explicit Locking"). */
const keepsOut = ['ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'];

let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
let beside: pg.Client;

beforeAll(async () => {
  database = await makeDatabase('safe_steps');
  client = new pg.Client(database.url);
  beside = new pg.Client(database.url);
  await client.connect();
  await beside.connect();
});

afterAll(async () => {
  await client.end();
  await beside.end();
  await database.drop();
});

async function makeTables(): Promise<void> {
  await client.query(`DROP TABLE IF EXISTS articles, authors CASCADE;
    CREATE TABLE authors (id int PRIMARY KEY); INSERT INTO authors SELECT generate_series(1, 1000);
    CREATE TABLE articles (id int, title text, author int, words int);
    INSERT INTO articles SELECT i, repeat('title ', 20) || i, 1 + i % 1000, 100 FROM generate_series(1, ${rows}) i;
    ANALYZE articles`);
}

interface Seen {
  /** Locks on articles that keep others out. */
  readonly locks: readonly string[];
  /** Rows of articles that were read by a scan of all. */
  readonly read: number;
}

const locksOf = `SELECT coalesce(array_agg(DISTINCT mode), '{}') AS modes FROM pg_locks
  WHERE granted AND locktype = 'relation' AND relation = 'articles'::regclass AND pid = $1`;

/** In one transaction, whose locks are all held at its end. */
async function inTransaction(step: string): Promise<Seen> {
  await client.query('BEGIN');
  // The server's counters hold what earlier transactions read, until it has passed that on.
  const before = await rowsRead();
  await client.query(step);
  const { modes } = (await client.query(locksOf.replace('$1', 'pg_backend_pid()'))).rows[0];
  const read = (await rowsRead()) - before;
  await client.query('COMMIT');
  return { locks: keepsOut.filter((mode) => modes.includes(mode)), read };
}

const rowsRead = async (): Promise<number> => {
  const sql = `SELECT coalesce(sum(seq_tup_read), 0)::int AS read FROM pg_stat_xact_user_tables WHERE relname = 'articles'`;
  return (await client.query(sql)).rows[0].read;
};

/** By itself: its transactions are its own, so its locks are looked at again and again while it runs. */
async function byItself(step: string): Promise<Seen> {
  const { pid } = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0];
  let isDone = false;
  const run = client.query(step.replace(/;$/, '')).finally(() => {
    isDone = true;
  });
  const seen = new Set<string>();
  while (!isDone) for (const mode of (await beside.query(locksOf, [pid])).rows[0].modes) seen.add(mode);
  await run;
  return { locks: keepsOut.filter((mode) => seen.has(mode)), read: rows };
}

/** The steps of the one finding, with what only a person can say filled in. */
async function stepsOf(
  sql: string,
  rule: string,
  filled: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const findings = await lintFiles([
    sqlFile(1, 'CREATE TABLE articles (id int, title text, author int, words int);'),
    sqlFile(2, sql),
  ]);
  const finding = findings.find((one) => one.rule === rule);
  if (finding === undefined) throw new Error(`no finding ${rule} but ${findings.map((one) => one.rule).join(', ')}`);
  const steps = finding.safeSteps.filter((step) => !step.startsWith('deploy: '));
  return steps.map((step) => {
    let text = step.replace(/^(expand|backfill|contract): /, '');
    for (const [name, value] of Object.entries(filled)) text = text.replaceAll(`<${name}>`, value);
    return text;
  });
}

/** Steps that read the table while others are kept out; there should be none. */
async function runSteps(steps: readonly string[]): Promise<readonly string[]> {
  const harmful: string[] = [];
  for (const step of steps) {
    const isAlone = (await splitStatements(step, 'step')).some(({ isTransactional }) => !isTransactional);
    const { locks, read } = await (isAlone ? byItself(step) : inTransaction(step));
    if (locks.length > 0 && read > 0) harmful.push(`${step}: ${locks.join(', ')} while ${read} rows are read`);
  }
  return harmful;
}

const isNullable = async (column: string): Promise<boolean> => {
  const sql = `SELECT attnotnull FROM pg_attribute WHERE attrelid = 'articles'::regclass AND attname = $1`;
  return !(await client.query(sql, [column])).rows[0].attnotnull;
};

describe('safe steps, run on a table that others use', () => {
  test.each([18, 17])('add a column that is NOT NULL, as PostgreSQL %i knows it', async (postgres) => {
    await makeTables();
    const findings = await lintFiles([sqlFile(1, 'ALTER TABLE articles ADD COLUMN lang text NOT NULL;')], { postgres });
    const steps = findings[0]!.safeSteps
      .filter((step) => !step.startsWith('deploy: '))
      .map((step) => step.replace(/^\w+: /, '').replaceAll('<value>', "'en'"));
    expect(await runSteps(steps)).toEqual([]);
    expect(await isNullable('lang')).toBe(false);
    expect((await client.query("SELECT count(*)::int AS n FROM articles WHERE lang = 'en'")).rows[0].n).toBe(rows);
    const checks = await client.query(
      "SELECT 1 FROM pg_constraint WHERE conrelid = 'articles'::regclass AND contype = 'c'",
    );
    expect(checks.rows).toEqual([]);
  });

  test('give each row a value of its own', async () => {
    await makeTables();
    expect(
      await runSteps(
        await stepsOf(
          'ALTER TABLE articles ADD COLUMN key uuid NOT NULL DEFAULT gen_random_uuid();',
          'adding-field-with-default',
        ),
      ),
    ).toEqual([]);
    expect((await client.query('SELECT count(DISTINCT key)::int AS n FROM articles')).rows[0].n).toBe(rows);
    expect(await isNullable('key')).toBe(false);
    expect(
      await runSteps(await stepsOf('ALTER TABLE articles ADD COLUMN number bigserial;', 'adding-field-with-default')),
    ).toEqual([]);
    await client.query("INSERT INTO articles (title) VALUES ('one more')");
    expect((await client.query('SELECT max(number)::int AS n FROM articles')).rows[0].n).toBeGreaterThan(rows);
  });

  test('rename a column, while some write the old name and some the new', async () => {
    await makeTables();
    const steps = await stepsOf('ALTER TABLE articles RENAME COLUMN words TO word_count;', 'renaming-column');
    const contract = steps.findIndex((step) => step.startsWith('DROP TRIGGER'));
    // A default of the old name must not stand for what was written to the new one, nor may NOT NULL refuse it at any step.
    await client.query('ALTER TABLE articles ALTER COLUMN words SET DEFAULT 0, ALTER COLUMN words SET NOT NULL');
    expect(await runSteps(steps.slice(0, contract))).toEqual([]);
    expect(steps).toHaveLength(contract + 1);
    await client.query(`INSERT INTO articles (id, words) VALUES (-1, 1); INSERT INTO articles (id, word_count) VALUES (-2, 2);
      UPDATE articles SET words = 7 WHERE id = 7; UPDATE articles SET word_count = 8 WHERE id = 8`);
    const both = await client.query(
      'SELECT id, words, word_count FROM articles WHERE id IN (-1, -2, 7, 8) ORDER BY id',
    );
    expect(both.rows.map(({ id, words, word_count }) => [id, words, word_count])).toEqual([
      [-2, 2, 2],
      [-1, 1, 1],
      [7, 7, 7],
      [8, 8, 8],
    ]);
    await client.query(`UPDATE articles SET title = 'another' WHERE id = -2`);
    expect((await client.query('SELECT word_count AS n FROM articles WHERE id = -2')).rows[0].n).toBe(2);
    expect((await client.query('SELECT 1 FROM articles WHERE words IS DISTINCT FROM word_count')).rows).toEqual([]);
    await runSteps(steps.slice(contract));
    expect((await client.query('SELECT sum(word_count)::int AS n FROM articles')).rows[0].n).toBe(
      rows * 100 + 3 - 200 + 15,
    );
  });

  test('change a type', async () => {
    await makeTables();
    const steps = await stepsOf('ALTER TABLE articles ALTER COLUMN words TYPE bigint;', 'changing-column-type');
    expect(await runSteps(steps)).toEqual([]);
    const type = await client.query(
      "SELECT format_type(atttypid, atttypmod) AS t FROM pg_attribute WHERE attrelid = 'articles'::regclass AND attname = 'words_new'",
    );
    expect(type.rows[0].t).toBe('bigint');
  });

  test('build an index, a unique constraint, a primary key', async () => {
    await makeTables();
    for (const [sql, rule] of [
      ['CREATE INDEX articles_author ON articles (author);', 'require-concurrent-index-creation'],
      ['ALTER TABLE articles ADD CONSTRAINT articles_id_key UNIQUE (id);', 'disallowed-unique-constraint'],
      ['ALTER TABLE articles ADD PRIMARY KEY (id);', 'adding-serial-primary-key-field'],
    ] as const)
      expect(await runSteps(await stepsOf(sql, rule))).toEqual([]);
    const made = await client.query(
      "SELECT conname FROM pg_constraint WHERE conrelid = 'articles'::regclass AND contype IN ('u', 'p') ORDER BY 1",
    );
    expect(made.rows.map(({ conname }) => conname)).toEqual(['articles_id_key', 'articles_pkey']);
  });

  test('add a foreign key and a check', async () => {
    await makeTables();
    for (const [sql, rule] of [
      [
        'ALTER TABLE articles ADD FOREIGN KEY (author) REFERENCES authors (id) ON DELETE CASCADE;',
        'adding-foreign-key-constraint',
      ],
      ["ALTER TABLE articles ADD CHECK (words > 0 AND title <> ')');", 'constraint-missing-not-valid'],
    ] as const)
      expect(await runSteps(await stepsOf(sql, rule))).toEqual([]);
    const made = await client.query(
      "SELECT pg_get_constraintdef(oid) AS d FROM pg_constraint WHERE conrelid = 'articles'::regclass AND convalidated AND contype IN ('f', 'c') ORDER BY 1",
    );
    expect(made.rows.map(({ d }) => d)).toEqual([
      "CHECK (((words > 0) AND (title <> ')'::text)))",
      'FOREIGN KEY (author) REFERENCES authors(id) ON DELETE CASCADE',
    ]);
  });

  test('rename a table, with the old name still read and written', async () => {
    await makeTables();
    const steps = await stepsOf('ALTER TABLE articles RENAME TO papers;', 'renaming-table');
    await client.query(`BEGIN; ${steps[0]} COMMIT`);
    await client.query("INSERT INTO articles (id, title) VALUES (0, 'through the view')");
    expect((await client.query('SELECT title FROM papers WHERE id = 0')).rows).toEqual([{ title: 'through the view' }]);
    await client.query(steps[1]!);
    await client.query('DROP TABLE papers');
  });

  test('delete and update in batches that can be ended half way', async () => {
    await makeTables();
    const update = await stepsOf('UPDATE articles SET words = 101;', 'backfill-in-one-statement', { value: '101' });
    expect(await runSteps(update)).toEqual([]);
    expect((await client.query('SELECT 1 FROM articles WHERE words <> 101')).rows).toEqual([]);
    const clear = await stepsOf('DELETE FROM articles;', 'delete-without-where', { condition: 'id % 2 = 0' });
    expect(await runSteps(clear.slice(-1))).toEqual([]);
    expect((await client.query('SELECT count(*)::int AS n FROM articles')).rows[0].n).toBe(rows / 2);
  });

  test.each([
    'ALTER TABLE articles ADD COLUMN key uuid DEFAULT gen_random_uuid();',
    'ALTER TABLE articles ALTER COLUMN words SET NOT NULL;',
    'ALTER TABLE articles ALTER COLUMN words TYPE bigint;',
    'ALTER TABLE articles ADD CHECK (words > 0);',
    'ALTER TABLE articles ADD FOREIGN KEY (author) REFERENCES authors (id);',
    'ALTER TABLE articles ADD UNIQUE (id);',
    'CREATE INDEX ON articles (author);',
    'ALTER TABLE articles ADD COLUMN more int CHECK (more > 0);',
    'CLUSTER articles USING by_id;',
  ])('are needed: %s keeps others out for as long as it reads the table, and has an error', async (sql) => {
    await makeTables();
    await client.query('CREATE INDEX by_id ON articles (id)');
    expect(await runSteps([sql])).toEqual([expect.stringMatching(/Lock while \d+ rows/)]);
    const findings = await lintFiles([sqlFile(1, sql)]);
    expect(findings.map(({ level }) => level)).toContain('error');
  });

  test.each([
    "ALTER TABLE articles ADD COLUMN lang text NOT NULL DEFAULT 'en';",
    'ALTER TABLE articles ADD COLUMN at timestamptz NOT NULL DEFAULT now();',
    'ALTER TABLE articles ADD COLUMN twice int GENERATED ALWAYS AS (words * 2) VIRTUAL;',
    'ALTER TABLE articles ADD COLUMN other int REFERENCES authors (id);',
    'ALTER TABLE articles ALTER COLUMN title TYPE text;',
    'ALTER TABLE articles ALTER COLUMN short TYPE varchar(20);',
    'ALTER TABLE articles ALTER COLUMN short TYPE text;',
    'ALTER TABLE articles ALTER COLUMN price TYPE numeric(12,2);',
    'ALTER TABLE articles ALTER COLUMN words SET DEFAULT 3, ALTER COLUMN words SET STATISTICS 500;',
  ])('are not asked for where nothing is read: %s', async (sql) => {
    await makeTables();
    const before = 'ALTER TABLE articles ADD COLUMN short varchar(10), ADD COLUMN price numeric(10,2);';
    await client.query(before);
    expect(await runSteps([sql])).toEqual([]);
    const table = sqlFile(1, `CREATE TABLE articles (id int, title text, author int, words int); ${before}`);
    expect(await lintFiles([table, sqlFile(2, sql)])).toEqual([]);
  });

  test('are not asked for by SET NOT NULL once a validated check of the files before proves it', async () => {
    await makeTables();
    const files = [
      'ALTER TABLE articles ADD CONSTRAINT proof CHECK (words IS NOT NULL) NOT VALID;',
      'ALTER TABLE articles VALIDATE CONSTRAINT proof;',
      'ALTER TABLE articles ALTER COLUMN words SET NOT NULL;',
    ];
    expect(await runSteps(files)).toEqual([]);
    expect(await lintFiles(files.map((sql, i) => sqlFile(i + 1, sql)))).toEqual([]);
    const unproved = await lintFiles([sqlFile(1, files[0]!), sqlFile(2, files[2]!)]);
    expect(unproved.map(({ rule }) => rule)).toEqual(['adding-not-nullable-field']);
  });
});
