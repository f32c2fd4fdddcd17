import { describe, expect, test } from '@jest/globals';
import type { DropOptions, Dropping, Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { useDatabase } from './pgvector-world.ts';

const drop = async (store: Store, options?: DropOptions): Promise<Dropping | undefined> => await store.drop?.(options);

describe.each(['a server', 'PGlite'])('dropping a table in %s', (where) => {
  const { run, scalar, open } = useDatabase('pgvector_drop', { where });
  const filled = async (collection: string): Promise<Store> => {
    const store = await open(collection);
    await store.prepare(makeSchema({ store: 'pgvector' }));
    const position = { run: 'r', shard: '00000-000', offset: 0 };
    await store.write(makeBatch({ ids: ['1', '2', '3'] }), { position, mode: 'upsert' });
    return store;
  };

  test('is refused while views, materialized views and foreign keys depend on it, which are named', async () => {
    const store = await filled('used');
    await run(`CREATE VIEW seen AS SELECT id FROM used; CREATE MATERIALIZED VIEW kept AS SELECT id FROM used;
      CREATE TABLE notes (id bigint REFERENCES used (id))`);
    for (const dryRun of [true, false]) {
      await expect(drop(store, { dryRun })).rejects.toMatchObject({
        name: 'Incompatible',
        message: 'a foreign key of notes, view kept, view seen depend on table "used"; drop or change them first',
        ids: ['notes', 'kept', 'seen'],
      });
    }
    expect(await store.count()).toBe(3);
    await run('DROP VIEW seen; DROP MATERIALIZED VIEW kept; DROP TABLE notes');
    expect(await drop(store)).toMatchObject({ isThere: true });
  });

  test('takes its sequence and its rows of the ledger, and leaves types, other sequences and other tables', async () => {
    await run(`CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE SEQUENCE counter;
      CREATE TABLE owned (id serial PRIMARY KEY, mood mood, n bigint DEFAULT nextval('counter'), embedding vector(2));
      INSERT INTO owned (mood, embedding) VALUES ('glad', '[1,2]')`);
    const beside = await filled('beside');
    const store = await filled('loaded');
    const ledger = () =>
      scalar("SELECT count(*)::text FROM vecferry_ledger WHERE collection::regclass::text ~ '^[0-9]+$'");
    expect(await drop(store)).toMatchObject({ isThere: true, name: 'loaded', what: 'table "loaded" with its indexes' });
    expect(await ledger()).toBe('0');
    await drop(await open('owned'));
    expect(await scalar("SELECT to_regclass('owned_id_seq')::text")).toBeNull();
    expect(await scalar("SELECT nextval('counter')::text")).toBe('2');
    expect(await scalar("SELECT 'sad'::mood::text")).toBe('sad');
    expect(await beside.count()).toBe(3);
  });

  test('never drops a view, whose records are in a table that others may read', async () => {
    await filled('below');
    await run('CREATE VIEW above AS SELECT * FROM below');
    const refused = drop(await open('above'));
    await expect(refused).rejects.toMatchObject({ name: 'Incompatible', message: expect.stringMatching(/is a view/) });
    expect(await scalar('SELECT count(*)::text FROM above')).toBe('3');
  });

  test('tells its size, indexes and all, which nothing else would', async () => {
    const store = await filled('sized');
    const size = await scalar("SELECT pg_total_relation_size('sized')::text");
    expect(await drop(store, { dryRun: true })).toMatchObject({ isThere: true, bytes: Number(size) });
  });
});

describe('on a server', () => {
  const { run, open, database } = useDatabase('pgvector_drop_busy');

  test('gives up where somebody reads the table, since all others would wait behind it, and is worth another try', async () => {
    await run('CREATE TABLE busy (id int PRIMARY KEY, embedding vector(2))');
    const store = await open('busy');
    await database().transact(async (reader) => {
      await reader.rows('SELECT id::text FROM busy');
      await expect(drop(store)).rejects.toMatchObject({ name: 'StoreUnavailable', retryable: true });
    });
    expect(await drop(store)).toMatchObject({ isThere: true });
  });
});
