import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect } from '@lancedb/lancedb';
import {
  Binary,
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
  Uint64,
  Utf8,
} from 'apache-arrow';
import { conditionsOf, type Filter, meets } from '../../lib/filter.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { FieldSpec, SearchSettings, VectorIndex, VectorSpec } from '../../lib/schema.ts';
import { lancedb } from '../../lib/stores/lancedb.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-lancedb-search-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const open = (collection: string, options: Record<string, unknown> = {}): Promise<Store> =>
  lancedb.open({ connection: { path: directory }, collection, options });
const position = { run: 'r', shard: '00000-000', offset: 0 };
const idsOf = async (store: Store, vector: string, query: Float32Array, filter: Filter): Promise<string[]> =>
  (await store.search({ vector, query, k: 100, exact: true, filter: conditionsOf(filter) })).map(({ id }) => id).sort();

describe('filters over typed columns of a table made here', () => {
  const declared: readonly [string, FieldSpec['type'], string?][] = [
    ['at', 'timestamp'],
    ['day', 'date'],
    ['blob', 'bytes'],
    ['price', 'decimal', 'numeric(8,2)'],
    ['rank', 'integer'],
    ['score', 'float'],
  ];
  const fields = declared.map(([name, type, native]) => ({
    name,
    type,
    nullable: true,
    ...(native ? { native } : {}),
  }));
  const vector: VectorSpec = { name: 'vector', kind: 'dense', dimension: 4, distance: 'euclid', precision: 'float32' };
  const payloads = [
    '{"at":"2026-03-29T02:30:00.123456Z","day":"2026-03-29","blob":"AAEC","price":12.5,"rank":1,"score":0.1}',
    '{"at":"2026-03-29T02:30:00Z","day":"0001-01-01","blob":"","price":-1,"rank":2,"score":0.12345678901234567890}',
    '{"at":null,"day":null,"extra":{"deep":[1]}}',
    '{}',
  ];
  const query = new Float32Array([1, 0, 0, 0]);
  let store: Store;
  beforeAll(async () => {
    store = await open('typed');
    await store.prepare(makeSchema({ store: 'lancedb', vectors: [vector], fields }));
    await store.write(makeBatch({ ids: ['1', '2', '3', '4'], vectors: [vector], payloads }), {
      position,
      mode: 'upsert',
    });
  });

  test.each<Filter>([
    { at: '2026-03-29T02:30:00.123456Z' },
    { at: '2026-03-29T02:30:00Z' },
    // The same instant in another spelling is another text.
    { at: '2026-03-29T04:30:00+02:00' },
    { day: { in: ['2026-03-29', '0001-01-01', '29.3.2026'] } },
    { blob: 'AAEC' },
    { blob: '' },
    { blob: 'not base64' },
    { price: { gte: -1, lt: 12.5 } },
    { price: 12.5 },
    { rank: { gt: 1.5 } },
    { rank: 1.5 },
    { rank: '1' },
    { score: { gt: 0.1, lt: 0.2 } },
    // More digits than a double has: the nearest double is what counts.
    { score: 0.12345678901234568 },
  ])('%j finds what meets it', async (filter) => {
    const expected = payloads.flatMap((payload, at) => (meets(conditionsOf(filter), payload) ? [String(at + 1)] : []));
    expect(await idsOf(store, 'vector', query, filter)).toEqual(expected);
  });

  test('on what stands in the JSON column is refused with the columns there are, never answered by leaving records out', async () => {
    await expect(idsOf(store, 'vector', query, { extra: 1 })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/'extra'.*JSON column.*at, day, blob/),
    });
  });

  test('is refused from the moment on that a value does not fit its column, and answered again when it is mended', async () => {
    await store.write(makeBatch({ ids: ['5'], vectors: [vector], payloads: ['{"rank":"two"}'] }), {
      position,
      mode: 'upsert',
    });
    await expect(idsOf(store, 'vector', query, { rank: 2 })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/^1 records have a value of field 'rank'/),
    });
    expect(await idsOf(store, 'vector', query, { price: 12.5 })).toEqual(['1']);
    await store.write(makeBatch({ ids: ['5'], vectors: [vector], payloads: ['{"rank":2}'] }), {
      position,
      mode: 'upsert',
    });
    expect(await idsOf(store, 'vector', query, { rank: 2 })).toEqual(['2', '5']);
  });
});

describe('filters over a table made elsewhere', () => {
  const rows = [
    {
      id: 1n,
      v: [1, 0],
      small: 5,
      big: 9007199254740993n,
      half: 0.1,
      tags: ['a', "it's"],
      nums: [1, 2],
      floats: [0.1, 0.5],
      nested: { a: 1n },
    },
    { id: 2n, v: [2, 1], small: -5, big: 0n, half: 0.5, tags: [], nums: [30000], floats: [2], nested: { a: 2n } },
    { id: 3n, v: [3, 2], small: null, big: null, half: null, tags: null, nums: null, floats: null, nested: null },
  ];
  const list = (item: Int16 | Float32 | Utf8) => new List(new Field('item', item, true));
  beforeAll(async () => {
    const arrow = new Schema([
      new Field('id', new Int64(), false),
      new Field('v', new FixedSizeList(2, new Field('item', new Float32(), true)), true),
      new Field('small', new Int16(), true),
      new Field('big', new Uint64(), true),
      new Field('half', new Float32(), true),
      new Field('tags', list(new Utf8()), true),
      new Field('nums', list(new Int16()), true),
      new Field('floats', list(new Float32()), true),
      new Field('nested', new Struct([new Field('a', new Int64(), true)]), true),
      new Field('local', new Timestamp(TimeUnit.SECOND, null), true),
      new Field('cents', new Decimal(2, 10, 128), true),
      new Field('bytes', new Binary(), true),
      new Field('ratio', new Float64(), true),
    ]);
    const table = await (await connect(directory)).createEmptyTable('theirs', arrow);
    await table.add(rows);
  });

  test.each<Filter>([
    { small: 5 },
    // Wider than the column: LanceDB would fail, or fit the literal to it.
    { small: { lt: 70_000, gt: -70_000 } },
    { small: 70_000 },
    { big: { gte: -1 } },
    { big: { gt: 9007199254740991 } },
    // A float32 is the double that it stands for: 0.1 is none of them.
    { half: 0.1 },
    { half: 0.5 },
    { half: { gt: 0.1 } },
    { tags: "it's" },
    { tags: { in: ['z', 'a'] } },
    { tags: 1 },
    { nums: 2 },
    { nums: 70_000 },
    { nums: 1.5 },
    { floats: 0.5 },
    { floats: 0.1 },
    { nested: 1 },
    { nowhere: 1 },
    { ratio: 1, small: 5 },
  ])('%j finds what meets it', async (filter) => {
    const store = await open('theirs');
    const { ids, payloads } = await store.fetch(['1', '2', '3']);
    const expected = ids.filter((_, at) => meets(conditionsOf(filter), payloads[at] ?? ''));
    expect(await idsOf(store, 'v', new Float32Array([1, 0]), filter)).toEqual(expected.sort());
  });

  test.each<[Filter, string]>([
    [{ nums: { gt: 1 } }, 'range within a list'],
    [{ local: '2026-01-01T00:00:00' }, 'no filter for'],
  ])('%j is refused: %s', async (filter, words) => {
    await expect(idsOf(await open('theirs'), 'v', new Float32Array([1, 0]), filter)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining(words),
    });
  });
});

describe('an index', () => {
  const dimension = 32;
  const count = 4000;
  const random = seededRandom(3);
  const batch = makeBatch({
    ids: Array.from({ length: count }, (_, i) => String(i)),
    vectors: [{ name: 'vector', kind: 'dense', dimension, distance: 'euclid', precision: 'float32' }],
    payloads: Array.from({ length: count }, (_, i) => `{"even":${i % 2 === 0}}`),
  });
  const queries = Array.from({ length: 25 }, () => Float32Array.from({ length: dimension }, () => random() * 2 - 1));

  async function built(name: string, index: VectorIndex): Promise<Store> {
    const vector: VectorSpec = {
      name: 'vector',
      kind: 'dense',
      dimension,
      distance: 'euclid',
      precision: 'float32',
      index,
    };
    const fields: FieldSpec[] = [{ name: 'even', type: 'boolean', nullable: true }];
    const schema = makeSchema({ store: 'lancedb', vectors: [vector], fields });
    const store = await open(name, { indexFrom: 256 });
    await store.prepare(schema);
    await store.write(batch, { position, mode: 'upsert' });
    await store.buildIndex(schema);
    return store;
  }

  /** The mean share of the ten nearest that a search with these settings finds. */
  async function recall(
    store: Store,
    settings: SearchSettings,
    filter: Filter | undefined = undefined,
  ): Promise<number> {
    let found = 0;
    for (const query of queries) {
      const request = { vector: 'vector', query, k: 10, ...(filter && { filter: conditionsOf(filter) }) };
      const truth = new Set((await store.search({ ...request, exact: true })).map(({ id }) => id));
      expect(truth.size).toBe(10);
      const near = await store.search({ ...request, settings });
      found += near.filter(({ id }) => truth.has(id)).length;
    }
    return found / (10 * queries.length);
  }

  test('of product quantization finds little until its hits are refined, and says that it heeds that', async () => {
    const store = await built('pq', { kind: 'other', name: 'IVF_PQ' });
    const tuning = await store.tuning('vector');
    expect(tuning).toMatchObject({
      isQuantized: true,
      heeds: { rescore: true, oversampling: 100 },
      current: { rescore: false },
    });
    expect(tuning.heeds).not.toHaveProperty('efSearch');
    const many = { probes: tuning.heeds.probes === true ? 1 : (tuning.heeds.probes ?? 1) };
    const [plain, rescored, refined] = [
      await recall(store, many),
      await recall(store, { ...many, rescore: true }),
      await recall(store, { ...many, oversampling: 40 }),
    ];
    expect(plain).toBeLessThan(0.5);
    expect(rescored).toBeGreaterThanOrEqual(plain);
    expect(refined).toBeGreaterThan(plain + 0.3);
    expect(await recall(store, { ...many, oversampling: 40, rescore: false })).toBeCloseTo(plain, 1);
    expect(await recall(store, { ...many, oversampling: 40 }, { even: true })).toBeGreaterThan(plain + 0.3);
  });

  test('of flat lists finds little in one of them and all in all of them', async () => {
    const store = await built('flat', { kind: 'ivfflat', lists: 40 });
    expect(await store.tuning('vector')).toEqual({
      isQuantized: false,
      current: { probes: 20 },
      heeds: { probes: 40 },
    });
    const [one, all] = [await recall(store, { probes: 1 }), await recall(store, { probes: 40 })];
    expect(one).toBeLessThan(0.5);
    expect(all).toBe(1);
    expect(await recall(store, { probes: 40 }, { even: false })).toBe(1);
  });

  test('of a graph finds more with more candidates, and takes fewer than the neighbours asked for', async () => {
    const store = await built('graph', { kind: 'hnsw', m: 4, efConstruction: 10 });
    const { heeds, isQuantized } = await store.tuning('vector');
    expect([Object.keys(heeds).sort(), isQuantized]).toEqual([['efSearch', 'oversampling', 'probes', 'rescore'], true]);
    const [few, many] = [await recall(store, { efSearch: 1 }), await recall(store, { efSearch: 400 })];
    expect(many).toBeGreaterThan(few + 0.1);
    expect(await recall(store, { efSearch: 5, oversampling: 20 })).toBeGreaterThan(few);
  });

  test('has its settings from the endpoint where a search says none, and tells them', async () => {
    await built('options', { kind: 'other', name: 'IVF_PQ' });
    const store = await open('options', { nprobes: 7, refineFactor: 30 });
    expect((await store.tuning('vector')).current).toEqual({ probes: 7, rescore: true, oversampling: 30 });
    expect(await recall(store, {})).toBeGreaterThan((await recall(store, { rescore: false })) + 0.2);
  });

  test('is kept nowhere: the words for the application are those of its own client', async () => {
    const store = await open('options');
    const kept = await store.keepSearch('vector', { efSearch: 120, probes: 40, oversampling: 2.5 });
    expect(kept).toEqual({ kept: false, how: expect.stringContaining('.ef(120).nprobes(40).refineFactor(3)') });
    const table = await (await connect(directory)).openTable('options');
    // As an application would type it.
    await expect(
      table
        .vectorSearch(queries[0] ?? [])
        .ef(120)
        .nprobes(40)
        .refineFactor(3)
        .limit(3)
        .toArray(),
    ).resolves.toHaveLength(3);
  });

  test('is asked for a vector that the table has', async () => {
    await expect((await open('options')).tuning('other')).rejects.toMatchObject({ name: 'NotFound', ids: ['other'] });
  });
});
