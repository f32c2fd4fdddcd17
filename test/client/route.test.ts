import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { bucketOf, goesToCandidate } from '../../lib/cutover/route.ts';

const noKey = (): number => {
  throw new Error('a read with a key is not routed by chance');
};

describe('routing', () => {
  test.each([
    ['words', '', 57.96],
    ['words', 'user-1', 48.95],
    ['words', 'user-2', 29.2],
    ['words', 'anna@example.com', 69.18],
    ['words', 'Grüße, 世界', 26.97],
    ['articles', 'user-1', 60.53],
  ])('of %s:%s is as in the docs, so that other languages can hold theirs against it', (flag, key, bucket) => {
    expect(bucketOf(flag, key)).toBe(bucket);
  });

  test.each([0.01, 1, 10, 33.33, 50, 99])('sends %f percent of keys to the candidate, within 1 percent', (weight) => {
    let sent = 0;
    for (let at = 0; at < 100_000; at++) if (goesToCandidate('words', { weight }, `user-${at}`, noKey)) sent += 1;
    expect(Math.abs(sent / 1000 - weight)).toBeLessThan(1);
  });

  test('moves a key once as the weight rises, and never back', () => {
    const weight = fc.double({ min: 0, max: 100, noNaN: true });
    fc.assert(
      fc.property(fc.string(), weight, weight, (key, one, other) => {
        const [low, high] = [Math.min(one, other), Math.max(one, other)];
        const goes = (share: number): boolean => goesToCandidate('words', { weight: share }, key, noKey);
        return !goes(low) || goes(high);
      }),
    );
  });

  test('sends nobody at 0 and everybody at 100', () => {
    fc.assert(fc.property(fc.string(), (key) => !goesToCandidate('words', { weight: 0 }, key, noKey)));
    fc.assert(fc.property(fc.string(), (key) => goesToCandidate('words', { weight: 100 }, key, noKey)));
  });

  test('puts a key elsewhere for another flag, so that it is not always the same users who go first', () => {
    const firsts = (flag: string): readonly string[] =>
      Array.from({ length: 10_000 }, (_, at) => `user-${at}`).filter((key) => bucketOf(flag, key) < 1);
    const others = new Set(firsts('articles'));
    const both = firsts('words').filter((key) => others.has(key));
    expect(both.length).toBeLessThan(10);
  });

  test('of a read without a key goes by chance', () => {
    expect(goesToCandidate('words', { weight: 10 }, undefined, () => 0.0999)).toBe(true);
    expect(goesToCandidate('words', { weight: 10 }, undefined, () => 0.1)).toBe(false);
  });
});
