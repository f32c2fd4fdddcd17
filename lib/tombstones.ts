import type { Deadline } from './log.ts';
import type { ObjectStore } from './objects.ts';
import type { Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface TombstoneOptions {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

export async function applyTombstones(_: TombstoneOptions): Promise<{ done: boolean }> {
  throw new Error('under construction');
}
