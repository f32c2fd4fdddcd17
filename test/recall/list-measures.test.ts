import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { listRankBiasedOverlap, overlapOf, rankCorrelation } from '../../lib/recall/list-measures.ts';

const list = (text: string): string[] => text.split('').filter((id) => id !== '');

describe('two answers by hand', () => {
  test('share two of four: ABCD and BEFA', () => {
    const [a, b] = [list('ABCD'), list('BEFA')];
    expect(overlapOf(a, b)).toBe(0.5);
    // Common among the first d: none, B, B, A and B.
    const agreements = [0, 1 / 2, 1 / 3, 2 / 4];
    const sum = agreements.reduce((total, each, at) => total + each * 0.9 ** (at + 1), 0);
    expect(listRankBiasedOverlap(a, b)).toBeCloseTo(0.5 * 0.9 ** 4 + (0.1 / 0.9) * sum, 12);
    // Of 15 pairs of A B C D E F: EF is tied in the first, CD in the second. AB, AE, AF, CE, CF, DE and DF stand the other
    // way round, BC, BD, BE, BF alike; AC and AD too, since A comes before what is not there.
    expect(rankCorrelation(a, b)).toBeCloseTo((6 - 7) / 14, 12);
  });

  test('have nothing in common: of two and two ids four pairs disagree, and one pair is tied in each', () => {
    expect(rankCorrelation(list('AB'), list('CD'))).toBeCloseTo(-4 / 5, 12);
    expect(overlapOf(list('AB'), list('CD'))).toBe(0);
    expect(listRankBiasedOverlap(list('AB'), list('CD'))).toBe(0);
  });

  test('one is shorter: what it does not name counts as missed', () => {
    expect(overlapOf(list('AB'), list('ABCD'))).toBe(0.5);
    const agreements = [1, 1, 2 / 3, 2 / 4];
    const sum = agreements.reduce((total, each, at) => total + each * 0.9 ** (at + 1), 0);
    expect(listRankBiasedOverlap(list('AB'), list('ABCD'))).toBeCloseTo(0.5 * 0.9 ** 4 + (0.1 / 0.9) * sum, 12);
    // CD is tied in the shorter one, the other five pairs stand alike.
    expect(rankCorrelation(list('AB'), list('ABCD'))).toBeCloseTo(5 / Math.sqrt(5 * 6), 12);
  });

  test('are empty, or one record each', () => {
    for (const measure of [overlapOf, listRankBiasedOverlap, rankCorrelation]) {
      expect(measure([], [])).toBe(1);
      expect(measure(['a'], ['a'])).toBe(1);
    }
    expect(rankCorrelation(['a'], ['b'])).toBe(-1);
    expect(overlapOf([], ['a'])).toBe(0);
  });

  test('rank-biased overlap is what PyPI rbo 0.1.3 prints for the same lists', () => {
    const numbers = Array.from({ length: 10 }, (_, at) => String(at + 1));
    expect(listRankBiasedOverlap([...numbers].reverse(), numbers)).toBeCloseTo(0.5116075656428573, 12);
    const other = [20, 21, 1, 2, 3, 4, 5, 6, 7, 8].map(String);
    expect(listRankBiasedOverlap(other, numbers)).toBeCloseTo(0.5594315131285715, 12);
  });
});

describe('for all lists', () => {
  const lists = fc.uniqueArray(fc.constantFrom(...list('ABCDEFGHIJKLMNOP')), { maxLength: 12 });
  const measures = [overlapOf, listRankBiasedOverlap, rankCorrelation] as const;

  test('a list and itself give 1, the other way round gives the same, and nothing leaves its bounds', () => {
    fc.assert(
      fc.property(lists, lists, (a, b) => {
        for (const measure of measures) {
          expect(measure(a, a)).toBeCloseTo(1, 12);
          expect(measure(a, b)).toBeCloseTo(measure(b, a), 12);
          expect(measure(a, b)).toBeLessThanOrEqual(1);
          expect(measure(a, b)).toBeGreaterThanOrEqual(measure === rankCorrelation ? -1 : 0);
        }
      }),
    );
  });

  test('two of k without a common id give 0, 0 and -2k / (3k - 1); a list backwards has the correlation -1', () => {
    for (let k = 1; k <= 30; k++) {
      const [a, b] = ['a', 'b'].map((side) => Array.from({ length: k }, (_, at) => `${side}${at}`));
      expect([overlapOf(a!, b!), listRankBiasedOverlap(a!, b!)]).toEqual([0, 0]);
      expect(rankCorrelation(a!, b!)).toBeCloseTo((-2 * k) / (3 * k - 1), 12);
      if (k > 1) expect(rankCorrelation(a!, a!.toReversed())).toBeCloseTo(-1, 12);
    }
  });

  test('a record put farther back never makes two equal lists agree more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 12 }), fc.nat(), (size, seed) => {
        const a = list('ABCDEFGHIJKL').slice(0, size);
        const at = seed % (size - 2);
        const moved = (to: number) => [...a.slice(0, at), ...a.slice(at + 1, to + 1), a[at]!, ...a.slice(to + 1)];
        expect(rankCorrelation(a, moved(at + 2))).toBeLessThan(rankCorrelation(a, moved(at + 1)));
        expect(listRankBiasedOverlap(a, moved(at + 2))).toBeLessThan(listRankBiasedOverlap(a, moved(at + 1)));
      }),
    );
  });
});
