import { describe, expect, test } from '@jest/globals';
import type { Condition } from '../../lib/filter.ts';
import type { Distance, SearchSettings } from '../../lib/schema.ts';
import { readLayout } from '../../lib/stores/pgvector/catalog.ts';
import { filterSql } from '../../lib/stores/pgvector/filter.ts';
import { connect } from '../../lib/stores/pgvector/open.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { makeSchema } from '../make.ts';
import { makeDatabase } from '../servers/database.ts';
import { dimension, onTopic, query, useWords, values } from './pgvector-words.ts';

/**
 * What a search of an index depends on, each made to happen: too few candidates, too few lists, a filter that leaves too
 * few. The tables are large enough that the planner takes the index by itself, as it would for an application.
 */

describe.each(['a server', 'PGlite'])('searching in %s', (where) => {
  const { open, run, rows, database, hnsw, ivfflat, measure, countOf, index } = useWords('pgvector_search', where);

  test('a vector without an index is searched by the distance that is asked for, and one with an index by its own', async () => {
    const nearest = async (distance: Distance) =>
      (await (await open()).search({ vector: 'embedding', query, k: 10, distance })).map(({ score }) => score);
    const cosine = await nearest('cosine');
    const euclid = await nearest('euclid');
    expect(Math.max(...cosine)).toBeLessThanOrEqual(2);
    expect(euclid).not.toEqual(cosine);
    await hnsw();
    expect(await nearest('cosine')).toEqual(await nearest('euclid'));
  });

  test('an HNSW index with a low efSearch finds clearly less than with a high one', async () => {
    await hnsw();
    const store = await open();
    const low = await measure(store, { efSearch: 10 });
    const high = await measure(store, { efSearch: 400 });
    expect(low.recall).toBeLessThan(0.8);
    expect(high.recall).toBeGreaterThan(0.95);
    expect(low.hits).toBe(10);
  });

  test('an IVFFlat index with one probe finds clearly less than with many', async () => {
    await ivfflat();
    const store = await open();
    const low = await measure(store, { probes: 1 });
    const high = await measure(store, { probes: 50 });
    expect(low.recall).toBeLessThan(0.8);
    expect(high.recall).toBe(1);
    expect(await store.tuning('embedding')).toEqual({
      current: { probes: 1, iterativeScan: false },
      heeds: { probes: 50, iterativeScan: true },
      isQuantized: false,
    });
  });

  test('a filter that few records pass leaves an HNSW search fewer than k, unless it scans on or an index serves the filter', async () => {
    await hnsw();
    const store = await open();
    const plain = await measure(store, {}, onTopic);
    expect(plain.hits).toBeLessThan(5);
    expect(plain.recall).toBeLessThan(0.4);
    const scanning = await measure(store, { iterativeScan: true }, onTopic);
    expect(scanning.hits).toBe(10);
    expect(scanning.recall).toBeGreaterThan(plain.recall + 0.25);
    await run('CREATE INDEX words_topic ON words (topic); ANALYZE words');
    expect(await measure(store, {}, onTopic)).toEqual({ recall: 1, hits: 10 });
  });

  test('an IVFFlat search scans on too, and its hits stand in order though the index gives them in none', async () => {
    await ivfflat();
    const store = await open();
    const plain = await measure(store, {}, onTopic);
    expect(plain.hits).toBeLessThan(9);
    expect((await measure(store, { iterativeScan: true }, onTopic)).hits).toBe(10);
  });

  test('settings of a search beat the endpoint’s options, those the server’s, and a k above its default raises only what nobody said', async () => {
    await hnsw();
    const plain = await open();
    expect(await countOf(plain, 100)).toBe(100);
    expect(await countOf(plain, 100, { efSearch: 60 })).toBe(60);
    const tuned = await open('words', { efSearch: 50 });
    expect(await countOf(tuned, 100)).toBe(50);
    expect(await countOf(tuned, 100, { efSearch: 60 })).toBe(60);
    expect((await tuned.tuning('embedding')).current).toMatchObject({ efSearch: 50 });
    expect((await plain.tuning('embedding')).current).toMatchObject({ efSearch: 40, iterativeScan: false });
    // Nothing of it stays in the session.
    expect(await countOf(plain, 100)).toBe(100);
  });

  test('a setting that pgvector does not heed, or beyond what it takes, is refused with its name', async () => {
    await hnsw();
    const store = await open();
    for (const [settings, named] of [
      [{ rescore: true }, 'rescore'],
      [{ oversampling: 2, efSearch: 10 }, 'oversampling'],
      [{ efSearch: 1001 }, 'efSearch'],
      [{ probes: 32_769 }, 'probes'],
      [{ efSearch: 1.5 }, 'efSearch'],
    ] as const) {
      await expect(countOf(store, 10, settings)).rejects.toMatchObject({ name: 'InvalidEvent', ids: [named] });
      await expect(store.keepSearch('embedding', settings)).rejects.toMatchObject({ name: 'InvalidEvent' });
    }
    await expect(open('words', { efSearch: 1001 })).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
    await expect(store.tuning('no vector')).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('without an index, or with one that is not valid or of some rows only, a search is exact and nothing changes it', async () => {
    const exactly = { current: {}, heeds: {}, isQuantized: false };
    const store = await open();
    // In a session that has not used pgvector yet.
    expect(await countOf(store, 10, { iterativeScan: true, efSearch: 10, probes: 1 })).toBe(10);
    expect(await store.tuning('embedding')).toEqual(exactly);
    expect(await measure(store)).toEqual({ recall: 1, hits: 10 });
    await index('hnsw (embedding vector_l2_ops) WHERE topic = 3');
    expect(await store.tuning('embedding')).toEqual(exactly);
    expect((await store.describe()).schema.vectors).toMatchObject([{ index: { kind: 'none' } }]);
    expect(await measure(store, {}, onTopic)).toEqual({ recall: 1, hits: 10 });
    await run('DROP INDEX words_index');
    await hnsw();
    expect((await store.tuning('embedding')).heeds).toEqual({ efSearch: 1000, iterativeScan: true });
    await run(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'words_index'::regclass`);
    expect(await store.tuning('embedding')).toEqual(exactly);
    expect((await store.describe()).schema).toMatchObject({
      vectors: [{ index: { kind: 'none' } }],
      payloadIndexes: [],
    });
    expect((await store.keepSearch('embedding', { efSearch: 100 })).how).toMatch(/no index/);
  });

  test('a table made by hand tells its index, with its distance, and the indexes on its other columns', async () => {
    await run(`CREATE TABLE described (id int PRIMARY KEY, topic int, at timestamptz, tags text[], meta jsonb, embedding vector(3), half halfvec(2));
      COMMENT ON COLUMN described.embedding IS 'vecferry {"distance":"cosine"}';
      CREATE INDEX ON described USING hnsw (embedding vector_l2_ops) WITH (m = 8, ef_construction = 32);
      CREATE INDEX ON described USING ivfflat (half halfvec_ip_ops) WITH (lists = 5);
      CREATE INDEX ON described (topic); CREATE UNIQUE INDEX ON described (at, topic); CREATE INDEX ON described USING gin (tags)`);
    const store = await open('described');
    const { schema } = await store.describe();
    expect(schema.vectors).toMatchObject([
      { name: 'embedding', distance: 'euclid', index: { kind: 'hnsw', m: 8, efConstruction: 32 } },
      { name: 'half', distance: 'dot', index: { kind: 'ivfflat', lists: 5 } },
    ]);
    expect(schema.payloadIndexes.map(({ field, type }) => `${field} ${type}`).sort()).toEqual([
      'at btree',
      'tags gin',
      'topic btree',
    ]);
    // Of two indexes the one of the distance that the table was made for.
    await run('CREATE INDEX ON described USING hnsw (embedding vector_cosine_ops) WITH (m = 5)');
    expect((await store.describe()).schema.vectors[0]).toMatchObject({ distance: 'cosine', index: { m: 5 } });
  });

  test('an index on a field of the whole payload is told by the field’s name', async () => {
    const store = await open('whole');
    await store.prepare(makeSchema({ store: 'pgvector' }));
    await run(`CREATE INDEX ON whole ((payload ->> 'topic')); CREATE INDEX ON whole (((payload ->> 'it''s')::int));
      CREATE INDEX ON whole USING gin ((payload -> 'a.b')); CREATE INDEX ON whole USING gin (payload)`);
    const { payloadIndexes } = (await store.describe()).schema;
    expect(payloadIndexes.map(({ field }) => field).sort()).toEqual(['a.b', "it's", 'payload', 'topic']);
  });

  test.each([
    [
      'int',
      'btree',
      [
        { kind: 'in', values: [5] },
        { kind: 'range', from: { value: 5.5, isOpen: true } },
      ],
    ],
    ['bigint', 'btree', [{ kind: 'in', values: [5, 2 ** 60] }]],
    [
      'real',
      'btree',
      [
        { kind: 'in', values: [0.1] },
        { kind: 'range', to: { value: 0.1, isOpen: false } },
      ],
    ],
    [
      'float8',
      'btree',
      [
        { kind: 'in', values: [0.1] },
        { kind: 'range', to: { value: 0.1, isOpen: false } },
      ],
    ],
    [
      'numeric(10,2)',
      'btree',
      [
        { kind: 'in', values: [0.1] },
        { kind: 'range', from: { value: 2, isOpen: false } },
      ],
    ],
    ['numeric', 'btree', [{ kind: 'in', values: ['1.10'] }]],
    ['text', 'btree', [{ kind: 'in', values: ['a', 'b'] }]],
    ['varchar(9)', 'btree', [{ kind: 'in', values: ['a'] }]],
    ['char(3)', 'btree', [{ kind: 'in', values: ['a  '] }]],
    ['uuid', 'btree', [{ kind: 'in', values: ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'] }]],
    ['timestamptz', 'btree', [{ kind: 'in', values: ['2026-01-01T00:00:00Z'] }]],
    ['timestamp', 'btree', [{ kind: 'in', values: ['2026-01-01T00:00:00Z'] }]],
    ['date', 'btree', [{ kind: 'in', values: ['2026-01-01'] }]],
    ['time', 'btree', [{ kind: 'in', values: ['12:00:00'] }]],
    ['bytea', 'btree', [{ kind: 'in', values: ['AP8Q'] }]],
    ['text[]', 'gin', [{ kind: 'in', values: ['a', 'b'] }]],
    ['bigint[]', 'gin', [{ kind: 'in', values: [5] }]],
    ['jsonb', 'gin', [{ kind: 'in', values: ['a', true] }]],
  ] as const)('a %s column with a %s index is found by it', async (type, method, filters) => {
    await run(`DROP TABLE IF EXISTS indexed; CREATE TABLE indexed (id int PRIMARY KEY, field ${type}, embedding vector(1));
      CREATE INDEX indexed_field ON indexed USING ${method} (field)`);
    const [row] = await rows(`SELECT 'indexed'::regclass::oid::text AS oid`);
    const layout = await database().use((session) => readLayout(session, row?.['oid'] ?? ''));
    for (const filter of filters) {
      const [where] = filterSql(layout, [{ field: 'field', ...filter }]);
      const plan = await database().use((session) =>
        session.rowsWith(['enable_seqscan = off'], `EXPLAIN SELECT id FROM indexed WHERE ${where}`),
      );
      expect(plan.map((line) => line['QUERY PLAN']).join('\n')).toMatch(/Index Cond: /);
    }
  });

  test('values that JSON has no number for are in no payload, so no bound finds them', async () => {
    await run(`CREATE TABLE odd (id int PRIMARY KEY, f4 real, f8 float8, n numeric(5,1), embedding vector(1) DEFAULT '[1]');
      INSERT INTO odd VALUES (1, 'NaN', 'NaN', 'NaN'), (2, 'Infinity', 'Infinity', 1), (3, '-Infinity', '-Infinity', 1), (4, 1, 1, 1)`);
    const store = await open('odd');
    const found = async (filter: Condition): Promise<string[]> =>
      (await store.search({ vector: 'embedding', query: new Float32Array([1]), k: 9, filter: [filter] }))
        .map(({ id }) => id)
        .sort();
    for (const field of ['f4', 'f8']) {
      expect(await found({ kind: 'range', field, from: { value: -5, isOpen: false } })).toEqual(['4']);
      expect(await found({ kind: 'range', field, to: { value: Number.MAX_VALUE, isOpen: false } })).toEqual(['4']);
      expect(await found({ kind: 'range', field, from: { value: -Number.MAX_VALUE, isOpen: true } })).toEqual(['4']);
    }
    expect(await found({ kind: 'range', field: 'n', from: { value: -5, isOpen: false } })).toEqual(['2', '3', '4']);
  });
});

test('what the database or the role says is in effect, and is not raised by a large k', async () => {
  const made = await makeDatabase('pgvector_search_role');
  const name = new URL(made.url).pathname.slice(1);
  const database = await connect({ url: made.url }, 1);
  const run = (sql: string): Promise<void> => database.use((session) => session.run(sql));
  await run(`ALTER DATABASE ${name} SET hnsw.ef_search = 30; ALTER DATABASE ${name} SET hnsw.iterative_scan = 'relaxed_order';
    CREATE TABLE words (id int PRIMARY KEY, topic int NOT NULL, embedding vector(${dimension}) NOT NULL);
    INSERT INTO words VALUES ${values.join(', ')};
    CREATE INDEX ON words USING hnsw (embedding vector_l2_ops) WITH (m = 4, ef_construction = 8); ANALYZE words`);
  await database.close();
  const store = await pgvector.open({ connection: { url: made.url }, collection: 'words', options: {} });
  expect((await store.tuning('embedding')).current).toEqual({ efSearch: 30, iterativeScan: true });
  const hits = async (settings: SearchSettings): Promise<number> =>
    (await store.search({ vector: 'embedding', query, k: 100, settings })).length;
  expect(await hits({ iterativeScan: false })).toBe(30);
  expect(await hits({ iterativeScan: false, efSearch: 20 })).toBe(20);
  expect(await hits({})).toBe(100);
  await store.close();
  await made.drop();
});
