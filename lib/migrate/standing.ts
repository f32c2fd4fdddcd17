import type { HistoryEntry } from './port.ts';

/** What the lines of the history come to: how each number stands. */

export interface Standing {
  /** half: it was begun, did not end, and something of it may stand. forgotten: its file is gone for good. */
  readonly state: 'applied' | 'pending' | 'half' | 'forgotten';
  /** The line that says so. */
  readonly entry: HistoryEntry;
  /** The way that it was going; of applied: down where a part of it is taken back. */
  readonly direction: 'up' | 'down';
  /** The statement, from 1, that is to be gone on with in that direction. */
  readonly statement: number;
  /** Of applied, and of half on its way down: the line by which it was applied, with its checksum and how it is taken back. */
  readonly applied?: HistoryEntry;
  /** The line since which it is applied, or was begun: they are taken back in the reverse order. */
  readonly since?: number;
  /** Of half on its way up: the last line that began it, with what takes it back. */
  readonly begun?: HistoryEntry;
  /** Of half and pending: its statements as they were begun, the first one first; '' where the line does not say. */
  readonly said?: readonly string[];
}

export type Standings = ReadonlyMap<number, Standing>;

/** Of lines that are about the history itself, and no migration. */
export const historyNumber = 0;

/** @param entries all of them, in order */
export function standingsOf(entries: readonly HistoryEntry[]): Standings {
  // A restore goes back to how things stood after a line, which may itself come after another restore: kept for those lines alone.
  const wanted = new Set(entries.flatMap(({ standsAt }) => standsAt ?? []));
  const kept = new Map<number, Standings>([[0, new Map()]]);
  let standings = new Map<number, Standing>();
  for (const [index, entry] of entries.entries()) {
    const { action, number, standsAt } = entry;
    if (action === 'restored') standings = new Map(kept.get(standsAt ?? -1) ?? standings);
    else if (number !== historyNumber) standings.set(number, stepTo(standings.get(number), entry));
    if (wanted.has(index + 1)) kept.set(index + 1, new Map(standings));
  }
  return standings;
}

function stepTo(before: Standing | undefined, entry: HistoryEntry): Standing {
  const { action, statement = 1 } = entry;
  const applied = before?.applied;
  const kept = applied === undefined ? {} : { applied, since: before?.since ?? applied.seq };
  const { said = [] } = before ?? {};
  const begun = { said: [...Array.from({ length: statement - 1 }, (_, i) => said[i] ?? ''), entry.sql ?? ''] };
  if (action === 'up')
    return { state: 'applied', entry, direction: 'up', statement: 1, applied: entry, since: entry.seq };
  if (action === 'down') return { state: 'pending', entry, direction: 'up', statement: 1 };
  if (action === 'begun up')
    return { state: 'half', entry, direction: 'up', statement, begun: entry, since: entry.seq, ...begun };
  if (action === 'begun down') return { state: 'half', entry, direction: 'down', statement, ...kept, ...begun };
  if (action === 'repaired') return repaired(entry, before);
  // Failed. Of a transaction nothing stands, and what was before it stands on; of another step something may.
  if (before?.state !== 'half') return before ?? { state: 'pending', entry, direction: 'up', statement: 1 };
  if (entry.as !== 'pending') return { ...before, entry, statement };
  if (before.direction === 'down' && applied !== undefined)
    return { state: 'applied', entry: applied, direction: 'down', statement, ...kept };
  return { state: 'pending', entry, direction: 'up', statement, said };
}

function repaired(entry: HistoryEntry, before: Standing | undefined): Standing {
  const { statement = 1 } = entry;
  // Whose checksum is taken anew is applied as long as it was.
  const since = before?.applied === undefined ? entry.seq : (before.since ?? entry.seq);
  if (entry.as === 'applied') return { state: 'applied', entry, direction: 'up', statement, applied: entry, since };
  if (entry.as === 'forgotten') return { state: 'forgotten', entry, direction: 'up', statement: 1 };
  // Cleared away, to be gone on with, in the direction that it had.
  if (entry.as === undefined && before?.direction === 'down' && before.applied !== undefined)
    return { state: 'applied', entry, direction: 'down', statement, applied: before.applied, since };
  const { said = [] } = entry.as === undefined ? (before ?? {}) : {};
  return { state: 'pending', entry, direction: 'up', statement, said };
}

/** Numbers that are applied, the highest first. */
export function appliedNumbers(standings: Standings): readonly number[] {
  const applied = [...standings].filter(([, { state }]) => state === 'applied').map(([number]) => number);
  return applied.sort((a, b) => b - a);
}

export const nextSeq = (entries: readonly HistoryEntry[]): number => (entries.at(-1)?.seq ?? 0) + 1;
