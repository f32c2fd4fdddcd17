import { type DenseColumn, hasVector } from '../batch.ts';
import type { Distance } from '../schema.ts';
import { makeKernel, queriesTogether, type Sum } from './nearest-kernel.ts';

/** The nearest records of one query, nearest first, equal distances in order of position. */
export interface Nearest {
  readonly positions: Uint32Array;
  readonly distances: Float64Array;
}

/**
 * The `keep` nearest records of a column for each query, exact: sums are float64, no record is left out but those without
 * the vector. A brute-force scan in tiles; lib/distance.ts says what each distance is.
 */
export function findNearest(
  column: DenseColumn,
  count: number,
  queries: readonly Float32Array[],
  distance: Distance,
  keep: number,
): Nearest[] {
  const { dimension, values } = column;
  const kernel = makeKernel(sumOf[distance], queries, dimension);
  const isScaled = distance === 'cosine';
  const norms = isScaled ? lengths(values, dimension, count) : new Float64Array(count);
  const queryNorms = queries.map((query) => (isScaled ? (lengths(query, dimension, 1)[0] ?? 0) : 0));
  const tops = queries.map(() => makeTop(keep));
  let sums: Float64Array = new Float64Array(0);
  for (let tile = 0; tile < count; tile += kernel.tileRecords) {
    const end = Math.min(count, tile + kernel.tileRecords);
    kernel.load(values.subarray(tile * dimension, end * dimension));
    for (const [q, top] of tops.entries()) {
      const lane = q % queriesTogether;
      if (lane === 0) sums = kernel.sums(q / queriesTogether);
      const queryNorm = queryNorms[q] ?? 0;
      let bound = top.bound();
      for (let record = tile, at = lane; record < end; record++, at += queriesTogether) {
        const found = finish(sums[at] ?? 0, distance, (norms[record] ?? 0) * queryNorm);
        if (!(found < bound && hasVector(column, record))) continue;
        top.offer(found, record);
        bound = top.bound();
      }
    }
  }
  return tops.map((top) => top.sorted());
}

const sumOf: Readonly<Record<Distance, Sum>> = {
  cosine: 'multiply',
  dot: 'multiply',
  euclid: 'square',
  manhattan: 'absolute',
};

function finish(sum: number, distance: Distance, norms: number): number {
  if (distance === 'cosine') return norms === 0 ? 1 : 1 - sum / norms;
  if (distance === 'dot') return -sum;
  return distance === 'euclid' ? Math.sqrt(sum) : sum;
}

function lengths(values: Float32Array, dimension: number, count: number): Float64Array {
  const found = new Float64Array(count);
  for (let record = 0; record < count; record++) {
    let sum = 0;
    for (let i = record * dimension; i < (record + 1) * dimension; i++) sum += (values[i] ?? 0) ** 2;
    found[record] = Math.sqrt(sum);
  }
  return found;
}

/** The nearest records so far: a binary heap with the farthest on top, so that most records are turned away by one comparison. */
interface Top {
  /** Only what is nearer than this is taken. */
  bound(): number;
  offer(distance: number, position: number): void;
  sorted(): Nearest;
}

/** Records are offered in ascending position, so of equal distances the earlier ones stay. */
function makeTop(keep: number): Top {
  const distances = new Float64Array(keep);
  const positions = new Uint32Array(keep);
  let size = 0;
  let worst = keep > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;

  const isFarther = (a: number, b: number): boolean => {
    const [one = 0, other = 0] = [distances[a], distances[b]];
    return one > other || (one === other && (positions[a] ?? 0) > (positions[b] ?? 0));
  };
  const swap = (a: number, b: number): void => {
    const [distance = 0, position = 0] = [distances[a], positions[a]];
    distances[a] = distances[b] ?? 0;
    positions[a] = positions[b] ?? 0;
    distances[b] = distance;
    positions[b] = position;
  };
  const rise = (from: number): void => {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!isFarther(at, parent)) return;
      swap(at, parent);
      at = parent;
    }
  };
  const sink = (): void => {
    for (let at = 0; ; ) {
      let farthest = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < size && isFarther(child, farthest)) farthest = child;
      if (farthest === at) return;
      swap(at, farthest);
      at = farthest;
    }
  };
  return {
    bound: () => worst,
    offer: (distance, position) => {
      if (!(distance < worst)) return;
      const at = size < keep ? size++ : 0;
      distances[at] = distance;
      positions[at] = position;
      if (at === 0) sink();
      else rise(at);
      if (size === keep) worst = distances[0] ?? worst;
    },
    sorted: () => {
      const order = Array.from({ length: size }, (_, at) => at).sort((a, b) => (isFarther(a, b) ? 1 : -1));
      return {
        positions: Uint32Array.from(order, (at) => positions[at] ?? 0),
        distances: Float64Array.from(order, (at) => distances[at] ?? 0),
      };
    },
  };
}
