import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { DenseColumn } from '../../lib/batch.ts';
import { findNearest } from '../../lib/recall/nearest.ts';
import { seededRandom } from '../../lib/sample.ts';
import { type Distance, distanceSchema } from '../../lib/schema.ts';

/** One distance in float64, added up float by float from the first to the last: what the definition says. */
function distanceOf(one: Float32Array, other: Float32Array, distance: Distance): number {
  const sum = (of: (a: number, b: number) => number) => one.reduce((total, a, i) => total + of(a, other[i]!), 0);
  if (distance === 'manhattan') return sum((a, b) => Math.abs(a - b));
  if (distance === 'euclid') return Math.sqrt(sum((a, b) => (a - b) * (a - b)));
  const dot = sum((a, b) => a * b);
  if (distance === 'dot') return -dot;
  const length = (of: Float32Array) => Math.sqrt(of.reduce((total, a) => total + a * a, 0));
  const lengths = length(one) * length(other);
  return lengths === 0 ? 1 : 1 - dot / lengths;
}

/** All records sorted: nearest first, equal distances by position. */
function plainly(column: DenseColumn, count: number, query: Float32Array, distance: Distance, keep: number) {
  const { dimension, values, present } = column;
  const all = Array.from({ length: count }, (_, at) => at).filter((at) => present === undefined || present[at] === 1);
  return all
    .map((at) => ({
      position: at,
      distance: distanceOf(values.subarray(at * dimension, (at + 1) * dimension), query, distance),
    }))
    .sort((a, b) => a.distance - b.distance || a.position - b.position)
    .slice(0, keep);
}

/** Floats that repeat, so that records tie and are doubled, and ones of very different size, tiny and huge. */
const float = fc.oneof(
  fc.constantFrom(0, -0, 1, -1, 0.1, 0.3),
  fc.constantFrom(1e-30, -1e-40, 3e18, -1e19, 16_777_217, 1e-3),
  fc.float({ min: -1, max: 1, noNaN: true }),
);

const worlds = fc
  .record({ dimension: fc.integer({ min: 1, max: 40 }), count: fc.integer({ min: 0, max: 60 }) })
  .chain(({ dimension, count }) => {
    const vector = fc.array(float, { minLength: dimension, maxLength: dimension });
    return fc.record({
      dimension: fc.constant(dimension),
      records: fc.array(vector, { minLength: count, maxLength: count }),
      queries: fc.array(vector, { minLength: 1, maxLength: 9 }),
      present: fc.option(fc.array(fc.constantFrom(0, 1), { minLength: count, maxLength: count })),
      distance: fc.constantFrom(...distanceSchema.options),
      keep: fc.integer({ min: 0, max: 70 }),
    });
  });

function bits(values: Iterable<number>): string[] {
  return Array.from(values, (value) => (Object.is(value, -0) ? '-0' : value.toString()));
}

describe('exact nearest records', () => {
  test('are those of the definition to the last bit, with ties, doubles, zeros, tiny and huge floats, absent vectors', () => {
    fc.assert(
      fc.property(worlds, ({ dimension, records, queries, present, distance, keep }) => {
        const column: DenseColumn = {
          kind: 'dense',
          dimension,
          values: Float32Array.from(records.flat()),
          ...(present && { present: Uint8Array.from(present) }),
        };
        const asked = queries.map((query) => Float32Array.from(query));
        const found = findNearest(column, records.length, asked, distance, keep);
        expect(found).toHaveLength(asked.length);
        for (const [at, { positions, distances }] of found.entries()) {
          const wanted = plainly(column, records.length, asked[at]!, distance, keep);
          expect([...positions]).toEqual(wanted.map(({ position }) => position));
          expect(bits(distances)).toEqual(bits(wanted.map((each) => each.distance)));
        }
      }),
      { numRuns: 500, seed: 4 },
    );
  });

  test.each(distanceSchema.options)(
    '%s: over many tiles, of a last one that is not full, with more queries than go together',
    (distance) => {
      const [dimension, count] = [100, 203];
      const drawn = seededRandom(1);
      const random = () => drawn() - 0.5;
      const values = Float32Array.from({ length: dimension * count }, random);
      const asked = Array.from({ length: 7 }, () => Float32Array.from({ length: dimension }, random));
      const column: DenseColumn = { kind: 'dense', dimension, values };
      for (const [at, { positions, distances }] of findNearest(column, count, asked, distance, 12).entries()) {
        const wanted = plainly(column, count, asked[at]!, distance, 12);
        expect([...positions]).toEqual(wanted.map(({ position }) => position));
        expect([...distances]).toEqual(wanted.map((each) => each.distance));
      }
    },
  );

  test('a search of few floats after one of many is not answered from what that one left in memory', () => {
    const column = (dimension: number, count: number): DenseColumn => ({
      kind: 'dense',
      dimension,
      values: new Float32Array(dimension * count).fill(2),
    });
    findNearest(column(4000, 9), 9, [new Float32Array(4000).fill(7)], 'dot', 3);
    expect(findNearest(column(3, 1), 1, [new Float32Array(3).fill(1)], 'dot', 3)).toEqual([
      { positions: Uint32Array.of(0), distances: Float64Array.of(-6) },
    ]);
  });
});
