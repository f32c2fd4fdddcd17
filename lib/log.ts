/** Where the domain says what happens. Powertools' logger fits it as it is; on one machine the command line brings its own. */
export interface Log {
  info(message: string, fields: Record<string, unknown>): void;
  warn(message: string, fields: Record<string, unknown>): void;
}

/** Time left before the caller is stopped. On Lambda it is `getRemainingTimeInMillis`; with room to spare it never ends. */
export interface Deadline {
  remainingMs(): number;
}

/** Milliseconds a function keeps back to hand over its cursor: a batch in flight may still need its retries. */
export const handOverMs = 30_000;

export function isNear(deadline: Deadline): boolean {
  return deadline.remainingMs() < handOverMs;
}
