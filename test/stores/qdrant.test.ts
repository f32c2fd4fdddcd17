import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { QdrantClient } from '@qdrant/js-client-rest';
import { type Batch, column, hasVector } from '../../lib/batch.ts';
import type { CollectionSchema, VectorSpec } from '../../lib/schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { openAdmin } from '../../lib/stores/qdrant/admin.ts';
import { compareIds } from '../../lib/stores/qdrant/ids.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { type RunningServer, startServer } from '../servers/start.ts';
import { frontGrpcUrl, frontUrl, qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { storeContract } from './contract.ts';

const position = { run: 'r', shard: '00000-000', offset: 0 };
const opened: Store[] = [];
let client: QdrantClient;

const open = async (collection: string, options: Record<string, unknown> = {}): Promise<Store> => {
  const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const store = await qdrant.open({ connection, collection, options });
  opened.push(store);
  return store;
};

/** For tests that make the server fail: ours does when asked, a real one does not. */
const openFront = async (collection: string, options: Record<string, unknown> = {}): Promise<Store> => {
  const connection = { url: await frontUrl(), grpcUrl: await frontGrpcUrl() };
  const front = new QdrantClient({ url: connection.url, checkCompatibility: false });
  await front.deleteCollection(collection);
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

describe.each(['grpc', 'rest'])('over %s', (transport) => {
  beforeAll(async () => {
    const { collections } = await client.getCollections();
    const ours = collections.filter(({ name }) => /^(contract|q)_/.test(name));
    for (const { name } of ours) await client.deleteCollection(name);
  });

  storeContract(`qdrant over ${transport}`, (collection) => open(collection, { transport }), {
    kind: qdrant,
    readsInKeyOrder: true,
    // Its JSON path has no escape for these.
    refuses: ({ field }) => /["\\]/.test(field),
  });

  const vector: VectorSpec = { name: '', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32' };
  const schema = makeSchema({ store: 'qdrant', vectors: [vector] });
  const filled = async (
    collection: string,
    batch: Batch,
    shape: CollectionSchema = schema,
    place: typeof open = open,
  ): Promise<Store> => {
    const store = await place(collection, { transport });
    await store.prepare(shape);
    await store.write(batch, { position, mode: 'upsert' });
    return store;
  };

  test('integers and UUIDs side by side are mixed, and ranges cover both in the order of a scroll', async () => {
    const uuids = Array.from(
      { length: 40 },
      (_, at) => `${(at * 6).toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
    );
    const ids = ['0', '9', '10', '9007199254740993', '9007199254740992', '18446744073709551615', ...uuids];
    const batch = makeBatch({ ids, vectors: [vector] });
    const store = await filled('q_mixed', batch);
    const described = await store.describe();
    expect(described.schema.idType).toBe('mixed');
    expect(described.count).toBe(46);
    const read: string[] = [];
    const ranges = await store.ranges({ records: 5 });
    expect(ranges.length).toBeGreaterThanOrEqual(9);
    for (const range of ranges) {
      const before = read.length;
      for await (const { batch: piece } of store.read(range, { maxRecords: 3, maxBytes: 1 << 20 }))
        read.push(...piece.ids);
      expect(read.length - before).toBeLessThanOrEqual(6);
    }
    expect(read).toEqual([...ids].sort(compareIds));
    const found = await store.fetch(['9007199254740993', uuids[3] ?? '', '18446744073709551615', '11']);
    expect([...found.ids].sort(compareIds)).toEqual(['9007199254740993', '18446744073709551615', uuids[3]]);
  });

  test('a range ends before its end, also where that is no record, and after the last integer', async () => {
    const ids = ['1', '5', '7', '00000000-0000-4000-8000-000000000001'];
    const store = await filled('q_ends', makeBatch({ ids, vectors: [vector] }));
    const read = async (from: string | null, to: string | null): Promise<string[]> => {
      const all: string[] = [];
      for await (const { batch } of store.read({ from, to }, { maxRecords: 10, maxBytes: 1000 }))
        all.push(...batch.ids);
      return all;
    };
    expect(await read('1', '7')).toEqual(['1', '5']);
    expect(await read('2', '6')).toEqual(['5']);
    expect(await read('6', '00000000-0000-0000-0000-000000000000')).toEqual(['7']);
    expect(await read('8', null)).toEqual(ids.slice(3));
    expect(await read('2', '5')).toEqual([]);
  });

  test('integers between 2^63 and 2^64 and deep nesting keep their value, which gRPC alone would not', async () => {
    const deep = `{"a":${'[{"b":'.repeat(25)}1${'}]'.repeat(25)}}`;
    const payloads = ['{"n":18446744073709551615,"x":1.5}', '{"n":9223372036854775807}', deep, '{"x":9.3e18}'];
    const store = await filled('q_wide', makeBatch({ ids: ['1', '2', '3', '4'], vectors: [vector], payloads }));
    const back: string[] = [];
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1 << 20 }))
      back.push(...batch.payloads);
    expect(back.map(canonicalJson)).toEqual(payloads.map(canonicalJson));
    expect(canonicalJson((await store.fetch(['1'])).payloads[0] ?? '')).toBe(canonicalJson(payloads[0] ?? ''));
  });

  test('records that lack a vector are counted by name', async () => {
    const vectors: VectorSpec[] = [
      { name: 'a', kind: 'dense', dimension: 2, distance: 'cosine', precision: 'float32' },
      { name: 'b', kind: 'sparse', distance: 'dot', precision: 'float32' },
    ];
    const ids = ['1', '2', '3', '4', '5'];
    const batch = makeBatch({ ids, vectors, missing: [1, 3] });
    const whole = makeBatch({ ids, vectors });
    const both: Batch = {
      ...batch,
      vectors: new Map([
        ['a', column(batch, 'a')],
        ['b', column(whole, 'b')],
      ]),
    };
    const store = await filled('q_missing', both, makeSchema({ store: 'qdrant', vectors }));
    expect((await store.describe()).withoutVector).toEqual({ a: 2 });
    const found = await store.fetch(ids);
    for (const [at, id] of found.ids.entries())
      expect(hasVector(column(found, 'a'), at)).toBe(id !== '2' && id !== '4');
  });

  test('an unnamed vector beside a named sparse one is written and read under its empty name', async () => {
    const vectors: VectorSpec[] = [vector, { name: 'terms', kind: 'sparse', distance: 'dot', precision: 'float32' }];
    const batch = makeBatch({ vectors });
    const store = await filled('q_unnamed', batch, makeSchema({ store: 'qdrant', vectors }));
    const found = await store.fetch(batch.ids);
    for (const name of ['', 'terms'])
      expect([...column(found, name).values].sort()).toEqual([...column(batch, name).values].sort());
  });

  test('two that prepare the same collection at once both go on', async () => {
    const [first, second] = [await open('q_race', { transport }), await open('q_race', { transport })];
    await Promise.all([first.prepare(schema), second.prepare(schema), first.prepare(schema)]);
    expect(await second.count()).toBe(0);
  });

  test('a record at fault is named, and the others of its batch are written', async () => {
    const terms: VectorSpec = { name: 'terms', kind: 'sparse', distance: 'dot', precision: 'float32' };
    const ids = Array.from({ length: 50 }, (_, at) => String(at));
    const batch = makeBatch({ ids, vectors: [terms] });
    const sparse = column(batch, 'terms');
    if (sparse.kind !== 'sparse') throw new Error('terms is sparse');
    // Record 20 has its first index twice: 3 indices a record, at positions 2, 5, 8 ...
    sparse.indices[(sparse.offsets[20] ?? 0) + 1] = sparse.indices[sparse.offsets[20] ?? 0] ?? 0;
    const store = await open('q_poison', { transport });
    await store.prepare(makeSchema({ store: 'qdrant', vectors: [terms] }));
    await expect(store.write(batch, { position, mode: 'upsert' })).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['20'],
      message: expect.stringContaining('must be unique'),
    });
    expect(await store.count()).toBe(49);
  });

  test('NaN and infinity are refused by name, since they would spoil the index', async () => {
    const batch = makeBatch({ vectors: [vector] });
    column(batch, '').values[5] = Number.NaN;
    const store = await open('q_nan', { transport });
    await store.prepare(schema);
    await expect(store.write(batch, { position, mode: 'upsert' })).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['2'],
    });
    column(batch, '').values[5] = Number.POSITIVE_INFINITY;
    await expect(store.write(batch, { position, mode: 'upsert' })).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['2'],
    });
  });

  test.each([
    [429, 'Throttled', { retryAfterMs: 3000 }],
    [503, 'Throttled', { retryAfterMs: 3000 }],
    [500, 'StoreUnavailable', {}],
    [403, 'AccessDenied', {}],
  ])('an answer of %i to an upsert is %s, and the same write passes later', async (status, name, details) => {
    const collection = `q_fault_${status}`;
    const store = await filled(collection, makeBatch({ vectors: [vector] }), schema, openFront);
    const retryAfter = status === 429 || status === 503 ? { retryAfter: 3 } : {};
    await fault({ status, times: 1, path: collection, protocol: transport, ...retryAfter });
    await expect(
      store.write(makeBatch({ ids: ['1'], vectors: [vector] }), { position, mode: 'upsert' }),
    ).rejects.toMatchObject({
      name,
      ...details,
    });
    await expect(store.write(makeBatch({ vectors: [vector] }), { position, mode: 'upsert' })).resolves.toEqual({
      written: 3,
    });
  });

  test('a fault while reading is told, and not taken for the end of the range', async () => {
    const store = await filled(
      'q_fault_read',
      makeBatch({ ids: Array.from({ length: 100 }, (_, at) => String(at)), vectors: [vector] }),
      schema,
      openFront,
    );
    const read = async (): Promise<number> => {
      let count = 0;
      for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1 << 20 })) {
        if (count === 0) await fault({ status: 503, times: 1, path: 'q_fault_read', protocol: transport });
        count += batch.count;
      }
      return count;
    };
    await expect(read()).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });

  test('a search with a vector name that is not there is a fault of the question', async () => {
    const store = await filled('q_search', makeBatch({ vectors: [vector] }));
    const query = Float32Array.of(1, 0, 0, 0);
    await expect(store.search({ vector: 'nope', query, k: 1 })).rejects.toMatchObject({ name: 'InvalidEvent' });
  });
});

describe('the connection', () => {
  test('auto takes gRPC where it answers', async () => {
    const shape = makeSchema({ store: 'qdrant' });
    const store = await openFront('q_auto_grpc');
    await store.prepare(shape);
    await fault({ status: 500, times: 1, path: 'q_auto_grpc', protocol: 'grpc' });
    await expect(store.write(makeBatch({ vectors: shape.vectors }), { position, mode: 'upsert' })).rejects.toThrow(
      'Upsert of q_auto_grpc',
    );
    expect((await store.describe()).notes).toEqual([]);
  });

  test('a record that is too large for a gRPC message goes over REST, which takes more', async () => {
    const shape = makeSchema({ store: 'qdrant' });
    const store = await openFront('q_large', { transport: 'grpc' });
    await store.prepare(shape);
    const text = 'CLIENT: Received message larger than max (5000000 vs. 4194304)';
    await fault({ status: 429, times: 6, path: 'Upsert q_large', protocol: 'grpc', text });
    const batch = makeBatch({ ids: ['1'], vectors: shape.vectors });
    await expect(store.write(batch, { position, mode: 'upsert' })).resolves.toEqual({ written: 1 });
    expect(await store.count()).toBe(1);
    const left = await (await fetch(`${await frontUrl()}/_test/faults`)).text();
    expect(left).not.toContain('q_large');
  });

  test('auto takes REST where gRPC does not answer, and says so, since it is slower', async () => {
    const url = await qdrantUrl();
    await client.deleteCollection('q_auto');
    await (await open('q_auto')).prepare(makeSchema({ store: 'qdrant' }));
    // The REST port itself: something listens there, and it is not gRPC.
    const store = await qdrant.open({ connection: { url, grpcUrl: url }, collection: 'q_auto', options: {} });
    opened.push(store);
    await store.write(makeBatch({ vectors: makeSchema().vectors }), { position, mode: 'upsert' });
    const { notes = [], count } = await store.describe();
    expect(count).toBe(3);
    expect(notes.join()).toContain('over REST');
    expect((await store.indexProgress(makeSchema())).detail).toContain('over REST');
  });

  test('a server that is not there is StoreUnavailable, with its address', async () => {
    const store = await qdrant.open({ connection: { url: 'http://127.0.0.1:9' }, collection: 'c', options: {} });
    const gone = { name: 'StoreUnavailable', message: expect.stringContaining('127.0.0.1:9') };
    await expect(store.describe()).rejects.toMatchObject(gone);
    await expect(store.fetch(['1'])).rejects.toMatchObject(gone);
    await store.close();
  });

  test.each([
    [{}],
    [{ url: 'localhost:6333' }],
    [{ url: 'http://h', grpcUrl: 'h:6334' }],
    [{ path: '/tmp/x' }],
    [{ url: 'http://u:p@h:6333' }],
  ])('the connection %j is refused', async (connection) => {
    await expect(qdrant.open({ connection, collection: 'c', options: {} })).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
  });

  test('an alias that is named like a collection is refused in our words', async () => {
    const store = await open('q_auto');
    await client.deleteCollection('q_alias_target');
    await client.createCollection('q_alias_target', { vectors: { size: 4, distance: 'Dot' } });
    await expect(store.pointer?.move('q_auto', 'q_alias_target')).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('name of a collection'),
    });
  });

  test('an alias stays where it is when it cannot be moved: Qdrant keeps the actions before one that it refuses', async () => {
    const aliases = ['q_alias_of_readers', 'q_alias_of_others'];
    const admin = openAdmin(await qdrantUrl(), undefined, 'q_alias_target');
    await client.deleteCollection('q_alias_target');
    await client.createCollection('q_alias_target', { vectors: { size: 4, distance: 'Dot' } });
    await admin.moveAliases(aliases.map((alias) => ({ alias, to: 'q_alias_target' })));
    const moves = aliases.map((alias) => ({ alias, to: 'q_alias_nowhere' }));
    await expect(admin.moveAliases(moves)).rejects.toMatchObject({ name: 'NotFound' });
    for (const alias of aliases) expect(await admin.pointer.read(alias)).toBe('q_alias_target');
    await admin.moveAliases(aliases.map((alias) => ({ alias, to: undefined })));
    expect(await admin.pointer.read('q_alias_of_readers')).toBeUndefined();
  });

  describe('with an API key', () => {
    let server: RunningServer;
    const openWith = (apiKey: string | undefined, transport: string) => {
      const { QDRANT_URL: url = '', QDRANT_GRPC_URL: grpcUrl = '' } = server.addresses;
      const connection = { url, grpcUrl, ...(apiKey === undefined ? {} : { apiKey }) };
      return qdrant.open({ connection, collection: 'keyed', options: { transport } });
    };
    beforeAll(async () => {
      server = await startServer('qdrant', { apiKey: 'right' });
    });
    afterAll(() => server.stop());

    test.each(['grpc', 'rest', 'auto'])(
      'the right one opens, a wrong one or none is AccessDenied, over %s',
      async (transport) => {
        const shape = makeSchema({ store: 'qdrant' });
        const store = await openWith('right', transport);
        await store.prepare(shape);
        await store.write(makeBatch({ vectors: shape.vectors }), { position, mode: 'upsert' });
        expect((await store.fetch(['1', '2'])).count).toBe(2);
        await store.close();
        for (const key of ['wrong', undefined]) {
          const shut = await openWith(key, transport);
          await expect(shut.fetch(['1'])).rejects.toMatchObject({ name: 'AccessDenied' });
          await expect(shut.count()).rejects.toMatchObject({ name: 'AccessDenied' });
          await shut.close();
        }
      },
    );
  });
});

/** Asks the test server to fail; only our own front knows this path. */
async function fault(wanted: Record<string, unknown>): Promise<void> {
  const answer = await fetch(`${await frontUrl()}/_test/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(wanted),
  });
  if (!answer.ok) throw new Error(`the test server took no fault: ${await answer.text()}`);
}
