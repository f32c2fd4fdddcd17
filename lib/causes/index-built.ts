import type { Cause, Plan, RecallEntry } from '../run-files.ts';
import type { Description, IndexProgress } from '../stores/port.ts';
import { percent } from '../words.ts';
import { type Experiment, explains } from './experiment.ts';
import type { Found } from './settings.ts';

export interface IndexState {
  readonly plan: Plan;
  readonly described: Description;
  readonly progress: IndexProgress;
}

/** What is wrong with a vector's index, where it is not there or not finished; undefined where it is. */
function indexTrouble({ plan, described, progress }: IndexState, targetVector: string): string | undefined {
  if (!progress.done) {
    const detail = progress.detail ?? (progress.fraction === undefined ? '' : percent(progress.fraction));
    return `it is not built yet${detail === '' ? '' : ` (${detail})`}`;
  }
  const find = ({ vectors }: typeof plan.target, vector: string) =>
    vectors.find(({ name }) => name === vector)?.index?.kind ?? 'none';
  if (find(described.schema, targetVector) !== 'none') return undefined;
  // The plan of a run that only validates has of the target what it found there: the source says what should be.
  const sourceVector = Object.entries(plan.mapping.vectors).find(([, to]) => to === targetVector)?.[0] ?? '';
  const isMove = plan.event.mode === 'migrate';
  const wanted = isMove ? find(plan.target, targetVector) : find(plan.source, sourceVector);
  if (wanted === 'none') return undefined;
  return `there is none, where the ${isMove ? 'plan' : 'source'} has ${wanted}`;
}

/** The index is not there, and an exact search finds what is missing. */
export function indexCause(experiment: Experiment): readonly Found[] {
  const { entry, base, exact, figure } = experiment;
  const trouble = indexTrouble(experiment, entry.targetVector);
  if (trouble === undefined || !explains(base.recall, exact.recall)) return [];
  const evidence = `${figure} is ${percent(base.recall)}; an exact search of the same collection finds ${percent(exact.recall)}.`;
  return [{ gain: exact.recall - base.recall, cause: causeOf(entry, trouble, evidence) }];
}

/** Where the target could not be searched at all: without its index a search may take longer than anything waits. */
export function unsearchedCause(state: IndexState, entry: RecallEntry): readonly Cause[] {
  const trouble = indexTrouble(state, entry.targetVector);
  if (trouble === undefined || entry.target.measured) return [];
  return [causeOf(entry, trouble, `The target could not be searched: ${entry.target.reason}.`)];
}

function causeOf({ set, vector, targetVector }: RecallEntry, trouble: string, evidence: string): Cause {
  return {
    cause: 'index not built',
    check: 'recall',
    set,
    vector,
    what: `The target's index on ${targetVector === '' ? 'the unnamed vector' : targetVector} was searched as it is: ${trouble}.`,
    evidence,
    next: 'Let the index be built (start the run again under its id, which starts and awaits it, or build it in the store), and validate again.',
  };
}
