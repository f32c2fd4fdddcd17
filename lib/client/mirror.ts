import { InvalidEvent, StoreUnavailable } from '../errors.ts';
import { isSame } from './same.ts';
import type { ClientSide, Identified } from './side.ts';

export const maxMirroredIds = 1000;

export interface MirrorOptions<R extends Identified> {
  /** At most 1,000. */
  readonly ids: readonly string[];
  readonly from: Pick<ClientSide<R, never, Identified>, 'fetch'>;
  readonly to: Pick<ClientSide<R, never, Identified>, 'upsert' | 'delete'>;
  /** True when two reads of a record gave the same value. */
  readonly same?: (one: R, other: R) => boolean;
  readonly maxRounds?: number;
}

/**
 * Makes `to` hold of these ids what `from` holds, deletes included. Ids and not values are mirrored, so it may be repeated,
 * and any number of mirrors and writers may be at work: each reads the source again after it has touched the target, and goes
 * on until the source did not change meanwhile. So whoever touches the target last has seen the source's last value.
 * @throws StoreUnavailable when the source was still changing after `maxRounds`. @throws what a side throws.
 */
export async function mirror<R extends Identified>(options: MirrorOptions<R>): Promise<void> {
  const { from, to, same = isSame, maxRounds = 10 } = options;
  let ids: readonly string[] = [...new Set(options.ids)];
  if (ids.length > maxMirroredIds) {
    throw new InvalidEvent(`${ids.length} ids are too many to mirror at once; hand over ${maxMirroredIds} at most`);
  }
  let held = await read(from, ids);
  for (let round = 0; round < maxRounds && ids.length > 0; round++) {
    await write(to, ids, held);
    const now = await read(from, ids);
    ids = ids.filter((id) => !isUnchanged(held.get(id), now.get(id), same));
    held = now;
  }
  if (ids.length === 0) return;
  const text = `${ids.length} records of the source changed each time that they were read, ${maxRounds} times over`;
  throw new StoreUnavailable(`${text}; mirror them again once they are written to less often`, { ids });
}

async function read<R extends Identified>(
  from: MirrorOptions<R>['from'],
  ids: readonly string[],
): Promise<ReadonlyMap<string, R>> {
  const records = ids.length === 0 ? [] : await from.fetch(ids);
  return new Map(records.map((record) => [record.id, record]));
}

/** One after the other: were both under way, one could fail while the other still touches the target. */
async function write<R extends Identified>(
  to: MirrorOptions<R>['to'],
  ids: readonly string[],
  held: ReadonlyMap<string, R>,
): Promise<void> {
  const records = ids.flatMap((id) => held.get(id) ?? []);
  const gone = ids.filter((id) => !held.has(id));
  if (records.length > 0) await to.upsert(records);
  if (gone.length > 0) await to.delete(gone);
}

function isUnchanged<R>(before: R | undefined, now: R | undefined, same: (one: R, other: R) => boolean): boolean {
  if (before === undefined || now === undefined) return before === now;
  return same(before, now);
}
