import { isSame } from './same.ts';
import type { ClientSide, Identified } from './side.ts';
import { withTimeout } from './timeout.ts';

/**
 * The look after a write: does the source still hold what was written? If it does not, another process wrote meanwhile, and
 * either may have touched the target last. Then the id is noted for repair.
 */
export interface Checks<R extends Identified> {
  add(check: Check<R>): void;
  /** Ids that are still to be looked at. */
  readonly waiting: number;
  /** Waits until those there are have been looked at. */
  flush(): Promise<void>;
}

export interface Check<R extends Identified> {
  readonly ids: readonly string[];
  /** What was written; of a delete nothing. */
  readonly written: readonly R[];
  readonly place: string;
  readonly side: Pick<ClientSide<R, never, Identified>, 'fetch'>;
  /** Called once the ids were looked at, or noted. */
  readonly release: () => void;
}

export interface ChecksOptions<R extends Identified> {
  readonly same: ((written: R, held: R) => boolean) | undefined;
  readonly timeoutMs: number;
  /** Puts ids among the repairs. Never fails: it reports what it cannot keep. */
  readonly note: (ids: readonly string[], place: string) => Promise<void>;
}

/** Ids in one read of the source. */
const idsPerRead = 1000;
/** Ids whose written records are kept to be looked at; beyond that they are mended without a look, which costs no memory. */
const maxWaiting = 5000;

export function makeChecks<R extends Identified>({ same = isSame, timeoutMs, note }: ChecksOptions<R>): Checks<R> {
  let queue: Check<R>[] = [];
  let waiting = 0;
  let working: Promise<void> | undefined;

  const look = async (checks: readonly Check<R>[]): Promise<void> => {
    const [first] = checks;
    if (first === undefined) return;
    const { side, place } = first;
    const ids = [...new Set(checks.flatMap((check) => check.ids))];
    try {
      const held = new Map<string, R>();
      for (let at = 0; at < ids.length; at += idsPerRead) {
        const read = side.fetch(ids.slice(at, at + idsPerRead));
        for (const record of await withTimeout(read, timeoutMs, `the look at ${place}`, 'background'))
          held.set(record.id, record);
      }
      const changed = checks.flatMap((check) => changedOf(check, held, same));
      if (changed.length > 0) await note([...new Set(changed)], place);
    } catch {
      // Not known is as good as changed.
      await note(ids, place);
    }
  };
  const work = async (): Promise<void> => {
    while (queue.length > 0) {
      // Writes that end together are looked at together.
      await new Promise((resolve) => setImmediate(resolve));
      const checks = takeSome(queue);
      queue = queue.slice(checks.length);
      try {
        await look(checks);
      } finally {
        for (const { ids, release } of checks) {
          waiting -= ids.length;
          release();
        }
      }
    }
  };
  const start = (): Promise<void> => {
    working ??= work().finally(() => {
      working = undefined;
    });
    return working;
  };
  return {
    add: (check) => {
      if (waiting + check.ids.length > maxWaiting) {
        void note(check.ids, check.place).finally(check.release);
        return;
      }
      waiting += check.ids.length;
      queue.push(check);
      void start();
    },
    get waiting() {
      return waiting;
    },
    flush: async () => {
      if (queue.length > 0 || working !== undefined) await start();
    },
  };
}

/** The first checks of one place, up to as many ids as one read takes. */
function takeSome<R extends Identified>(queue: readonly Check<R>[]): readonly Check<R>[] {
  const taken: Check<R>[] = [];
  let ids = 0;
  for (const check of queue) {
    if (taken.length > 0 && (check.side !== taken[0]?.side || ids + check.ids.length > idsPerRead)) break;
    taken.push(check);
    ids += check.ids.length;
  }
  return taken;
}

function changedOf<R extends Identified>(
  { ids, written }: Check<R>,
  held: ReadonlyMap<string, R>,
  same: (written: R, held: R) => boolean,
): readonly string[] {
  const wanted = new Map(written.map((record) => [record.id, record]));
  return ids.filter((id) => {
    const [record, found] = [wanted.get(id), held.get(id)];
    return record === undefined || found === undefined ? record !== found : !same(record, found);
  });
}
