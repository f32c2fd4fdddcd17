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

/**
 * The end of the history, kept apart from its lines: the chain ties a line to those before it, so lines that are cut off at the end leave
 * a whole chain, which this alone tells from the whole history.
 */
export interface Head {
  /** Of the last line; 0: there is none yet. */
  readonly seq: number;
  readonly chain: string;
}

/**
 * What the next line is tied to: the last line that was ever written, also where it is not there any more. So a line that is written after
 * a cut does not hide it.
 */
export const endOf = (last: Head | undefined, head: Head | undefined): string =>
  (head !== undefined && head.seq > (last?.seq ?? 0) ? head.chain : last?.chain) ?? '';

/** True for the line by which a person holds the history for right as it stands. */
export const isAcceptance = ({ action, number }: HistoryEntry): boolean =>
  action === 'repaired' && number === historyNumber;

export interface FaultsInput {
  readonly lines: readonly Line[];
  /** Of the same moment as the lines, or before it; undefined: it was taken away, its lines are older than heads, or nothing was ever written. */
  readonly head: Head | undefined;
  /** True: a line and the head are written as one, so that no line comes after it. */
  readonly isExact: boolean;
  /** The history, for people. */
  readonly where: string;
}

/** A sentence for each line that is not as it was written, and for an end that is not the end. */
export function faultsOf(input: FaultsInput): readonly string[] {
  const { lines, where } = input;
  let before = '';
  let accepted = 0;
  const faults = lines.flatMap(({ entry, chain }, index) => {
    const isRight = entry.seq === index + 1 && chain === chainOf(before, entry);
    before = chain;
    // Whoever has looked at the history and says that it is right, says so of every line before.
    if (isAcceptance(entry)) accepted = entry.seq;
    return isRight ? [] : [entry.seq];
  });
  const changed = faults
    .filter((seq) => seq > accepted)
    .map(
      (seq) =>
        `line ${seq} of the history, ${where}, is not as it was written: it was changed, or one before it was taken out`,
    );
  return [...changed, ...endFaults(input)];
}

function endFaults({ lines, head, isExact, where }: FaultsInput): readonly string[] {
  const last = lines.at(-1)?.entry.seq ?? 0;
  if (head === undefined)
    return last === 0
      ? []
      : [
          `the end of the history, ${where}, is not known: what keeps it was taken away, or a vecferry that kept none wrote the lines`,
        ];
  if (last < head.seq) {
    const gone = head.seq - last === 1 ? `line ${head.seq} was` : `lines ${last + 1} to ${head.seq} were`;
    return [`the history, ${where}, ends with line ${last}, and ${gone} written after it: it was cut off`];
  }
  if (isExact && last > head.seq)
    return [`line ${last} of the history, ${where}, was not written by vecferry: its end is line ${head.seq}`];
  const there = head.seq === 0 ? '' : lines.find(({ entry }) => entry.seq === head.seq)?.chain;
  return there === head.chain
    ? []
    : [`line ${head.seq} of the history, ${where}, is another one than was written: the end was cut off and replaced`];
}
