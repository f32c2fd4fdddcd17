import { Incompatible } from '../../errors.ts';
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
  /** What takes back an earlier try of the same step that died: what it made is ours, and its copies go on under their names. */
  readonly begun: readonly Action[];
}

/** Copies that an earlier try began. */
export const copiesOf = ({ begun }: Wanted): readonly Extract<Action, { do: 'takeBack' }>[] =>
  begun.flatMap((action) => (action.do === 'takeBack' ? [action] : []));

/** @throws Incompatible when what is to be made is there, and no earlier try of the step has made it */
export function mustBeOurs({ begun, file, name }: Wanted, collection: string): void {
  if (begun.some((action) => action.do === 'dropCollection' && action.collection === collection)) return;
  throw new Incompatible(
    `${file.path}: '${name}' is to be made as '${collection}', which is there already and which '${name}' does not stand for; give it that name as its alias, or drop it`,
    { ids: [collection] },
  );
}

/** What actions do that is not the store's own work. */
export interface Hands {
  readonly copy: (event: unknown, run: string) => Promise<void>;
  /** Takes the readers of a run back and notes it with the run; left out: the alias alone is moved. */
  readonly rollBack: ((run: string) => Promise<void>) | undefined;
}

export type OpenPlanner = (store: MigratedStore) => Promise<Planner>;
