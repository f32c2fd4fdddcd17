import { distanceCauses } from './causes/distance.ts';
import { type Experiment, makeExperiment } from './causes/experiment.ts';
import { isFilterAlone, payloadIndexCause, refusedFilterCause, tryUnfiltered } from './causes/filters.ts';
import { indexCause, unsearchedCause } from './causes/index-built.ts';
import { findMissingRanges, missingNeighbours } from './causes/missing-ranges.ts';
import { settingCauses } from './causes/settings.ts';
import { runKeys } from './keys.ts';
import { type Deadline, isNear } from './log.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { patiently } from './patiently.ts';
import { readTruths } from './recall/truths.ts';
import { type Cause, type Diagnosis, type Manifest, type Plan, type RecallEntry, recallSchema } from './run-files.ts';
import type { Store } from './stores/port.ts';

export interface DiagnoseOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

/**
 * Finds out why a check failed, by experiment, and writes diagnosis.json. Where nothing that was tried explains it, nothing
 * is said. Near the deadline the sets that are left are not looked at. docs/validation.md says how each cause is told.
 */
export async function findCauses(options: DiagnoseOptions): Promise<Diagnosis> {
  const { plan, objects } = options;
  const recall = await getJson(objects, runKeys(plan.run).recall, recallSchema);
  const ranges = await findMissingRanges(options);
  const causes = [...ranges, ...(await recallCauses(options, recall?.sets.filter(hasMissed) ?? [], ranges))];
  const diagnosis: Diagnosis = { causes };
  await putJson(objects, runKeys(plan.run).diagnosis, diagnosis);
  return diagnosis;
}

/** Below its goal, or not to be searched. A set whose mean holds the goal needs more queries, not a cause. */
function hasMissed({ outcome, target, atLeast }: RecallEntry): boolean {
  if (outcome === 'failed') return true;
  return outcome === 'unproven' && (!target.measured || target.mean < (atLeast ?? 0));
}

async function recallCauses(
  options: DiagnoseOptions,
  missed: readonly RecallEntry[],
  ranges: readonly Cause[],
): Promise<readonly Cause[]> {
  if (missed.length === 0) return [];
  const { plan, target, deadline } = options;
  const described = await patiently(() => target.describe());
  // pgvector looks for indexes by the names that it gives them; others' are told by `described`.
  const vectors = described.schema.vectors.map((each) => ({ ...each, index: { kind: 'none' as const } }));
  const progress = await patiently(() => target.indexProgress({ ...described.schema, vectors, payloadIndexes: [] }));
  const truths = await readTruths(options);
  const causes: Cause[] = [];
  for (const entry of missed) {
    if (isNear(deadline)) break;
    if (!entry.target.measured) {
      causes.push(...unsearchedCause({ plan, described, progress }, entry));
      causes.push(...refusedFilterCause({ plan, described, truths }, entry));
      continue;
    }
    causes.push(...(await causesOf(await makeExperiment({ ...options, entry, truths, described, progress }), ranges)));
  }
  return causes;
}

/** Of one set, the one that explains most first. */
async function causesOf(experiment: Experiment, ranges: readonly Cause[]): Promise<readonly Cause[]> {
  const unfiltered = await tryUnfiltered(experiment);
  const settings = await settingCauses(experiment, isFilterAlone(experiment, unfiltered));
  const remaining = 1 - experiment.base.recall - settings.reduce((sum, { gain }) => sum + gain, 0);
  const found = [
    ...indexCause(experiment),
    ...(await missingNeighbours(experiment, ranges)),
    ...(await distanceCauses(experiment)),
    ...settings,
    ...payloadIndexCause(experiment, unfiltered, remaining),
  ];
  return found.toSorted((a, b) => b.gain - a.gain).map(({ cause }) => cause);
}
