import type { Embedder } from './embed/port.ts';
import type { Deadline, Log } from './log.ts';
import type { ObjectStore } from './objects.ts';
import type { Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface CatchUpInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly embedder: Embedder;
  readonly deadline: Deadline;
  readonly log: Log;
}

/** Of a run in place: embeds what was written to the table since its range was exported. */
export async function catchUp({ plan }: CatchUpInput): Promise<{ readonly done: boolean }> {
  throw new Error(`run ${plan.run}: what changed meanwhile cannot be caught up yet`);
}
