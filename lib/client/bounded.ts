import { StoreUnavailable } from '../errors.ts';
import type { ClientSide, Identified } from './side.ts';
import { withTimeout } from './timeout.ts';

/** The second place as it is written to: what takes too long counts as failed. */
export interface Bounded<R extends Identified> {
  readonly side: Pick<ClientSide<R, never, Identified>, 'upsert' | 'delete'>;
  /** True while a write of the id that was given up may still arrive. */
  isHeld(id: string): boolean;
}

/** The ids, by place, of writes that were given up and are under way still. One for a client, so that every writer knows of them. */
export type Stragglers = Map<string, Map<string, number>>;

/**
 * A write that was given up may still arrive, and put an older value over what was written since. So until it has ended no
 * other write of its ids goes to this place: they fail at once, and wait among the repairs.
 */
export function boundWrites<R extends Identified>(
  side: Pick<ClientSide<R, never, Identified>, 'upsert' | 'delete'>,
  { place, timeoutMs, stragglers }: { place: string; timeoutMs: number; stragglers: Stragglers },
): Bounded<R> {
  const held = stragglers.get(place) ?? new Map<string, number>();
  stragglers.set(place, held);
  const hold = (ids: readonly string[], step: 1 | -1): void => {
    for (const id of ids) {
      const count = (held.get(id) ?? 0) + step;
      if (count > 0) held.set(id, count);
      else held.delete(id);
    }
  };
  const write = async (ids: readonly string[], work: () => Promise<void>): Promise<void> => {
    const blocked = ids.filter((id) => held.has(id));
    if (blocked.length > 0) {
      const text = `an earlier write of ${blocked.length} of these ids to ${place} was given up and is under way still`;
      throw new StoreUnavailable(`${text}; they are written once it has ended`, { ids: blocked });
    }
    let hasEnded = false;
    const attempt = work().finally(() => {
      hasEnded = true;
    });
    try {
      await withTimeout(attempt, timeoutMs, `the write to ${place}`);
    } catch (error) {
      if (!hasEnded) {
        hold(ids, 1);
        const free = (): void => hold(ids, -1);
        attempt.then(free, free);
      }
      throw error;
    }
  };
  return {
    side: {
      upsert: (records) =>
        write(
          records.map(({ id }) => id),
          async () => await side.upsert(records),
        ),
      delete: (ids) => write(ids, async () => await side.delete(ids)),
    },
    isHeld: (id) => held.has(id),
  };
}
