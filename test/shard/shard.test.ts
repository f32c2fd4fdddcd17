import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ParquetReader } from 'parquetjs-lite';
import { type Batch, concatBatches, sliceBatch, type VectorColumn } from '../../lib/batch.ts';
import { RecordRefused, ShardDamaged } from '../../lib/errors.ts';
import { openParquet } from '../../lib/shard/parquet-file.ts';
import { readParquet } from '../../lib/shard/parquet-wasm.ts';
import { decodeShard, encodeShard, readShard, type ShardMeta, verifyShard } from '../../lib/shard/shard.ts';
import { batchFromArrow } from '../../lib/shard/shard-arrow.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { asFormat } from './old-formats.ts';

const meta: ShardMeta = {
  run: 'a-run',
  shard: '00003-001',
  range: { from: '["é",1]', to: null },
  rest: null,
  schema: makeSchema({ idType: 'string', native: { 'vecferry.checksum': '0'.repeat(64) } }),
};

const manyKinds = makeBatch({
  ids: ['1', 'zwei', '三', '😀', ''],
  vectors: [
    { name: '', kind: 'dense', dimension: 3, precision: 'float32' },
    { name: 'vector', kind: 'dense', dimension: 1, precision: 'float32' },
    { name: 'ID', kind: 'dense', dimension: 2, precision: 'float32' },
    { name: 'payload', kind: 'sparse', precision: 'float32' },
    { name: 'a.b "c"', kind: 'multi', dimension: 2, precision: 'float32' },
  ],
  missing: [1, 4],
});

/** The column with all that an absent vector may hold left out, and `present` spelt out. */
function plain(column: VectorColumn, count: number) {
  const present = Array.from({ length: count }, (_, i) => column.present?.[i] ?? 1);
  const { present: _, ...rest } = column;
  return { ...rest, present };
}

function plainBatch(batch: Batch) {
  return { ...batch, vectors: [...batch.vectors].map(([name, each]) => [name, plain(each, batch.count)]) };
}

async function roundTrip(batch: Batch): Promise<Batch> {
  return (await decodeShard(await encodeShard(batch, meta), 'it')).batch;
}

describe('a shard gives back what was put in', () => {
  test('every kind of vector, awkward names and missing vectors included', async () => {
    expect(plainBatch(await roundTrip(manyKinds))).toEqual(plainBatch(manyKinds));
  });

  test('any batch: every float bit for bit, every id and payload letter for letter', async () => {
    await fc.assert(
      fc.asyncProperty(anyBatch, async (batch) => {
        const read = await roundTrip(batch);
        expect(plainBatch(read)).toEqual(plainBatch(batch));
        for (const [name, each] of batch.vectors) {
          const found = read.vectors.get(name)!;
          expect(bits(found.values)).toEqual(bits(each.values));
        }
      }),
      { numRuns: 150 },
    );
  });

  test('any batch the same way as parquet-wasm reads it, for whole dense columns do not pass through it', async () => {
    await fc.assert(
      fc.asyncProperty(anyBatch, async (batch) => {
        fc.pre(batch.count > 0);
        const bytes = await encodeShard(batch, meta);
        const { columns } = verifyShard(bytes, 'it');
        const groups = readParquet(bytes, { batchRecords: batch.count });
        const slow = concatBatches(groups.map((group) => batchFromArrow(group, columns)));
        expect(plainBatch((await decodeShard(bytes, 'it')).batch)).toEqual(plainBatch(slow));
      }),
      { numRuns: 150 },
    );
  });

  test.each([
    [1, 70_000],
    [7, 40_000],
    [8, 40_000],
    [100, 9000],
    [3000, 200],
  ])('dense vectors of %i dimensions over many pages, read without parquet-wasm', async (dimension, count) => {
    const batch = makeBatch({
      ids: Array.from({ length: count }, (_, i) => String(i)),
      vectors: [{ name: 'e', kind: 'dense', dimension, precision: 'float32' }],
      payloads: Array.from({ length: count }, () => '{}'),
    });
    const bytes = await encodeShard(batch, meta);
    const range = async (from: number, to: number) => bytes.subarray(from, to);
    const file = await openParquet({ size: bytes.length, range });
    const floats = await file.readFloatLists(0, 'e', dimension);
    expect(floats?.length).toBe(file.rowGroups[0]! * dimension);
    expect(bits(floats!)).toBe(bits(batch.vectors.get('e')!.values.subarray(0, floats!.length)));
    expect(await file.readFloatLists(0, 'e', dimension + 1)).toBeUndefined();
    expect(bits((await decodeShard(bytes, 'it')).batch.vectors.get('e')!.values)).toBe(
      bits(batch.vectors.get('e')!.values),
    );
  });

  test('no records at all, with the vectors that they would have had', async () => {
    const none = makeBatch({ ids: [], vectors: makeSchema().vectors });
    expect(plainBatch(await roundTrip(none))).toEqual(plainBatch(none));
  });

  test('one record of 1,536 dimensions with a payload of 1 MB', async () => {
    const one = makeBatch({
      ids: ['1'],
      vectors: [{ name: 'e', kind: 'dense', dimension: 1536, precision: 'float32' }],
      payloads: [JSON.stringify({ text: '𝔘nicode '.repeat(100_000) })],
    });
    expect(plainBatch(await roundTrip(one))).toEqual(plainBatch(one));
  });

  test('sparse vectors that are all empty, whose offsets are stored twice', async () => {
    const offsets = Uint32Array.of(0, 0);
    const empty: VectorColumn = { kind: 'sparse', offsets, indices: new Uint32Array(), values: new Float32Array() };
    const batch = {
      count: 1,
      ids: ['1'],
      payloads: ['{}'],
      vectors: new Map([
        ['a', empty],
        ['b', empty],
      ]),
    };
    expect(plainBatch(await roundTrip(batch))).toEqual(plainBatch(batch));
  });

  test('a batch that is a slice of a larger one, for its arrays are views', async () => {
    const middle = sliceBatch(concatBatches([manyKinds, manyKinds]), 2, 8);
    expect(plainBatch(await roundTrip(middle))).toEqual(plainBatch(middle));
  });

  test('all that its metadata says', async () => {
    const model = { name: 'all-MiniLM-L6-v2', version: '1' };
    const vectors = meta.schema.vectors.map((each) => ({ ...each, model }));
    const full = { ...meta, schema: { ...meta.schema, vectors }, rest: { from: 'x', to: null } };
    const bytes = await encodeShard(manyKinds, full);
    const read = verifyShard(bytes, 'it');
    // For whoever opens the file with another reader.
    expect(Buffer.from(bytes).toString()).toMatch(
      /vecferry\.models.{1,8}\{"[^{]*\{"name":"all-MiniLM-L6-v2","version":"1"\}/,
    );
    expect(read).toMatchObject({ ...full, records: 5 });
    expect(read.columns.map(({ column }) => column)).toEqual(['vector', 'vector_', 'ID_', 'payload_', 'a_b__c_']);
  });

  test('row group by row group, from any record on', async () => {
    const wide = makeBatch({
      ids: Array.from({ length: 2100 }, (_, i) => String(i)),
      vectors: [{ name: 'e', kind: 'dense', dimension: 2048, precision: 'float32' }],
    });
    const bytes = await encodeShard(wide, meta);
    const groups: number[] = [];
    for await (const { count } of readShard(bytes, 'it', { maxRecords: 2100 })) groups.push(count);
    expect(groups).toEqual([1018, 1018, 64]);
    for (const offset of [0, 1, 1500, 2099]) {
      const batches: Batch[] = [];
      for await (const batch of readShard(bytes, 'it', { maxRecords: 700, offset })) batches.push(batch);
      expect(Math.max(...batches.map(({ count }) => count))).toBeLessThanOrEqual(700);
      const read = concatBatches(batches);
      expect(read.ids).toEqual(wide.ids.slice(offset));
      expect(bits(read.vectors.get('e')!.values)).toEqual(bits(wide.vectors.get('e')!.values.subarray(offset * 2048)));
    }
  });
});

describe('a shard that is not as it was written is refused', () => {
  test('cut short anywhere', async () => {
    const bytes = await encodeShard(manyKinds, meta);
    for (let length = 0; length < bytes.length; length += 1) {
      await expect(decodeShard(bytes.slice(0, length), 's3://b/k')).rejects.toThrow(ShardDamaged);
    }
  });

  test('with any single byte flipped, statistics and padding included', async () => {
    const bytes = await encodeShard(manyKinds, meta);
    for (let at = 0; at < bytes.length; at++) {
      bytes[at]! ^= 1 << (at % 8);
      await expect(decodeShard(bytes, 's3://b/k')).rejects.toThrow(ShardDamaged);
      bytes[at]! ^= 1 << (at % 8);
    }
    await expect(decodeShard(bytes, 's3://b/k')).resolves.toBeDefined();
  });

  test('says which object, what is wrong and what to do', async () => {
    const bytes = await encodeShard(manyKinds, meta);
    await expect(decodeShard(bytes.slice(0, 900), 's3://b/k')).rejects.toThrow(
      /s3:\/\/b\/k is cut short: 900 bytes.*delete it and start the run again/,
    );
    bytes[10]! ^= 1;
    await expect(decodeShard(bytes, 's3://b/k')).rejects.toThrow(
      /was altered.*start the run again: its range is exported again/,
    );
  });

  test('an older format names `vecferry upgrade` and the folder, a newer one the release that wrote it', async () => {
    const bytes = await encodeShard(manyKinds, meta);
    const older = '{"vecferry.format":1,"run":"r"}\n';
    await expect(decodeShard(Buffer.from(older), '/data/posts/a.jsonl')).rejects.toMatchObject({
      name: 'UnsupportedFormat',
      message: expect.stringMatching(/format 1; this release reads format 2 only: `vecferry upgrade \/data\/posts`/),
    });
    await expect(decodeShard(Buffer.from(older), 's3://b/k.jsonl')).rejects.toThrow(/`vecferry upgrade s3:\/\/b`/);
    const newer = asFormat(bytes, '3');
    await expect(decodeShard(newer, 'k')).rejects.toMatchObject({
      name: 'UnsupportedFormat',
      message: expect.stringMatching(/format 3;.*read it with vecferry \d+\.\d+\.\d+, which wrote it, or a later one$/),
    });
    // Whose digit was altered is damaged, whatever it reads as now.
    Buffer.from(newer.buffer).write('2', Buffer.from(newer.buffer).lastIndexOf('vecferry.format') + 17);
    await expect(decodeShard(newer, 'k')).rejects.toThrow(ShardDamaged);
    await expect(decodeShard(Buffer.from('{"id":"1"}\n'), 'k')).rejects.toThrow(ShardDamaged);
  });

  test('an id that is no Unicode is refused by name instead of being changed in silence', async () => {
    const broken = makeBatch({ ids: ['a\ud800'] });
    await expect(encodeShard(broken, meta)).rejects.toThrow(RecordRefused);
  });

  test('the manifest sees another object behind the same name', async () => {
    const bytes = await encodeShard(manyKinds, meta);
    const other = await encodeShard(manyKinds, { ...meta, run: 'b-run' });
    const { checksum } = verifyShard(bytes, 'one');
    expect(checksum).toMatch(/^[0-9a-f]{64}$/);
    expect(checksum).not.toBe(verifyShard(other, 'other').checksum);
  });
});

describe('others read our shards', () => {
  let directory = '';
  let file = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vecferry-'));
    file = join(directory, 'shard.parquet');
    await writeFile(file, await encodeShard(manyKinds, meta));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  test('DuckDB: types, values and nulls', async () => {
    const connection = await (await DuckDBInstance.create()).connect();
    const types = await connection.runAndReadAll(`describe select * from '${file}'`);
    expect(types.getRows().map(([name, type]) => `${name} ${type}`)).toEqual([
      'id VARCHAR',
      'vector FLOAT[]',
      'vector_ FLOAT[]',
      'ID_ FLOAT[]',
      'payload_ STRUCT(indices UINTEGER[], "values" FLOAT[])',
      'a_b__c_ FLOAT[][]',
      'payload VARCHAR',
    ]);
    const rows = await connection.runAndReadAll(
      `select id, vector::varchar, payload_.indices::varchar, len(a_b__c_), payload from '${file}'`,
    );
    expect(rows.getRows().map(([id]) => id)).toEqual([...manyKinds.ids]);
    expect(rows.getRows()[1]?.slice(1, 4)).toEqual([null, null, null]);
    expect(rows.getRows()[3]?.slice(2)).toEqual(['[3]', 1n, manyKinds.payloads[3]]);
    const first = JSON.parse(String(rows.getRows()[0]?.[1]));
    expect(Float32Array.from(first)).toEqual(manyKinds.vectors.get('')!.values.slice(0, 3));
    connection.closeSync();
  });

  test('DuckDB, once there are several row groups, which we join ourselves', async () => {
    const ids = Array.from({ length: 2100 }, (_, i) => `r${i}`);
    const values = Float32Array.from({ length: 2100 * 2048 }, (_, i) => i % 4099);
    const vectors = new Map<string, VectorColumn>([['e', { kind: 'dense', dimension: 2048, values }]]);
    const batch: Batch = { count: 2100, ids, vectors, payloads: ids.map((id) => JSON.stringify({ id })) };
    const large = join(directory, 'large.parquet');
    await writeFile(large, await encodeShard(batch, meta));
    const connection = await (await DuckDBInstance.create()).connect();
    const groups = await connection.runAndReadAll(
      `select num_row_groups, num_rows from parquet_file_metadata('${large}')`,
    );
    expect(groups.getRows()).toEqual([[3n, 2100n]]);
    const rows = await connection.runAndReadAll(`select e[1], e[2048], payload from '${large}' where id = 'r2099'`);
    const at = 2099 * 2048;
    expect(rows.getRows()).toEqual([[at % 4099, (at + 2047) % 4099, '{"id":"r2099"}']]);
    connection.closeSync();
  });

  test('parquetjs-lite', async () => {
    const reader = await ParquetReader.openFile(file);
    const cursor = reader.getCursor();
    const row = await cursor.next();
    expect(String(row.id)).toBe('1');
    expect(JSON.parse(String(row.payload))).toEqual(JSON.parse(manyKinds.payloads[0]!));
    const floats = row.vector.list.map((each: { element: number }) => each.element);
    expect(Float32Array.from(floats)).toEqual(manyKinds.vectors.get('')!.values.slice(0, 3));
    await reader.close();
  });
});

/** A checksum, for comparing millions of floats bit for bit. */
const bits = (values: Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex');

const text = fc.string({ unit: 'grapheme', maxLength: 12 });

const anyColumn = (count: number, present: Uint8Array | undefined): fc.Arbitrary<VectorColumn> => {
  const has = (i: number): boolean => present === undefined || present[i] === 1;
  const float = fc.float({ noNaN: true });
  const withPresent = present === undefined ? {} : { present };
  const sizes = fc
    .array(fc.nat(3), { minLength: count, maxLength: count })
    .map((all) => all.map((size, i) => (has(i) ? size : 0)));
  const offsetsOf = (all: readonly number[]) =>
    Uint32Array.from([0, ...all.map((_, i) => all.slice(0, i + 1).reduce((a, b) => a + b, 0))]);
  const floats = (length: number) =>
    fc.array(float, { minLength: length, maxLength: length }).map((all) => Float32Array.from(all));
  return fc.oneof(
    fc.integer({ min: 1, max: 5 }).chain((dimension) =>
      floats(count * dimension).map((values): VectorColumn => {
        for (let i = 0; i < values.length; i++) if (!has(Math.floor(i / dimension))) values[i] = 0;
        return { kind: 'dense', dimension, values, ...withPresent };
      }),
    ),
    sizes.chain((all) => {
      const offsets = offsetsOf(all);
      const length = offsets.at(-1)!;
      return fc.tuple(floats(length), fc.array(fc.nat(4294967295), { minLength: length, maxLength: length })).map(
        ([values, indices]): VectorColumn => ({
          kind: 'sparse',
          offsets,
          values,
          indices: Uint32Array.from(indices),
          ...withPresent,
        }),
      );
    }),
    fc.tuple(fc.integer({ min: 1, max: 3 }), sizes).chain(([dimension, all]) => {
      const offsets = offsetsOf(all);
      return floats(offsets.at(-1)! * dimension).map(
        (values): VectorColumn => ({ kind: 'multi', dimension, offsets, values, ...withPresent }),
      );
    }),
  );
};

const anyBatch: fc.Arbitrary<Batch> = fc.nat(6).chain((count) =>
  fc
    .record({
      ids: fc.array(text, { minLength: count, maxLength: count }),
      payloads: fc.array(
        fc.dictionary(text, fc.jsonValue()).map((each) => JSON.stringify(each)),
        { minLength: count, maxLength: count },
      ),
      present: fc.option(
        fc
          .array(fc.integer({ min: 0, max: 1 }), { minLength: count, maxLength: count })
          .map((all) => Uint8Array.from(all)),
        { nil: undefined },
      ),
      names: fc.uniqueArray(fc.oneof(text, fc.constantFrom('', 'id', 'payload', 'vector', 'Vector')), { maxLength: 4 }),
    })
    .chain(({ names, present, ...rest }) =>
      fc
        .tuple(...names.map(() => anyColumn(count, present)))
        .map((columns): Batch => ({ count, ...rest, vectors: new Map(columns.map((each, i) => [names[i]!, each])) })),
    ),
);
