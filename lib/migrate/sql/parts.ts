import { InvalidEvent } from '../../errors.ts';

/** A SQL file's two parts. Each keeps its place: lines before it are blank, so that a line of a part is the file's own. */
export interface SqlParts {
  readonly up: string;
  /** undefined: the file has none, or says `-- migrate:down irreversible`: it is taken back by nothing but a backup. */
  readonly down: string | undefined;
  /** False: a mark is left out. The linter reads such a file, and `up` refuses it. */
  readonly isWhole: boolean;
}

const irreversible = 'irreversible';

const marker = /^[ \t]*--[ \t]*migrate:(\S*)[ \t]*(.*?)\s*$/;

const isSql = (line: string): boolean => line.trim() !== '' && !line.trim().startsWith('--');

/**
 * Cuts a SQL file at its lines `-- migrate:up` and `-- migrate:down`, as dbmate writes them. A file without them is all up.
 *
 * @throws InvalidEvent naming file and line: a marker of another name or twice, down before up, SQL before up.
 */
export function sqlParts(text: string, where: string): SqlParts {
  // A byte order mark is no SQL before the first marker.
  const lines = (text.startsWith('\uFEFF') ? text.slice(1) : text).split('\n');
  let up: number | undefined;
  let down: number | undefined;
  /** Of the mark that says that there is no way back. */
  let end: number | undefined;
  lines.forEach((line, index) => {
    const found = marker.exec(line);
    if (found === null) return;
    const at = `${where}:${index + 1}`;
    const [, name = '', rest = ''] = found;
    const isIrreversible = name === 'down' && rest === irreversible;
    if ((name !== 'up' && name !== 'down') || (rest !== '' && !isIrreversible))
      throw new InvalidEvent(
        `${at}: '${line.trim()}' is no marker; write '-- migrate:up', '-- migrate:down' or '-- migrate:down ${irreversible}' and nothing else on the line`,
      );
    if (name === 'up' ? up !== undefined : down !== undefined)
      throw new InvalidEvent(
        `${at}: the file has '-- migrate:${name}' twice; a file has one up part and one down part`,
      );
    if (name === 'down' && up === undefined)
      throw new InvalidEvent(`${at}: '-- migrate:down' comes before '-- migrate:up'; write the up part first`);
    if (name === 'up') up = index;
    else down = index;
    if (isIrreversible) end = index;
  });
  if (up === undefined) return { up: lines.join('\n'), down: undefined, isWhole: false };
  const early = lines.slice(0, up).findIndex(isSql);
  if (early >= 0)
    throw new InvalidEvent(`${where}:${early + 1}: SQL before '-- migrate:up' would not run; put it below that line`);
  const from = (start: number, end: number | undefined): string =>
    '\n'.repeat(start + 1) + lines.slice(start + 1, end).join('\n');
  const after = end === undefined ? -1 : lines.slice(end + 1).findIndex(isSql);
  if (end !== undefined && after >= 0)
    throw new InvalidEvent(
      `${where}:${end + after + 2}: SQL after '-- migrate:down ${irreversible}'; take out one of the two`,
    );
  const isWhole = down !== undefined;
  return {
    up: from(up, down),
    down: down === undefined || end !== undefined ? undefined : from(down, undefined),
    isWhole,
  };
}
