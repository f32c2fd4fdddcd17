import { AccessDenied, Incompatible, RecordRefused, StoreUnavailable, Throttled, VecferryError } from '../errors.ts';
import { serverError } from '../stores/pgvector/errors.ts';
import type { SqlStatement } from './sql/split.ts';

/** PostgreSQL's error of a statement, with the place in the file: what it says, where, and what it advises. */

/** 55P03: lock_timeout. 40P01, 40001: the server ended us in favour of another. A transaction that was rolled back is begun again. */
const passing: readonly string[] = ['55P03', '40P01', '40001'];
export const isPassing = (error: unknown): boolean => passing.includes(serverError(error)?.code ?? '');

export const isLockTimeout = (error: unknown): boolean => serverError(error)?.code === '55P03';

/** 25006: a standby, or a role or database that is set so. */
export const readOnlyAdvice =
  'this server, role or database takes no writes: put the address of the primary into the secret, or look at default_transaction_read_only and at what the file sets';

/**
 * @param statement undefined: of the transaction's end, where deferred constraints are checked
 * @param others who may hold the lock that was waited for; the empty text: nobody is known
 */
export function sqlError(error: unknown, path: string, statement: SqlStatement | undefined, others = ''): Error {
  if (error instanceof VecferryError) return error;
  const place = statement === undefined ? `${path}, at COMMIT` : `${path}, line ${lineWithin(statement, error)}`;
  const shown = statement === undefined ? '' : ` (in: ${firstLine(statement.text)})`;
  const server = serverError(error);
  if (server === undefined) {
    const message = error instanceof Error ? error.message : String(error);
    const text = `${place}: the connection to PostgreSQL broke: ${message}${shown}`;
    return new StoreUnavailable(text, { cause: error });
  }
  const more = ['detail', 'hint', 'where'].flatMap((name) => {
    const value: unknown = Reflect.get(Object(error), name);
    return typeof value === 'string' && value !== '' ? [`${name}: ${value.split('\n')[0]}`] : [];
  });
  const text = `${place}: ${[server.message, ...more].join('; ')} [${server.code}]${shown}`;
  const { code } = server;
  if (code === '55P03') {
    const how = 'others hold the table; try at a quieter time, end who holds it, or give it longer with --lock-timeout';
    const who = others === '' ? '' : `. Transactions that are open now, the oldest first: ${others}`;
    return new Throttled(`${text}; ${how}${who}`, { cause: error });
  }
  // query_canceled: nothing is wrong with the statement, so the same command may go on.
  if (code === '57014') {
    const how =
      'its time was up, or somebody ended it; give it longer with --statement-timeout, 0 for as long as it takes';
    return new Throttled(`${text}; ${how}`, { cause: error });
  }
  if (code === '53300' || code === '40P01' || code === '40001') return new Throttled(text, { cause: error });
  if (code === '42501' || code.startsWith('28')) return new AccessDenied(text, { cause: error });
  if (code === '25006') return new Incompatible(`${text}; ${readOnlyAdvice}`, { cause: error });
  // invalid_transaction_termination
  if (code === '2D000') {
    const how =
      'a procedure that commits cannot be called in a transaction, as a file is one; in a file of its own write DO $$ BEGIN CALL …; COMMIT; END $$, which is carried out without one';
    return new Incompatible(`${text}; ${how}`, { cause: error });
  }
  // duplicate_table, _object, _column, _function, _schema: postgresql.org/docs/current/errcodes-appendix.html
  if (['42P07', '42710', '42701', '42723', '42P06'].includes(code)) {
    const how =
      'of a database that was there before vecferry say how far it is with vecferry migrate up --baseline N, of one change with repair N --as applied';
    return new Incompatible(`${text}; ${how}`, { cause: error });
  }
  // The server is going down, or its operator has ended us.
  if (code.startsWith('57P') || code.startsWith('08')) return new StoreUnavailable(text, { cause: error });
  // Data that the statement does not take, against a statement that is wrong.
  return /^2[123]/.test(code) ? new RecordRefused(text, { cause: error }) : new Incompatible(text, { cause: error });
}

export function firstLine(text: string): string {
  const [first = '', ...rest] = text.trim().split('\n');
  const line = first.trim().slice(0, 120);
  return rest.length > 0 || first.trim().length > 120 ? `${line} …` : line;
}

/** `position` counts characters of the statement from 1. */
function lineWithin({ line, text }: SqlStatement, error: unknown): number {
  const position = Number(Reflect.get(Object(error), 'position'));
  if (!Number.isInteger(position) || position < 1) return line;
  return line + [...text].slice(0, position - 1).filter((character) => character === '\n').length;
}
