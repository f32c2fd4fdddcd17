import { type DenseColumn, hasVector, type VectorColumn } from '../batch.ts';
import type { Precision } from '../schema.ts';

/**
 * Holds a vector found in the target against the one in the shard, after doing to the shard's what the target is known to
 * do to it: scaling to length 1 for cosine, rounding to float16, cutting to uint8.
 *
 * Tolerance: |found - expected| <= 1e-6 * |expected|, float by float. Why relative to the float itself: whatever a store
 * may do to a float32 in good order scales with it. Rounding is 6e-8 of it; scaling by a length summed in float32 is one
 * factor for all floats, off by about 1e-7; Qdrant leaves a vector as it is when its squared length is within 1e-6 of 1,
 * a factor off by 5e-7. So a change of 1e-5 in one float of a unit vector, or any lost digit beyond the sixth, is found.
 *
 * Floats above 5 stand only in vectors that are not unit vectors, so that factor does not touch them: there the tolerance
 * stays at 5e-6 up to 20, and is 2.5e-7 of the float from there on (Chroma scales vectors to and fro for cosine, which is off by
 * 2e-7 at most). A change of 1e-5 is found in every float up to 40, and above that one of 2.5e-7 of it; float32 itself knows
 * no steps below 1e-5 from 128 on.
 */
export const vectorTolerance = 1e-6;
const largeTolerance = 5e-6;
const scalingTolerance = 2.5e-7;
/** The smallest normal float32: a float below it may have been flushed to zero. */
const smallestFloat32 = 2 ** -126;
/** Qdrant leaves a vector unscaled when its squared length is below float32's epsilon: `is_length_zero_or_normalized`. */
const shortestScaled = 2 ** -23;

/** What the target does to the vectors of a column. */
export interface VectorTreatment {
  /** True: scaled to length 1 on write. */
  readonly isNormalised: boolean;
  readonly precision: Precision;
}

/** Why the vector of record `at` is not the one at `foundAt` of the target's column; undefined when it is. */
export function vectorDifference(
  expected: VectorColumn,
  at: number,
  found: VectorColumn | undefined,
  foundAt: number,
  treatment: VectorTreatment,
): string | undefined {
  const isExpected = hasVector(expected, at);
  const isFound = found !== undefined && hasVector(found, foundAt);
  if (!isExpected) return isFound ? 'expected no vector, found one' : undefined;
  if (!isFound) return 'expected a vector, found none';
  if (expected.kind !== found.kind) return `expected a ${expected.kind} vector, found a ${found.kind} one`;
  if (expected.kind === 'sparse' || found.kind === 'sparse') {
    return sparseDifference(sparseEntries(expected, at), sparseEntries(found, foundAt), treatment);
  }
  if (expected.dimension !== found.dimension) {
    return `expected ${expected.dimension} floats, found ${found.dimension}`;
  }
  if (expected.kind === 'dense' && found.kind === 'dense' && areSameFloats(expected, at, found, foundAt, treatment))
    return undefined;
  const [one, other] = [floatsOf(expected, at), floatsOf(found, foundAt)];
  if (one.length !== other.length) {
    return `expected ${one.length / expected.dimension} vectors, found ${other.length / expected.dimension}`;
  }
  return denseDifference(one, other, expected.dimension, treatment);
}

/**
 * True when every float equals its counterpart, where the target keeps vectors as they are: the tolerance has nothing to
 * allow then. Most records of a good target end here, without an object made for them. NaN equals nothing.
 */
function areSameFloats(
  { values, dimension }: DenseColumn,
  at: number,
  { values: found }: DenseColumn,
  foundAt: number,
  { isNormalised, precision }: VectorTreatment,
): boolean {
  if (isNormalised || precision !== 'float32') return false;
  const [from, other] = [at * dimension, foundAt * dimension];
  for (let i = 0; i < dimension; i++) if (values[from + i] !== found[other + i]) return false;
  return true;
}

/** All floats of a record: one vector of a dense column, several of a multi column. */
function floatsOf(column: VectorColumn, at: number): Float32Array {
  if (column.kind === 'sparse') return new Float32Array(0);
  const { dimension } = column;
  if (column.kind === 'dense') return column.values.subarray(at * dimension, (at + 1) * dimension);
  return column.values.subarray((column.offsets[at] ?? 0) * dimension, (column.offsets[at + 1] ?? 0) * dimension);
}

function denseDifference(
  expected: Float32Array,
  found: Float32Array,
  dimension: number,
  treatment: VectorTreatment,
): string | undefined {
  for (let from = 0; from < expected.length; from += dimension) {
    const part = expected.subarray(from, from + dimension);
    const other = found.subarray(from, from + dimension);
    const squared = treatment.isNormalised ? squaredLength(part) : 1;
    const scale = squared > 0 ? 1 / Math.sqrt(squared) : 1;
    const at = firstUnequal(part, other, scale, treatment.precision);
    if (at === -1) continue;
    if (squared < shortestScaled && firstUnequal(part, other, 1, treatment.precision) === -1) continue;
    const which = expected.length > dimension ? ` of vector ${from / dimension}` : '';
    const wanted = treat((part[at] ?? 0) * scale, treatment.precision);
    return `float ${at}${which}: expected ${digits(wanted)}, found ${digits(other[at] ?? 0)}`;
  }
  return undefined;
}

function firstUnequal(expected: Float32Array, found: Float32Array, scale: number, precision: Precision): number {
  for (let i = 0; i < expected.length; i++) {
    if (!isClose((expected[i] ?? 0) * scale, found[i] ?? 0, precision)) return i;
  }
  return -1;
}

/** NaN is close to nothing: the comparison is written so that it comes out false. */
function isClose(expected: number, found: number, precision: Precision): boolean {
  if (precision === 'uint8') return treat(expected, precision) === found;
  const size = Math.abs(expected);
  const tolerance =
    Math.min(vectorTolerance * size, Math.max(largeTolerance, scalingTolerance * size)) + smallestFloat32;
  if (precision === 'float32') return Math.abs(found - expected) <= tolerance;
  // A value within the tolerance of the middle of two float16s may be rounded either way.
  return found === Math.f16round(found) && Math.abs(found - expected) <= tolerance + halfStep16(expected);
}

/** The column as a store keeps it that does this to its vectors; sparse vectors are rounded and never scaled. */
export function asKept(column: VectorColumn, treatment: VectorTreatment | undefined): VectorColumn {
  if (treatment === undefined || (!treatment.isNormalised && treatment.precision === 'float32')) return column;
  const dimension = column.kind === 'sparse' ? column.values.length : column.dimension;
  const isScaled = treatment.isNormalised && column.kind !== 'sparse';
  const values = new Float32Array(column.values.length);
  for (let from = 0; from < values.length; from += dimension) {
    const part = column.values.subarray(from, from + dimension);
    const squared = isScaled ? squaredLength(part) : 1;
    const scale = squared < shortestScaled ? 1 : 1 / Math.sqrt(squared);
    part.forEach((value, at) => {
      values[from + at] = treat(value * scale, treatment.precision);
    });
  }
  return { ...column, values };
}

/** Half the distance of neighbouring float16s around `value`: 11 significant bits, subnormal below 2^-14. */
function halfStep16(value: number): number {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))));
  return 2 ** (exponent - 11);
}

/** The value as the target keeps it. uint8 is cut off as Rust's `as u8` does, which is what Qdrant uses. */
function treat(value: number, precision: Precision): number {
  if (precision === 'float16') return Math.f16round(value);
  if (precision === 'uint8') return Math.min(255, Math.max(0, Math.trunc(value)));
  return value;
}

function squaredLength(vector: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += (vector[i] ?? 0) ** 2;
  return sum;
}

/** Index and value of a record's floats; zeros are left out, because a sparse vector means the same without them. */
function sparseEntries(column: VectorColumn, at: number): ReadonlyMap<number, number> {
  const entries = new Map<number, number>();
  if (column.kind !== 'sparse') return entries;
  for (let i = column.offsets[at] ?? 0; i < (column.offsets[at + 1] ?? 0); i++) {
    const value = column.values[i] ?? 0;
    if (value !== 0) entries.set(column.indices[i] ?? 0, value);
  }
  return entries;
}

/** Sparse vectors are never scaled. */
function sparseDifference(
  expected: ReadonlyMap<number, number>,
  found: ReadonlyMap<number, number>,
  { precision }: VectorTreatment,
): string | undefined {
  for (const index of new Set([...expected.keys(), ...found.keys()])) {
    const [one, other] = [expected.get(index), found.get(index)];
    if (isClose(one ?? 0, other ?? 0, precision)) continue;
    return `index ${index}: expected ${one === undefined ? 'nothing' : digits(one)}, found ${other === undefined ? 'nothing' : digits(other)}`;
  }
  return undefined;
}

/** Nine significant digits hold a float32 exactly. */
function digits(value: number): string {
  return String(Number(value.toPrecision(9)));
}
