import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Database } from '../../lib/stores/pgvector/connect.ts';
import { connect } from '../../lib/stores/pgvector/open.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { Piece, Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';
import { until } from '../until.ts';

/** A table that is altered while it is read: what a read says of it is what the read saw, and it never loses rows. */

let made: Awaited<ReturnType<typeof makeDatabase>>;
let database: Database;
let tables = 0;
const opened: Store[] = [];

beforeAll(async () => {
  made = await makeDatabase('pgvector_altered');
  database = await connect({ url: made.url }, 4);
});
afterAll(async () => {
  await Promise.all(opened.map((store) => store.close()));
  await database.close();
  await made.drop();
});

const run = (sql: string): Promise<void> => database.use((session) => session.run(sql));
const open = async (collection: string, url = made.url): Promise<Store> => {
  const store = await pgvector.open({ connection: { url }, collection, options: {} });
  opened.push(store);
  return store;
};
const makeTable = async (rows: number): Promise<string> => {
  const table = `altered_${++tables}`;
  await run(`CREATE TABLE ${table} (id bigint PRIMARY KEY, rank int, note text, embedding vector(3))`);
  await run(`INSERT INTO ${table} SELECT i, i, 'note ' || i, '[1,2,3]' FROM generate_series(1, ${rows}) i`);
  return table;
};
const everything = { from: null, to: null };
const readAll = async (store: Store, maxRecords = 1000): Promise<Piece[]> => {
  const pieces: Piece[] = [];
  for await (const piece of store.read(everything, { maxRecords, maxBytes: 1 << 24 })) pieces.push(piece);
  return pieces;
};
const typesIn = (pieces: readonly Piece[]) => [
  ...new Set(pieces.map(({ schema }) => schema?.fields?.map(({ name, type }) => `${name} ${type}`).join())),
];

describe('a table that is altered meanwhile', () => {
  test('is read whole after a rewrite that was under way when the read began: to an older snapshot it would look empty', async () => {
    const table = await makeTable(50);
    const store = await open(table);
    await readAll(store);
    const altering = Promise.withResolvers<void>();
    const held = database.transact(async (session) => {
      await session.run(`ALTER TABLE ${table} ALTER COLUMN rank TYPE text`);
      altering.resolve();
      // Until the read waits for this lock.
      const waiting = 'SELECT pid::text FROM pg_locks WHERE NOT granted AND relation = $1::regclass';
      await until(
        async () => (await database.use((other) => other.rows(waiting, [table]))).length > 0,
        'a read that waits for the table',
      );
    });
    await altering.promise;
    const [pieces] = await Promise.all([readAll(store), held]);
    expect(pieces.flatMap(({ batch }) => batch.payloads)).toHaveLength(50);
    expect(pieces[0]?.batch.payloads[0]).toBe('{"rank":"1","note":"note 1"}');
    expect(typesIn(pieces)).toEqual(['rank text,note text']);
  });

  test('cannot be altered while it is read, so all pieces of a read are of one schema', async () => {
    const table = await makeTable(500);
    const reading = (await open(table)).read(everything, { maxRecords: 10, maxBytes: 1 << 20 })[Symbol.asyncIterator]();
    const pieces: Piece[] = [];
    const take = async (): Promise<boolean> => {
      const { value, done } = await reading.next();
      if (done !== true) pieces.push(value);
      return done !== true;
    };
    await take();
    const drop = `SET lock_timeout = '200ms'; ALTER TABLE ${table} DROP COLUMN note`;
    await expect(run(drop)).rejects.toThrow(/lock timeout/);
    while (await take());
    expect(pieces.flatMap(({ batch }) => batch.ids)).toHaveLength(500);
    expect(typesIn(pieces)).toEqual(['rank integer,note text']);
    expect(new Set(pieces.map(({ schema }) => schema)).size).toBe(1);
    await run(drop);
    expect(typesIn(await readAll(await open(table)))).toEqual(['rank integer']);
  });

  test('is still read by a role that may read some columns alone, and so may not lock it', async () => {
    const table = await makeTable(5);
    const role = `reader_${Math.random().toString(36).slice(2, 8)}`;
    await run(`CREATE ROLE ${role} LOGIN; GRANT SELECT (id, rank, note, embedding) ON ${table} TO ${role}`);
    try {
      const url = new URL(made.url);
      url.username = role;
      const store = await open(table, url.href);
      expect((await readAll(store)).flatMap(({ batch }) => batch.ids)).toHaveLength(5);
    } finally {
      await run(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });
});
