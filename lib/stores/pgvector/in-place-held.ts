import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailable } from '../../errors.ts';
import type { FillLacking } from '../place-port.ts';
import type { Database, Session } from './connect.ts';
import type { PlacedLayout } from './in-place.ts';
import { lockInTries } from './in-place-lock.ts';
import type { ReadPlaced } from './in-place-prepare.ts';
import { fillRows, readLacking } from './in-place-write.ts';
import type { TableName } from './names.ts';

/**
 * The switch of a table that is written all the time: there is no instant in which no row lacks its vector, since the way to the
 * model takes longer than the pause between two writes. So writers wait, for as long as the model takes for the few rows
 * that lack theirs, and readers go on: SHARE ROW EXCLUSIVE (PostgreSQL manual, "Explicit Locking"). Then the rest is done in the
 * same transaction, for which readers wait too, for milliseconds.
 */

/** More rows than these are caught up first, while everybody works. */
const maxRows = 200;
/** Writers wait for the model so long at most. */
const longestFillMs = 1_000;
/** A try of either lock makes others wait for so long; and how often it is tried. */
const waitMs = 100;
const tries = 8;

export interface HeldSwitch {
  readonly database: Database;
  readonly name: TableName;
  readonly readPlaced: ReadPlaced;
  /** What the switch does, once the table is had. */
  readonly statementsOf: (session: Session, layout: PlacedLayout) => Promise<string>;
}

/** @throws StoreUnavailable with ids where too many rows lack their vector, or the model takes too long: nothing was switched. */
export async function switchHeld({ database, name, readPlaced, statementsOf }: HeldSwitch, fill: FillLacking) {
  let filling: Promise<unknown> = Promise.resolve();
  try {
    await database.transact(async (session) => {
      if ((await readPlaced(session)).placed.state !== 'beside') return;
      await lockInTries(session, name, 'SHARE ROW EXCLUSIVE', { waitMs, tries });
      const layout = await readPlaced(session);
      const { batch, next } = await readLacking(session, layout, null, maxRows);
      if (next !== null) throw notYet(`more than ${maxRows} records lack the new vector`, batch.ids);
      if (batch.count > 0) {
        const made = fill(batch);
        filling = made;
        await fillRows(session, layout, await inTime(made, batch.ids));
      }
      const statements = await statementsOf(session, layout);
      await lockInTries(session, name, 'ACCESS EXCLUSIVE', { waitMs, tries });
      await session.run(statements);
    });
  } finally {
    // Nobody waits any more, but a late answer has to be kept before its texts are asked for again: it is paid for.
    await filling.catch(() => undefined);
  }
}

async function inTime<T>(work: Promise<T>, ids: readonly string[]): Promise<T> {
  const stop = new AbortController();
  const late = sleep(longestFillMs, undefined, { signal: stop.signal }).then(() => {
    throw notYet(`the model took longer than ${longestFillMs / 1000} s for ${ids.length} records`, ids);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    stop.abort();
  }
}

function notYet(why: string, ids: readonly string[]): StoreUnavailable {
  return new StoreUnavailable(`${why}, so nothing was switched; they are caught up first`, { ids });
}
