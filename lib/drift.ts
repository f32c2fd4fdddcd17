import type { Deadline } from './log.ts';
import type { ObjectStore } from './objects.ts';
import type { Manifest, Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface DriftInput {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

/** Holds what the old model finds against what the new one does, and writes drift.json. */
export async function measureDrift({ plan }: DriftInput): Promise<{ readonly done: boolean }> {
  throw new Error(`run ${plan.run}: drift cannot be measured yet`);
}
