/** A moment by two clocks: the wall's may be set back, the steady one stands still while a machine sleeps or a Lambda is frozen. */
export interface Instant {
  readonly wallMs: number;
  readonly steadyMs: number;
}

export type Clock = () => Instant;

export const systemClock: Clock = () => ({ wallMs: Date.now(), steadyMs: performance.now() });

/** The longer of both: what must not be older than a bound is not. */
export function ageMs(then: Instant, now: Instant): number {
  return Math.max(now.wallMs - then.wallMs, now.steadyMs - then.steadyMs);
}
