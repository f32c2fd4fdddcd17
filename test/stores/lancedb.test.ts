/** Over 400 lines: what is special about this one store, in one place beside its contract. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { connect, Index } from '@lancedb/lancedb';
import {
  Binary,
  Date_,
  DateUnit,
  Decimal,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int16,
  Int64,
  List,
  Schema,
  Struct,
  Timestamp,
  TimeUnit,
  Utf8,
} from 'apache-arrow';
import { type Batch, column, concatBatches } from '../../lib/batch.ts';
import type { CollectionSchema, FieldSpec, VectorSpec } from '../../lib/schema.ts';
import { lancedb } from '../../lib/stores/lancedb.ts';
import type { Store } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { storeContract } from './contract.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-lancedb-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const open = (collection: string, options: Record<string, unknown> = {}): Promise<Store> =>
  lancedb.open({ connection: { path: directory }, collection, options });
const raw = async (name: string) => await (await connect(directory)).openTable(name);

const vector: VectorSpec = { name: 'vector', kind: 'dense', dimension: 4, distance: 'euclid', precision: 'float32' };
const field = (name: string, type: FieldSpec['type'], native?: string): FieldSpec => ({
  name,
  type,
  nullable: true,
  ...(native === undefined ? {} : { native }),
});

/** Of the contract's filtered fields those that one column can hold. */
const filterable = [
  field('whole', 'integer'),
  field('real', 'float'),
  field('text', 'text'),
  field('flag', 'boolean'),
  field('two words', 'boolean'),
  field('🦜', 'text'),
  field('toString', 'text'),
];
storeContract('lancedb', (collection) => open(collection), {
  kind: lancedb,
  // `it's` holds text and numbers: what does not fit stands in the JSON column, and so does every field without a column.
  fields: [...filterable, field("it's", 'text')],
  refuses: (condition) => !filterable.some(({ name }) => name === condition.field),
});

const schemaOf = (overrides: Partial<CollectionSchema> = {}): CollectionSchema =>
  makeSchema({ store: 'lancedb', vectors: [vector], ...overrides });

async function filled(name: string, schema: CollectionSchema, batch: Batch, options = {}): Promise<Store> {
  const store = await open(name, options);
  await store.prepare(schema);
  await store.write(batch, { position: { run: 'r', shard: '00000-000', offset: 0 }, mode: 'upsert' });
  return store;
}

async function readAll(store: Store, range = { from: null, to: null } as { from: string | null; to: string | null }) {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read(range, { maxRecords: 100, maxBytes: 1 << 20 })) pieces.push(batch);
  return concatBatches(pieces);
}

describe('declared payload fields', () => {
  const fields = [
    field('rank', 'integer'),
    field('score', 'float'),
    field('price', 'decimal', 'numeric(12,4)'),
    field('amount', 'decimal', 'numeric(40,10)'),
    field('live', 'boolean'),
    field('title', 'text'),
    field('at', 'timestamp'),
    field('day', 'date'),
    field('thumb', 'bytes'),
    field('tags', 'list'),
    field('a.b', 'text'),
    field('payload', 'text'),
    field('id', 'integer'),
  ];
  const payloads = [
    '{"rank":9007199254740993,"score":0.1,"price":12.5,"amount":"123456789012345678901234567890.1234567890","live":true,"title":"🦜","at":"2026-03-29T02:30:00.123456Z","day":"2026-03-29","thumb":"AAEC","tags":["x"],"a.b":"dots","payload":"own","id":7}',
    // Nothing of this fits its column exactly; all of it has to come back.
    '{"rank":99999999999999999999,"score":0.12345678901234567890,"price":"n/a","live":"yes","title":null,"at":"2026-03-29T02:30:00+02:00","day":"29.3.2026","thumb":"not base64","extra":{"deep":[1,null]}}',
    '{"rank":null,"score":1e2,"title":"","at":"2026-03-29T02:30:00.120000Z","day":"0001-01-01"}',
    '{}',
  ];
  const schema = schemaOf({ fields });
  const batch = makeBatch({ ids: ['1', '2', '3', '4'], vectors: [vector], payloads });

  test('come back as they were, also what a typed column cannot hold', async () => {
    const store = await filled('declared', schema, batch);
    const found = await readAll(store);
    expect(found.payloads.map(canonicalJson)).toEqual(payloads.map(canonicalJson));
    expect((await store.describe()).schema).toMatchObject({ idType: 'integer', vectors: [vector] });
  });

  test('are columns that LanceDB filters on', async () => {
    await filled('filtered', schema, batch);
    const table = await raw('filtered');
    expect(await table.countRows('rank = 9007199254740993')).toBe(1);
    expect(await table.countRows('price > 12 AND live')).toBe(1);
    expect(await table.countRows("at > timestamp '2026-03-29 02:00:00'")).toBe(2);
    // Near values: the decimal text, the long float, and both timestamps that are spelled in another way.
    expect(await table.countRows('amount > 1e29 AND amount < 2e29')).toBe(1);
    expect(await table.countRows('score > 0.1234 AND score < 0.1235')).toBe(1);
    expect(await table.countRows("at >= timestamp '2026-03-29 00:00:00'")).toBe(3);
    expect(await table.countRows("title = '🦜' AND day = date '2026-03-29'")).toBe(1);
  });

  test('that somebody changes later in the column are read as changed, not as they were moved', async () => {
    const store = await filled('changed', schema, batch);
    const table = await raw('changed');
    await table.update({ where: 'id = 2', valuesSql: { score: '7.5', at: "timestamp '2030-01-01 00:00:00'" } });
    const [payload] = (await store.fetch(['2'])).payloads;
    expect(JSON.parse(payload ?? '')).toMatchObject({
      score: 7.5,
      at: '2030-01-01T00:00:00Z',
      extra: { deep: [1, null] },
    });
  });

  test('are described as they were declared, so the same columns can be made again elsewhere', async () => {
    const store = await filled('described', schema, batch);
    expect((await store.describe()).schema.fields).toEqual(fields);
  });
});

describe('a table that was made elsewhere', () => {
  const arrow = new Schema([
    new Field('key', new Utf8(), false),
    new Field('embedding', new FixedSizeList(2, new Field('item', new Float32(), true)), true),
    new Field('small', new Int16(), true),
    new Field('big', new Int64(), true),
    new Field('ratio', new Float64(), true),
    new Field('nested', new Struct([new Field('a', new Int64(), true), new Field('b', new Utf8(), true)]), true),
    new Field('list', new List(new Field('item', new Utf8(), true)), true),
    new Field('at', new Timestamp(TimeUnit.MICROSECOND, 'UTC'), true),
    new Field('local', new Timestamp(TimeUnit.SECOND, null), true),
    new Field('day', new Date_(DateUnit.DAY), true),
    new Field('bytes', new Binary(), true),
  ]);
  const row = {
    key: "it's ü",
    embedding: [1, 2],
    small: -3,
    big: 9007199254740993n,
    ratio: 0.1,
    nested: { a: 9007199254740993n, b: 'x' },
    list: ['a', null, ''],
    at: 1_774_751_400_123,
    local: 1_774_751_400_000,
    day: new Date('2026-03-29'),
    bytes: Buffer.from([0, 255]),
  };
  const nulls = Object.fromEntries(Object.keys(row).map((name) => [name, null]));

  test('is read with every other column as payload, integers and times kept', async () => {
    const database = await connect(directory);
    const table = await database.createEmptyTable('foreign', arrow);
    await table.add([row, { ...nulls, key: 'b' }]);
    const store = await open('foreign', { id: 'key' });
    const found = await readAll(store);
    expect(found.ids).toEqual(['b', "it's ü"]);
    expect(canonicalJson(found.payloads[1] ?? '')).toBe(
      canonicalJson(
        '{"small":-3,"big":9007199254740993,"ratio":0.1,"nested":{"a":9007199254740993,"b":"x"},"list":["a",null,""],"at":"2026-03-29T02:30:00.123000Z","local":"2026-03-29T02:30:00","day":"2026-03-29","bytes":"AP8="}',
      ),
    );
    expect(JSON.parse(found.payloads[0] ?? '')).toMatchObject({ small: null, list: null, at: null });
    expect([...column(found, 'embedding').values]).toEqual([0, 0, 1, 2]);
    expect([...(column(found, 'embedding').present ?? [])]).toEqual([0, 1]);
    expect((await store.fetch(["it's ü", 'none'])).ids).toEqual(["it's ü"]);
    expect(await store.describe()).toMatchObject({ count: 2, withoutVector: { embedding: 1 } });
  });

  test('of which the id column is unknown is refused with the columns it has', async () => {
    await (await connect(directory)).createEmptyTable('nameless', arrow);
    await expect((await open('nameless')).describe()).rejects.toMatchObject({
      name: 'NotFound',
      message: expect.stringContaining('key, embedding, small'),
    });
  });

  test('that holds an id twice is refused, naming it, since a move would lose one of the two', async () => {
    const table = await (await connect(directory)).createEmptyTable('twice', arrow);
    await table.add([
      { ...row, key: 'a' },
      { ...row, key: 'b' },
      { ...row, key: 'b' },
    ]);
    const store = await open('twice', { id: 'key' });
    await expect(store.ranges({ records: 2 })).rejects.toMatchObject({ name: 'RecordRefused', ids: ['b'] });
    await expect(readAll(store)).rejects.toMatchObject({ name: 'RecordRefused', ids: ['b'] });
  });

  test('with NaN in a payload column is refused by field and record, for JSON has no NaN', async () => {
    const table = await (await connect(directory)).createEmptyTable('nan', arrow);
    await table.add([{ ...row, key: 'n', ratio: Number.NaN }]);
    await expect(readAll(await open('nan', { id: 'key' }))).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['n'],
      message: expect.stringContaining("'ratio'"),
    });
  });

  test('is written to in the columns that it has, and a field without a column is refused, naming it', async () => {
    const columns = ['id', 'v', 'word', 'tags'];
    const made = new Schema([
      new Field('id', new Int64(), false),
      new Field('v', new FixedSizeList(4, new Field('item', new Float32(), true)), true),
      new Field('word', new Utf8(), true),
      new Field('tags', new List(new Field('item', new Utf8(), true)), true),
    ]);
    const table = await (await connect(directory)).createEmptyTable('theirs', made);
    await table.add([{ id: 1n, v: [1, 2, 3, 4], word: 'old', tags: ['a'] }]);
    const store = await open('theirs');
    const vectors = [{ ...vector, name: 'v' }];
    const position = { run: 'r', shard: '00000-000', offset: 0 };
    const batch = makeBatch({ ids: ['1', '2'], vectors, payloads: ['{"word":"new"}', '{"word":null}'] });
    await store.write(batch, { position, mode: 'upsert' });
    const found = await readAll(store);
    expect(found.payloads.map((json) => JSON.parse(json))).toEqual([
      { word: 'new', tags: ['a'] },
      { word: null, tags: null },
    ]);
    const other = makeBatch({ ids: ['3'], vectors, payloads: ['{"word":"x","tags":["b"],"more":1}'] });
    await expect(store.write(other, { position, mode: 'upsert' })).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['3'],
      message: expect.stringContaining('tags, more'),
    });
    expect((await table.schema()).fields.map(({ name }) => name)).toEqual(columns);
  });

  test('of decimals keeps their digits, short ones as numbers', async () => {
    const decimals = new Schema([
      new Field('id', new Int64(), false),
      new Field('short', new Decimal(2, 10, 128), true),
      new Field('long', new Decimal(10, 38, 128), true),
    ]);
    const table = await (await connect(directory)).createEmptyTable('decimals', decimals);
    await table.add([{ id: 1n, short: words(-1250n), long: words(1234567890123456789012345678901234567n) }]);
    expect((await readAll(await open('decimals'))).payloads).toEqual([
      '{"short":-12.50,"long":"123456789012345678901234567.8901234567"}',
    ]);
  });
});

describe('ranges', () => {
  test('of a run are one snapshot: what is written, changed or deleted after they were cut is not seen', async () => {
    const ids = Array.from({ length: 30 }, (_, i) => String(i));
    const store = await filled('snapshot', schemaOf(), makeBatch({ ids, vectors: [vector] }));
    const ranges = await store.ranges({ records: 10 });
    await (await raw('snapshot')).delete('id < 15');
    await store.write(makeBatch({ ids: ['5', '20', '99'], vectors: [vector], payloads: ['{}', '{}', '{}'] }), {
      position: { run: 'r2', shard: '00000-000', offset: 0 },
      mode: 'upsert',
    });
    await store.buildIndex(schemaOf());
    const read = concatBatches(await Promise.all(ranges.map((range) => readAll(store, range))));
    expect(read.ids).toEqual(ids);
    expect(read.payloads[20]).not.toBe('{}');
    expect(await store.count()).toBe(17);
  });

  test('of text ids hold any text, in the order of its bytes', async () => {
    const ids = ["a'b", 'a"b', '\u{1F99C}', '\uFFFD', 'ä', '%', '', 'back\\slash', '`tick`', '10', '9', 'a\nb'];
    const store = await filled('texts', schemaOf({ idType: 'string' }), makeBatch({ ids, vectors: [vector] }));
    const sorted = [...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const ranges = await store.ranges({ records: 1 });
    const read = await Promise.all(ranges.map((range) => readAll(store, range)));
    expect(read.flatMap((batch) => batch.ids)).toEqual(sorted);
    expect([...(await store.fetch(ids)).ids].sort()).toEqual([...ids].sort());
  });

  test('of integer ids are in the order of numbers, negative ones and the ends of 64 bits included', async () => {
    const ids = ['-9223372036854775808', '-10', '-9', '0', '9', '10', '9223372036854775807'];
    const store = await filled('integers', schemaOf(), makeBatch({ ids: [...ids].reverse(), vectors: [vector] }));
    const ranges = await store.ranges({ records: 2 });
    const read = await Promise.all(ranges.map((range) => readAll(store, range)));
    expect(read.flatMap((batch) => batch.ids)).toEqual(ids);
  });
});

describe('writing', () => {
  test.each(['9223372036854775808', 'abc', '1.5'])(
    'refuses id %s in a table of 64-bit integers, by name',
    async (id) => {
      const store = await filled('int_only', schemaOf(), makeBatch({ ids: ['1'], vectors: [vector] }));
      const batch = makeBatch({ ids: ['2', id], vectors: [vector] });
      await expect(
        store.write(batch, { position: { run: 'r', shard: '00000-000', offset: 0 }, mode: 'upsert' }),
      ).rejects.toMatchObject({ name: 'RecordRefused', ids: [id] });
      expect(await store.count()).toBe(1);
    },
  );

  test('refuses a batch that has an id twice, since LanceDB would keep both', async () => {
    await expect(
      filled('repeated', schemaOf(), makeBatch({ ids: ['1', '2', '1'], vectors: [vector] })),
    ).rejects.toMatchObject({ name: 'RecordRefused', ids: ['1'] });
  });

  test('keeps float16 vectors as float16', async () => {
    const half: VectorSpec = { ...vector, precision: 'float16' };
    const store = await filled('half', schemaOf({ vectors: [half] }), makeBatch({ vectors: [half] }));
    expect((await store.describe()).schema.vectors).toEqual([half]);
    const written = column(makeBatch({ vectors: [half] }), 'vector').values;
    const found = column(await readAll(store), 'vector').values;
    expect([...found]).toEqual([...new Float16Array(written)]);
  });

  test('keeps a boolean column without a value, whether no record ever had one or the old one goes', async () => {
    const flags = schemaOf({ fields: [field('flag', 'boolean'), field("it's", 'boolean')] });
    const without = makeBatch({ ids: ['1', '2'], vectors: [vector], payloads: ['{"flag":null}', '{}'] });
    const store = await filled('flags', flags, without);
    const put = async (
      payloads: readonly string[],
      mode: 'upsert' | 'insert' = 'upsert',
    ): Promise<readonly string[]> => {
      await store.write(makeBatch({ ids: ['1', '2'], vectors: [vector], payloads }), {
        position: { run: 'r2', shard: '00000-000', offset: 0 },
        mode,
      });
      return (await readAll(store)).payloads;
    };
    expect(await put(['{"flag":null}', '{}'])).toEqual(['{"flag":null}', '{}']);
    expect(await put(['{"flag":true}', '{"it\'s":false}'])).toEqual(['{"flag":true}', '{"it\'s":false}']);
    expect(await put(['{}', '{}'], 'insert')).toEqual(['{"flag":true}', '{"it\'s":false}']);
    expect(await put(['{}', '{}'])).toEqual(['{}', '{}']);
    expect(await (await raw('flags')).countRows('flag IS NOT NULL')).toBe(0);
  });

  test('names that Lance cannot take for columns are carried all the same', async () => {
    const vectors = ['', 'a.b', 'payload', 'Id'].map((name) => ({ ...vector, name }));
    const store = await filled('names', schemaOf({ vectors }), makeBatch({ vectors }));
    expect((await store.describe()).schema.vectors.map(({ name }) => name)).toEqual(['', 'a.b', 'payload', 'Id']);
    const hits = await store.search({ vector: 'a.b', query: new Float32Array([1, 0, 0, 0]), k: 1 });
    expect(hits).toHaveLength(1);
  });
});

describe('the index', () => {
  const dimension = 16;
  const spec: VectorSpec = {
    name: 'vector',
    kind: 'dense',
    dimension,
    distance: 'cosine',
    precision: 'float32',
    index: { kind: 'hnsw', m: 12, efConstruction: 80, efSearch: 100 },
  };
  const ids = Array.from({ length: 2000 }, (_, i) => String(i));
  const batch = makeBatch({ ids, vectors: [spec] });
  const schema = schemaOf({ vectors: [spec] });

  test('is not built for few records, which are searched exactly, and the progress says so', async () => {
    const store = await filled('few', schema, batch);
    await store.buildIndex(schema);
    expect(await store.indexProgress(schema)).toMatchObject({ done: true, detail: expect.stringContaining('exactly') });
    expect(await (await raw('few')).listIndices()).toEqual([]);
  });

  test('is built from options.indexFrom on with the distance asked for, and finds the neighbours', async () => {
    const store = await filled('many', schema, batch, { indexFrom: 1000 });
    expect((await store.indexProgress(schema)).done).toBe(false);
    await store.buildIndex(schema);
    expect(await store.indexProgress(schema)).toMatchObject({ done: true, fraction: 1 });
    const index = (await (await raw('many')).listIndices()).find(({ columns }) => columns[0] === 'vector');
    expect(index).toMatchObject({ indexType: 'IvfHnswSq', indexDetails: { metric_type: 'COSINE' } });
    expect(index?.indexDetails).toMatchObject({ hnsw: { construction_ef: 80, max_connections: 12 } });
    let found = 0;
    for (let at = 0; at < 20; at++) {
      const query = Float32Array.from({ length: dimension }, (_, i) => Math.sin(at * dimension + i));
      const [near, exact] = await Promise.all(
        [false, true].map((isExact) => store.search({ vector: 'vector', query, k: 10, exact: isExact })),
      );
      const truth = new Set(exact?.map(({ id }) => id));
      found += near?.filter(({ id }) => truth.has(id)).length ?? 0;
    }
    expect(found / 200).toBeGreaterThan(0.9);
  });

  test('building again keeps an index that holds all records, and takes in those that came later', async () => {
    const store = await filled('again', schema, batch, { indexFrom: 1000 });
    await store.buildIndex(schema);
    const uuid = (await (await raw('again')).listIndices())[0]?.indexUuid;
    await store.buildIndex(schema);
    expect((await (await raw('again')).listIndices())[0]?.indexUuid).toBe(uuid);
    await store.write(makeBatch({ ids: ['5000'], vectors: [spec] }), {
      position: { run: 'r', shard: '00001-000', offset: 0 },
      mode: 'upsert',
    });
    expect((await store.indexProgress(schema)).done).toBe(false);
    await store.buildIndex(schema);
    expect((await store.indexProgress(schema)).done).toBe(true);
  });

  test('is done although some records have no vector, so a run does not wait for them for ever', async () => {
    const some = makeBatch({ ids, vectors: [spec], missing: [3, 500, 1999] });
    const store = await filled('gaps', schema, some, { indexFrom: 1000 });
    await store.buildIndex(schema);
    expect((await store.indexProgress(schema)).done).toBe(true);
    const query = new Float32Array(dimension).fill(1);
    expect((await store.search({ vector: 'vector', query, k: 2000, exact: true })).length).toBe(1997);
  });

  test('that somebody else built is described with its settings, and its distance is searched by', async () => {
    const arrow = new Schema([
      new Field('id', new Int64(), false),
      new Field('v', new FixedSizeList(2, new Field('item', new Float32(), true)), true),
      new Field('word', new Utf8(), true),
    ]);
    const table = await (await connect(directory)).createEmptyTable('built', arrow);
    await table.add(Array.from({ length: 400 }, (_, i) => ({ id: BigInt(i), v: [i + 1, 1], word: `w${i}` })));
    await table.createIndex('v', { config: Index.hnswSq({ distanceType: 'dot', m: 8, efConstruction: 40 }) });
    await table.createIndex('word', { config: Index.bitmap() });
    const store = await open('built');
    expect((await store.describe()).schema).toMatchObject({
      vectors: [{ name: 'v', distance: 'dot', index: { kind: 'hnsw', m: 8, efConstruction: 40 } }],
      payloadIndexes: [{ field: 'word', type: 'Bitmap' }],
    });
    // The largest product, not the smallest distance.
    expect((await store.search({ vector: 'v', query: new Float32Array([1, 0]), k: 1, exact: true }))[0]?.id).toBe(
      '399',
    );
  });

  test('writes in many pieces are joined when the index is built, for each was a fragment of its own', async () => {
    const store = await open('fragments');
    await store.prepare(schemaOf());
    for (let at = 0; at < 12; at++)
      await store.write(makeBatch({ ids: [String(at)], vectors: [vector] }), {
        position: { run: 'r', shard: '00000-000', offset: at },
        mode: 'upsert',
      });
    expect((await (await raw('fragments')).stats()).fragmentStats.numFragments).toBe(12);
    await store.buildIndex(schemaOf());
    expect((await (await raw('fragments')).stats()).fragmentStats.numFragments).toBe(1);
    expect((await readAll(store)).count).toBe(12);
  });
});

describe('bad endpoints are InvalidEvent before anything is opened', () => {
  test.each([
    [{}, {}, 'connection'],
    [{ url: 'db://cloud' }, {}, 'LanceDB Cloud'],
    [{ path: 'x' }, { idd: 'typo' }, 'idd'],
    [{ path: 'x' }, { indexFrom: 1 }, 'indexFrom'],
  ])('%j with options %j', async (connection, options, text) => {
    await expect(lancedb.open({ connection, collection: 't', options })).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining(text),
    });
  });
});

/** Arrow's form of a 128-bit decimal: four words, the lowest first. */
function words(value: bigint): Uint32Array {
  const bits = BigInt.asUintN(128, value);
  return Uint32Array.from({ length: 4 }, (_, at) => Number((bits >> BigInt(32 * at)) & 0xffffffffn));
}
