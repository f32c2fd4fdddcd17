import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { QdrantClient } from '@qdrant/js-client-rest';
import type { VectorSpec } from '../../lib/schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { infoSchema, vectorsOf } from '../../lib/stores/qdrant/settings.ts';
import { encodedVectorsOf, qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { until } from '../until.ts';

const position = { run: 'r', shard: '00000-000', offset: 0 };
const opened: Store[] = [];
let client: QdrantClient;

const open = async (collection: string, options: Record<string, unknown> = {}): Promise<Store> => {
  const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const store = await qdrant.open({ connection, collection, options });
  opened.push(store);
  return store;
};

beforeAll(async () => {
  client = new QdrantClient({ url: await qdrantUrl(), checkCompatibility: false });
});
afterAll(async () => {
  await Promise.all(opened.map((store) => store.close()));
});

describe('settings', () => {
  const vectors: VectorSpec[] = [
    {
      name: 'title',
      kind: 'dense',
      dimension: 8,
      distance: 'euclid',
      precision: 'float16',
      index: { kind: 'hnsw', m: 24, efConstruction: 80 },
    },
    { name: 'plain', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32', index: { kind: 'none' } },
    {
      name: 'late',
      kind: 'multi',
      dimension: 4,
      distance: 'cosine',
      precision: 'float32',
      index: { kind: 'hnsw', m: 16, efConstruction: 100 },
    },
    { name: 'terms', kind: 'sparse', distance: 'dot', precision: 'float32' },
  ];
  const schema = makeSchema({
    store: 'qdrant',
    vectors,
    payloadIndexes: [
      { field: 'rank', type: 'integer', native: { type: 'integer', lookup: false, range: true } },
      { field: 'title', type: 'keyword' },
    ],
    native: {
      params: { shard_number: 2, on_disk_payload: true },
      vectors: { title: { on_disk: true }, late: { multivector_config: { comparator: 'max_sim' } } },
      sparse_vectors: { terms: { modifier: 'idf' } },
      hnsw_config: { m: 16, ef_construct: 100, full_scan_threshold: 5000 },
      optimizers_config: { deleted_threshold: 0.3, indexing_threshold: 7000 },
      quantization_config: { scalar: { type: 'int8', quantile: 0.99, always_ram: true } },
      metadata: { team: 'search', since: 2024 },
    },
  });

  test('name a datatype that no release of ours knows, and are read all the same: a server is newer than its tools', () => {
    const named = {
      a: { size: 4, distance: 'Dot', datatype: 'turbo4' },
      b: { size: 4, distance: 'Dot', datatype: 'uint8' },
    };
    const info = infoSchema.parse({
      status: 'green',
      optimizer_status: 'ok',
      segments_count: 1,
      config: { params: { vectors: named }, hnsw_config: { m: 16 }, optimizer_config: {} },
      payload_schema: {},
    });
    expect(encodedVectorsOf(info)).toEqual(["'a' is turbo4"]);
    expect(vectorsOf(info).map(({ name, precision }) => [name, precision])).toEqual([
      ['a', 'float32'],
      ['b', 'uint8'],
    ]);
  });

  test('that creating a collection does not take, or a load goes without, are given once the load is over', async () => {
    await client.deleteCollection('s_settings_late');
    const params = { replication_factor: 1, read_fan_out_factor: 2, read_fan_out_delay_ms: 50 };
    const optimizers = { prevent_unoptimized: true, indexing_threshold: 6000 };
    const late = makeSchema({ store: 'qdrant', native: { params, optimizers_config: optimizers } });
    const store = await open('s_settings_late');
    await store.prepare(late);
    const loading = (await client.getCollection('s_settings_late')).config;
    expect(loading.optimizer_config).toMatchObject({ indexing_threshold: 0, prevent_unoptimized: null });
    await store.buildIndex(late);
    expect((await client.getCollection('s_settings_late')).config).toMatchObject({
      params,
      optimizer_config: optimizers,
    });
  });

  test('of a Qdrant collection make the same collection again', async () => {
    await client.deleteCollection('s_settings_a');
    await client.deleteCollection('s_settings_b');
    const first = await open('s_settings_a');
    await first.prepare(schema);
    expect((await client.getCollection('s_settings_a')).config.optimizer_config.indexing_threshold).toBe(0);
    expect(await first.indexProgress(schema)).toMatchObject({ done: false, detail: expect.stringContaining('is off') });
    await first.buildIndex(schema);
    await first.buildIndex(schema);
    const described = (await first.describe()).schema;
    expect(described.vectors).toEqual(expect.arrayContaining(vectors.map((spec) => expect.objectContaining(spec))));
    expect(described.native).toMatchObject({
      optimizers_config: { indexing_threshold: 7000, deleted_threshold: 0.3 },
      metadata: { team: 'search', since: 2024 },
    });
    expect(described.payloadIndexes.map(({ field }) => field)).toEqual(['rank', 'title']);
    const second = await open('s_settings_b');
    await second.prepare(described);
    await second.buildIndex(described);
    expect((await second.describe()).schema).toEqual(described);
  });

  test('in the options win over those of the source', async () => {
    await client.deleteCollection('s_options');
    const store = await open('s_options', {
      hnsw: { m: 48, efConstruction: 256, vectors: { late: { m: 4 } } },
      optimizers: { indexingThreshold: 1234 },
      quantization: null,
      onDisk: true,
      payloadIndexes: { rank: null, lang: 'keyword', at: { type: 'datetime' } },
    });
    await store.prepare(schema);
    await store.buildIndex(schema);
    const { config, payload_schema } = await client.getCollection('s_options');
    expect(config).toMatchObject({
      hnsw_config: { m: 48, ef_construct: 256 },
      optimizer_config: { indexing_threshold: 1234 },
    });
    expect(config.quantization_config ?? null).toBeNull();
    expect(config.params.vectors).toMatchObject({
      title: { on_disk: true },
      late: { on_disk: true, hnsw_config: { m: 4 } },
    });
    expect(Object.keys(payload_schema).sort()).toEqual(['at', 'lang', 'title']);
  });

  test.each([
    [{ hnws: {} }, 'hnws'],
    [{ hnsw: { m: -1 } }, 'hnsw.m'],
    [{ transport: 'http' }, 'transport'],
  ])('%j in the options is refused by name', async (options, field) => {
    await expect(open('s_none', options)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining(field),
    });
  });

  test('a collection with other vectors is refused with each difference', async () => {
    await client.deleteCollection('s_other');
    const store = await open('s_other');
    await store.prepare(makeSchema({ store: 'qdrant' }));
    const [only] = makeSchema().vectors;
    const other = [
      { ...only!, dimension: 5, distance: 'dot' as const },
      { ...only!, name: 'second' },
    ];
    const failure = {
      name: 'Incompatible',
      message: expect.stringMatching(/dimension 4 instead of 5.*distance cosine instead of dot.*'second' is wanted/),
    };
    await expect(store.prepare(makeSchema({ store: 'qdrant', vectors: other }))).rejects.toMatchObject(failure);
  });

  test('a collection that the run did not make keeps its settings, since an application uses it', async () => {
    await client.deleteCollection('s_theirs');
    await client.createCollection('s_theirs', {
      vectors: { size: 4, distance: 'Dot' },
      optimizers_config: { indexing_threshold: 555 },
    });
    const store = await open('s_theirs');
    const shape = makeSchema({
      store: 'qdrant',
      vectors: [{ name: '', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32' }],
    });
    await store.prepare(shape);
    await store.buildIndex(shape);
    expect((await client.getCollection('s_theirs')).config.optimizer_config.indexing_threshold).toBe(555);
  });

  test('a graph is built once there is enough to index, and progress tells when', async () => {
    await client.deleteCollection('s_graph');
    const shape = makeSchema({
      store: 'qdrant',
      vectors: [{ name: '', kind: 'dense', dimension: 64, distance: 'dot', precision: 'float32' }],
    });
    const store = await open('s_graph', { optimizers: { indexingThreshold: 100 } });
    await store.prepare(shape);
    const ids = Array.from({ length: 3000 }, (_, at) => String(at));
    await store.write(makeBatch({ ids, vectors: shape.vectors }), { position, mode: 'upsert' });
    expect((await client.getCollection('s_graph')).indexed_vectors_count).toBe(0);
    await store.buildIndex(shape);
    await until(async () => (await store.indexProgress(shape)).done, 'the graph');
    expect(await store.indexProgress(shape)).toMatchObject({ done: true, fraction: 1 });
    expect((await client.getCollection('s_graph')).indexed_vectors_count).toBeGreaterThan(0);
  });

  test('an optimizer that is off is not waited for, and is not taken over from a source that was being loaded', async () => {
    await client.deleteCollection('s_off');
    const off = { max_optimization_threads: 0 };
    // Above its threshold and without a graph, as it stays with the optimizer off.
    const config = { ...off, indexing_threshold: 0 };
    await client.createCollection('s_off', { vectors: { size: 4, distance: 'Dot' }, optimizers_config: config });
    const store = await open('s_off');
    expect(await store.indexProgress(makeSchema())).toMatchObject({
      done: true,
      detail: expect.stringContaining('optimizer is off'),
    });
    const { schema: found } = await store.describe();
    await client.deleteCollection('s_on');
    await (await open('s_on')).prepare(found);
    const { config: made } = await client.getCollection('s_on');
    expect(made.optimizer_config.max_optimization_threads).not.toBe(0);
  });

  test('a collection too small for a graph is done without one, and says so', async () => {
    await client.deleteCollection('s_small');
    const shape = makeSchema({ store: 'qdrant' });
    const store = await open('s_small');
    await store.prepare(shape);
    await store.write(makeBatch({ vectors: shape.vectors }), { position, mode: 'upsert' });
    await store.buildIndex(shape);
    expect(await store.indexProgress(shape)).toMatchObject({
      done: true,
      detail: expect.stringContaining('without a graph'),
    });
  });
});
