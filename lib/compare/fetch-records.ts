import { type Batch, selectRecords } from '../batch.ts';
import { RecordRefused } from '../errors.ts';
import { patiently } from '../patiently.ts';
import type { Reader } from '../stores/port.ts';

/** Ids a call of `fetch` may name. */
export const maxFetch = 1000;

/** One record somewhere in a batch. */
export interface Located {
  readonly batch: Batch;
  readonly at: number;
}

export interface Fetched {
  readonly records: ReadonlyMap<string, Located>;
  /** Ids that the store could not hand over as records, and why. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** Ids that the store handed over more than one record for: it does not hold ids unique. */
  readonly doubled: ReadonlySet<string>;
}

/**
 * The records with these ids, by id. When the store refuses to hand over a record the others are still read: the ids are
 * halved until the refused ones stand alone.
 */
export async function fetchRecords(from: Pick<Reader, 'fetch'>, wanted: readonly string[]): Promise<Fetched> {
  const records = new Map<string, Located>();
  const unreadable = new Map<string, string>();
  const doubled = new Set<string>();
  const pending = split([...new Set(wanted)], maxFetch);
  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    try {
      const ids = part;
      const batch = await patiently(() => from.fetch(ids));
      batch.ids.forEach((id, at) => {
        if (records.has(id)) doubled.add(id);
        records.set(id, { batch, at });
      });
    } catch (error) {
      if (!(error instanceof RecordRefused)) throw error;
      if (part.length === 1 || isOfOthers(error, part)) for (const id of part) unreadable.set(id, error.message);
      else pending.push(...split(part, Math.ceil(part.length / 2)));
    }
  }
  return { records, unreadable, doubled };
}

/**
 * True for a refusal that names something else than was asked for, a broken line of a file for one: it comes again for
 * every half, and to ask for each id by itself would read the file as often as there are ids.
 */
function isOfOthers({ ids }: RecordRefused, part: readonly string[]): boolean {
  const asked = new Set(part);
  return ids.length > 0 && ids.every((id) => !asked.has(id));
}

/** The one record as a batch of its own. */
export function alone({ batch, at }: Located): Batch {
  return selectRecords(batch, [at]);
}

/** Pieces of at most `size` elements, in order. */
export function split<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
}
