import { StoreUnavailable } from '../errors.ts';

/**
 * What `work` gives, or StoreUnavailable when it has not come after `ms`. The work itself goes on: nothing here can stop it.
 * @param what begins the sentence: `qdrant:words`
 * @param kind background: nobody waits for it, so it keeps no process from ending
 */
export async function withTimeout<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  kind: 'awaited' | 'background' = 'awaited',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new StoreUnavailable(`${what} has not answered within ${ms} ms; see whether it is up, or raise the timeout`),
      );
    }, ms);
    if (kind === 'background') timer.unref();
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
