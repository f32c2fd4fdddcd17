import type { Database, Session } from '../../stores/pgvector/connect.ts';
import { serverError, storeError } from '../../stores/pgvector/errors.ts';
import type { CheckResult } from './result.ts';

/** One look at a database: in a read-only transaction of its own, and no longer than it is given. */

export interface Looking {
  readonly database: Database;
  /** For each check. A check that takes longer is `unchecked`. */
  readonly timeoutMs: number;
}

export const ok = (what: string, detail = ''): CheckResult => ({ what, verdict: 'ok', detail });
export const wrong = (what: string, detail: string): CheckResult => ({ what, verdict: 'wrong', detail });
export const unchecked = (what: string, detail: string): CheckResult => ({ what, verdict: 'unchecked', detail });

/** What could not be looked at is unchecked, with the server's reason. @throws StoreUnavailable when the server is gone */
export async function look(
  { database, timeoutMs }: Looking,
  what: string,
  work: (session: Session) => Promise<readonly CheckResult[]>,
): Promise<readonly CheckResult[]> {
  try {
    return await database.transact(async (session) => {
      await session.run(
        `SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = ${timeoutMs}; SET LOCAL lock_timeout = '5s'`,
      );
      return await work(session);
    });
  } catch (error) {
    const said = serverError(error);
    // 08 and 57P: the connection or the server ends, and what follows cannot be looked at either.
    if (said === undefined || /^(08|57P)/.test(said.code)) throw storeError(error, what);
    if (said.code === '57014')
      return [unchecked(what, `it took longer than ${timeoutMs / 1000} s; give it more with --timeout`)];
    if (said.code === '55P03') return [unchecked(what, 'the table is locked; check again once that has ended')];
    return [unchecked(what, `PostgreSQL refused to look: ${said.message} [${said.code}]`)];
  }
}
