import {
  AccessDenied,
  Incompatible,
  InvalidEvent,
  NotFound,
  RecordRefused,
  StoreUnavailable,
  Throttled,
  VecferryError,
} from '../../errors.ts';

/** PostgreSQL's errors, of `pg` and PGlite alike, as those of errors.ts. SQLSTATEs: PostgreSQL manual, appendix A. */

/** What both clients set on an error that came from the server. */
export interface ServerError {
  readonly code: string;
  readonly message: string;
  readonly detail: string | undefined;
  /** Context: `COPY words, line 17, column rank`. */
  readonly where: string | undefined;
}

/** The server's side of an error; undefined when it did not come from a server. */
export function serverError(error: unknown): ServerError | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (!/^[0-9A-Z]{5}$/.test(error.code)) return undefined;
  const text = (name: 'detail' | 'where'): string | undefined => {
    const value: unknown = Reflect.get(error, name);
    return typeof value === 'string' ? value : undefined;
  };
  return { code: error.code, message: error.message, detail: text('detail'), where: text('where') };
}

/** Data the server will never take: 22 is a data exception, 23 a constraint that does not hold. */
export function isDataError(error: unknown): boolean {
  const code = serverError(error)?.code;
  return code !== undefined && (/^2[123]/.test(code) || code === '54000');
}

/** Times that a transaction is begun again; PostgreSQL looks for deadlocks after a second (deadlock_timeout). */
const maxTries = 5;

/**
 * Runs a transaction again that the server ended in favour of another one (40P01 a deadlock, 40001): an importer and an
 * application may write the same rows in another order.
 */
export async function pastDeadlocks<T>(transact: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await transact();
    } catch (error) {
      const code = serverError(error)?.code ?? (error instanceof Error ? serverError(error.cause)?.code : undefined);
      if ((code !== '40P01' && code !== '40001') || tried >= maxTries) throw error;
    }
  }
}

/** The record within a COPY that the server stumbled over, from 0; undefined where it does not say. */
export function copyLine(error: unknown): number | undefined {
  const line = /COPY .*, line (\d+)/.exec(serverError(error)?.where ?? '')?.[1];
  return line === undefined ? undefined : Number(line) - 1;
}

/** `ids` names the records that were written, where the error is about data. */
export function storeError(error: unknown, doing: string, ids: readonly string[] = []): Error {
  if (error instanceof VecferryError) return error;
  const server = serverError(error);
  if (server === undefined) return clientError(error, doing);
  const text = `${doing}: ${server.message}${server.detail === undefined ? '' : ` (${server.detail})`} [${server.code}]`;
  if (!isDataError(error)) return faultOf(server.code, text, error);
  const line = copyLine(error);
  const record = line === undefined ? undefined : ids[line];
  const named = record === undefined ? ids : [record];
  return new RecordRefused(record === undefined ? text : `record ${record}: ${text}`, { ids: named, cause: error });
}

function faultOf(code: string, text: string, cause: unknown): Error {
  if (code === '53300') return new Throttled(`${text}; no connection slot is free`, { cause });
  if (code.startsWith('28') || code === '42501') return new AccessDenied(text, { cause });
  if (code === '42P01' || code === '3D000' || code === '3F000') return new NotFound(text, { cause });
  // Statements are ours; what is wrong with one is a name or type of the table's.
  if (code.startsWith('42') || code.startsWith('0A')) return new Incompatible(text, { cause });
  // The rest passes: 08 the connection, 57 a shutdown or time-out, 40 and 55P03 locks, 53 and 58 memory and disk.
  return unavailable(text, cause);
}

function clientError(error: unknown, doing: string): Error {
  if (!(error instanceof Error)) return unavailable(`${doing}: ${String(error)}`, error);
  const code: unknown = Reflect.get(error, 'code');
  // ENOTFOUND and EAI_AGAIN pass when a database moves; a name that is wrong fails its retries and says so.
  const isNetwork = typeof code === 'string' && /^(E[A-Z]+|ERR_SSL.*)$/.test(code);
  const isConnection = /connection|timeout|terminat|closed|socket|ended/i.test(error.message);
  if (isNetwork || isConnection)
    return unavailable(`${doing}: ${error.message}; check the url of the connection, and that the server runs`, error);
  if (/password|SASL|authentication/i.test(error.message))
    return new AccessDenied(`${doing}: ${error.message}; check the secret's user and password`, { cause: error });
  if (/Invalid URL|ERR_INVALID_URL/.test(error.message))
    return new InvalidEvent(`the connection's url is no postgresql:// URL: ${error.message}`, { cause: error });
  // A defect of ours keeps its stack.
  return error;
}

function unavailable(text: string, cause: unknown): StoreUnavailable {
  return new StoreUnavailable(text, { cause });
}
