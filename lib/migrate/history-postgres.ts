import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { AccessDenied, Incompatible, RunMismatch, ShardDamaged, Throttled } from '../errors.ts';
import { parseAs } from '../event.ts';
import { serverError, storeError } from '../stores/pgvector/errors.ts';
import { chainOf, endOf, faultsOf, type Head, isAcceptance, type KeptHistory, type Line } from './history-lines.ts';
import type { SqlRow, SqlSession } from './session.ts';
import { readOnlyAdvice } from './sql-error.ts';

/**
 * The history as a table of PostgreSQL, beside what it tells of: a migration and its line are one transaction. The lock is an advisory
 * lock of the session that runs the migrations, so it lasts as long as anything of ours runs in the server, and no longer.
 */

/** What PostgreSQL calls it, in quotes. */
const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const table = 'vecferry_migrations';
/** One row, the end of the history: who cuts lines off the other table does not reach it by the same statement. */
const headTable = 'vecferry_migrations_head';
const guard = 'vecferry_migrations_is_append_only';

/** `key` of pg_advisory_lock(int, int): "vecf" in ASCII. The lock is of this database alone by itself. */
const lockClass = 0x76656366;
/** Of the schema's name, so that two histories in one database do not wait for each other. */
const lockKey = (schema: string): number => createHash('sha256').update(schema).digest().readInt32BE(0);

/** Asked for again and again: a session that waits within pg_advisory_lock() holds a snapshot, which CREATE INDEX CONCURRENTLY of the holder would wait for in turn. */
const lockIntervalMs = 250;

const createTable = (schema: string, isMissing: boolean): string => `
${isMissing ? `CREATE SCHEMA ${quoted(schema)};` : ''}
CREATE TABLE ${quoted(schema)}.${table} (
  seq bigint PRIMARY KEY, number bigint NOT NULL, name text NOT NULL, checksum text NOT NULL,
  action text NOT NULL CHECK (action IN ('begun up', 'begun down', 'up', 'down', 'failed', 'repaired', 'restored')),
  at timestamptz NOT NULL, by text NOT NULL, milliseconds bigint NOT NULL,
  rollback text, detail text, kind text, declared text, statement bigint, sql text, stands_at bigint, chain text NOT NULL);
COMMENT ON TABLE ${quoted(schema)}.${table} IS 'Written by vecferry migrate; lines are added and never changed.';
CREATE FUNCTION ${quoted(schema)}.${guard}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the history of migrations is never rewritten' USING HINT = 'say how things are with: vecferry migrate repair';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ${quoted(schema)}.${table}
  FOR EACH STATEMENT EXECUTE FUNCTION ${quoted(schema)}.${guard}();
${createHead(schema)}
INSERT INTO ${quoted(schema)}.${headTable} VALUES (1, 0, '');`;

/** Without its row, which the next line brings. The key is needed where a publication of all tables replicates its updates. */
const createHead = (schema: string): string => `
CREATE TABLE ${quoted(schema)}.${headTable} (one int PRIMARY KEY CHECK (one = 1), seq bigint NOT NULL, chain text NOT NULL);
COMMENT ON TABLE ${quoted(schema)}.${headTable} IS 'The last line of vecferry_migrations.';
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ${quoted(schema)}.${headTable}
  FOR EACH STATEMENT EXECUTE FUNCTION ${quoted(schema)}.${guard}();`;

const rowSchema = z.object({
  seq: z.coerce.number().int(),
  number: z.coerce.number().int(),
  name: z.string(),
  checksum: z.string(),
  action: z.enum(['begun up', 'begun down', 'up', 'down', 'failed', 'repaired', 'restored']),
  at: z.string(),
  by: z.string(),
  milliseconds: z.coerce.number(),
  rollback: z.string().nullable(),
  detail: z.string().nullable(),
  kind: z.enum(['sql', 'collection']).nullable(),
  declared: z.enum(['applied', 'pending', 'forgotten']).nullable(),
  statement: z.coerce.number().int().nullable(),
  sql: z.string().nullable(),
  stands_at: z.coerce.number().int().nullable(),
  chain: z.string(),
});

const selected = `seq::text, number::text, name, checksum, action,
  to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, by, milliseconds::text, rollback, detail, kind, declared,
  statement::text, sql, stands_at::text, chain`;

function lineOf(row: SqlRow): Line {
  const { rollback, detail, kind, declared, statement, sql, stands_at, chain, ...rest } = parseAs(
    rowSchema,
    row,
    `a line of ${table}`,
    ShardDamaged,
  );
  const entry = {
    ...rest,
    ...(rollback !== null && { rollback }),
    ...(detail !== null && { detail }),
    ...(kind !== null && { kind }),
    ...(declared !== null && { as: declared }),
    ...(statement !== null && { statement }),
    ...(sql !== null && { sql }),
    ...(stands_at !== null && { standsAt: stands_at }),
  };
  return { entry, chain };
}

/** @param store its name, for people @param schema where the table is, or will be */
export function postgresHistory(session: SqlSession, store: string, schema = 'public'): KeptHistory {
  const name = `${quoted(schema)}.${table}`;
  const headName = `${quoted(schema)}.${headTable}`;
  const where = `${schema}.${table} of '${store}'`;
  let isLocked = false;
  const told = (error: unknown): Error => {
    const code = serverError(error)?.code;
    const shown = storeError(error, `the history of migrations, ${where}`);
    if (code === '25006') return new Incompatible(`${shown.message}; ${readOnlyAdvice}`, { cause: error });
    // undefined_table, with the lock in hand: it was there when the lock was taken.
    if (code === '42P01' && isLocked)
      return new Incompatible(
        `the history of migrations, ${where}, was dropped or renamed by a statement of this migration; take it out`,
        { cause: error },
      );
    if (code !== '42501') return shown;
    const how = `it needs SELECT and INSERT on that table, UPDATE too on ${headTable} beside it (repair history: INSERT there as well), and the first up CREATE in that schema: GRANT them, or name a schema of your own in vecferry.yaml: historySchema: ops`;
    return new AccessDenied(`${shown.message}; ${how}`, { cause: error });
  };

  const whatIsThere = async (): Promise<{ readonly hasLines: boolean; readonly hasHead: boolean }> => {
    const sql = 'SELECT to_regclass($1)::text AS lines, to_regclass($2)::text AS head';
    const [there] = await session.rows(sql, [name, headName]);
    return { hasLines: there?.['lines'] !== null, hasHead: there?.['head'] !== null };
  };

  /** Lines and head of one moment: another process may add a line between two questions. */
  const state = async (): Promise<{ readonly lines: readonly Line[]; readonly head: Head | undefined }> => {
    try {
      const { hasLines, hasHead } = await whatIsThere();
      if (!hasLines && hasHead) throw dropped();
      if (!hasLines) return { lines: [], head: undefined };
      const from = hasHead
        ? `(SELECT seq, chain FROM ${headName})`
        : '(SELECT NULL::bigint AS seq, NULL::text AS chain)';
      const rows = await session.rows(`SELECT head.seq::text AS head_seq, head.chain AS head_chain, line.*
        FROM (VALUES (1)) one LEFT JOIN ${from} head ON true
        LEFT JOIN (SELECT ${selected} FROM ${name}) line ON true ORDER BY line.seq::bigint`);
      const { head_seq: seq = null, head_chain: chain = null } = rows[0] ?? {};
      return {
        lines: rows.filter((row) => row['seq'] !== null).map(lineOf),
        head: seq === null || chain === null ? undefined : { seq: Number(seq), chain },
      };
    } catch (error) {
      throw told(error);
    }
  };

  /** Its guard is made with it, and outlives it: who begins anew would apply everything again. */
  const dropped = (cause?: unknown): Incompatible => {
    const anew = `DROP TABLE IF EXISTS ${headName}; DROP FUNCTION ${quoted(schema)}.${guard}();`;
    const how = `bring it back from a copy of the database, or begin anew with ${anew} and say what stands with vecferry migrate repair N --as applied`;
    return new Incompatible(`the history of migrations, ${where}, was dropped; ${how}`, { cause });
  };

  /** The end that a line is added to, and whether the lock is still ours: one question, as it is asked for each migration. */
  const lastLine = async (): Promise<{ readonly seq: number; readonly end: string; readonly isHeld: boolean }> => {
    try {
      const [found] =
        await session.rows(`SELECT last.seq::text AS seq, last.chain, head.seq::text AS head_seq, head.chain AS head_chain, EXISTS (
          SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
            AND classid::bigint = ${lockClass} AND objid::bigint = ${lockKey(schema) >>> 0})::text AS is_held
        FROM (VALUES (1)) one LEFT JOIN (SELECT seq, chain FROM ${name} ORDER BY seq DESC LIMIT 1) last ON true
        LEFT JOIN ${headName} head ON true`);
      const { seq = null, chain = null, head_seq: headSeq = null, head_chain: headChain = null } = found ?? {};
      const last = seq === null || chain === null ? undefined : { seq: Number(seq), chain };
      const head = headSeq === null || headChain === null ? undefined : { seq: Number(headSeq), chain: headChain };
      return { seq: last?.seq ?? 0, end: endOf(last, head), isHeld: found?.['is_held'] === 'true' };
    } catch (error) {
      throw told(error);
    }
  };

  const tryLock = async (): Promise<boolean> => {
    const sql = `SELECT pg_try_advisory_lock(${lockClass}, ${lockKey(schema)})::text AS taken`;
    return (await session.rows(sql))[0]?.['taken'] === 'true';
  };

  const holder = async (): Promise<string | undefined> => {
    const [held] = await session.rows(`
      SELECT a.pid::text, a.application_name, a.usename::text, coalesce(a.client_addr::text, 'this machine') AS address,
        to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since, left(a.query, 200) AS query, a.state
      FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid()
        AND l.classid::bigint = ${lockClass} AND l.objid::bigint = ${lockKey(schema) >>> 0}
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`);
    if (held === undefined) return undefined;
    const { pid, application_name, usename, address, since, query, state } = held;
    const doing = state === 'active' ? `, running: ${(query ?? '').replaceAll(/\s+/g, ' ')}` : '';
    return `${application_name} (user ${usename} from ${address}, connected since ${since} UTC, server process ${pid}${doing})`;
  };

  return {
    where,
    entries: async () => (await state()).lines.map(({ entry }) => entry),

    faults: async () => faultsOf({ ...(await state()), isExact: true, where }),
    holder,

    append: async (entry) => {
      const last = await lastLine();
      const expected = last.seq + 1;
      const values = [
        entry.seq,
        entry.number,
        entry.name,
        entry.checksum,
        entry.action,
        entry.at,
        entry.by,
        entry.milliseconds,
        entry.rollback,
        entry.detail,
        entry.kind,
        entry.as,
        entry.statement,
        entry.sql,
        entry.standsAt,
        chainOf(last.end, entry),
      ].map((value) => (value === undefined ? null : String(value)));
      const elsewhere = 'another process has migrated meanwhile; nothing of this step stands; start the command again';
      if (entry.seq !== expected)
        throw new RunMismatch(`line ${entry.seq} of ${where} is line ${expected} by now: ${elsewhere}`);
      if (isLocked && !last.isHeld)
        throw new RunMismatch(
          'the lock of migrations was let go by a statement of this migration; take pg_advisory_unlock_all or DISCARD out of it',
        );
      // A head that was taken away is set right by who says that the history is right, and by nobody else.
      const setHead = isAcceptance(entry)
        ? `INSERT INTO ${headName} SELECT 1, seq, chain FROM line ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, chain = excluded.chain`
        : `UPDATE ${headName} SET seq = line.seq, chain = line.chain FROM line`;
      try {
        await session.rows(
          `WITH line AS (INSERT INTO ${name} (seq, number, name, checksum, action, at, by, milliseconds, rollback, detail, kind, declared, statement, sql, stands_at, chain)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING seq, chain)
          ${setHead}`,
          values,
        );
      } catch (error) {
        if (serverError(error)?.code === '23505')
          throw new RunMismatch(`line ${entry.seq} of ${where} is there: ${elsewhere}`, { cause: error });
        throw told(error);
      }
    },

    locked: async (work, { waitMs }) => {
      try {
        const until = Date.now() + waitMs;
        while (!(await tryLock())) {
          if (Date.now() >= until)
            throw new Throttled(
              `somebody else is migrating: the lock is held by ${(await holder()) ?? 'somebody, who has let go of it by now'}; waited ${waitMs / 1000} s (--lock-wait)`,
            );
          await sleep(lockIntervalMs);
        }
        const { hasLines, hasHead } = await whatIsThere();
        if (!hasLines && hasHead) throw dropped();
        if (!hasLines) {
          const [found] = await session.rows('SELECT to_regnamespace($1)::text AS name', [quoted(schema)]);
          const isMissing = found?.['name'] === null;
          await session.run(createTable(schema, isMissing)).catch((error: unknown) => {
            throw serverError(error)?.code === '42723' ? dropped(error) : error;
          });
        } else if (!hasHead) {
          // Empty, so that what was taken away goes on being told until somebody says that the history is right.
          await session.run(createHead(schema));
        }
      } catch (error) {
        throw told(error);
      }
      isLocked = true;
      try {
        return await work();
      } finally {
        isLocked = false;
        // A connection that is gone has let go of it.
        if (!session.isLost())
          await session
            .rows(`SELECT pg_advisory_unlock(${lockClass}, ${lockKey(schema)})::text`)
            .catch(() => undefined);
      }
    },

    close: () => session.close(),
  };
}
