import { z } from 'zod';
import { runKeys } from './keys.ts';
import { getJson, type ObjectStore } from './objects.ts';

/** Of a report: a validation that came to its end has counted both sides. */
const endSchema = z.looseObject({ counts: z.unknown() });

/**
 * A validation that came to its end is done anew, since the target may have been mended meanwhile; one that was cut off,
 * or failed on its way, goes on where it was.
 */
export async function forgetFinished(objects: ObjectStore, run: string): Promise<void> {
  const { report, reportPage } = runKeys(run);
  const earlier = await getJson(objects, report, endSchema);
  if (earlier === undefined) return;
  if (earlier.counts !== null) return await forgetVerdict(objects, run);
  for (const key of [report, reportPage]) await objects.delete(key);
}

/**
 * Takes away all that a validation found, so that the next one finds it anew: what was compared and swept, what was answered, and
 * what was made of both. Queries and exact neighbours stay: they depend on the shards and the event alone, and each
 * says by its hash what it belongs to.
 */
export async function forgetVerdict(objects: ObjectStore, run: string): Promise<void> {
  const { compared, sweep, answers, recall, tuning, drift, diagnosis, report, reportPage } = runKeys(run);
  const found = [...(await objects.list(compared)), ...(await objects.list(answers))];
  for (const key of [...found, sweep, recall, tuning, drift, diagnosis, report, reportPage]) await objects.delete(key);
}
