/** Over 400 lines: every type of column with the values that filters have to tell apart. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { concatBatches } from '../../lib/batch.ts';
import { type Condition, meets, type Scalar } from '../../lib/filter.ts';
import type { Database } from '../../lib/stores/pgvector/connect.ts';
import { connect } from '../../lib/stores/pgvector/open.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { ResolvedConnection, Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makeDatabase } from '../servers/database.ts';

/** A filter in SQL finds the records whose payload meets it, and no others, whatever the column is. */

/** SQL of values that a column of the type holds; each row takes the next one of each column. */
const valuesOf: Readonly<Record<string, readonly string[]>> = {
  smallint: ['-32768', '32767', '0', '7', '-7'],
  integer: ['2147483647', '-2147483648', '0', '2020', '2021', '2022'],
  bigint: [
    '9007199254740991',
    '9007199254740992',
    '9007199254740993',
    '9007199254740994',
    '9007199254740995',
    '-9007199254740993',
    '9223372036854775807',
    '9223372036854775806',
    '9223372036854775000',
    `'-9223372036854775808'`,
    '0',
    '5',
  ],
  real: ['0.1', '-0.1', `'-0'`, '0', '16777217', '3.4028235e38', '1e-45', '1.17549435e-38', '2.5', '9.8765432'],
  'double precision': [
    '0.1',
    '0.3',
    '0.1::float8 + 0.2',
    `'-0'`,
    '1.7976931348623157e308',
    '5e-324',
    '9007199254740993',
    '2.5',
  ],
  'numeric(12,4)': ['0.1', '12345678.9012', '-12345678.9012', '0', '2.5', '2.50', '-0.0001'],
  'numeric(15,15)': ['0.123456789012345', '0.123456789012346', '0.1', '-0.999999999999999'],
  'numeric(3,-10)': ['1230000000000', '-10000000000', '0'],
  numeric: ['1.10', '1.1', '123456789012345678901234567890.5', '-7', '1e-30', `'NaN'`, '1e600', '0', '2020'],
  'numeric(40,10)': ['1.1', '123456789012345678901234567890.0123456789', '-2'],
  text: [
    `'a'`,
    `'A'`,
    `''`,
    `'it''s'`,
    `'"; DROP TABLE filtered; --'`,
    `'\\'' OR 1=1 --'`,
    `E'tab\\t\\u0001'`,
    `'2020'`,
    `'true'`,
    `'null'`,
    `'👩‍👩‍👧‍👦 café'`,
    `E'cafe\\u0301'`,
    `' a '`,
    `'$1'`,
    `'%'`,
  ],
  'varchar(20)': [`'a'`, `'a '`, `'O''Brien'`, `'\\'`],
  'char(5)': [`'a'`, `'ab '`, `'abcde'`, `''`],
  boolean: ['true', 'false'],
  uuid: [`'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'`, `'00000000-0000-0000-0000-000000000000'`],
  timestamptz: [
    `'2026-03-29 02:30:00.123456+02'`,
    `'2026-03-29 00:30:00+00'`,
    `'0044-03-15 12:00:00+00 BC'`,
    `'0001-01-01 00:00:00+00 BC'`,
    `'12026-01-01 00:00:00+00'`,
    `'294276-12-31 23:59:59.999999+00'`,
    `'4713-01-01 00:00:00+00 BC'`,
    `'1969-12-31 23:59:59.5+00'`,
  ],
  'timestamp(3)': [`'1969-12-31 23:59:59.999'`, `'2026-03-29 00:30:00'`, `'0100-02-28 00:00:00 BC'`],
  date: [`'2024-02-29'`, `'0044-03-15 BC'`, `'5874897-12-31'`, `'10000-01-01'`, `'4714-11-24 BC'`],
  time: [`'23:59:59.999999'`, `'24:00:00'`, `'00:00:00'`, `'12:00:00.5'`],
  timetz: [`'12:00:00+05:30'`],
  interval: [`'1 year 2 mons -3 days 04:05:06.7'`, `'1 day'`, `'24 hours'`],
  bytea: [`'\\x00ff10'`, `'\\x'`, `'\\x01'`],
  mood: [`'sad'`, `'it''s ok'`],
  positive: ['5', '7'],
  inet: [`'192.168.0.1/24'`, `'10.0.0.1'`],
  money_like: [`'a'`, `'B'`],
  jsonb: [
    '5',
    '5.0',
    '0.1',
    '0.1000000000000000055',
    '1',
    '0.9999999999999999',
    '9007199254740993',
    '123456789012345678901234567890',
    '1e400',
    '-1e400',
    '1e-400',
    '"a"',
    '"it\'s"',
    '""',
    '"2020"',
    'true',
    'false',
    'null',
    '["a", 1, null, true, ["b"], {"a": 1}]',
    '[["a"], [5]]',
    '[]',
    '{}',
    '{"a": "a"}',
    '[0.30000000000000004, "\\u0001"]',
    '"👩‍👩‍👧‍👦"',
  ].map((text) => `'${text.replaceAll("'", "''")}'`),
  json: [
    '5',
    ' 5.0 ',
    '5E0',
    '-0',
    '0.1000000000000000055',
    '1',
    '0.9999999999999999',
    '9007199254740993',
    '1e400',
    '-1e40000',
    '1e99999999',
    '1e-99999999',
    '0e99999999',
    '[1e-0099999]',
    '"a"',
    ' "a" ',
    '"\\u0061"',
    '"\\ud83e\\udd9c"',
    '"\\ud83e\\udd9c\\ud83e\\udd9cu0000"',
    '["\\u0000", "a"]',
    '"\\u0000"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\\\u0000"',
    '"\\\\\\u0000"',
    '"\\\\ud800"',
    ' true ',
    'false',
    'null',
    '["a", 1, null, true, ["b"], {"a": 1}]',
    '[["a"]]',
    '{"a": 1, "a": 2}',
    '{"a": "\\u0000"}',
  ].map((text) => `'${text.replaceAll("'", "''")}'`),
  'integer[]': [`'{1,NULL,-3}'`, `'{}'`, `'{{1,2},{3,4}}'`, `'[0:1]={2020,2021}'`, `'{2147483647}'`],
  'bigint[]': [`'{9007199254740993,5}'`, `'{9223372036854775807}'`],
  'text[]': [`ARRAY['a "b" \\c', '', NULL, '{x,y}', 'NULL', 'it''s']`, `'{a,b}'`, `'{{a,b},{c,d}}'`, `'{}'`],
  'varchar(5)[]': [`'{a,b}'`, `'{A}'`],
  'real[]': [`'{0.1,2.5}'`, `'{NaN,Infinity}'`, `'{16777216}'`],
  'double precision[]': [`'{0.1,0.30000000000000004,5e-324}'`],
  'numeric[]': [`'{1.10,NULL}'`, `'{0.1000000000000000055}'`, `'{NaN}'`],
  'boolean[]': [`'{t,f}'`, `'{t}'`],
  'uuid[]': [`'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'`],
  'timestamptz[]': [`ARRAY['2026-01-01 00:00:00.5+00'::timestamptz]`],
  'date[]': [`'{2024-02-29}'`],
  'jsonb[]': [`ARRAY['"a"', '5', '[5]', 'true']::jsonb[]`, `ARRAY['{"a": 1}']::jsonb[]`],
  'json[]': [`ARRAY['"a"', '"\\u0000"', '1e99999']::json[]`],
  'mood[]': [`'{sad}'`],
  'bytea[]': [`ARRAY['\\x00ff']::bytea[]`],
};

/** Names that would do harm unquoted; the first columns have them. */
const awkwardNames = [
  'it\'s "quoted"',
  'select',
  'a.b',
  `x'); DROP TABLE filtered; --`,
  'naïve 🦜',
  '$set',
  'vecferry element',
  '__proto__',
];
const types = Object.keys(valuesOf);
const columns = types.map((type, at) => ({ name: awkwardNames[at] ?? `c${at}`, type }));
const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const rows = Math.max(...Object.values(valuesOf).map(({ length }) => length)) + 3;

/** What may stand in a filter without being a value of the column. */
const strangers: readonly Scalar[] = [
  '',
  'a',
  'ab',
  'a    ',
  'A',
  `'`,
  `\\`,
  `' OR true --`,
  'a\u0000',
  '\u0000',
  '\\\u0000',
  '\ud800',
  '\udc00\ud800',
  '🦜',
  '\\u0000',
  'NaN',
  'Infinity',
  'infinity',
  'now',
  'today',
  'epoch',
  '1.1',
  '1.10',
  '01.1',
  ' 1.1',
  '9'.repeat(600),
  '1e600',
  '24:00:00.1',
  '2024-02-30',
  '2026-03-29T02:30:00.123456+02:00',
  '+294277-01-01T00:00:00Z',
  '999999-01-01T00:00:00Z',
  '-004714-11-24T00:00:00Z',
  '2026-03-29 00:30:00Z',
  '2026-03-29T00:30:00+00:00',
  '+002024-02-29',
  'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
  '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}',
  'AP8Q=',
  '[1]',
  'happy',
  'null',
  true,
  false,
  0,
  -0,
  1,
  5,
  7,
  -3,
  0.1,
  0.10000000149011612,
  0.1 + 0.2,
  2020.5,
  2 ** 53,
  2 ** 53 - 1,
  2 ** 53 + 2,
  2 ** 63,
  -(2 ** 63),
  2 ** 64,
  2 ** 31,
  -(2 ** 15) - 1,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  -Number.MAX_VALUE,
  3.4028235677973366e38,
  1e-46,
];

/** The double next to it, upwards. */
function after(value: number): number {
  if (value === 0) return Number.MIN_VALUE;
  const bits = new BigInt64Array(1);
  const double = new Float64Array(bits.buffer);
  double[0] = value;
  bits[0] = (bits[0] ?? 0n) + (value > 0 ? 1n : -1n);
  const next = double[0] ?? 0;
  return Number.isFinite(next) ? next : value;
}

const isScalar = (value: unknown): value is Scalar =>
  typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value));
const scalarsIn = (payloads: readonly string[], field: string): Scalar[] =>
  payloads.flatMap((payload) => {
    const value: unknown = new Map(Object.entries(JSON.parse(payload))).get(field);
    return [value].flat(3).filter(isScalar);
  });

/** Conditions on a field: its own values, doubles beside them, and what it cannot hold. */
function conditionsOn(field: string, payloads: readonly string[]): fc.Arbitrary<Condition> {
  const own = scalarsIn(payloads, field);
  const beside = own.flatMap((value) =>
    typeof value === 'number'
      ? [after(value), -after(-value), Math.floor(value), Math.ceil(value), String(value)]
      : [`${value} `],
  );
  const value = fc.constantFrom(...own, ...own, ...beside, ...strangers);
  const numbers = [...own, ...beside, ...strangers].filter((each) => typeof each === 'number');
  const bound = fc.option(fc.record({ value: fc.constantFrom(...numbers), isOpen: fc.boolean() }), { nil: undefined });
  const range = fc
    .record({ from: bound, to: bound })
    .map(({ from, to }): Condition => ({ kind: 'range', field, ...(from && { from }), ...(to && { to }) }));
  const among = fc
    .array(value, { minLength: 1, maxLength: 5 })
    .map((values): Condition => ({ kind: 'in', field, values }));
  return fc.oneof({ weight: 2, arbitrary: among }, { weight: 1, arbitrary: range });
}

describe.each(['a server', 'PGlite'])('filters in %s', (where) => {
  let connection: ResolvedConnection;
  let database: Database;
  let drop = async (): Promise<void> => {};
  const opened: Store[] = [];

  beforeAll(async () => {
    if (where === 'PGlite') connection = { path: mkdtempSync(join(tmpdir(), 'vecferry-filter-')) };
    else {
      const made = await makeDatabase('pgvector_filter');
      drop = made.drop;
      connection = { url: made.url };
    }
    database = await connect(connection, 2);
  });
  afterAll(async () => {
    await Promise.all(opened.map((store) => store.close()));
    await database.close();
    await drop();
  });

  const run = (sql: string): Promise<void> => database.use((session) => session.run(sql));
  const open = async (collection: string): Promise<Store> => {
    const store = await pgvector.open({ connection, collection, options: {} });
    opened.push(store);
    return store;
  };
  const readAll = async (store: Store) => {
    const batches = [];
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 500, maxBytes: 1 << 22 }))
      batches.push(batch);
    return concatBatches(batches);
  };
  const found = async (store: Store, filter: readonly Condition[]): Promise<string[]> => {
    const hits = await store.search({ vector: 'embedding', query: new Float32Array([1, 1, 1, 1]), k: 1000, filter });
    return hits.map(({ id }) => id).sort();
  };
  /** Asks `runs` drawn filters, and holds each answer against what the payloads say. */
  const expectAsPayloadsSay = async (store: Store, names: readonly string[], runs: number): Promise<void> => {
    const { ids, payloads } = await readAll(store);
    const one = fc.oneof(...names.map((name) => conditionsOn(name, payloads)));
    const filters = fc.oneof({ weight: 4, arbitrary: one.map((each) => [each]) }, fc.tuple(one, one));
    const agree = async (filter: readonly Condition[]): Promise<boolean> => {
      const wanted = ids.filter((_, at) => meets(filter, payloads[at] ?? '{}')).sort();
      expect({ filter, found: await found(store, filter) }).toEqual({ filter, found: wanted });
      return wanted.length > 0;
    };
    for (const field of names) {
      await agree([{ kind: 'in', field, values: strangers }]);
      for (const value of new Set(scalarsIn(payloads, field))) await agree([{ kind: 'in', field, values: [value] }]);
    }
    let matched = 0;
    await fc.assert(
      fc.asyncProperty(filters, async (filter) => {
        if (await agree(filter)) matched++;
      }),
      { numRuns: runs, seed: 20_261_121 },
    );
    // Filters that nothing meets prove little.
    expect(matched).toBeGreaterThan(runs / 5);
  };

  test('on columns of every type they find what the payloads meet, injected values and all', async () => {
    await run(`CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE DOMAIN money_like AS text;
      CREATE TABLE filtered (id int PRIMARY KEY, embedding vector(4) NOT NULL DEFAULT '[1,2,3,4]', ${columns.map(({ name, type }) => `${quote(name)} ${type}`).join(', ')})`);
    const literal = (type: string, row: number): string => {
      const values = valuesOf[type] ?? [];
      // The rows after the last value are NULL for some, and begin again for others.
      return row < values.length
        ? `(${values[row]})::${type}`
        : (row + type.length) % 3 === 0
          ? 'NULL'
          : `(${values[row % values.length]})::${type}`;
    };
    for (let row = 0; row < rows; row++)
      await run(
        `INSERT INTO filtered VALUES (${row}, DEFAULT, ${columns.map(({ type }) => literal(type, row)).join(', ')})`,
      );
    await expectAsPayloadsSay(
      await open('filtered'),
      [...columns.map(({ name }) => name), 'id', 'embedding', 'not there'],
      where === 'PGlite' ? 300 : 2000,
    );
  });

  test('in a payload that is one jsonb column they find the same, fields of any name and kind', async () => {
    const names = ['a', 'b', ...awkwardNames, '', 'x'.repeat(100)].filter((name) => name !== '__proto__');
    const random = fc.sample(
      fc.record(Object.fromEntries(names.map((name) => [name, fc.jsonValue({ maxDepth: 2 })])), { requiredKeys: [] }),
      { numRuns: 60, seed: 7 },
    );
    const values = valuesOf['jsonb']?.map((text) => text.slice(1, -1).replaceAll("''", "'")) ?? [];
    const payloads = [
      ...random.map((each) => JSON.stringify(each)),
      ...values.map((text, at) => `{${JSON.stringify(names[at % 4])}:${text},"__proto__":${text}}`),
    ].map((text) => (/\\u0000|\\ud[89a-f]/.test(text) ? '{}' : text));
    const store = await open('whole');
    const schema = makeSchema({ store: 'pgvector' });
    await store.prepare(schema);
    const ids = payloads.map((_, at) => String(at + 1));
    await store.write(makeBatch({ ids, payloads }), { position: { run: 'r', shard: 's', offset: 0 }, mode: 'upsert' });
    await expectAsPayloadsSay(
      store,
      [...names.filter((name) => name !== ''), '__proto__', 'not there', 'a\u0000'],
      where === 'PGlite' ? 300 : 2000,
    );
  });
});
