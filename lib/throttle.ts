import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailable, Throttled } from './errors.ts';
import { type Deadline, isNear, type Log } from './log.ts';

/**
 * Additive increase, multiplicative decrease over the number of records a write holds (Chiu and Jain, 1989): a store that
 * throttles gets half as many at once and a pause; each write that goes through adds a step.
 */
export interface Pace {
  /** Records the next write should hold at most. */
  size(): number;
  succeeded(): void;
  /** Waits as the store asks, or longer each time; `false` when the deadline would pass before: hand the work back. */
  failed(error: Throttled | StoreUnavailable): Promise<boolean>;
  /** How often the store throttled or was away. */
  readonly count: number;
}

const minRecords = 16;
const firstPauseMs = 250;
const longestPauseMs = 20_000;
/** How long a store may be away before the attempt counts as failed; throttling never does. */
const longestAbsenceMs = 120_000;

export interface PaceOptions {
  readonly maxRecords: number;
  readonly deadline: Deadline;
  readonly log: Log;
  readonly random?: () => number;
}

export function makePace({ maxRecords, deadline, log, random = Math.random }: PaceOptions): Pace {
  let size = maxRecords;
  let inARow = 0;
  let count = 0;
  let awaySince: number | undefined;
  return {
    size: () => size,
    succeeded: () => {
      inARow = 0;
      awaySince = undefined;
      size = Math.min(maxRecords, size + Math.ceil(maxRecords / 10));
    },
    failed: async (error) => {
      count += 1;
      inARow += 1;
      size = Math.max(minRecords, Math.floor(size / 2));
      if (error instanceof StoreUnavailable) {
        awaySince ??= Date.now();
        if (Date.now() - awaySince > longestAbsenceMs) throw error;
      }
      const asked = error instanceof Throttled ? error.retryAfterMs : undefined;
      // Full jitter, so that importers that were refused together do not come back together.
      const pauseMs = asked ?? Math.min(longestPauseMs, firstPauseMs * 2 ** (inARow - 1)) * (0.5 + random() / 2);
      log.warn('the store asks for less', {
        error: error.name,
        reason: error.message,
        pauseMs: Math.round(pauseMs),
        recordsAtOnce: size,
      });
      if (isNear({ remainingMs: () => deadline.remainingMs() - pauseMs })) return false;
      await sleep(pauseMs);
      return true;
    },
    get count() {
      return count;
    },
  };
}
