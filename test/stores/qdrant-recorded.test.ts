/** Over 400 lines: the answers that were recorded of a real Qdrant, each with what is made of it. */

import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { column } from '../../lib/batch.ts';
import { waitForGreen } from '../../lib/migrate/collection/qdrant.ts';
import { openAdmin } from '../../lib/stores/qdrant/admin.ts';
import { fromClient, fromHttp } from '../../lib/stores/qdrant/errors.ts';
import { decodeRestHits, decodeRestPoints } from '../../lib/stores/qdrant/rest.ts';
import {
  createBody,
  infoSchema,
  nativeOf,
  optionsSchema,
  payloadIndexesOf,
  vectorsOf,
} from '../../lib/stores/qdrant/settings.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makeConfig, makeFile, up } from '../migrate/collection/world.ts';

/** Answers of a real Qdrant 1.18, as recorded: what our parsers and our handle make of each that they would meet. */
interface Recorded {
  readonly note: string;
  readonly request: { readonly method: string; readonly path: string; readonly body?: unknown };
  readonly response: { readonly status: number; readonly contentType?: string | null; readonly body: unknown };
}

const lines: readonly Recorded[] = readFileSync(new URL('../data/qdrant-rest.jsonl', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line));

const textOf = ({ response }: Recorded): string =>
  typeof response.body === 'string' ? response.body : JSON.stringify(response.body);

function recorded(note: string): Recorded {
  const found = lines.find((line) => line.note === note);
  if (found === undefined) throw new Error(`nothing is recorded as '${note}'`);
  return found;
}

const infoOf = (note: string) => infoSchema.parse(JSON.parse(textOf(recorded(note))).result);

describe('recorded descriptions', () => {
  test.each(lines.filter(({ note }) => note.startsWith('describe')).map(({ note }) => note))(
    '%s is understood',
    (note) => {
      const info = infoOf(note);
      expect(vectorsOf(info).length).toBeGreaterThan(0);
      expect(nativeOf(info)).toHaveProperty('hnsw_config');
    },
  );

  test('one unnamed vector, its graph and its indexes', () => {
    const info = infoOf('describe one, with payload indexes');
    expect(vectorsOf(info)).toEqual([
      {
        name: '',
        kind: 'dense',
        dimension: 4,
        distance: 'cosine',
        precision: 'float32',
        index: { kind: 'hnsw', m: 16, efConstruction: 64 },
      },
    ]);
    const indexes = payloadIndexesOf(info);
    expect(indexes.map(({ field, type }) => `${field} ${type}`)).toEqual([
      'city keyword',
      'flag bool',
      'n integer',
      'n2 integer',
      'price float',
      'tags text',
      'when datetime',
    ]);
    expect(indexes.find(({ field }) => field === 'tags')?.native).toEqual({
      type: 'text',
      tokenizer: 'word',
      lowercase: true,
    });
  });

  test('dense, sparse and multi vectors by name, with precision and the settings of each', () => {
    const info = infoOf('describe many');
    expect(vectorsOf(info)).toMatchObject([
      { name: 'body', kind: 'dense', dimension: 3, distance: 'euclid', index: { m: 8, efConstruction: 100 } },
      { name: 'half', kind: 'dense', precision: 'float16', distance: 'manhattan', index: { m: 16 } },
      { name: 'late', kind: 'multi', dimension: 4, distance: 'cosine' },
      { name: 'title', kind: 'dense', distance: 'dot' },
      { name: 'terms', kind: 'sparse', distance: 'dot' },
    ]);
    expect(nativeOf(info)).toMatchObject({
      vectors: {
        body: { hnsw_config: { m: 8 } },
        late: { multivector_config: { comparator: 'max_sim' } },
        title: { on_disk: true },
      },
      sparse_vectors: { terms: { modifier: 'idf' } },
      quantization_config: { scalar: { type: 'int8', quantile: 0.99, always_ram: true } },
    });
  });

  test.each(['one', 'many', 'with everything set'])(
    'a collection made again from the description of %s asks for what was set, with index building off',
    (note) => {
      const info = infoOf(`describe ${note}`);
      const schema = makeSchema({ store: 'qdrant', vectors: [...vectorsOf(info)], native: nativeOf(info) });
      const body = createBody(schema, optionsSchema.parse({}));
      const { params, hnsw_config, quantization_config, metadata } = JSON.parse(JSON.stringify(info.config));
      expect(body).toMatchObject({
        vectors: params.vectors,
        shard_number: params.shard_number,
        on_disk_payload: params.on_disk_payload,
        hnsw_config,
        optimizers_config: {
          indexing_threshold: 0,
          deleted_threshold: info.config.optimizer_config['deleted_threshold'],
        },
      });
      expect(body['sparse_vectors'] ?? null).toEqual(params.sparse_vectors ?? null);
      expect(body['quantization_config'] ?? null).toEqual(quantization_config);
      expect(body['metadata']).toEqual(metadata);
      expect(JSON.stringify(body)).not.toContain('null');
    },
  );
});

describe('recorded pages', () => {
  const many = vectorsOf(infoOf('describe many'));
  const one = vectorsOf(infoOf('describe one'));
  const pages = lines.filter(
    ({ note, response }) =>
      /^(scroll|retrieve)/.test(note) && response.status === 200 && !note.startsWith('retrieve one'),
  );

  test.each(pages.map(({ note }) => note))('%s is read record by record', (note) => {
    const line = recorded(note);
    const parsed = JSON.parse(textOf(line));
    const points = Array.isArray(parsed.result) ? parsed.result : parsed.result.points;
    const vectors = line.request.path.includes('/many/')
      ? many
      : [{ ...one[0]!, dimension: line.request.path.includes('/modes/') ? 2 : 4 }];
    const { batch } = decodeRestPoints(textOf(line), vectors);
    expect(batch.ids).toEqual(points.map(({ id }: { id: unknown }) => String(id)));
    expect(batch.payloads.map((text) => JSON.parse(text))).toEqual(
      points.map(({ payload }: { payload?: unknown }) => payload ?? {}),
    );
  });

  test('records that lack vectors are told from those that have them', () => {
    const { batch, next } = decodeRestPoints(textOf(recorded('scroll: many with all vectors')), many);
    expect(next).toBeNull();
    expect([...(column(batch, 'title').present ?? [])]).toEqual([1, 1, 1, 1, 0]);
    expect([...(column(batch, 'terms').present ?? [])]).toEqual([1, 1, 1, 0, 1]);
    expect(column(batch, 'terms')).toMatchObject({ offsets: Uint32Array.of(0, 2, 4, 6, 6, 8) });
    expect(column(batch, 'late')).toMatchObject({ offsets: Uint32Array.of(0, 2, 4, 6, 6, 6) });
    expect(column(batch, 'half').values[0]).toBe(Math.fround(0.65722656));
  });

  test('the next page begins where the answer says', () => {
    expect(decodeRestPoints(textOf(recorded('scroll: second page')), one).next).toBe('104');
  });

  test.each(['query: nearest', 'query: nearest, exact', 'query: sparse', 'query: multi', 'query: random sample'])(
    '%s',
    (note) => {
      const { points } = JSON.parse(textOf(recorded(note))).result;
      expect(decodeRestHits(textOf(recorded(note)))).toEqual(
        points.map(({ id, score }: { id: unknown; score: number }) => ({ id: String(id), score })),
      );
    },
  );
});

describe('recorded refusals', () => {
  const asked = { where: 'http://q:6333', what: 'it', isWrite: true };
  test.each([
    ['upsert: wrong dimension', 'RecordRefused', 'expected dim: 4, got 3'],
    ['upsert: string id', 'RecordRefused', 'not a valid point ID'],
    ['upsert: sparse, indices twice', 'RecordRefused', 'must be unique'],
    ['upsert: missing collection', 'NotFound', "Collection `none` doesn't exist!"],
    ['upsert: request over 32 MiB', 'Error', 'larger than allowed'],
    ['missing collection', 'NotFound', "doesn't exist!"],
    ['unknown path', 'NotFound', '404'],
    ['no API key where one is needed', 'AccessDenied', 'Must provide an API key'],
    ['wrong API key', 'AccessDenied', 'check the apiKey'],
  ])('%s is %s', (note, name, words) => {
    const line = recorded(note);
    const error = fromHttp(line.response.status, textOf(line), null, asked);
    expect(error.name).toBe(name);
    expect(error.message).toContain(words);
  });

  test('what is wrong with a question is no fault of a record', () => {
    const line = recorded('query: wrong dimension');
    expect(fromHttp(line.response.status, textOf(line), null, { ...asked, isWrite: false }).name).toBe('InvalidEvent');
  });

  test.each([
    [429, null, 'Throttled', undefined],
    [429, '7', 'Throttled', 7000],
    [503, '2', 'Throttled', 2000],
    [503, null, 'StoreUnavailable', undefined],
    [500, null, 'StoreUnavailable', undefined],
    [502, null, 'StoreUnavailable', undefined],
    [408, null, 'StoreUnavailable', undefined],
    [403, null, 'AccessDenied', undefined],
  ])('HTTP %i with Retry-After %s is %s', (status, after, name, retryAfterMs) => {
    expect(fromHttp(status, '', after, asked)).toMatchObject({
      name,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  });

  test('an answer that does not come in time is not taken for a server that is away', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    const admin = openAdmin(`http://127.0.0.1:${address.port}`, undefined, 'slow', { waitMs: 50 });
    await expect(admin.update({ optimizers_config: {} })).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: expect.stringMatching(/did not answer update collection slow in time.*may still be at work/),
    });
    silent.closeAllConnections();
    silent.close();
    expect(fromClient(new DOMException('x', 'TimeoutError'), asked).message).toContain('in time');
  });

  test('what is not an answer at all is StoreUnavailable, with the reason', () => {
    const error = fromClient(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }), asked);
    expect(error).toMatchObject({ name: 'StoreUnavailable', retryable: true });
    expect(error.message).toContain('ECONNREFUSED');
  });
});

describe('against a server that answers as recorded', () => {
  let server: Server;
  let url: string;
  let answer: (request: IncomingMessage, body: string) => Recorded | Recorded['response'];
  const asked: string[] = [];

  beforeAll(async () => {
    server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      asked.push(`${request.method} ${request.url}`);
      const given = answer(request, body);
      const { status, contentType = 'application/json', body: text } = 'response' in given ? given.response : given;
      response.writeHead(status, contentType === null ? {} : { 'content-type': contentType });
      response.end(typeof text === 'string' ? text : JSON.stringify(text));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    url = `http://127.0.0.1:${address.port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const open = (collection: string) => qdrant.open({ connection: { url }, collection, options: { transport: 'rest' } });
  const serviceOf = (version: string) => ({ status: 200, body: { title: 'qdrant - vector search engine', version } });
  const position = { run: 'r', shard: '00000-000', offset: 0 };

  test('counts exactly, whatever the estimate in the description says', async () => {
    answer = () => recorded('count exact');
    const store = await open('one');
    await expect(store.count()).resolves.toBe(13);
    expect(asked.at(-1)).toBe('POST /collections/one/points/count');
  });

  test('a collection that is not there is NotFound', async () => {
    answer = ({ url: path }) => (path === '/' ? recorded('version') : recorded('missing collection'));
    await expect((await open('none')).describe()).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('a server older than 1.13 is refused with its version, before anything is asked of it', async () => {
    answer = () => serviceOf('1.12.6');
    const store = await open('one');
    await expect(store.describe()).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining('1.12.6'),
    });
    await expect(store.prepare(makeSchema({ store: 'qdrant' }))).rejects.toMatchObject({ name: 'Incompatible' });
  });

  test('a collection file is refused by a server older than 1.13 too, before it is changed', async () => {
    answer = ({ method }) => {
      if (method !== 'GET') throw new Error('nothing may be written');
      return serviceOf('1.12.6');
    };
    const config = makeConfig({ store: 'qdrant', connection: { url } });
    const file = makeFile(1, 'store: search\ncollection: one\nvectors: {size: 4, distance: cosine}\n');
    await expect(up(file, { config })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining('1.12.6'),
    });
  });

  test('inserting needs 1.17, since an older server would overwrite what is there', async () => {
    answer = (_, body) => {
      if (body !== '') throw new Error('nothing may be written');
      return serviceOf('1.16.3');
    };
    const store = await open('one');
    const refusal = { name: 'Incompatible', message: expect.stringContaining('1.16.3') };
    await expect(store.write(makeBatch(), { position, mode: 'insert' })).rejects.toMatchObject(refusal);
    // What the plan of a live run asks, before anything is exported.
    await expect(store.checkInserts?.()).rejects.toMatchObject(refusal);
    answer = () => serviceOf('1.17.0');
    await (await open('one')).checkInserts?.();
  });

  test('a request that the server finds too large is sent again in parts', async () => {
    const sizes: number[] = [];
    const written: number[] = [];
    const ids = Array.from({ length: 800 }, (_, at) => String(at));
    const batch = makeBatch({ ids, payloads: ids.map((id) => JSON.stringify({ id, text: 'x'.repeat(2000) })) });
    answer = ({ method }, body) => {
      if (method === 'GET') return recorded('describe one');
      sizes.push(body.length);
      if (body.length > 200_000) return recorded('upsert: request over 32 MiB');
      written.push(...JSON.parse(body).points.map(({ id }: { id: number }) => id));
      return recorded('upsert: batch form');
    };
    const store = await open('one');
    await expect(store.write(batch, { position, mode: 'upsert' })).resolves.toEqual({ written: 800 });
    expect(written.sort((a, b) => a - b).map(String)).toEqual(ids);
    expect(sizes.some((size) => size > 200_000)).toBe(true);
  });

  test('an upsert that is only acknowledged is not counted as written', async () => {
    answer = ({ method }) => recorded(method === 'GET' ? 'describe one' : 'upsert without wait');
    const store = await open('one');
    await expect(store.write(makeBatch(), { position, mode: 'upsert' })).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: expect.stringContaining('did not apply an upsert'),
    });
  });

  test('a delete is asked for as recorded, with ids that Qdrant can have alone', async () => {
    const { request, response } = recorded('delete points by id');
    const bodies: unknown[] = [];
    answer = (_, body) => {
      bodies.push(JSON.parse(body));
      return response;
    };
    const store = await open('one');
    await store.delete(['0', 'words', '007']);
    expect(asked.at(-1)).toBe(`${request.method} ${request.path}`);
    expect(bodies).toEqual([request.body]);
    await store.delete(['words']);
    expect(bodies).toHaveLength(1);
  });

  test('a delete that is only acknowledged is not taken for done', async () => {
    answer = () => recorded('upsert without wait');
    await expect((await open('one')).delete(['1'])).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });

  test('a wrong key is AccessDenied on every path', async () => {
    answer = () => recorded('wrong API key');
    const store = await open('one');
    const denied = { name: 'AccessDenied' };
    await expect(store.count()).rejects.toMatchObject(denied);
    await expect(store.fetch(['1'])).rejects.toMatchObject(denied);
    await expect(store.delete(['1'])).rejects.toMatchObject(denied);
    await expect(store.write(makeBatch(), { position, mode: 'upsert' })).rejects.toMatchObject(denied);
  });

  test('an optimizer that failed is told with its words, and is not waited for in silence', async () => {
    const { result } = JSON.parse(textOf(recorded('describe one')));
    answer = () => ({
      status: 200,
      body: { result: { ...result, status: 'red', optimizer_status: { error: 'disk is full' } } },
    });
    const store = await open('one');
    await expect(store.indexProgress(makeSchema())).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: expect.stringContaining('disk is full'),
    });
    answer = () => ({ status: 200, body: { result: { ...result, status: 'red', optimizer_status: 'ok' } } });
    await expect(store.indexProgress(makeSchema())).rejects.toThrow(/one is red: an update could not be applied/);
  });

  test('records that prevent_unoptimized hides are waited for, in a source and in a target: no count and no scroll would miss them', async () => {
    const { result } = JSON.parse(textOf(recorded('describe one, after update')));
    const queue = { length: 0, deferred_points: 2 };
    const info = (update_queue: unknown) => ({
      status: 200,
      body: { result: { ...result, status: 'green', update_queue } },
    });
    answer = () => info(queue);
    const store = await open('one');
    await expect(store.indexProgress(makeSchema())).resolves.toMatchObject({
      done: false,
      detail: expect.stringContaining('2 records hidden'),
    });
    await expect(store.ranges({ records: 10 })).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: expect.stringContaining('one hides 2 records'),
    });
    for (const none of [{ length: 0, deferred_points: 0 }, { length: 0 }, undefined]) {
      answer = () => info(none);
      expect((await store.indexProgress(makeSchema())).detail).not.toContain('hidden');
    }
  });

  test('an optimizer that sleeps since a restart is woken', async () => {
    const { result } = JSON.parse(textOf(recorded('describe one, after update')));
    const bodies: string[] = [];
    answer = ({ method }, body) => {
      if (method === 'PATCH') bodies.push(body);
      return { status: 200, body: { result: method === 'PATCH' ? true : { ...result, status: 'grey' } } };
    };
    const store = await open('one');
    await expect(store.indexProgress(makeSchema())).resolves.toMatchObject({ done: false, isStalled: true });
    expect(bodies).toEqual([]);
    await store.buildIndex(makeSchema());
    expect(bodies).toEqual(['{"optimizers_config":{}}']);
  });

  test('a collection file that waits wakes an optimizer that sleeps, and does not take it for done', async () => {
    const { result } = JSON.parse(textOf(recorded('describe one, after update')));
    const seen = ['grey', 'green', 'yellow', 'green', 'green'];
    const bodies: string[] = [];
    answer = ({ method }, body) => {
      if (method === 'PATCH') bodies.push(body);
      return { status: 200, body: { result: method === 'PATCH' ? true : { ...result, status: seen.shift() } } };
    };
    await waitForGreen(openAdmin(url, undefined, 'one'), 1);
    expect([seen, bodies]).toEqual([[], ['{"optimizers_config":{}}']]);
    const off = { ...result.config, optimizer_config: { max_optimization_threads: 0 } };
    answer = () => ({ status: 200, body: { result: { ...result, status: 'grey', config: off } } });
    await waitForGreen(openAdmin(url, undefined, 'one'), 1);
  });

  test('a scroll that goes back is refused, since a read of it would never end', async () => {
    const info = recorded('describe one');
    answer = ({ method }) =>
      method === 'GET' ? info : { status: 200, body: '{"result":{"points":[{"id":7}],"next_page_offset":5}}' };
    const store = await open('one');
    const read = async () => {
      for await (const { batch } of store.read({ from: '5', to: null }, { maxRecords: 10, maxBytes: 1000 }))
        expect(batch.count).toBe(1);
    };
    await expect(read()).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });
});
