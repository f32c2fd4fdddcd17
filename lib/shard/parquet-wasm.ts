import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import {
  type Data,
  type Field,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableFromIPC,
  tableToIPC,
} from 'apache-arrow';
import * as wasm from 'parquet-wasm/esm';

/**
 * The one place that loads parquet-wasm, and the two calls that we need of it.
 *
 * The package's own loaders read the wasm file from a path that a bundler moves, so its bytes are handed over here: in a
 * Lambda bundle `parquet_wasm_bg.wasm` lies beside the bundled file (esbuild does not copy it, the bundling step does),
 * elsewhere it is found in the package. Bundles are ES modules, for `import.meta.url` is empty in CommonJS.
 */
function load(): void {
  if (loaded) return;
  const beside = fileURLToPath(new URL('./parquet_wasm_bg.wasm', import.meta.url));
  const path = existsSync(beside)
    ? beside
    : createRequire(import.meta.url).resolve('parquet-wasm/esm/parquet_wasm_bg.wasm');
  wasm.initSync({ module: readFileSync(path) });
  loaded = true;
}
let loaded = false;

/**
 * Gives an array's memory back at once. The collector counts array buffers late, and a process that writes shard after
 * shard would hold hundreds of megabytes of them.
 */
export function releaseMemory({ buffer, byteLength }: Uint8Array | Float32Array): void {
  // A small Buffer is a piece of Node's pool, which others have pieces of.
  if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength && !buffer.detached) buffer.transfer(0);
}

/** One Parquet column: its Arrow field and its values, all of one length. */
export interface ArrowColumn {
  readonly field: Field;
  readonly data: Data;
  /** Text compresses; the floats of a vector do not, and are written as they are. */
  readonly compressed: boolean;
}

/**
 * A Parquet file of these columns in one row group. Snappy, because every reader we test has it (parquetjs-lite has no zstd) and it costs
 * next to nothing; no dictionaries and no statistics, which only pay where values repeat.
 */
export function writeParquet(columns: readonly ArrowColumn[], length: number): Uint8Array {
  load();
  const schema = new Schema(columns.map(({ field }) => field));
  const type = new Struct(schema.fields);
  const data = makeData({ type, length, nullCount: 0, children: columns.map((column) => column.data) });
  const ipc = tableToIPC(new Table([new RecordBatch(schema, data)]), 'stream');
  let properties = new wasm.WriterPropertiesBuilder()
    .setCompression(wasm.Compression.UNCOMPRESSED)
    .setDictionaryEnabled(false)
    .setStatisticsEnabled(wasm.EnabledStatistics.None)
    .setMaxRowGroupSize(Math.max(1, length));
  for (const { field, compressed } of columns) {
    if (compressed) properties = properties.setColumnCompression(field.name, wasm.Compression.SNAPPY);
  }
  const table = wasm.Table.fromIPCStream(ipc);
  releaseMemory(ipc);
  return wasm.writeParquet(table, properties.build());
}

export interface ReadParquetOptions {
  readonly batchRecords: number;
  /** Left out: all. */
  readonly rowGroups?: readonly number[];
  readonly columns?: readonly string[];
  /** Records to skip, and to read after them; left out: none, all. */
  readonly offset?: number;
  readonly limit?: number;
}

/**
 * The records of a Parquet file as Arrow batches of at most `batchRecords`, of all row groups or those named.
 * The values are views into one copy outside of the wasm memory.
 */
export function readParquet(
  file: Uint8Array,
  { batchRecords, rowGroups, columns, offset, limit }: ReadParquetOptions,
): readonly RecordBatch[] {
  load();
  const options = {
    batchSize: Math.max(1, batchRecords),
    ...(rowGroups === undefined ? {} : { rowGroups: [...rowGroups] }),
    ...(columns === undefined ? {} : { columns: [...columns] }),
    ...(offset === undefined ? {} : { offset }),
    ...(limit === undefined ? {} : { limit }),
  };
  const { batches } = tableFromIPC(wasm.readParquet(file, options).intoIPCStream());
  // parquet-wasm 0.8.0 gives every column, whichever it is asked for.
  return columns === undefined ? batches : batches.map((batch) => withColumns(batch, columns));
}

function withColumns({ schema, numRows, data, nullCount }: RecordBatch, names: readonly string[]): RecordBatch {
  const kept = schema.fields.flatMap((field, at) => {
    const child = data.children[at];
    return names.includes(field.name) && child !== undefined ? [{ field, child }] : [];
  });
  const fields = kept.map(({ field }) => field);
  const children = kept.map(({ child }) => child);
  return new RecordBatch(
    new Schema(fields, schema.metadata),
    makeData({ type: new Struct(fields), length: numRows, nullCount, children }),
  );
}

/** The schema of a Parquet file. @throws Error as parquet-wasm does. */
export function parquetSchema(file: Uint8Array): Schema {
  load();
  return tableFromIPC(wasm.readSchema(file).intoIPCStream()).schema;
}
