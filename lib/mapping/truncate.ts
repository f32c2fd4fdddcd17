import { type Batch, type DenseColumn, hasVector, type VectorColumn } from '../batch.ts';
import { RecordRefused } from '../errors.ts';
import type { MappingPlan } from './mapping-files.ts';

/**
 * Matryoshka truncation: a model that was trained for it puts what matters most into the first floats of a vector, so
 * these are a vector by themselves once they are scaled to length 1 again (arxiv.org/abs/2205.13147, section 3;
 * OpenAI's `dimensions` does the same, openai.com/index/new-embedding-models-and-api-updates).
 */

/**
 * The first `dimensions` floats of each record's vector, at length 1. Sums are of doubles and each float is rounded once, so
 * that whoever works it out anew gets the same floats. @param name of the vector, for messages
 * @throws RecordRefused when those floats are all zeros, which no scaling gives a length: it names every such record.
 */
export function truncateColumn(
  column: VectorColumn,
  ids: readonly string[],
  { name, dimensions }: { readonly name: string; readonly dimensions: number },
): VectorColumn {
  if (column.kind !== 'dense' || column.dimension <= dimensions) return column;
  const values = new Float32Array(ids.length * dimensions);
  const zeros: string[] = [];
  for (const [at, id] of ids.entries()) {
    if (!hasVector(column, at)) continue;
    const length = lengthOf(column, at, dimensions);
    if (length === 0) zeros.push(id);
    const [from, to] = [at * column.dimension, at * dimensions];
    for (let i = 0; i < dimensions; i++) values[to + i] = (column.values[from + i] ?? 0) / length;
  }
  if (zeros.length > 0) throw allZeros(name, dimensions, zeros);
  return { kind: 'dense', dimension: dimensions, values, ...(column.present && { present: column.present }) };
}

function lengthOf({ values, dimension }: DenseColumn, at: number, dimensions: number): number {
  let sum = 0;
  for (let i = at * dimension; i < at * dimension + dimensions; i++) sum += (values[i] ?? 0) ** 2;
  return Math.sqrt(sum);
}

function allZeros(name: string, dimensions: number, ids: readonly string[]): RecordRefused {
  const others = ids.length > 1 ? ` and of ${ids.length - 1} more` : '';
  const text = `the first ${dimensions} floats of vector '${name}' of record '${ids[0]}'${others} are all zeros, which cannot be scaled to length 1`;
  return new RecordRefused(`${text}; mend the vector in the source, or leave dimensions out of mapping.vectors`, {
    ids,
  });
}

/**
 * Records of the source with their vectors as the target gets them, still under their names in the source: what queries
 * are drawn from and neighbours are found among. @throws RecordRefused as truncateColumn does
 */
export function asTruncated(batch: Batch, { vectors, truncate }: Pick<MappingPlan, 'vectors' | 'truncate'>): Batch {
  if (truncate === undefined) return batch;
  const cut = [...batch.vectors].map(([name, column]) => {
    const to = vectors[name];
    const dimensions = to === undefined ? undefined : truncate[to];
    return [name, dimensions === undefined ? column : truncateColumn(column, batch.ids, { name, dimensions })] as const;
  });
  return { ...batch, vectors: new Map(cut) };
}
