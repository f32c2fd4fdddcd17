import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Batch, denseVector } from '../../lib/batch.ts';
import { distanceBetween } from '../../lib/distance.ts';
import { conditionsOf, type Filter, meets } from '../../lib/filter.ts';
import type { SearchSettings, VectorSpec } from '../../lib/schema.ts';
import { chroma } from '../../lib/stores/chroma.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { chromaUrl } from '../servers/urls.ts';

/** What Chroma's own filters and its graph search do, where they are not what one would think. */

const space = `chroma_search_${process.pid}_${Date.now().toString(36)}`;
const open = async (collection: string): Promise<Store> =>
  await chroma.open({
    connection: { url: await chromaUrl() },
    collection: `${space}_${collection}`,
    options: {},
  });
const position = { run: 'r', shard: '00000-000', offset: 0 };
const specOf = (dimension: number, index: VectorSpec['index'] = { kind: 'hnsw' }): VectorSpec => ({
  name: 'embedding',
  kind: 'dense',
  dimension,
  distance: 'euclid',
  precision: 'float32',
  index,
});

async function filled(name: string, batch: Batch, vector: VectorSpec): Promise<Store> {
  const store = await open(name);
  await store.prepare(makeSchema({ store: 'chroma', idType: 'string', vectors: [vector] }));
  await store.write(batch, { position, mode: 'upsert' });
  return store;
}

const plain = specOf(2);
const withPayloads = (payloads: readonly string[]): Batch =>
  makeBatch({ ids: payloads.map((_, i) => `r${String(i).padStart(3, '0')}`), vectors: [plain], payloads });
const found = async (store: Store, filter: Filter): Promise<readonly string[]> => {
  const request = { vector: 'embedding', query: new Float32Array([1, 0]), k: 200, filter: conditionsOf(filter) };
  return (await store.search(request)).map(({ id }) => id).sort();
};

describe('a filter in Chroma', () => {
  test('with a fraction is held against integers as a number, not cut to its whole part as Chroma would', async () => {
    const numbers = ['-2', '-1', '0', '1', '2', '-2.0', '-1.5', '-1.0', '-0.5', '0.0', '0.5', '1.0', '1.5', '2.0'];
    const batch = withPayloads(numbers.map((raw) => `{"x":${raw}}`));
    const store = await filled('fractions', batch, plain);
    for (const value of [-2, -1.5, -1.25, -1, -0.5, 0, 0.25, 0.5, 1, 1.5, 1.75, 2]) {
      const filters: Filter[] = [{ x: value }, { x: { gt: value } }, { x: { gte: value } }, { x: { lt: value } }];
      for (const filter of [...filters, { x: { lte: value } }, { x: { gt: -1.25, lt: value } }]) {
        const expected = batch.ids.filter((_, at) => meets(conditionsOf(filter), batch.payloads[at] ?? ''));
        expect([filter, await found(store, filter)]).toEqual([filter, expected]);
      }
    }
  });

  test('finds a number in lists of integers and of floats, which Chroma tells apart', async () => {
    const store = await filled(
      'lists',
      withPayloads(['{"x":[2,3]}', '{"x":[2.0,0.5]}', '{"x":["2"]}', '{"x":2.0}']),
      plain,
    );
    expect(await found(store, { x: 2 })).toEqual(['r000', 'r001', 'r003']);
    expect(await found(store, { x: { in: [0.5, '2'] } })).toEqual(['r001', 'r002']);
  });

  test('reaches document and URI, whole and not by a part of their text', async () => {
    const store = await filled(
      'documents',
      withPayloads(['{"document":"some words","uri":"s3://b/k"}', '{"document":"words"}', '{"words":"words"}']),
      plain,
    );
    expect(await found(store, { document: 'words' })).toEqual(['r001']);
    expect(await found(store, { document: { in: ['some words', 1] } })).toEqual(['r000']);
    expect(await found(store, { uri: 's3://b/k', document: 'some words' })).toEqual(['r000']);
    expect(await found(store, { uri: 1 })).toEqual([]);
  });

  test.each<[string, Filter, string]>([
    ['{"x":[1,"a"]}', { x: 'a' }, "record 'r000' has a value there that metadata cannot hold"],
    ['{"x":18446744073709551615}', { x: { gt: 0 } }, 'metadata cannot hold'],
    ['{"x":[1,2]}', { x: { gt: 1 } }, 'ranges do not look into lists'],
    ['{"$set":1}', { $set: 1 }, 'keeps such names for itself'],
    ['{"x":1}', { x: 0.1234567890123456 }, 'at most 15 digits'],
  ])('over %s is refused for %j, since records would be left out: %s', async (payload, filter, words) => {
    const store = await filled(
      `refused_${Buffer.from(payload).toString('hex').slice(0, 24)}`,
      withPayloads([payload]),
      plain,
    );
    await expect(found(store, filter)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining(words),
      ids: Object.keys(filter),
    });
  });

  test('is answered again once the record is mended, and values that meet nothing are no reason to refuse', async () => {
    const store = await filled(
      'mended',
      withPayloads(['{"x":[1,"a"]}', '{"x":2}', '{"x":null}', '{"x":{"a":1}}']),
      plain,
    );
    await expect(found(store, { x: 2 })).rejects.toMatchObject({ name: 'Incompatible' });
    const mended = makeBatch({ ids: ['r000'], vectors: [plain], payloads: ['{"x":[]}'] });
    await store.write(mended, { position, mode: 'upsert' });
    expect(await found(store, { x: 2 })).toEqual(['r001']);
  });
});

describe("Chroma's graph search", () => {
  const dimension = 32;
  const vector = specOf(dimension, { kind: 'hnsw', m: 4, efConstruction: 10, efSearch: 10 });
  const ids = Array.from({ length: 3000 }, (_, i) => String(i));
  const payloads = ids.map((id) => `{"even":${Number(id) % 2 === 0}}`);
  const batch = makeBatch({ ids, vectors: [vector], payloads });
  const queries = makeBatch({ ids: ids.slice(0, 40), vectors: [vector], seed: 99 });
  let store: Store;
  beforeAll(async () => {
    store = await filled('graph', batch, vector);
  });

  /** Each query with the ids of its ten nearest even records. */
  const truths = (() => {
    const [records, asked] = [batch.vectors.get('embedding'), queries.vectors.get('embedding')];
    if (records?.kind !== 'dense' || asked?.kind !== 'dense') throw new Error('no vectors');
    return queries.ids.map((_, q) => {
      const query = denseVector(asked, q);
      const far = ids.map((id, at) => ({ id, far: distanceBetween.euclid(query, denseVector(records, at)) }));
      const nearest = far.filter((_, at) => at % 2 === 0).sort((a, b) => a.far - b.far);
      return { query, truth: new Set(nearest.slice(0, 10).map(({ id }) => id)) };
    });
  })();

  /** The mean share of them that a search finds. */
  async function recall(settings: SearchSettings | undefined, exact = false): Promise<number> {
    let hits = 0;
    for (const { query, truth } of truths) {
      const filter = conditionsOf({ even: true });
      const near = await store.search({
        vector: 'embedding',
        query,
        k: 10,
        filter,
        exact,
        ...(settings && { settings }),
      });
      expect(near.length).toBeLessThanOrEqual(10);
      hits += near.filter(({ id }) => truth.has(id)).length;
    }
    return hits / (10 * truths.length);
  }

  test('finds more with efSearch of a search, which it is asked for by the number of results', async () => {
    expect(await store.tuning('embedding')).toEqual({
      current: { efSearch: 10 },
      heeds: { efSearch: 10_000 },
      isQuantized: false,
    });
    const [few, some, many] = [
      await recall(undefined),
      await recall({ efSearch: 100 }),
      await recall({ efSearch: 1000 }),
    ];
    expect(few).toBeLessThan(0.6);
    expect(some).toBeGreaterThan(few + 0.1);
    expect(many).toBeGreaterThan(some);
    expect(await recall(undefined, true)).toBeGreaterThanOrEqual(many);
    // Less than the collection's own changes nothing.
    expect(await recall({ efSearch: 1 })).toBe(few);
  });

  test('goes on with its ef_search when the configuration is changed, so vecferry does not say that it is kept', async () => {
    const before = await recall(undefined);
    expect(await store.keepSearch('embedding', { efSearch: 1000 })).toEqual({
      kept: false,
      how: expect.stringMatching(/n_results=1000.*"ef_search": 1000.*start the Chroma server again/),
    });
    expect((await store.tuning('embedding')).current).toEqual({ efSearch: 10 });
    const base = `${await chromaUrl()}/api/v2/tenants/default_tenant/databases/default_database/collections`;
    const { id } = await (await fetch(`${base}/${space}_graph`)).json();
    const changed = await fetch(`${base}/${id}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"new_configuration":{"hnsw":{"ef_search":1000}}}',
    });
    expect(changed.status).toBe(200);
    expect((await store.tuning('embedding')).current).toEqual({ efSearch: 1000 });
    // When this fails, Chroma heeds the change at once, and keepSearch should make it.
    expect(await recall(undefined)).toBe(before);
  });
});
