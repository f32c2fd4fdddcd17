import { afterAll, describe, expect, test } from '@jest/globals';
import { mirror } from '../../lib/client/mirror.ts';
import type { ClientRecord } from '../../lib/client/side.ts';
import { type StoreQuery, type StoreSide, storeSide } from '../../lib/client/store-side.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { files } from '../../lib/stores/files.ts';
import { memory } from '../../lib/stores/memory.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { openPair, openStore, type Pair, type PairStore } from './store-pairs.ts';

/** Stores as sides of the client: two of different kinds end equal, whatever is written while they are made so. */

const opened: Pair[] = [];
afterAll(async () => {
  await Promise.all(opened.map((pair) => pair.close()));
});
const pairOf = async (...parts: Parameters<typeof openPair>): Promise<Pair> => {
  const pair = await openPair(...parts);
  opened.push(pair);
  return pair;
};

const dense = (name: string): VectorSpec => ({
  name,
  kind: 'dense',
  dimension: 4,
  distance: 'cosine',
  precision: 'float32',
});

const payloads: readonly ClientRecord['payload'][] = [
  {},
  { n: 9007199254740993n, low: -9007199254740993n },
  { at: '2026-03-29T02:30:00.123456+02:00', here: null },
  { a: { b: [1, { c: null }, [true, false]], d: {} }, list: [] },
  { 'a.b': 1, $set: { 'x.y': 3 }, '': 'an empty key', '🦜': 'café' },
  { x: 0.1, y: 1.7976931348623157e308, whole: 12 },
];

interface Writing {
  readonly side: StoreSide;
  readonly vector: string;
  readonly makeId: (at: number) => string;
  readonly seed: number;
  readonly writes: number;
  /** Called with the ids of each write once it is acknowledged. */
  readonly written: (ids: readonly string[]) => void;
}

/** Upserts and deletes of a few dozen ids, as one process would send them. */
async function writeAtRandom({ side, vector, makeId, seed, writes, written }: Writing): Promise<void> {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let at = 0; at < writes; at++) {
    const ids = Array.from({ length: 1 + below(4) }, () => makeId(below(40)));
    if (random() < 0.35) await side.delete(ids);
    else await side.upsert(ids.map((id) => makeRecord(id, vector, random, payloads[below(payloads.length)])));
    written(ids);
  }
}

function makeRecord(id: string, vector: string, random: () => number, payload = {}): ClientRecord {
  const values = Array.from({ length: 4 }, () => random() * 2 - 1 || 0.5);
  return { id, vectors: { [vector]: values }, payload };
}

const word = (at: number): string => `note ${at}`;
const integer = (at: number): string => String(at + 1);

describe('two sides end equal when each id is mirrored after it was written, with three writers at once', () => {
  test.each<[PairStore, PairStore, string, (at: number) => string, number]>([
    ['memory', 'memory', 'embedding', word, 80],
    ['pgvector', 'qdrant', 'embedding', word, 40],
    ['qdrant', 'chroma', '', integer, 20],
    ['chroma', 'lancedb', 'embedding', word, 25],
    ['lancedb', 'pgvector', 'vector', integer, 20],
  ])('%s to %s', async (from, to, vector, makeId, writes) => {
    const idType = makeId === word ? 'string' : 'integer';
    const first = [makeRecord(makeId(0), vector, seededRandom(9))];
    const pair = await pairOf(from, to, makeSchema({ idType, vectors: [dense(vector)] }), { first });
    const mirrors: Promise<void>[] = [];
    const written = (ids: readonly string[]): void => {
      mirrors.push(mirror({ ids, from: pair.source, to: pair.target, maxRounds: 100 }));
    };
    written([makeId(0)]);
    const common = { side: pair.source, vector, makeId, writes, written };
    await Promise.all([1, 2, 3].map((seed) => writeAtRandom({ ...common, seed })));
    await Promise.all(mirrors);
    expect(mirrors).toHaveLength(3 * writes + 1);
    expect(await pair.differences()).toEqual([]);
    expect(await pair.stores.source.count()).toBeGreaterThan(0);
    // Through the sides the application reads the same records of both, by its own ids.
    const ids = Array.from({ length: 40 }, (_, at) => makeId(at));
    const [left, right] = await Promise.all([pair.source.fetch(ids), pair.target.fetch(ids)]);
    expect(byId(right)).toEqual(byId(left));
  });
});

function byId(records: readonly ClientRecord[]) {
  return records.map(({ id, payload }) => ({ id, payload })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

describe('what a record holds is carried as it is', () => {
  const everyKind: readonly VectorSpec[] = [
    dense('title'),
    { name: 'terms', kind: 'sparse', dimension: 1000, distance: 'dot', precision: 'float32' },
    { name: 'late', kind: 'multi', dimension: 2, distance: 'cosine', precision: 'float32' },
  ];
  const everything: ClientRecord = {
    id: '7',
    vectors: {
      title: [1, 2, 3, 4],
      terms: { indices: [3, 200], values: [0.5, -2] },
      late: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    },
    payload: { a: 1 },
  };

  test('vectors of every kind, as an application writes them and as they are mirrored', async () => {
    const pair = await pairOf('memory', 'qdrant', makeSchema({ vectors: [...everyKind] }));
    const partly: ClientRecord = { id: '8', vectors: { title: [1, 0, 0, 0] }, payload: {} };
    await pair.source.upsert([everything, partly]);
    await mirror({ ids: ['7', '8'], from: pair.source, to: pair.target });
    expect(await pair.differences()).toEqual([]);
    const [left] = await pair.source.fetch(['7']);
    expect(left?.vectors['terms']).toEqual({ indices: Uint32Array.of(3, 200), values: Float32Array.of(0.5, -2) });
    expect(left?.vectors['late']).toEqual([Float32Array.of(1, 2), Float32Array.of(3, 4), Float32Array.of(5, 6)]);
    // Written by the application itself, not mirrored.
    await pair.source.upsert([{ ...everything, id: '9' }]);
    await pair.target.upsert([{ ...everything, id: '9' }]);
    expect(await pair.differences()).toEqual([]);
    expect(Object.keys((await pair.target.fetch(['8']))[0]?.vectors ?? {})).toEqual(['title']);
  });

  test('integers beyond 2^53 are bigints, so that a change to another field rounds none', async () => {
    const pair = await pairOf('pgvector', 'qdrant', makeSchema({ vectors: [dense('embedding')] }));
    const id = 9007199254740993n;
    const record = { id: '1', vectors: { embedding: [1, 2, 3, 4] }, payload: { id, list: [{ id }], n: 5 } };
    await pair.source.upsert([record]);
    const [read] = await pair.source.fetch(['1']);
    expect(read?.payload).toEqual({ id, list: [{ id }], n: 5 });
    if (read === undefined) throw new Error('the record is there');
    const changed = { ...read, payload: { ...read.payload, n: 6 } };
    await pair.source.upsert([changed]);
    await pair.target.upsert([changed]);
    expect((await pair.stores.source.fetch(['1'])).payloads[0]).toContain('9007199254740993');
    expect(await pair.differences()).toEqual([]);
    expect((await pair.target.fetch(['1']))[0]?.payload).toEqual(changed.payload);
  });

  test('decimals keep all their digits when they are mirrored, and a payload changed in place is written as changed', async () => {
    const pair = await pairOf('memory', 'pgvector', makeSchema({ vectors: [dense('embedding')] }));
    const long = '{"price":123456789012345678901234567890.123456789,"e":1e400,"__proto__":{"x":1},"n":1}';
    await pair.stores.source.write(makeBatch({ ids: ['1'], payloads: [long] }), { mode: 'upsert' });
    await mirror({ ids: ['1'], from: pair.source, to: pair.target });
    expect(await pair.differences()).toEqual([]);
    const [read] = await pair.source.fetch(['1']);
    if (read === undefined) throw new Error('the record is there');
    Object.assign(read.payload, { price: 1, e: 2 });
    await pair.target.upsert([read]);
    expect((await pair.target.fetch(['1']))[0]?.payload).toMatchObject({ price: 1, e: 2, n: 1 });
  });

  test.each([
    ['a payload that JSON has no form for', { payload: { price: Number.NaN } }, /'price' of record '1' is NaN/],
    ['a payload that is no object', { payload: JSON.parse('[1]') }, /payload of record '1' is no JSON object/],
    ['a vector of another length', { vectors: { title: [1, 2] } }, /vector 'title' of record '1' has 2 floats.*4/],
    ['a vector of another kind', { vectors: { terms: [1, 2, 3, 4] } }, /'terms' of record '1' is not the sparse/],
    [
      'indices out of order',
      { vectors: { terms: { indices: [5, 5], values: [1, 2] } } },
      /'terms' of record '1'.*ascend/,
    ],
    ['a vector among vectors of another length', { vectors: { late: [[1, 2], [3]] } }, /'late'.*has 1 floats.*2/],
  ])('%s is refused by name, and nothing is written', async (_, parts, message) => {
    const pair = await pairOf('memory', 'memory', makeSchema({ vectors: [...everyKind] }));
    const wrong: ClientRecord = { id: '1', vectors: { title: [1, 2, 3, 4] }, payload: {}, ...parts };
    await expect(pair.source.upsert([everything, wrong])).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['1'],
      message: expect.stringMatching(message),
    });
    expect(await pair.stores.source.count()).toBe(0);
  });

  test('of a record that stands twice in one call the last counts, in every store', async () => {
    for (const store of ['memory', 'pgvector', 'qdrant', 'chroma', 'lancedb'] as const) {
      const { store: opened, kind } = await openStore(store);
      const name = kind.capabilities.defaultVectorName ?? 'embedding';
      await opened.prepare(makeSchema({ store, idType: 'integer', vectors: [dense(name)] }));
      const side = storeSide({ store: opened, kind });
      const made = (n: number): ClientRecord => ({ id: '1', vectors: { [name]: [1, 2, 3, n] }, payload: { n } });
      await side.upsert([made(1), made(2)]);
      expect((await side.fetch(['1'])).map(({ payload }) => payload)).toEqual([{ n: 2 }]);
      await opened.close();
    }
  });
});

describe("the run's mapping", () => {
  const vectors = [dense('title'), dense('body')];
  const mapping = {
    vectors: { title: { to: 'heading' }, body: null },
    payload: { secret: null, year: 'string', code: 'number' },
    originalId: 'was',
  };
  const record = (id: string, payload: ClientRecord['payload'] = {}): ClientRecord => ({
    id,
    vectors: { title: [1, Number(id.length), 3, 4], body: [4, 3, 2, 1] },
    payload,
  });

  test("has its rules in an application's writes: what they drop is taken from the target, renamed fields have their names back", async () => {
    const rules = {
      payload: {
        topic: { to: 'subject' },
        status: { to: 'state', values: { OPEN: 'open', DONE: 'done' }, otherwise: 'drop' },
      },
      add: { slug: { template: '{topic}-{id}' } },
    };
    const pair = await pairOf('pgvector', 'qdrant', makeSchema({ idType: 'string' }), { mapping: rules });
    const made = (id: string, status: string): ClientRecord => ({
      id,
      vectors: { embedding: [1, 2, 3, 4] },
      payload: { topic: 'news', status },
    });
    const records = [made('a', 'OPEN'), made('b', 'DONE')];
    await pair.source.upsert(records);
    await pair.target.upsert(records);
    expect(await pair.differences()).toEqual([]);
    const [found] = await pair.target.fetch(['a']);
    expect(found?.payload).toEqual({ topic: 'news', state: 'open', slug: 'news-a' });
    const query = { values: [1, 2, 3, 4], k: 5 };
    expect((await pair.target.search({ ...query, filter: { topic: 'news' } })).map(({ id }) => id).sort()).toEqual([
      'a',
      'b',
    ]);
    await expect(pair.target.search({ ...query, filter: { status: 'OPEN' } })).rejects.toThrow(
      /cannot filter by 'status', which mapping\.payload gives other values/,
    );
    await pair.target.upsert([made('a', 'LOST')]);
    expect((await pair.target.fetch(['a', 'b'])).map(({ id }) => id)).toEqual(['b']);
  });

  test('is what an application writes by, and reads, searches and deletes by, in the names of the source', async () => {
    const pair = await pairOf('pgvector', 'qdrant', makeSchema({ idType: 'string', vectors }), { mapping });
    const payload = { secret: 's', year: 2020, code: '7', topic: 'news' };
    const records = [record('a', payload), record('a longer one', { ...payload, year: 2021, topic: 'other' })];
    await pair.source.upsert(records);
    await pair.target.upsert(records);
    expect(await pair.differences()).toEqual([]);
    const [found] = await pair.target.fetch(['a', 'none']);
    expect(found).toMatchObject({ id: 'a', payload: { year: '2020', code: 7, topic: 'news' } });
    expect(Object.keys(found?.payload ?? {}).toSorted()).toEqual(['code', 'topic', 'year']);
    expect(Object.keys(found?.vectors ?? {})).toEqual(['title']);
    const search = async (filter?: StoreQuery['filter']): Promise<string[]> => {
      const query = { vector: 'title', values: [1, 1, 3, 4], k: 5, ...(filter && { filter }) };
      const [source, target] = await Promise.all([pair.source.search(query), pair.target.search(query)]);
      expect(target.map(({ id }) => id)).toEqual(source.map(({ id }) => id));
      return target.map(({ id }) => id);
    };
    expect(await search()).toEqual(['a', 'a longer one']);
    expect(await search({ topic: 'other' })).toEqual(['a longer one']);
    expect(await search({ year: 2020 })).toEqual(['a']);
    expect(await search({ code: '7', year: { in: [2020, 2021] } })).toEqual(['a', 'a longer one']);
    await pair.source.delete(['a']);
    await pair.target.delete(['a', 'none']);
    expect(await pair.differences()).toEqual([]);
    expect(await search()).toEqual(['a longer one']);
  });

  test('says what the target cannot be asked', async () => {
    const pair = await pairOf('memory', 'memory', makeSchema({ idType: 'string', vectors }), { mapping });
    const query = { vector: 'title', values: [1, 2, 3, 4], k: 1 };
    const wrong: readonly (readonly [Partial<StoreQuery>, RegExp])[] = [
      [{ vector: 'body' }, /no vector 'body'.*mapping/],
      [{ filter: { secret: 's' } }, /no field 'secret'.*mapping/],
      [{ filter: { year: { gte: 2020 } } }, /'year' is text/],
    ];
    for (const [parts, message] of wrong)
      await expect(pair.target.search({ ...query, ...parts })).rejects.toMatchObject({
        name: 'InvalidEvent',
        message: expect.stringMatching(message),
      });
    // The source has two vectors, the target one.
    const { vector: _, ...unnamed } = query;
    await expect(pair.source.search(unnamed)).rejects.toMatchObject({
      message: expect.stringContaining("'title', 'body'"),
    });
    expect(await pair.target.search(unnamed)).toEqual([]);
  });

  test('finds the id of a hit in the record, also when another client wrote it, and keeps UUIDs of the source', async () => {
    const pair = await pairOf('memory', 'qdrant', makeSchema({ idType: 'string', vectors: [dense('embedding')] }));
    const own = 'b7f3ad26-63e3-5d7c-8d6f-4f0c1f6f2d11';
    const made = (id: string, x: number): ClientRecord => ({ id, vectors: { embedding: [x, 1, 0, 0] }, payload: {} });
    const writer = storeSide({ store: pair.stores.target, kind: qdrant, mapping: pair.mapping });
    // A field of its own that is called as the one for original ids.
    const kept = { [pair.mapping.originalId]: 'not its id' };
    await writer.upsert([{ ...made(own, 0), payload: kept }, made('words and all', 1), made('7', 2)]);
    const query = { values: [0, 1, 0, 0], k: 3 };
    for (let asked = 0; asked < 2; asked++)
      expect((await pair.target.search(query)).map(({ id }) => id)).toEqual([own, 'words and all', '7']);
    const fetched = await pair.target.fetch([own, 'words and all', '7']);
    expect(new Map(fetched.map(({ id, payload }) => [id, payload]))).toEqual(
      new Map<string, object>([
        [own, kept],
        ['words and all', {}],
        ['7', {}],
      ]),
    );
  });

  test('a record that loses its vector is taken from a target that leaves such records out', async () => {
    const schema = makeSchema({ idType: 'string', vectors: [dense('embedding')] });
    const whole: ClientRecord = { id: 'a', vectors: { embedding: [1, 2, 3, 4] }, payload: {} };
    const first = [whole, { ...whole, id: 'b', vectors: {} }];
    const pair = await pairOf('memory', 'chroma', schema, { mapping: { missingVectors: 'skip' }, first });
    const both = ['a', 'b'];
    await mirror({ ids: both, from: pair.source, to: pair.target });
    expect(await pair.stores.target.count()).toBe(1);
    const bare: ClientRecord = { ...whole, vectors: {} };
    await pair.source.upsert([bare, { ...whole, id: 'b' }]);
    await mirror({ ids: both, from: pair.source, to: pair.target });
    expect((await pair.target.fetch(both)).map(({ id }) => id)).toEqual(['b']);
    expect(await pair.differences()).toEqual([]);
  });
});

test('a store that cannot delete is refused as a side, before an application counts on it', () => {
  const store = memory.open({ connection: { path: 'none' }, collection: 'c', options: {} });
  expect(() => storeSide({ store: Object(store), kind: files })).toThrow(
    expect.objectContaining({ name: 'Incompatible', message: expect.stringContaining('cannot delete') }),
  );
});
