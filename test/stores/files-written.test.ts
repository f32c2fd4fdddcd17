import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { tableFromIPC } from 'apache-arrow';
import { ParquetReader } from 'parquetjs-lite';
import { type Batch, column, concatBatches, sliceBatch } from '../../lib/batch.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { files } from '../../lib/stores/files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeSchema } from '../make.ts';

/** What a target writes for people: read by their own tools, and by ours to the last digit. */

let path = '';
beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'vecferry-'));
});
afterAll(async () => {
  await rm(path, { recursive: true });
});

const schema = (overrides: Partial<CollectionSchema> = {}): CollectionSchema =>
  makeSchema({
    fields: [
      { name: 'word', type: 'text', nullable: false },
      { name: 'rank', type: 'integer', nullable: true },
      { name: 'score', type: 'float', nullable: true },
      { name: 'price', type: 'decimal', nullable: true },
      { name: 'flag', type: 'boolean', nullable: true },
      { name: 'at', type: 'timestamp', nullable: true },
      { name: 'more', type: 'json', nullable: true },
    ],
    ...overrides,
  });

/** What a column cannot hold, in every way there is: null, absent, too large, of another type, undeclared. */
const payloads = [
  '{"word":"été","rank":1,"score":0.1,"price":1.5,"flag":true,"at":"2026-03-29T00:30:00.123456Z","more":{"a":[1,null]}}',
  '{"word":"two","rank":null,"score":null,"more":null}',
  '{"word":3,"rank":18446744073709551616,"score":1e400,"price":"123456789012345678.901234567","flag":"yes"}',
  '{}',
  '{"word":"five","undeclared":{"x":1.10},"rank":9007199254740993,"score":-0.0}',
];
const batchOf = (ids: readonly string[], dimension = 4): Batch => ({
  count: ids.length,
  ids,
  vectors: new Map([
    [
      'embedding',
      {
        kind: 'dense',
        dimension,
        values: Float32Array.from({ length: ids.length * dimension }, (_, i) => Math.fround(Math.sin(i))),
      },
    ],
  ]),
  payloads: ids.map((_, at) => payloads[at % payloads.length] ?? '{}'),
});
const ids = Array.from({ length: 25 }, (_, i) => String(i * 7 - 3));

async function written(name: string, options: Record<string, unknown>, batch: Batch, of = schema()): Promise<Store> {
  const store = await files.open({ connection: { path }, collection: name, options });
  await store.prepare(of);
  // Out of order, and one twice: shards come as they are ready, and again when an answer was lost.
  for (const offset of [10, 0, 20, 10]) {
    const position = { run: 'r1', shard: '00000-000', offset };
    await store.write(sliceBatch(batch, offset, offset + 10), { position, mode: 'upsert' });
  }
  await store.buildIndex(of);
  expect(await store.indexProgress(of)).toMatchObject({ done: true });
  return store;
}

async function readAll(store: Store): Promise<Batch> {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 7, maxBytes: 1 << 20 }))
    pieces.push(batch);
  return concatBatches(pieces);
}

async function duck(sql: string): Promise<readonly (readonly unknown[])[]> {
  const connection = await (await DuckDBInstance.create()).connect();
  const rows = (await connection.runAndReadAll(sql)).getRowsJson();
  connection.closeSync();
  return rows;
}

async function python(code: string): Promise<string> {
  const { stdout } = await promisify(execFile)('.venv/bin/python', ['-c', code]);
  return stdout.trim();
}

describe('every format gives back each id, float and digit', () => {
  test.each([
    ['columns', { format: 'parquet', layout: 'columns' }],
    ['fixed', { format: 'parquet', layout: 'columns', lists: 'fixed' }],
    ['arrow', { format: 'arrow' }],
    ['arrow-fixed', { format: 'arrow', lists: 'fixed' }],
    ['numpy', { format: 'numpy' }],
    ['jsonl', { format: 'jsonl' }],
  ])('%s', async (name, options) => {
    const batch = batchOf(ids);
    const back = await readAll(await written(name, options, batch));
    expect(back.ids).toEqual(ids);
    expect(column(back, 'embedding').values).toEqual(column(batch, 'embedding').values);
    const { isDeepStrictEqual } = await import('node:util');
    const { jsonEqual } = await import('../../lib/compare/json-equal.ts');
    for (const [at, payload] of back.payloads.entries())
      expect([
        payload,
        jsonEqual(payload, batch.payloads[at]!) || isDeepStrictEqual(payload, batch.payloads[at]),
      ]).toEqual([payload, true]);
    const found = await (await files.open({ connection: { path }, collection: name, options: {} })).fetch([ids[13]!]);
    expect(found.ids).toEqual([ids[13]]);
  });
});

describe("people's own tools read them", () => {
  test('DuckDB: a column a field, whole folders at once, vectors as arrays', async () => {
    await written('duck', { format: 'parquet', layout: 'columns', lists: 'fixed' }, batchOf(ids));
    const rows = await duck(`select count(*), count(distinct id), sum(rank), min(word) from '${path}/duck/*.parquet'`);
    expect(rows[0]?.slice(0, 2)).toEqual(['25', '25']);
    expect(rows[0]?.[3]).toBe('five');
    const [first] = await duck(
      `select id, rank, price, flag, len(embedding) from '${path}/duck/*.parquet' where word = 'été' order by id limit 1`,
    );
    expect(first).toEqual(['-3', '1', 1.5, true, '4']);
  });

  test('parquetjs-lite: fields and floats', async () => {
    await written('parquetjs', { format: 'parquet', layout: 'columns' }, batchOf(ids));
    const reader = await ParquetReader.openFile(join(path, 'parquetjs/r1.00000-000.000000000.parquet'));
    const row = await reader.getCursor().next();
    await reader.close();
    expect(row).toMatchObject({ word: 'été', flag: true, price: 1.5 });
    expect(row.embedding.list).toHaveLength(4);
  });

  test('apache-arrow: the file as it is', async () => {
    await written('arrowjs', { format: 'arrow', lists: 'fixed' }, batchOf(ids));
    const table = tableFromIPC(await readFile(join(path, 'arrowjs/r1.00000-000.000000000.arrow')));
    expect(table.numRows).toBe(10);
    expect(table.get(0)?.['word']).toBe('été');
    expect([...(table.get(1)?.['embedding'] ?? [])]).toEqual([4, 5, 6, 7].map((i) => Math.fround(Math.sin(i))));
  });

  test("NumPy: np.load('vectors.npy') is the whole matrix, row by row with ids.npy and metadata.jsonl", async () => {
    await written('np', { format: 'numpy' }, batchOf(ids));
    const folder = join(path, 'np');
    const out = await python(
      `import numpy as np, json; v=np.load('${folder}/vectors.npy'); i=np.load('${folder}/ids.npy'); m=[json.loads(l) for l in open('${folder}/metadata.jsonl')]; print(v.shape, v.dtype, i.dtype, i.tolist(), len(m), m[0]['word'], float(v[24,3]))`,
    );
    expect(out).toBe(`(25, 4) float32 int64 [${ids.join(', ')}] 25 été ${Math.fround(Math.sin(99))}`);
  });

  test.each([
    [
      'uuids',
      Array.from({ length: 25 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`),
      'uuid',
      '<U36',
    ],
    ['texts', Array.from({ length: 25 }, (_, i) => `${'é😀'.repeat(i)}x`), 'string', '<U49'],
  ] as const)('NumPy: ids that are %s', async (name, texts, idType, descr) => {
    const of = schema({ idType });
    const store = await written(name, { format: 'numpy' }, batchOf(texts), of);
    expect(
      await python(
        `import numpy as np; i=np.load('${path}/${name}/ids.npy'); print(i.dtype.str, i[24] == '${texts[24]}')`,
      ),
    ).toBe(`${descr} True`);
    expect((await readAll(store)).ids).toEqual(texts);
  });
});

describe('NumPy as a target', () => {
  test('a shard that comes once more makes the matrices anew, and nothing is lost', async () => {
    const store = await written('again', { format: 'numpy' }, batchOf(ids));
    const position = { run: 'r1', shard: '00000-000', offset: 20 };
    await store.write(batchOf(['a', 'b', 'c', 'd', 'e']), { position, mode: 'upsert' });
    expect(await store.indexProgress(schema())).toMatchObject({ done: false, isStalled: true });
    await store.buildIndex(schema({ idType: 'string' }));
    expect((await readAll(store)).ids).toHaveLength(25);
    expect(await store.indexProgress(schema())).toMatchObject({ done: true });
  });

  test('is not made from what is left where parts were taken away and others came', async () => {
    const store = await written('gone', { format: 'numpy' }, batchOf(ids));
    await rm(join(path, 'gone/_parts'), { recursive: true });
    expect(await store.indexProgress(schema())).toMatchObject({ done: true });
    await store.write(batchOf(ids.slice(0, 5)), {
      position: { run: 'r1', shard: '00009-000', offset: 0 },
      mode: 'upsert',
    });
    await expect(store.buildIndex(schema())).rejects.toMatchObject({ name: 'Incompatible' });
    expect((await readAll(store)).count).toBe(25);
  });

  test('a record without the vector has no row, and is named', async () => {
    const store = await files.open({ connection: { path }, collection: 'lacking', options: { format: 'numpy' } });
    await store.prepare(schema());
    const batch = batchOf(ids.slice(0, 3));
    const lacking = new Map(
      [...batch.vectors].map(([name, each]) => [name, { ...each, present: Uint8Array.of(1, 0, 1) }]),
    );
    await store.write(
      { ...batch, vectors: lacking },
      { position: { run: 'r1', shard: '0', offset: 0 }, mode: 'upsert' },
    );
    await expect(store.buildIndex(schema())).rejects.toMatchObject({ name: 'RecordRefused', ids: [ids[1]] });
  });

  test('and columns refuse sparse vectors before anything is written', async () => {
    const sparse = schema({ vectors: [{ name: 's', kind: 'sparse', precision: 'float32' }] });
    for (const options of [{ format: 'numpy' }, { format: 'arrow' }]) {
      const store = await files.open({ connection: { path }, collection: 'sparse', options });
      await expect(store.prepare(sparse)).rejects.toMatchObject({ name: 'Incompatible', ids: ['s'] });
    }
  });

  test('is dropped with all that was written, and what others put beside it stays', async () => {
    const store = await written('drop', { format: 'numpy' }, batchOf(ids));
    await writeFile(join(path, 'drop/notes.txt'), 'x');
    await store.drop?.();
    const { readdir } = await import('node:fs/promises');
    const left = (await readdir(join(path, 'drop'), { recursive: true, withFileTypes: true })).filter((each) =>
      each.isFile(),
    );
    expect(left.map(({ name }) => name)).toEqual(['notes.txt']);
  });
});
