import type { MigrateConfig } from '../port.ts';

/** A backup of the stores that migrations change: pg_dump of PostgreSQL, a snapshot a collection of Qdrant. */
export interface Backup {
  /** `20261121-213045-before-009`: sorts by time. */
  readonly id: string;
  readonly at: string;
  /** Why: `before up to 009`, `by hand`, `before restoring 2026…`. */
  readonly reason: string;
  /** The last line of the history that it holds. */
  readonly seq: number;
  readonly parts: readonly {
    readonly store: string;
    readonly what: string;
    /** A file below the backups' folder, or the store's own name of it (a Qdrant snapshot that stays on the server). */
    readonly where: string;
    readonly bytes: number;
    readonly checksum: string | undefined;
  }[];
}

export interface BackupInput {
  readonly config: MigrateConfig;
  /** Where backups are kept on this machine. */
  readonly directory: string;
  readonly reason: string;
  readonly seq: number;
}

/** @throws NotFound when pg_dump is not there, saying how to get it; Incompatible where a store has no backups: nothing is migrated then. */
export async function makeBackup(_input: BackupInput): Promise<Backup> {
  throw new Error('makeBackup is not there yet');
}

export async function listBackups(_directory: string): Promise<readonly Backup[]> {
  throw new Error('listBackups is not there yet');
}

/** Brings everything back to what a backup holds, after it has made one of what is there now. @returns the one that it made first. */
export async function restoreBackup(_input: BackupInput & { readonly id: string }): Promise<Backup> {
  throw new Error('restoreBackup is not there yet');
}
