import { ageMs, type Clock, type Instant } from './clock.ts';

/**
 * While double writes begin, other copies of the application may not have seen that yet: until their lease is over they write
 * to the first place alone, also over what this client has just written to both. No look after a write sees what comes after
 * it, and an import that only inserts leaves what is there. So what is written to the second place in that time is mended once
 * more when it is over.
 */
export interface Settling {
  /** The flag names another second place: the time begins. */
  begin(): void;
  /** Ids that the second place was given. Nothing is kept once the time is over. */
  add(ids: readonly string[], place: string): void;
  /** Ids that are to be mended when the time is over. */
  readonly waiting: number;
  /** Notes them, if the time is over; if not, then only when `isLast`. */
  flush(isLast?: boolean): Promise<void>;
  close(): void;
}

export interface SettlingOptions {
  readonly leaseMs: number;
  readonly clock: Clock;
  /** Puts ids among the repairs. Never fails. */
  readonly note: (ids: readonly string[], place: string) => Promise<void>;
}

export function makeSettling({ leaseMs, clock, note }: SettlingOptions): Settling {
  let beganAt: Instant | undefined;
  let timer: NodeJS.Timeout | undefined;
  let places = new Map<string, Set<string>>();
  const restMs = (): number => (beganAt === undefined ? 0 : leaseMs - ageMs(beganAt, clock()));
  const waiting = (): number => [...places.values()].reduce((sum, { size }) => sum + size, 0);

  const flush = async (isLast = false): Promise<void> => {
    if (restMs() > 0 && !isLast) return plan();
    const all = places;
    places = new Map();
    for (const [place, ids] of all) await note([...ids], place);
  };
  const plan = (): void => {
    clearTimeout(timer);
    timer = setTimeout(flush, Math.max(1, restMs() + 1));
    timer.unref();
  };
  return {
    begin: () => {
      beganAt = clock();
      plan();
    },
    add: (ids, place) => {
      if (restMs() <= 0) return;
      const there = places.get(place) ?? new Set();
      for (const id of ids) there.add(id);
      places.set(place, there);
    },
    get waiting() {
      return waiting();
    },
    flush,
    close: () => clearTimeout(timer),
  };
}
