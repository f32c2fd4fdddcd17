import type { Flag } from '../cutover/flag.ts';
import { NotFound, StoreUnavailable } from '../errors.ts';
import { ageMs, type Clock, type Instant } from './clock.ts';
import type { FlagReader } from './flag-reader.ts';
import { checkFlag } from './flag-text.ts';
import { withTimeout } from './timeout.ts';

/** What the flag said, and when it was asked: the answer is at least as new as that. */
export interface KnownFlag {
  /** undefined: it was never set. */
  readonly flag: Flag | undefined;
  readonly at: Instant;
}

export interface FlagCache {
  /** The last known value, at once; undefined when there is none yet. Has it read again when it is old. */
  last(): KnownFlag | undefined;
  /** The last known value; waits for the first one, unless it could not be read already. */
  first(): Promise<KnownFlag | undefined>;
  /**
   * A value that is at most `maxAgeMs` old, read now if need be; undefined when it cannot be read. While it cannot, only the
   * patient wait for another try: an outage must not slow every write down.
   */
  fresh(maxAgeMs: number, isPatient?: boolean): Promise<KnownFlag | undefined>;
  ageMs(): number | undefined;
  close(): void;
}

export interface FlagCacheOptions {
  readonly reader: FlagReader;
  /** After how long the flag is read again. */
  readonly refreshMs: number;
  readonly clock: Clock;
  readonly onError: (error: Error) => void;
  readonly onChange: () => void;
}

/** Milliseconds that a read of the flag may take. */
const readTimeoutMs = 2000;
/** Milliseconds between a failed read and the next that is made on use. */
const pauseMs = 1000;

/** The flag as last read. A read that fails leaves the last known value; the first failure of an outage is reported. */
export function makeFlagCache({ reader, refreshMs, clock, onError, onChange }: FlagCacheOptions): FlagCache {
  let known: KnownFlag | undefined;
  let reading: Promise<void> | undefined;
  let failedAt: Instant | undefined;

  const learn = (flag: Flag | undefined, at: Instant): void => {
    if (known !== undefined && known.at.steadyMs > at.steadyMs) return;
    const isNew = known === undefined || JSON.stringify(known.flag) !== JSON.stringify(flag);
    known = { flag: isNew ? flag : known?.flag, at };
    failedAt = undefined;
    if (isNew) onChange();
  };
  const readNow = async (): Promise<void> => {
    const at = clock();
    const answer = (async () => {
      const value = await reader.read();
      // Nothing that moves a flag deletes it. Taken for "never set", writes would go past the second place at once.
      if (value === undefined && known?.flag !== undefined) throw new NotFound('it is gone; set it again');
      learn(value === undefined ? undefined : checkFlag(value, reader.name), at);
    })();
    try {
      await withTimeout(answer, readTimeoutMs, `the routing flag ${reader.name}`, 'background');
    } catch (cause) {
      if (failedAt === undefined) onError(unreadable(reader.name, known, cause));
      failedAt = clock();
    }
  };
  const refresh = (): Promise<void> => {
    reading ??= readNow().finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const age = (): number => (known === undefined ? Infinity : ageMs(known.at, clock()));
  const hasFailed = (): boolean => failedAt !== undefined;
  const refreshInBackground = (): void => {
    if (failedAt === undefined || ageMs(failedAt, clock()) >= pauseMs) void refresh();
  };

  const timer = setInterval(refresh, refreshMs);
  timer.unref();
  void refresh();
  return {
    last: () => {
      if (age() > refreshMs) refreshInBackground();
      return known;
    },
    first: async () => {
      if (known === undefined && !hasFailed()) await refresh();
      else if (known === undefined) refreshInBackground();
      return known;
    },
    fresh: async (maxAgeMs, isPatient = false) => {
      if (age() > maxAgeMs) {
        if (isPatient || !hasFailed()) await refresh();
        else refreshInBackground();
      }
      return age() > maxAgeMs ? undefined : known;
    },
    ageMs: () => (known === undefined ? undefined : age()),
    close: () => clearInterval(timer),
  };
}

function unreadable(name: string, known: KnownFlag | undefined, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const now = known === undefined ? 'the source of createClient is used' : 'its last known value stays';
  return new StoreUnavailable(`the routing flag ${name} cannot be read, and ${now} until it can: ${reason}`, { cause });
}
