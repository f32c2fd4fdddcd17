/** Writes of one id in this process, or through one handle, go one after the other, in the order in which they were asked for. */
export interface Locks {
  run<T>(ids: readonly string[], work: () => Promise<T>): Promise<T>;
}

/** All ids of a call are queued up for at once, so two calls never wait for each other. */
export function makeLocks(): Locks {
  const tails = new Map<string, Promise<unknown>>();
  return {
    run: async (ids, work) => {
      const before = new Set(ids.flatMap((id) => tails.get(id) ?? []));
      const turn = (async () => {
        await Promise.all(before);
        return await work();
      })();
      const ended = turn.catch(() => {});
      for (const id of ids) tails.set(id, ended);
      try {
        return await turn;
      } finally {
        for (const id of ids) if (tails.get(id) === ended) tails.delete(id);
      }
    },
  };
}
