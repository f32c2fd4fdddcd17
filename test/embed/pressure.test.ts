import { describe, expect, test } from '@jest/globals';
import { makePressure } from '../../lib/embed/pressure.ts';
import { StoreUnavailable, Throttled } from '../../lib/errors.ts';
import { quiet } from './make.ts';

const limits = {
  textsPerRequest: 100,
  tokensPerRequest: 10_000,
  requestsPerMinute: 1_000,
  tokensPerMinute: 1_000_000,
  concurrency: 8,
};
const make = (random = () => 1) => makePressure({ limits, log: quiet, random });

describe('what a provider bears', () => {
  test('one that throttles gets half as many requests at once, and one more for each round that goes through', () => {
    const pressure = make();
    pressure.failed(new Throttled('busy'), 0, 10);
    expect(pressure.concurrency()).toBe(4);
    for (let i = 0; i < 5; i++) pressure.succeeded();
    expect(pressure.concurrency()).toBe(5);
    for (let i = 0; i < 100; i++) pressure.succeeded();
    expect(pressure.concurrency()).toBe(8);
  });

  test('eight that were under way when it began to throttle count as one, not as eight halvings', () => {
    const pressure = make();
    for (let i = 0; i < 8; i++) pressure.failed(new Throttled('busy'), i, 10 + i);
    expect(pressure.concurrency()).toBe(4);
    expect(pressure.throttled).toBe(8);
    expect(pressure.pausedUntil).toBeLessThanOrEqual(10 + 7 + 250);
  });

  test('pauses grow with each round and have an end, and the jitter is full', () => {
    const pauses = [];
    const pressure = make(() => 0.5);
    for (let i = 0; i < 10; i++) {
      pressure.failed(new Throttled('busy'), i * 30_000, i * 30_000);
      pauses.push(pressure.pausedUntil - i * 30_000);
    }
    expect(pauses).toEqual([125, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
    const lucky = make(() => 0);
    lucky.failed(new Throttled('busy'), 0, 0);
    expect(lucky.pausedUntil).toBe(0);
  });

  test('a wait that it asks for is kept to, and never cut short by a later, shorter one', () => {
    const pressure = make(() => 0);
    pressure.failed(new Throttled('busy', { retryAfterMs: 9_000 }), 0, 100);
    pressure.failed(new Throttled('busy', { retryAfterMs: 10 }), 0, 200);
    expect(pressure.pausedUntil).toBe(9_100);
  });

  test('one that is too slow gets fewer texts at once, one at least', () => {
    const pressure = make();
    for (let i = 0; i < 10; i++) pressure.failed(new StoreUnavailable('too slow'), i * 1_000 + 1, i * 1_000 + 1);
    expect(pressure.textsPerRequest()).toBe(1);
    expect(pressure.concurrency()).toBe(8);
    pressure.succeeded();
    expect(pressure.textsPerRequest()).toBe(11);
  });
});
