import { describe, expect, test } from '@jest/globals';
import { queriesNeeded, recallInterval } from '../../lib/recall/interval.ts';
import { always, betaBinomial, rare, shapes, simulate } from '../simulate.ts';

/**
 * What n queries without a failure cannot rule out with 97.5% confidence: failures of this share of all queries. Room
 * for them is what an interval that holds whatever the distribution has to leave.
 */
const unseen = (n: number): number => 1 - 0.025 ** (1 / n);

/** A thousand queries where that is hard; elsewhere it is the easier the more there are. */
const cases = [
  ...Object.entries(shapes).map(([name, distribution]) => [name, distribution, [50, 200]] as const),
  ...Object.entries(rare).map(([name, distribution]) => [name, distribution, [50, 200, 1000]] as const),
];

describe('the 95% interval of a mean recall, on 2,000 seeded samples', () => {
  test.each(cases)(
    'covers the truth in 94 of 100 at least, and is not padded to get there: %s',
    (_, distribution, sizes) => {
      for (const n of sizes) {
        const { covered, width, oracle } = simulate(distribution, n);
        const found = { n, covered, width, oracle };
        expect({ ...found, isCovered: covered >= 0.94 }).toMatchObject({ isCovered: true });
        expect({ ...found, isTight: width <= 1.2 * oracle + 1.1 * unseen(n) }).toMatchObject({ isTight: true });
        expect({ ...found, isExact: n < 1000 || covered < 0.99 }).toMatchObject({ isExact: true });
      }
    },
  );

  test('is always right where every query is perfect', () => {
    expect(simulate(always(1), 200).covered).toBe(1);
  });

  test.each([1, 3, 10])(
    'is at most a quarter wider at 200 queries than that of one who knows the distribution: concentration %i',
    (concentration) => {
      for (const mean of [0.5, 0.8, 0.9, 0.95]) {
        const { covered, width, oracle } = simulate(betaBinomial(10, mean, concentration), 200);
        const found = { mean, covered, width, oracle };
        expect({ ...found, isTight: width <= 1.25 * oracle, isExact: covered < 0.985 }).toMatchObject({
          isTight: true,
          isExact: true,
        });
      }
    },
  );
});

describe('the interval of a mean recall', () => {
  test('lets 200 queries without a miss pass a goal of 0.95, and knows that 72 are needed', () => {
    expect(recallInterval(Array(200).fill(1), 10)).toEqual({ mean: 1, low: expect.closeTo(0.98172, 5), high: 1 });
    expect(queriesNeeded(0.95)).toBe(72);
    expect(recallInterval(Array(72).fill(1), 10).low).toBeGreaterThanOrEqual(0.95);
    expect(recallInterval(Array(71).fill(1), 10).low).toBeLessThan(0.95);
  });

  test('is the figures of Clopper and Pearson where each query is all or nothing', () => {
    // R: binom.test(90, 100)$conf.int
    const tenMisses = Array.from({ length: 100 }, (_, i) => (i < 90 ? 1 : 0));
    expect(recallInterval(tenMisses, 1)).toEqual({
      mean: 0.9,
      low: expect.closeTo(0.8237774, 6),
      high: expect.closeTo(0.9509953, 6),
    });
  });

  test('holds the mean, and reaches no further than from 0 to 1', () => {
    for (const recalls of [[0], [1], [0.5], [0, 1], [0, 0, 0], [1, 0.9], Array(300).fill(0.7)]) {
      const { mean, low, high } = recallInterval(recalls, 10);
      expect(low).toBeGreaterThanOrEqual(0);
      expect(low).toBeLessThanOrEqual(mean);
      expect(high).toBeGreaterThanOrEqual(mean);
      expect(high).toBeLessThanOrEqual(1);
    }
  });

  test('is the mean itself when every record was a query, for then nothing is estimated', () => {
    expect(recallInterval([1, 0.9, 1], 10, 3)).toMatchObject({
      low: expect.closeTo(2.9 / 3),
      high: expect.closeTo(2.9 / 3),
    });
  });
});
