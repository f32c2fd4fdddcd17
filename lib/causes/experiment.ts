import { InvalidEvent } from '../errors.ts';
import { askerOf, currentTruthBy, liveTruthOf } from '../live/live-truth.ts';
import { latencyOf } from '../recall/recall-summary.ts';
import { openSide, type Side } from '../recall/search-side.ts';
import type { Truth } from '../recall/truths.ts';
import type { Manifest, Plan, RecallEntry } from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import type { Description, IndexProgress, SearchTuning, Store } from '../stores/port.ts';
import { percent, plural } from '../words.ts';

/** Queries asked to find out which are the worst, besides those that recall.json names. */
const poolSize = 200;
/** Queries that are asked again: the worst, and some others, so that a change that only helps bad ones shows as what it is. */
const maxWorst = 40;
const maxOthers = 10;

/** What the queries of one set found under certain settings. */
export interface Trial {
  readonly recall: number;
  /** Queries answered with fewer than k records though there were as many. */
  readonly short: number;
  /** Median milliseconds. */
  readonly p50: number;
}

/** A set that missed its goal, and its worst queries, to be searched again in other ways. */
export interface Experiment {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly source: Store;
  readonly target: Store;
  readonly entry: RecallEntry;
  readonly truths: readonly Truth[];
  readonly described: Description;
  readonly progress: IndexProgress;
  readonly tuning: SearchTuning;
  /** As the target is searched now: what it tells, and what the event says that the application sends. */
  readonly start: SearchSettings;
  /** What the event says that the application sends. */
  readonly sent: SearchSettings;
  readonly base: Trial;
  /** The store is asked for exact neighbours; one that cannot, or is set to refuse it, answers as before. */
  readonly exact: Trial;
  /** `recall@10 over its 40 worst queries and 10 others` */
  readonly figure: string;
}

export type ExperimentOptions = Pick<
  Experiment,
  'plan' | 'manifest' | 'source' | 'target' | 'entry' | 'described' | 'progress'
> & { /** All of the run's. */ readonly truths: readonly Truth[] };

export async function makeExperiment({ truths, ...options }: ExperimentOptions): Promise<Experiment> {
  const { plan, target, entry } = options;
  const { set, vector, k } = entry;
  const own = truths.filter(({ query, candidates }) => query.set === set && query.vector === vector && candidates > 0);
  const named = new Set(entry.target.measured ? entry.target.worst.map(({ id }) => id) : []);
  const pool = own.filter(({ query }, at) => at < poolSize || named.has(query.id));
  const side = await openSide({ plan, side: 'target', store: target, vector });
  const ask = askerOf(options);
  const asked: { truth: Truth; recall: number }[] = [];
  for (const truth of pool) {
    const { recall } = await ask(side, truth, { k, distance: entry.distance });
    asked.push({ truth, recall });
  }
  asked.sort((a, b) => a.recall - b.recall);
  const worst = asked.slice(0, maxWorst);
  const others = spread(asked.slice(maxWorst), maxOthers);
  const chosen = await current(
    options,
    [...worst, ...others].map(({ truth }) => truth),
  );
  const tuning = await target.tuning(entry.targetVector);
  const sent = plan.event.validate.recall?.search ?? {};
  const heeded = Object.entries(tuning.current).filter(([name]) => Object.hasOwn(tuning.heeds, name));
  const and = others.length > 0 ? ` and ${plural(others.length, 'other')}` : '';
  const drawn = {
    ...options,
    truths: chosen,
    tuning,
    sent,
    start: { ...Object.fromEntries(heeded), ...sent },
    figure: `recall@${k} over its ${plural(worst.length, 'worst query')}${and}`,
  };
  const base = await tryTarget(drawn);
  return { ...drawn, base, exact: (await unlessRefused(() => tryTarget(drawn, { exact: true }))) ?? base };
}

/** In a live run as they are now: a neighbour that was deleted since the export is nothing that the target lacks. */
async function current(
  { plan, source, target, entry }: Omit<ExperimentOptions, 'truths'>,
  truths: readonly Truth[],
): Promise<readonly Truth[]> {
  const live = liveTruthOf({ plan, source, target });
  if (live === undefined) return truths;
  const { k, distance, vector } = entry;
  const as = { plan, side: 'target', store: target, vector } as const;
  const [side, exact] = [await openSide(as), await openSide({ ...as, exact: true })];
  const found: Truth[] = [];
  for (const truth of truths) {
    const by = async (each: Side): Promise<Truth> => await currentTruthBy(live, each, truth, { k, distance });
    found.push((await unlessRefused(() => by(exact))) ?? (await by(side)));
  }
  return found;
}

/** undefined where the store refuses the question, as Qdrant's strict mode does for exact searches. */
export async function unlessRefused<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof InvalidEvent) return undefined;
    throw error;
  }
}

/** Up to `size` of them, evenly over all. */
function spread<T>(all: readonly T[], size: number): T[] {
  if (all.length <= size) return [...all];
  return Array.from({ length: size }, (_, i) => all[Math.floor((i * (all.length - 1)) / (size - 1))]).filter(
    (each) => each !== undefined,
  );
}

interface TrialOptions {
  readonly settings?: SearchSettings;
  readonly exact?: boolean;
}

/** Searches the target for the worst queries again. */
export async function tryTarget(
  { plan, source, target, entry, truths }: Pick<Experiment, 'plan' | 'source' | 'target' | 'entry' | 'truths'>,
  options: TrialOptions = {},
): Promise<Trial> {
  const { k, distance, vector } = entry;
  const side = await openSide({ plan, side: 'target', store: target, vector, ...options });
  const ask = askerOf({ plan, source, target });
  let [recall, short] = [0, 0];
  const millis: number[] = [];
  for (const truth of truths) {
    const answer = await ask(side, truth, { k, distance });
    recall += answer.recall / truths.length;
    if (answer.hits < Math.min(k, answer.candidates ?? truth.candidates)) short += 1;
    millis.push(answer.millis);
  }
  return { recall, short, p50: latencyOf(millis).p50 };
}

/** `61.00% to 98.20%` */
export function change(before: number, after: number): string {
  return `${percent(before)} to ${percent(after)}`;
}

/** Less than this is no gain: two searches of one collection may differ as much. */
export const leastGain = 0.02;

/** True when going from `before` to `after` closes a third of what is missing up to `ceiling`. */
export function explains(before: number, after: number, ceiling = 1): boolean {
  return after - before >= Math.max(leastGain, (ceiling - before) / 3);
}
