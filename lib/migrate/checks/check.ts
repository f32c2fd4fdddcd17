import type { HistoryEntry, MigrateConfig, MigrationFile } from '../port.ts';

/** One thing that was looked at after migrating. `unchecked` is never `ok`. */
export interface CheckResult {
  /** `public.articles: index articles_embedding_hnsw is valid` */
  readonly what: string;
  readonly verdict: 'ok' | 'wrong' | 'unchecked';
  /** What was found, and what to do; of `ok` the figure, where there is one. */
  readonly detail: string;
}

export interface CheckReport {
  readonly format: 1;
  readonly at: string;
  readonly passed: boolean;
  readonly stores: readonly {
    readonly name: string;
    readonly store: string;
    readonly results: readonly CheckResult[];
  }[];
}

export interface CheckInput {
  readonly config: MigrateConfig;
  readonly files: readonly MigrationFile[];
  readonly entries: readonly HistoryEntry[];
}

/** Looks at every store that migrations have changed, and changes nothing. */
export async function checkStores(_input: CheckInput): Promise<CheckReport> {
  throw new Error('checkStores is not there yet');
}
