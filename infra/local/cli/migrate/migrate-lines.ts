import type { HistoryEntry, MigrationFile } from '../../../../lib/migrate/port.ts';
import type { Direction, MigrationNews } from '../../../../lib/migrate/runner.ts';

/** Lines for people of `vecferry migrate`. */

const label = (text: string): string => text.padEnd(8);

export function appliedLine({ name, at, by, milliseconds, action }: HistoryEntry): string {
  const how = action === 'repaired' ? ', as somebody said' : `, ${shownTime(milliseconds)}`;
  return `${label('applied')} ${name}  ${at} by ${by}${how}`;
}

export function pendingLine({ name, kind }: MigrationFile): string {
  return `${label('pending')} ${name}${kind === 'collection' ? '  (collection)' : ''}`;
}

export function newsLines(news: MigrationNews): readonly string[] {
  if (news.kind === 'retry') return [`again    ${news.message}`];
  if (news.kind === 'baseline') return [`baseline ${news.name}  noted as applied, and not run`];
  if (news.kind === 'done') {
    const unvalidated = (news.unvalidated ?? []).map((each) => `${label('note')} ${each}`);
    return [`${label('done')} ${news.name}  ${shownTime(news.milliseconds)}`, ...unvalidated];
  }
  return [`${label(news.direction)} ${news.name}`];
}

/** What a step would do, for a dry run. */
export function stepLines({
  name,
  direction,
  lines,
}: {
  name: string;
  direction: Direction;
  lines: readonly string[];
}): readonly string[] {
  return [
    `${label(direction)} ${name}`,
    ...lines.flatMap((line) => line.split('\n')).map((line) => `         ${line}`),
  ];
}

export function shownTime(milliseconds: number): string {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
