import { type StoreUnavailable, Throttled } from '../errors.ts';
import type { Log } from '../log.ts';
import type { EmbedLimits } from './port.ts';

/**
 * What a provider bears at the moment. Additive increase, multiplicative decrease (Chiu and Jain, 1989), as lib/throttle.ts
 * does for stores: one that throttles gets half as many requests at once, one that is away or too slow half as many texts in
 * each, and either gets a pause that all requests keep.
 */
export interface Pressure {
  /** Requests under way at once, 1 at least. */
  concurrency(): number;
  textsPerRequest(): number;
  /** Until then nothing is begun; milliseconds as `now` gives them. */
  readonly pausedUntil: number;
  /** It answered, be it with a refusal. */
  succeeded(): void;
  /** It does not take so many texts in a request, ever. */
  tooMany(texts: number): void;
  /** @throws the error when the provider has been in this state for too long, or asks for a longer wait than we keep a function for. */
  failed(error: Throttled | StoreUnavailable, begunAt: number, now: number): void;
  readonly throttled: number;
  readonly lastError: Error | undefined;
}

const firstPauseMs = 250;
const longestPauseMs = 20_000;
/** After these the caller ends: the state machine starts it again later, and with it the next attempt. */
const longestAbsenceMs = 120_000;
const longestThrottlingMs = 300_000;
/** And so many times in a row, since at a low rate of our own two failures may lie minutes apart. */
const failuresAtLeast = 5;

export interface PressureOptions {
  readonly limits: EmbedLimits;
  readonly log: Log;
  readonly random?: () => number;
}

export function makePressure({ limits, log, random = Math.random }: PressureOptions): Pressure {
  let concurrency = limits.concurrency;
  let mostTexts = limits.textsPerRequest;
  let texts = mostTexts;
  let inARow = 0;
  let troubleSince: number | undefined;
  let lastFailedAt = Number.NEGATIVE_INFINITY;
  let pausedUntil = Number.NEGATIVE_INFINITY;
  let throttled = 0;
  let lastError: Error | undefined;

  const slowDown = (error: Throttled | StoreUnavailable): void => {
    inARow += 1;
    if (error instanceof Throttled) concurrency = Math.max(1, concurrency / 2);
    else texts = Math.max(1, Math.floor(texts / 2));
  };
  return {
    concurrency: () => Math.max(1, Math.floor(concurrency)),
    textsPerRequest: () => texts,
    succeeded: () => {
      inARow = 0;
      troubleSince = undefined;
      concurrency = Math.min(limits.concurrency, concurrency + 1 / concurrency);
      texts = Math.min(mostTexts, texts + Math.ceil(limits.textsPerRequest / 10));
    },
    tooMany: (count) => {
      mostTexts = Math.max(1, Math.min(mostTexts, Math.floor(count / 2)));
      texts = Math.min(texts, mostTexts);
    },
    failed: (error, begunAt, now) => {
      lastError = error;
      if (error instanceof Throttled) throttled += 1;
      troubleSince ??= now;
      const longestMs = error instanceof Throttled ? longestThrottlingMs : longestAbsenceMs;
      const asked = error instanceof Throttled ? error.retryAfterMs : undefined;
      // Those that were begun before the last failure say nothing new: without this, eight at once would count as eight.
      if (begunAt > lastFailedAt) slowDown(error);
      const isLong = now - troubleSince > longestMs && inARow >= failuresAtLeast;
      if (isLong || (asked ?? 0) > longestThrottlingMs) throw error;
      lastFailedAt = now;
      const growingMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (inARow - 1));
      // Full jitter (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter): other clients were refused too.
      const pauseMs = asked === undefined ? growingMs * random() : asked + firstPauseMs * random();
      pausedUntil = Math.max(pausedUntil, now + pauseMs);
      log.warn('the embedding provider asks for less', {
        error: error.name,
        reason: error.message,
        pauseMs: Math.round(pauseMs),
        requestsAtOnce: Math.max(1, Math.floor(concurrency)),
        textsPerRequest: texts,
      });
    },
    get pausedUntil() {
      return pausedUntil;
    },
    get throttled() {
      return throttled;
    },
    get lastError() {
      return lastError;
    },
  };
}
