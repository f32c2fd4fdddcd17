import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { allowedAt, goldAnswer, ndcgAt, rankBiasedOverlap, recallAt } from '../lib/recall/measures.ts';

/** Answers as the exact distances of what was answered; the true neighbours lie at 1, 2, 3, … */
const nearest = Array.from({ length: 100 }, (_, at) => ({ distance: at + 1 }));
const allowed = (depth: number): number => allowedAt(nearest, depth, 'euclid');
const miss = Number.POSITIVE_INFINITY;

const measuresOf = (answered: readonly number[], depth: number) => ({
  recall: recallAt(answered, depth, allowed(depth)),
  ndcg: ndcgAt(answered, depth, allowed(depth)),
  rbo: rankBiasedOverlap(answered, depth, allowed),
});

describe('what counts', () => {
  test('is a distance up to that of the true neighbour, with a slack that shrinks below 1', () => {
    expect(allowedAt([{ distance: 5 }], 1, 'euclid')).toBeCloseTo(5.001, 12);
    expect(allowedAt([{ distance: 0.01 }], 1, 'euclid')).toBeCloseTo(0.01001, 12);
    expect(allowedAt([{ distance: -20 }], 1, 'dot')).toBeCloseTo(-19.999, 12);
    // 1 - cos of a vector with itself comes out at some 1e-7 in float32.
    expect(allowedAt([{ distance: 0 }], 1, 'cosine')).toBe(1e-6);
    expect(allowedAt([{ distance: 0 }], 1, 'euclid')).toBe(0);
    expect(allowedAt([{ distance: 0 }], 2, 'euclid')).toBe(Number.NEGATIVE_INFINITY);
  });
});

describe('the measures by hand', () => {
  test('three of four found, the miss at rank 2', () => {
    const found = measuresOf([1, miss, 2, 3], 4);
    expect(found.recall).toBe(0.75);
    // Gains 1, 1/2 and 1/log2(5) of those and 1/log2(3).
    expect(found.ndcg).toBeCloseTo((1 + 0.5 + 0.430677) / (1 + 0.63093 + 0.5 + 0.430677), 5);
    // Agreement 1/1, 1/2, 2/3, 3/4: at rank 2 record 2 has not come yet, and so on.
    const sum = 1 * 0.9 + 0.5 * 0.81 + (2 / 3) * 0.729 + 0.75 * 0.6561;
    expect(found.rbo).toBeCloseTo(0.75 * 0.6561 + (0.1 / 0.9) * sum, 10);
  });

  test('an answer that is too short is missed where it ends, and not taken to go on as well', () => {
    expect(measuresOf([1], 2)).toEqual({
      recall: 0.5,
      ndcg: expect.closeTo(1 / 1.63093, 5),
      rbo: expect.closeTo(0.5 * 0.81 + (0.1 / 0.9) * (0.9 + 0.5 * 0.81), 10),
    });
    expect(measuresOf([], 3)).toEqual({ recall: 0, ndcg: 0, rbo: 0 });
  });
});

describe('rank-biased overlap', () => {
  test('is what other implementations print for the same lists', () => {
    // github.com/b4ny4n/rankmeasures, README: (1,2,3,4,5) and (2,3,4,1,5) at p = 0.9.
    expect(rankBiasedOverlap([2, 3, 4, 1, 5], 5, allowed, 0.9)).toBeCloseTo(0.828, 10);
    // rbo 0.1.3 of PyPI, RankingSimilarity(list, [1 … 10]).rbo_ext(p=0.9).
    const printed: readonly (readonly [readonly number[], number])[] = [
      [[2, 3, 4, 1, 5, 6, 7, 8, 9, 10], 0.8280000000000001],
      [[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.5116075656428573],
      [[1, 2, 3, 11, 12, 4, 5, 13, 14, 15], 0.6898857171785714],
      [[20, 21, 1, 2, 3, 4, 5, 6, 7, 8], 0.5594315131285715],
    ];
    for (const [list, value] of printed) expect(rankBiasedOverlap(list, 10, allowed, 0.9)).toBeCloseTo(value, 12);
  });

  test('ties are no disorder: records as far as each other may stand either way round', () => {
    const tied = [1, 2, 2, 2, 5].map((distance) => ({ distance }));
    const allowedOf = (depth: number): number => allowedAt(tied, depth, 'euclid');
    expect(rankBiasedOverlap([1, 2, 2, 2, 5], 5, allowedOf)).toBeCloseTo(1, 12);
    expect(rankBiasedOverlap([2, 1, 2, 2, 5], 5, allowedOf)).toBeLessThan(1);
  });
});

describe('for every answer', () => {
  const depths = fc.integer({ min: 1, max: 40 });
  const answers = fc.uniqueArray(fc.integer({ min: 1, max: 90 }), { maxLength: 40 });

  test('the true order gives 1, and all measures lie between 0 and 1', () => {
    fc.assert(
      fc.property(depths, answers, (depth, answered) => {
        const perfect = measuresOf(
          nearest.map(({ distance }) => distance),
          depth,
        );
        expect(perfect).toEqual({ recall: 1, ndcg: 1, rbo: expect.closeTo(1, 12) });
        for (const value of Object.values(measuresOf(answered, depth))) {
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  test('the order of true neighbours alone changes neither recall nor NDCG, and never raises rank-biased overlap', () => {
    fc.assert(
      fc.property(depths, (depth) => {
        const all = nearest.slice(0, depth).map(({ distance }) => distance);
        const reversed = measuresOf(all.toReversed(), depth);
        expect(reversed).toMatchObject({ recall: 1, ndcg: 1 });
        if (depth === 1) expect(reversed.rbo).toBeCloseTo(1, 12);
        else expect(reversed.rbo).toBeLessThan(1 - 1e-6);
      }),
    );
  });

  test('a neighbour that is lost lowers all three, the more the earlier it stands in NDCG', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.nat(), (depth, seed) => {
        const all = nearest.slice(0, depth).map(({ distance }) => distance);
        const at = seed % (depth - 1);
        const lost = measuresOf(all.with(at, miss), depth);
        const later = measuresOf(all.with(at + 1, miss), depth);
        expect(lost.recall).toBeCloseTo((depth - 1) / depth, 12);
        expect(lost.ndcg).toBeLessThan(later.ndcg);
        expect(lost.rbo).toBeLessThan(later.rbo);
        expect(later.rbo).toBeLessThan(1);
      }),
    );
  });
});

describe('a gold query', () => {
  const expected = new Set(['a', 'b', 'c']);

  test('is answered by the share of what it expects, with more for what comes early', () => {
    expect(goldAnswer(['a', 'b', 'c', 'x'], expected, 4)).toEqual({ recall: 1, ndcg: 1 });
    expect(goldAnswer(['x', 'b', 'y', 'a'], expected, 4)).toEqual({
      recall: expect.closeTo(2 / 3, 12),
      ndcg: expect.closeTo((0.63093 + 0.430677) / (1 + 0.63093 + 0.5), 5),
    });
    expect(goldAnswer([], expected, 4)).toEqual({ recall: 0, ndcg: 0 });
  });

  test('can reach 1 where it expects more than k, counts an id once, and nothing beyond k', () => {
    expect(goldAnswer(['c', 'a'], expected, 2)).toEqual({ recall: 1, ndcg: 1 });
    expect(goldAnswer(['a', 'a', 'a'], expected, 3).recall).toBeCloseTo(1 / 3, 12);
    expect(goldAnswer(['x', 'y', 'a'], expected, 2).recall).toBe(0);
  });
});
