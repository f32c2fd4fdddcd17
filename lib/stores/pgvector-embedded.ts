import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { PGlite, type Results, type Transaction } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import { type Database, type Row, type Session, sessionSetup } from './pgvector-connect.ts';

/**
 * PGlite: PostgreSQL with pgvector inside this process, on a directory. It has one connection, so a transaction that
 * stayed open while its reader works would block everyone else: a range is copied out whole before it is handed on.
 * Ranges are cut to about a shard, which bounds what that holds in memory.
 */

interface Opened {
  readonly database: Promise<PGlite>;
  users: number;
}

/** One engine a directory and process: two on the same files would destroy them. Source and target may be in the same one. */
const opened = new Map<string, Opened>();

export async function openEmbedded(path: string): Promise<Database> {
  const directory = path.startsWith('memory://') ? path : resolve(path);
  const entry = opened.get(directory) ?? { database: openEngine(directory), users: 0 };
  opened.set(directory, entry);
  entry.users++;
  let database: PGlite;
  try {
    database = await entry.database;
  } catch (error) {
    opened.delete(directory);
    throw error;
  }
  let isOpen = true;
  return {
    embedded: true,
    use: async (work) => await work(embeddedSession(database)),
    transact: async (work) =>
      await database.transaction(async (transaction) => await work(embeddedSession(transaction))),
    stream: async function* (select) {
      yield await embeddedSession(database).copyOut(select);
    },
    start: async (sql) => {
      await database.exec(sql);
    },
    close: async () => {
      if (!isOpen) return;
      isOpen = false;
      entry.users--;
      if (entry.users > 0) return;
      opened.delete(directory);
      await database.close();
    },
  };
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
