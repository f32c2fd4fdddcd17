import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { reportSchema } from '../report/report-schema.ts';

/** True when the run's report says that everything was checked and is right; false also when there is none. */
export async function hasPassed(objects: ObjectStore, run: string): Promise<boolean> {
  const report = await getJson(objects, runKeys(run).report, reportSchema);
  return report?.verdict === 'validated';
}
