/** What Qdrant's documented API does not name is refused by our front: a real server would pass over it, and do less than was asked. */

import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { frontGrpcUrl, frontUrl } from './urls.ts';

const collection = 'documented-test';
const undocumented = 'not in the documented API';
let rest: string;

beforeAll(async () => {
  rest = await frontUrl();
  await ask('DELETE', '');
  const vectors = { size: 2, distance: 'Dot' };
  expect(await ask('PUT', '', { vectors })).toMatchObject({ status: 200 });
  const points = [{ id: 1, vector: [1, 0], payload: { n: 1 } }];
  expect(await ask('PUT', '/points?wait=true&ordering=strong&timeout=5', { points })).toMatchObject({ status: 200 });
});

afterAll(async () => {
  await ask('DELETE', '');
  await ask('DELETE', '-other');
});

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${rest}/collections/${collection}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, text: await answer.text() };
}

describe('a request over REST that Qdrant does not document is refused, because a real server would pass over it', () => {
  const point = { id: 2, vector: [0, 1] };
  test.each([
    ['a path', 'GET', '/indexes', undefined],
    ['a method', 'DELETE', '/points', undefined],
    ['a query parameter', 'PUT', '/points?wait=true&timeoutMs=5', { points: [point] }],
    ['a value of a query parameter', 'PUT', '/points?wait=true&ordering=strictest', { points: [point] }],
    ['a member of the body', 'PUT', '/points?wait=true', { points: [point], mode: 'insert_only' }],
    ['a value of the body', 'PUT', '/points?wait=true', { points: [point], update_mode: 'insert' }],
    ['a member of the last of many points', 'PUT', '/points?wait=true', { points: [point, { ...point, version: 1 }] }],
    ['a type', 'POST', '/points/scroll', { limit: 1, with_payload: 'true' }],
    ['a member deep in a filter', 'POST', '/points/count', { filter: { must: [{ should: [{ has_vectors: 'a' }] }] } }],
    ['a setting of a PATCH', 'PATCH', '', { hnsw_config: { m: 8, ef_search: 100 } }],
    ['a vector setting of a PATCH', 'PATCH', '', { vectors: { '': { distance: 'Cosine' } } }],
    ['a word for no quantization', 'PATCH', '', { quantization_config: 'None' }],
    ['a setting of a new collection', 'PUT', '-other', { vectors: {}, init_from: { collection } }],
    ['a body where none is taken', 'DELETE', '/index/n', { wait: true }],
    ['a parameter of an upload', 'POST', '/snapshots/upload?wait=true&sha256=00', undefined],
  ])('%s', async (_, method, path, body) => {
    const answer = await ask(method, path, body);
    expect(answer.status).toBe(400);
    if (!answer.text.includes('Format error in JSON body')) expect(answer.text).toContain(undocumented);
  });
});

test('a field of a gRPC message that Qdrant does not document is refused, because a real server would drop it unread', async () => {
  const { host } = new URL(await frontGrpcUrl());
  const client = new Client(host, credentials.createInsecure());
  const asIs = (message: Buffer): Buffer => message;
  const count = (message: Buffer): Promise<ServiceError | null> =>
    new Promise((resolve) => {
      client.makeUnaryRequest('/qdrant.Points/Count', asIs, asIs, message, (error) => resolve(error));
    });
  // CountPoints: collection_name = 1; there is no field 100.
  const named = Buffer.concat([Buffer.from([0x0a, collection.length]), Buffer.from(collection)]);
  expect(await count(named)).toBeNull();
  expect((await count(Buffer.concat([named, Buffer.from([0xa0, 0x06, 0x01])])))?.details).toContain(undocumented);
  client.close();
});
