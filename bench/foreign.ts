import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { Table, tableFromIPC, tableToIPC } from 'apache-arrow';
import { type Batch, column, concatBatches } from '../lib/batch.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { readParquet, writeParquet } from '../lib/shard/parquet-wasm.ts';
import { batchToArrow, shardColumns } from '../lib/shard/shard-arrow.ts';
import { npyHeader } from '../lib/stores/files/npy.ts';
import { files } from '../lib/stores/files.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * Files of others read and written, beside the fastest that this process can do with the same bytes: parquet-wasm to Arrow, apache-arrow over
 * the bytes, JSON.parse of each line, a plain read; where those leave values as they lie, also with ids and payload made into text.
 */

const words = new URL('../test/data/words-10k.parquet', import.meta.url).pathname;
const times = 2;
const records = 10_000 * times;
const dimension = 100;
const rounds = 3;

export async function run(): Promise<BenchRow[]> {
  return await inFolder(async (folder) => {
    const batch = await makeFiles(folder);
    return [...(await reading(folder)), ...(await writing(folder, batch))];
  });
}

/** The same records as Parquet of DuckDB, and as Arrow, NumPy and JSON lines of plain code. */
async function makeFiles(folder: string): Promise<Batch> {
  const connection = await (await DuckDBInstance.create()).connect();
  const all = `SELECT id + 10000 * copy AS id, word, rank, embedding FROM read_parquet('${words}'), range(${times}) t(copy)`;
  await connection.run(`COPY (${all}) TO '${join(folder, 'words.parquet')}' (FORMAT parquet)`);
  connection.closeSync();
  const batches: Batch[] = [];
  for await (const batch of readBatches(folder, 'words.parquet', 'embedding')) batches.push(batch);
  const batch = concatBatches(batches);
  const { values } = column(batch, 'embedding');
  await writeFile(join(folder, 'words.arrow'), tableToIPC(await arrowOf(folder), 'file'));
  const header = npyHeader('<f4', [records, dimension]);
  await writeFile(
    join(folder, 'words.npy'),
    Buffer.concat([header, Buffer.from(values.buffer, values.byteOffset, values.byteLength)]),
  );
  await writeFile(join(folder, 'words.jsonl'), linesOf(batch));
  return batch;
}

const arrowOf = async (folder: string): Promise<Table> => {
  const [batch] = readParquet(await readFile(join(folder, 'words.parquet')), { batchRecords: records });
  if (batch === undefined) throw new Error('DuckDB wrote no records');
  return new Table([batch]);
};

/** Batches as a run reads them. @throws Error when a record is missing */
async function* readBatches(folder: string, collection: string, vector: string): AsyncGenerator<Batch> {
  const options = { vectors: [vector], ...(collection.endsWith('.npy') ? {} : { id: 'id' }) };
  const store = await files.open({ connection: { path: folder }, collection, options });
  let floats = 0;
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 20_000, maxBytes: 1 << 23 })) {
    floats += column(batch, vector).values.length;
    yield batch;
  }
  await store.close();
  if (floats !== records * dimension) throw new Error(`${collection} was read as ${floats} floats`);
}

async function readAll(folder: string, collection: string, vector: string): Promise<void> {
  for await (const _ of readBatches(folder, collection, vector));
}

/** What a script would write. */
function linesOf({ ids, payloads, vectors }: Batch): string {
  const [values = new Float32Array()] = [...vectors.values()].map((each) => each.values);
  const lines = ids.map((id, at) => {
    const embedding = Array.from(values.subarray(at * dimension, (at + 1) * dimension));
    return `${JSON.stringify({ id: Number(id), ...JSON.parse(payloads[at] ?? '{}'), embedding })}\n`;
  });
  return lines.join('');
}

/** Ids and payload as text, the least that a record needs to be written anywhere. */
function textsOf(table: Table): number {
  const [id, word, rank] = ['id', 'word', 'rank'].map((name) => table.getChild(name));
  let length = 0;
  for (let at = 0; at < table.numRows; at++)
    length += String(id?.get(at)).length + JSON.stringify({ word: word?.get(at), rank: rank?.get(at) }).length;
  return length;
}

async function reading(folder: string): Promise<BenchRow[]> {
  const bytes = (name: string): Promise<Buffer> => readFile(join(folder, name));
  const ms = await inTurns(
    {
      parquet: () => readAll(folder, 'words.parquet', 'embedding'),
      parquetAlone: () => arrowOf(folder),
      parquetTexts: async () => textsOf(await arrowOf(folder)),
      arrow: () => readAll(folder, 'words.arrow', 'embedding'),
      arrowTexts: async () => textsOf(tableFromIPC(await bytes('words.arrow'))),
      npy: () => readAll(folder, 'words.npy', 'words'),
      npyAlone: () => bytes('words.npy'),
      jsonl: () => readAll(folder, 'words.jsonl', 'embedding'),
      jsonlAlone: async () => {
        for (const line of (await bytes('words.jsonl')).toString().split('\n')) if (line !== '') JSON.parse(line);
      },
    },
    { rounds },
  );
  const row = (name: string, taken: number, against: string, other: number, goal?: string): BenchRow =>
    rate(`reading ${records.toLocaleString('en')} x ${dimension} of ${name}`, taken, against, other, goal);
  return [
    row("DuckDB's Parquet", ms('parquet'), 'parquet-wasm to Arrow alone', ms('parquetAlone')),
    row("DuckDB's Parquet", ms('parquet'), 'the same, ids and payload made text', ms('parquetTexts'), 'ratio >= 0.5'),
    row('Arrow IPC', ms('arrow'), 'apache-arrow, ids and payload made text', ms('arrowTexts'), 'ratio >= 0.5'),
    row('.npy', ms('npy'), 'reading the bytes alone', ms('npyAlone')),
    row('JSON lines', ms('jsonl'), 'JSON.parse of each line alone', ms('jsonlAlone'), 'ratio >= 0.5'),
  ];
}

function rate(name: string, taken: number, against: string, other: number, goal?: string): BenchRow {
  const value = (records / taken) * 1000;
  return { name, value, unit: 'records/s', against, ratio: other / taken, ...(goal === undefined ? {} : { goal }) };
}

const schema: CollectionSchema = {
  store: 'pgvector',
  idType: 'integer',
  key: [],
  vectors: [{ name: 'embedding', kind: 'dense', dimension, distance: 'cosine', precision: 'float32' }],
  fields: [
    { name: 'word', type: 'text', nullable: false },
    { name: 'rank', type: 'integer', nullable: false },
  ],
  payloadIndexes: [],
  native: {},
};

async function writing(folder: string, batch: Batch): Promise<BenchRow[]> {
  const out = join(folder, 'out');
  const written = async (options: object): Promise<Taken> => {
    await rm(out, { recursive: true, force: true });
    const from = performance.now();
    const store = await files.open({ connection: { path: folder }, collection: 'out', options });
    await store.prepare(schema);
    await store.write(batch, { position: { run: 'bench', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    await store.buildIndex(schema);
    await store.close();
    return new Taken(from);
  };
  const plain = join(folder, 'plain');
  const { values } = column(batch, 'embedding');
  const ms = await inTurns(
    {
      parquet: () => written({ format: 'parquet', layout: 'columns' }),
      parquetAlone: async () =>
        await writeFile(plain, writeParquet(batchToArrow(batch, shardColumns(batch.vectors)), batch.count)),
      arrow: () => written({ format: 'arrow' }),
      arrowAlone: async () => await writeFile(plain, tableToIPC(await arrowOf(folder), 'file')),
      numpy: () => written({ format: 'numpy' }),
      numpyAlone: () => writeFile(plain, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
      jsonl: () => written({ format: 'jsonl' }),
      jsonlAlone: () => writeFile(plain, linesOf(batch)),
    },
    { rounds },
  );
  const row = (name: string, taken: number, against: string, other: number, goal?: string): BenchRow =>
    rate(`writing ${records.toLocaleString('en')} x ${dimension} as ${name}`, taken, against, other, goal);
  return [
    row('Parquet in columns', ms('parquet'), 'parquet-wasm alone, payload as it is', ms('parquetAlone')),
    row('Arrow IPC', ms('arrow'), 'Parquet read to Arrow and written', ms('arrowAlone')),
    row('NumPy', ms('numpy'), 'writing the floats alone', ms('numpyAlone')),
    row('JSON lines', ms('jsonl'), 'JSON.stringify of each record', ms('jsonlAlone'), 'ratio >= 0.5'),
  ];
}
