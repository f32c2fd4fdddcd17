import { InvalidEvent } from '../../errors.ts';

/** A SQL file's two parts. Each keeps its place: lines before it are blank, so that a line of a part is the file's own. */
export interface SqlParts {
  readonly up: string;
  /** undefined: the file has none, and is taken back by nothing but a backup. */
  readonly down: string | undefined;
}

const marker = /^[ \t]*--[ \t]*migrate:(\S*)[ \t]*(.*?)\s*$/;

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
  lines.forEach((line, index) => {
    const found = marker.exec(line);
    if (found === null) return;
    const at = `${where}:${index + 1}`;
    const [, name = '', rest = ''] = found;
    if ((name !== 'up' && name !== 'down') || rest !== '')
      throw new InvalidEvent(
        `${at}: '${line.trim()}' is no marker; write '-- migrate:up' or '-- migrate:down' and nothing else on the line`,
      );
    if (name === 'up' ? up !== undefined : down !== undefined)
      throw new InvalidEvent(
        `${at}: the file has '-- migrate:${name}' twice; a file has one up part and one down part`,
      );
    if (name === 'down' && up === undefined)
      throw new InvalidEvent(`${at}: '-- migrate:down' comes before '-- migrate:up'; write the up part first`);
    if (name === 'up') up = index;
    else down = index;
  });
  if (up === undefined) return { up: lines.join('\n'), down: undefined };
  const early = lines.slice(0, up).findIndex((line) => line.trim() !== '' && !line.trim().startsWith('--'));
  if (early >= 0)
    throw new InvalidEvent(`${where}:${early + 1}: SQL before '-- migrate:up' would not run; put it below that line`);
  const from = (start: number, end: number | undefined): string =>
    '\n'.repeat(start + 1) + lines.slice(start + 1, end).join('\n');
  return { up: from(up, down), down: down === undefined ? undefined : from(down, undefined) };
}
