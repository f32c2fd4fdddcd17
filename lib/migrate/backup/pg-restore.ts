import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { Incompatible, Throttled, ValidationFailed } from '../../errors.ts';
import type { Database } from '../../stores/pgvector/connect.ts';
import { quoteText } from '../../stores/pgvector/names.ts';
import type { SqlSession } from '../session.ts';
import type { BackupPart } from './folder.ts';
import { describeServer, dumpIn, type PgPlace, stateIn, withDatabase } from './pg-backup.ts';
import { dropEverything, keptFunction, stayingSchemas, tableNames } from './pg-catalog.ts';
import { findPrograms, type PgPrograms } from './pg-programs.ts';
import { catalogLines, contentStatements, isOfRoles, rowsLine, stateDifferences, stateSettings } from './pg-state.ts';
import { openPsql, type Psql } from './psql.ts';

/** How long locks are waited for: an application's transaction that takes longer is named, and nothing is changed. */
const lockTimeoutSeconds = 30;

/** A database that nobody else can write to. Readers go on until `replace` begins. */
export interface HeldDatabase {
  /**
   * Puts what the dump holds in place of everything, in one transaction that is verified before it is committed.
   * @param kept the backup's folder of the database
   * @param last what belongs into the same transaction: the line of the history
   */
  replace(kept: string, last: (session: SqlSession) => Promise<void>): Promise<void>;
}

/**
 * Locks every table against writes, so that what is backed up first is also what is replaced: no write is lost between the two. Writers
 * wait, and write to the restored tables.
 *
 * @throws Incompatible when it is another database than the backup's, unless `elsewhere`; Throttled naming the sessions that hold locks.
 */
export async function holdDatabase<T>(
  place: PgPlace,
  part: BackupPart,
  { elsewhere, noOwner }: { readonly elsewhere: boolean; readonly noOwner: boolean },
  work: (held: HeldDatabase) => Promise<T>,
): Promise<T> {
  return await withDatabase(place, async (database) => {
    const server = await describeServer(database);
    if (server.place !== part.place && !elsewhere)
      throw new Incompatible(
        `the backup is of ${part.place}, and store '${place.name}' is ${server.place}; nothing was changed: --elsewhere restores it there all the same`,
      );
    const programs = await findPrograms(place.connection, server.major, place.pgBin);
    const psql = openPsql(programs);
    try {
      await locked(database, async () => {
        await psql.ask(`BEGIN; SET LOCAL lock_timeout = '${lockTimeoutSeconds}s'; SET LOCAL statement_timeout = 0;
          SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = ''; SET LOCAL client_min_messages = warning;`);
        const tables = await psql.ask(`SELECT name FROM (${tableNames()}) t;`);
        if (tables.length > 0) await psql.ask(`LOCK TABLE ${tables.join(', ')} IN EXCLUSIVE MODE;`);
      });
      return await work({
        replace: async (kept, last) =>
          await locked(database, async () => await replaceAll(psql, programs, { kept, noOwner, last })),
      });
    } finally {
      await psql.close();
    }
  });
}

interface Replacement {
  readonly kept: string;
  readonly noOwner: boolean;
  readonly last: (session: SqlSession) => Promise<void>;
}

async function replaceAll(psql: Psql, programs: PgPrograms, { kept, noOwner, last }: Replacement): Promise<void> {
  const file = dumpIn(kept);
  const staying = await psql.ask(`${stayingSchemas()};`);
  const folder = await mkdtemp(join(tmpdir(), 'vecferry-restore-'));
  try {
    const list = join(folder, 'list');
    await writeFile(list, wanted(await programs.run('pg_restore', ['--list', file]), staying));
    await psql.ask(dropEverything());
    const owners = noOwner ? ['--no-owner', '--no-privileges'] : [];
    await psql.feed(programs.start('pg_restore', [`--use-list=${list}`, ...owners, '--file=-', file]), 'pg_restore');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  await requireSame(psql, kept, noOwner);
  // A dump has no statistics, and without them the first searches are planned as of an empty table.
  await psql.ask('ANALYZE;');
  await last(sessionOf(psql));
  await psql.ask('COMMIT;');
}

/** Our own statements within psql's transaction: values are written into them, and rows come as JSON. */
function sessionOf(psql: Psql): SqlSession {
  const filled = (sql: string, params: readonly (string | null)[]): string =>
    sql.replace(/\$(\d+)/g, (_, at: string) => {
      const value = params[Number(at) - 1] ?? null;
      return value === null ? 'NULL' : quoteText(value);
    });
  return {
    rows: async (sql, params = []) => {
      const text = filled(sql, params);
      if (!/^\s*SELECT/i.test(text)) {
        await psql.ask(`${text};`);
        return [];
      }
      const lines = await psql.ask(`SELECT pg_catalog.row_to_json(t) FROM (${text}) t;`);
      return lines.map((line) => rowSchema.parse(JSON.parse(line)));
    },
    run: async (sql) => {
      await psql.ask(sql);
    },
    isLost: () => false,
    canNoticeDeath: false,
    close: async () => undefined,
  };
}

const rowSchema = z.record(z.string(), z.string().nullable());

/** The lines of a dump's contents that are carried out: schemas that stayed are there, and a comment on an extension is its owner's. */
function wanted(list: string, staying: readonly string[]): string {
  return list
    .split('\n')
    .filter((line) => {
      const about = /^\d+; \d+ \d+ (.*)$/.exec(line)?.[1];
      if (about === undefined) return false;
      if (about.startsWith('COMMENT - EXTENSION ') || about.includes(keptFunction)) return false;
      return !staying.some(
        (schema) => about.startsWith(`SCHEMA - ${schema} `) || about.startsWith(`COMMENT - SCHEMA ${schema} `),
      );
    })
    .join('\n');
}

/** Differences named; there may be as many as there are tables. */
const maxNamed = 10;

/** @throws ValidationFailed naming what differs; the transaction is rolled back then. */
async function requireSame(psql: Psql, kept: string, noOwner: boolean): Promise<void> {
  await psql.ask(stateSettings);
  const there = [...(await psql.ask(`${catalogLines()};`))];
  for (const sql of await psql.ask(`${contentStatements()};`))
    there.push(...(await psql.ask(`SELECT ${rowsLine} FROM (${sql}) t;`)));
  const held = (await readFile(stateIn(kept), 'utf8')).split('\n').slice(0, -1);
  const isCompared = (line: string): boolean => !noOwner || !isOfRoles(line);
  const wrong = stateDifferences(held.filter(isCompared), there.filter(isCompared));
  if (wrong.length === 0) return;
  const more = wrong.length > maxNamed ? `; and ${wrong.length - maxNamed} more` : '';
  throw new ValidationFailed(
    `what was restored is not what was backed up, so it was taken back: ${wrong.slice(0, maxNamed).join('; ')}${more}`,
    { ids: wrong },
  );
}

/** Says who is in the way, where locks were waited for in vain. */
async function locked(database: Database, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Error) || !/lock timeout|deadlock detected/i.test(error.message)) throw error;
    const sessions = await database.use(
      async (session) =>
        await session.rows(
          `SELECT format('pid %s (%s, %s, since %s)', pid, coalesce(nullif(application_name, ''), usename), state, to_char(xact_start, 'HH24:MI:SS')) AS text
           FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
             AND application_name <> 'vecferry' ORDER BY xact_start LIMIT 5`,
        ),
    );
    const who = sessions.map(({ text }) => text).join(', ') || 'sessions that have ended since';
    throw new Throttled(
      `tables are in use for longer than ${lockTimeoutSeconds} s, by ${who}; nothing was changed: end those transactions, or stop the application, and restore again`,
      { cause: error },
    );
  }
}
