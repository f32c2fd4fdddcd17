import type { Report } from '../report/report-schema.ts';
import type { Plan, RecallEntry, Tuning } from '../run-files.ts';

/**
 * Whether the new index of a run that did not pass stays. While it is there the planner of PostgreSQL may use it, and readers of Qdrant do; so it
 * goes where readers would find less by it than by the old one, or nobody knows. Where they would not, taking it back costs a build of hours
 * and what it finds more; and where the tuning has found settings that reach the goal, it waits for an application that searches so.
 * @returns why it stays; undefined: it goes
 */
export function keepsIndex(
  { event: { index } }: Pick<Plan, 'event'>,
  { recall, findings, tuning, used, how }: Parts,
): string | undefined {
  // Somebody took it back meanwhile: what was searched is the old one.
  if (how === 'instead' && used === 'old') return undefined;
  if (index?.keep !== undefined) return index.keep ? 'index.keep says so' : undefined;
  const sets = recall.sets.filter(({ outcome }) => outcome !== 'nothing to measure');
  if (sets.length === 0 || findings.some(({ check }) => check !== 'recall')) return undefined;
  if (sets.every(findsNoLess)) return 'it finds no less than the old one';
  const isHeld = (entry: RecallEntry): boolean => !isMissed(entry) || tuning.some((each) => isTuned(entry, each));
  return sets.every(isHeld) ? 'it reaches the goal with the search settings that the tuning found' : undefined;
}

interface Parts extends Pick<NonNullable<Report['index']>, 'used' | 'how'> {
  readonly recall: { readonly sets: readonly RecallEntry[] };
  readonly findings: readonly Pick<Report['findings'][number], 'check'>[];
  readonly tuning: Tuning['sets'];
}

/** By the same queries, at every depth. */
function findsNoLess({ source, target }: RecallEntry): boolean {
  if (!source.measured || !target.measured) return false;
  const before = new Map(source.depths.map(({ depth, mean }) => [depth, mean]));
  const isNoLess = target.depths.every(({ depth, mean }) => mean >= (before.get(depth) ?? Number.POSITIVE_INFINITY));
  return isNoLess && target.mean >= source.mean;
}

const isMissed = ({ outcome }: RecallEntry): boolean => outcome === 'failed' || outcome === 'unproven';
const isTuned = (entry: RecallEntry, { set, targetVector, chosen }: Tuning['sets'][number]): boolean =>
  chosen !== null && set === entry.set && targetVector === entry.targetVector;
