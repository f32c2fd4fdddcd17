import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openParquet } from '../../lib/shard/parquet-file.ts';

/**
 * Deterministic embedding models of real meaning: the mean of the GloVe vectors of a text's words, of length 1. `glove-100`
 * as it is; fewer dimensions are its first ones; more, a fixed random projection (Johnson and Lindenstrauss, 1984), which
 * keeps neighbours nearly as they are.
 */

const file = fileURLToPath(new URL('../data/words-10k.parquet', import.meta.url));
const dimension = 100;

let loading: Promise<ReadonlyMap<string, Float32Array>> | undefined;

async function loadWords(): Promise<ReadonlyMap<string, Float32Array>> {
  const bytes = await readFile(file);
  const parquet = await openParquet({
    size: bytes.length,
    range: async (from, to) => new Uint8Array(bytes.subarray(from, to)),
  });
  const words = new Map<string, Float32Array>();
  for (const [group, records] of parquet.rowGroups.entries()) {
    for (const batch of await parquet.read(group, records, ['word', 'embedding'])) {
      const names = batch.getChild('word');
      const vectors = batch.getChild('embedding');
      for (let i = 0; i < batch.numRows; i++) {
        words.set(String(names?.get(i)), Float32Array.from(vectors?.get(i).toArray() ?? []));
      }
    }
  }
  return words;
}

/** The model of a text in so many floats. A text without a known word has a vector of its own, made of its hash. */
export async function embedText(text: string, floats: number): Promise<Float32Array> {
  loading ??= loadWords();
  const words = await loading;
  const mean = new Float64Array(dimension);
  let known = 0;
  for (const word of text.toLowerCase().match(/[a-z]+/g) ?? []) {
    const vector = words.get(word);
    if (vector === undefined) continue;
    known += 1;
    for (let i = 0; i < dimension; i++) mean[i]! += vector[i]!;
  }
  if (known === 0) fill(mean, hash(text));
  return scaled(floats <= dimension ? mean.subarray(0, floats) : project(mean, floats));
}

const projections = new Map<number, Float64Array>();

/** Row by row, so that the first floats of a longer projection are a shorter one: these models are Matryoshka ones. */
function project(vector: Float64Array, floats: number): Float64Array {
  const rows = projections.get(floats) ?? new Float64Array(floats * dimension);
  if (!projections.has(floats)) fill(rows, 0x5eed);
  projections.set(floats, rows);
  const made = new Float64Array(floats);
  for (let row = 0; row < floats; row++) {
    for (let i = 0; i < dimension; i++) made[row]! += rows[row * dimension + i]! * vector[i]!;
  }
  return made;
}

function scaled(vector: Float64Array): Float32Array {
  const norm = Math.hypot(...vector);
  return Float32Array.from(vector, (each) => each / norm);
}

/** Sums of twelve uniform numbers less six are nearly normal; mulberry32 gives the same ones everywhere. */
function fill(into: Float64Array, seed: number): void {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  for (let i = 0; i < into.length; i++) {
    let sum = -6;
    for (let each = 0; each < 12; each++) sum += next();
    into[i] = sum;
  }
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** Floats of each model that is named as its provider's. */
export const dimensionsOf: Readonly<Record<string, number>> = {
  'text-embedding-3-small': 1536,
  'text-embedding-3-large': 3072,
  'text-embedding-ada-002': 1536,
  'amazon.titan-embed-text-v2:0': 1024,
  'amazon.titan-embed-text-v1': 1536,
  'cohere.embed-english-v3': 1024,
  'cohere.embed-multilingual-v3': 1024,
  'cohere.embed-v4:0': 1536,
};

/** Floats of a model; undefined where there is none of that name. */
export const floatsOf = (model: string): number | undefined =>
  dimensionsOf[model] ?? (/^(?:glove|hash)-\d+$/.test(model) ? Number(model.slice(model.indexOf('-') + 1)) : undefined);
