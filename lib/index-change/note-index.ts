import type { z } from 'zod';
import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { indexOutput } from '../states.ts';

/** Writes index.json: what the last look at the index saw, and since when it was built and until when. An index that is there at the first look was built before. */
export async function noteIndex(
  objects: ObjectStore,
  run: string,
  { done, detail }: Pick<z.infer<typeof indexOutput>, 'done' | 'detail'>,
): Promise<void> {
  const key = runKeys(run).index;
  const earlier = await getJson(objects, key, indexOutput);
  const now = new Date().toISOString();
  const isNew = earlier === undefined || earlier.done;
  if (done && isNew) return await putJson(objects, key, { ...earlier, done, detail });
  const startedAt = isNew ? now : (earlier.startedAt ?? now);
  await putJson(objects, key, { done, detail, startedAt, ...(done && { endedAt: now }) });
}
