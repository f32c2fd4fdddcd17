import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailable, Throttled } from './errors.ts';

export interface Patience {
  /** How often it is tried in all; left out: 6. */
  readonly tries?: number;
  /** Milliseconds before the second try, twice as many before the third, ...; left out: 500. */
  readonly firstPauseMs?: number;
  /** What another try may mend; left out: a store that is busy or away. */
  readonly isPassing?: (error: unknown) => boolean;
}

/** A server that asks for an hour is left to whoever tries the whole step again. */
const longestPauseMs = 60_000;

/**
 * Tries again what may pass, with growing pauses or those that a store asks for. As it is, 0.5 + 1 + 2 + 4 + 8 s, about a quarter of a
 * minute; then the state machine tries the state again.
 */
export async function patiently<T>(
  work: () => Promise<T>,
  { tries = 6, firstPauseMs = 500, isPassing = isAwayOrBusy }: Patience = {},
): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await work();
    } catch (error) {
      if (tried >= tries || !isPassing(error)) throw error;
      const asked = error instanceof Throttled ? error.retryAfterMs : undefined;
      // Jitter, so that those who were refused together do not come back together.
      await sleep(Math.min(longestPauseMs, asked ?? firstPauseMs * 2 ** (tried - 1) * (0.5 + Math.random() / 2)));
    }
  }
}

const isAwayOrBusy = (error: unknown): boolean => error instanceof Throttled || error instanceof StoreUnavailable;
