import { hostname } from 'node:os';
import pg from 'pg';
import { Incompatible } from '../errors.ts';
import { resolveConnection, secretsOf } from '../secrets.ts';
import { poolConfig } from '../stores/pgvector/connect.ts';
import { storeError } from '../stores/pgvector/errors.ts';
import type { MigratedStore } from './port.ts';

/** One connection to PostgreSQL, for the whole of a command: the lock, the migrations and their history share it, and end with it. */

export type SqlRow = Readonly<Record<string, string | null>>;

export interface SqlSession {
  /** Every selected column must be text (cast in SQL). Errors are the client's own, with code, position, hint. */
  rows(sql: string, params?: readonly (string | null)[]): Promise<readonly SqlRow[]>;
  /** Statements without parameters. */
  run(sql: string): Promise<void>;
  /** True once the connection is gone: the lock is too. */
  isLost(): boolean;
  /** True: the server can look, while a statement runs, whether its client still lives (client_connection_check_interval: PostgreSQL 14, not on Windows). */
  readonly canNoticeDeath?: boolean;
  close(): Promise<void>;
}

/**
 * What a role or a database may have set otherwise and a migration must not meet: a statement may take its time, nobody ends us while
 * we wait for a store, and texts mean what PostgreSQL's manual says. RESET ALL undoes these too, so they are set again after each file.
 */
export const sessionSettings = `SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';`;

/** PostgreSQL cuts an application's name at 63 bytes. */
const maxNameBytes = 63;

/** What others see in pg_stat_activity: who waits for the lock is told it. */
export function applicationName(by: string): string {
  const name = `vecferry migrate, ${by}`;
  return Buffer.from(name).subarray(0, maxNameBytes).toString();
}

export interface OpenSession {
  readonly store: MigratedStore;
  readonly by: string;
  /** RAISE NOTICE and the server's warnings. */
  readonly onNotice: (message: string) => void;
}

/**
 * @throws StoreUnavailable, AccessDenied, NotFound as the store says. @throws Incompatible behind a pooler that gives each transaction
 * another connection: the lock would stay with one of them.
 */
export async function openSession({ store, by, onNotice }: OpenSession): Promise<SqlSession> {
  const connection = await resolveConnection(store.connection, secretsOf.environment);
  if (connection.path !== undefined) {
    const why = 'ordered migrations need a server: the embedded one serves a single process';
    throw new Incompatible(
      `'${store.name}' is a PostgreSQL embedded in ${connection.path}; ${why}; give {"url": "postgresql://…"}`,
    );
  }
  const config = {
    ...poolConfig(connection),
    application_name: applicationName(by),
    connectionTimeoutMillis: 30_000,
    keepAlive: true,
  };
  const client = new pg.Client(config);
  let isLost = false;
  client.on('error', () => {
    isLost = true;
  });
  client.on('end', () => {
    isLost = true;
  });
  client.on('notice', ({ severity, message }) => onNotice(`${severity ?? 'NOTICE'}: ${message ?? ''}`));
  try {
    await client.connect();
    await client.query(sessionSettings);
    await refusePooler(client, config, store.name);
  } catch (error) {
    await client.end().catch(() => undefined);
    throw storeError(error, `PostgreSQL store '${store.name}'`);
  }
  const canNoticeDeath = await client.query(noticeDeath(true) + noticeDeath(false)).then(
    () => true,
    () => false,
  );
  return {
    canNoticeDeath,
    rows: async (sql, params = []) => (await client.query<Record<string, string | null>>(sql, [...params])).rows,
    run: async (sql) => {
      await client.query(sql);
    },
    isLost: () => isLost,
    close: async () => {
      await client.end();
    },
  };
}

/** A transaction whose client has died is rolled back within seconds, and not once its statement ends: nobody can commit it. */
export const noticeDeath = (isOn: boolean): string => `SET client_connection_check_interval = ${isOn ? 5000 : 0};`;

const backendPid = async (client: pg.Client): Promise<number> =>
  Number((await client.query<{ pid: string }>('SELECT pg_backend_pid()::text AS pid')).rows[0]?.pid);

/**
 * A pooler answers a client with a process id of its own, so one that differs from the server's tells that there is a pooler. In its
 * transaction mode (pgbouncer.org/features.html: session advisory locks do not work there) a second client is given our idle connection.
 */
async function refusePooler(client: pg.Client, config: pg.ClientConfig, name: string): Promise<void> {
  const ours = await backendPid(client);
  if (Reflect.get(client, 'processID') === ours) return;
  const other = new pg.Client(config);
  other.on('error', () => undefined);
  await other.connect();
  try {
    await other.query('BEGIN');
    const theirs = await backendPid(other);
    if (theirs !== ours && (await backendPid(client)) === ours) return;
  } finally {
    await other.end().catch(() => undefined);
  }
  const why =
    'a pooler that gives each transaction another connection (PgBouncer: pool_mode = transaction), where a lock does not hold';
  throw new Incompatible(
    `'${name}' is reached through ${why}; put the server's own address into its secret, or that of a session pool`,
  );
}

/** Who does it, where nobody says: `ada@build-7`. */
export const whoAndWhere = (user: string): string => `${user}@${hostname()}`;
