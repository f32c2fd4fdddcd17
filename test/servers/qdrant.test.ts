/** What the recording does not cover: gRPC, indexing, 64-bit numbers, faults. The client is Qdrant's own. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ConnectError, QdrantClient } from '@qdrant/js-client-grpc';
import { until } from '../until.ts';
import { failQdrant, pendingFaults } from './faults.ts';
import { type RunningServer, startServer } from './start.ts';
import { frontGrpcUrl, frontUrl } from './urls.ts';

const collection = 'servers-test';
const dimension = 32;
let rest: string;
let grpc: QdrantClient;

beforeAll(async () => {
  rest = await frontUrl();
  grpc = new QdrantClient({ url: await frontGrpcUrl(), checkCompatibility: false });
  await ask('DELETE', '');
  const vectors = { size: dimension, distance: 'Cosine' };
  await ask('PUT', '', { vectors, sparse_vectors: { words: {} }, optimizers_config: { indexing_threshold: 0 } });
});

afterAll(async () => {
  await ask('DELETE', '');
});

async function ask(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; text: string; headers: Headers }> {
  const answer = await fetch(`${rest}/collections/${collection}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
}

function dense(seed: number): number[] {
  return Array.from({ length: dimension }, (_, at) => Math.sin(seed * 7 + at * (1 + (seed % 5))));
}

function grpcPoint(id: bigint, payload: Record<string, { integerValue: bigint }> = {}) {
  return {
    id: { pointIdOptions: { case: 'num' as const, value: id } },
    payload: Object.fromEntries(
      Object.entries(payload).map(([key, value]) => [
        key,
        { kind: { case: 'integerValue' as const, value: value.integerValue } },
      ]),
    ),
    vectors: {
      vectorsOptions: {
        case: 'vector' as const,
        value: { vector: { case: 'dense' as const, value: { data: dense(Number(id % 1000n)) } } },
      },
    },
  };
}

async function failure(call: Promise<unknown>): Promise<{ code: number; message: string }> {
  try {
    await call;
  } catch (error) {
    const { code, rawMessage } = error as ConnectError;
    return { code, message: rawMessage };
  }
  throw new Error('the call did not fail');
}

describe('numbers keep 64 bits, because ids and payloads of other stores use them', () => {
  test('over REST an unsigned 64-bit id and integers above 2^53 come back digit for digit', async () => {
    const point = `{"id":18446744073709551615,"vector":[${dense(1)}],"payload":{"big":9007199254740993,"small":-9223372036854775808,"high":18446744073709551615,"price":1.0}}`;
    expect((await ask('PUT', '/points?wait=true', `{"points":[${point}]}`)).status).toBe(200);
    const answer = await ask('POST', '/points', '{"ids":[18446744073709551615],"with_payload":true}');
    expect(answer.text).toContain('"id":18446744073709551615');
    expect(answer.text).toContain(
      '{"big":9007199254740993,"small":-9223372036854775808,"high":18446744073709551615,"price":1.0}',
    );
  });

  test('over gRPC too', async () => {
    const id = 2n ** 63n + 5n;
    const wait = true;
    await grpc
      .api('points')
      .upsert({ collectionName: collection, wait, points: [grpcPoint(id, { n: { integerValue: 2n ** 62n + 1n } })] });
    const ids = [{ pointIdOptions: { case: 'num' as const, value: id } }];
    const all = { selectorOptions: { case: 'enable' as const, value: true } };
    const answer = await grpc
      .api('points')
      .get({ collectionName: collection, ids, withPayload: all, withVectors: all });
    expect(answer.result[0]?.id?.pointIdOptions.value).toBe(id);
    expect(answer.result[0]?.payload['n']?.kind.value).toBe(2n ** 62n + 1n);
    const vectors = answer.result[0]?.vectors?.vectorsOptions;
    const vector = vectors?.case === 'vector' ? vectors.value.vector : undefined;
    const data = vector?.case === 'dense' ? vector.value.data : [];
    expect(Math.hypot(...data)).toBeCloseTo(1, 6);
  });
});

describe('writes', () => {
  test('insert_only over gRPC keeps what is there, as live runs need', async () => {
    const points = [grpcPoint(7n, { n: { integerValue: 1n } })];
    await grpc.api('points').upsert({ collectionName: collection, wait: true, points });
    const late = [grpcPoint(7n, { n: { integerValue: 2n } }), grpcPoint(8n, { n: { integerValue: 2n } })];
    await grpc.api('points').upsert({ collectionName: collection, wait: true, points: late, updateMode: 1 });
    const answer = await ask('POST', '/points', { ids: [7, 8], with_payload: true });
    const found: { id: number; payload: { n: number } }[] = JSON.parse(answer.text).result;
    expect(Object.fromEntries(found.map((each) => [each.id, each.payload.n]))).toEqual({ 7: 1, 8: 2 });
  });

  test('without wait a refusal goes unseen, so an adapter has to wait', async () => {
    const points = [{ id: 9, vector: { strange: [1, 2] } }];
    expect(JSON.parse((await ask('PUT', '/points', { points })).text).result.status).toBe('acknowledged');
    expect((await ask('PUT', '/points?wait=true', { points })).status).toBe(400);
  });

  test.each([
    [
      'a missing collection',
      { collectionName: 'no-such', points: [grpcPoint(1n)] },
      5,
      "Not found: Collection `no-such` doesn't exist!",
    ],
    ['no points', { collectionName: collection, points: [] }, 3, 'Bad request: Empty update request'],
    [
      'no id',
      { collectionName: collection, points: [{ ...grpcPoint(1n), id: undefined }] },
      3,
      'Empty ID is not allowed',
    ],
  ])('gRPC refuses %s', async (_, request, code, message) => {
    expect(await failure(grpc.api('points').upsert({ wait: true, ...request } as never))).toEqual({ code, message });
  });

  test.each([
    ['a boolean in a vector', { id: 1, vector: [true, ...dense(1).slice(1)] }],
    ['text in a vector', { id: 1, vector: ['1', ...dense(1).slice(1)] }],
    ['a missing vector', { id: 1 }],
    ['a missing id', { vector: dense(1) }],
    ['a fraction as id', { id: 1.5, vector: dense(1) }],
    ['a payload that is a list', { id: 1, vector: dense(1), payload: [1] }],
    ['a UUID with a digit too few', { id: '00000000-0000-4000-8000-00000000000', vector: dense(1) }],
  ])('REST refuses %s, as serde does', async (_, point) => {
    const answer = await ask('PUT', '/points?wait=true', { points: [point] });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('Format error in JSON body');
  });
});

test('the index is built once the threshold is switched on: yellow, then green with all vectors indexed', async () => {
  const count = 600;
  const points = Array.from({ length: count }, (_, at) => ({ id: 1000 + at, vector: dense(at) }));
  await ask('PUT', '/points?wait=true', { points });
  const info = async () => JSON.parse((await ask('GET', '')).text).result;
  expect(await info()).toMatchObject({ status: 'green', indexed_vectors_count: 0 });
  await ask('PATCH', '', { optimizers_config: { indexing_threshold: 10 }, hnsw_config: { m: 8 } });
  expect(await info()).toMatchObject({ status: 'yellow' });
  await until(async () => (await info()).status === 'green', 'the graph');
  const after = await info();
  expect(after.status).toBe('green');
  expect(after.indexed_vectors_count).toBeGreaterThanOrEqual(count);
  expect(after.config.hnsw_config.m).toBe(8);
  const query = { query: dense(5), limit: 1, with_vector: false };
  expect(JSON.parse((await ask('POST', '/points/query', query)).text).result.points).toHaveLength(1);
  expect((await ask('PUT', '/points?wait=true', { points: points.slice(0, 3) })).status).toBe(200);
});

test('reads and updates are refused as the real server words it, over either protocol', async () => {
  const scroll = grpc.api('points').scroll({ collectionName: collection, limit: 0 });
  expect((await failure(scroll)).message).toBe(
    'Validation error in body: [limit: value 0 invalid, must be 1 or larger]',
  );
  const nobody = await ask('POST', '/points/delete?wait=true', { points: [] });
  expect([nobody.status, JSON.parse(nobody.text).status.error]).toEqual([400, 'Bad request: Empty update request']);
  expect((await ask('POST', '/points/count', '[]')).status).toBe(400);
  expect((await ask('POST', '/points/scroll', { filter: { must: [{ key: 'a', equals: 1 }] } })).status).toBe(400);
  expect((await ask('POST', '/points/scroll', { filter: { shall: [] } })).status).toBe(400);
});

describe('faults', () => {
  test('REST answers 429 with Retry-After as often as asked, then works again', async () => {
    await failQdrant({
      status: 429,
      times: 2,
      retryAfter: 1,
      path: `GET /collections/${collection}`,
      protocol: 'rest',
    });
    const first = await ask('GET', '');
    expect([first.status, first.headers.get('retry-after')]).toEqual([429, '1']);
    expect((await ask('GET', '')).status).toBe(429);
    expect((await ask('GET', '')).status).toBe(200);
    expect((await pendingFaults()).filter((fault) => fault.path?.includes(collection))).toEqual([]);
  });

  test('gRPC answers RESOURCE_EXHAUSTED and UNAVAILABLE, and writes nothing', async () => {
    await failQdrant({ status: 429, times: 1, path: `Points/Upsert ${collection}` });
    await failQdrant({ status: 503, times: 1, path: `Points/Upsert ${collection}` });
    const upsert = () =>
      grpc.api('points').upsert({ collectionName: collection, wait: true, points: [grpcPoint(77n)] });
    expect((await failure(upsert())).code).toBe(8);
    expect((await failure(upsert())).code).toBe(14);
    expect((await ask('GET', '/points/77')).status).toBe(404);
    await upsert();
    expect((await ask('GET', '/points/77')).status).toBe(200);
  });
});

test('a collection loaded with m 0 gets its graph when m is switched on, as bulk loads do', async () => {
  const name = `${collection}-late`;
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${rest}/collections/${name}${path}`, { method, body: JSON.stringify(body) });
    return await answer.json();
  };
  await call('DELETE', '');
  const quantization = { scalar: { type: 'int8', quantile: 0.99, always_ram: true } };
  const vectors = { size: dimension, distance: 'Dot', quantization_config: quantization };
  await call('PUT', '', { vectors, hnsw_config: { m: 0 }, optimizers_config: { indexing_threshold: 10 } });
  const points = Array.from({ length: 500 }, (_, at) => ({ id: at, vector: dense(at) }));
  await call('PUT', '/points?wait=true', { points });
  const settled = async () => {
    let info = (await call('GET', '')).result;
    await until(async () => {
      info = (await call('GET', '')).result;
      return info.status === 'green';
    }, 'the graph');
    return info;
  };
  await settled();
  await call('PATCH', '', { hnsw_config: { m: 16 } });
  const info = await settled();
  expect(info).toMatchObject({ status: 'green', indexed_vectors_count: 500, points_count: 500 });
  expect(info.config.hnsw_config.m).toBe(16);
  expect(info.config.params.vectors.quantization_config).toEqual(quantization);
  const found = await call('POST', '/points/query', { query: dense(3), limit: 1 });
  expect(found.result.points).toHaveLength(1);
  await call('DELETE', '');
});

test('quantization that is switched off is gone from what is searched too, not from the settings alone', async () => {
  const quantized = `${collection}-quantized`;
  const url = `${rest}/collections/${quantized}`;
  const send = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return (await answer.json()).result;
  };
  const rested = async (): Promise<void> => {
    for (let looks = 0; looks < 3; looks = (await send('GET', '')).status === 'green' ? looks + 1 : 0)
      await new Promise((resolve) => setTimeout(resolve, 300));
  };
  const nearest = async (): Promise<number[]> => {
    const { points } = await send('POST', '/points/query', { query: dense(3.5), limit: 20, params: { hnsw_ef: 256 } });
    return points.map(({ id }: { id: number }) => id);
  };
  await send('DELETE', '');
  try {
    await send('PUT', '', {
      vectors: { size: dimension, distance: 'Euclid' },
      hnsw_config: { full_scan_threshold: 10 },
      optimizers_config: { indexing_threshold: 10, default_segment_number: 1 },
    });
    const points = Array.from({ length: 2000 }, (_, id) => ({ id, vector: dense(id * 0.37) }));
    await send('PUT', '/points?wait=true', { points });
    await rested();
    const plain = await nearest();
    await send('PATCH', '', { quantization_config: { product: { compression: 'x64' } } });
    await rested();
    expect(await nearest()).not.toEqual(plain);
    await send('PATCH', '', { quantization_config: 'Disabled' });
    await rested();
    expect(await nearest()).toEqual(plain);
  } finally {
    await send('DELETE', '');
  }
});

test('named, sparse and multi vectors created and written over gRPC come back as they went in', async () => {
  const name = `${collection}-kinds`;
  const collections = grpc.api('collections');
  await collections.delete({ collectionName: name });
  const multivectorConfig = { comparator: 0 };
  await collections.create({
    collectionName: name,
    vectorsConfig: {
      config: {
        case: 'paramsMap',
        value: { map: { title: { size: 2n, distance: 3 }, late: { size: 2n, distance: 3, multivectorConfig } } },
      },
    },
    sparseVectorsConfig: { map: { terms: { modifier: 1 } } },
  });
  const info = await collections.get({ collectionName: name });
  expect(Object.keys(info.result?.config?.params?.sparseVectorsConfig?.map ?? {})).toEqual(['terms']);
  const written = {
    title: { vector: { case: 'dense' as const, value: { data: [1, 2] } } },
    late: { vector: { case: 'multiDense' as const, value: { vectors: [{ data: [1, 0] }, { data: [0, 3] }] } } },
    terms: { vector: { case: 'sparse' as const, value: { indices: [4294967295, 7], values: [0.5, 1.5] } } },
  };
  const vectors = { vectorsOptions: { case: 'vectors' as const, value: { vectors: written } } };
  const id = { pointIdOptions: { case: 'uuid' as const, value: '5C56C793-69F3-4FBF-87E6-C4BF54C28C26' } };
  await grpc.api('points').upsert({ collectionName: name, wait: true, points: [{ id, vectors }] });
  const all = { selectorOptions: { case: 'enable' as const, value: true } };
  const { result } = await grpc.api('points').scroll({ collectionName: name, withVectors: all });
  expect(result[0]?.id?.pointIdOptions.value).toBe('5c56c793-69f3-4fbf-87e6-c4bf54c28c26');
  const read = result[0]?.vectors?.vectorsOptions;
  expect(read?.case === 'vectors' ? read.value.vectors : undefined).toMatchObject({
    ...written,
    terms: { vector: { case: 'sparse', value: { indices: [7, 4294967295], values: [1.5, 0.5] } } },
  });
  await collections.delete({ collectionName: name });
});

describe('API key over gRPC', () => {
  let locked: RunningServer;
  beforeAll(async () => {
    locked = await startServer('qdrant', { apiKey: 'secret-1' });
  });
  afterAll(async () => {
    await locked?.stop();
  });

  test.each([
    ['none', undefined, 'Must provide an API key or an Authorization bearer token'],
    ['a wrong one', 'wrong', 'Invalid API key or JWT'],
  ])('%s is refused as UNAUTHENTICATED', async (_, apiKey, message) => {
    const client = new QdrantClient({
      url: locked.addresses.QDRANT_GRPC_URL!,
      checkCompatibility: false,
      ...(apiKey === undefined ? {} : { headers: { 'api-key': apiKey } }),
    });
    expect(await failure(client.api('collections').list({}))).toEqual({ code: 16, message });
  });

  test('the health check needs none, because load balancers have none', async () => {
    const client = new QdrantClient({ url: locked.addresses.QDRANT_GRPC_URL!, checkCompatibility: false });
    expect((await client.api('service').healthCheck({})).version).toBe('1.18.3');
  });

  test('the right one is taken', async () => {
    const client = new QdrantClient({
      url: locked.addresses.QDRANT_GRPC_URL!,
      headers: { 'api-key': 'secret-1' },
      checkCompatibility: false,
    });
    expect((await client.api('collections').list({})).collections).toEqual([]);
  });
});
