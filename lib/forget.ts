import { runKeys } from './keys.ts';
import type { ObjectStore } from './objects.ts';

/**
 * Takes away all that a validation found, so that the next one finds it anew: what was compared, what was answered, and
 * what was made of both. Queries and exact neighbours stay: they depend on the shards and the event alone, and each
 * says by its hash what it belongs to.
 */
export async function forgetVerdict(objects: ObjectStore, run: string): Promise<void> {
  const { compared, answers, recall, tuning, diagnosis, report, reportPage } = runKeys(run);
  const found = [...(await objects.list(compared)), ...(await objects.list(answers))];
  for (const key of [...found, recall, tuning, diagnosis, report, reportPage]) await objects.delete(key);
}
