import type { MigrationFile } from '../port.ts';
import type { ExpectStore } from './expect.ts';

/** One thing that was looked at after migrating. `unchecked` is never `ok`. */
export interface CheckResult {
  /** `public.articles: index articles_embedding_hnsw is valid` */
  readonly what: string;
  readonly verdict: 'ok' | 'wrong' | 'unchecked';
  /** What was found, and what to do; of `ok` the figure, where there is one. */
  readonly detail: string;
  /** Why a team lets it be, in its own words: it counts as ok then. */
  readonly accepted?: string;
}

export interface About {
  /** Those that stand, in order. */
  readonly files: readonly MigrationFile[];
  /** Applied numbers without a file. */
  readonly gone: readonly number[];
  readonly declared: ExpectStore;
  readonly countOf: CountOf;
  readonly timeoutMs: number;
}

/** How many records a table or collection of any store has; undefined: it could not be counted. */
export type CountOf = (store: string, of: string) => Promise<number>;
