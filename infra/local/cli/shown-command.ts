/** Where a run is: what its commands need besides its id. */
export interface Place {
  readonly directory: string;
  /** The deployed stack's name; undefined on this machine. */
  readonly stack?: string | undefined;
}

/** Where the command line keeps runs unless it is told otherwise. */
export const usualDirectory = '.vecferry';

/** A command as somebody has to type it: `vecferry --dir runs approve r1`, `vecferry approve r1 --stack Vecferry`. */
export function shownCommand({ directory, stack }: Place, command: string): string {
  if (stack !== undefined) return `vecferry ${command} --stack ${quoted(stack)}`;
  return directory === usualDirectory ? `vecferry ${command}` : `vecferry --dir ${quoted(directory)} ${command}`;
}

/** As a shell takes it. */
export function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
