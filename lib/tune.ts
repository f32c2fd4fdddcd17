import { InvalidEvent } from './errors.ts';
import { runKeys } from './keys.ts';
import type { Deadline } from './log.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type Manifest, type Plan, recallSchema, type Tuning } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface TuneOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly target: Store;
  readonly deadline: Deadline;
}

/**
 * Raises the target's search settings for each query set that missed its goal, where the event says `"tune": true`, and
 * writes tuning.json.
 */
export async function tuneSearch({ plan, objects }: TuneOptions): Promise<{ done: boolean }> {
  if (plan.event.validate.recall?.tune !== true) return { done: true };
  const recall = await getJson(objects, runKeys(plan.run).recall, recallSchema);
  if (recall?.sets.some(({ outcome }) => outcome === 'failed') === true)
    throw new InvalidEvent('tuning is not here yet');
  await putJson(objects, runKeys(plan.run).tuning, { done: true, sets: [] } satisfies Tuning);
  return { done: true };
}
