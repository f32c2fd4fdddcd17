import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Incompatible } from '../../errors.ts';
import type { Database, Session } from '../../stores/pgvector/connect.ts';
import { storeError } from '../../stores/pgvector/errors.ts';
import { connect } from '../../stores/pgvector/open.ts';
import type { ResolvedConnection } from '../../stores/port.ts';
import { type BackupPart, requireRoom, sumOf } from './folder.ts';
import { keptTables, ownTables } from './pg-catalog.ts';
import { findPrograms, type PgPrograms } from './pg-programs.ts';
import { catalogLines, contentStatements, rowsLine, stateSettings } from './pg-state.ts';

/** A database by pg_dump, in its custom format: consistent, compressed, and read back once it is written. */

export interface PgPlace {
  /** The store's name in the team's files. */
  readonly name: string;
  readonly connection: ResolvedConnection;
  readonly pgBin: string | undefined;
}

/** zlib's fastest. Of 20,000 vectors of 384 floats, in one run: 4.6 s and 38 MB, against 24.8 s and 35 MB of pg_dump's own level 6. */
const compression = '--compress=1';

/** @throws NotFound, Incompatible, AccessDenied or StoreUnavailable; the file is not there then, or only begun. */
export async function dumpDatabase(place: PgPlace, folder: string): Promise<BackupPart> {
  return await withDatabase(place, async (database) => {
    const server = await describeServer(database);
    const programs = await findPrograms(place.connection, server.major, place.pgBin);
    const kept = join(folder, place.name);
    await mkdir(kept);
    const file = dumpIn(kept);
    const { counts } = await database.transact(async (session) => {
      // pg_dump reads the snapshot that is described here, so what is counted is what it holds.
      await session.run('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      await session.run(`${stateSettings} SET LOCAL statement_timeout = 0`);
      // The dump of a large database outlasts what an idle transaction is usually given.
      await session.run('SET LOCAL idle_in_transaction_session_timeout = 0');
      const described = await describeState(session);
      await requireRoom(folder, described.bytes, `a dump of ${server.place}`);
      await writeFile(stateIn(kept), described.lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
      const [exported] = await session.rows('SELECT pg_catalog.pg_export_snapshot() AS id');
      const args = ['--format=custom', compression, `--snapshot=${exported?.['id']}`, '--no-password'];
      await programs.run('pg_dump', [
        ...args,
        '--no-subscriptions',
        ...keptTables.map((table) => `--exclude-table=*.${table}`),
        `--file=${file}`,
        programs.database,
      ]);
      return described;
    });
    await requireWhole(programs, file);
    return {
      store: place.name,
      kind: 'pg_dump',
      what: `database ${server.place}`,
      where: place.name,
      ...(await sumOf(kept)),
      place: server.place,
      counts,
    };
  });
}

/** The dump within a backup's folder of a database. */
export const dumpIn = (folder: string): string => join(folder, 'database.dump');
/** What the database was, a line each (pg-state.ts), held against what is restored. */
export const stateIn = (folder: string): string => join(folder, 'state.txt');

export async function withDatabase<T>(place: PgPlace, work: (database: Database) => Promise<T>): Promise<T> {
  const database = await connect(place.connection, 2);
  if (database.embedded) {
    await database.close();
    throw new Incompatible(
      `store '${place.name}' is an embedded PGlite, which pg_dump and pg_restore cannot reach; nothing was changed`,
    );
  }
  try {
    return await work(database);
  } catch (error) {
    throw storeError(error, `store '${place.name}'`);
  } finally {
    await database.close();
  }
}

/** Which server it is, in the server's own words: the address that we know may be a pooler's. */
export async function describeServer(database: Database): Promise<{ readonly major: number; readonly place: string }> {
  const [row] = await database.use(
    async (session) =>
      await session.rows(
        `SELECT (current_setting('server_version_num')::int / 10000)::text AS major, current_database() AS database,
           (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()) AS oid,
           coalesce(host(inet_server_addr()), 'socket') || ':' || current_setting('port') AS address`,
      ),
  );
  return { major: Number(row?.['major']), place: `${row?.['database']} at ${row?.['address']}` };
}

interface DatabaseState {
  /** As pg-state.ts has them. */
  readonly lines: readonly string[];
  /** Rows by table. */
  readonly counts: Readonly<Record<string, number>>;
  /** Of the tables' own data. */
  readonly bytes: number;
}

async function describeState(session: Session): Promise<DatabaseState> {
  const lines = (await session.rows(catalogLines())).map(({ line }) => line ?? '');
  const counts: Record<string, number> = {};
  for (const { sql } of await session.rows(contentStatements())) {
    const [row] = await session.rows(`SELECT t.*, ${rowsLine} AS line FROM (${sql}) t`);
    counts[row?.['name'] ?? ''] = Number(row?.['rows']);
    lines.push(row?.['line'] ?? '');
  }
  const [size] = await session.rows(
    `SELECT coalesce(sum(pg_catalog.pg_table_size(oid)), 0)::text AS bytes FROM (${ownTables()}) t`,
  );
  return { lines, counts, bytes: Number(size?.['bytes']) };
}

/** Reads the file back to its end: pg_restore decompresses every row, and a file that was cut is found now, not in need. */
async function requireWhole(programs: PgPrograms, file: string): Promise<void> {
  await programs.run('pg_restore', ['--file=-', file], { silent: true });
}
