import { afterAll, beforeAll } from '@jest/globals';
import pg from 'pg';
import { type Batch, concatBatches } from '../../lib/batch.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { InPlace, Lacking } from '../../lib/stores/place-port.ts';
import { placeStands } from '../../lib/stores/place-stands.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';
import { until } from '../until.ts';

/** Tables of a test file's own database that get a new vector in place, and what a model would make of their texts. */

const everything = { from: null, to: null };
const limits = { maxRecords: 500, maxBytes: 1 << 22 };
export const [oldSize, newSize] = [4, 6];
/** What a pointer says once readers have the new vector. */
export const stands = placeStands.made('a-run');

export const readAll = async (store: Store): Promise<Batch> => {
  const batches: Batch[] = [];
  for await (const { batch } of store.read(everything, limits)) batches.push(batch);
  return concatBatches(batches);
};

/** What a model would make of the titles, which no two share. */
export const madeOf = (title: string): number[] => {
  const number = Number(/\d+/.exec(title)?.[0] ?? 0);
  return Array.from({ length: newSize }, (_, at) => number + at * title.length);
};

/** The same records with the model's vectors. */
export const withMade = (batch: Batch): Batch => {
  const titles = batch.payloads.map((payload): string => JSON.parse(payload).title ?? '');
  const values = Float32Array.from(titles.flatMap(madeOf));
  const present = Uint8Array.from(titles, (title) => (title === '' ? 0 : 1));
  return { ...batch, vectors: new Map([['embedding', { kind: 'dense', dimension: newSize, values, present }]]) };
};

/** What the target is to have. */
export const madeSchema = async (source: Store): Promise<CollectionSchema> => {
  const { schema } = await source.describe();
  return { ...schema, vectors: schema.vectors.map((each) => ({ ...each, dimension: newSize, distance: 'cosine' })) };
};

/** Begins the indexes of the new vector, one after the other, and waits until they are there. */
export const built = async (target: Store, schema: CollectionSchema): Promise<void> => {
  await target.buildIndex(schema);
  await until(async () => {
    const { done, isStalled = false } = await target.indexProgress(schema);
    if (isStalled) await target.buildIndex(schema);
    return done;
  }, 'the index');
};

const lackingOf = async (target: Store, after: string | null): Promise<Lacking> => {
  if (target.place === undefined) throw new Error('no target in place');
  return await target.place.lacking(after, 50);
};

/** Writes every vector that the table lacks. @returns how many */
export const catchUp = async (target: Store): Promise<number> => {
  let [caught, after]: [number, string | null] = [0, null];
  do {
    const { batch, next }: Lacking = await lackingOf(target, after);
    if (batch.count > 0) await target.write(withMade(batch), { mode: 'upsert' });
    caught += batch.count;
    after = next;
  } while (after !== null);
  return caught;
};

/** Makes the database before the tests around this call, and drops it after them. */
export function useInPlace(name: string) {
  let url = '';
  let drop = async (): Promise<void> => {};
  let client: pg.Client;
  const opened: Store[] = [];
  let tables = 0;

  beforeAll(async () => {
    ({ url, drop } = await makeDatabase(name));
    client = new pg.Client(url);
    await client.connect();
  });
  afterAll(async () => {
    await Promise.all(opened.map((store) => store.close()));
    await client.end();
    await drop();
  });

  const query = async (sql: string): Promise<Record<string, unknown>[]> => (await client.query(sql)).rows;
  const open = async (table: string, change: Partial<InPlace> = {}, options = {}): Promise<Store> => {
    const place = {
      side: 'target',
      run: 'a-run',
      vector: undefined,
      dimension: newSize,
      fields: ['title'],
      ...change,
    };
    const store = await pgvector.open({
      connection: { url },
      collection: `public.${table}`,
      options,
      place: { records: 'all', ...place } as InPlace,
    });
    opened.push(store);
    return store;
  };
  const sides = async (table: string, change: Partial<InPlace> = {}) => ({
    source: await open(table, { ...change, side: 'source' }),
    target: await open(table, change),
  });
  /** A table of so many rows with an index on its vector. */
  const makeTable = async (rows: number, columns = ''): Promise<string> => {
    const table = `${name}_${++tables}`;
    await query(
      `CREATE TABLE ${table} (id int PRIMARY KEY, title text, year int, embedding vector(${oldSize})${columns})`,
    );
    await query(
      `INSERT INTO ${table} SELECT i, 'title ' || i, 1900 + i % 100, ('[' || i || ',1,2,3]')::vector FROM generate_series(1, ${rows}) i`,
    );
    await query(`CREATE INDEX ${table}_idx ON ${table} USING hnsw (embedding vector_cosine_ops)`);
    return table;
  };
  /** A table whose new vectors are all written, and not yet indexed. */
  const filledTable = async (rows: number) => {
    const table = await makeTable(rows);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    const schema = await madeSchema(source);
    await target.prepare(schema);
    await target.write(withMade(exported), { mode: 'upsert' });
    return { table, source, target, exported, schema };
  };
  return {
    serverUrl: () => url,
    query,
    /** One side of the run, closed after the tests. */
    open,
    sides,
    makeTable,
    filledTable,
    indexesOf: async (table: string) =>
      Object.fromEntries(
        (await query(`SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '${table}' ORDER BY 1`)).map(
          (row) => [row['indexname'], String(row['indexdef']).replace(/^.* USING /, '')],
        ),
      ),
    /** Ids of the rows that have no such vector. */
    lackingIn: async (table: string, column: string) =>
      (await query(`SELECT id FROM ${table} WHERE ${column} IS NULL ORDER BY id`)).map((row) => row['id']),
    columnsOf: async (table: string): Promise<string[]> =>
      (
        await query(
          `SELECT attname FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
        )
      ).map((row) => String(row['attname'])),
  };
}
