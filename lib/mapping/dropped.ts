import type { Dropped } from '../states.ts';

/** Tallies of the records that rules leave out: counted whole, the first ids of each rule kept. */

/** Ids of each rule that markers and messages keep: an import's message to its successor has room for 256 KiB. */
const idsKept = 20;

export interface WithDropped {
  readonly dropped?: Dropped[] | undefined;
}

export function droppedOf(dropped: ReadonlyMap<string, readonly string[]>): { dropped?: Dropped[] } {
  if (dropped.size === 0) return {};
  return { dropped: [...dropped].map(([rule, ids]) => ({ rule, records: ids.length, ids: ids.slice(0, idsKept) })) };
}

export function addDropped(one: WithDropped, other: WithDropped): { dropped?: Dropped[] } {
  if (one.dropped === undefined && other.dropped === undefined) return {};
  return { dropped: sumDropped([one, other], idsKept) };
}

/** One entry a rule, by its name, with the first `most` ids of each. */
export function sumDropped(all: readonly WithDropped[], most: number): Dropped[] {
  const sums = new Map<string, Dropped>();
  for (const { rule, records, ids } of all.flatMap(({ dropped = [] }) => dropped)) {
    const sum = sums.get(rule) ?? { rule, records: 0, ids: [] };
    const kept = sum.ids.length < most ? [...sum.ids, ...ids].slice(0, most) : sum.ids;
    sums.set(rule, { rule, records: sum.records + records, ids: kept });
  }
  return [...sums.values()].sort((a, b) => (a.rule < b.rule ? -1 : 1));
}
