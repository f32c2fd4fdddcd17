import { setTimeout as sleep } from 'node:timers/promises';

/** Longer than anything takes on a machine that is ten times as slow, and below the limits of tests, which do not say what was waited for. */
const longestMs = 150_000;

/**
 * Waits until something is so, which is looked at every few milliseconds.
 * @param what is waited for, or what tells it once it has not come: `a refused write`
 * @param ended why it cannot come any more, where that is so already
 * @throws Error when it can come no more, or has not come after two minutes and a half
 */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  what: string | (() => string),
  ended: () => string | undefined = () => undefined,
): Promise<void> {
  const tell = (why: string): Error => new Error(`${typeof what === 'string' ? what : what()}: ${why}`);
  for (const from = performance.now(); ; await sleep(2)) {
    // Looked at before what is awaited: it may have come at the very last.
    const why = ended();
    if (await isTrue()) return;
    if (why !== undefined) throw tell(why);
    if (performance.now() - from > longestMs) throw tell(`it has not come after ${longestMs / 1000} s`);
  }
}
