import { errorNames, VecferryError } from '../../../lib/errors.ts';
import { StateFailure } from '../limits.ts';

/** What the command line's exit code says. Part of its interface, like the JSON lines: docs and scripts rely on it. */
export const exitCodes = {
  /** The command did what it says. */
  ok: 0,
  /** A defect, or something nobody thought of. */
  unexpected: 1,
  /** The event, the run's name or an argument is wrong, or names what is not there. */
  usage: 2,
  /** The plan refuses: what the source has does not fit, the target holds records, the run is another one or under way. */
  refused: 3,
  /** The run failed after its plan; the same command goes on where it stopped. */
  failed: 4,
  /** Everything was moved, and the target is not as it should be; nothing was cut over. */
  validation: 5,
  /** Everything is as it should be, and readers were not moved, or were taken back: nobody approved, or a bound was breached. */
  readers: 6,
  /** Stopped by Ctrl-C; the same command goes on. */
  interrupted: 130,
} as const;

const byName: Readonly<Record<string, number>> = {
  [errorNames.invalidEvent]: exitCodes.usage,
  [errorNames.notFound]: exitCodes.usage,
  [errorNames.incompatible]: exitCodes.refused,
  [errorNames.targetNotEmpty]: exitCodes.refused,
  [errorNames.runMismatch]: exitCodes.refused,
  [errorNames.unsupportedFormat]: exitCodes.refused,
  [errorNames.validationFailed]: exitCodes.validation,
  [errorNames.takenBack]: exitCodes.readers,
};

/** A failure as people see it: the error's name, one message, the exit code. */
export interface Failure {
  readonly error: string;
  readonly message: string;
  readonly exitCode: number;
}

/** From an execution's or a function's error and cause, which may hold Lambda's JSON. */
export function failureOf(error: string, cause: string): Failure {
  const message = messageIn(cause);
  const mend = placeTroubles[/^E[A-Z]+(?=: )/.exec(message)?.[0] ?? ''];
  const said = mend === undefined ? message : `${message}; ${mend}`;
  return { error, message: said, exitCode: byName[error] ?? exitCodes.failed };
}

const elsewhere = 'name a directory that can be written to with --dir';
/** What is wrong with where runs are kept, rather than with us, by the system's code. */
const placeTroubles: Readonly<Record<string, string>> = {
  EACCES: elsewhere,
  EPERM: elsewhere,
  EROFS: elsewhere,
  ENOTDIR: elsewhere,
  ENOSPC: 'make room and start this again, or name another directory with --dir',
};

/** From anything thrown in this process. */
export function failureFrom(thrown: unknown): Failure {
  if (thrown instanceof StateFailure) return failureOf(thrown.name, thrown.message);
  if (thrown instanceof VecferryError) return failureOf(thrown.name, thrown.message);
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const mend = 'code' in error ? placeTroubles[String(error.code)] : undefined;
  if (mend !== undefined) return { error: error.name, message: `${error.message}; ${mend}`, exitCode: exitCodes.usage };
  const message = `${error.message} (${error.name}; this should not happen: --verbose shows where it came from)`;
  return { error: error.name, message, exitCode: exitCodes.unexpected };
}

function messageIn(cause: string): string {
  try {
    const parsed: unknown = JSON.parse(cause);
    const isTyped = typeof parsed === 'object' && parsed !== null && 'errorMessage' in parsed;
    return isTyped ? String(parsed.errorMessage) : cause;
  } catch {
    return cause;
  }
}
