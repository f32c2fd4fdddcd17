import { describe, expect, test } from '@jest/globals';
import { type Batch, concatBatches, hasVector } from '../../lib/batch.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { Store } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { until } from '../until.ts';
import { useDatabase } from './pgvector-world.ts';

const everything = { from: null, to: null };
const limits = { maxRecords: 500, maxBytes: 1 << 22 };

describe.each(['a server', 'PGlite'])('tables in %s', (where) => {
  const { open, run, rows, connection } = useDatabase('pgvector_tables', { where });
  const readAll = async (store: Store): Promise<Batch> => {
    const batches: Batch[] = [];
    for await (const { batch } of store.read(everything, limits)) batches.push(batch);
    return concatBatches(batches);
  };
  /** Writes what `from` holds into a new table of the same schema. */
  const copyTable = async (
    from: Store,
    to: string,
  ): Promise<{ store: Store; schema: CollectionSchema; batch: Batch }> => {
    const { schema } = await from.describe();
    const store = await open(to);
    await store.prepare(schema);
    const batch = await readAll(from);
    await store.write(batch, { position: { run: 'copy', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    await store.buildIndex(schema);
    await until(async () => (await store.indexProgress(schema)).done, 'the index');
    return { store, schema, batch };
  };
  const contents = async (table: string): Promise<string[]> =>
    (await rows(`SELECT t::text AS row FROM ${table} t ORDER BY 1`)).map((row) => row['row'] ?? '');
  const columnsOf = (table: string) =>
    rows(
      `SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type, attnotnull::text AS required, pg_get_expr(adbin, adrelid) AS initial
       FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
       WHERE attrelid = '${table}'::regclass AND attnum > 0 ORDER BY attname`,
    );

  test("takes an application's own writes and deletes in its own table, which has no ledger beside it", async () => {
    await run('CREATE SCHEMA own; CREATE TABLE own.notes (id uuid PRIMARY KEY, title text, embedding vector(2))');
    const store = await open('own.notes');
    const ids = ['0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0', '0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f1'];
    const vectors = [{ name: 'embedding', kind: 'dense', dimension: 2, precision: 'float32' }] as const;
    const payloads = ['{"title":"a"}', '{"title":"b"}'];
    const written = makeBatch({ ids, vectors, payloads });
    expect(await store.write(written, { mode: 'upsert' })).toEqual({ written: 2 });
    await store.write(makeBatch({ ids: ids.slice(1), vectors, payloads: ['{"title":"c"}'] }), { mode: 'upsert' });
    await store.delete([ids[0] ?? '', (ids[1] ?? '').toUpperCase()]);
    expect(await rows('SELECT id::text, title FROM own.notes')).toEqual([{ id: ids[1], title: 'c' }]);
    const upper = makeBatch({ ids: [(ids[0] ?? '').toUpperCase()], vectors, payloads: ['{"title":"d"}'] });
    await expect(store.write(upper, { mode: 'upsert' })).rejects.toMatchObject({ name: 'RecordRefused' });
    expect(
      await rows("SELECT 1 FROM pg_class WHERE relname = 'vecferry_ledger' AND relnamespace = 'own'::regnamespace"),
    ).toEqual([]);
  });

  test('a table of every type becomes the same table: columns, values, defaults and indexes', async () => {
    await run(`
      CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE TABLE every_type (
        id bigint PRIMARY KEY, b boolean NOT NULL DEFAULT false, i2 smallint, i4 integer DEFAULT 7, i8 bigint, f4 real, f8 double precision,
        short numeric(12,4), long numeric(40,10), free numeric, t text DEFAULT 'it''s', v varchar(10), c char(4), u uuid,
        at timestamptz DEFAULT now(), ts timestamp(3), d date, tm time, tz timetz, span interval, bin bytea, j json, jb jsonb,
        ints int[], texts text[], grid int[], stamps timestamptz[], money numeric(10,2)[], m mood, p positive, ip inet, net cidr, mac macaddr, r int4range, bits bit(3),
        ts_v tsvector, docs jsonb[],
        embedding vector(3), half halfvec(2), few sparsevec(100));
      CREATE INDEX ON every_type USING hnsw (embedding vector_l2_ops) WITH (m = 8, ef_construction = 32);
      CREATE INDEX ON every_type USING hnsw (half halfvec_ip_ops);
      CREATE INDEX ON every_type (t, i4 DESC) WHERE i4 > 0; CREATE INDEX ON every_type USING gin (jb); CREATE UNIQUE INDEX ON every_type (u);
      INSERT INTO every_type VALUES
        (9223372036854775807, true, -32768, 2147483647, -9223372036854775808, 0.1, 1.7976931348623157e308, 12345678.9012, 123456789012345678901234567890.0123456789, 1e-30,
         E'\\U0001F99C "quoted" \\\\ \\n\\ttext', 'ten chars!', 'ab', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2026-03-29 02:30:00.123456+02', '1969-12-31 23:59:59.999',
         '0044-03-15 BC', '23:59:59.999999', '12:00:00+05:30', '1 year 2 mons -3 days 04:05:06.7', '\\x00ff10', '{"a": 1, "a": 2}', '{"n": 123456789012345678901234567890, "e": 1e400}',
         '{1,NULL,-3}', ARRAY['a "b" \\c', '', NULL, '{x,y}', 'NULL'], '{{1,2},{3,4}}', ARRAY['2026-01-01 00:00:00.5+00'::timestamptz], '{1.10,NULL}', 'it''s ok', 5, '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '[1,10)', B'101',
         'cat:3 fat:2', ARRAY['{"a": [1, 2]}'::jsonb, '3'],
         '[1,2.5,-3]', '[0.5,65504]', '{1:1.5,100:-2}/100'),
        (-1, false, 0, -1, 0, -0.0, '-0', 0, -0.5, 'NaN', '', '', '', NULL, 'epoch', '294276-12-31 23:59:59.999', '5874897-12-31', '24:00', NULL, '00:00', '', 'null', '[]',
         '{}', '{}', NULL, '{}', NULL, 'sad', NULL, '::1', NULL, NULL, 'empty', NULL, '', '{}', NULL, NULL, '{}/100')`);
    await run('INSERT INTO every_type (id) SELECT generate_series(1, 20)');
    const from = await open('every_type');
    const { store } = await copyTable(from, 'every_type_copy');
    expect(await contents('every_type_copy')).toEqual(await contents('every_type'));
    expect(await columnsOf('every_type_copy')).toEqual(await columnsOf('every_type'));
    const [before, after] = [await from.describe(), await store.describe()];
    expect(after).toEqual(before);
    expect(after.schema.vectors).toMatchObject([
      {
        name: 'embedding',
        precision: 'float32',
        distance: 'euclid',
        index: { kind: 'hnsw', m: 8, efConstruction: 32 },
      },
      { name: 'half', precision: 'float16', distance: 'dot', index: { kind: 'hnsw' } },
      { name: 'few', kind: 'sparse', dimension: 100, index: { kind: 'none' } },
    ]);
    expect(after.schema.payloadIndexes).toHaveLength(3);
    expect(after.withoutVector).toEqual({ embedding: 21, half: 21, few: 20 });
  });

  test('payload text is as the shared schema says, whatever the type', async () => {
    await run(`CREATE TABLE texts (id int PRIMARY KEY, big bigint, short numeric(6,2), long numeric, f real, at timestamptz, ts timestamp, d date, bin bytea, list int[], gone text, embedding vector(1));
      INSERT INTO texts VALUES (1, 9007199254740993, 12.30, 0.1, 0.1, '2026-03-29 02:30:00.000001+02', '2026-01-02', '2026-01-02', '\\xfffe', '{1,2}', NULL, '[1]')`);
    const { payloads } = await (await open('texts')).fetch(['1']);
    expect(payloads[0]).toBe(
      '{"big":9007199254740993,"short":12.30,"long":"0.1","f":0.1,"at":"2026-03-29T00:30:00.000001Z","ts":"2026-01-02T00:00:00Z","d":"2026-01-02","bin":"//4=","list":[1,2],"gone":null}',
    );
  });

  test.each([
    ['a float', 'double precision', "'NaN'", 'NaN'],
    ['a real', 'real', "'-Infinity'", '-Infinity'],
    ['a short numeric', 'numeric(5,2)', "'NaN'", 'NaN'],
    ['a timestamp', 'timestamptz', "'infinity'", 'infinity'],
    ['a date', 'date', "'-infinity'", '-infinity'],
  ])(
    '%s that JSON cannot hold is refused by record and column, not turned into something else',
    async (_, type, value, shown) => {
      await run(`DROP TABLE IF EXISTS unreadable; CREATE TABLE unreadable (id int PRIMARY KEY, x ${type}, embedding vector(1));
      INSERT INTO unreadable VALUES (41, NULL, '[1]'), (42, ${value}, '[1]')`);
      const store = await open('unreadable');
      expect((await store.describe()).count).toBe(2);
      const failure = {
        name: 'RecordRefused',
        ids: ['42'],
        message: expect.stringMatching(`record 42: column 'x' is ${shown}`),
      };
      await expect(readAll(store)).rejects.toMatchObject(failure);
    },
  );

  test.each([
    [
      'a key of several columns',
      'a int, "b C" text, at timestamptz',
      'a, "b C", at',
      `1, 'x,5,"y', '2026-01-01 00:00:00.5Z'`,
      '[1,"x,5,\\"y","2026-01-01 00:00:00.5+00"]',
    ],
    ['a key of text', 'a text', 'a', `'007 é"'`, '007 é"'],
    ['a key of varchar', 'a varchar(5)', 'a', `'12345'`, '12345'],
    ['a key of char', 'a char(5)', 'a', `'ab'`, 'ab'],
    ['a key of uuid', 'a uuid', 'a', `'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'`, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['a key of numeric', 'a numeric(20,0)', 'a', '18446744073709551615', '18446744073709551615'],
    ['a key of time', 'a timestamptz', 'a', `'2026-01-01 00:00:00.5Z'`, '2026-01-01 00:00:00.5+00'],
    ['a key of floats', 'a float8', 'a', '0.1', '0.1'],
  ])('%s identifies records, cuts ranges and is made again', async (_, columns, key, values, id) => {
    await run(`DROP TABLE IF EXISTS keyed, keyed_copy; CREATE TABLE keyed (${columns}, embedding vector(1), n int, PRIMARY KEY (${key}));
      INSERT INTO keyed VALUES (${values}, '[1]', 7)`);
    const from = await open('keyed');
    expect((await readAll(from)).ids).toEqual([id]);
    expect((await from.fetch([id, 'nothing', '["x"]'])).payloads).toEqual(['{"n":7}']);
    const hits = await from.search({ vector: 'embedding', query: new Float32Array([1]), k: 1 });
    expect(hits.map((hit) => hit.id)).toEqual([id]);
    await copyTable(from, 'keyed_copy');
    expect(await contents('keyed_copy')).toEqual(await contents('keyed'));
    expect(await columnsOf('keyed_copy')).toEqual(await columnsOf('keyed'));
  });

  test('ranges over a composite key cover every record once', async () => {
    await run(`CREATE TABLE pairs (a text, b int, embedding vector(1), PRIMARY KEY (a, b));
      INSERT INTO pairs SELECT chr(97 + i % 7) || CASE WHEN i % 2 = 0 THEN 'É' ELSE '_' END, i, '[1]' FROM generate_series(1, 1000) i`);
    const store = await open('pairs');
    const ranges = await store.ranges({ records: 130 });
    expect(ranges).toHaveLength(8);
    const ids: string[] = [];
    for (const range of ranges) for await (const { batch } of store.read(range, limits)) ids.push(...batch.ids);
    expect(ids).toHaveLength(1000);
    expect(new Set(ids).size).toBe(1000);
  });

  test('names with quotes, dots, upper case and other scripts are taken as they are', async () => {
    await run(
      `CREATE SCHEMA "My ""S"; CREATE TABLE "My ""S"."Ta.ble" ("Id" int PRIMARY KEY, "select" text, "naïve ""col" int, "Véc" vector(2)); INSERT INTO "My ""S"."Ta.ble" VALUES (1, 'x', 2, '[1,2]')`,
    );
    const from = await open('"My ""S"."Ta.ble"');
    const { batch } = await copyTable(from, '"My ""S"."Ta.ble copy"');
    expect(batch.payloads).toEqual(['{"select":"x","naïve \\"col":2}']);
    expect(await contents('"My ""S"."Ta.ble copy"')).toEqual(['(1,"[1,2]",x,2)']);
    await expect(pgvector.open({ connection: connection(), collection: 'a.b.c', options: {} })).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
  });

  test('a table without a primary key takes a unique index of columns that cannot be null, or says what there is', async () => {
    await run(`CREATE TABLE unique_key (a int NOT NULL UNIQUE, b text NOT NULL, c int UNIQUE, embedding vector(1), UNIQUE (a, b)); INSERT INTO unique_key VALUES (1, 'x', NULL, '[1]');
      CREATE TABLE no_key (a int UNIQUE, b int NOT NULL, embedding vector(1))`);
    expect((await readAll(await open('unique_key'))).ids).toEqual(['1']);
    expect((await readAll(await open('unique_key', { key: ['a', 'b'] }))).ids).toEqual(['[1,"x"]']);
    await expect((await open('unique_key', { key: ['c'] })).describe()).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/options\.key can be \["a"\]/),
    });
    await expect((await open('no_key')).describe()).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/no primary key/),
    });
  });

  test('a vector without a declared dimension takes its rows’, and rows of several are refused', async () => {
    await run(
      `CREATE TABLE loose (id int PRIMARY KEY, embedding vector); INSERT INTO loose VALUES (1, NULL), (2, '[1,2,3]')`,
    );
    const store = await open('loose');
    expect((await store.describe()).schema.vectors).toMatchObject([{ dimension: 3 }]);
    const batch = await readAll(store);
    const column = batch.vectors.get('embedding');
    expect(column !== undefined && [0, 1].map((at) => hasVector(column, at))).toEqual([false, true]);
    await run(`INSERT INTO loose VALUES (3, '[1]')`);
    await expect(store.describe()).rejects.toMatchObject({ name: 'Incompatible', ids: ['embedding'] });
  });

  test('a type that the target database lacks is refused by name before anything is made', async () => {
    const schema = makeSchema({
      store: 'pgvector',
      fields: [{ name: 'mood', type: 'text', nullable: true, native: 'app.mood' }],
    });
    await expect((await open('lacks')).prepare(schema)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/'mood' is of type app\.mood/),
    });
    const injected = makeSchema({
      store: 'pgvector',
      fields: [{ name: 'x', type: 'text', nullable: true, native: 'int); DROP TABLE pairs; --' }],
    });
    await expect((await open('lacks')).prepare(injected)).rejects.toMatchObject({ name: 'Incompatible' });
    await expect((await open('lacks')).describe()).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('whole payloads are kept in one jsonb column, which reads back as the payload', async () => {
    const store = await open('whole');
    const schema = makeSchema({
      store: 'pgvector',
      vectors: [{ name: '', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32' }],
    });
    await store.prepare(schema);
    const batch = makeBatch({
      ids: ['1', '2'],
      vectors: schema.vectors,
      payloads: ['{"payload":{"id":1},"a":null}', '{}'],
    });
    await store.write(batch, { position: { run: 'r', shard: 's', offset: 0 }, mode: 'upsert' });
    const described = (await store.describe()).schema;
    expect(described.fields).toBeUndefined();
    expect(described.vectors).toMatchObject([{ name: '', distance: 'dot' }]);
    expect((await readAll(store)).payloads.map(canonicalJson)).toEqual(batch.payloads.map(canonicalJson));
    await expect(store.prepare({ ...schema, fields: [] })).resolves.toBeUndefined();
  });

  test.each([
    ['U+0000', '{"a":"x\\u0000y"}', undefined],
    ['half a surrogate pair', '{"a":"\\ud800"}', undefined],
    ['an integer that is too wide', '{"n":99999999999}', 'integer'],
    ['text that is too long', '{"n":"too long"}', 'character varying(3)'],
    ['text that is no member of the enumeration', '{"n":"angry"}', 'mood'],
    ['a field that has no column', '{"n":1,"other":2}', 'integer'],
  ])('%s is refused with the id of its record', async (_, payload, native) => {
    await run('DROP TABLE IF EXISTS refuses');
    const store = await open('refuses');
    const fields =
      native === undefined ? {} : { fields: [{ name: 'n', type: 'text' as const, nullable: true, native }] };
    await store.prepare(makeSchema({ store: 'pgvector', ...fields }));
    const ids = Array.from({ length: 40 }, (__, at) => String(at + 1));
    const payloads = ids.map((id) => (id === '29' ? payload : '{}'));
    const write = store.write(makeBatch({ ids, payloads }), {
      position: { run: 'r', shard: 's', offset: 0 },
      mode: 'upsert',
    });
    await expect(write).rejects.toMatchObject({ name: 'RecordRefused', ids: ['29'] });
    expect(await store.count()).toBe(0);
  });

  test('an escaped backslash before u0000 is ordinary text', async () => {
    const store = await open('backslash');
    await store.prepare(makeSchema({ store: 'pgvector' }));
    const batch = makeBatch({ ids: ['1'], payloads: ['{"a":"\\\\u0000"}'] });
    await store.write(batch, { position: { run: 'r', shard: 's', offset: 0 }, mode: 'upsert' });
    expect((await store.fetch(['1'])).payloads.map(canonicalJson)).toEqual(batch.payloads);
  });
});
