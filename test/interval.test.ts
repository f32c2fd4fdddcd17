import { describe, expect, test } from '@jest/globals';
import { queriesNeeded, recallInterval } from '../lib/interval.ts';
import { seededRandom } from '../lib/sample.ts';

/** Numerical Recipes' linear congruential generator: jest's sandbox makes each use of Math slow, and this needs none. */
function fastRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

describe('the interval of a mean recall', () => {
  /** Skewed recalls of a query, as searches have them: most perfect, some bad; each with its true mean. */
  const draws: Record<string, { mean: number; draw: (random: () => number) => number }> = {
    'always perfect': { mean: 1, draw: () => 1 },
  };
  const binomial = (random: () => number, p: number): number => {
    let hits = 0;
    for (let i = 0; i < 10; i++) hits += random() < p ? 1 : 0;
    return hits / 10;
  };
  for (const p of [0.5, 0.8, 0.95, 0.99, 0.999])
    draws[`binomial ${p}`] = { mean: p, draw: (random) => binomial(random, p) };
  for (const [share, bad] of [
    [0.02, 0.5],
    [0.05, 0.5],
    [0.01, 0.5],
    [0.03, 0.9],
    [0.3, 0.5],
    [0.02, 0],
  ] as const) {
    const draw = (random: () => number): number => (random() < share ? bad : 1);
    draws[`${share} of them ${bad}`] = { mean: 1 - share * (1 - bad), draw };
  }
  for (const [share, bad] of [
    [0.05, 0.3],
    [0.02, 0.5],
    [0.1, 0.5],
  ] as const) {
    const draw = (random: () => number): number => binomial(random, random() < share ? bad : 0.995);
    draws[`about ${share} of them near ${bad}`] = { mean: share * bad + (1 - share) * 0.995, draw };
  }
  // 1 - u^a / 2 lies in 0.5..1 with mean 1 - 1 / (2 (a + 1)), the more skewed the larger a.
  for (const a of [1, 4, 19])
    draws[`skewed ${a}`] = { mean: 1 - 0.5 / (a + 1), draw: (random) => 1 - random() ** a / 2 };

  test.each(Object.entries(draws))('covers the truth 94 times of 100 at least: %s', (name, { mean, draw }) => {
    const random = fastRandom(name.length * 7919 + 1);
    for (const n of [50, 200]) {
      let covered = 0;
      const rounds = 1000;
      for (let round = 0; round < rounds; round++) {
        const { low, high } = recallInterval(
          Array.from({ length: n }, () => draw(random)),
          10,
        );
        if (low <= mean + 1e-12 && mean - 1e-12 <= high) covered++;
      }
      // 1.5 standard errors of a coverage of 94% simulated 1,000 times are 1.1%.
      expect(covered / rounds).toBeGreaterThanOrEqual(0.94 - 0.011);
    }
  });

  test('is not wider than it must be: within a third of the textbook one where that is right', () => {
    const random = seededRandom(5);
    const recalls = Array.from({ length: 200 }, () => binomial(random, 0.8));
    const { mean, low, high } = recallInterval(recalls, 10);
    const deviation = Math.sqrt(recalls.reduce((sum, recall) => sum + (recall - mean) ** 2, 0) / 199 / 200);
    expect(high - low).toBeLessThan(1.33 * 2 * 1.96 * deviation);
  });

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

  test('is the mean itself when every record was a query, for then nothing is estimated', () => {
    expect(recallInterval([1, 0.9, 1], 10, 3)).toMatchObject({
      low: expect.closeTo(2.9 / 3),
      high: expect.closeTo(2.9 / 3),
    });
  });
});
