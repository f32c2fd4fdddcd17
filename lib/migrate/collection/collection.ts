import type { HistoryEntry, MigrateConfig, MigrationFile, Step } from '../port.ts';

export interface CollectionStepInput {
  readonly file: MigrationFile;
  readonly config: MigrateConfig;
  /** Runs the main job for what cannot be changed in place, and returns once its readers have moved. @throws what the run failed with */
  readonly copy: (event: unknown, run: string) => Promise<void>;
}

export interface CollectionUpInput extends CollectionStepInput {
  /** What `begun up` lines of this file hold as their rollback since it was last `up` or `down`, oldest first: it died half way. */
  readonly begun?: readonly string[];
}

/** The step that brings a store to what a collection file says: creates what is missing, changes what can be, plans a copy for what cannot. */
export async function collectionUp(_input: CollectionUpInput): Promise<Step> {
  throw new Error('collectionUp is not there yet');
}

/** The step that takes it back, by what was recorded as it was applied. */
export async function collectionDown(_input: CollectionStepInput & { readonly applied: HistoryEntry }): Promise<Step> {
  throw new Error('collectionDown is not there yet');
}

/** Reads a collection file. @throws InvalidEvent naming each field that is wrong. */
export function parseCollectionFile(_file: MigrationFile): void {
  throw new Error('parseCollectionFile is not there yet');
}
