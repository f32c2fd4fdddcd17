import type { VectorSpec } from './schema.ts';

/**
 * A batch holds many records in columns; it is the unit that moves through memory.
 *
 * Why columns: on 1536-dimensional vectors a pipeline of row objects spends its time boxing floats; a flat Float32Array
 * is handed to PostgreSQL, protobuf and Arrow without touching one number.
 */
export interface Batch {
  /** Number of records; every column below describes exactly this many. */
  readonly count: number;
  /**
   * One id a record, as canonical text: integers in decimal, UUIDs in lower case with dashes, strings as they are,
   * composite keys as a compact JSON array. What kind they are stands in the collection's schema.
   */
  readonly ids: readonly string[];
  /** Vector columns by vector name ('' is Qdrant's unnamed vector). */
  readonly vectors: ReadonlyMap<string, VectorColumn>;
  /**
   * One JSON object a record, as text, so that integers above 2^53 and decimals survive; parsed only where a mapping
   * or a comparison needs it, and then without loss. '{}' where a record has no payload.
   */
  readonly payloads: readonly string[];
}

export type VectorColumn = DenseColumn | SparseColumn | MultiColumn;

/** One vector of `dimension` floats a record. */
export interface DenseColumn {
  readonly kind: 'dense';
  readonly dimension: number;
  /** count * dimension floats; the floats of an absent vector are zeros. */
  readonly values: Float32Array;
  /** One byte a record, 1 where the record has this vector; undefined when all have it. */
  readonly present?: Uint8Array;
}

/** A few indexed floats a record. */
export interface SparseColumn {
  readonly kind: 'sparse';
  /** count + 1 offsets into `indices` and `values`. */
  readonly offsets: Uint32Array;
  /** Zero-based, ascending and unique within a record. */
  readonly indices: Uint32Array;
  readonly values: Float32Array;
  readonly present?: Uint8Array;
}

/** Several vectors of `dimension` floats a record (late interaction). */
export interface MultiColumn {
  readonly kind: 'multi';
  readonly dimension: number;
  /** count + 1 offsets, counted in vectors: record i has vectors offsets[i] to offsets[i + 1]. */
  readonly offsets: Uint32Array;
  /** offsets[count] * dimension floats. */
  readonly values: Float32Array;
  readonly present?: Uint8Array;
}

/** True when record `index` has a vector in this column. */
export function hasVector(column: VectorColumn, index: number): boolean {
  return column.present === undefined || column.present[index] === 1;
}

/** The dense vector of record `index`: a view of `dimension` floats into the column, not a copy. */
export function denseVector(column: DenseColumn, index: number): Float32Array {
  return column.values.subarray(index * column.dimension, (index + 1) * column.dimension);
}

/** A batch without records that has these vectors. */
export function noRecords(vectors: readonly VectorSpec[]): Batch {
  return { count: 0, ids: [], vectors: new Map(vectors.map((spec) => [spec.name, emptyColumn(spec)])), payloads: [] };
}

function emptyColumn({ kind, dimension = 0 }: VectorSpec): VectorColumn {
  const values = new Float32Array(0);
  if (kind === 'dense') return { kind, dimension, values };
  const offsets = new Uint32Array(1);
  return kind === 'multi'
    ? { kind, dimension, offsets, values }
    : { kind, offsets, indices: new Uint32Array(0), values };
}

/** The records `from` (inclusive) to `to` (exclusive), as views where the column allows it. */
export function sliceBatch(batch: Batch, from: number, to: number): Batch {
  const end = Math.min(to, batch.count);
  if (from <= 0 && end === batch.count) return batch;
  return {
    count: end - from,
    ids: batch.ids.slice(from, end),
    vectors: mapColumns(batch.vectors, (column) => sliceColumn(column, from, end)),
    payloads: batch.payloads.slice(from, end),
  };
}

/** The records at the given positions, in that order; each position within [0, count). */
export function selectRecords(batch: Batch, positions: readonly number[]): Batch {
  return {
    count: positions.length,
    ids: positions.map((at) => valueAt(batch.ids, at)),
    vectors: mapColumns(batch.vectors, (column) => selectFromColumn(column, positions)),
    payloads: positions.map((at) => valueAt(batch.payloads, at)),
  };
}

/** One batch with the records of all, in order. All have the same vector columns. */
export function concatBatches(batches: readonly Batch[]): Batch {
  const [first, ...rest] = batches;
  if (first === undefined) return { count: 0, ids: [], vectors: new Map(), payloads: [] };
  if (rest.length === 0) return first;
  return {
    count: batches.reduce((sum, batch) => sum + batch.count, 0),
    ids: batches.flatMap((batch) => batch.ids),
    vectors: mapColumns(first.vectors, (_, name) =>
      concatColumns(
        batches.map((batch) => column(batch, name)),
        batches.map((batch) => batch.count),
      ),
    ),
    payloads: batches.flatMap((batch) => batch.payloads),
  };
}

/** Bytes of the records' vectors and payload text in memory, ids left out: what batch and shard limits count. */
export function batchBytes(batch: Batch): number {
  let bytes = 0;
  for (const payload of batch.payloads) bytes += payload.length;
  for (const each of batch.vectors.values()) {
    bytes += each.values.byteLength;
    if (each.kind === 'sparse') bytes += each.indices.byteLength;
  }
  return bytes;
}

/** The vector column called `name`. @throws RangeError when the batch has none, which is a defect of the caller. */
export function column(batch: Batch, name: string): VectorColumn {
  const found = batch.vectors.get(name);
  if (found === undefined)
    throw new RangeError(`batch has no vector '${name}'; it has ${[...batch.vectors.keys()].join(', ')}`);
  return found;
}

function valueAt(values: readonly string[], at: number): string {
  const value = values[at];
  if (value === undefined) throw new RangeError(`no record ${at} in a batch of ${values.length}`);
  return value;
}

function mapColumns(
  vectors: ReadonlyMap<string, VectorColumn>,
  change: (column: VectorColumn, name: string) => VectorColumn,
): Map<string, VectorColumn> {
  return new Map([...vectors].map(([name, each]) => [name, change(each, name)]));
}

function withPresent<T extends VectorColumn>(made: T, present: Uint8Array | undefined): T {
  return present === undefined ? made : { ...made, present };
}

function sliceColumn(from: VectorColumn, start: number, end: number): VectorColumn {
  const present = from.present?.subarray(start, end);
  if (from.kind === 'dense') {
    const values = from.values.subarray(start * from.dimension, end * from.dimension);
    return withPresent({ kind: 'dense', dimension: from.dimension, values }, present);
  }
  const base = from.offsets[start] ?? 0;
  const last = from.offsets[end] ?? base;
  const offsets = from.offsets.slice(start, end + 1).map((offset) => offset - base);
  if (from.kind === 'sparse') {
    const indices = from.indices.subarray(base, last);
    return withPresent({ kind: 'sparse', offsets, indices, values: from.values.subarray(base, last) }, present);
  }
  const values = from.values.subarray(base * from.dimension, last * from.dimension);
  return withPresent({ kind: 'multi', dimension: from.dimension, offsets, values }, present);
}

function selectFromColumn(from: VectorColumn, positions: readonly number[]): VectorColumn {
  const pieces = positions.map((at) => sliceColumn(from, at, at + 1));
  if (pieces.length > 0)
    return concatColumns(
      pieces,
      pieces.map(() => 1),
    );
  return sliceColumn(from, 0, 0);
}

/** `counts[i]` is the number of records in `columns[i]`. */
function concatColumns(columns: readonly VectorColumn[], counts: readonly number[]): VectorColumn {
  const [first] = columns;
  if (first === undefined) throw new RangeError('no columns to join');
  const values = joinFloats(columns.map((each) => each.values));
  const present = joinPresent(columns, counts);
  if (first.kind === 'dense') return withPresent({ kind: 'dense', dimension: first.dimension, values }, present);
  const offsets = joinOffsets(columns, counts);
  if (first.kind === 'multi')
    return withPresent({ kind: 'multi', dimension: first.dimension, offsets, values }, present);
  const indices = new Uint32Array(values.length);
  let at = 0;
  for (const each of columns) {
    if (each.kind !== 'sparse') throw new RangeError(`cannot join a ${each.kind} column to a sparse one`);
    indices.set(each.indices, at);
    at += each.indices.length;
  }
  return withPresent({ kind: 'sparse', offsets, indices, values }, present);
}

function joinFloats(parts: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function joinPresent(columns: readonly VectorColumn[], counts: readonly number[]): Uint8Array | undefined {
  if (columns.every((each) => each.present === undefined)) return undefined;
  const joined = new Uint8Array(counts.reduce((sum, count) => sum + count, 0)).fill(1);
  let at = 0;
  columns.forEach((each, index) => {
    if (each.present !== undefined) joined.set(each.present, at);
    at += counts[index] ?? 0;
  });
  return joined;
}

function joinOffsets(columns: readonly VectorColumn[], counts: readonly number[]): Uint32Array {
  const joined = new Uint32Array(counts.reduce((sum, count) => sum + count, 0) + 1);
  let at = 0;
  let base = 0;
  columns.forEach((each, index) => {
    if (each.kind === 'dense') throw new RangeError('dense columns have no offsets');
    const count = counts[index] ?? 0;
    for (let i = 1; i <= count; i++) joined[at + i] = base + (each.offsets[i] ?? 0);
    at += count;
    base = joined[at] ?? base;
  });
  return joined;
}
