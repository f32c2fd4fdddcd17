import { fromBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { QueryPointsSchema } from '@qdrant/js-client-grpc';
import { QdrantClient } from '@qdrant/js-client-rest';
import type { SearchSettings } from '../../lib/schema.ts';
import type { Store, WriteOptions } from '../../lib/stores/port.ts';
import { encodeSearch } from '../../lib/stores/qdrant/points.ts';
import { encodeRestSearch } from '../../lib/stores/qdrant/rest.ts';
import { searchOf, tuningOf } from '../../lib/stores/qdrant/search.ts';
import { infoSchema } from '../../lib/stores/qdrant/settings.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { built, coarse, fill, indexed, recallAt10, records, schema, weakGraph } from './qdrant-recipes.ts';

const opened: Store[] = [];
const made = new Set<string>();
let client: QdrantClient;

const open = async (collection: string, options: Record<string, unknown> = {}): Promise<Store> => {
  const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const store = await qdrant.open({ connection, collection, options });
  opened.push(store);
  return store;
};

const batch = records();
const position: WriteOptions = { position: { run: 'r', shard: '00000-000', offset: 0 }, mode: 'upsert' };
const filled = async (collection: string, options: Record<string, unknown>): Promise<Store> => {
  await client.deleteCollection(collection);
  made.add(collection);
  const store = await open(collection, options);
  await fill(store, batch);
  return store;
};
const efSearch = (ef: number): { settings: SearchSettings } => ({ settings: { efSearch: ef } });

beforeAll(async () => {
  client = new QdrantClient({ url: await qdrantUrl(), checkCompatibility: false });
});
afterAll(async () => {
  for (const name of made) await client.deleteCollection(name);
  await Promise.all(opened.map((store) => store.close()));
});

describe('what makes a search miss neighbours, and what finds them', () => {
  test('a graph of few links is searched well with a larger efSearch, over gRPC and REST alike', async () => {
    const store = await filled('search_weak', { ...weakGraph, transport: 'grpc' });
    const rest = await open('search_weak', { transport: 'rest' });
    expect(await recallAt10(store, batch)).toBeLessThan(0.92);
    for (const path of [store, rest]) {
      expect(await recallAt10(path, batch, efSearch(1000))).toBeGreaterThan(0.97);
      expect(await recallAt10(path, batch, { exact: true })).toBe(1);
    }
    const tuning = { current: { efSearch: 24 }, heeds: { efSearch: 3000 }, isQuantized: false };
    expect(await store.tuning('')).toEqual(tuning);
  });

  test('vectors in few bytes are searched well when more of them are taken and rescored, not when rescored alone', async () => {
    const store = await filled('search_coarse', { ...coarse, transport: 'grpc' });
    const rest = await open('search_coarse', { transport: 'rest' });
    const asIs = await recallAt10(store, batch, efSearch(512));
    expect(asIs).toBeLessThan(0.85);
    const rescored = { efSearch: 512, rescore: true };
    expect(Math.abs((await recallAt10(store, batch, { settings: rescored })) - asIs)).toBeLessThan(0.05);
    for (const path of [store, rest]) {
      expect(await recallAt10(path, batch, { settings: { ...rescored, oversampling: 8 } })).toBeGreaterThan(0.97);
      // More candidates without their whole vectors are no better.
      const settings = { efSearch: 512, rescore: false, oversampling: 8 };
      expect(await recallAt10(path, batch, { settings })).toBeLessThan(0.85);
    }
    expect(await store.tuning('')).toEqual({
      current: { efSearch: 100, rescore: false, oversampling: 1 },
      heeds: { efSearch: 3000, rescore: true, oversampling: 64 },
      isQuantized: true,
    });
    // What the report shows beside the other side's.
    expect((await store.describe()).schema).toMatchObject({
      vectors: [{ index: { kind: 'hnsw', m: 16, efConstruction: 100 } }],
      native: { hnsw_config: { full_scan_threshold: 10 }, quantization_config: coarse.quantization },
    });
  });

  test('a filter on a field that was indexed before the graph finds what it does not without the index', async () => {
    const filter = [{ kind: 'in' as const, field: 'tenth', values: [3] }];
    const without = await filled('search_unindexed', weakGraph);
    const asIs = await recallAt10(without, batch, { filter, ...efSearch(64) });
    expect(asIs).toBeLessThan(0.5);
    expect(await recallAt10(without, batch, { filter, exact: true })).toBe(1);
    expect((await without.describe()).schema.payloadIndexes).toEqual([]);
    const store = await filled('search_indexed', { ...weakGraph, ...indexed });
    expect(await recallAt10(store, batch, { filter, ...efSearch(64) })).toBeGreaterThan(Math.max(0.8, asIs + 0.3));
    expect((await store.describe()).schema.payloadIndexes).toMatchObject([{ field: 'tenth', type: 'integer' }]);
  });

  test('a payload index made after the graph helps only once the graph is built again', async () => {
    const filter = [{ kind: 'in' as const, field: 'tenth', values: [3] }];
    const store = await filled('search_late', weakGraph);
    await client.createPayloadIndex('search_late', { field_name: 'tenth', field_schema: 'integer', wait: true });
    expect(await recallAt10(store, batch, { filter, ...efSearch(64) })).toBeLessThan(0.5);
    await client.updateCollection('search_late', { hnsw_config: { m: weakGraph.hnsw.m + 1 } });
    await built(store);
    expect(await recallAt10(store, batch, { filter, ...efSearch(64) })).toBeGreaterThan(0.9);
  });

  test('a collection below the full scan threshold heeds no efSearch, for its graph is not searched', async () => {
    const store = await filled('search_scanned', {
      ...weakGraph,
      hnsw: { ...weakGraph.hnsw, fullScanThreshold: 10_000 },
    });
    expect(await recallAt10(store, batch, efSearch(1))).toBe(1);
    expect(await store.tuning('')).toEqual({ current: {}, heeds: {}, isQuantized: false });
  });
});

describe('a collection in strict mode, as on Qdrant Cloud', () => {
  const query = Float32Array.from({ length: 64 }, () => 1);
  const number = [{ kind: 'in' as const, field: 'tenth', values: [3] }];

  test.each(['grpc', 'rest'])(
    'says over %s which index a filter wants and which setting goes too far, as a fault of the question',
    async (transport) => {
      const store = await filled(`search_strict_${transport}`, { ...weakGraph, ...indexed, transport });
      expect((await store.describe()).notes).toEqual([]);
      const limits = { enabled: true, unindexed_filtering_retrieve: false, search_max_hnsw_ef: 200 };
      await client.updateCollection(`search_strict_${transport}`, {
        strict_mode_config: { ...limits, search_max_oversampling: 3, search_allow_exact: false },
      });
      expect((await store.describe()).notes?.join()).toContain('strict mode');
      expect((await store.tuning('')).heeds).toEqual({ efSearch: 200 });
      // A number asked for as a range makes do with the index on integers.
      expect(await store.search({ vector: '', query, k: 3, filter: number })).toHaveLength(3);
      const text = [{ kind: 'in' as const, field: 'other', values: ['x'] }];
      const refused = (message: string) => ({ name: 'InvalidEvent', message: expect.stringContaining(message) });
      const search = (more: object) => store.search({ vector: '', query, k: 3, ...more });
      await expect(search({ filter: text })).rejects.toMatchObject(
        refused('Index required but not found for "other" of one of the following types: [keyword]'),
      );
      await expect(search({ settings: { efSearch: 201 } })).rejects.toMatchObject(refused('"hnsw_ef"'));
      await expect(search({ settings: { oversampling: 4 } })).rejects.toMatchObject(refused('"oversampling"'));
      await expect(search({ exact: true })).rejects.toMatchObject(refused('Exact search disabled'));
    },
  );
});

describe('a collection whose strict mode lets nobody ask for much, or exactly', () => {
  // In requests of so few, 3,000 would take hundreds of them.
  const batch = records(600);

  test.each(['grpc', 'rest'])(
    'is counted by its ids, cut into ranges, read page by page and written over %s in requests as small as it takes',
    async (transport) => {
      const name = `search_guarded_${transport}`;
      await client.deleteCollection(name);
      made.add(name);
      const store = await open(name, { transport });
      await store.prepare(schema);
      await store.write(batch, position);
      const before = await store.describe();
      const limits = { enabled: true, search_allow_exact: false, max_query_limit: 7 };
      await client.updateCollection(name, { strict_mode_config: limits });
      await expect(client.count(name, { exact: true })).rejects.toThrow();
      await expect(client.scroll(name, { limit: 8 })).rejects.toThrow();
      const fresh = await open(name, { transport });
      expect(await fresh.count()).toBe(batch.count);
      const { withoutVector, notes, count, payloadBytes } = await fresh.describe();
      expect([count, payloadBytes, withoutVector]).toEqual([batch.count, before.payloadBytes, undefined]);
      expect(notes?.join()).toContain('search_allow_exact');
      const ids: string[] = [];
      for (const range of await fresh.ranges({ records: 200 })) {
        for await (const piece of fresh.read(range, { maxRecords: 500, maxBytes: 1 << 20 })) {
          expect(piece.batch.count).toBeLessThanOrEqual(7);
          ids.push(...piece.batch.ids);
        }
      }
      expect(ids.toSorted((a, b) => Number(a) - Number(b))).toEqual(batch.ids);
      const strict_mode_config = { upsert_max_batchsize: 9 };
      await client.updateCollection(name, { strict_mode_config });
      const target = await open(name, { transport });
      await target.delete([...batch.ids]);
      expect(await target.count()).toBe(0);
      await target.write(batch, position);
      expect(await target.count()).toBe(batch.count);
      const points = Array.from({ length: 10 }, (_, id) => ({ id, vector: {} }));
      await expect(client.upsert(name, { points })).rejects.toMatchObject({
        data: { status: { error: expect.stringContaining('upsert limit') } },
      });
      // Full by its strict mode: it is no record's fault, so none is named, and no request is halved to find one.
      await client.updateCollection(name, { strict_mode_config: { max_points_count: batch.count } });
      await expect(target.write(batch, position)).rejects.toMatchObject({
        name: 'Incompatible',
        ids: [],
        message: expect.stringMatching(/Max points count limit of \d+ reached!; no record is at fault/),
      });
      // Another refusal of a count is not taken for this one.
      await client.deleteCollection(name);
      await expect(fresh.count()).rejects.toMatchObject({ name: 'NotFound' });
    },
  );
});

describe('search settings', () => {
  const query = Float32Array.of(1, 2);
  const ask = (settings: SearchSettings, exact = false) => searchOf({ vector: 'v', query, k: 5, settings, exact });

  test("are written as Qdrant's own classes read them, and over REST in its words; none are sent where none are given", () => {
    const asked = ask({ efSearch: 300, rescore: false, oversampling: 2.5 }, true);
    const { params } = fromBinary(QueryPointsSchema, encodeSearch('c', asked));
    expect(params).toMatchObject({ hnswEf: 300n, exact: true, quantization: { rescore: false, oversampling: 2.5 } });
    expect(params?.quantization?.ignore).toBeUndefined();
    expect(JSON.parse(encodeRestSearch(asked))).toEqual({
      query: [1, 2],
      limit: 5,
      using: 'v',
      params: { hnsw_ef: 300, exact: true, quantization: { rescore: false, oversampling: 2.5 } },
    });
    const oneOnly = fromBinary(QueryPointsSchema, encodeSearch('c', ask({ rescore: true }))).params;
    expect(oneOnly).toMatchObject({ quantization: { rescore: true } });
    expect([oneOnly?.hnswEf, oneOnly?.exact, oneOnly?.quantization?.oversampling]).toEqual(Array(3).fill(undefined));
    expect(fromBinary(QueryPointsSchema, encodeSearch('c', ask({}))).params).toBeUndefined();
    expect(encodeRestSearch(ask({}))).not.toContain('params');
  });

  test.each([{ probes: 3 }, { iterativeScan: false }, { efSearch: 5, probes: 1 }])(
    '%j is refused by name, since a setting that is not heeded measures nothing',
    async (settings) => {
      const store = await open('search_none');
      const failure = { name: 'InvalidEvent', message: expect.stringMatching(/probes|iterativeScan/) };
      await expect(store.search({ vector: '', query, k: 1, settings })).rejects.toMatchObject(failure);
      await expect(store.keepSearch('', settings)).rejects.toMatchObject(failure);
    },
  );

  test('a collection keeps none, and the application is given the very words', async () => {
    const store = await open('search_none');
    const { kept, how } = await store.keepSearch('', { efSearch: 128 });
    expect({ kept, how }).toEqual({ kept: false, how: expect.stringContaining('"params": {"hnsw_ef": 128}') });
    const rescored = await store.keepSearch('', { efSearch: 64, rescore: true, oversampling: 2.5 });
    expect(rescored.how).toContain('"params": {"hnsw_ef": 64, "quantization": {"rescore": true, "oversampling": 2.5}}');
  });
});

describe('what a search depends on, by the description of the collection', () => {
  const info = (config: Record<string, unknown> = {}, vectors: unknown = {}, indexed = 1_000_000) =>
    infoSchema.parse({
      status: 'green',
      optimizer_status: 'ok',
      points_count: 1_000_000,
      indexed_vectors_count: indexed,
      segments_count: 8,
      config: {
        params: { vectors: { a: { size: 100, distance: 'Cosine', ...Object(vectors) } } },
        hnsw_config: { m: 16, ef_construct: 100, full_scan_threshold: 10_000, payload_m: null },
        optimizer_config: {},
        ...config,
      },
      payload_schema: {},
    });

  test.each([
    ['nothing special', info(), { efSearch: 100 }, { efSearch: 10_000 }],
    ['settings of its own', info({}, { hnsw_config: { ef_construct: 300 } }), { efSearch: 300 }, { efSearch: 10_000 }],
    ['no graph', info({}, { hnsw_config: { m: 0 } }), {}, {}],
    [
      'links within tenants',
      info({}, { hnsw_config: { m: 0, payload_m: 16 } }),
      { efSearch: 100 },
      { efSearch: 10_000 },
    ],
    ['a graph that is not built', info({}, {}, 0), {}, {}],
    ['a limit by strict mode', info(strict(true)), { efSearch: 100 }, { efSearch: 256 }],
    ['strict mode that is off', info(strict(false)), { efSearch: 100 }, { efSearch: 10_000 }],
  ])('%s', (_, described, current, heeds) => {
    expect(tuningOf(described, 'a')).toEqual({ current, heeds, isQuantized: false });
  });

  test.each([
    [{ scalar: { type: 'int8' } }, false],
    [{ product: { compression: 'x8' } }, false],
    [{ binary: {} }, true],
    [{ turbo: {} }, false],
    [{ turbo: { bits: 'bits4' } }, false],
    [{ turbo: { bits: 'bits1_5' } }, true],
  ])('the quantization %j is rescored by default: %s', (quantization_config, rescore) => {
    const expected = {
      current: { efSearch: 100, rescore, oversampling: 1 },
      heeds: { efSearch: 10_000, rescore: true, oversampling: 64 },
      isQuantized: true,
    };
    expect(tuningOf(info({ quantization_config }), 'a')).toEqual(expected);
    // A vector's own wins over the collection's.
    const own = info({ quantization_config: { scalar: { type: 'int8' } } }, { quantization_config });
    expect(tuningOf(own, 'a')).toEqual(expected);
  });

  test('a vector that is not there is a fault of the question', () => {
    expect(() => tuningOf(info(), 'b')).toThrow(expect.objectContaining({ name: 'InvalidEvent', ids: ['b'] }));
  });
});

function strict(enabled: boolean): Record<string, unknown> {
  return { strict_mode_config: { enabled, search_max_hnsw_ef: 256 } };
}
