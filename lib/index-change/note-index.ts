import type { z } from 'zod';
import { StoreUnavailable } from '../errors.ts';
import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import { indexOutput } from '../states.ts';
import { plural } from '../words.ts';

/** Writes index.json: what the last look at the index saw, and since when it was built and until when. An index that is there at the first look was built before. */
export async function noteIndex(
  objects: ObjectStore,
  { run, attempt }: Pick<Plan, 'run' | 'attempt'>,
  { done, detail }: Pick<z.infer<typeof indexOutput>, 'done' | 'detail'>,
): Promise<void> {
  const key = runKeys(run).index;
  const earlier = await getJson(objects, key, indexOutput);
  const now = new Date().toISOString();
  const isNew = earlier === undefined || earlier.done;
  if (done && isNew) return await putJson(objects, key, { ...earlier, done, detail });
  const startedAt = isNew ? now : (earlier.startedAt ?? now);
  const failed = earlier?.failed && { failed: earlier.failed };
  const before = earlier?.failed?.attempt === attempt && !done ? failedText(earlier.failed) : '';
  await putJson(objects, key, {
    done,
    detail: `${detail}${before}`,
    startedAt,
    ...failed,
    ...(done && { endedAt: now }),
  });
}

function failedText({ times, said }: NonNullable<z.infer<typeof indexOutput>['failed']>): string {
  return times === 0 ? '' : `; ${plural(times, 'build')} before it ended without an index: ${said}`;
}

/** Builds that fail are begun again so often. */
const maxFailures = 5;

/** Another build of hours would end so too. ENOSPC's words; PostgreSQL's code, whose words are of its own language. */
const isDiskFull = (said: string): boolean => /No space left on device|\[53100\]/.test(said);

/**
 * Counts a build that has ended without an index, before it is begun again.
 * @throws StoreUnavailable once that are too many, or the disk was full, with what the store said of the last one
 */
export async function noteFailedBuild(
  objects: ObjectStore,
  { run, attempt }: Pick<Plan, 'run' | 'attempt'>,
): Promise<void> {
  const { earlier, failed } = await readFailed(objects, { run, attempt });
  const said = failed.said === '' ? "the store's log says why" : failed.said;
  const detailOf = (times: number): string => `build ${times} ended without an index: ${said}`;
  // Whoever repeats the call has begun no further build: the next one's progress would stand there.
  const isCounted = earlier.detail === detailOf(failed.times);
  const times = isCounted ? failed.times : failed.times + 1;
  const detail = detailOf(times);
  // The next build has a time of its own.
  const begun = { ...earlier, startedAt: undefined };
  await putJson(objects, runKeys(run).index, { ...begun, detail, failed: { ...failed, times } });
  if (times <= maxFailures && !isDiskFull(said)) return;
  const text = `run '${run}': the index was begun ${plural(times, 'time')}, and no build came to its end: ${said}`;
  const next = `mend that, and start the run again under its id; what the build has left takes space until then, or until vecferry rollback ${run} drops it`;
  throw new StoreUnavailable(`${text}; ${next}`, { ids: [run] });
}

/** Keeps what a build said when it failed: whoever begins it again may be another process. */
export async function noteFailure(
  objects: ObjectStore,
  { run, attempt }: Pick<Plan, 'run' | 'attempt'>,
  error: unknown,
): Promise<void> {
  const { earlier, failed } = await readFailed(objects, { run, attempt });
  const said = error instanceof Error ? error.message : String(error);
  await putJson(objects, runKeys(run).index, { ...earlier, failed: { ...failed, said } });
}

async function readFailed(objects: ObjectStore, { run, attempt }: Pick<Plan, 'run' | 'attempt'>) {
  const earlier = (await getJson(objects, runKeys(run).index, indexOutput)) ?? { done: false, detail: '' };
  const failed = earlier.failed?.attempt === attempt ? earlier.failed : { attempt, times: 0, said: '' };
  return { earlier, failed };
}
