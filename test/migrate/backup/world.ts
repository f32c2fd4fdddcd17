import { createHash } from 'node:crypto';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type RestoreInput, restoreBackup } from '../../../lib/migrate/backup/backup.ts';
import { sumOf } from '../../../lib/migrate/backup/folder.ts';
import { postgresHistory } from '../../../lib/migrate/history-postgres.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore } from '../../../lib/migrate/port.ts';
import { openSession } from '../../../lib/migrate/session.ts';
import { makeDatabase } from '../../servers/database.ts';
import { pgPrograms } from '../../servers/pg-programs.ts';

/** A team's database with a schema of some age, and the folder of its backups. */

export const schemaSql = `
CREATE TYPE state AS ENUM ('pending', 'completed');
CREATE TABLE authors (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text NOT NULL UNIQUE);
CREATE TABLE articles (id serial PRIMARY KEY, author bigint REFERENCES authors, title text NOT NULL, state state DEFAULT 'pending',
  embedding vector(3), CONSTRAINT short CHECK (length(title) < 100));
CREATE INDEX articles_embedding ON articles USING hnsw (embedding vector_cosine_ops);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW done AS SELECT id, title FROM articles WHERE state = 'completed';
CREATE SCHEMA "Other Team";
CREATE TABLE "Other Team"."Notes" (id int PRIMARY KEY, said text);
INSERT INTO authors (name) SELECT 'author ' || n FROM generate_series(1, 20) n;
INSERT INTO articles (author, title, state, embedding)
  SELECT n % 20 + 1, 'title ' || n, 'completed', ARRAY[n, n + 1, 1]::vector FROM generate_series(1, 500) n;
INSERT INTO "Other Team"."Notes" VALUES (1, E'line\\none'), (2, NULL);
`;

export interface World {
  readonly url: string;
  readonly sql: pg.Client;
  readonly config: MigrateConfig;
  readonly directory: string;
  readonly pgBin: string;
  rows(text: string): Promise<readonly unknown[]>;
  /** Adds lines to the history, as a migration would. */
  record(...entries: readonly Partial<HistoryEntry>[]): Promise<void>;
  entries(): Promise<readonly HistoryEntry[]>;
  restore(id: string, more?: Partial<RestoreInput>): ReturnType<typeof restoreBackup>;
  close(): Promise<void>;
}

export async function makeWorld(
  name: string,
  others: readonly MigratedStore[] = [],
  schema: string = schemaSql,
): Promise<World> {
  const { url, drop } = await makeDatabase(name);
  const sql = new pg.Client(url);
  sql.on('error', () => undefined);
  await sql.connect();
  await sql.query(schema);
  const store: MigratedStore = { name: 'db', store: 'pgvector', connection: { url }, options: {} };
  const stores = new Map([store, ...others].map((each) => [each.name, each]));
  const config: MigrateConfig = { directory: 'migrations', stores, sql: 'db', history: 'db' };
  const directory = await mkdtemp(join(tmpdir(), `${name}-`));
  const pgBin = pgPrograms();
  const open = async () => await openSession({ store, by: 'test', onNotice: () => undefined });
  return {
    url,
    sql,
    config,
    directory,
    pgBin,
    rows: async (text) => (await sql.query(text)).rows,
    record: async (...entries) => {
      const history = postgresHistory(await open(), 'db');
      const seq = (await history.entries()).length;
      const base = { number: 1, name: '001_x', checksum: 'c', action: 'up', by: 'test', milliseconds: 1 } as const;
      await history.locked(
        async () => {
          for (const [at, entry] of entries.entries())
            await history.append({ ...base, at: '2026-11-21T00:00:00.000Z', seq: seq + at + 1, ...entry });
        },
        { waitMs: 0, by: 'test' },
      );
      await history.close();
    },
    entries: async () => {
      const history = postgresHistory(await open(), 'db');
      const entries = await history.entries();
      await history.close();
      return entries;
    },
    restore: async (id, more = {}) =>
      await restoreBackup({
        config,
        directory,
        pgBin,
        id,
        by: 'ada@test',
        seq: 0,
        append: async () => {
          throw new Error('the history stands in the database');
        },
        ...more,
      }),
    close: async () => {
      await sql.end();
      await drop();
    },
  };
}

/** Another state in a backup of a database, with checksums that fit: as if that had been kept. */
export async function rewriteState(directory: string, id: string, state: string): Promise<void> {
  const folder = join(directory, 'backups', id);
  await writeFile(join(folder, 'db', 'state.txt'), state);
  const list = join(folder, 'backup.json');
  const { checksum: _, ...said } = JSON.parse(await readFile(list, 'utf8'));
  const others = { ...said, parts: [{ ...said.parts[0], ...(await sumOf(join(folder, 'db'))) }] };
  const checksum = createHash('sha256').update(JSON.stringify(others)).digest('hex');
  await writeFile(list, JSON.stringify({ ...others, checksum }));
}

/** Changes a file of a backup, with checksums that fit: as if the server had given that. @param change is given its path */
export async function changePart(
  directory: string,
  id: string,
  where: string,
  change: (path: string) => Promise<void>,
): Promise<void> {
  const folder = join(directory, 'backups', id);
  await change(join(folder, where));
  const list = join(folder, 'backup.json');
  const { checksum: _, ...said } = JSON.parse(await readFile(list, 'utf8'));
  const sum = await sumOf(join(folder, where));
  const parts = said.parts.map((part: { where: string }) => (part.where === where ? { ...part, ...sum } : part));
  const others = { ...said, parts };
  const checksum = createHash('sha256').update(JSON.stringify(others)).digest('hex');
  await writeFile(list, JSON.stringify({ ...others, checksum }));
}
