import { denseVector, type MultiColumn, type SparseColumn, type VectorColumn } from '../batch.ts';
import type { VectorKind } from '../schema.ts';
import type { ClientVector, DenseVector, SparseVector } from './side.ts';

/** Vectors as applications have them, out of columns and into them. */

/** A vector as a collection declares it; `dimension` 0 where it does not say, and for sparse ones. */
export interface VectorShape {
  readonly kind: VectorKind;
  readonly dimension: number;
}

/** A vector that does not fit into its column; whoever knows the record's id names it. */
export class UnfitVector extends Error {
  /** Which of the vectors. */
  readonly at: number;

  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

export function shapeOf(column: VectorColumn): VectorShape {
  return { kind: column.kind, dimension: column.kind === 'sparse' ? 0 : column.dimension };
}

/** What a vector alone says of its column. */
export function shapeOfVector(vector: ClientVector): VectorShape {
  if (isSparse(vector)) return { kind: 'sparse', dimension: 0 };
  if (isMulti(vector)) return { kind: 'multi', dimension: vector[0]?.length ?? 0 };
  return { kind: 'dense', dimension: vector.length };
}

/** The vector of record `at`, in memory of its own. The record has one. */
export function vectorAt(column: VectorColumn, at: number): ClientVector {
  if (column.kind === 'dense') return denseVector(column, at).slice();
  const [from, to] = [column.offsets[at] ?? 0, column.offsets[at + 1] ?? 0];
  if (column.kind === 'sparse')
    return { indices: column.indices.slice(from, to), values: column.values.slice(from, to) };
  const { dimension, values } = column;
  return Array.from({ length: to - from }, (_, each) =>
    values.slice((from + each) * dimension, (from + each + 1) * dimension),
  );
}

/** @param vectors one a record; undefined where it has none @throws UnfitVector */
export function columnOf(vectors: readonly (ClientVector | undefined)[], shape: VectorShape): VectorColumn {
  const made = makeColumn(vectors, shape);
  if (!vectors.includes(undefined)) return made;
  return { ...made, present: Uint8Array.from(vectors, (vector) => (vector === undefined ? 0 : 1)) };
}

function makeColumn(vectors: readonly (ClientVector | undefined)[], { kind, dimension }: VectorShape): VectorColumn {
  if (kind === 'sparse') return sparseColumn(vectors);
  if (kind === 'multi') return multiColumn(vectors, dimension);
  const parts = vectors.map((vector, at) => {
    if (vector === undefined) return undefined;
    if (isSparse(vector) || isMulti(vector)) throw new UnfitVector(at, 'is not the dense vector that belongs there');
    return vector;
  });
  const length = dimension || (parts.find((part) => part !== undefined)?.length ?? 0);
  const values = new Float32Array(length * parts.length);
  parts.forEach((part, at) => {
    if (part !== undefined) values.set(ofLength(part, length, at), at * length);
  });
  return { kind: 'dense', dimension: length, values };
}

function sparseColumn(vectors: readonly (ClientVector | undefined)[]): SparseColumn {
  const parts = vectors.map((vector = noSparse, at) => {
    if (!isSparse(vector)) throw new UnfitVector(at, 'is not the sparse vector that belongs there');
    const { indices, values } = vector;
    if (indices.length !== values.length)
      throw new UnfitVector(at, `has ${indices.length} indices and ${values.length} values`);
    const isOrdered = indices.every((index, i) => Number.isInteger(index) && index > (indices[i - 1] ?? -1));
    if (!isOrdered) throw new UnfitVector(at, 'has indices that do not ascend from 0 on, each once');
    return vector;
  });
  const offsets = offsetsOf(parts.map(({ indices }) => indices.length));
  const indices = new Uint32Array(offsets.at(-1) ?? 0);
  const values = new Float32Array(offsets.at(-1) ?? 0);
  parts.forEach((part, at) => {
    indices.set(part.indices, offsets[at]);
    values.set(part.values, offsets[at]);
  });
  return { kind: 'sparse', offsets, indices, values };
}

function multiColumn(vectors: readonly (ClientVector | undefined)[], dimension: number): MultiColumn {
  const parts = vectors.map((vector = [], at) => {
    if (Array.isArray(vector) && vector.length === 0) return [];
    if (isSparse(vector) || !isMulti(vector))
      throw new UnfitVector(at, 'is not the list of vectors that belongs there');
    return vector;
  });
  const length = dimension || (parts.flat()[0]?.length ?? 0);
  const offsets = offsetsOf(parts.map((part) => part.length));
  const values = new Float32Array((offsets.at(-1) ?? 0) * length);
  parts.forEach((part, at) => {
    part.forEach((each, i) => {
      values.set(ofLength(each, length, at), ((offsets[at] ?? 0) + i) * length);
    });
  });
  return { kind: 'multi', dimension: length, offsets, values };
}

const noSparse: SparseVector = { indices: [], values: [] };

function ofLength(vector: DenseVector, length: number, at: number): DenseVector {
  if (vector.length === length) return vector;
  throw new UnfitVector(at, `has ${vector.length} floats where there are ${length}`);
}

function offsetsOf(lengths: readonly number[]): Uint32Array {
  const offsets = new Uint32Array(lengths.length + 1);
  lengths.forEach((length, at) => {
    offsets[at + 1] = (offsets[at] ?? 0) + length;
  });
  return offsets;
}

function isSparse(vector: ClientVector): vector is SparseVector {
  return 'indices' in vector;
}

function isMulti(vector: DenseVector | readonly DenseVector[]): vector is readonly DenseVector[] {
  return Array.isArray(vector) && vector.length > 0 && typeof vector[0] !== 'number';
}
