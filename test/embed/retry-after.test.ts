import { expect, test } from '@jest/globals';
import { retryAfterMs } from '../../lib/embed/retry-after.ts';

const now = Date.parse('2026-01-31T03:00:00Z');
const read = (headers: Record<string, string>): number | undefined => retryAfterMs(new Headers(headers), now);

test('the time to wait is read in every form that providers give it', () => {
  expect(read({ 'retry-after-ms': '1500' })).toBe(1_500);
  expect(read({ 'retry-after': '2' })).toBe(2_000);
  expect(read({ 'retry-after': 'Sat, 31 Jan 2026 03:00:30 GMT' })).toBe(30_000);
  // In the past: now.
  expect(read({ 'retry-after': 'Sat, 31 Jan 2026 02:00:00 GMT' })).toBe(0);
  expect(read({ 'x-ratelimit-reset-requests': '6m0s' })).toBe(360_000);
  expect(read({ 'x-ratelimit-reset-requests': '1h2m3.5s' })).toBe(3_723_500);
  expect(read({ 'x-ratelimit-reset-tokens': '120ms' })).toBe(120);
});

test('of requests and tokens only what is used up has to be waited for', () => {
  expect(
    read({
      'x-ratelimit-remaining-requests': '12',
      'x-ratelimit-reset-requests': '8s',
      'x-ratelimit-remaining-tokens': '0',
      'x-ratelimit-reset-tokens': '3s',
    }),
  ).toBe(3_000);
});

test('what says nothing, or nothing that can be read, leaves the wait to us', () => {
  expect(read({})).toBeUndefined();
  expect(read({ 'retry-after': 'soon' })).toBeUndefined();
  expect(read({ 'x-ratelimit-reset-requests': 'soon' })).toBeUndefined();
});
