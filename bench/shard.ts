import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import {
  Field,
  Float32,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import * as wasm from 'parquet-wasm/esm';
import type { Batch } from '../lib/batch.ts';
import { decodeShard, encodeShard, type ShardMeta } from '../lib/shard/shard.ts';
import { type BenchRow, medianMs } from './row.ts';

/** Shards of 32 MiB, written and read, beside parquet-wasm alone on an Arrow table that is already built: the ceiling. */

const shardBytes = 32 * 1024 * 1024;
const runs = 5;

export async function run(): Promise<readonly BenchRow[]> {
  // First, while the memory of wasm is not yet grown by the ceiling's whole files.
  const rows: BenchRow[] = [await runMemory()];
  for (const dimension of [100, 384, 1536]) rows.push(...(await runDimension(dimension)));
  return rows;
}

async function runDimension(dimension: number): Promise<readonly BenchRow[]> {
  const batch = makeBatch(dimension);
  const bytes = await encodeShard(batch, meta);
  const raw = rawParquet(batch, dimension);
  const file = raw.write();
  // In turns, so that whatever else the machine does meets both alike.
  const rate = (ms: number): number => (batch.count / ms) * 1000;
  const written = rate(await medianMs(runs, () => encodeShard(batch, meta)));
  const rawWritten = rate(await medianMs(runs, () => raw.write()));
  const read = rate(await medianMs(runs, () => decodeShard(bytes, 'bench')));
  const rawRead = rate(await medianMs(runs, () => raw.read(file)));
  const row = (name: string, value: number, ceiling: number, what: string): BenchRow => ({
    name: `shard ${name}, ${dimension} dimensions`,
    value,
    unit: 'records/s',
    against: `parquet-wasm ${what} alone`,
    ratio: value / ceiling,
    goal: 'ratio >= 0.5',
  });
  return [row('write', written, rawWritten, 'write'), row('read', read, rawRead, 'read to Arrow')];
}

/** Fifty shards written and read, one after the other. */
async function runMemory(): Promise<BenchRow> {
  const batch = makeBatch(384);
  let peak = 0;
  for (let i = 0; i < 50; i++) {
    await decodeShard(await encodeShard(batch, meta), 'bench');
    peak = Math.max(peak, process.memoryUsage.rss());
  }
  return { name: 'peak RSS, 50 shards of 32 MiB', value: peak / 1e6, unit: 'MB', goal: '< 700 MB' };
}

const meta: ShardMeta = {
  run: 'bench',
  shard: '00000-000',
  range: { from: null, to: null },
  rest: null,
  schema: { store: 'files', idType: 'string', key: [], vectors: [], payloadIndexes: [], native: {} },
};

function makeBatch(dimension: number): Batch {
  const count = Math.floor(shardBytes / (dimension * 4 + 20));
  const values = new Float32Array(count * dimension);
  for (let i = 0; i < values.length; i++) values[i] = Math.random() * 2 - 1;
  return {
    count,
    ids: Array.from({ length: count }, (_, i) => `record-${i}`),
    vectors: new Map([['embedding', { kind: 'dense', dimension, values }]]),
    payloads: Array.from({ length: count }, (_, i) => `{"rank":${i}}`),
  };
}

/** What parquet-wasm does when everything around it is free. */
function rawParquet(batch: Batch, dimension: number): { write(): Uint8Array; read(file: Uint8Array): Uint8Array } {
  const require = createRequire(import.meta.url);
  wasm.initSync({ module: readFileSync(require.resolve('parquet-wasm/esm/parquet_wasm_bg.wasm')) });
  const column = batch.vectors.get('embedding');
  const values = column?.values ?? new Float32Array();
  const floats = makeData({ type: new Float32(), length: values.length, nullCount: 0, data: values });
  const list = new List(new Field('element', new Float32(), false));
  const offsets = Int32Array.from({ length: batch.count + 1 }, (_, i) => i * dimension);
  const vectors = makeData({ type: list, length: batch.count, nullCount: 0, valueOffsets: offsets, child: floats });
  const text = (from: readonly string[]) => vectorFromArray(from, new Utf8()).data[0] ?? makeData({ type: new Utf8() });
  const schema = new Schema([
    new Field('id', new Utf8(), false),
    new Field('embedding', list, true),
    new Field('payload', new Utf8(), false),
  ]);
  const children = [text(batch.ids), vectors, text(batch.payloads)];
  const data = makeData({ type: new Struct(schema.fields), length: batch.count, nullCount: 0, children });
  const ipc = tableToIPC(new Table([new RecordBatch(schema, data)]), 'stream');
  const properties = () =>
    new wasm.WriterPropertiesBuilder()
      .setCompression(wasm.Compression.UNCOMPRESSED)
      .setDictionaryEnabled(false)
      .setStatisticsEnabled(wasm.EnabledStatistics.None)
      .build();
  return {
    write: () => wasm.writeParquet(wasm.Table.fromIPCStream(ipc), properties()),
    read: (file) => wasm.readParquet(file, { batchSize: batch.count }).intoIPCStream(),
  };
}
