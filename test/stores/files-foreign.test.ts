/** Over 400 lines: what others write into a folder, by kind of file, with what is refused of each. */
import { appendFile, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Batch, column, concatBatches } from '../../lib/batch.ts';
import { openS3Objects } from '../../lib/objects-s3.ts';
import { encodeShard } from '../../lib/shard/shard.ts';
import { writeJsonLines } from '../../lib/stores/files/jsonl.ts';
import { files } from '../../lib/stores/files.ts';
import type { Range, Source } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { startS3 } from '../servers/s3.ts';

const words = new URL('../data/words-10k.parquet', import.meta.url).pathname;
const everything: Range = { from: null, to: null };
let path = '';

beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'vecferry-'));
});
afterAll(async () => {
  await rm(path, { recursive: true });
});

async function open(collection: string, options: Record<string, unknown> = {}): Promise<Source> {
  return await files.open({ connection: { path }, collection, options });
}

async function put(name: string, body: string | Uint8Array): Promise<void> {
  await mkdir(dirname(join(path, name)), { recursive: true });
  await writeFile(join(path, name), body);
}

async function duck(sql: string, name: string, copyOptions = ''): Promise<void> {
  await mkdir(dirname(join(path, name)), { recursive: true });
  const connection = await (await DuckDBInstance.create()).connect();
  await connection.run(`copy (${sql}) to '${join(path, name)}' (format parquet${copyOptions})`);
  connection.closeSync();
}

async function readAll(store: Source, range = everything, maxRecords = 1000): Promise<Batch> {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read(range, { maxRecords, maxBytes: 1 << 22 })) pieces.push(batch);
  return concatBatches(pieces);
}

describe('the sample of 10,000 words, a Parquet file of another writer', () => {
  test('is described: the list of floats is a vector, the rest payload with its types', async () => {
    await mkdir(join(path, 'words'), { recursive: true });
    await copyFile(words, join(path, 'words', 'words-10k.parquet'));
    const { schema, count, payloadBytes } = await (await open('words', { distance: 'cosine' })).describe();
    expect(count).toBe(10_000);
    expect(payloadBytes).toBeGreaterThan(15);
    expect(schema).toMatchObject({
      store: 'files',
      idType: 'integer',
      vectors: [{ name: 'embedding', kind: 'dense', dimension: 100, distance: 'cosine' }],
      fields: [
        { name: 'word', type: 'text' },
        { name: 'rank', type: 'integer' },
      ],
    });
  });

  test('gives every record once, whole or in ranges', async () => {
    const store = await open('words');
    const all = await readAll(store);
    expect(all.count).toBe(10_000);
    expect(new Set(all.ids).size).toBe(10_000);
    expect(JSON.parse(all.payloads[0]!)).toEqual({ word: 'the', rank: 0 });
    const ranges = await store.ranges({ records: 3000 });
    expect(ranges.map(({ records }) => records)).toEqual([3000, 3000, 3000, 1000]);
    const ids: string[] = [];
    for (const range of ranges) ids.push(...(await readAll(store, range)).ids);
    expect(ids).toEqual(all.ids);
  });

  test('is read as a single file too, fetched from and searched', async () => {
    const store = await open('words/words-10k.parquet', { distance: 'cosine' });
    const found = await store.fetch(['7', '9999', '123456']);
    expect([...found.ids].sort()).toEqual(['7', '9999']);
    const { values } = column(found, 'embedding');
    const hits = await store.search({ vector: 'embedding', query: values.slice(0, 100), k: 3 });
    expect(hits[0]?.id).toBe(found.ids[0]);
    expect(hits).toHaveLength(3);
  });
});

describe('Parquet of other writers', () => {
  test('types become the payload forms that FieldType documents, every digit kept', async () => {
    await duck(
      `select 'x'||i as id, [1.5, i, 2]::float[3] as fixed, [0.1, i]::double[] as doubles, [1,2]::int[] as numbers,
       9007199254740993 + i as big, 123456789012345678.901234567::decimal(38,9) as exact, 1.25::decimal(9,2) as price,
       timestamptz '2026-03-29 02:30:00.123456+02' as at, timestamp '2026-03-29 02:30:00' as local, date '2026-01-02' as day,
       {a: {b: [1, null]}, "c.d": 'é'} as nested, true as flag, null::int as nothing, 'ab'::blob as raw, '😀' as text
       from range(3) t(i)`,
      'types/a.parquet',
    );
    const store = await open('types');
    const { schema } = await store.describe();
    expect(schema.idType).toBe('string');
    expect(schema.vectors).toMatchObject([
      { name: 'fixed', dimension: 3 },
      { name: 'doubles', dimension: 2 },
    ]);
    expect(Object.fromEntries(schema.fields?.map(({ name, type }) => [name, type]) ?? [])).toEqual({
      numbers: 'list',
      big: 'integer',
      exact: 'decimal',
      price: 'decimal',
      at: 'timestamp',
      local: 'text',
      day: 'date',
      nested: 'json',
      flag: 'boolean',
      nothing: 'integer',
      raw: 'bytes',
      text: 'text',
    });
    const all = await readAll(store);
    expect(all.ids).toEqual(['x0', 'x1', 'x2']);
    expect(all.payloads[1]).toBe(
      '{"numbers":[1,2],"big":9007199254740994,"exact":"123456789012345678.901234567","price":1.25,"at":"2026-03-29T00:30:00.123456Z",' +
        '"local":"2026-03-29T02:30:00","day":"2026-01-02","nested":{"a":{"b":[1,null]},"c.d":"é"},"flag":true,"nothing":null,"raw":"YWI=","text":"😀"}',
    );
    expect([...column(all, 'fixed').values]).toEqual([1.5, 0, 2, 1.5, 1, 2, 1.5, 2, 2]);
    expect([...column(all, 'doubles').values]).toEqual([Math.fround(0.1), 0, Math.fround(0.1), 1, Math.fround(0.1), 2]);
  });

  test('lists of small integers, as quantized vectors are written, are vectors where the options name them', async () => {
    const list = '[i, -128, 127]::tinyint[] as v, [65535, i]::usmallint[2] as w';
    await duck(`select i as id, ${list} from range(2) t(i)`, 'quantized/a.parquet');
    const all = await readAll(await open('quantized', { vectors: ['v', 'w'] }));
    expect([...column(all, 'v').values]).toEqual([0, -128, 127, 1, -128, 127]);
    expect([...column(all, 'w').values]).toEqual([65535, 0, 65535, 1]);
    expect((await readAll(await open('quantized'))).payloads[1]).toBe('{"v":[1,-128,127],"w":[65535,1]}');
  });

  test('null vectors are missing vectors, not zeros', async () => {
    await duck(
      `select i as id, case when i % 2 = 0 then [i, 1]::float[] end as v from range(5) t(i)`,
      'nulls/a.parquet',
    );
    const all = await readAll(await open('nulls'));
    expect([...column(all, 'v').present!]).toEqual([1, 0, 1, 0, 1]);
    expect([...column(all, 'v').values]).toEqual([0, 1, 0, 0, 2, 1, 0, 0, 4, 1]);
  });

  test.each(['snappy', 'zstd', 'gzip', 'lz4_raw', 'uncompressed'])(
    '%s, many row groups and many files are read in order, and resumed anywhere',
    async (codec) => {
      for (const part of [0, 1, 2]) {
        const sql = `select i + ${part * 5000} as id, [i, ${part}]::float[] as v, 'w' || i as w from range(5000) t(i)`;
        await duck(sql, `groups-${codec}/part-${part}.parquet`, `, compression ${codec}, row_group_size 2048`);
      }
      const store = await open(`groups-${codec}`);
      expect(await store.count()).toBe(15_000);
      const all = await readAll(store);
      expect(all.ids).toEqual(Array.from({ length: 15_000 }, (_, i) => String(i)));
      const ranges = await store.ranges({ records: 1999 });
      expect(ranges.reduce((sum, { records }) => sum + records, 0)).toBe(15_000);
      let left: Range | null = ranges[3]!;
      const ids: string[] = [];
      while (left !== null) {
        for await (const { batch, rest } of store.read(left, { maxRecords: 333, maxBytes: 1 << 20 })) {
          ids.push(...batch.ids);
          left = rest;
          break;
        }
      }
      expect(ids).toEqual((await readAll(store, ranges[3])).ids);
      expect(ids).toHaveLength(ranges[3]!.records);
    },
  );

  test('NaN in a payload is refused by id and field, for JSON has no form for it', async () => {
    await duck(
      `select 'r' || i as id, [1.0]::float[] as v, case when i = 2 then 'nan'::double else 1 end as score from range(4) t(i)`,
      'nan/a.parquet',
    );
    await expect(readAll(await open('nan'))).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['r2'],
      message: expect.stringContaining("field 'score'"),
    });
  });

  test('the first records may lack their vector, or have an empty one: the dimension is of those that follow', async () => {
    const vector = (first: string) => `case when i < 4000 then ${first} else [1.5, i]::float[] end as v`;
    await duck(`select i as id, ${vector('null')} from range(6000) t(i)`, 'late/a.parquet', ', row_group_size 2048');
    const store = await open('late');
    expect((await store.describe()).schema.vectors).toMatchObject([{ name: 'v', dimension: 2 }]);
    expect((await readAll(store)).count).toBe(6000);
    await duck(`select i as id, ${vector('[]')} from range(6000) t(i)`, 'empty/a.parquet');
    await expect(readAll(await open('empty'))).rejects.toThrow(
      /record '0' in .* is an empty list, which is no vector: write null/,
    );
    await duck(`select i as id, []::float[] as v from range(3) t(i)`, 'none/a.parquet');
    await expect(readAll(await open('none'))).rejects.toThrow(/record '0' in .* is an empty list/);
  });

  test('a folder may be named as a file, as Spark names it, and an ending may be in capitals', async () => {
    await duck(`select i as id, [1.5, i]::float[] as v from range(3) t(i)`, 'spark/words.parquet/part-0.PARQUET');
    await put('spark/words.parquet/_SUCCESS', '');
    await duck(`select i as id, [1.5, i]::float[] as v from range(5) t(i)`, 'spark/other.parquet');
    expect((await readAll(await open('spark/words.parquet'))).count).toBe(3);
    expect((await readAll(await open('spark/other.parquet'))).count).toBe(5);
  });

  test('two values under one name are refused: one would be lost', async () => {
    const columns = `i as id, [1.5, i]::float[] as v, i as rank, {rank: 7, word: 'x'} as more`;
    await duck(`select ${columns} from range(3) t(i)`, 'twice/a.parquet');
    const reading = async () => await readAll(await open('twice', { payload: 'more' }));
    await expect(reading()).rejects.toThrow(
      /record '0' in .* the field 'rank' in column 'more' and in a column of its own/,
    );
  });

  test('a vector of another length is refused by id', async () => {
    await duck(
      `select i as id, case when i = 3 then [1, 2]::float[] else [1, 2, 3]::float[] end as v from range(5) t(i)`,
      'odd/a.parquet',
    );
    await expect(readAll(await open('odd'))).rejects.toMatchObject({ name: 'RecordRefused', ids: ['3'] });
    expect((await (await open('odd', { vectors: [] })).describe()).schema.vectors).toEqual([]);
  });

  test('a vector that is named and nowhere is refused: it would be a payload field, and nobody told', async () => {
    await duck("select 1 as id, [1.0::float, 2.0] as embedding, 'a' as word", 'typo/a.parquet');
    const opened = await open('typo', { vectors: ['embeding'] });
    await expect(opened.describe()).rejects.toThrow(
      /options\.vectors names 'embeding', which no file of .*typo.* has as a vector; they have .*'embedding'/,
    );
  });

  test('without an id column, the columns there are and the option are named', async () => {
    await duck(`select 1 as key, [1.0]::float[] as v`, 'noid/a.parquet');
    await expect((await open('noid')).describe()).rejects.toThrow(/no column 'id'.*key, v.*options \{"id"/);
    expect((await readAll(await open('noid', { id: 'key' }))).ids).toEqual(['1']);
  });

  test('a damaged file is refused by name and brings nothing down', async () => {
    const bytes = await readFile(words);
    await put('cut/a.parquet', bytes.subarray(0, bytes.length - 100));
    await expect((await open('cut')).describe()).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: [join(path, 'cut/a.parquet')],
    });
    for (let seed = 0; seed < 30; seed++) {
      const flipped = Buffer.from(bytes);
      for (let i = 0; i < 20; i++) flipped[(seed * 7919 + i * 104_729) % (bytes.length - 1500)]! ^= 255;
      await put(`flipped${seed}/a.parquet`, flipped);
      await readAll(await open(`flipped${seed}`)).catch((error: unknown) =>
        expect(error).toMatchObject({ name: 'RecordRefused' }),
      );
    }
  });

  test('a file that is written to while it is read is not read half and half', async () => {
    await mkdir(join(path, 'changing'));
    await copyFile(words, join(path, 'changing/a.parquet'));
    await copyFile(words, join(path, 'changing/b.parquet'));
    const store = await open('changing');
    const reading = async (): Promise<void> => {
      for await (const _ of store.read(everything, { maxRecords: 1000, maxBytes: 1 << 24 }))
        await appendFile(join(path, 'changing/b.parquet'), 'x');
    };
    await expect(reading()).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });
});

describe('JSON lines of other writers', () => {
  test('fields side by side: lists of floats are vectors, all else is payload, digit for digit', async () => {
    const lines = [
      '{"id": 1, "vector": [0.5, 1], "tags": [1, 2], "n": 9007199254740993, "s": "é"}',
      '',
      '{"id": 2, "vector": null, "x": {"y": [1.10]}}',
    ];
    await put('flat/a.jsonl', `${lines.join('\r\n')}\r\n`);
    const store = await open('flat');
    const { schema, count } = await store.describe();
    expect(count).toBe(2);
    expect(schema).toMatchObject({ idType: 'integer', vectors: [{ name: 'vector', kind: 'dense', dimension: 2 }] });
    const all = await readAll(store);
    expect(all.ids).toEqual(['1', '2']);
    expect(all.payloads).toEqual(['{"tags":[1, 2],"n":9007199254740993,"s":"é"}', '{"x":{"y": [1.10]}}']);
    expect([...column(all, 'vector').present!]).toEqual([1, 0]);
  });

  test('vectors and payload apart, every kind of vector', async () => {
    const line = (id: string) =>
      `{"id":"${id}","vectors":{"a":[1,2],"s":{"indices":[3,9],"values":[0.5,1]},"m":[[1,2],[3,4]]},"payload":{"vectors":1}}`;
    await put('apart/a.ndjson', `${line('x')}\n${line('y')}`);
    const store = await open('apart');
    expect((await store.describe()).schema.vectors.map(({ name, kind }) => `${name} ${kind}`)).toEqual([
      'a dense',
      's sparse',
      'm multi',
    ]);
    const all = await readAll(store);
    expect(all.payloads).toEqual(['{"vectors":1}', '{"vectors":1}']);
    expect(column(all, 's')).toMatchObject({ indices: Uint32Array.of(3, 9, 3, 9), offsets: Uint32Array.of(0, 2, 4) });
    expect([...column(all, 'm').values]).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
  });

  test.each([
    ['{"id":3,"v":[1.5,2]', /line 3 of .*a\.jsonl is no JSON object/],
    ['{"id":3,"v":[1.5,NaN]}', /line 3 of .*a\.jsonl is no JSON object/],
    ['{"v":[1.5,2]}', /line 3 of .*has no field 'id'/],
    ['{"id":{"a":1},"v":[1.5,2]}', /line 3 of .*an id is an integer or a string/],
    ['{"id":3,"v":"text"}', /line 3 of .*holds no vector in 'v'/],
    ['{"id":3,"v":[1.5,2,3]}', /record '3' is dense of 3, not dense of 2/],
    ['{"id":"three","v":[1.5,2]}', /line 3 of .*options \{"idType": "string"\}/],
  ])('the broken line %j is refused by file and line, and what to do', async (line, message) => {
    const folder = `broken-${Buffer.from(line).toString('hex').slice(-24)}`;
    const good = Array.from({ length: 1500 }, (_, i) => `{"id":${i + 10},"v":[1.5,2]}\n`);
    await put(`${folder}/0.jsonl`, good.join(''));
    await put(`${folder}/a.jsonl`, `{"id":1,"v":[1.5,2]}\n{"id":2,"v":[1.5,2]}\n${line}\n`);
    const reading = readAll(await open(folder));
    await expect(reading).rejects.toThrow(message);
    await expect(readAll(await open(folder))).rejects.toMatchObject({ name: 'RecordRefused' });
  });

  test.each([
    [
      '{"id":2,"vectors":{"a":[1.5,2]},"payload":{},"title":"t"}',
      /line 2 of .*has 'title' beside 'vectors' and 'payload'/,
    ],
    ['{"id":2,"vectors":{"a":[1.5,2],"b":[1.5]},"payload":{}}', /line 1001 of .*has a vector 'b'/],
    ['{"id":2,"vectors":{"a":[1.5,2],"r":[1.5]},"payload":{}}', /line 1 of .*has a vector 'r'/],
  ])('what vectors and payload apart have no place for is refused, not left out: %j', async (line, message) => {
    const isLate = line.includes('"b"');
    const folder = `apart-${Buffer.from(line).toString('hex').slice(-40)}`;
    const first = `{"id":1,"vectors":{"a":[1.5,2]${line.includes('"r"') ? ',"r":[1.5,2]' : ''}},"payload":{}}\n`;
    const between = isLate ? Array.from({ length: 999 }, (_, i) => first.replace('"id":1', `"id":${i + 10}`)) : [];
    await put(`${folder}/a.jsonl`, [first, ...between, line].join(''));
    await expect(readAll(await open(folder))).rejects.toThrow(message);
  });

  test('the option payload takes the members of an object or of its text', async () => {
    await put(
      'qdrant/a.jsonl',
      '{"id":1,"vector":[1.5,2],"payload":{"a":1.10}}\n{"id":2,"vector":[1.5,2],"payload":"{\\"b\\":2}","c":3}',
    );
    const all = await readAll(await open('qdrant', { payload: 'payload' }));
    expect(all.payloads).toEqual(['{"a":1.10}', '{"c":3,"b":2}']);
    await put('qdrant2/a.jsonl', '{"id":1,"vector":[1.5,2],"payload":{"a":1},"a":2}');
    const twice = readAll(await open('qdrant2', { payload: 'payload' }));
    await expect(twice).rejects.toThrow(/the field 'a' in 'payload' and beside it/);
  });

  test("a vector may be called 'vectors', as a matrix of that name is, and a zero keeps its sign", async () => {
    const schema = makeSchema({ vectors: [{ name: 'vectors', kind: 'dense', dimension: 2, precision: 'float32' }] });
    const values = Float32Array.of(-0, 1.5, 0, -2);
    const vectors = new Map([['vectors', { kind: 'dense' as const, dimension: 2, values }]]);
    const text = writeJsonLines({ count: 2, ids: ['1', '2'], vectors, payloads: ['{"a":1}', '{}'] }, schema);
    await put('called-vectors/a.jsonl', text);
    const all = await readAll(await open('called-vectors'));
    expect(Buffer.from(column(all, 'vectors').values.buffer, 0, 16)).toEqual(Buffer.from(values.buffer));
    expect(all.payloads).toEqual(['{"a":1}', '{}']);
  });

  test('bytes that are no UTF-8 are refused by line: read as such they would be other characters', async () => {
    const line = (id: number, text: string) => Buffer.from(`{"id":${id},"v":[1.5,2],"s":"${text}"}\n`, 'latin1');
    await put('latin/a.jsonl', Buffer.concat([line(1, 'e'), line(2, 'é')]));
    const reading = async () => await readAll(await open('latin'));
    await expect(reading()).rejects.toThrow(/line 2 of .*a\.jsonl is no UTF-8/);
    await expect(reading()).rejects.toMatchObject({ name: 'RecordRefused' });
  });

  test('lines longer than a chunk of reading, and ranges that begin within a file', async () => {
    const lines = Array.from({ length: 9 }, (_, i) => `{"id":${i},"v":[${i}.5],"text":"${'ü'.repeat(700_000)}"}`);
    await put('long/a.jsonl', lines.join('\n'));
    const store = await open('long');
    const ranges = await store.ranges({ records: 2 });
    expect(ranges).toHaveLength(5);
    const ids: string[] = [];
    for (const range of ranges) ids.push(...(await readAll(store, range)).ids);
    expect(ids).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8']);
  });
});

describe('our own shards as a source', () => {
  const schema = makeSchema({
    store: 'pgvector',
    fields: [{ name: 'price', type: 'decimal', nullable: false, native: 'numeric(12,4)' }],
    native: { table: 'articles' },
  });
  const meta = { run: 'r', shard: '00000-000', range: everything, rest: null, schema };

  test("keep their source's own types, so PostgreSQL makes the same columns again", async () => {
    await put('shards/00000-000.parquet', await encodeShard(makeBatch(), meta));
    const described = await (await open('shards')).describe();
    expect(described.schema).toEqual({ ...schema, store: 'files', origin: 'pgvector' });
    expect(described.count).toBe(3);
  });

  test('are refused once a byte of one is another', async () => {
    const bytes = await encodeShard(makeBatch(), meta);
    bytes[20]! ^= 1;
    await put('altered/00000-000.parquet', bytes);
    await expect((await open('altered')).describe()).rejects.toMatchObject({ name: 'ShardDamaged' });
  });
});

describe('a target folder', () => {
  test('that holds files of others is refused, so nothing is mixed', async () => {
    await put('theirs/a.jsonl', '{"id":1,"v":[1.5]}\n');
    const store = await files.open({ connection: { path }, collection: 'theirs', options: {} });
    await expect(store.prepare(makeSchema({ store: 'files' }))).rejects.toMatchObject({ name: 'Incompatible' });
  });

  test.each(['../outside', 'a/../../b'])('%s leads out of the connection and is refused', async (collection) => {
    await expect(open(collection)).rejects.toMatchObject({ name: 'InvalidEvent' });
  });
});

describe('a folder in S3', () => {
  let s3: Awaited<ReturnType<typeof startS3>>;
  beforeAll(async () => {
    s3 = await startS3('data');
  });
  afterAll(async () => {
    await s3.stop();
  });

  test('is read and written as a local one', async () => {
    const client = new S3Client({});
    await openS3Objects('data', client).put('100%/in/words/words.parquet', await readFile(words));
    client.destroy();
    // A key is no URL: it may hold a percent sign.
    const connection = { url: 's3://data/100%/in' };
    const source = await files.open({ connection, collection: 'words', options: {} });
    const ranges = await source.ranges({ records: 4000 });
    expect(ranges).toHaveLength(3);
    const last = await readAll(source, ranges[2]);
    expect(last.count).toBe(2000);
    const target = await files.open({ connection, collection: 'copy', options: {} });
    await target.prepare({ ...(await source.describe()).schema });
    await target.write(last, { position: { run: 'r', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    expect(await target.count()).toBe(2000);
    expect((await readAll(target)).payloads).toEqual(last.payloads);
    await source.close();
    await target.close();
  });
});
