import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from './connect.ts';
import { serverError } from './errors.ts';
import { type PlacedLayout, requireMade } from './in-place.ts';
import type { ReadPlaced } from './in-place-prepare.ts';
import { progressOf, startIndexes, type WantedIndex } from './index.ts';
import { quoteName } from './names.ts';
import { keyList, tableOf } from './read.ts';

/** An index of the rows that lack the run's vector: by it the switch, while nobody else may write, sees at once that there are none. */
export function lackingIndex(layout: PlacedLayout): WantedIndex {
  const { placed } = layout;
  const made = quoteName(requireMade(placed, tableOf(layout)).column.name);
  const name = placed.names.lacking;
  return {
    name,
    sql: `CREATE INDEX CONCURRENTLY IF NOT EXISTS ${quoteName(name)} ON ${tableOf(layout)} (${keyList(layout)}) WHERE ${made} IS NULL`,
    isConcurrent: true,
  };
}

/** A build waits for every transaction that is older; past this the look under the lock has to do without, or gives up. */
const patienceMs = 60_000;

/** Builds it where it is not there: a switch drops it, and one may follow a rollback. */
export async function ensureLackingIndex(database: Database, readPlaced: ReadPlaced): Promise<void> {
  const layout = await database.use(readPlaced);
  if (layout.placed.state !== 'beside') return;
  const wanted = [lackingIndex(layout)];
  const memory = { failure: undefined };
  const until = performance.now() + patienceMs;
  try {
    for (;;) {
      const { done, isStalled = false } = await progressOf(database, layout, wanted, memory);
      if (done || performance.now() > until) return;
      if (isStalled) await startIndexes(database, layout, wanted, memory);
      await sleep(100);
    }
  } catch (error) {
    // Two builds on one table wait for each other, and the server ends one: the other is somebody else's, and goes on.
    if (serverError(error)?.code !== '40P01') throw error;
  }
}
