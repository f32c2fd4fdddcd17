import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { dropInvalid, invalidIndexes } from '../../lib/migrate/invalid-indexes.ts';
import { openSession, type SqlSession } from '../../lib/migrate/session.ts';
import { parseSql } from '../../lib/migrate/sql/parse.ts';
import { makeDatabase } from '../servers/database.ts';

/** A schema a tenant, with tables of the same names: an index that is not valid may be of another tenant's build. */

let database: Awaited<ReturnType<typeof makeDatabase>>;
let session: SqlSession;
beforeAll(async () => {
  database = await makeDatabase('invalid_indexes');
  const store = { name: 'db', store: 'pgvector', connection: { url: database.url }, options: {} };
  session = await openSession({ store, by: 'ada', onNotice: () => undefined });
  for (const tenant of ['one', 'two']) {
    await session.run(`CREATE SCHEMA ${tenant}`);
    await session.run(`CREATE TABLE ${tenant}.words (n int); INSERT INTO ${tenant}.words VALUES (1), (1)`);
    await expect(session.run(`CREATE UNIQUE INDEX CONCURRENTLY words_n ON ${tenant}.words (n)`)).rejects.toThrow();
  }
});
afterAll(async () => {
  await session.close();
  await database.drop();
});

test('only the index of the schema that the statement names is dropped; where it names none, a person is asked', async () => {
  const found = await invalidIndexes(session);
  expect(found.map(({ name }) => name)).toEqual(['one.words_n', 'two.words_n']);
  const [bare] = await parseSql('CREATE UNIQUE INDEX CONCURRENTLY words_n ON words (n)', 'a');
  const [named] = await parseSql('CREATE UNIQUE INDEX CONCURRENTLY words_n ON two.words (n)', 'a');
  if (bare === undefined || named === undefined) throw new Error('no statements');
  await expect(dropInvalid(session, bare.node, found)).rejects.toThrow(/one\.words_n and two\.words_n are not valid/);
  expect(await dropInvalid(session, named.node, found)).toEqual(['two.words_n']);
  const left = await invalidIndexes(session);
  expect(left.map(({ name }) => name)).toEqual(['one.words_n']);
  // Of one alone it is told which is meant.
  expect(await dropInvalid(session, bare.node, left)).toEqual(['one.words_n']);
});
