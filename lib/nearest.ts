import { type DenseColumn, hasVector } from './batch.ts';
import type { Distance } from './schema.ts';

/** Floats of a tile of records: they stay in the processor's first cache while all queries pass over them. */
const tileFloats = 4096;
/** Queries that pass over a record together: it is loaded once, and four sums do not wait for each other. */
const lanes = 4;

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
  const padded = Math.ceil(queries.length / lanes) * lanes;
  const flat = new Float64Array(padded * dimension);
  queries.forEach((query, q) => {
    flat.set(query, q * dimension);
  });
  const norms = distance === 'cosine' ? lengths(values, dimension, count) : new Float64Array(0);
  const queryNorms = lengths(flat, dimension, padded);
  const tops = queries.map(() => makeTop(keep));
  const sums = new Float64Array(lanes);
  const add = kernels[distance];
  const step = Math.max(1, Math.floor(tileFloats / dimension));
  for (let tile = 0; tile < count; tile += step) {
    const end = Math.min(count, tile + step);
    for (let q = 0; q < padded; q += lanes) {
      for (let record = tile; record < end; record++) {
        if (!hasVector(column, record)) continue;
        add(values, record * dimension, flat, q * dimension, dimension, sums);
        for (let lane = 0; lane < lanes && q + lane < queries.length; lane++) {
          const sum = sums[lane] ?? 0;
          tops[q + lane]?.offer(finish(sum, distance, (norms[record] ?? 0) * (queryNorms[q + lane] ?? 0)), record);
        }
      }
    }
  }
  return tops.map((top) => top.sorted());
}

function finish(sum: number, distance: Distance, norms: number): number {
  if (distance === 'cosine') return norms === 0 ? 1 : 1 - sum / norms;
  if (distance === 'dot') return -sum;
  return distance === 'euclid' ? Math.sqrt(sum) : sum;
}

function lengths(values: Float32Array | Float64Array, dimension: number, count: number): Float64Array {
  const found = new Float64Array(count);
  for (let record = 0; record < count; record++) {
    let sum = 0;
    for (let i = record * dimension; i < (record + 1) * dimension; i++) sum += (values[i] ?? 0) ** 2;
    found[record] = Math.sqrt(sum);
  }
  return found;
}

/** Sums over one record and four queries that lie one after the other, into `sums`. */
type Kernel = (
  values: Float32Array,
  at: number,
  queries: Float64Array,
  from: number,
  dimension: number,
  sums: Float64Array,
) => void;

const multiply: Kernel = (values, at, queries, from, dimension, sums) => {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < dimension; i++) {
    const x = values[at + i] ?? 0;
    const q = from + i;
    a += x * (queries[q] ?? 0);
    b += x * (queries[q + dimension] ?? 0);
    c += x * (queries[q + 2 * dimension] ?? 0);
    d += x * (queries[q + 3 * dimension] ?? 0);
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
};

const square: Kernel = (values, at, queries, from, dimension, sums) => {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < dimension; i++) {
    const x = values[at + i] ?? 0;
    const q = from + i;
    const one = x - (queries[q] ?? 0);
    const two = x - (queries[q + dimension] ?? 0);
    const three = x - (queries[q + 2 * dimension] ?? 0);
    const four = x - (queries[q + 3 * dimension] ?? 0);
    a += one * one;
    b += two * two;
    c += three * three;
    d += four * four;
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
};

const absolute: Kernel = (values, at, queries, from, dimension, sums) => {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < dimension; i++) {
    const x = values[at + i] ?? 0;
    const q = from + i;
    a += Math.abs(x - (queries[q] ?? 0));
    b += Math.abs(x - (queries[q + dimension] ?? 0));
    c += Math.abs(x - (queries[q + 2 * dimension] ?? 0));
    d += Math.abs(x - (queries[q + 3 * dimension] ?? 0));
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
};

const kernels: Readonly<Record<Distance, Kernel>> = {
  cosine: multiply,
  dot: multiply,
  euclid: square,
  manhattan: absolute,
};

/** The nearest records so far: a binary heap with the farthest on top, so that most records are turned away by one comparison. */
interface Top {
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
