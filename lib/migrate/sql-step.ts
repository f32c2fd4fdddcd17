import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidEvent } from '../errors.ts';
import { dropInvalid, invalidIndexes } from './invalid-indexes.ts';
import type { MigrationFile, Step } from './port.ts';
import { noticeDeath, type SqlSession, sessionSettings } from './session.ts';
import { parseSql } from './sql/parse.ts';
import { sqlParts } from './sql/parts.ts';
import { type SqlStatement, splitStatements, transactionControl } from './sql/split.ts';
import { firstLine, isLockTimeout, isPassing, sqlError } from './sql-error.ts';

/** A SQL file, or what takes it back, as a step: one transaction with its line in the history, or statement by statement where it can be none. */

export interface SqlLimits {
  /** How long a statement waits for a table that others hold: whoever comes after it waits behind it, readers too. 0: without end. */
  readonly lockTimeoutMs: number;
  /** Times that a transaction is tried which others did not let in. */
  readonly lockTries: number;
  /** 0: a statement may take its time. */
  readonly statementTimeoutMs: number;
}

export const usualLimits: SqlLimits = { lockTimeoutMs: 5_000, lockTries: 5, statementTimeoutMs: 0 };

/** What a step without a transaction says on its way, and what it goes on from. */
export interface Piecewise {
  /** The statement, from 1, to begin with. */
  readonly from: number;
  /** Before each statement, in the history. */
  begin(statement: number, detail: string, sql: string): Promise<void>;
  /** A statement has failed. `isClean`: nothing of it stands. Its error is thrown right after. */
  failed(statement: number, isClean: boolean): void;
}

export interface SqlStepInput {
  readonly file: MigrationFile;
  /** What is carried out, with as many line ends before it as the file has. */
  readonly sql: string;
  /** As messages name it: the file, or the history's line that holds it. */
  readonly where: string;
  /** Written with the line of `up`. */
  readonly rollback: string | undefined;
  /** undefined: a dry run, which never runs it. */
  readonly session: SqlSession | undefined;
  readonly limits: SqlLimits;
  readonly piecewise: Piecewise;
  readonly onRetry: (message: string) => void;
}

/** The step of a file's up part. @throws InvalidEvent naming file and line of what is no SQL, or cannot be a migration. */
export async function sqlUp(input: Omit<SqlStepInput, 'sql' | 'where' | 'rollback'>): Promise<Step> {
  const { up, down, isWhole } = sqlParts(input.file.text, input.file.path);
  if (!isWhole) {
    const form = 'a migration is `-- migrate:up`, its statements, `-- migrate:down`, and those that take them back';
    const none = 'leave the down part empty where nothing is to be taken back, or write `-- migrate:down irreversible`';
    throw new InvalidEvent(`${input.file.path} lacks a mark: ${form}; ${none}`, { ids: [input.file.path] });
  }
  // A down part that is no SQL is found now, and not on the night when it is needed.
  if (down !== undefined) mustFit(await splitStatements(down, input.file.path), input.file.path);
  return await sqlStep({ ...input, sql: up, where: input.file.path, rollback: down?.trim() });
}

/** @throws InvalidEvent naming file and line. */
export async function sqlStep(input: SqlStepInput): Promise<Step> {
  const { file, where, rollback, session } = input;
  const statements = await splitStatements(input.sql, where);
  const isTransactional = mustFit(statements, where);
  const settings = isTransactional
    ? [`-- in one transaction, with its line in the history`]
    : ['-- each by itself: no transaction can hold it'];
  return {
    file,
    isTransactional,
    rollback,
    lines: [...(statements.length === 0 ? ['-- no statement'] : settings), ...statements.map(({ text }) => `${text};`)],
    run: async (record) => {
      if (session === undefined) throw new Error('a dry run carries nothing out');
      if (isTransactional) await runTransaction({ ...input, session, statements }, () => record(rollback));
      else await runEach({ ...input, session, statements }, () => record(rollback));
    },
  };
}

/** True when all of it can be one transaction. */
function mustFit(statements: readonly SqlStatement[], where: string): boolean {
  const control = statements.find(({ kind }) => kind === transactionControl);
  if (control !== undefined) {
    const why = 'each file is a transaction of its own already, with its line in the history';
    throw new InvalidEvent(`${where}, line ${control.line}: ${firstLine(control.text)}: ${why}; take it out`, {
      ids: [where],
    });
  }
  const discard = statements.find(({ kind }) => kind === 'DiscardStmt');
  if (discard !== undefined)
    throw new InvalidEvent(
      `${where}, line ${discard.line}: DISCARD would let go of the lock of migrations; take it out`,
      { ids: [where] },
    );
  const encoding = statements.find(
    ({ kind, text }) => kind === 'VariableSetStmt' && setsEncoding.test(text) && !isUtf8.test(text),
  );
  if (encoding !== undefined)
    throw new InvalidEvent(
      `${where}, line ${encoding.line}: ${firstLine(encoding.text)}: the file is sent as the UTF-8 that it is, and the server would read other letters; take it out`,
      { ids: [where] },
    );
  const alone = statements.find(({ isTransactional }) => !isTransactional);
  if (alone === undefined) return true;
  const other = statements.find(({ isTransactional, kind }) => isTransactional && kind !== 'VariableSetStmt');
  if (other === undefined) return false;
  const what = `line ${alone.line} (${firstLine(alone.text)}) cannot be in a transaction, and line ${other.line} (${firstLine(other.text)}) should be`;
  throw new InvalidEvent(`${where}: ${what}; give each a file of its own, so that neither can stand half done`, {
    ids: [where],
  });
}

/** SET client_encoding TO …, and SQL's own SET NAMES …, of pg_dump with --encoding. */
const setsEncoding = /^set\s+((session|local)\s+)?(client_encoding|names)\b/i;
const isUtf8 = /\b(utf-?8|unicode|default)\b/i;

type Running = SqlStepInput & { readonly session: SqlSession; readonly statements: readonly SqlStatement[] };

/** Ends what a file has set for its session, so that the next one finds what the first one found. */
const reset = `RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; ${sessionSettings}`;

/**
 * What a file has made for its session and not for the database: a temporary table would stand before the real one of its name in the next
 * file. With the next file's BEGIN, so that it takes no journey of its own. DISCARD ALL would let go of our lock.
 */
const forgetSession = 'CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; DISCARD TEMP; DISCARD SEQUENCES;';

async function runTransaction(running: Running, record: () => Promise<void>): Promise<void> {
  const { limits, onRetry, where } = running;
  for (let tried = 1; ; tried++) {
    try {
      await tryTransaction(running, record);
      return;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (!isPassing(cause) || tried >= limits.lockTries) throw error;
      // Long enough for what holds the table to end, and short against the patience of who waits.
      const waitMs = Math.min(1000 * 2 ** (tried - 1), 10_000) * (0.75 + Math.random() / 2);
      const message = error instanceof Error ? error.message : String(error);
      onRetry(
        `${where} was rolled back, and is tried again in ${(waitMs / 1000).toFixed(1)} s (${tried} of ${limits.lockTries - 1}): ${message}`,
      );
      await sleep(waitMs);
    }
  }
}

async function tryTransaction(
  { session, statements, limits, where }: Running,
  record: () => Promise<void>,
): Promise<void> {
  let current: SqlStatement | undefined = statements[0];
  try {
    await session.run(
      `${forgetSession} BEGIN; ${localLimits(limits)} ${session.canNoticeDeath === true ? noticeDeath(true) : ''}`,
    );
    for (const statement of statements) {
      current = statement;
      await session.run(statement.text);
    }
    current = undefined;
    await session.run(reset);
    await record();
    await session.run('COMMIT');
  } catch (error) {
    // The first error says more than that of a connection which is gone.
    await session.run('ROLLBACK').catch(() => undefined);
    await session.run(reset).catch(() => undefined);
    throw sqlError(error, where, current, isLockTimeout(error) ? await inTheWay(session) : '');
  }
}

/** Transactions of others that are open just now, the oldest first: one of them holds what was waited for. */
async function inTheWay(session: SqlSession): Promise<string> {
  const rows = await session
    .rows(
      `SELECT pg_catalog.format('server process %s (%s, %s, since %s UTC: %s)', pid, coalesce(nullif(application_name, ''), usename::text), state,
         to_char(xact_start, 'HH24:MI:SS'), pg_catalog.left(pg_catalog.regexp_replace(query, '\\s+', ' ', 'g'), 80)) AS text
       FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
         AND backend_type = 'client backend' ORDER BY xact_start LIMIT 3`,
    )
    // Whom it may not be told goes without it.
    .catch(() => []);
  return rows.map(({ text }) => text).join('; ');
}

const localLimits = ({ lockTimeoutMs, statementTimeoutMs }: SqlLimits): string =>
  `SET LOCAL lock_timeout = ${Math.round(lockTimeoutMs)}; SET LOCAL statement_timeout = ${Math.round(statementTimeoutMs)};`;

async function runEach(running: Running, record: () => Promise<void>): Promise<void> {
  const { session, statements, limits, where, piecewise } = running;
  await session.run(forgetSession);
  for (const [index, statement] of statements.entries()) {
    const number = index + 1;
    if (number < piecewise.from) {
      // A setting ended with its session. It is no step of its own: the history says already what stands.
      if (statement.kind === 'VariableSetStmt') await setAgain(session, statement, where);
      continue;
    }
    const before = new Set((await invalidIndexes(session)).map(({ name }) => name));
    await piecewise.begin(
      number,
      `statement ${number} of ${statements.length}, line ${statement.line}: ${firstLine(statement.text)}`,
      statement.text,
    );
    try {
      await session.run(sessionLimits(statement, limits, statements.slice(0, index)));
      await session.run(statement.text);
    } catch (error) {
      await session.run(reset).catch(() => undefined);
      const isClean = leavesNothing.has(statement.kind) && (await clearAway(running, statement, before));
      piecewise.failed(number, isClean);
      throw sqlError(error, where, statement);
    }
  }
  await session.run(reset);
  await record();
}

async function setAgain(session: SqlSession, statement: SqlStatement, where: string): Promise<void> {
  try {
    await session.run(statement.text);
  } catch (error) {
    await session.run(reset).catch(() => undefined);
    throw sqlError(error, where, statement);
  }
}

/** Kinds whose failure leaves an index that is not valid, or nothing. */
const leavesNothing: ReadonlySet<string> = new Set([
  'IndexStmt',
  'ReindexStmt',
  'VacuumStmt',
  'CreatedbStmt',
  'AlterSystemStmt',
]);

/** How long the index that a failed statement left may take to be dropped, in ms: it waits for whoever reads the table. */
const clearMs = 10_000;

/** Drops the index that a failed statement left, which writes would keep up for nothing. @returns true where nothing is left */
async function clearAway(
  { session, where, onRetry }: Running,
  { text, line }: SqlStatement,
  before: ReadonlySet<string>,
): Promise<boolean> {
  try {
    const [statement] = await parseSql(text, where);
    const made = (await invalidIndexes(session)).filter(({ name }) => !before.has(name));
    await session.run(`SET statement_timeout = ${clearMs}`);
    const dropped = statement === undefined ? [] : await dropInvalid(session, statement.node, made);
    if (dropped.length > 0) onRetry(`${where}, line ${line}: ${dropped.join(', ')} was left not valid, and is dropped`);
    return dropped.length === made.length;
  } catch {
    // The statement's own error is the one to tell; what is left is for `repair`, and up says so.
    return false;
  } finally {
    await session.run(reset).catch(() => undefined);
  }
}

/**
 * What runs concurrently waits for transactions to end, and lock_timeout would end it there and leave an index that is not valid; it
 * keeps neither readers nor writers waiting. postgresql.org/docs/current/sql-createindex.html, Building Indexes Concurrently
 * What the file has set before for itself stays.
 */
function sessionLimits(
  { text }: SqlStatement,
  { lockTimeoutMs, statementTimeoutMs }: SqlLimits,
  before: readonly SqlStatement[],
): string {
  const lock = /\bconcurrently\b/i.test(text) ? 0 : lockTimeoutMs;
  return Object.entries({ lock_timeout: lock, statement_timeout: statementTimeoutMs })
    .filter(
      ([name]) => !before.some((statement) => new RegExp(`^set\\s+(session\\s+)?${name}\\b`, 'i').test(statement.text)),
    )
    .map(([name, ms]) => `SET ${name} = ${Math.round(ms)};`)
    .join(' ');
}
