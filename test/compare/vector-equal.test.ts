import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { DenseColumn, SparseColumn } from '../../lib/batch.ts';
import { asKept, type VectorTreatment, vectorDifference } from '../../lib/compare/vector-equal.ts';

const asIs: VectorTreatment = { isNormalised: false, precision: 'float32' };
const normalised: VectorTreatment = { isNormalised: true, precision: 'float32' };

const column = (values: readonly number[] | Float32Array): DenseColumn => ({
  kind: 'dense',
  dimension: values.length,
  values: Float32Array.from(values),
});
const difference = (expected: readonly number[] | Float32Array, found: readonly number[] | Float32Array, how = asIs) =>
  vectorDifference(column(expected), 0, column(found), 0, how);

/** Scales as a store does: the length summed in float32, each float rounded. */
function normaliseInFloat32(values: Float32Array): Float32Array {
  let sum = Math.fround(0);
  for (const value of values) sum = Math.fround(sum + Math.fround(value * value));
  const length = Math.fround(Math.sqrt(sum));
  return values.map((value) => Math.fround(value / length));
}

const vectors = fc
  .float32Array({ minLength: 1, maxLength: 300, noNaN: true, noDefaultInfinity: true, min: -100, max: 100 })
  .filter((values) => values.reduce((sum, value) => sum + value * value, 0) > 1e-3)
  .map((values) => values.map((value) => (Math.abs(value) < 1e-12 ? 0 : value)));

describe('a vector in the target', () => {
  test('is the same when the store scaled it in float32, whose rounding is no fault', () => {
    fc.assert(
      fc.property(vectors, (values) => {
        expect(difference(values, normaliseInFloat32(values), normalised)).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  test('is different when one float of a unit vector is off by 1e-5', () => {
    fc.assert(
      fc.property(vectors, fc.nat(), fc.boolean(), (values, pick, up) => {
        const unit = normaliseInFloat32(values);
        const at = pick % unit.length;
        unit[at] = (unit[at] ?? 0) + (up ? 1e-5 : -1e-5);
        expect(difference(values, unit, normalised)).toMatch(new RegExp(`^float ${at}: expected .*, found `));
      }),
      { numRuns: 1000 },
    );
  });

  test('is different when one float up to 40 is off by 1e-5, also where the store scales nothing', () => {
    fc.assert(
      fc.property(vectors, fc.nat(), fc.boolean(), (values, pick, up) => {
        const at = pick % values.length;
        if (Math.abs(values[at] ?? 0) > 40) return;
        const found = values.slice();
        found[at] = (found[at] ?? 0) + (up ? 1e-5 : -1e-5);
        expect(difference(values, found)).toMatch(new RegExp(`^float ${at}: expected .*, found `));
      }),
      { numRuns: 1000 },
    );
  });

  test('is the same when a store scaled it to length 1 and back, as Chroma does for cosine', () => {
    fc.assert(
      fc.property(vectors, (values) => {
        const length = Math.fround(Math.hypot(...values));
        const back = normaliseInFloat32(values).map((value) => Math.fround(value * length));
        expect(difference(values, back)).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  test('is different when a store that should keep it has scaled it', () => {
    expect(difference([3, 4], [0.6, 0.8])).toBe('float 0: expected 3, found 0.600000024');
  });

  test('may be left as it is when it is zero or too short to scale, as Qdrant does', () => {
    expect(difference([0, 0], [0, 0], normalised)).toBeUndefined();
    expect(difference([1e-5, 0], [1e-5, 0], normalised)).toBeUndefined();
    expect(difference([1e-5, 0], [1, 0], normalised)).toBeUndefined();
    expect(difference([1e-5, 0], [0.5, 0], normalised)).toBeDefined();
  });

  test('is rounded to float16 where the target keeps that, and no further', () => {
    const half: VectorTreatment = { isNormalised: false, precision: 'float16' };
    fc.assert(
      fc.property(vectors, (values) => {
        const rounded = values.map((value) => Math.f16round(value));
        expect(difference(values, rounded, half)).toBeUndefined();
        const scaled = normaliseInFloat32(values).map((value) => Math.f16round(value));
        expect(difference(values, scaled, { isNormalised: true, precision: 'float16' })).toBeUndefined();
      }),
    );
    const next = Math.f16round(0.1) + 2 ** -14;
    expect(difference([0.1], [next], half)).toBeDefined();
  });

  test('is never the same as NaN, as no vector, or as one of another length', () => {
    expect(difference([1, 2], [1, Number.NaN])).toBe('float 1: expected 2, found NaN');
    expect(difference([1, 2], [1, 2, 3])).toBe('expected 2 floats, found 3');
    expect(vectorDifference(column([1]), 0, undefined, 0, asIs)).toBe('expected a vector, found none');
    const absent = { ...column([0]), present: Uint8Array.from([0]) };
    expect(vectorDifference(absent, 0, column([0]), 0, asIs)).toBe('expected no vector, found one');
    expect(vectorDifference(column([0]), 0, absent, 0, asIs)).toBe('expected a vector, found none');
  });

  test('is compared by index when it is sparse, and stored zeros do not count', () => {
    const sparse = (entries: readonly (readonly [number, number])[]) => ({
      kind: 'sparse' as const,
      offsets: Uint32Array.from([0, entries.length]),
      indices: Uint32Array.from(entries, ([index]) => index),
      values: Float32Array.from(entries, ([, value]) => value),
    });
    const one = sparse([
      [3, 0.5],
      [9, 0],
    ]);
    expect(vectorDifference(one, 0, sparse([[3, 0.5]]), 0, normalised)).toBeUndefined();
    expect(vectorDifference(one, 0, sparse([[4, 0.5]]), 0, asIs)).toBe('index 3: expected 0.5, found nothing');
  });

  test('of several is held vector by vector', () => {
    const multi = (values: readonly number[]) => ({
      kind: 'multi' as const,
      dimension: 2,
      offsets: Uint32Array.from([0, values.length / 2]),
      values: Float32Array.from(values),
    });
    expect(vectorDifference(multi([3, 4, 0, 2]), 0, multi([0.6, 0.8, 0, 1]), 0, normalised)).toBeUndefined();
    expect(vectorDifference(multi([3, 4, 0, 2]), 0, multi([0.6, 0.8]), 0, normalised)).toBe(
      'expected 2 vectors, found 1',
    );
    expect(vectorDifference(multi([1, 0, 0, 1]), 0, multi([1, 0, 1, 0]), 0, asIs)).toBe(
      'float 0 of vector 1: expected 0, found 1',
    );
  });
});

describe('a vector as another store would keep it, when two collections are held against each other', () => {
  test('is the same as the one that store scaled in float32', () => {
    fc.assert(
      fc.property(vectors, (values) => {
        const kept = asKept(column(values), normalised);
        expect(vectorDifference(column(normaliseInFloat32(values)), 0, kept, 0, asIs)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('is scaled vector by vector, and one too short to be scaled stays', () => {
    const two: DenseColumn = { kind: 'dense', dimension: 2, values: Float32Array.of(3, 4, 0, 0) };
    expect([...asKept(two, normalised).values]).toEqual([Math.fround(0.6), Math.fround(0.8), 0, 0]);
  });

  test('is rounded to float16 and cut to bytes', () => {
    const values = [0.1, 2.9, 300];
    const half = asKept(column(values), { isNormalised: false, precision: 'float16' });
    expect([...half.values]).toEqual([0.0999755859375, 2.900390625, 300]);
    const bytes = asKept(column(values), { isNormalised: false, precision: 'uint8' });
    expect([...bytes.values]).toEqual([0, 2, 255]);
  });

  test('is never scaled where it is sparse, and stays what it is where nothing is done to it', () => {
    const sparse: SparseColumn = {
      kind: 'sparse',
      offsets: Uint32Array.of(0, 2),
      indices: Uint32Array.of(1, 9),
      values: Float32Array.of(3, 4),
    };
    expect([...asKept(sparse, normalised).values]).toEqual([3, 4]);
    expect(asKept(sparse, asIs)).toBe(sparse);
    expect(asKept(sparse, undefined)).toBe(sparse);
  });
});
