import type { Connection } from '../event-endpoint.ts';

/**
 * Ordered migrations: the words that the rooms of lib/migrate share. A migration is a numbered file, SQL for PostgreSQL or a collection
 * file for any store, applied once, in order, under a lock. docs/migrations.md.
 */

/** A store that migrations change, by the name that files call it: migrations/vecferry.yaml. Credentials are in the environment, one a stage. */
export interface MigratedStore {
  readonly name: string;
  readonly store: string;
  readonly connection: Connection;
  readonly options: Readonly<Record<string, unknown>>;
  /** Of a server: the collections, by name or alias, that backups are of; left out: all of them. */
  readonly backup?: { readonly collections: readonly string[] };
}

export interface MigrateConfig {
  /** The folder that holds the files. */
  readonly directory: string;
  readonly stores: ReadonlyMap<string, MigratedStore>;
  /** The PostgreSQL store that SQL files run on; undefined: there is none, and a SQL file is refused. */
  readonly sql: string | undefined;
  /** Where the history stands: a PostgreSQL store by its name, or `files` (a folder beside the runs) where there is none. */
  readonly history: string;
  /** The schema that a history in PostgreSQL is in; left out: public. */
  readonly historySchema?: string;
}

/** One file of the folder. `001_articles.sql`, `002_search.yaml`. */
export interface MigrationFile {
  /** From the name's digits: 1. */
  readonly number: number;
  /** `001_articles`: the file's name without its ending. */
  readonly name: string;
  /** Its path, for people. */
  readonly path: string;
  readonly kind: 'sql' | 'collection';
  /** With its variables filled in. */
  readonly text: string;
  /** SHA-256 of its text as it lies in the folder, with line ends as \n, hex. */
  readonly checksum: string;
}

/** One line of the history, never changed once it is written: what stands is worked out from all of them, in order. */
export interface HistoryEntry {
  /** From 1, without a gap. */
  readonly seq: number;
  readonly number: number;
  readonly name: string;
  readonly checksum: string;
  /**
   * begun: a step that is no transaction is under way. up, down: it is done. failed: it was not, and nothing of it stands unless the step
   * says that it is partial. repaired: a person has said how things are (`detail` says what). restored: a backup was brought back.
   */
  readonly action: 'begun up' | 'begun down' | 'up' | 'down' | 'failed' | 'repaired' | 'restored';
  readonly at: string;
  /** Who: the name that the command line was given, or who is logged in, and where. */
  readonly by: string;
  readonly milliseconds: number;
  /** How it is taken back: the SQL of its down part, or the inverse steps that were worked out as it was applied. Left out: by nothing but a backup. */
  readonly rollback?: string;
  /** The error of what failed, what a repair did, the backup of a restore. */
  readonly detail?: string;
  /** Of a file that may be gone by now. */
  readonly kind?: 'sql' | 'collection';
  /**
   * Of `repaired`: what the person has said. forgotten: its file is gone for good, and it is neither applied nor pending.
   * Of `failed` after `begun`: pending where nothing of it stands; left out where something may.
   */
  readonly as?: 'applied' | 'pending' | 'forgotten';
  /** From 1: which statement of a step that is no transaction is under way, has failed, or is to be gone on with. */
  readonly statement?: number;
  /** Of begun SQL: that statement, since its file may be another one by the time somebody looks. */
  readonly sql?: string;
  /** Of `restored`: the last line that the backup holds. What was done after it stands no more. */
  readonly standsAt?: number;
}

/** Where the history stands. Both kinds are append-only, and both know a lock that dies with its holder. */
export interface History {
  entries(): Promise<readonly HistoryEntry[]>;
  /** @throws RunMismatch when another process has appended since. */
  append(entry: HistoryEntry): Promise<void>;
  /** Runs `work` while nobody else can; waits for `waitMs` at most. @throws Throttled naming who holds it. */
  locked<T>(work: () => Promise<T>, options: { readonly waitMs: number; readonly by: string }): Promise<T>;
  close(): Promise<void>;
}

/** A migration that is ready to be carried out or taken back: what a SQL file and a collection file have in common. */
export interface Step {
  readonly file: MigrationFile;
  /** True: all of it, and its line in the history, are one transaction. */
  readonly isTransactional: boolean;
  /** What it would do, a line each: the SQL, or requests in words. What a dry run prints. */
  readonly lines: readonly string[];
  /** Of `lines` those that are told again once it is done: what searches find otherwise now, and nobody has measured. */
  readonly unvalidated?: readonly string[];
  /**
   * Of a step that is no transaction: what takes it back, worked out before anything is changed. It stands in the `begun up` line, so that
   * a step that dies half way can still be taken back whole. Left out: by nothing.
   */
  readonly rollback?: string | undefined;
  /**
   * Carries it out. @param record puts its line into the history: a transactional step calls it within its transaction, others once all
   * is done. Safe to repeat where it died half way and is not transactional.
   */
  run(record: (rollback: string | undefined) => Promise<void>): Promise<void>;
}
