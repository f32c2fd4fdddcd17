import { afterAll, beforeAll } from '@jest/globals';
import pg from 'pg';
import type { VectorIndex } from '../../lib/schema.ts';
import type { IndexSide } from '../../lib/stores/index-port.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { indexStands } from '../../lib/stores/place-stands.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';
import { until } from '../until.ts';

/** Tables of a test file's own database, opened as a run that changes an index has them. */

export const hnsw: VectorIndex = { kind: 'hnsw', m: 8, efConstruction: 32 };
export const ivfflat: VectorIndex = { kind: 'ivfflat', lists: 20 };
/** What a pointer says once the run's index has taken its place. */
export const made = indexStands.made('r1');
const query16 = Float32Array.from({ length: 16 }, (_, at) => Math.sin(at));
export const request = { vector: 'embedding', query: query16, k: 5 };

export interface Asked {
  readonly side?: IndexSide['side'];
  readonly from?: VectorIndex;
  readonly to?: VectorIndex;
  readonly run?: string;
  readonly url?: string;
  readonly path?: string;
  readonly replaces?: string;
}

/** Makes the database before the tests around this call, and drops it after them. */
export function useIndexes(name: string) {
  let database: Awaited<ReturnType<typeof makeDatabase>>;
  let client: pg.Client;
  const opened = new Set<Store>();
  const close = async (store: Store): Promise<void> => {
    opened.delete(store);
    await store.close();
  };
  beforeAll(async () => {
    database = await makeDatabase(name);
    client = new pg.Client(database.url);
    await client.connect();
  });
  afterAll(async () => {
    for (const store of opened) await close(store);
    await client.end();
    await database.drop();
  });
  const query = async (sql: string): Promise<Record<string, unknown>[]> => (await client.query(sql)).rows;
  return {
    serverUrl: () => database.url,
    query,
    close,
    makeTable: async (table: string, { rows = 3000, type = 'vector(16)', more = '' } = {}): Promise<void> => {
      await query(`CREATE TABLE ${table} (id int PRIMARY KEY, topic text, embedding ${type}) ${more}`);
      await query(`INSERT INTO ${table} SELECT g, 'topic ' || g % 10,
        (SELECT array_agg(random() - 0.5) FROM generate_series(1, 16) WHERE g = g)::vector FROM generate_series(1, ${rows}) g`);
      await query(`ANALYZE ${table}`);
    },
    /** A store that is closed after the tests. */
    open: async (table: string, asked: Asked = {}): Promise<Store> => {
      const { side = 'target', from = ivfflat, to = hnsw, run = 'r1', url = database.url, path, replaces } = asked;
      const store = await pgvector.open({
        connection: path === undefined ? { url } : { path },
        collection: table,
        options: {},
        index: { side, run, vector: 'embedding', replaces, from: { index: from }, to: { index: to } },
      });
      opened.add(store);
      return store;
    },
    /** Each with its method, by name. */
    indexesOf: async (table: string): Promise<string[]> => {
      const rows =
        await query(`SELECT c.relname || ' ' || m.amname AS text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = '${table}'::regclass AND m.amname <> 'btree' ORDER BY 1`);
      return rows.map(({ text }) => String(text));
    },
  };
}

/** Begins the run's index, and waits until it is there. */
export async function build(store: Store): Promise<void> {
  const { schema } = await store.describe();
  await store.buildIndex(schema);
  await until(async () => (await store.indexProgress(schema)).done, 'the index');
}
