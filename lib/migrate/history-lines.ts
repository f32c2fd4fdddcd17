import { createHash } from 'node:crypto';
import type { History, HistoryEntry } from './port.ts';
import { historyNumber } from './standing.ts';

/** What both kinds of history have in common: lines, each tied to all before it. */

export interface KeptHistory extends History {
  /** Lines that are not as they were written. */
  faults(): Promise<readonly string[]>;
  /** Who else has the lock just now; undefined: nobody. Only PostgreSQL has steps that others may find half done. */
  holder?(): Promise<string | undefined>;
  /** For people: where it is. */
  readonly where: string;
}

export interface Line {
  readonly entry: HistoryEntry;
  readonly chain: string;
}

/** Ties a line to all before it: one that was changed by hand, or taken out, is seen. */
export function chainOf(before: string, entry: HistoryEntry): string {
  const { seq, number, name, checksum, action, at, by, milliseconds, rollback, detail, kind, as, statement } = entry;
  const { sql, standsAt } = entry;
  const fields = [
    seq,
    number,
    name,
    checksum,
    action,
    at,
    by,
    milliseconds,
    rollback,
    detail,
    kind,
    as,
    statement,
    sql,
    standsAt,
  ];
  const text = JSON.stringify(fields.map((field) => field ?? null));
  return createHash('sha256').update(before).update(text).digest('hex');
}

/** A sentence for each line that is not as it was written. @param where the history, for people */
export function faultsOf(lines: readonly Line[], where: string): readonly string[] {
  let before = '';
  let accepted = 0;
  const faults = lines.flatMap(({ entry, chain }, index) => {
    const isRight = entry.seq === index + 1 && chain === chainOf(before, entry);
    before = chain;
    // Whoever has looked at the history and says that it is right, says so of every line before.
    if (entry.action === 'repaired' && entry.number === historyNumber) accepted = entry.seq;
    return isRight ? [] : [entry.seq];
  });
  return faults
    .filter((seq) => seq > accepted)
    .map(
      (seq) =>
        `line ${seq} of the history, ${where}, is not as it was written: it was changed, or one before it was taken out`,
    );
}
