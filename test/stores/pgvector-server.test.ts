import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Batch } from '../../lib/batch.ts';
import { distanceBetween } from '../../lib/distance.ts';
import type { CollectionSchema, Distance } from '../../lib/schema.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { Store, WriteOptions } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { until } from '../until.ts';
import { useDatabase } from './pgvector-world.ts';

/** What only a server with several connections can show: writers at once, builds that die, faults and rights. */

const { open, run, scalar, url: serverUrl } = useDatabase('pgvector_server', { connections: 4 });
const schema = makeSchema({ store: 'pgvector' });
const prepared = async (collection: string, of: CollectionSchema = schema): Promise<Store> => {
  const store = await open(collection);
  await store.prepare(of);
  return store;
};
const at = (offset: number, mode: WriteOptions['mode'] = 'upsert'): WriteOptions => ({
  position: { run: 'run', shard: '00000-000', offset },
  mode,
});
const numbered = (count: number, payload: string, first = 1): Batch => {
  const ids = Array.from({ length: count }, (_, i) => String(first + i));
  return makeBatch({ ids, payloads: ids.map(() => payload) });
};
const payloadOf = async (store: Store, id: string): Promise<string> =>
  canonicalJson((await store.fetch([id])).payloads[0] ?? '');

/** A way to the server on which what holds `text` takes `ms` longer, and all that comes after it. */
async function delayed(server: string, text: string, ms: number) {
  const target = new URL(server);
  const proxy = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    let last: Promise<unknown> = Promise.resolve();
    client.on('data', (chunk: Buffer) => {
      if (chunk.includes(text)) last = last.then(() => sleep(ms));
      last = last.then(() => upstream.write(chunk));
    });
    upstream.on('data', (chunk: Buffer) => client.write(chunk));
    client.on('close', () => upstream.end()).on('error', () => undefined);
    upstream.on('close', () => client.end()).on('error', () => undefined);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = new URL(server);
  url.host = `127.0.0.1:${Object(proxy.address()).port}`;
  return { url: url.href, close: () => new Promise((resolve) => proxy.close(resolve)) };
}

describe('the ledger', () => {
  test('a batch that was loaded is not written again, though its message comes twice', async () => {
    const store = await prepared('ledger_twice');
    await store.write(numbered(5, '{"v":"a"}'), at(0));
    expect(await store.write(numbered(5, '{"v":"b"}'), at(0))).toEqual({ written: 5 });
    expect(await payloadOf(store, '1')).toBe('{"v":"a"}');
  });

  test('another number of records from the same place is written over what is there', async () => {
    const store = await prepared('ledger_again');
    await store.write(numbered(5, '{"v":"a"}'), at(0));
    await store.write(numbered(8, '{"v":"b"}'), at(0));
    await store.write(numbered(6, '{"v":"c"}', 4), at(3));
    expect(await store.count()).toBe(9);
    expect([await payloadOf(store, '1'), await payloadOf(store, '4')]).toEqual(['{"v":"b"}', '{"v":"c"}']);
  });

  test('a table made anew under an old name and an old run is loaded again', async () => {
    const store = await prepared('ledger_anew');
    await store.write(numbered(5, '{}'), at(0));
    await run('DROP TABLE ledger_anew');
    await store.prepare(schema);
    await store.write(numbered(5, '{}'), at(0));
    expect(await store.count()).toBe(5);
    await run('TRUNCATE ledger_anew');
    await store.prepare(schema);
    await store.write(numbered(5, '{}'), at(0));
    expect(await store.count()).toBe(5);
  });

  test('a batch that failed leaves neither records nor a ledger row, so it is written when it is mended', async () => {
    const store = await prepared('ledger_failed');
    await expect(
      store.write(makeBatch({ ids: ['1', '2'], payloads: ['{}', '{"a":"\\ud800"}'] }), at(0)),
    ).rejects.toMatchObject({ ids: ['2'] });
    await store.write(numbered(2, '{"v":"b"}'), at(0));
    expect(await store.count()).toBe(2);
  });

  test('many writers of overlapping batches at once leave every record once', async () => {
    const stores = await Promise.all([prepared('ledger_race'), open('ledger_race'), open('ledger_race')]);
    const writes = stores.flatMap((store, each) =>
      [0, 50, 100].map((offset) => store.write(numbered(100, `{"w":"${each}"}`, offset + 1), at(offset))),
    );
    await Promise.all(writes);
    await Promise.all([0, 50, 100].map((offset) => stores[0]?.write(numbered(100, '{}', offset + 1), at(offset))));
    expect(await stores[0]?.count()).toBe(200);
  });

  test('of an id that stands twice in one batch the last record counts', async () => {
    const store = await prepared('ledger_doubled');
    const batch = makeBatch({ ids: ['1', '1', '2'], payloads: ['{"v":"first"}', '{"v":"last"}', '{}'] });
    await store.write(batch, at(0));
    expect(await payloadOf(store, '1')).toBe('{"v":"last"}');
    expect(await store.count()).toBe(2);
  });
});

describe('building an index', () => {
  const large = makeSchema({
    store: 'pgvector',
    vectors: [
      {
        name: 'embedding',
        kind: 'dense',
        dimension: 64,
        distance: 'cosine',
        precision: 'float32',
        index: { kind: 'hnsw', m: 16, efConstruction: 200 },
      },
    ],
  });
  const fill = async (table: string, records: number): Promise<Store> => {
    const store = await prepared(table, large);
    await run(
      `INSERT INTO ${table} (id, embedding) SELECT i, ARRAY(SELECT random() + i * 0 FROM generate_series(1, 64))::real[]::vector FROM generate_series(1, ${records}) i`,
    );
    return store;
  };
  const finish = async (store: Store): Promise<void> => {
    await until(async () => {
      const { done, isStalled } = await store.indexProgress(large);
      if (isStalled === true) await store.buildIndex(large);
      return done;
    }, 'the index');
  };
  /** A writer in whose transaction the table is: a build waits for it, so that it is under way until the writer ends. */
  const holding = async (table: string): Promise<pg.Client> => {
    const writer = new pg.Client(serverUrl());
    await writer.connect();
    await writer.query(`BEGIN; LOCK TABLE ${table} IN ROW EXCLUSIVE MODE`);
    return writer;
  };
  const isBuilding = (table: string): Promise<unknown> =>
    scalar(
      `SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE INDEX%${table}%'`,
    );

  test('it goes on in the server when the client that started it is gone, and another one sees it through', async () => {
    const store = await fill('index_left', 300);
    const writer = await holding('index_left');
    const other = await pgvector.open({ connection: { url: serverUrl() }, collection: 'index_left', options: {} });
    await other.buildIndex(large);
    expect(await isBuilding('index_left')).toBe('1');
    await other.close();
    const progress = await store.indexProgress(large);
    expect(progress).toMatchObject({
      done: false,
      fraction: expect.any(Number),
      detail: expect.stringMatching(/0 of 1 indexes; index_left_embedding_hnsw: /),
    });
    await store.buildIndex(large);
    expect(await isBuilding('index_left')).toBe('1');
    await writer.end();
    await finish(store);
    expect((await store.describe()).schema.vectors).toMatchObject([
      { index: { kind: 'hnsw', m: 16, efConstruction: 200 }, distance: 'cosine' },
    ]);
  });

  test('that a busy server has not begun is not taken for one that is not there, and started twice', async () => {
    const store = await fill('index_late', 300);
    const late = await delayed(serverUrl(), 'CREATE INDEX', 2000);
    const ours = await pgvector.open({ connection: { url: late.url }, collection: 'index_late', options: {} });
    await ours.buildIndex(large);
    expect((await ours.indexProgress(large)).isStalled).toBeUndefined();
    await finish(ours);
    await ours.close();
    await late.close();
    expect(await store.indexProgress(large)).toMatchObject({ done: true });
  });

  test('a build that was killed is started again', async () => {
    const store = await fill('index_killed', 300);
    const writer = await holding('index_killed');
    await store.buildIndex(large);
    const killed = await scalar(
      `SELECT pg_terminate_backend(pid, 60000)::text FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%index_killed%'`,
    );
    expect(killed).toBe('true');
    await writer.end();
    // The process that saw it die is told; the next look starts it anew.
    await expect(
      store
        .indexProgress(large)
        .then(async () => await finish(store))
        .catch(async (error: unknown) => {
          expect(error).toMatchObject({ name: 'StoreUnavailable' });
          await finish(store);
        }),
    ).resolves.toBeUndefined();
  });

  test('an invalid index that a concurrent build left is dropped and built again', async () => {
    const store = await fill('index_invalid', 50);
    await run(`CREATE INDEX index_invalid_embedding_hnsw ON index_invalid USING hnsw (embedding vector_cosine_ops);
      UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'index_invalid_embedding_hnsw'::regclass`);
    await store.buildIndex(large);
    await finish(store);
    expect(
      await scalar(`SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'index_invalid_embedding_hnsw'::regclass`),
    ).toBe('true');
  });

  test('a vector of more dimensions than an index takes is left without one', async () => {
    const wide = makeSchema({
      store: 'pgvector',
      vectors: [{ name: 'embedding', kind: 'dense', dimension: 2001, precision: 'float32', distance: 'cosine' }],
    });
    const store = await prepared('index_wide', wide);
    await store.buildIndex(wide);
    expect(await store.indexProgress(wide)).toMatchObject({ done: true });
  });

  test('IVFFlat is built with its lists, and what it cannot index is refused', async () => {
    const flat = (distance: Distance): CollectionSchema =>
      makeSchema({
        store: 'pgvector',
        vectors: [
          {
            name: 'embedding',
            kind: 'dense',
            dimension: 4,
            precision: 'float16',
            distance,
            index: { kind: 'ivfflat', lists: 7 },
          },
        ],
      });
    const store = await prepared('index_flat', flat('euclid'));
    await store.buildIndex(flat('euclid'));
    expect((await store.describe()).schema.vectors).toMatchObject([
      { precision: 'float16', distance: 'euclid', index: { kind: 'ivfflat', lists: 7 } },
    ]);
    await expect(store.buildIndex(flat('manhattan'))).rejects.toMatchObject({ name: 'Incompatible' });
  });
});

describe('searching', () => {
  test.each<Distance>(['cosine', 'dot', 'euclid', 'manhattan'])(
    'by %s finds the nearest as that distance counts',
    async (distance) => {
      const of = makeSchema({
        store: 'pgvector',
        vectors: [{ name: 'embedding', kind: 'dense', dimension: 8, precision: 'float32', distance }],
      });
      const store = await prepared(`search_${distance}`, of);
      const batch = makeBatch({ ids: Array.from({ length: 200 }, (_, i) => String(i + 1)), vectors: of.vectors });
      await store.write(batch, at(0));
      await store.buildIndex(of);
      const column = batch.vectors.get('embedding');
      if (column === undefined) throw new Error('no vector');
      const query = Float32Array.from({ length: 8 }, (_, i) => Math.sin(i + 1));
      const vectorAt = (i: number): Float32Array => column.values.subarray(i * 8, i * 8 + 8);
      const nearest = batch.ids
        .map((id, i) => ({ id, far: distanceBetween[distance](query, vectorAt(i)) }))
        .sort((a, b) => a.far - b.far);
      const found = await store.search({ vector: 'embedding', query, k: 60, exact: true });
      expect(found.map(({ id }) => id)).toEqual(nearest.slice(0, 60).map(({ id }) => id));
      expect(await store.search({ vector: 'embedding', query, k: 100 })).toHaveLength(100);
      await expect(store.search({ vector: 'none', query, k: 1 })).rejects.toMatchObject({ name: 'NotFound' });
    },
  );
});

describe('reading', () => {
  test('a range is one snapshot: what is written meanwhile is not in it', async () => {
    const store = await prepared('snapshot');
    await store.write(numbered(2000, `{"text":"${'x'.repeat(2000)}"}`), at(0));
    const seen: string[] = [];
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 100, maxBytes: 1 << 20 })) {
      if (seen.length === 0)
        await run('DELETE FROM snapshot WHERE id > 1000; INSERT INTO snapshot (id) VALUES (99999)');
      seen.push(...batch.ids);
    }
    expect(seen).toHaveLength(2000);
    expect(await store.count()).toBe(1001);
  });

  test('a read that is left early gives its connection back', async () => {
    const store = await pgvector.open({
      connection: { url: serverUrl() },
      collection: 'snapshot',
      options: { maxConnections: 1 },
    });
    for (let i = 0; i < 3; i++) {
      for await (const { rest } of store.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1 << 20 })) {
        expect(rest).not.toBeNull();
        break;
      }
    }
    expect(await store.count()).toBe(1001);
    await store.close();
  });
});

describe('the view that readers follow', () => {
  test('it is moved between tables of different columns, keeps its grants, and never replaces a table', async () => {
    await run(`CREATE TABLE view_a (id int PRIMARY KEY, a int, embedding vector(1)); CREATE TABLE view_b (id int PRIMARY KEY, b text, embedding vector(1)); CREATE TABLE view_taken (id int);
      CREATE ROLE vecferry_reader_${process.pid}`);
    const { pointer } = await open('view_a');
    await pointer?.move('view_live', 'public.view_a');
    await run(`GRANT SELECT ON view_live TO vecferry_reader_${process.pid}`);
    await pointer?.move('view_live', 'view_b');
    expect(await pointer?.read('view_live')).toBe('view_b');
    expect(
      await scalar(`SELECT has_table_privilege('vecferry_reader_${process.pid}', 'view_live', 'SELECT')::text`),
    ).toBe('true');
    await expect(pointer?.move('view_taken', 'view_a')).rejects.toMatchObject({ name: 'Incompatible' });
    await expect(pointer?.move('view_taken', undefined)).rejects.toMatchObject({ name: 'Incompatible' });
    await run(`CREATE VIEW view_made AS SELECT * FROM view_a`);
    expect(await pointer?.read('view_made')).toBe('public.view_a');
    await run(`DROP OWNED BY vecferry_reader_${process.pid}; DROP ROLE vecferry_reader_${process.pid}`);
  });
});

describe('faults', () => {
  const failing = (url: string, collection = 'nothing') =>
    pgvector.open({ connection: { url }, collection, options: {} });

  test('a server that is not there is StoreUnavailable', async () => {
    const store = await failing('postgresql://127.0.0.1:1/none');
    await expect(store.count()).rejects.toMatchObject({ name: 'StoreUnavailable', retryable: true });
    await store.close();
  });

  test('a database that is not there is NotFound', async () => {
    const url = new URL(serverUrl());
    url.pathname = '/no_such_database';
    const store = await failing(url.href);
    await expect(store.count()).rejects.toMatchObject({ name: 'NotFound' });
    await store.close();
  });

  test('connection slots used up is Throttled, missing rights are AccessDenied', async () => {
    const role = `vecferry_limited_${process.pid}`;
    await run(`CREATE TABLE secret_table (id int PRIMARY KEY); CREATE ROLE ${role} LOGIN CONNECTION LIMIT 0`);
    const url = new URL(serverUrl());
    url.username = role;
    const store = await failing(url.href, 'secret_table');
    await expect(store.count()).rejects.toMatchObject({ name: 'Throttled', retryable: true });
    await run(`ALTER ROLE ${role} CONNECTION LIMIT 5`);
    await expect(store.count()).rejects.toMatchObject({ name: 'AccessDenied' });
    await store.close();
    await run(`DROP ROLE ${role}`);
  });

  test('a connection that is cut in a write is StoreUnavailable, and the write can be done again', async () => {
    const store = await prepared('cut_off');
    const cut = store.write(numbered(5000, `{"text":"${'x'.repeat(5000)}"}`), at(0));
    const killed = (async () => {
      for (let i = 0; i < 200; i++) {
        const count = await scalar(
          `SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE query LIKE 'COPY%cut_off%' AND pid <> pg_backend_pid()`,
        );
        if (count !== '0') return;
      }
    })();
    const outcome = await Promise.allSettled([cut, killed]);
    if (outcome[0].status === 'rejected') expect(outcome[0].reason).toMatchObject({ name: 'StoreUnavailable' });
    await store.write(numbered(5000, '{}'), at(0));
    expect(await store.count()).toBe(5000);
  });

  test.each([[{}], [{ url: 'http://localhost' }]])('a connection of %j is an invalid event', async (connection) => {
    await expect(pgvector.open({ connection, collection: 'x', options: {} })).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
  });
});
