import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { collectionUp } from '../../../lib/migrate/collection/collection.ts';
import type { MigrateConfig } from '../../../lib/migrate/port.ts';
import { failQdrant } from '../../servers/faults.ts';
import { frontUrl } from '../../servers/urls.ts';
import { asInForce, askQdrant, dropAll, stateOf } from './qdrant-state.ts';
import { down, makeConfig, makeFile, noCopy, up } from './world.ts';

/** A step that dies at any of its requests: what is there then is finished by the next try, and taken back whole. */

const ours = `killed${process.pid}${Math.random().toString(36).slice(2, 6)}`;
let url: string;
let config: MigrateConfig;
const servers: Server[] = [];

beforeAll(async () => {
  url = await frontUrl();
  config = makeConfig({ store: 'qdrant', connection: { url }, options: { transport: 'rest' } });
});

afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await dropAll(url, ours);
});

interface Killer {
  readonly config: MigrateConfig;
  changes(): number;
}

/**
 * Lets so many changes through and nothing after them: not tried again, as a process that is gone tries nothing.
 * @param isLastHeard False: nobody hears the answer to the last of them.
 */
async function startKiller(left: number, isLastHeard: boolean): Promise<Killer> {
  let changes = 0;
  const server = createServer(async (request, response) => {
    const { method = 'GET', url: path = '/' } = request;
    const isRead = method === 'GET' || /\/points(\/count|\/query|\/scroll)?$/.test(path);
    if (!isRead || method === 'PUT') changes++;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    if (changes <= left) {
      const headers = { 'content-type': 'application/json' };
      const body = Buffer.concat(chunks);
      const answer = await fetch(`${url}${path}`, { method, headers, ...(body.length > 0 && { body }) });
      const text = await answer.text();
      if (changes < left || isLastHeard) {
        response.writeHead(answer.status, headers).end(text);
        return;
      }
    }
    response.writeHead(403).end('killed');
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = Object(server.address());
  const connection = { url: `http://127.0.0.1:${address.port}` };
  return {
    config: makeConfig({ store: 'qdrant', connection, options: { transport: 'rest' } }),
    changes: () => changes,
  };
}

const vectors = { text: { size: 4, distance: 'cosine' } };

async function makeBefore(name: string): Promise<void> {
  const first = {
    store: 'search',
    collections: {
      [name]: {
        vectors,
        payloadIndexes: { tag: 'keyword', old: 'text' },
        aliases: [`${name}_live`, `${name}_gone`],
        seed: [
          { id: 1, vector: [1, 0, 0, 0], payload: { tag: 'a' } },
          { id: 2, vector: [0, 1, 0, 0], payload: { tag: 'b' } },
        ],
      },
    },
  };
  await up(makeFile(1, first), { config });
}

const second = (name: string) =>
  makeFile(2, {
    store: 'search',
    collections: {
      [`${name}_new`]: {
        vectors,
        payloadIndexes: { n: 'integer' },
        seed: [{ id: 1, vector: [1, 1, 0, 0] }],
        aliases: [`${name}_live`],
      },
      [name]: {
        hnsw: { m: 24 },
        quantization: { scalar: { type: 'int8' } },
        payloadIndexes: { tag: { type: 'keyword', is_tenant: true }, year: 'integer' },
        drop: { payloadIndexes: ['old'], aliases: [`${name}_gone`], records: [2] },
        seed: [
          { id: 1, vector: [0, 0, 1, 0], payload: { tag: 'changed' } },
          { id: 3, vector: [0, 0, 0, 1] },
        ],
      },
    },
  });

const all = async (name: string): Promise<unknown> => [
  asInForce(await stateOf(url, name)),
  asInForce(await stateOf(url, `${name}_new`)),
];
const named = (state: unknown, name: string): unknown => JSON.parse(JSON.stringify(state).replaceAll(name, 'NAME'));

test('a step that dies at any of its changes, before or after the server has it, is finished by the next try and taken back whole', async () => {
  const whole = `${ours}_whole`;
  await makeBefore(whole);
  const before = named(await all(whole), whole);
  const counting = await startKiller(1000, true);
  await up(second(whole), { config: counting.config });
  const after = named(await all(whole), whole);
  expect(counting.changes()).toBeGreaterThan(8);

  // Every other one before the server has the change, and after it: each takes some seconds.
  const left = Array.from({ length: counting.changes() }, (_, at) => ({ at, isHeard: at % 2 === 1 }));
  const worker = async (): Promise<void> => {
    for (let death = left.shift(); death !== undefined; death = left.shift()) {
      const { at, isHeard } = death;
      const name = `${ours}_${at}_${isHeard ? 'before' : 'after'}`;
      await makeBefore(name);
      const file = second(name);
      const killer = await startKiller(isHeard ? at : at + 1, isHeard);
      const step = await collectionUp({ file, config: killer.config, copy: noCopy });
      await expect(step.run(async () => undefined)).rejects.toThrow();
      const applied = await up(file, { config, begun: [step.rollback ?? ''] });
      expect([death, named(await all(name), name)]).toEqual([death, after]);
      await down(applied.entry, file, { config });
      expect([death, named(await all(name), name)]).toEqual([death, before]);
      await dropAll(url, name);
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
}, 240_000);

test('a store that is busy or away for a while is asked again, as it says', async () => {
  const name = `${ours}_busy`;
  await failQdrant({ status: 429, retryAfter: 1, path: `PUT /collections/${name}` });
  await failQdrant({ status: 503, times: 2, path: `PUT /collections/${name}/index` });
  const file = makeFile(1, { store: 'search', collection: name, vectors, payloadIndexes: { tag: 'keyword' } });
  await up(file, { config });
  expect(Object.keys((await askQdrant(url, 'GET', `/collections/${name}`)).payload_schema)).toEqual(['tag']);
});
