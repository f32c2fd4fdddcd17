import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PGlite, type Results, type Transaction } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import { type Database, type Row, type Session, type StreamWork, sessionSetup, setLocal } from './connect.ts';

/**
 * PGlite: PostgreSQL with pgvector inside this process, on a directory. It has one connection, so a transaction that
 * stayed open while its reader works would block everyone else: a range is copied out whole before it is handed on.
 * Ranges are cut to about a shard, which bounds what that holds in memory.
 */

interface Opened {
  /** Opened by the first use: a directory is made only where something is written. */
  database: Promise<PGlite> | undefined;
  users: number;
}

/** One engine a directory and process: two on the same files would destroy them. Source and target may be in the same one. */
const opened = new Map<string, Opened>();

export function openEmbedded(path: string): Database {
  const directory = path.startsWith('memory://') ? path : resolve(path);
  const entry = opened.get(directory) ?? { database: undefined, users: 0 };
  opened.set(directory, entry);
  entry.users++;
  const engine = async (): Promise<PGlite> => {
    entry.database ??= openEngine(directory);
    try {
      return await entry.database;
    } catch (error) {
      // The next use tries again.
      entry.database = undefined;
      throw error;
    }
  };
  let isOpen = true;
  return {
    embedded: true,
    isMissing: () => entry.database === undefined && !isMade(directory),
    use: async (work) => await work(embeddedSession(await engine())),
    transact: async (work) =>
      await (await engine()).transaction(async (transaction) => await work(embeddedSession(transaction))),
    stream: async function* <T>(work: StreamWork<T>) {
      const session = embeddedSession(await engine());
      yield* work(session, async function* (select) {
        yield await session.copyOut(select);
      });
    },
    start: async (sql) => {
      await (await engine()).exec(sql);
    },
    close: async () => {
      if (!isOpen) return;
      isOpen = false;
      entry.users--;
      if (entry.users > 0) return;
      opened.delete(directory);
      await (await entry.database)?.close();
    },
  };
}

/** PGlite keeps PostgreSQL's own files; every data directory has this one. */
function isMade(directory: string): boolean {
  return directory.startsWith('memory://') || existsSync(join(directory, 'PG_VERSION'));
}

async function openEngine(directory: string): Promise<PGlite> {
  if (!directory.startsWith('memory://')) await mkdir(directory, { recursive: true });
  const database = await PGlite.create(directory, { extensions: { vector } });
  await database.exec('CREATE EXTENSION IF NOT EXISTS vector');
  await database.exec(sessionSetup);
  return database;
}

function embeddedSession(engine: PGlite | Transaction): Session {
  return {
    rows: async (sql, params = []) => {
      const { rows }: Results<Row> = await engine.query<Row>(sql, [...params]);
      return rows;
    },
    rowsWith: async (settings, sql) => {
      const results = await engine.exec(setLocal(settings) + sql);
      return results.at(-1)?.rows ?? [];
    },
    results: async (sql) => (await engine.exec(sql)).map(({ rows }) => rows),
    run: async (sql) => {
      await engine.exec(sql);
    },
    copyOut: async (select) => {
      const { blob } = await engine.query(`COPY (${select}) TO '/dev/blob' WITH (FORMAT binary)`);
      return blob === undefined ? new Uint8Array(0) : new Uint8Array(await blob.arrayBuffer());
    },
    copyIn: async (into, body) => {
      await engine.query(`COPY ${into} FROM '/dev/blob' WITH (FORMAT binary)`, [], { blob: new Blob([...body]) });
    },
  };
}
