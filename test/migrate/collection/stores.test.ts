import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { MigrateConfig, MigratedStore } from '../../../lib/migrate/port.ts';
import type { Store } from '../../../lib/stores/port.ts';
import { storeKind } from '../../../lib/stores/registry.ts';
import { makeDatabase } from '../../servers/database.ts';
import { chromaUrl } from '../../servers/urls.ts';
import { down, makeConfig, makeFile, up } from './world.ts';

/** Collection files on stores that are changed through their port: what each has, and what each refuses. */

const unique = (name: string): string => `${name}_${process.pid}${Math.random().toString(36).slice(2, 6)}`;
const opened: Store[] = [];
async function open(config: MigrateConfig, collection: string): Promise<Store> {
  const { store, connection, options } = config.stores.get('search')!;
  const made = await (await storeKind(store)).open({ connection: { ...connection }, collection, options });
  opened.push(made);
  return made;
}
let database: Awaited<ReturnType<typeof makeDatabase>>;
let sql: pg.Client;
beforeAll(async () => {
  database = await makeDatabase('mig_collections');
  sql = new pg.Client(database.url);
  await sql.connect();
});
afterAll(async () => {
  for (const store of opened) await store.close();
  await sql.end();
  await database.drop();
});

const nothing = 'search: nothing to do, all of it is there';
const makers: Readonly<Record<string, () => Promise<Pick<MigratedStore, 'store' | 'connection'>>>> = {
  chroma: async () => ({ store: 'chroma', connection: { url: await chromaUrl() } }),
  lancedb: async () => ({ store: 'lancedb', connection: { path: mkdtempSync(join(tmpdir(), 'vecferry-mig-')) } }),
  pgvector: async () => ({ store: 'pgvector', connection: { url: database.url } }),
};

describe.each(Object.keys(makers))('%s', (kind) => {
  let config: MigrateConfig;
  beforeAll(async () => {
    config = makeConfig(await makers[kind]!());
  });

  test('a collection is made with its seeds, a second up does nothing, changed seeds come back, and down takes it away', async () => {
    const collection = unique('articles');
    const seed = [
      { id: 1, vector: [1, 0, 0, 0], payload: { tag: 'a' } },
      { id: 2, vector: [0, 1, 0, 0], payload: { tag: 'b' } },
    ];
    const vectors = { size: 4, distance: 'cosine', hnsw: { m: 8 } };
    const first = makeFile(1, { store: 'search', collection, vectors, seed });
    const made = await up(first, { config });
    const store = await open(config, collection);
    const { schema, count } = await store.describe();
    expect(count).toBe(2);
    expect(schema.vectors[0]).toMatchObject({ dimension: 4, distance: 'cosine' });
    expect((await up(first, { config })).step.lines[0]).toBe(nothing);

    const changes = [
      { id: 2, vector: [0, 0, 1, 0], payload: { tag: 'c' } },
      { id: 3, vector: [0, 0, 0, 1] },
    ];
    const second = makeFile(2, { store: 'search', collection, seed: changes, drop: { records: [1] } });
    const payloads = async (): Promise<unknown> => {
      const { ids, payloads: texts } = await store.fetch(['1', '2', '3']);
      return Object.fromEntries(ids.map((id, at) => [id, JSON.parse(texts[at] ?? '')]));
    };
    const applied = await up(second, { config });
    expect(await payloads()).toEqual({ 2: { tag: 'c' }, 3: {} });
    expect((await up(second, { config })).step.lines[0]).toBe(nothing);
    await down(applied.entry, second, { config });
    expect(await payloads()).toEqual({ 1: { tag: 'a' }, 2: { tag: 'b' } });

    await down(made.entry, first, { config });
    await expect((await open(config, collection)).describe()).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('what the store has not is refused with what is done instead, before anything is changed', async () => {
    const collection = unique('refused');
    const vectors = { size: 4, distance: 'cosine' };
    const refused = async (change: object, said: RegExp): Promise<void> => {
      const file = makeFile(1, { store: 'search', collection, vectors, ...change });
      await expect(up(file, { config })).rejects.toThrow(said);
    };
    await refused({ sparse: { words: {} } }, /sparse of .* is not for/);
    await refused({ optimizers: { indexingThreshold: 1 } }, /optimizers .* it is a setting of Qdrant/);
    await refused({ vectors: { ...vectors, precision: 'uint8' } }, /precision .*'uint8' is none of/);
    if (kind !== 'pgvector') {
      await refused({ aliases: ['live'] }, /aliases .*routing flag/);
      const seed = [{ id: 1, vector: [1, 0, 0, 0] }];
      await up(makeFile(1, { store: 'search', collection, vectors, seed }), { config });
      await refused({ vectors: { ...vectors, size: 8 } }, /needs a copy, and .* has no alias/);
    } else await expect((await open(config, collection)).describe()).rejects.toMatchObject({ name: 'NotFound' });
  });
});

describe('a table of pgvector', () => {
  const indexes = async (table: string): Promise<readonly string[]> => {
    const { rows } = await sql.query(
      'SELECT pg_get_indexdef(indexrelid) AS def FROM pg_index WHERE indrelid = $1::regclass AND indisvalid AND NOT indisprimary ORDER BY 1',
      [table],
    );
    return rows.map(({ def }) => String(def).replaceAll(table, 'TABLE'));
  };
  const columns = async (table: string): Promise<readonly string[]> => {
    const { rows } = await sql.query(
      "SELECT attname || ' ' || format_type(atttypid, atttypmod) AS c FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1",
      [table],
    );
    return rows.map(({ c }) => String(c));
  };

  test('gets columns, vectors and indexes beside its readers, and down takes each away again', async () => {
    const config = makeConfig({ store: 'pgvector', connection: { url: database.url } });
    const collection = unique('shaped');
    const first = makeFile(1, {
      store: 'search',
      collection,
      vectors: { embedding: { size: 4, distance: 'cosine', index: { kind: 'ivfflat', lists: 1 } } },
      columns: { tag: { type: 'varchar(20)' }, year: { type: 'int' } },
      payloadIndexes: { tag: 'btree' },
      aliases: [`${collection}_live`],
    });
    const made = await up(first, { config });
    expect((await up(first, { config })).step.lines).toEqual([nothing]);
    await sql.query(`INSERT INTO ${collection} (id, embedding, tag) VALUES (1, '[1,0,0,0]', 'a')`);
    const before = [await indexes(collection), await columns(collection)];
    expect(before[0]).toEqual([
      expect.stringContaining('USING ivfflat (embedding vector_cosine_ops) WITH (lists='),
      expect.stringContaining('USING btree (tag)'),
    ]);

    const second = makeFile(2, {
      store: 'search',
      collection,
      vectors: {
        embedding: { distance: 'euclid', index: { kind: 'hnsw', m: 8 } },
        title: { size: 3, distance: 'dot', hnsw: {} },
      },
      columns: { note: { type: 'text' }, tag: { type: 'character varying(20)' } },
      payloadIndexes: { year: { type: 'brin' } },
      drop: { payloadIndexes: ['tag'], aliases: [`${collection}_live`] },
    });
    const applied = await up(second, { config });
    // Told before and after: a file measures nothing.
    const unvalidated = [
      expect.stringMatching(
        /without validation.*vecferry run '.*"index":\{"vector":"embedding","to":\{"kind":"hnsw","m":8\}\}\}'/,
      ),
    ];
    expect(applied.step.unvalidated).toEqual(unvalidated);
    expect(applied.step.lines).toEqual(expect.arrayContaining(unvalidated));
    expect(await indexes(collection)).toEqual([
      expect.stringContaining('USING hnsw (embedding vector_l2_ops) WITH (m='),
      expect.stringContaining('USING hnsw (title vector_ip_ops)'),
      expect.stringContaining('USING brin (year)'),
    ]);
    expect(await columns(collection)).toContain('note text');
    expect((await sql.query('SELECT to_regclass($1) AS view', [`${collection}_live`])).rows).toEqual([{ view: null }]);
    expect((await up(second, { config })).step.lines).toEqual([nothing]);

    await down(applied.entry, second, { config });
    expect([await indexes(collection), await columns(collection)]).toEqual(before);
    expect((await sql.query(`SELECT id::int FROM ${collection}_live`)).rows).toEqual([{ id: 1 }]);
    await down(made.entry, first, { config });
    expect((await sql.query('SELECT to_regclass($1) AS t', [collection])).rows).toEqual([{ t: null }]);
  });

  test('an index that a dead build has left is built anew, and not taken for one', async () => {
    const config = makeConfig({ store: 'pgvector', connection: { url: database.url } });
    const collection = unique('dead');
    await sql.query(`CREATE TABLE ${collection} (id bigint PRIMARY KEY, tag text, embedding vector(3))`);
    await sql.query(`INSERT INTO ${collection} VALUES (1, 'a', NULL), (2, 'a', NULL)`);
    await expect(
      sql.query(`CREATE UNIQUE INDEX CONCURRENTLY ${collection}_tag_btree ON ${collection} (tag)`),
    ).rejects.toThrow();
    const file = makeFile(1, { store: 'search', collection, payloadIndexes: { tag: 'btree' } });
    await up(file, { config });
    expect(await indexes(collection)).toEqual([expect.stringContaining('CREATE INDEX')]);
  });

  test('another type of a column and NOT NULL are refused with the safe steps', async () => {
    const config = makeConfig({ store: 'pgvector', connection: { url: database.url } });
    const collection = unique('columns');
    await sql.query(`CREATE TABLE ${collection} (id bigint PRIMARY KEY, year int, embedding vector(3))`);
    const change = (columns: object) => makeFile(1, { store: 'search', collection, columns });
    await expect(up(change({ year: { type: 'text' } }), { config })).rejects.toThrow(
      /'year' is integer instead of text.*beside it/,
    );
    await expect(up(change({ tag: { type: 'text', nullable: false } }), { config })).rejects.toThrow(
      /add it nullable, fill it/,
    );
    await expect(up(change({ tag: { type: 'text; DROP TABLE x' } }), { config })).rejects.toThrow(
      /which this database does not have|syntax error/,
    );
  });
});
