import {
  type Data,
  type DataType,
  Field,
  Float32,
  List,
  makeData,
  type RecordBatch,
  Struct,
  Uint32,
  Utf8,
} from 'apache-arrow';
import { z } from 'zod';
import {
  type Batch,
  type DenseColumn,
  hasVector,
  type MultiColumn,
  type SparseColumn,
  type VectorColumn,
} from '../batch.ts';
import { RecordRefused } from '../errors.ts';
import { vectorKindSchema } from '../schema.ts';
import type { ArrowColumn } from './parquet-wasm.ts';

/**
 * Between the columns of a batch and those of a shard. Numbers are never looked at one by one: an Arrow list is the flat
 * array and its offsets, and reading gives both back.
 */

/** Which column holds which vector: names of vectors may be anything, names of columns are kept plain. */
export const shardColumnSchema = z.strictObject({
  name: z.string(),
  column: z.string(),
  kind: vectorKindSchema,
  /** Floats a vector; 0 for sparse. */
  dimension: z.int().nonnegative(),
});
export type ShardColumn = z.infer<typeof shardColumnSchema>;

/** A column for every vector: its name where that is plain and free, '' as `vector`. Case is no difference in SQL. */
export function shardColumns(vectors: ReadonlyMap<string, VectorColumn>): readonly ShardColumn[] {
  const taken = new Set(['id', 'payload']);
  return [...vectors].map(([name, each]) => {
    let column = name === '' ? 'vector' : name.replace(/[^A-Za-z0-9_-]/g, '_');
    while (taken.has(column.toLowerCase())) column += '_';
    taken.add(column.toLowerCase());
    return { name, column, kind: each.kind, dimension: each.kind === 'sparse' ? 0 : each.dimension };
  });
}

/** @throws RecordRefused when an id is no valid Unicode, which Parquet cannot hold. */
export function batchToArrow(batch: Batch, columns: readonly ShardColumn[]): readonly ArrowColumn[] {
  const broken = batch.ids.filter((id) => !id.isWellFormed());
  if (broken.length > 0) {
    throw new RecordRefused(
      `${broken.length} ids hold half of a surrogate pair, which no shard can hold: ${JSON.stringify(broken[0])}; change them in the source`,
      {
        ids: broken,
      },
    );
  }
  return [
    { field: new Field('id', new Utf8(), false), data: textData(batch.ids), compressed: true },
    ...columns.map(({ name, column }) => vectorToArrow(column, batch.vectors.get(name), batch.count)),
    { field: new Field('payload', new Utf8(), false), data: textData(batch.payloads), compressed: true },
  ];
}

/** @throws RangeError when the file does not have the columns that its own metadata tells of. */
export function batchFromArrow(from: RecordBatch, columns: readonly ShardColumn[]): Batch {
  const dataOf = (name: string): Data => {
    const at = from.schema.fields.findIndex((field) => field.name === name);
    return must(from.data.children[at], `a column '${name}'`);
  };
  return {
    count: from.numRows,
    ids: texts(dataOf('id')),
    vectors: new Map(
      columns.map((column) => [column.name, vectorFromArrow(dataOf(column.column), column, from.numRows)]),
    ),
    payloads: texts(dataOf('payload')),
  };
}

const element = (type: DataType): Field => new Field('element', type, false);
const floats = new List(element(new Float32()));
const uints = new List(element(new Uint32()));
const lists = new List(element(floats));
const pairs = new Struct([new Field('indices', uints, false), new Field('values', floats, false)]);

function vectorToArrow(name: string, column: VectorColumn | undefined, length: number): ArrowColumn {
  const vectors = must(column, `the vectors of column '${name}'`);
  const nulls = nullsOf(vectors.present, length);
  const made = (data: Data): ArrowColumn => ({ field: new Field(name, data.type, true), data, compressed: false });
  if (vectors.kind === 'dense') return made(denseToArrow(vectors, length, nulls));
  if (vectors.kind === 'sparse') {
    const { offsets, indices, values } = vectors;
    const children = [
      listData(
        uints,
        offsets,
        makeData({ type: new Uint32(), length: indices.length, nullCount: 0, data: indices }),
        length,
      ),
      // A copy: the IPC writer of apache-arrow 18 runs two buffers together when they are the same bytes.
      listData(floats, offsets.slice(), floatData(values), length),
    ];
    return made(makeData({ type: pairs, length, ...nulls, children }));
  }
  const total = vectors.offsets[length] ?? 0;
  const inner = listData(floats, strides(total, vectors.dimension), floatData(vectors.values), total);
  return made(makeData({ type: lists, length, ...nulls, valueOffsets: signed(vectors.offsets), child: inner }));
}

/** An absent vector is null and takes no floats in the file. */
function denseToArrow(column: DenseColumn, length: number, nulls: Nulls): Data {
  const { dimension, values } = column;
  if (nulls.nullCount === 0) return listData(floats, strides(length, dimension), floatData(values), length);
  const valueOffsets = new Int32Array(length + 1);
  const kept = new Float32Array((length - nulls.nullCount) * dimension);
  let end = 0;
  for (let i = 0; i < length; i++) {
    if (hasVector(column, i)) {
      kept.set(values.subarray(i * dimension, (i + 1) * dimension), end);
      end += dimension;
    }
    valueOffsets[i + 1] = end;
  }
  return makeData({ type: floats, length, ...nulls, valueOffsets, child: floatData(kept) });
}

function vectorFromArrow(data: Data, { column, kind, dimension }: ShardColumn, length: number): VectorColumn {
  const present = presentOf(data, length);
  const withPresent = <T extends VectorColumn>(made: T): T => (present === undefined ? made : { ...made, present });
  if (kind === 'sparse') return withPresent(sparseFromArrow(data, column, present));
  const { offsets, child } = listOf(data, column);
  if (kind === 'dense')
    return withPresent(denseFromArrow(offsets, floatsOf(child, column), dimension, present, column));
  const inner = listOf(child, column);
  requireStrides(inner.offsets, dimension, column);
  return withPresent({ kind, dimension, offsets, values: floatsOf(inner.child, column) } satisfies MultiColumn);
}

function denseFromArrow(
  offsets: Uint32Array,
  values: Float32Array,
  dimension: number,
  present: Uint8Array | undefined,
  column: string,
): DenseColumn {
  if (present === undefined) {
    requireStrides(offsets, dimension, column);
    return { kind: 'dense', dimension, values };
  }
  const spread = new Float32Array((offsets.length - 1) * dimension);
  for (let i = 0; i < present.length; i++) {
    const start = offsets[i] ?? 0;
    const end = offsets[i + 1] ?? start;
    if (present[i] === 1 && end - start !== dimension)
      throw new RangeError(`record ${i} of column '${column}' has ${end - start} floats, not ${dimension}`);
    if (present[i] === 1) spread.set(values.subarray(start, end), i * dimension);
  }
  return { kind: 'dense', dimension, values: spread };
}

function sparseFromArrow(data: Data, column: string, present: Uint8Array | undefined): SparseColumn {
  const indexList = listOf(must(data.children[0], `indices in column '${column}'`), column);
  const valueList = listOf(must(data.children[1], `values in column '${column}'`), column);
  const indices: unknown = indexList.child.values;
  const values = floatsOf(valueList.child, column);
  if (
    !(indices instanceof Uint32Array) ||
    indexList.offsets.some((offset, i) => offset !== valueList.offsets[i]) ||
    (present?.length ?? 0) >= indexList.offsets.length
  ) {
    throw new RangeError(`column '${column}' holds other indices than values`);
  }
  return { kind: 'sparse', offsets: indexList.offsets, indices: indices.subarray(0, values.length), values };
}

interface Nulls {
  readonly nullCount: number;
  readonly nullBitmap?: Uint8Array;
}

/** Arrow's validity bitmap, least significant bit first. */
function nullsOf(present: Uint8Array | undefined, length: number): Nulls {
  if (present === undefined) return { nullCount: 0 };
  const nullBitmap = new Uint8Array(Math.ceil(length / 8));
  let nullCount = 0;
  for (let i = 0; i < length; i++) {
    if (present[i] === 1) nullBitmap[i >> 3] = (nullBitmap[i >> 3] ?? 0) | (1 << (i & 7));
    else nullCount++;
  }
  return nullCount === 0 ? { nullCount } : { nullCount, nullBitmap };
}

function presentOf(data: Data, length: number): Uint8Array | undefined {
  if (data.nullCount === 0) return undefined;
  return Uint8Array.from({ length }, (_, i) => (data.getValid(i) ? 1 : 0));
}

function listData(type: List, offsets: Uint32Array | Int32Array, child: Data, length: number): Data {
  return makeData({
    type,
    length,
    nullCount: 0,
    valueOffsets: offsets instanceof Int32Array ? offsets : signed(offsets),
    child,
  });
}

function floatData(data: Float32Array): Data {
  return makeData({ type: new Float32(), length: data.length, nullCount: 0, data });
}

/** Offsets 0, step, 2 * step, ... of `count` lists. */
function strides(count: number, step: number): Int32Array {
  const offsets = new Int32Array(count + 1);
  for (let i = 1; i <= count; i++) offsets[i] = i * step;
  return offsets;
}

function requireStrides(offsets: Uint32Array, step: number, column: string): void {
  const odd = offsets.findIndex((offset, i) => offset !== i * step);
  if (odd >= 0) throw new RangeError(`vector ${odd - 1} of column '${column}' is not of ${step} floats`);
}

/** The same bytes under the other sign: offsets stay below 2^31, for a shard does. */
function signed(offsets: Uint32Array): Int32Array {
  return new Int32Array(offsets.buffer, offsets.byteOffset, offsets.length);
}

function listOf(data: Data, column: string): { readonly offsets: Uint32Array; readonly child: Data } {
  const child = must(data.children[0], `lists in column '${column}'`);
  const offsets: unknown = data.valueOffsets;
  if (!(offsets instanceof Int32Array)) throw new RangeError(`column '${column}' holds no lists`);
  return { offsets: new Uint32Array(offsets.buffer, offsets.byteOffset, data.length + 1), child };
}

function floatsOf(data: Data, column: string): Float32Array {
  const values: unknown = data.values;
  if (!(values instanceof Float32Array)) throw new RangeError(`column '${column}' holds no float32`);
  return values.subarray(0, data.length);
}

function textData(values: readonly string[]): Data {
  const valueOffsets = new Int32Array(values.length + 1);
  let bytes = 0;
  for (const [i, value] of values.entries()) {
    bytes += Buffer.byteLength(value);
    valueOffsets[i + 1] = bytes;
  }
  const data = Buffer.alloc(bytes);
  for (const [i, value] of values.entries()) data.write(value, valueOffsets[i] ?? 0, 'utf8');
  return makeData({ type: new Utf8(), length: values.length, nullCount: 0, valueOffsets, data });
}

function texts(data: Data): readonly string[] {
  const offsets: unknown = data.valueOffsets;
  const values: unknown = data.values;
  if (!(offsets instanceof Int32Array) || !(values instanceof Uint8Array))
    throw new RangeError('a column of ids or payloads holds no text');
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  return Array.from({ length: data.length }, (_, i) => bytes.toString('utf8', offsets[i], offsets[i + 1]));
}

function must<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new RangeError(`there is no ${what}`);
  return value;
}
