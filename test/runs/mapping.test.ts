import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { planSchema } from '../../lib/run-files.ts';
import { connectServer } from '../servers/database.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** Another shape on the way, through whole runs: what the rules make is what the stores then hold, and nothing is lost in silence. */

let runs: Runs;
let sql: pg.Client;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  ({ sql, url } = await connectServer());
});
afterAll(async () => {
  await sql.end();
  await runs.close();
});

const tableOf = (collection: string): EndpointInput => ({ store: 'pgvector', connection: { url }, collection });
const rowsOf = async (query: string): Promise<unknown[]> => (await sql.query(query)).rows;

const statuses = ['PENDING', 'DONE', 'CANCELLED', 'Canceled', 'cancelled by user'];

/** A hundred thousand orders, whose status is one of five texts, or what `odd` says of some. */
async function makeOrders({ rows = 100_000, odd = '' } = {}): Promise<string> {
  const table = runs.unique('orders');
  await sql.query(
    `CREATE TABLE ${table} (id bigint PRIMARY KEY, status varchar(20), customer text NOT NULL, embedding vector(3))`,
  );
  const values = statuses.map((status) => `'${status}'`).join(', ');
  await sql.query(
    `INSERT INTO ${table} SELECT i, (ARRAY[${values}])[1 + i % 5], 'customer ' || i % 100, ARRAY[i % 97, i % 89, 1]::float4[]::vector FROM generate_series(1, ${rows}) i`,
  );
  if (odd !== '') await sql.query(`UPDATE ${table} SET status = ${odd}`);
  return table;
}

/** The values in which the whole table's fields stand, one line a record. */
const digestOf = async (table: string, status: string): Promise<unknown[]> =>
  await rowsOf(
    `SELECT count(*)::int AS rows, md5(string_agg(concat_ws('|', id, ${status}, customer, embedding), ',' ORDER BY id)) AS sum FROM ${table}`,
  );

describe('100,000 rows with a VARCHAR status', () => {
  const states = ['pending', 'done', 'cancelled', 'canceled', 'cancelled by user'];
  const values = Object.fromEntries(statuses.map((status, at) => [status, states[at]]));

  test('become enum values with a check, and the same texts again by a second run', async () => {
    const table = await makeOrders();
    const [there, back, type] = [runs.unique('orders_enum'), runs.unique('orders_back'), runs.unique('order_state')];
    const lean = { validate: { recall: null }, cutover: null };
    const report = expectValidated(
      await runs.run({
        source: tableOf(table),
        target: tableOf(there),
        mapping: {
          payload: { status: { to: 'state', values } },
          add: { origin: { value: 'shop' } },
          columns: { state: { enum: type, values: states }, origin: { values: ['shop', 'phone'], check: true } },
        },
        ...lean,
      }),
    );
    expect(report.compare).toMatchObject({ records: 100_000, equal: 100_000 });
    const declared = `SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = '${there}'::regclass AND attname IN ('state', 'status', 'origin') ORDER BY attname`;
    expect(await rowsOf(declared)).toEqual([
      { attname: 'origin', type: 'text' },
      { attname: 'state', type },
    ]);
    await expect(sql.query(`UPDATE ${there} SET origin = 'mail' WHERE id = 1`)).rejects.toThrow(/check constraint/);
    await expect(sql.query(`UPDATE ${there} SET state = 'lost' WHERE id = 1`)).rejects.toThrow(/invalid input value/);
    expect(await rowsOf(`SELECT state::text, count(*)::int AS n FROM ${there} GROUP BY 1 ORDER BY 1`)).toEqual(
      [...states].sort().map((state) => ({ state, n: 20_000 })),
    );

    const again = Object.fromEntries(Object.entries(values).map(([status, state]) => [state, status]));
    expectValidated(
      await runs.run({
        source: tableOf(there),
        target: tableOf(back),
        mapping: {
          payload: { state: { to: 'status', values: again }, origin: null },
          columns: { status: { maxLength: 20, values: statuses, check: true } },
        },
        ...lean,
      }),
    );
    expect(await digestOf(back, 'status')).toEqual(await digestOf(table, 'status'));
    const types = (name: string) =>
      rowsOf(
        `SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute WHERE attrelid = '${name}'::regclass AND attnum > 0 ORDER BY attname`,
      );
    expect(await types(back)).toEqual(await types(table));
  });

  test('with a value that no rule takes are refused by the plan, which names it, its records and the first ids', async () => {
    const table = await makeOrders({
      odd: `CASE WHEN id % 25000 = 7 THEN 'LOST' WHEN id = 99999 THEN 'odd "one"' ELSE status END`,
    });
    const event = {
      source: tableOf(table),
      target: tableOf(runs.unique('orders_enum')),
      mapping: { payload: { status: { values } } },
    };
    const { outcome } = await runs.run(event);
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'Incompatible' });
    expect(JSON.stringify(outcome)).toMatch(/'LOST' \(4 records, first ids 7, 25007, 50007, 75007\)/);
    expect(JSON.stringify(outcome)).toMatch(/odd .{1,6}one.{1,6} \(1 record, first ids 99999\)/);
    expect(await rowsOf(`SELECT to_regclass('${event.target.collection}') AS made`)).toEqual([{ made: null }]);

    const report = expectValidated(
      await runs.run({
        ...event,
        mapping: {
          payload: {
            status: {
              values: { PENDING: 'pending', DONE: 'done' },
              patterns: [{ like: 'cancel%', to: 'cancelled' }],
              otherwise: 'drop',
            },
          },
          columns: { status: { enum: runs.unique('order_state'), values: ['pending', 'done', 'cancelled'] } },
          records: [{ name: 'one customer', drop: { customer: 'customer 0' } }],
        },
        validate: { recall: null },
        cutover: null,
      }),
    );
    expect(report.compare).toMatchObject({ records: 100_000, equal: 98_995, skipped: 1005 });
    expect(report.skipped?.dropped).toEqual([
      { rule: 'one customer', records: 1000, ids: expect.arrayContaining(['100', '200']) },
      { rule: 'payload.status', records: 5, ids: ['7', '25007', '50007', '75007', '99999'] },
    ]);
    const plan = await getJson(runs.engine.objects, runKeys(report.run).plan, planSchema);
    expect(plan?.checkedMapping?.findings.map(({ what }) => what)).toContain(
      "rule 'payload.status' leaves out 5 of all 100,000 records; first ids 7, 25007, 50007, 75007, 99999",
    );
  });
});

test('an enum type that is there with other values is refused, and with the same ones taken', async () => {
  const table = await makeOrders({ rows: 20 });
  const type = runs.unique('order_state');
  await sql.query(`CREATE TYPE ${type} AS ENUM ('open', 'closed')`);
  const mapping = (values: string[]) => ({
    payload: { status: { values: { PENDING: 'open' }, otherwise: { value: 'closed' } } },
    columns: { status: { enum: type, values } },
  });
  const run = async (values: string[]) =>
    await runs.run({
      source: tableOf(table),
      target: tableOf(runs.unique('orders_enum')),
      mapping: mapping(values),
      validate: { recall: null },
      cutover: null,
    });
  const { outcome } = await run(['open', 'closed', 'lost']);
  expect(JSON.stringify(outcome)).toMatch(/is there with the values open, closed, and .*asks for open, closed, lost/);
  expectValidated(await run(['closed', 'open']));
});

test('PostgreSQL to Qdrant and back: paths, split, join, template, defaults and casts', async () => {
  const table = runs.unique('people');
  await sql.query(
    `CREATE TABLE ${table} (id integer PRIMARY KEY, name text, city text, views text, born date, meta jsonb, note text, embedding vector(3))`,
  );
  await sql.query(
    `INSERT INTO ${table} SELECT i, 'Ada' || i || ' King Lovelace', CASE WHEN i % 3 = 0 THEN NULL ELSE 'London' END, (i * 10)::text, date '1815-12-10' + i,
      jsonb_build_object('category', 'c' || i % 4, 'score', i + 0.25), 'secret', ARRAY[i, 1, 2]::float4[]::vector FROM generate_series(1, 1000) i`,
  );
  const middle = await endpointIn(runs, 'qdrant', 'people');
  const lean = { validate: { recall: null }, cutover: null };
  expectValidated(
    await runs.run({
      source: tableOf(table),
      target: middle,
      mapping: {
        // Not kept at length 1, as for cosine.
        vectors: { embedding: { distance: 'euclid' } },
        payload: {
          name: { split: { by: ' ', to: ['person.first', 'person.last'] } },
          city: { default: 'unknown' },
          views: { cast: 'integer' },
          'meta.category': { to: 'category' },
          note: null,
        },
        add: {
          slug: { template: '{meta.category}-{id}' },
          tenant: { value: 'acme' },
          label: { join: ['city', 'name'], by: ': ' },
        },
      },
      ...lean,
    }),
  );
  const found = await (await runs.open(middle)).fetch(['3', '4']);
  const payloads = Object.fromEntries(found.ids.map((id, at) => [id, JSON.parse(found.payloads[at] ?? '')]));
  expect(payloads).toEqual({
    3: {
      person: { first: 'Ada3', last: 'King Lovelace' },
      city: 'unknown',
      views: 30,
      born: '1815-12-13',
      meta: { score: 3.25 },
      category: 'c3',
      slug: 'c3-3',
      tenant: 'acme',
      label: 'Ada3 King Lovelace',
    },
    4: expect.objectContaining({ city: 'London', category: 'c0', label: 'London: Ada4 King Lovelace' }),
  });

  const back = runs.unique('people_back');
  expectValidated(
    await runs.run({
      source: middle,
      target: tableOf(back),
      mapping: {
        others: 'drop',
        payload: {
          city: { values: { unknown: null }, otherwise: 'keep' },
          views: { cast: 'string' },
          born: { cast: 'date' },
          'meta.score': {},
          category: { to: 'meta.category' },
        },
        add: { name: { join: ['person.first', 'person.last'] } },
        columns: { city: { type: 'text' } },
      },
      ...lean,
    }),
  );
  const people = (name: string) =>
    rowsOf(`SELECT id::int, name, city, views, born::text, meta, embedding::text FROM ${name} ORDER BY 1`);
  expect(await people(back)).toEqual(await people(table));
});

describe.each(['qdrant', 'lancedb'] as const)('into %s', (store) => {
  test('filters follow a renamed field, and two collections are held against each other by the same rules', async () => {
    const table = runs.unique('topics');
    await sql.query(
      `CREATE TABLE ${table} (id integer PRIMARY KEY, topic text, status text, price text, embedding vector(3))`,
    );
    await sql.query(
      `INSERT INTO ${table} SELECT i, 't' || i % 5, CASE WHEN i % 50 = 0 THEN NULL WHEN i % 2 = 0 THEN 'PENDING' ELSE 'DONE' END, (i / 4.0)::numeric(10,2)::text, ARRAY[sin(i), cos(i), i % 7]::float4[]::vector FROM generate_series(1, 600) i`,
    );
    const target = await endpointIn(runs, store, 'topics');
    const recall = {
      queries: 20,
      depths: [],
      sets: [{ name: 'filtered', sample: 20, filter: { topic: 't1' }, atLeast: null }],
    };
    const event = {
      source: tableOf(table),
      target,
      mapping: {
        vectors: { embedding: { distance: 'cosine' } },
        payload: {
          topic: { to: 'subject' },
          status: { values: { PENDING: 'pending', DONE: 'done' }, default: 'none' },
          price: 'number',
        },
        add: { slug: { template: '{topic}/{id}' } },
        records: [{ name: 'fives', drop: { topic: 't4' } }],
      },
      validate: { recall },
      cutover: null,
    };
    const report = expectValidated(await runs.run(event));
    expect(report.compare).toMatchObject({ equal: 480, skipped: 120 });
    const [entry] = report.recall?.sets ?? [];
    expect(entry?.candidates).toBe(120);
    expect(entry?.source).toMatchObject({ measured: true, mean: 1 });
    expect(entry?.target).toMatchObject({ measured: true, mean: expect.any(Number) });
    if (entry?.target.measured === true) expect(entry.target.mean).toBeGreaterThan(0.95);

    const again = expectValidated(await runs.run({ ...event, mode: 'validate' }));
    expect(again.compare).toMatchObject({ equal: 480, skipped: 120 });

    const changed = { ...recall, sets: [{ name: 'filtered', sample: 20, filter: { status: 'DONE' }, atLeast: null }] };
    const { outcome } = await runs.run({
      ...event,
      target: await endpointIn(runs, store, 'topics'),
      validate: { recall: changed },
    });
    expect(JSON.stringify(outcome)).toMatch(/filters by 'status', which mapping\.payload gives other values/);
  });
});
