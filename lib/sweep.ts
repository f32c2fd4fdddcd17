import type { Deadline } from './log.ts';
import type { ObjectStore } from './objects.ts';
import type { Manifest, Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface SweepOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

export async function sweepWrites(_: SweepOptions): Promise<{ done: boolean }> {
  throw new Error('under construction');
}
