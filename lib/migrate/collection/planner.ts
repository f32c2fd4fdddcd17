import type { MigratedStore, MigrationFile } from '../port.ts';
import type { Action, CollectionPlan } from './plan.ts';
import type { Change, Seed } from './words.ts';

/** What each store that collection files change brings: it works a change out, and carries actions out. */
export interface Planner {
  /** Looks, and changes nothing. @throws Incompatible where the store cannot be changed so, with the steps that lead there */
  plan(wanted: Wanted): Promise<CollectionPlan>;
  /** Safe to repeat. */
  carryOut(action: Action, hands: Hands): Promise<void>;
  close(): Promise<void>;
}

export interface Wanted {
  /** What the file calls the collection. */
  readonly name: string;
  readonly change: Change;
  readonly seeds: readonly Seed[];
  readonly file: MigrationFile;
  /** Copies that an earlier try of the same step began: they go on under their names. */
  readonly begun: readonly Extract<Action, { do: 'takeBack' }>[];
}

/** What actions do that is not the store's own work. */
export interface Hands {
  readonly copy: (event: unknown, run: string) => Promise<void>;
  /** Takes the readers of a run back and notes it with the run; left out: the alias alone is moved. */
  readonly rollBack: ((run: string) => Promise<void>) | undefined;
}

export type OpenPlanner = (store: MigratedStore) => Promise<Planner>;
