import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { FieldValues, Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';

/** What PostgreSQL counts of a field is what its records have in their payloads, value by value. */

let database: Awaited<ReturnType<typeof makeDatabase>>;
let sql: pg.Client;
const opened: Store[] = [];
beforeAll(async () => {
  database = await makeDatabase('mapping_values');
  sql = new pg.Client(database.url);
  await sql.connect();
  await sql.query("CREATE TYPE mood AS ENUM ('sad', 'glad')");
  await sql.query("CREATE DOMAIN code AS varchar(8) CHECK (VALUE <> '')");
  await sql.query(
    'CREATE TABLE typed (region text, n integer, t text, v varchar(9), m mood, c code, i bigint, b boolean, d numeric(6,2), w numeric, j jsonb, day date, tags text[], embedding vector(2), PRIMARY KEY (region, n))',
  );
  await sql.query(
    `INSERT INTO typed SELECT 'r' || i % 2, i, CASE WHEN i % 4 = 0 THEN NULL ELSE 'a "b" \\ ' || i % 3 END, 'v', CASE WHEN i % 2 = 0 THEN 'sad' ELSE 'glad' END::mood, 'c' || i % 2, 9007199254740993, i % 2 = 0, 1.50, 1.5,
      jsonb_build_object('k', CASE WHEN i % 2 = 0 THEN '"x"'::jsonb ELSE 'null'::jsonb END, 'deep', jsonb_build_object('n', i % 2)), '2026-01-01', ARRAY['a'], '[1,2]' FROM generate_series(1, 60) i`,
  );
  await sql.query(`CREATE TABLE whole (id integer PRIMARY KEY, payload jsonb NOT NULL, embedding vector(2))`);
  await sql.query(`COMMENT ON COLUMN whole.payload IS 'vecferry {"payload":true}'`);
  await sql.query(
    `INSERT INTO whole VALUES (1, '{"a.b": "own", "a": {"b": "deep"}, "s": "x"}', '[1,2]'), (2, '{"a": {"b": "deep"}, "s": "y"}', '[1,2]'), (3, '{"s": "y"}', '[1,2]')`,
  );
});
afterAll(async () => {
  for (const store of opened) await store.close();
  await sql.end();
  await database.drop();
});

async function open(collection: string): Promise<Store & { readonly values: FieldValues }> {
  const store = await pgvector.open({ connection: { url: database.url }, collection, options: {} });
  opened.push(store);
  if (store.values === undefined) throw new Error('PostgreSQL counts values');
  return { ...store, values: store.values };
}

test.each(['t', 'v', 'm', 'c', 'i', 'b', 'd', 'w', 'j', 'j.k', 'j.deep', 'j.deep.n'])(
  'column %s, whatever its type: enum, varchar and domain are texts',
  async (field) => {
    const store = await open('typed');
    const held = new Map<string, string[]>();
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 100, maxBytes: 1e6 })) {
      for (const [at, id] of batch.ids.entries()) {
        const [first = '', ...rest] = field.split('.');
        const value = rest.reduce<unknown>(
          (object, step) => Object(object)[step],
          JSON.parse((batch.payloads[at] ?? '').replaceAll('9007199254740993', '"big"'))[first],
        );
        if (value === null || value === undefined) continue;
        const key = canonical(value);
        held.set(key, [...(held.get(key) ?? []), id]);
      }
    }
    const counted = (await store.values.distinct(field, { limit: 10, except: [] })) ?? [];
    const found = new Map(
      counted.map(({ value, records }) => [canonical(JSON.parse(value.replace('9007199254740993', '"big"'))), records]),
    );
    expect(held.size).toBeGreaterThan(0);
    expect(found).toEqual(new Map([...held].map(([value, ids]) => [value, ids.length])));
    for (const { value } of counted) {
      const ids = await store.values.idsWith(field, value, 3);
      const all = held.get(canonical(JSON.parse(value.replace('9007199254740993', '"big"'))));
      expect(ids).toEqual(all?.slice(0, 3));
    }
  },
);

const canonical = (value: unknown): string => JSON.stringify(value);

test('in a whole payload a field of that very name wins over a path', async () => {
  const { values } = await open('whole');
  expect(await values.distinct('a.b', { limit: 10, except: [] })).toEqual([
    { value: '"own"', records: 1 },
    { value: '"deep"', records: 1 },
  ]);
  expect(await values.idsWith('s', '"y"', 10)).toEqual(['2', '3']);
});

test('records that a rule drops are not counted, and too many values are said as such', async () => {
  const { values } = await open('typed');
  const all = await values.distinct('m', { limit: 2, except: [{ b: true }] });
  expect(all).toEqual([{ value: '"glad"', records: 30 }]);
  expect(await values.distinct('m', { limit: 1, except: [] })).toBeUndefined();
  expect(await values.distinct('day', { limit: 10, except: [] })).toBeUndefined();
  expect(await values.distinct('tags', { limit: 10, except: [] })).toBeUndefined();
});
