import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailable } from '../../errors.ts';
import type { Database, Session } from './connect.ts';
import { serverError } from './errors.ts';
import { quoteTable, quoteText, type TableName } from './names.ts';

/**
 * ACCESS EXCLUSIVE on a table that applications use. Whoever waits for it makes everybody wait behind it, so it is waited
 * for only briefly, and again and again: a long transaction delays us, and each of our tries delays the application by no
 * more than `waitMs`. PostgreSQL manual, "Explicit Locking".
 */

export interface LockPatience {
  /** A try makes others wait for so long. */
  readonly waitMs: number;
  /** After that it is given up, and tried anew when the state is. */
  readonly totalMs: number;
}

const patience: LockPatience = { waitMs: 100, totalMs: 120_000 };
/** Tries before the transaction is begun anew: what it holds keeps vacuum from the table. */
const triesATransaction = 8;
/** Longer than deadlock_timeout, after which the server ends an autovacuum that is in the way. */
const quietWait = '3s';
/** Of what is done while nobody else may read or write. */
const longest = '2s';

/**
 * Runs the statements in a transaction that has the table to itself. They go to the server in one message with the lock and the
 * commit, so that nobody waits for the way between it and us. What they need to know they ask there: `onlyWhere`.
 * @throws StoreUnavailable naming who holds the table, when it cannot be had in time.
 */
export async function withTableLocked(
  database: Database,
  name: TableName,
  statements: string,
  { waitMs, totalMs }: LockPatience = patience,
): Promise<void> {
  const until = performance.now() + totalMs;
  for (;;) {
    try {
      return await database.transact(async (session) => await lockAndRun(session, name, statements, waitMs));
    } catch (error) {
      if (!isLocked(error)) throw error;
      if (performance.now() > until) throw await heldBy(database, name, error);
      await sleep(200 + Math.random() * 300);
    }
  }
}

/** Statements that run where a condition holds by then. */
export const onlyWhere = (condition: string, statements: string): string =>
  `DO $vecferry$ BEGIN IF ${condition} THEN ${statements}; END IF; END $vecferry$`;

/** A column of that name is there. */
export const hasColumn = (oid: string, name: string): string =>
  `EXISTS (SELECT FROM pg_attribute WHERE attrelid = ${oid} AND attname = ${quoteText(name)} AND NOT attisdropped)`;

/**
 * First the lock that readers and writers do not conflict with and autovacuum and other changes of the table do: it may be
 * waited for, and ends an autovacuum, which a short wait never would. Then the other, in short tries.
 */
async function lockAndRun(session: Session, name: TableName, statements: string, waitMs: number): Promise<void> {
  const table = quoteTable(name);
  await session.run(`SET LOCAL lock_timeout = '${quietWait}'; LOCK TABLE ${table} IN SHARE UPDATE EXCLUSIVE MODE`);
  for (let tried = 1; ; tried++) {
    await session.run(
      `SAVEPOINT before_lock; SET LOCAL lock_timeout = ${waitMs}; SET LOCAL statement_timeout = '${longest}'`,
    );
    try {
      return await session.run(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE; ${statements}; COMMIT`);
    } catch (error) {
      if (!isLocked(error) || tried >= triesATransaction) throw error;
      await session.run('ROLLBACK TO SAVEPOINT before_lock');
      await sleep(100 + Math.random() * 200);
    }
  }
}

/**
 * One lock in the transaction of `session`, in tries of `waitMs` with pauses between, in which others go on.
 * @throws StoreUnavailable after so many tries
 */
export async function lockInTries(
  session: Session,
  name: TableName,
  mode: string,
  { waitMs, tries }: { readonly waitMs: number; readonly tries: number },
): Promise<void> {
  const table = quoteTable(name);
  for (let tried = 1; ; tried++) {
    await session.run(`SAVEPOINT before_lock; SET LOCAL lock_timeout = ${waitMs}`);
    try {
      return await session.run(`LOCK TABLE ${table} IN ${mode} MODE`);
    } catch (error) {
      if (!isLocked(error)) throw error;
      const text = `table ${table} could not be had for the switch, since others hold it all the time`;
      if (tried >= tries) throw new StoreUnavailable(`${text}; nothing was changed`, { cause: error, ids: [table] });
      await session.run('ROLLBACK TO SAVEPOINT before_lock');
      await sleep(50 + Math.random() * 100);
    }
  }
}

/** lock_not_available, and a deadlock that was ended in favour of somebody else. */
function isLocked(error: unknown): boolean {
  const code = serverError(error)?.code;
  return code === '55P03' || code === '40P01';
}

async function heldBy(database: Database, name: TableName, cause: unknown): Promise<StoreUnavailable> {
  const rows = await database.use(
    async (session) =>
      await session.rows(
        `SELECT a.pid::text AS pid, round(extract(epoch FROM now() - a.xact_start))::text AS seconds, left(a.query, 80)::text AS query
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.relation = to_regclass($1::text) AND l.granted AND l.pid <> pg_backend_pid()
         GROUP BY a.pid, a.xact_start, a.query ORDER BY a.xact_start LIMIT 3`,
        [quoteTable(name)],
      ),
  );
  const holders = rows.map(({ pid, seconds, query }) => `process ${pid}, in a transaction for ${seconds} s: ${query}`);
  const who = holders.length === 0 ? 'transactions that have ended since' : holders.join('; ');
  const text = `table ${quoteTable(name)} could not be had for an instant, since others hold it all the time (${who})`;
  return new StoreUnavailable(`${text}; nothing was changed: end them, or do it again later`, { cause });
}
