import { StoreUnavailable } from '../errors.ts';
import type { Stragglers } from './bounded.ts';
import { makeChecks } from './checks.ts';
import { systemClock } from './clock.ts';
import { makeDesk } from './desk.ts';
import { makeFlagCache } from './flag-cache.ts';
import { makeMender } from './mender.ts';
import { makeMetrics } from './metrics.ts';
import type { Client, ClientOptions } from './options.ts';
import { makePlaces, type Place, type Places, sideOf } from './places.ts';
import { makeReads } from './reads.ts';
import { makeSettling } from './settling.ts';
import { makeShadows } from './shadow.ts';
import type { ClientSide, Identified } from './side.ts';
import { stdoutMetrics } from './stdout-metrics.ts';
import { makeWarner } from './warn.ts';
import { makeWrites } from './writes.ts';

/** A shadow read may take so many times as long as a read: nobody waits for it. */
const shadowPatience = 10;

/**
 * An application's way to its collections while a run moves them: reads are routed by the flag, writes go to both sides.
 * One for a process. What it does in the background keeps no process from ending, and ends with close().
 */
export function createClient<R extends Identified, Q, H extends Identified>(
  options: ClientOptions<R, Q, H>,
): Client<R, Q, H> {
  const { flag: reader, sides, ledger, same, clock = systemClock, random = Math.random } = options;
  const { timeoutMs = 1000, secondWriteTimeoutMs = 10_000, maxShadows = 4 } = options;
  const { refreshMs = 5000, leaseMs = 10_000, onError = makeWarner() } = options;
  const { name } = reader;

  const placesOf = makePlaces<R, Q, H>({ name, sides, source: options.source });
  const neededSide = (place: Place<R, Q, H>): ClientSide<R, Q, H> => sideOf(place, { name, sides });
  const metrics = makeMetrics({ flag: name, sink: options.metrics ?? stdoutMetrics(), onError });
  const shadows = makeShadows({ metrics, maxShadows, timeoutMs: timeoutMs * shadowPatience, onError });
  const reads = makeReads<R, Q, H>({ name, metrics, shadows, timeoutMs, random, onError, sideOf: neededSide });

  const stragglers: Stragglers = new Map();
  const desk = makeDesk({ repairs: options.repairs, onError, onNoted: () => noted() });
  const flags = makeFlagCache({ reader, refreshMs, clock, onError, onChange: () => changed() });
  const noteInBackground = (ids: readonly string[], place: string): Promise<void> =>
    desk.noteInBackground(ids, { place, run: flags.last()?.flag?.run, isStale: false });
  const settling = makeSettling({ leaseMs, clock, note: noteInBackground });
  const mender = makeMender<R, Q, H>({
    ...{ desk, placesOf, ledger, settling, stragglers, same, onError, random },
    leaseMs,
    fresh: flags.fresh,
    onRound: () => showWaiting(),
    timeoutMs: secondWriteTimeoutMs,
  });
  const checks = makeChecks<R>({
    same,
    timeoutMs: secondWriteTimeoutMs,
    note: noteInBackground,
  });
  const writes = makeWrites<R, Q, H>({
    ...{ placesOf, sideOf: neededSide, ledger, desk, checks, settling, metrics, stragglers, onError },
    fresh: () => flags.fresh(leaseMs),
    last: flags.last,
    timeoutMs: secondWriteTimeoutMs,
  });

  /** Counted with the place that lacks them. */
  const showWaiting = (): void => {
    const flag = flags.last()?.flag;
    const place = flag?.writes?.[1] ?? flag?.active ?? options.source;
    if (place !== undefined) metrics.repairsWaiting(place, desk.queue.size);
  };
  const noted = (): void => {
    showWaiting();
    mender.wake();
  };
  let lastSecond: string | undefined;
  const changed = (): void => {
    // A line then holds what happened under one value of the flag.
    void metrics.flush();
    const second = flags.last()?.flag?.writes?.[1];
    if (second !== undefined && second !== lastSecond) settling.begin();
    lastSecond = second;
    mender.hurry();
  };

  const placesNow = (): Places<R, Q, H> | Promise<Places<R, Q, H>> => {
    const known = flags.last();
    return known === undefined ? flags.first().then(placesOf) : placesOf(known);
  };
  const flush = async (isLast = false): Promise<void> => {
    // Whoever waits for it must not be ended by having nothing else to do.
    const alive = setInterval(() => {}, 1000);
    try {
      await Promise.all([shadows.flush(), checks.flush()]);
      await settling.flush(isLast);
      await mender.round();
      await metrics.flush();
    } finally {
      clearInterval(alive);
    }
  };
  const status: Client<R, Q, H>['status'] = () => ({
    flag: flags.last()?.flag,
    flagAgeMs: flags.ageMs(),
    repairsWaiting: desk.queue.size,
    checksWaiting: checks.waiting + settling.waiting,
    shadowsUnderWay: shadows.underWay,
  });
  return {
    search: async (query, { key } = {}) => await reads.search(await placesNow(), key, query),
    fetch: async (ids, { key } = {}) => await reads.fetch(await placesNow(), key, ids),
    upsert: writes.upsert,
    delete: writes.delete,
    flush: async () => {
      await flush();
      return status();
    },
    close: async () => {
      try {
        await flush(true);
      } finally {
        flags.close();
        settling.close();
        mender.close();
        await metrics.close();
        await desk.queue.close();
      }
      const { queue } = desk;
      if (queue.size === 0 || queue.isDurable) return;
      const ids = queue.peek(queue.size).map(({ id }) => id);
      const text = `${ids.length} records were still to be mended, and that was noted in memory only`;
      throw new StoreUnavailable(
        `${text}; write them again, or give createClient a repair queue that lasts (fileRepairs)`,
        {
          ids,
        },
      );
    },
    status,
  };
}
