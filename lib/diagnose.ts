import { runKeys } from './keys.ts';
import type { Deadline } from './log.ts';
import { type ObjectStore, putJson } from './objects.ts';
import type { Diagnosis, Manifest, Plan } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface DiagnoseOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

/** Finds out why a check failed, where that can be told, and writes diagnosis.json. */
export async function findCauses({ plan, objects }: DiagnoseOptions): Promise<Diagnosis> {
  const diagnosis: Diagnosis = { causes: [] };
  await putJson(objects, runKeys(plan.run).diagnosis, diagnosis);
  return diagnosis;
}
