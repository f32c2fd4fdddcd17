import { describe, expect, test } from '@jest/globals';
import { InvalidEvent, StoreUnavailable, Throttled } from '../lib/errors.ts';
import { type Patience, patiently } from '../lib/patiently.ts';

/** Tries of what may pass. */

async function tried(errors: readonly Error[], patience: Patience) {
  let calls = 0;
  const from = performance.now();
  const outcome = await patiently(async () => {
    const error = errors[calls++];
    if (error !== undefined) throw error;
    return 'done';
  }, patience).catch((error: unknown) => error);
  return { outcome, calls, ms: performance.now() - from };
}

const away = () => new StoreUnavailable('away');

describe('patiently', () => {
  test('goes on once a store that was away or busy is back', async () => {
    const found = await tried([away(), new Throttled('busy'), away()], { firstPauseMs: 1 });
    expect(found).toMatchObject({ outcome: 'done', calls: 4 });
  });

  test('gives up after so many tries with the last error', async () => {
    const errors = Array.from({ length: 9 }, (_, at) => new StoreUnavailable(`away ${at + 1}`));
    const found = await tried(errors, { tries: 5, firstPauseMs: 1 });
    expect(found).toMatchObject({ outcome: errors[4], calls: 5 });
    expect((await tried(errors, { firstPauseMs: 1 })).calls).toBe(6);
  });

  test('does not try again what no waiting mends', async () => {
    const wrong = new InvalidEvent('wrong');
    expect(await tried([wrong], { firstPauseMs: 1 })).toMatchObject({ outcome: wrong, calls: 1 });
    const other = { firstPauseMs: 1, isPassing: (error: unknown) => error === wrong };
    expect(await tried([wrong, wrong], other)).toMatchObject({ outcome: 'done', calls: 3 });
    const gone = away();
    expect(await tried([gone], other)).toMatchObject({ outcome: gone, calls: 1 });
  });

  test('waits as long as the store asks, and else for pauses that grow', async () => {
    expect((await tried([new Throttled('busy', { retryAfterMs: 120 })], { firstPauseMs: 1 })).ms).toBeGreaterThan(115);
    // Half of 40 + 80 + 160 at least.
    expect((await tried([away(), away(), away()], { firstPauseMs: 40 })).ms).toBeGreaterThan(135);
  });
});
