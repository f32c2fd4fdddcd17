import { isLosslessNumber, parse } from 'lossless-json';
import type { Batch, VectorColumn } from '../lib/batch.ts';
import { seededRandom } from '../lib/sample.ts';
import type { CollectionSchema, VectorSpec } from '../lib/schema.ts';

/** Builders: every test says only what matters to it. */

export function makeSchema(overrides: Partial<CollectionSchema> = {}): CollectionSchema {
  return {
    store: 'memory',
    idType: 'integer',
    key: [],
    vectors: [{ name: 'embedding', kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' }],
    payloadIndexes: [],
    native: {},
    ...overrides,
  };
}

export interface BatchParts {
  readonly ids?: readonly string[];
  readonly vectors?: readonly VectorSpec[];
  readonly payloads?: readonly string[];
  /** Positions of records that lack every vector. */
  readonly missing?: readonly number[];
  readonly seed?: number;
}

/** Records with pseudo-random vectors in [-1, 1), never all zero, and a small payload. */
export function makeBatch({
  ids = ['1', '2', '3'],
  vectors = makeSchema().vectors,
  payloads,
  missing = [],
  seed = 1,
}: BatchParts = {}): Batch {
  const random = seededRandom(seed);
  return {
    count: ids.length,
    ids,
    vectors: new Map(vectors.map((spec) => [spec.name, makeColumn(spec, ids.length, missing, random)])),
    payloads: payloads ?? ids.map((id, at) => JSON.stringify({ title: `record ${id}`, rank: at, even: at % 2 === 0 })),
  };
}

function makeColumn(
  { kind, dimension = 4 }: VectorSpec,
  count: number,
  missing: readonly number[],
  random: () => number,
): VectorColumn {
  const isMissing = (at: number): boolean => missing.includes(at);
  const present =
    missing.length === 0 ? {} : { present: Uint8Array.from({ length: count }, (_, at) => (isMissing(at) ? 0 : 1)) };
  const float = (): number => random() * 2 - 1 || 0.5;
  if (kind === 'dense') {
    const values = Float32Array.from({ length: count * dimension }, (_, i) =>
      isMissing(Math.floor(i / dimension)) ? 0 : float(),
    );
    return { kind, dimension, values, ...present };
  }
  const sizes = Array.from({ length: count }, (_, at) => (isMissing(at) ? 0 : 1 + (at % 3)));
  const offsets = Uint32Array.from([
    0,
    ...sizes.map((_, at) => sizes.slice(0, at + 1).reduce((sum, size) => sum + size, 0)),
  ]);
  const total = offsets.at(-1) ?? 0;
  if (kind === 'multi')
    return { kind, dimension, offsets, values: Float32Array.from({ length: total * dimension }, float), ...present };
  const indices = Uint32Array.from(
    sizes.flatMap((size, at) => Array.from({ length: size }, (_, i) => (at % 50) + i * 100)),
  );
  return { kind, offsets, indices, values: Float32Array.from({ length: total }, float), ...present };
}

/** JSON text with keys in order and numbers in one form, so that texts of equal values are equal; digits are not lost. */
export function canonicalJson(text: string): string {
  return write(parse(text));
}

function write(value: unknown): string {
  if (isLosslessNumber(value)) return exactNumber(value.value);
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([key, each]) => `${JSON.stringify(key)}:${write(each)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/** 1, 1.0 and 10e-1 as `1`; 17000 and 1.7e4 as `17e3`: one text a value, no digit rounded. */
function exactNumber(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  const power = Number(exponent) - fraction.length + digits.length - significant.length;
  return `${sign}${significant}${power === 0 ? '' : `e${power}`}`;
}
