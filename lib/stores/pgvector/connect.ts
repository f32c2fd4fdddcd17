import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { InvalidEvent } from '../../errors.ts';
import type { ResolvedConnection } from '../port.ts';

/** What the store needs of PostgreSQL, so that a server and the embedded PGlite are one to it. */
export interface Database {
  /** True while an embedded database was neither made nor opened; servers do not have it. */
  readonly isMissing?: () => boolean;
  readonly embedded: boolean;
  /** Runs `work` on one connection, each statement by itself. */
  use<T>(work: (session: Session) => Promise<T>): Promise<T>;
  /** Runs `work` in one transaction: committed when it returns, rolled back when it throws. */
  transact<T>(work: (session: Session) => Promise<T>): Promise<T>;
  /**
   * What `work` yields in a repeatable-read transaction of its own, ended when the reader stops; `copyOut` is
   * `COPY (select) TO STDOUT (FORMAT binary)`. Embedded: no transaction, since nobody else is there.
   * @param lock SQL that comes before the snapshot is taken. A table that is being rewritten (ALTER COLUMN TYPE) is waited for:
   * to a snapshot from before it would then look empty. postgresql.org/docs/current/mvcc-caveats.html
   */
  stream<T>(work: StreamWork<T>, lock?: string): AsyncIterable<T>;
  /**
   * Starts a statement that goes on in the server when this process leaves. Returns when it has ended, or `settleMs` have
   * passed and the server is at it; a failure until then is thrown, a later one handed to `onFailure`. Embedded: waits for the end.
   */
  start(sql: string, options: { readonly settleMs: number; onFailure(error: unknown): void }): Promise<void>;
  close(): Promise<void>;
}

export type StreamWork<T> = (
  session: Session,
  copyOut: (select: string) => AsyncIterable<Uint8Array>,
) => AsyncIterable<T>;

export interface Session {
  /** One statement. Every selected column must be text (cast in SQL), so that no client's parser touches a value. */
  rows(sql: string, params?: readonly (string | null)[]): Promise<readonly Row[]>;
  /**
   * The rows of `sql` with `settings` (`hnsw.ef_search = 100`) in force for it alone: one message, which the server runs as
   * one transaction, so that it takes as long as for a client that has set them before.
   */
  rowsWith(settings: readonly string[], sql: string): Promise<readonly Row[]>;
  /** The rows of each of several statements, which the server runs as one transaction. */
  results(sql: string): Promise<readonly (readonly Row[])[]>;
  /** Statements without results or parameters. */
  run(sql: string): Promise<void>;
  /** `COPY (select) TO STDOUT (FORMAT binary)`, whole: for few records. */
  copyOut(select: string): Promise<Uint8Array>;
  /** `COPY into FROM STDIN (FORMAT binary)`. `into` is a table with its columns. */
  copyIn(into: string, body: Iterable<Uint8Array<ArrayBuffer>>): Promise<void>;
}

export const setLocal = (settings: readonly string[]): string =>
  settings.map((setting) => `SET LOCAL ${setting}; `).join('');

export type Row = Readonly<Record<string, string | null>>;

/**
 * Every session speaks the same dialect, whatever the server's or role's settings: texts of dates, floats and intervals
 * are parsed and compared by us. The extension's schema joins the search path, so that its operators are found.
 */
export const sessionSetup = `
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex';
SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)), false)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
  WHERE e.extname = 'vector' AND NOT n.nspname = ANY (current_schemas(true));`;

/** A second importer of the same batch waits for the first one's ledger row; a batch takes seconds. */
const lockTimeout = '60s';
/** A Lambda's longest life: nobody waits longer for a statement. */
const statementTimeout = '15min';
/** A reader that stopped without a word must not hold its snapshot, and with it the server's vacuum, for ever. */
const idleTimeout = '10min';
/** transaction_timeout is PostgreSQL 17's; client_connection_check_interval, of 14, ends the statement of a client that is gone. */
const endless = `SET statement_timeout = 0; SET lock_timeout = 0;
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('transaction_timeout', 'client_connection_check_interval');`;
const timeouts = `SET lock_timeout = '${lockTimeout}'; SET statement_timeout = '${statementTimeout}'; SET idle_in_transaction_session_timeout = '${idleTimeout}';`;

/** Takes a url, with user and password in it or beside it, or the parts that RDS writes into its secrets. */
export function poolConfig(connection: ResolvedConnection): pg.ClientConfig {
  const text = (...names: string[]): string | undefined => {
    for (const name of names) {
      const value = connection[name];
      if (typeof value === 'string' && value !== '') return value;
    }
    return undefined;
  };
  const user = text('user', 'username');
  const password = text('password');
  const beside = { ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) };
  if (connection.url !== undefined) {
    if (!/^postgres(ql)?:\/\//.test(connection.url)) {
      throw new InvalidEvent(
        'the connection of a pgvector store is {"url": "postgresql://host/database"} or {"path": directory}',
      );
    }
    // pg lets the url's own user and password win; the secret's must.
    const url = new URL(connection.url);
    if (user !== undefined) url.username = encodeURIComponent(user);
    if (password !== undefined) url.password = encodeURIComponent(password);
    return { connectionString: url.href };
  }
  const host = text('host');
  if (host === undefined) {
    throw new InvalidEvent(
      'a pgvector store needs a connection: {"url": "postgresql://host/database"} or {"path": directory}',
    );
  }
  return {
    ...beside,
    host,
    port: Number(connection['port'] ?? 5432),
    database: text('dbname', 'database') ?? 'postgres',
  };
}

/** Pooled connections to a server, each made ready once. */
export function openServer(config: pg.ClientConfig, maxConnections: number): Database {
  const settings = { ...config, application_name: 'vecferry', connectionTimeoutMillis: 30_000, keepAlive: true };
  const pool = new pg.Pool({ ...settings, max: maxConnections });
  // An idle connection that the server ends is replaced by the next use; without a listener it would end the process.
  pool.on('error', () => undefined);
  const ready = new WeakSet<pg.PoolClient>();
  const started = new Set<pg.Client>();

  const acquire = async (): Promise<pg.PoolClient> => {
    const client = await pool.connect();
    if (ready.has(client)) return client;
    // A connection that dies in use fails its statement; its event, unheard, would end the process.
    client.on('error', () => undefined);
    try {
      await client.query(sessionSetup + timeouts);
    } catch (error) {
      client.release(true);
      throw error;
    }
    ready.add(client);
    return client;
  };

  const transact = async <T>(work: (session: Session) => Promise<T>): Promise<T> => {
    const client = await acquire();
    let isBroken = true;
    try {
      await client.query('BEGIN');
      try {
        const result = await work(serverSession(client));
        await client.query('COMMIT');
        isBroken = false;
        return result;
      } catch (error) {
        await client.query('ROLLBACK').then(
          () => {
            isBroken = false;
          },
          // The first error says more; the connection is thrown away.
          () => undefined,
        );
        throw error;
      }
    } finally {
      client.release(isBroken);
    }
  };

  return {
    embedded: false,
    use: async (work) => {
      const client = await acquire();
      let isBroken = true;
      try {
        const result = await work(serverSession(client));
        isBroken = false;
        return result;
      } finally {
        client.release(isBroken);
      }
    },
    transact,
    stream: async function* <T>(work: StreamWork<T>, lock?: string) {
      const client = await acquire();
      // Until the end is reached the connection is in the middle of a COPY and of no more use.
      let isBroken = true;
      try {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
        if (lock !== undefined) await client.query(lock);
        yield* work(serverSession(client), (select) => client.query(copyTo(copyOutText(select))));
        await client.query('COMMIT');
        isBroken = false;
      } finally {
        client.release(isBroken);
      }
    },
    start: async (sql, { settleMs, onFailure }) => {
      const client = new pg.Client(settings);
      client.on('error', () => undefined);
      started.add(client);
      await client.connect();
      // A notice sent to a client that has left would end the statement, and so would what the role's settings let a query of the
      // application wait: a build waits for every transaction that is older, which it holds up by nothing.
      await client.query(`${sessionSetup} ${endless} SET client_min_messages = error;`);
      const { rows } = await client.query<Row>('SELECT pg_backend_pid()::text AS pid');
      let hasEnded = false;
      const running = client.query(sql).finally(async () => {
        hasEnded = true;
        started.delete(client);
        await client.end().catch(() => undefined);
      });
      let hasReturned = false;
      const watched = running.then(
        () => undefined,
        (error: unknown) => {
          if (!hasReturned) throw error;
          onFailure(error);
        },
      );
      let timer: NodeJS.Timeout | undefined;
      const settled = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, settleMs);
      });
      // A busy server may not have begun: whoever looked for the statement then would find none, and start it again.
      const begun = async (): Promise<void> => {
        await settled;
        while (!hasEnded && (await isIdle(pool, rows[0]?.['pid'] ?? null))) await sleep(beginPollMs);
      };
      await Promise.race([watched, begun()]).finally(() => {
        hasReturned = true;
        clearTimeout(timer);
      });
    },
    close: async () => {
      // The server finishes and commits what was started, whether or not we listen.
      for (const client of started) leave(client);
      started.clear();
      await pool.end();
    },
  };
}

const beginPollMs = 50;

/** True while a connection of ours waits for a statement. */
async function isIdle(pool: pg.Pool, pid: string | null): Promise<boolean> {
  const { rows } = await pool.query<Row>('SELECT state::text AS state FROM pg_stat_activity WHERE pid = $1::int', [
    pid,
  ]);
  return rows[0]?.['state'] === 'idle';
}

/** Ends the socket without cancelling the statement: `end()` would wait for it. */
function leave(client: pg.Client): void {
  const stream: unknown = Reflect.get(Reflect.get(client, 'connection') ?? {}, 'stream');
  if (stream !== null && typeof stream === 'object' && 'destroy' in stream && typeof stream.destroy === 'function')
    stream.destroy();
}

export const copyOutText = (select: string): string => `COPY (${select}) TO STDOUT (FORMAT binary)`;

/** pg gives one result a statement: a list only where there are several, which its types do not tell. */
function lastRows(results: pg.QueryResult<Row> | pg.QueryResult<Row>[]): readonly Row[] {
  return (Array.isArray(results) ? results.at(-1)?.rows : results.rows) ?? [];
}

function serverSession(client: pg.PoolClient): Session {
  return {
    rows: async (sql, params = []) => (await client.query<Row>(sql, [...params])).rows,
    rowsWith: async (settings, sql) => {
      return lastRows(await client.query<Row>(setLocal(settings) + sql));
    },
    results: async (sql) => {
      const results: pg.QueryResult<Row> | pg.QueryResult<Row>[] = await client.query<Row>(sql);
      return (Array.isArray(results) ? results : [results]).map(({ rows }) => rows);
    },
    run: async (sql) => {
      await client.query(sql);
    },
    copyOut: async (select) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of client.query(copyTo(copyOutText(select)))) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    copyIn: async (into, body) => {
      const stream = client.query(copyFrom(`COPY ${into} FROM STDIN (FORMAT binary)`));
      await pipeline(Readable.from(body, { objectMode: true, highWaterMark: 2 }), stream);
    },
  };
}
