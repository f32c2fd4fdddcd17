import type { Deadline } from '../log.ts';
import type { ObjectStore } from '../objects.ts';
import type { Manifest, Plan } from '../run-files.ts';
import type { Store } from '../stores/port.ts';

export interface SearchBeforeInput {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly deadline: Deadline;
}

/**
 * Of a run whose new index replaces the old one as it is built: asks the old index for every one of the run's queries
 * before the change, at every depth that recall is measured at, with the time each took. What is answered stands in `before/`, and is what
 * "Measure recall" takes for the source's answers. Nothing is asked again that is there.
 */
export async function searchBefore(_input: SearchBeforeInput): Promise<{ readonly done: boolean }> {
  throw new Error('searchBefore is not there yet');
}
