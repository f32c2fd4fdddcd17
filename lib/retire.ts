import type { FlagStore } from './flag.ts';
import type { ObjectStore } from './objects.ts';
import type { Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface RetireInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly openSource: () => Promise<Store>;
  readonly openTarget: () => Promise<Store>;
  readonly confirm: string | undefined;
  readonly now: () => Date;
}

/** Drops what a run has replaced, for good: the one step that cannot be taken back. */
export async function retire({ plan }: RetireInput): Promise<{ readonly dropped: boolean; readonly what: string }> {
  throw new Error(`run ${plan.run} cannot be retired yet`);
}
