import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Batch, column, concatBatches } from '../../lib/batch.ts';
import { jsonEqual } from '../../lib/compare/json-equal.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { fromChroma, toChroma } from '../../lib/stores/chroma/records.ts';
import { chroma } from '../../lib/stores/chroma.ts';
import type { Range, Store } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { chromaUrl } from '../servers/urls.ts';
import { storeContract } from './contract.ts';

/** The server is shared by test files and runs: every collection has a name of its own. */
const space = `chroma_${process.pid}_${Date.now().toString(36)}`;
const nameOf = (collection: string): string => `${space}_${collection}`;
const open = async (collection: string, options: Record<string, unknown> = {}, url?: string): Promise<Store> =>
  await chroma.open({ connection: { url: url ?? (await chromaUrl()) }, collection: nameOf(collection), options });

storeContract('chroma', (collection) => open(collection), {
  kind: chroma,
  makeId: (index) => `id-${String(index).padStart(6, '0')}`,
  // `any` has lists of several types, which are carried as JSON; ranges do not look into the numbers of `counts`.
  refuses: ({ field, kind }) => field === 'any' || (kind === 'range' && field === 'counts'),
});

const vector: VectorSpec = { name: 'embedding', kind: 'dense', dimension: 3, distance: 'cosine', precision: 'float32' };
const schema = makeSchema({ store: 'chroma', idType: 'string', vectors: [vector] });
const position = { run: 'r', shard: '00000-000', offset: 0 };
const whole: Range = { from: null, to: null };

async function filled(name: string, batch: Batch, options = {}): Promise<Store> {
  const store = await open(name, options);
  await store.prepare(schema);
  await store.write(batch, { position, mode: 'upsert' });
  return store;
}

async function readAll(store: Store, range = whole): Promise<Batch> {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read(range, { maxRecords: 1000, maxBytes: 1 << 24 })) pieces.push(batch);
  return concatBatches(pieces);
}

/** Asks the server itself, past the store. */
async function raw(name: string, operation: string, body?: unknown) {
  const base = `${await chromaUrl()}/api/v2/tenants/default_tenant/databases/default_database/collections`;
  const found = await (await fetch(`${base}/${nameOf(name)}`)).json();
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return await (operation === '' ? found : (await fetch(`${base}/${found.id}/${operation}`, request)).json());
}

describe('a payload in Chroma', () => {
  const payload =
    '{"rank":9007199254740993,"score":0.9013272248953461,"live":true,"title":"🦜","tags":["b","a","b"],"document":"words","uri":"s3://b/k","none":null,"deep":{"a":[1]},"mixed":[1,"x"],"empty":[],"huge":123456789012345678901234567890}';

  test('is metadata that Chroma filters on, with the document as its document', async () => {
    await filled('filters', makeBatch({ ids: ['a', 'b'], vectors: [vector], payloads: [payload, '{"rank":1}'] }));
    const where = async (condition: unknown): Promise<string[]> =>
      (await raw('filters', 'get', { where: condition, include: [] })).ids;
    expect(await where({ rank: { $gt: 5 } })).toEqual(['a']);
    expect(await where({ score: { $gt: 0.9 } })).toEqual(['a']);
    expect(await where({ $and: [{ live: true }, { title: '🦜' }] })).toEqual(['a']);
    const { documents, uris } = await raw('filters', 'get', { ids: ['a'], include: ['documents', 'uris'] });
    expect([documents, uris]).toEqual([['words'], ['s3://b/k']]);
  });

  test('comes back equal, with what Chroma has no form for', async () => {
    const store = await filled('equal', makeBatch({ ids: ['a', 'b'], vectors: [vector], payloads: [payload, '{}'] }));
    const found = await readAll(store);
    expect(found.payloads.map(canonicalJson)).toEqual([canonicalJson(payload), '{}']);
    expect((await raw('equal', 'get', { ids: ['b'], include: ['metadatas'] })).metadatas).toEqual([null]);
  });

  test('may use the names that Chroma keeps for itself: chroma:document would stop the server for good', async () => {
    const reserved = '{"chroma:document":"x","chroma:uri":1,"$set":2,"#id":3,"":4,"vecferry_json":"own","_x":5}';
    const store = await filled('reserved', makeBatch({ ids: ['a'], vectors: [vector], payloads: [reserved] }));
    expect(canonicalJson((await store.fetch(['a'])).payloads[0] ?? '')).toBe(canonicalJson(reserved));
    await store.write(makeBatch({ ids: ['after'], vectors: [vector] }), { position, mode: 'upsert' });
    expect(await store.count()).toBe(2);
  });

  test('is the same after it went through metadata and back, whatever it holds', () => {
    const names = { document: 'document', uri: 'uri' };
    const key = fc.oneof(fc.string(), fc.constantFrom('document', 'uri', 'vecferry_json', 'chroma:x', '__proto__'));
    fc.assert(
      fc.property(fc.dictionary(key, fc.jsonValue()), (value) => {
        const json = JSON.stringify(value);
        expect(jsonEqual(fromChroma('id', toChroma(json, names), names), json)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('keeps every double, though the server parses some to their neighbour', async () => {
    const doubles = fc.sample(fc.double({ noNaN: true, noDefaultInfinity: true }), { numRuns: 400, seed: 5 });
    const decimals = Array.from({ length: 400 }, (_, i) => Math.sin(i + 1));
    const payloads = [...doubles, ...decimals].map((x) => JSON.stringify({ x }));
    const ids = payloads.map((_, i) => String(i).padStart(4, '0'));
    const store = await filled('doubles', makeBatch({ ids, vectors: [vector], payloads }));
    const found = await readAll(store);
    expect(found.payloads.map(canonicalJson)).toEqual(payloads.map(canonicalJson));
  });

  test('that somebody changes in Chroma afterwards is read as changed', async () => {
    const store = await filled('changed', makeBatch({ ids: ['a'], vectors: [vector], payloads: [payload] }));
    await raw('changed', 'update', { ids: ['a'], metadatas: [{ score: 0.5 }] });
    expect(JSON.parse((await store.fetch(['a'])).payloads[0] ?? '')).toMatchObject({ score: 0.5, deep: { a: [1] } });
  });

  test('is replaced by an upsert: no metadata key, document or URI of the old record stays, as Chroma would leave it', async () => {
    const store = await filled('replaced', makeBatch({ ids: ['a'], vectors: [vector], payloads: [payload] }));
    for (const next of ['{"rank":2}', '{"document":"new"}', '{}']) {
      await store.write(makeBatch({ ids: ['a'], vectors: [vector], payloads: [next] }), { position, mode: 'upsert' });
      expect((await store.fetch(['a'])).payloads.map(canonicalJson)).toEqual([canonicalJson(next)]);
    }
  });

  test('of a document beside a metadata key of the same name is refused by record, until options rename one', async () => {
    const store = await filled('both', makeBatch({ ids: ['a'], vectors: [vector], payloads: ['{"document":"text"}'] }));
    await raw('both', 'update', { ids: ['a'], metadatas: [{ document: 'a key' }] });
    await expect(readAll(store)).rejects.toMatchObject({ name: 'RecordRefused', ids: ['a'] });
    const renamed = await open('both', { document: 'body' });
    expect(JSON.parse((await readAll(renamed)).payloads[0] ?? '')).toEqual({ document: 'a key', body: 'text' });
  });
});

describe('a collection', () => {
  test('keeps its distance and HNSW settings from side to side', async () => {
    const index = { kind: 'hnsw', m: 24, efConstruction: 150, efSearch: 77 } as const;
    for (const distance of ['cosine', 'dot', 'euclid'] as const) {
      const store = await open(`settings_${distance}`);
      await store.prepare({
        ...schema,
        vectors: [{ ...vector, distance, index }],
        native: { metadata: { owner: 'us' } },
      });
      await store.write(makeBatch({ vectors: [vector] }), { position, mode: 'upsert' });
      expect((await store.describe()).schema).toMatchObject({
        vectors: [{ ...vector, distance, index }],
        native: { metadata: { owner: 'us' } },
      });
    }
  });

  test('with another space is Incompatible, not searched by the wrong distance', async () => {
    await (await open('spaces')).prepare(schema);
    const other = { ...schema, vectors: [{ ...vector, distance: 'dot' as const }] };
    await expect((await open('spaces')).prepare(other)).rejects.toMatchObject({ name: 'Incompatible' });
  });

  test('of more records than a request may hold is written in several', async () => {
    const ids = Array.from({ length: 6000 }, (_, i) => `id ${i}`);
    const store = await filled('many', makeBatch({ ids, vectors: [vector], payloads: ids.map(() => '{}') }));
    expect(await store.count()).toBe(6000);
    const large = JSON.stringify({ text: 'x'.repeat(6_000_000) });
    const payloads = Array.from({ length: 9 }, () => large);
    await store.write(makeBatch({ ids: ids.slice(0, 9), vectors: [vector], payloads }), { position, mode: 'upsert' });
    expect((await store.fetch(ids.slice(8, 10))).payloads.map((json) => json.length)).toEqual([large.length, 2]);
  });

  test('without an embedding for a record is refused by id, since Chroma cannot hold it', async () => {
    await expect(
      filled('missing', makeBatch({ ids: ['a', 'b', 'c'], vectors: [vector], missing: [1] })),
    ).rejects.toMatchObject({ name: 'RecordRefused', ids: ['b'] });
  });

  test('names the one record that the server refuses and writes the others', async () => {
    const batch = makeBatch({ ids: Array.from({ length: 9 }, (_, i) => `id${i}`), vectors: [vector] });
    column(batch, 'embedding').values[5 * 3] = Number.NaN;
    await expect(filled('poison', batch)).rejects.toMatchObject({ name: 'RecordRefused', ids: ['id5'] });
    expect(await (await open('poison')).count()).toBe(8);
  });
});

describe('reading', () => {
  test('loses no record when others are deleted between two pages of the listing', async () => {
    const ids = Array.from({ length: 10_500 }, (_, i) => `id${String(i).padStart(6, '0')}`);
    const small = makeBatch({ ids, vectors: [vector], payloads: ids.map(() => '{}') });
    await filled('deleted', small);
    let pages = 0;
    const url = await proxy(async (request, body) => {
      // After the first page: the positions of all that follow move by three.
      if (!request.url?.endsWith('/get') || !body.includes('"offset"') || ++pages !== 2) return undefined;
      await raw('deleted', 'delete', { ids: ids.slice(0, 3) });
      return undefined;
    });
    // Read at once: a handle that had listed before would see by the number of records that its list is old.
    expect((await readAll(await open('deleted', {}, url))).ids).toEqual(ids.slice(3));
    expect(pages).toBeGreaterThan(2);
  });

  test('lists again when the number of records has changed, so a later range sees later records', async () => {
    const store = await filled('later', makeBatch({ ids: ['a', 'c'], vectors: [vector] }));
    expect((await readAll(store)).ids).toEqual(['a', 'c']);
    await (await open('later')).write(makeBatch({ ids: ['b'], vectors: [vector] }), { position, mode: 'upsert' });
    expect((await readAll(store)).ids).toEqual(['a', 'b', 'c']);
  });
});

describe('writing while others do', () => {
  const older = makeBatch({ ids: ['a'], vectors: [vector], payloads: ['{"document":"old","tag":"old","rank":1}'] });
  const newer = makeBatch({ ids: ['a'], vectors: [vector], payloads: ['{"rank":2}'], seed: 2 });

  test('a record inserted under an upsert leaves no field and no document in it, which Chroma would merge', async () => {
    const importer = await filled('under', makeBatch({ ids: ['z'], vectors: [vector] }));
    let upserts = 0;
    const url = await proxy(async (request) => {
      if (request.url?.endsWith('/upsert') && upserts++ === 0)
        await importer.write(older, { position, mode: 'insert' });
      return undefined;
    });
    await (await open('under', {}, url)).write(newer, { mode: 'upsert' });
    const found = await importer.fetch(['a']);
    expect(found.payloads).toEqual(['{"rank":2}']);
    // Of a cosine collection Chroma gives floats back that differ in the last bit.
    column(found, 'embedding').values.forEach((value, at) => {
      expect(value).toBeCloseTo(column(newer, 'embedding').values[at] ?? Number.NaN, 6);
    });
    expect(upserts).toBe(2);
  });

  test('says so when others write the same record again and again', async () => {
    const other = await filled('again', older);
    const busy = async (request: IncomingMessage): Promise<Answer> => {
      if (request.url?.endsWith('/get')) await other.write(older, { mode: 'upsert' });
      return undefined;
    };
    const store = await open('again', {}, await proxy(busy));
    await expect(store.write(newer, { mode: 'upsert' })).rejects.toMatchObject({
      name: 'StoreUnavailable',
      ids: ['a'],
    });
  });

  test.each([
    [3, 'answers when it is asked again'],
    [50, 'is StoreUnavailable in the end'],
  ])('a read under which %i records go %s', async (faults) => {
    await filled('goes', makeBatch({ ids: ['a', 'b'], vectors: [vector] }));
    let left = faults;
    const message = 'Error executing plan: Internal error: Error finding id';
    const url = await proxy(async (request) =>
      request.url?.endsWith('/get') && left-- > 0 ? { status: 500, headers: {}, message } : undefined,
    );
    const fetched = (await open('goes', {}, url)).fetch(['a', 'b']);
    if (faults < 6) expect((await fetched).count).toBe(2);
    else await expect(fetched).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });
});

describe('faults are named for what a run does about them', () => {
  test.each([
    [429, { 'retry-after': '2' }, { name: 'Throttled', retryable: true, retryAfterMs: 2000 }],
    [503, { 'retry-after': '1' }, { name: 'Throttled', retryable: true }],
    [503, {}, { name: 'StoreUnavailable', retryable: true }],
    [500, {}, { name: 'StoreUnavailable', retryable: true }],
    [401, {}, { name: 'AccessDenied', retryable: false }],
    [403, {}, { name: 'AccessDenied', retryable: false }],
    [404, {}, { name: 'NotFound', retryable: false }],
  ])('an answer of %i with %j', async (status, headers, error) => {
    const url = await proxy(async () => ({ status, headers }));
    await expect((await open('fault', {}, url)).count()).rejects.toMatchObject(error);
  });

  test('a server that is not there is StoreUnavailable and names the address', async () => {
    const store = await open('fault', {}, 'http://127.0.0.1:9');
    await expect(store.count()).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: expect.stringContaining('127.0.0.1:9'),
    });
  });

  test('the key travels as Chroma expects it, and no message shows it', async () => {
    let seen: IncomingMessage['headers'] = {};
    const url = await proxy(async ({ headers }) => {
      seen = headers;
      return { status: 403, headers: {} };
    });
    const connection = { url, apiKey: 'ck-secret', tenant: 'team', database: 'prod' };
    const store = await chroma.open({ connection, collection: 'x', options: {} });
    await expect(store.count()).rejects.toMatchObject({ message: expect.not.stringContaining('ck-secret') });
    expect(seen['x-chroma-token']).toBe('ck-secret');
  });

  test.each([
    [{}, {}, 'url'],
    [{ url: 'http://localhost:1' }, { documnet: 'typo' }, 'documnet'],
  ])('a bad endpoint, %j with %j, is InvalidEvent', async (connection, options, field) => {
    await expect(chroma.open({ connection, collection: 'x', options })).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining(field),
    });
  });
});

type Answer =
  | { readonly status: number; readonly headers: Record<string, string>; readonly message?: string }
  | undefined;
const proxies: Server[] = [];
afterAll(() => {
  for (const server of proxies) {
    server.closeAllConnections();
    server.close();
  }
});

/** Stands before the real server and answers in its place where `answer` says so. */
async function proxy(answer: (request: IncomingMessage, body: string) => Promise<Answer>): Promise<string> {
  const upstream = await chromaUrl();
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await text(request);
    const own = await answer(request, body);
    if (own !== undefined) {
      const { status, headers, message = 'as the test wants it' } = own;
      response.writeHead(status, headers).end(JSON.stringify({ error: 'Stub', message }));
      return;
    }
    const init = { method: request.method ?? 'GET', headers: { 'content-type': 'application/json' } };
    const reply = await fetch(`${upstream}${request.url}`, body === '' ? init : { ...init, body });
    response.writeHead(reply.status).end(await reply.text());
  };
  const server = createServer((request, response) => void forward(request, response));
  proxies.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return `http://127.0.0.1:${address.port}`;
}
