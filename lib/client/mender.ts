import { StoreUnavailable } from '../errors.ts';
import { boundWrites, type Stragglers } from './bounded.ts';
import { type Desk, sendAll } from './desk.ts';
import type { KnownFlag } from './flag-cache.ts';
import type { Ledger } from './ledger.ts';
import { mirror } from './mirror.ts';
import type { Places } from './places.ts';
import type { WaitingRepair } from './repairs.ts';
import type { Settling } from './settling.ts';
import type { ClientSide, Identified } from './side.ts';
import { withTimeout } from './timeout.ts';

/** Makes the second place hold what the first does, for the ids that wait: again and again, until it does. */
export interface Mender {
  /** There is something to do. */
  wake(): void;
  /** Things may go better now: the flag has changed. */
  hurry(): void;
  /** Tries each id that waits once. Never fails: what could not be mended waits on. */
  round(): Promise<void>;
  close(): void;
}

export interface MenderOptions<R extends Identified, Q, H extends Identified> {
  readonly desk: Desk;
  /** How long writes trust the flag: what was noted because it was older must not be forgotten by that same value. */
  readonly leaseMs: number;
  /** The flag, not older than this. */
  readonly fresh: (maxAgeMs: number, isPatient: true) => Promise<KnownFlag | undefined>;
  readonly placesOf: (known: KnownFlag) => Places<R, Q, H>;
  readonly ledger: Ledger | undefined;
  readonly settling: Settling;
  readonly stragglers: Stragglers;
  readonly timeoutMs: number;
  readonly same: ((one: R, other: R) => boolean) | undefined;
  readonly onError: (error: Error) => void;
  /** Called after each round. */
  readonly onRound: () => void;
  readonly random: () => number;
}

const firstPauseMs = 100;
const longestPauseMs = 30_000;
const largestBatch = 1000;
/** How old the flag may be when a round begins, at most: after a `finish` nothing must be copied over what is newer. */
const maxFlagAgeMs = 1000;

export function makeMender<R extends Identified, Q, H extends Identified>(options: MenderOptions<R, Q, H>): Mender {
  const { desk, fresh, placesOf, onError, random } = options;
  const { queue } = desk;
  let pauseMs = firstPauseMs;
  let batchSize = largestBatch;
  let timer: NodeJS.Timeout | undefined;
  let working: Promise<void> | undefined;
  let isClosed = false;
  let isFailing = false;

  const plan = (ms: number): void => {
    if (isClosed || timer !== undefined || queue.size === 0) return;
    timer = setTimeout(round, ms * (0.5 + random() / 2));
    timer.unref();
  };
  const failed = (error: Error): void => {
    // Once an outage, and again when it is over and another begins.
    if (!isFailing) onError(error);
    isFailing = true;
  };

  /** Mends what it can of a batch, in halves where it fails: one record that is refused must not keep the others waiting. */
  const mendOrSplit = async (pair: Pair<R>, batch: readonly WaitingRepair[]): Promise<Outcome> => {
    try {
      const ids = batch.map(({ id }) => id);
      await mirror({
        ids,
        from: pair.from,
        to: pair.to,
        ...(options.same === undefined ? {} : { same: options.same }),
      });
      options.settling.add(ids, pair.source);
      await queue.done(batch);
      return { mended: batch.length, failure: undefined };
    } catch (cause) {
      queue.postpone(batch);
      return { mended: 0, failure: cause };
    }
  };
  const mendHalves = async (pair: Pair<R>, batch: readonly WaitingRepair[]): Promise<Outcome> => {
    const whole = await mendOrSplit(pair, batch);
    if (whole.failure === undefined || batch.length === 1) return whole;
    const half = Math.ceil(batch.length / 2);
    const one = await mendOrSplit(pair, batch.slice(0, half));
    const other = await mendOrSplit(pair, batch.slice(half));
    const failures = [one, other].filter(({ failure }) => failure !== undefined);
    // Both failed: the place is down, more likely than not; the next round begins with a smaller batch.
    if (failures.length !== 1) {
      return { mended: one.mended + other.mended, failure: failures.length === 0 ? undefined : whole.failure };
    }
    const rest = await mendHalves(pair, one.failure === undefined ? batch.slice(half) : batch.slice(0, half));
    return { mended: one.mended + other.mended + rest.mended, failure: rest.failure };
  };

  const mendAll = async (pair: Pair<R>): Promise<boolean> => {
    let isGood = true;
    for (let left = queue.size; left > 0; ) {
      const peeked = queue.peek(Math.min(batchSize, left));
      left -= peeked.length;
      if (peeked.length === 0) break;
      const held = peeked.filter(({ id }) => pair.isHeld(id));
      const batch = peeked.filter(({ id }) => !pair.isHeld(id));
      queue.postpone(held);
      if (held.length > 0) isGood = false;
      if (batch.length === 0) continue;
      const { mended, failure } = await mendHalves(pair, batch);
      batchSize = failure === undefined ? Math.min(largestBatch, batchSize * 2) : Math.max(1, batchSize >> 1);
      if (failure === undefined) continue;
      isGood = false;
      failed(unmended(pair.place, batch.length - mended, failure));
      if (mended === 0) break;
    }
    return isGood;
  };

  const work = async (): Promise<boolean> => {
    if (queue.size === 0) return true;
    const known = await fresh(Math.min(maxFlagAgeMs, options.leaseMs), true);
    if (known === undefined) return false;
    const places = placesOf(known);
    const { first, second, flag } = places;
    const lost = queue.peek(queue.size).filter(({ place }) => place !== first.name);
    if (lost.length > 0) {
      onError(left(lost, first.name));
      await queue.done(lost);
    }
    if (second === undefined) {
      await queue.done(queue.peek(queue.size));
      return true;
    }
    if (desk.sink !== undefined && flag.run !== undefined) {
      await handOver(options, flag.run);
      return true;
    }
    if (first.side === undefined || second.side === undefined) {
      failed(unmended(second.name, queue.size, 'this application has no side for it; add it to the sides'));
      return false;
    }
    return await mendAll(
      pairOf(options, { name: first.name, side: first.side }, { name: second.name, side: second.side }, flag.run),
    );
  };
  const round = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    working ??= (async () => {
      let isGood = false;
      try {
        isGood = await work();
      } catch (cause) {
        failed(unmended('the second place', queue.size, cause));
      }
      working = undefined;
      options.onRound();
      if (isGood) isFailing = false;
      pauseMs = isGood ? firstPauseMs : Math.min(longestPauseMs, pauseMs * 2);
      plan(pauseMs);
    })();
    return working;
  };
  return {
    wake: () => plan(firstPauseMs),
    hurry: () => {
      clearTimeout(timer);
      timer = undefined;
      pauseMs = firstPauseMs;
      plan(pauseMs);
    },
    round: async () => {
      // One that is under way may have passed by what came last.
      if (working !== undefined) await working;
      await round();
    },
    close: () => {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

interface Outcome {
  readonly mended: number;
  readonly failure: unknown;
}

interface Pair<R extends Identified> {
  /** The first place's name, and the second's. */
  readonly source: string;
  readonly place: string;
  readonly from: Pick<ClientSide<R, never, Identified>, 'fetch'>;
  readonly to: Pick<ClientSide<R, never, Identified>, 'upsert' | 'delete'>;
  isHeld(id: string): boolean;
}

interface NamedSide<R extends Identified, Q, H extends Identified> {
  readonly name: string;
  readonly side: ClientSide<R, Q, H>;
}

/** Both sides as a mender uses them: none of them keeps it waiting for ever, and what is deleted leaves a tombstone. */
function pairOf<R extends Identified, Q, H extends Identified>(
  { timeoutMs, stragglers, ledger }: MenderOptions<R, Q, H>,
  first: NamedSide<R, Q, H>,
  second: NamedSide<R, Q, H>,
  run: string | undefined,
): Pair<R> {
  const { side, isHeld } = boundWrites<R>(second.side, { place: second.name, timeoutMs, stragglers });
  return {
    source: first.name,
    place: second.name,
    from: { fetch: (ids) => withTimeout(first.side.fetch(ids), timeoutMs, first.name, 'background') },
    to: {
      upsert: side.upsert,
      // A delete that was written while the flag could not be read has left none, and the import may be under way.
      delete: async (ids) => {
        if (run !== undefined) await ledger?.addTombstones(run, ids);
        await side.delete(ids);
      },
    },
    isHeld,
  };
}

/** Gives what waits to whoever mends it, with tombstones for all, since nobody knows here which were deletes. */
async function handOver<R extends Identified, Q, H extends Identified>(
  { desk: { queue, sink }, ledger }: MenderOptions<R, Q, H>,
  run: string,
): Promise<void> {
  const repairs = queue.peek(queue.size);
  const ids = repairs.map(({ id }) => id);
  await ledger?.addTombstones(run, ids);
  if (sink !== undefined) await sendAll(sink, run, ids);
  await queue.done(repairs);
}

function unmended(place: string, ids: number, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const text = `${ids} records of ${place} could not be mended; they stay in the repair queue and are tried again: ${reason}`;
  return new StoreUnavailable(text, { cause });
}

/** Nothing may be copied now: what the other place has may be newer. */
function left(repairs: readonly WaitingRepair[], place: string): Error {
  const ids = repairs.map(({ id }) => id);
  const text = `${ids.length} records were last written to ${repairs[0]?.place}, before this application saw that writes go to ${place} first`;
  return new StoreUnavailable(`${text}; ${place} may lack these writes: write the records again`, { ids });
}
