import { StoreUnavailable } from '../errors.ts';

/**
 * Turns of the event loop that an answer has still when its time is over. Where the process itself stood still (a frozen
 * Lambda, a busy machine), the answer may be here unread: Node runs the timers that are due before it reads sockets. Two,
 * since a client may take more than one turn from the socket to the answer.
 */
const lastTurns = 2;

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
  let turn: NodeJS.Immediate | undefined;
  const late = new Promise<never>((_, reject) => {
    const giveUp = (turns: number): void => {
      if (turns === 0) {
        reject(
          new StoreUnavailable(`${what} has not answered within ${ms} ms; see whether it is up, or raise the timeout`),
        );
        return;
      }
      turn = setImmediate(() => giveUp(turns - 1));
      if (kind === 'background') turn.unref();
    };
    timer = setTimeout(() => giveUp(lastTurns), ms);
    if (kind === 'background') timer.unref();
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    clearImmediate(turn);
  }
}
