import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { makeLimiter } from '../../lib/embed/limiter.ts';

interface Begun {
  readonly at: number;
  readonly tokens: number;
}

/** Begins requests as soon as they may, one after another, and says when. */
function run(limits: { requestsPerMinute: number; tokensPerMinute: number }, sizes: readonly number[]): Begun[] {
  const limiter = makeLimiter(limits);
  const begun: Begun[] = [];
  let now = 0;
  for (const tokens of sizes) {
    for (let wait = limiter.waitMs(tokens, now); wait > 0; wait = limiter.waitMs(tokens, now)) now += wait;
    limiter.took(tokens, now);
    begun.push({ at: now, tokens });
    now += 37;
  }
  return begun;
}

describe('requests and tokens a minute', () => {
  test('are passed in no minute, wherever it begins', () => {
    fc.assert(
      fc.property(
        fc.record({
          requestsPerMinute: fc.integer({ min: 1, max: 20 }),
          tokensPerMinute: fc.integer({ min: 100, max: 1_000 }),
        }),
        fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 80 }),
        (limits, sizes) => {
          const begun = run(limits, sizes);
          for (const { at } of begun) {
            const minute = begun.filter((each) => each.at >= at && each.at < at + 60_000);
            expect(minute.length).toBeLessThanOrEqual(limits.requestsPerMinute);
            expect(minute.reduce((sum, { tokens }) => sum + tokens, 0)).toBeLessThanOrEqual(limits.tokensPerMinute);
          }
        },
      ),
    );
  });

  test('are used up: a thousand requests at 100 a minute take the nine minutes that they need, and no tenth', () => {
    const begun = run({ requestsPerMinute: 100, tokensPerMinute: 1_000_000 }, new Array<number>(1_000).fill(1));
    expect(begun.at(-1)?.at).toBeLessThan(10 * 60_000);
    expect(begun.at(-1)?.at).toBeGreaterThanOrEqual(9 * 60_000);
  });

  test('a text of more tokens than a minute has goes alone in its minute, instead of never', () => {
    const begun = run({ requestsPerMinute: 100, tokensPerMinute: 50 }, [10, 80, 10]);
    expect(begun.map(({ at }) => at)).toEqual([0, 60_000, 120_000]);
  });

  test('10,000 requests a minute are counted without a list that is gone through from its begin each time', () => {
    const limits = { requestsPerMinute: 10_000, tokensPerMinute: 1e9 };
    /** Of this process alone, whatever else the machine does. */
    const processorMs = (requests: number): number => {
      const from = process.cpuUsage();
      run(limits, new Array<number>(requests).fill(1));
      return process.cpuUsage(from).user / 1000;
    };
    processorMs(10_000);
    // Eight times as many cost eight times as much, and with such a list 64 times.
    expect(processorMs(200_000)).toBeLessThan(30 * Math.max(5, processorMs(25_000)));
  });
});
