import { goesToCandidate } from '../cutover/route.ts';
import { StoreUnavailable } from '../errors.ts';
import type { Metrics } from './metrics.ts';
import type { Place, Places } from './places.ts';
import type { Shadows } from './shadow.ts';
import type { ClientSide, Identified } from './side.ts';
import { withTimeout } from './timeout.ts';

type Ask<R extends Identified, Q, H extends Identified, T> = (side: ClientSide<R, Q, H>) => Promise<T>;

export interface ReadsOptions<R extends Identified, Q, H extends Identified> {
  readonly name: string;
  readonly metrics: Metrics;
  readonly shadows: Shadows;
  readonly timeoutMs: number;
  readonly random: () => number;
  readonly onError: (error: Error) => void;
  /** The side without which nothing can be read. @throws InvalidEvent */
  readonly sideOf: (place: Place<R, Q, H>) => ClientSide<R, Q, H>;
}

interface Answer<T> {
  readonly value: T;
  readonly ms: number;
  /** True where the target was asked first and did not answer. */
  readonly isFallback: boolean;
  /** The place that gave it. */
  readonly place: string;
}

/**
 * Reads, routed by the flag. While it has two sides a target that fails or is slow costs the caller no answer: the source
 * gives it. Never the other way round: the target may lack records until it is validated, and a failed read of the source
 * is the application's own.
 */
export function makeReads<R extends Identified, Q, H extends Identified>(options: ReadsOptions<R, Q, H>) {
  const { name, metrics, shadows, timeoutMs, random, onError, sideOf } = options;

  const timed = async <T>(place: Place<R, Q, H>, work: () => Promise<T>): Promise<Answer<T>> => {
    const startedAt = performance.now();
    try {
      const value = await work();
      const ms = performance.now() - startedAt;
      metrics.read(place.name, ms, true);
      return { value, ms, place: place.name, isFallback: false };
    } catch (error) {
      metrics.read(place.name, performance.now() - startedAt, false);
      throw error;
    }
  };

  const read = async <T>(
    places: Places<R, Q, H>,
    key: string | undefined,
    ask: Ask<R, Q, H, T>,
  ): Promise<Answer<T>> => {
    const { flag, first } = places;
    const place = goesToCandidate(name, flag, key, random) ? places.candidate : places.active;
    const isSource = place.name === first.name;
    if (isSource || (first.side === undefined && place.side !== undefined)) {
      const side = sideOf(place);
      return await timed(place, () => ask(side));
    }
    try {
      return await timed(place, () => withTimeout(ask(sideOf(place)), timeoutMs, place.name));
    } catch (cause) {
      // Finished on a place that this application has no side for, say: then there is no other.
      if (places.target === undefined) throw cause;
      const side = sideOf(first);
      onError(unanswered(place.name, first.name, cause));
      return { ...(await timed(first, () => ask(side))), isFallback: true };
    }
  };

  return {
    /** A search, of which the flag's share is sent to the other side too. */
    search: async (places: Places<R, Q, H>, key: string | undefined, query: Q): Promise<readonly H[]> => {
      const { value, ms, place, isFallback } = await read(places, key, (side) => side.search(query));
      const { flag, active, candidate, target } = places;
      const other = place === active.name ? candidate : active;
      const { side } = other;
      const isShadowed =
        flag.shadow > 0 && !isFallback && target !== undefined && side !== undefined && random() * 100 < flag.shadow;
      if (isShadowed) {
        shadows.send({
          target: target.name,
          other: other.name,
          ask: () => side.search(query),
          answer: value,
          answerMs: ms,
          isActive: place === active.name,
        });
      }
      return value;
    },
    fetch: async (places: Places<R, Q, H>, key: string | undefined, ids: readonly string[]): Promise<readonly R[]> =>
      (await read(places, key, (side) => side.fetch(ids))).value,
  };
}

function unanswered(place: string, instead: string, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreUnavailable(`${place} did not answer a read, and ${instead} was asked instead: ${reason}`, { cause });
}
