import { hasVector, type VectorColumn } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';

/** Vectors between JSON and columns. */
export type RawVector =
  | { readonly kind: 'dense'; readonly dimension: number; readonly values: readonly number[] }
  | { readonly kind: 'multi'; readonly dimension: number; readonly values: readonly number[] }
  | { readonly kind: 'sparse'; readonly indices: readonly number[]; readonly values: readonly number[] };

/**
 * One vector a record, or undefined, as a column.
 * @throws RecordRefused naming the records whose vector is of another kind or dimension than `spec`.
 */
export function packVectors(
  spec: VectorSpec,
  ids: readonly string[],
  vectors: readonly (RawVector | undefined)[],
): VectorColumn {
  const { name, kind, dimension = 0 } = spec;
  const odd = ids.filter((_, at) => !fits(vectors[at], spec));
  if (odd.length > 0) {
    const found = vectors.find((each) => !fits(each, spec));
    const text = `vector '${name}' of record '${odd[0]}' is ${found?.kind}${found?.kind === 'sparse' ? '' : ` of ${found?.dimension}`}, not ${kind} of ${dimension}`;
    throw new RecordRefused(`${text}; mend the file, or leave the field out with options {"vectors": […]}`, {
      ids: odd,
    });
  }
  const present = vectors.includes(undefined)
    ? { present: Uint8Array.from(vectors, (each) => (each === undefined ? 0 : 1)) }
    : {};
  if (kind === 'dense') {
    const values = new Float32Array(ids.length * dimension);
    for (const [at, each] of vectors.entries()) if (each !== undefined) values.set(each.values, at * dimension);
    return { kind, dimension, values, ...present };
  }
  const values = new Float32Array(vectors.reduce((total, each) => total + (each?.values.length ?? 0), 0));
  const step = kind === 'multi' ? dimension : 1;
  const offsets = new Uint32Array(ids.length + 1);
  const indices = new Uint32Array(kind === 'sparse' ? values.length : 0);
  let end = 0;
  for (const [at, each] of vectors.entries()) {
    values.set(each?.values ?? [], end);
    if (each?.kind === 'sparse') indices.set(each.indices, end);
    end += each?.values.length ?? 0;
    offsets[at + 1] = end / step;
  }
  return kind === 'multi'
    ? { kind, dimension, offsets, values, ...present }
    : { kind, offsets, indices, values, ...present };
}

/** The JSON text of record `at`'s vector: shortest digits that give the same double again, so the same float32. */
export function vectorText(column: VectorColumn, at: number): string {
  if (!hasVector(column, at)) return 'null';
  if (column.kind === 'dense') return floatsText(column.values, at * column.dimension, (at + 1) * column.dimension);
  const [from, to] = [column.offsets[at] ?? 0, column.offsets[at + 1] ?? 0];
  if (column.kind === 'sparse') {
    return `{"indices":[${column.indices.subarray(from, to).join(',')}],"values":${floatsText(column.values, from, to)}}`;
  }
  const rows = Array.from({ length: to - from }, (_, row) =>
    floatsText(column.values, (from + row) * column.dimension, (from + row + 1) * column.dimension),
  );
  return `[${rows.join(',')}]`;
}

function floatsText(values: Float32Array, from: number, to: number): string {
  const part = values.subarray(from, to);
  // A zero's sign is a bit of the vector too, and String leaves it out; Python reads -0 as an integer, which has none.
  return part.some((value) => Object.is(value, -0))
    ? `[${Array.from(part, (value) => (Object.is(value, -0) ? '-0.0' : String(value))).join(',')}]`
    : `[${part.join(',')}]`;
}

/** A multi vector without rows is [], which fits any dimension. */
function fits(vector: RawVector | undefined, { kind, dimension }: VectorSpec): boolean {
  return vector === undefined || (vector.kind === kind && (vector.kind === 'sparse' || vector.dimension === dimension));
}
