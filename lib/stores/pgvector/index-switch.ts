import { setTimeout as sleep } from 'node:timers/promises';
import { Incompatible, StoreUnavailable } from '../../errors.ts';
import { indexStands } from '../place-stands.ts';
import type { Dropping, Pointer } from '../port.ts';
import type { Layout } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { serverError } from './errors.ts';
import { indexName } from './index.ts';
import {
  backupName,
  type Indexed,
  type IndexedLayout,
  isMark,
  isOfAnotherRun,
  newMark,
  type OwnIndex,
} from './index-side.ts';
import { quoteName, quoteText } from './names.ts';
import { tableOf } from './read.ts';

/**
 * The cutover gives the run's index the name of the old one, and the old one another, in one transaction; the old one is dropped when
 * the run is retired. A rollback gives the names back and drops the run's index, which can be built again: as long as both are
 * there the planner may use either.
 */

interface Switching {
  readonly database: Database;
  readonly readIndexed: (session: Session) => Promise<IndexedLayout>;
}

export function swapPointer(
  input: Switching,
  guard: <T>(doing: string, work: () => Promise<T>) => Promise<T>,
  onMoved: () => void,
): Pointer {
  const look = async (): Promise<IndexedLayout> => await input.database.use(input.readIndexed);
  return {
    read: async () =>
      await guard('looking at the indexes of', async () => {
        const { indexed } = await look();
        // Said before a move is logged that could not be made.
        refuseWhileAnother(indexed);
        if (indexed.state === 'switched') return indexStands.made(indexed.side.run);
        if (indexed.state === 'absent') throw notThere(indexed);
        return indexStands.old;
      }),
    move: async (_, to) =>
      await guard('switching the indexes of', async () => {
        const { indexed } = await look();
        const isForward = to === indexStands.made(indexed.side.run);
        await (isForward ? advance(input) : takeBack(input));
        onMoved();
      }),
  };
}

function notThere({ side, field, madeName }: Indexed): Incompatible {
  const text = `the index of run '${side.run}' on vector '${field.name}' is not there: it was taken back, dropped, or never built`;
  return new Incompatible(`${text}; start the run again under its id, which builds and validates it`, {
    ids: [madeName],
  });
}

/**
 * The run's index, which had none before it, is what a later run replaces: dropped now it would take that run's way back, and leave
 * searches to an index that may not be validated. @throws Incompatible
 */
function refuseWhileAnother({ state, made, others, madeName }: Indexed): void {
  if (state !== 'switched') return;
  const all = [...(made === undefined ? [] : [made]), ...others].filter((each) => isOfAnotherRun(each, madeName));
  if (all.length === 0) return;
  const names = all.map(({ name }) => `'${name}'`).join(', ');
  const text = `another run has begun since to replace this one's index, or has done so (${names})`;
  throw new Incompatible(
    `${text}; take that run back first, or retire it: vecferry rollback RUN, vecferry retire RUN`,
    {
      ids: [madeName],
    },
  );
}

async function advance({ database, readIndexed }: Switching): Promise<void> {
  await inTries(database, async (session) => {
    const layout = await readIndexed(session);
    const { state, made, old } = layout.indexed;
    if (state === 'switched') return;
    if (made === undefined) throw notThere(layout.indexed);
    if (!made.isValid) {
      const text = `index '${made.name}' is not valid: its build goes on, or has failed`;
      throw new Incompatible(`${text}; start the run again under its id`, { ids: [made.name] });
    }
    await session.run(advanceSql(layout, made, old));
  });
}

function advanceSql(layout: IndexedLayout, made: OwnIndex, old: OwnIndex | undefined): string {
  const { indexed, table } = layout;
  if (old === undefined) {
    const name = indexName(table, indexed.field.column.name, made.method);
    return `${rename(layout, made.name, name)}; ${comment(layout, name, newMark(indexed))}`;
  }
  const words = old.comment === null || isMark(old.comment) ? [] : [comment(layout, old.name, old.comment)];
  return [
    rename(layout, old.name, backupName(old.name, indexed.madeName)),
    rename(layout, made.name, old.name),
    ...words,
  ].join('; ');
}

async function takeBack({ database, readIndexed }: Switching): Promise<void> {
  await inTries(database, async (session) => {
    const layout = await readIndexed(session);
    const { state, made, old, madeName } = layout.indexed;
    refuseWhileAnother(layout.indexed);
    if (state !== 'switched' || made === undefined) return;
    const names = old === undefined ? [] : [rename(layout, old.name, made.name)];
    await session.run([rename(layout, made.name, madeName), ...names].join('; '));
  });
  const layout = await database.use(readIndexed);
  await dropIndex(database, layout, layout.indexed.madeName);
}

const nameOf = ({ schema }: Layout, name: string): string => `${quoteName(schema)}.${quoteName(name)}`;
const rename = (layout: Layout, from: string, to: string): string =>
  `ALTER INDEX ${nameOf(layout, from)} RENAME TO ${quoteName(to)}`;
const comment = (layout: Layout, name: string, words: string): string =>
  `COMMENT ON INDEX ${nameOf(layout, name)} IS ${quoteText(words)}`;

/**
 * ALTER INDEX … RENAME needs SHARE UPDATE EXCLUSIVE on the index, which neither readers nor writers wait for; other changes of it
 * do. PostgreSQL manual, "Explicit Locking". So it is waited for in short tries.
 */
const swapWait = '500ms';
const swapTries = 120;

async function inTries(database: Database, work: (session: Session) => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return await database.transact(async (session) => {
        await session.run(`SET LOCAL lock_timeout = '${swapWait}'`);
        await work(session);
      });
    } catch (error) {
      const code = serverError(error)?.code;
      // A lock, a deadlock, and a name that somebody else has just changed.
      if (!['55P03', '40P01', '42704', '42P01', '42P07'].includes(code ?? '')) throw error;
      if (tried >= swapTries) {
        const text = 'the indexes could not be had for the switch, since others change or vacuum them all the time';
        throw new StoreUnavailable(`${text}; nothing was changed: do it again later`, { cause: error });
      }
      await sleep(100 + Math.random() * 200);
    }
  }
}

/** A build of that name is ended first: it would go on in the server. */
async function dropIndex(database: Database, layout: Layout, name: string): Promise<void> {
  if (!database.embedded) {
    await database.use(
      async (session) =>
        await session.rows(
          `SELECT pg_cancel_backend(pid)::text AS ended FROM pg_stat_activity
           WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
             AND query ~ '^CREATE INDEX ' AND strpos(query, ${quoteText(` ${quoteName(name)} ON ${tableOf(layout)} `)}) > 0`,
        ),
    );
  }
  const concurrently = database.embedded ? '' : 'CONCURRENTLY ';
  const statement = `DROP INDEX ${concurrently}IF EXISTS ${nameOf(layout, name)}`;
  for (let tried = 1; ; tried++) {
    try {
      return await database.use(async (session) => await session.run(statement));
    } catch (error) {
      const code = serverError(error)?.code;
      if (code === '40P01' && tried < 5) continue;
      // query_canceled, lock_not_available: it waits for every transaction that may still use the index.
      if (code !== '57014' && code !== '55P03') throw error;
      const text = `index '${name}' is not dropped yet, since ${await oldest(database)}`;
      throw new StoreUnavailable(`${text}; end it, or do the same again later, which goes on`, { cause: error });
    }
  }
}

async function oldest(database: Database): Promise<string> {
  const [row] = await database.use(
    async (session) =>
      await session.rows(
        `SELECT pid::text AS pid, state::text AS state, round(extract(epoch FROM now() - xact_start))::text AS seconds
         FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
         ORDER BY xact_start LIMIT 1`,
      ),
  );
  if (row === undefined) return 'transactions that have ended since were waited for';
  return `process ${row['pid']} (${row['state']}) has been in a transaction for ${row['seconds']} s`;
}

/** Drops the old index. */
export async function dropOld(
  { database, readIndexed }: Switching,
  { dryRun }: { readonly dryRun: boolean },
): Promise<Dropping> {
  const layout = await database.use(readIndexed);
  const { state, old, made, madeName } = layout.indexed;
  if (state === 'beside') {
    const text = `nothing of table ${tableOf(layout)} was dropped: the old index is the one that has its name`;
    throw new Incompatible(text, { ids: [madeName] });
  }
  const name = state === 'switched' && old !== undefined ? old.name : backupName((made ?? old)?.name ?? '', madeName);
  const what = `index ${nameOf(layout, name)} of table ${tableOf(layout)}`;
  if (state === 'absent' || old === undefined) return { name, what, isThere: false };
  if (!dryRun) await dropIndex(database, layout, name);
  return { name, what, isThere: true, bytes: old.bytes };
}
