import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Dictionary, Field, FixedSizeBinary, Int32 } from 'apache-arrow';
import { type Batch, column, concatBatches } from '../../lib/batch.ts';
import { jsonEqual } from '../../lib/compare/json-equal.ts';
import { encodeShard } from '../../lib/shard/shard.ts';
import { idTypeOf } from '../../lib/stores/files/columns.ts';
import { columnsArrow, columnsParquet } from '../../lib/stores/files/write-columns.ts';
import { files } from '../../lib/stores/files.ts';
import type { Source } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** Choices of other writers that are odd and yet common: test/data/formats/odd/make.py made the files. */

const golden = new URL('../data/formats/odd', import.meta.url).pathname;
let made = '';
beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'vecferry-'));
});
afterAll(async () => {
  await rm(made, { recursive: true });
});

const open = (collection: string, path = golden, options = {}): Promise<Source> =>
  files.open({ connection: { path }, collection, options });
async function readAll(store: Source): Promise<Batch> {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1 << 22 }))
    pieces.push(batch);
  return concatBatches(pieces);
}
const put = async (name: string, body: string | Uint8Array): Promise<void> => {
  await mkdir(dirname(join(made, name)), { recursive: true });
  await writeFile(join(made, name), body);
};
const typesOf = async (store: Source): Promise<unknown> =>
  Object.fromEntries((await store.describe()).schema.fields?.map(({ name, type }) => [name, type]) ?? []);

describe('values that other readers lose', () => {
  const uuids = [0, 1, 2].map((i) => `80000000-0000-4000-8000-00000000000${i}`);

  test.each(['uuid-arrow.parquet', 'uuid.arrow', 'uuid-duckdb.parquet'])(
    '%s: UUIDs of 16 bytes are ids and fields of that type, bytes that are none stay bytes',
    async (name) => {
      const store = await open(name);
      expect((await store.describe()).schema.idType).toBe('uuid');
      expect(await typesOf(store)).toMatchObject({ ref: 'uuid', ...(name.includes('arrow') && { raw: 'bytes' }) });
      const all = await readAll(store);
      expect(all.ids).toEqual(uuids);
      expect(JSON.parse(all.payloads[1]!)).toMatchObject({ ref: uuids[1] });
      expect((await store.fetch([uuids[2]!])).ids).toEqual([uuids[2]]);
    },
  );

  test('a dictionary of 16 bytes is no id: as base64 in small letters two of them would be one', () => {
    const dictionary = new Dictionary(new FixedSizeBinary(16), new Int32());
    expect(() => idTypeOf(new Field('id', dictionary), undefined, 'a.arrow')).toThrow(
      /an id is an integer, text or a UUID/,
    );
  });

  test('integers of a warehouse, which unloads them as NUMBER(38, 0), are ids with every digit', async () => {
    const all = await readAll(await open('id-number38.parquet'));
    expect(all.ids).toEqual(['9223372036854775808', '9223372036854775809', '9223372036854775810']);
  });

  test('the sign of a zero, durations, uint64, views and list views come as they are', async () => {
    const store = await open('values.parquet');
    expect(await typesOf(store)).toEqual({ zero: 'float', took: 'text', big: 'integer', view: 'text', lists: 'list' });
    expect((await readAll(store)).payloads).toEqual([
      '{"zero":-0.0,"took":"PT-1.5S","big":18446744073709551615,"view":"a","lists":[]}',
      '{"zero":0,"took":null,"big":9007199254740993,"view":null,"lists":null}',
      '{"zero":5e-324,"took":"PT172800.000003S","big":null,"view":"longer than twelve bytes","lists":[9007199254740993,null]}',
    ]);
  });

  test('a duration beside text as Polars writes it is no plain integer: its unit would be lost', async () => {
    expect((await readAll(await open('duration-polars.parquet'))).payloads[0]).toBe('{"took":"PT1S","text":"a"}');
  });

  test.each([
    ['parquet', columnsParquet],
    ['arrow', columnsArrow],
  ])('columns that we write hold a negative zero themselves, and give it back: %s', async (ending, write) => {
    const schema = makeSchema({ store: 'files', fields: [{ name: 'n', type: 'float', nullable: true }] });
    const payloads = ['{"n":-0.0}', '{"n":-0}', '{"n":0}'];
    await put(`zero/a.${ending}`, write({ ...makeBatch(), payloads }, schema, 'list'));
    const all = await readAll(await open(`zero/a.${ending}`, made));
    expect(all.payloads).toEqual(['{"n":-0.0}', '{"n":-0.0}', '{"n":0}']);
    const connection = await (await DuckDBInstance.create()).connect();
    if (ending !== 'parquet') return connection.closeSync();
    const rows = await connection.runAndReadAll(`select n, payload from '${join(made, 'zero/a.parquet')}'`);
    expect(rows.getRows().map(([n]) => Object.is(n, -0))).toEqual([true, true, false]);
    connection.closeSync();
  });

  test('a zero with and one without a sign are the same value to a comparison, for most stores keep none', () => {
    expect(jsonEqual('{"n":-0.0}', '{"n":0}')).toBe(true);
  });
});

describe('what cannot be held is refused with what to do', () => {
  test.each([
    ['int128.parquet', 'RecordRefused', /column 'wide' is an integer of 128 bits.*pl\.col\('wide'\)\.cast/],
    ['int128.arrow', 'RecordRefused', /column 'wide' is an integer of 128 bits.*pl\.col\('wide'\)\.cast/],
    ['variant.parquet', 'Incompatible', /column 'x' .* is a Parquet VARIANT.*to_json\(x\)/],
    ['npy-bytes', 'RecordRefused', /row 0 of .*ids\.npy: its text is no UTF-8/],
  ])('%s', async (name, error, message) => {
    await expect(open(name).then(readAll)).rejects.toMatchObject({
      name: error,
      message: expect.stringMatching(message),
    });
  });

  test.each([
    ['{"id":1,"id":2,"v":[1.5]}', /has 'id' twice/],
    ['{"id":1,"v":[1.5],"n":1,"n":2}', /has 'n' twice, and one of both would be lost/],
  ])('a line with a name twice, of which a parser keeps one: %s', async (line, message) => {
    await put('twice.jsonl', `${line}\n`);
    await expect(open('twice.jsonl', made).then(readAll)).rejects.toMatchObject({
      name: 'RecordRefused',
      message: expect.stringMatching(message),
    });
  });
});

describe('folders named field=value', () => {
  test('give these fields to every record below: integers where all are, else text; __HIVE_DEFAULT_PARTITION__ is null', async () => {
    const store = await open('hive');
    const { schema, count, notes } = await store.describe();
    expect(count).toBe(6);
    expect(schema.fields).toEqual([
      { name: 'year', type: 'integer', nullable: true },
      { name: 'lang', type: 'text', nullable: true },
    ]);
    const all = await readAll(store);
    const byId = Object.fromEntries(all.ids.map((id, at) => [id, JSON.parse(all.payloads[at]!)]));
    expect(byId).toEqual({
      0: { year: 2024, lang: 'de/at' },
      1: { year: 2025, lang: null },
      2: { year: 2024, lang: '007' },
      3: { year: 2025, lang: 'de/at' },
      4: { year: 2024, lang: null },
      5: { year: 2025, lang: '007' },
    });
    expect(notes).toEqual([
      'these fields are taken from the names of folders: year (integer), lang (text)',
      expect.stringMatching(/^passed over, since no such files are read: notes\.txt; read are \.parquet/),
    ]);
    expect((await store.fetch(['3'])).payloads).toEqual(['{"year":2025,"lang":"de/at"}']);
    const ranges = await store.ranges({ records: 2 });
    expect(ranges.map(({ records }) => records)).toEqual([2, 2, 2]);
  });

  test("a field that the file has itself is the file's, in JSON lines record by record", async () => {
    await put('own/a=7/x.jsonl', '{"id":1,"v":[1.5],"a":"mine"}\n{"id":2,"v":[2.5]}\n');
    await put('own/a=x%/x.jsonl', '{"id":3,"v":[1.5],"b":{"a":1}}\n');
    const all = await readAll(await open('own', made));
    expect(all.payloads).toEqual(['{"a":"mine"}', '{"a":"7"}', '{"b":{"a":1},"a":"x%"}']);
    expect([...column(all, 'v').values]).toEqual([1.5, 2.5, 1.5]);
  });

  test('a shard of ours says all that it holds, wherever it lies', async () => {
    const meta = { run: 'r', shard: '00000-000', range: { from: null, to: null }, rest: null, schema: makeSchema() };
    await put('shards/a=7/x.parquet', await encodeShard(makeBatch(), meta));
    expect((await readAll(await open('shards', made))).payloads).toEqual(makeBatch().payloads);
  });
});

test('an id that is no UUID after a first part of UUIDs is refused, for in small letters two would be one', async () => {
  const sql = await (await DuckDBInstance.create()).connect();
  const ids = `CASE WHEN i < 2048 THEN CAST(uuid() AS VARCHAR) WHEN i = 2048 THEN 'ABC' ELSE 'abc' END`;
  await sql.run(
    `COPY (SELECT ${ids} AS id, [i::float, 1] AS embedding FROM range(2050) t(i)) TO '${join(made, 'late.parquet')}' (FORMAT parquet, row_group_size 2048)`,
  );
  sql.closeSync();
  await expect(readAll(await open('late.parquet', made))).rejects.toMatchObject({
    name: 'RecordRefused',
    message: expect.stringMatching(/late\.parquet has the id 'ABC', .* options \{"idType": "string"\}/),
  });
  const all = await readAll(await open('late.parquet', made, { idType: 'string' }));
  expect(all.ids.slice(2048)).toEqual(['ABC', 'abc']);
});

test('.parq and .pq are Parquet; files of other endings are named in the plan, hidden ones are not', async () => {
  const meta = { run: 'r', shard: '00000-000', range: { from: null, to: null }, rest: null, schema: makeSchema() };
  await put('endings/a.PARQ', await encodeShard(makeBatch({ ids: ['1', '2', '3'] }), meta));
  await put('endings/b.pq', await encodeShard(makeBatch({ ids: ['4', '5', '6'] }), meta));
  for (const name of ['c.csv', 'd/e.avro', '.part.crc', '_SUCCESS', '_temporary/f.txt', 'collection.json.bak'])
    await put(`endings/${name}`, 'x');
  const { count, notes } = await (await open('endings', made)).describe();
  expect(count).toBe(6);
  expect(notes).toEqual([expect.stringMatching(/: c\.csv, collection\.json\.bak, d\/e\.avro; read are/)]);
});
