import type { z } from 'zod';
import { NotFound } from '../errors.ts';
import { runKeys } from '../keys.ts';
import { askerOf } from '../live/live-truth.ts';
import { type Deadline, isNear } from '../log.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import {
  type Manifest,
  type Plan,
  type Recall,
  type RecallEntry,
  recallSchema,
  type Tuning,
  tuningSchema,
} from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import type { tuneGoal } from '../states.ts';
import type { SearchTuning, Store } from '../stores/port.ts';
import { milliseconds, percent, plural } from '../words.ts';
import { recallInterval } from './interval.ts';
import { measureRecall } from './recall.ts';
import { latencyOf } from './recall-summary.ts';
import { openSide } from './search-side.ts';
import { changedSettings, largerOf, sameSettings, searchSteps, settingsText } from './search-steps.ts';
import { readTruths, type Truth } from './truths.ts';

export interface TuneOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
  /** From the command line, which tunes also where the event does not say so. */
  readonly goal?: z.infer<typeof tuneGoal> | undefined;
}

type TunedSet = Tuning['sets'][number];
type Point = TunedSet['curve'][number];

/** Searches before any of a point is timed: other settings read other parts of the index. */
const warmUps = 20;
/** Medians this close are the same: two measurements of one setting differ as much. */
const sameLatency = 1.05;

interface Work extends TuneOptions {
  readonly truths: readonly Truth[];
  readonly recall: Recall;
  tuning: Tuning;
}

/**
 * Raises the target's search settings for each query set that missed its goal, where the event says `"tune": true`, until
 * the lower end of its interval holds the goal, and chooses what holds it at the lowest latency. What was seen is written
 * to tuning.json after every point, so that a call which comes near its deadline, or is killed, is gone on with.
 *
 * Chosen settings are kept where the collection can keep them, and recall is then measured anew. Where none holds, and
 * where the store has no place for them, nothing is changed.
 * @throws NotFound when recall was not measured.
 */
export async function tuneSearch(options: TuneOptions): Promise<{ done: boolean }> {
  const { plan, objects, goal = {} } = options;
  if (options.goal === undefined && plan.event.validate.recall?.tune !== true) return { done: true };
  const keys = runKeys(plan.run);
  const recall = await getJson(objects, keys.recall, recallSchema);
  if (recall === undefined)
    throw new NotFound(`${objects.locate(keys.recall)} is not there: validate the run first`, { ids: [keys.recall] });
  const found = await getJson(objects, keys.tuning, tuningSchema);
  const isSameGoal = found?.goal.atLeast === goal.atLeast && found?.goal.maxP95Ms === goal.maxP95Ms;
  const earlier = isSameGoal ? found : undefined;
  if (earlier?.done === true) return { done: true };
  const tuning: Tuning = earlier ?? { done: false, goal, measuring: false, sets: startSets(recall, goal.atLeast) };
  const truths = tuning.sets.length > 0 ? await readTruths(options) : [];
  const work: Work = { ...options, recall, tuning, truths };
  if (!work.tuning.measuring) {
    for (const targetVector of new Set(tuning.sets.map((each) => each.targetVector))) {
      if (!(await tuneVector(work, targetVector))) return { done: false };
    }
    const isKept = work.tuning.sets.some(({ kept }) => kept);
    await save(work, { measuring: isKept, done: !isKept });
    if (!isKept) return { done: true };
  }
  // As the target is searched now that it keeps the settings, which tuning.json says.
  if (!(await measureRecall(work)).done) return { done: false };
  await save(work, { done: true });
  return { done: true };
}

/** The sets that missed their goal though the target could be searched. */
function startSets(recall: Recall, atLeast: number | undefined): TunedSet[] {
  return recall.sets.flatMap(({ set, targetVector, k, target, candidates, ...entry }) => {
    const goal = entry.atLeast === null ? null : (atLeast ?? entry.atLeast);
    if (goal === null || !target.measured || target.low >= goal || candidates === 0) return [];
    return [{ set, targetVector, k, atLeast: goal, curve: [], chosen: null, kept: false, how: '' }];
  });
}

/** False when the deadline came first. */
async function tuneVector(work: Work, targetVector: string): Promise<boolean> {
  const own = (): readonly TunedSet[] => work.tuning.sets.filter((each) => each.targetVector === targetVector);
  // Settled by an earlier call.
  if (own().every(({ how }) => how !== '')) return true;
  const tuning = await work.target.tuning(targetVector);
  if (Object.keys(tuning.heeds).length === 0) {
    const how = 'The target heeds no setting that would change what its searches find.';
    await settle(work, own(), () => ({ how }));
    return true;
  }
  for (const set of own()) if (!(await walk(work, set, tuning))) return false;
  // What an application sends with a search of this vector has to serve every set.
  const bests = own().map((set) => bestOf(work, set)?.settings);
  const shared = bests.every((each) => each !== undefined) ? largerOf(bests) : undefined;
  if (shared !== undefined) {
    for (const set of own()) if (!(await tryOn(work, set, shared))) return false;
  }
  await choose(work, own(), shared);
  return true;
}

/** Measures one setting after another, as the steps say, from the point that was reached before. */
async function walk(work: Work, { set, targetVector }: TunedSet, tuning: SearchTuning): Promise<boolean> {
  const entry = entryOf(work, set, targetVector);
  const current = (): TunedSet => setOf(work, set, targetVector);
  const search = work.plan.event.validate.recall?.search ?? {};
  const steps = searchSteps({
    start: current().curve[0]?.settings ?? { ...heeded(tuning), ...search },
    tuning,
    k: entry.k,
    isShort: entry.target.measured && entry.target.short > 0 && isFiltered(work, entry),
    records: work.manifest.records,
  });
  for (let step = steps.next(); !step.done; ) {
    const settings = step.value;
    if (!(await tryOn(work, current(), settings))) return false;
    const point = current().curve.find((each) => sameSettings(each.settings, settings));
    step = steps.next({ holds: (point?.low ?? 0) >= current().atLeast, mean: point?.mean ?? 0 });
  }
  return true;
}

const isFiltered = ({ truths }: Work, { set, vector }: RecallEntry): boolean =>
  truths.some(({ query, filter }) => query.set === set && query.vector === vector && filter.length > 0);

/** In effect now, of what the target heeds. */
function heeded({ current, heeds }: SearchTuning): SearchSettings {
  return Object.fromEntries(Object.entries(current).filter(([name]) => Object.hasOwn(heeds, name)));
}

/** Adds a point to the set's curve, unless it is there. False when the deadline came first. */
async function tryOn(work: Work, tuned: TunedSet, settings: SearchSettings): Promise<boolean> {
  const { set, targetVector } = tuned;
  if (tuned.curve.some((point) => sameSettings(point.settings, settings))) return true;
  const point = await measurePoint(work, tuned, settings);
  if (point === undefined) return false;
  const curve = [...tuned.curve, point];
  const { underWay: _, ...rest } = work.tuning;
  work.tuning = {
    ...rest,
    sets: rest.sets.map((each) => (isSet(each, set, targetVector) ? { ...each, curve } : each)),
  };
  await save(work, {});
  return true;
}

/** Asks every query of the set. undefined when the deadline came first: what was seen is kept for the next call. */
async function measurePoint(
  work: Work,
  { set, targetVector, k, curve }: TunedSet,
  settings: SearchSettings,
): Promise<Point | undefined> {
  const { plan, target, deadline, tuning } = work;
  const start = curve[0]?.settings ?? settings;
  const { vector, distance } = entryOf(work, set, targetVector);
  const truths = work.truths.filter(
    ({ query, candidates }) => query.set === set && query.vector === vector && candidates > 0,
  );
  // What stays as it is is not sent: the store may do more by itself than it says, as pgvector does for a large k.
  const sent = { ...plan.event.validate.recall?.search, ...changedSettings(start, settings) };
  const side = await openSide({ plan, side: 'target', store: target, vector, settings: sent });
  const asker = askerOf(work);
  const ask = (truth: Truth) => asker(side, truth, { k, distance });
  const { underWay } = tuning;
  const isGoingOn =
    underWay !== undefined && isSet(underWay, set, targetVector) && sameSettings(underWay.settings, settings);
  const recalls = isGoingOn ? [...underWay.recalls] : [];
  const millis = isGoingOn ? [...underWay.millis] : [];
  for (const truth of truths.slice(0, warmUps)) await ask(truth);
  for (const truth of truths.slice(recalls.length)) {
    if (isNear(deadline)) {
      await save(work, { underWay: { set, targetVector, settings, recalls, millis } });
      return undefined;
    }
    const answer = await ask(truth);
    recalls.push(answer.recall);
    millis.push(answer.millis);
  }
  const population = isSampled(plan, set) ? truths[0]?.candidates : undefined;
  const interval = recallInterval(recalls, k, population);
  const { p50, p95 } = latencyOf(millis);
  return { settings, queries: recalls.length, ...interval, p50, p95 };
}

/** Queries that were drawn from the collection; those that somebody chose stand for more than it holds. */
function isSampled({ event }: Plan, name: string): boolean {
  const set = event.validate.recall?.sets.find((each) => each.name === name);
  return set?.queries === undefined && set?.file === undefined;
}

function holds({ goal }: Work, { atLeast }: TunedSet, { low, p95 }: Point): boolean {
  return low >= atLeast && (goal?.maxP95Ms === undefined || p95 <= goal.maxP95Ms);
}

/** Of the points that hold the goal the one with the lowest median latency; of those as fast as it, the least search. */
function bestOf(work: Work, set: TunedSet): Point | undefined {
  const holding = set.curve.filter((point) => holds(work, set, point)).toSorted((a, b) => a.p50 - b.p50);
  const fastest = holding[0]?.p50 ?? 0;
  return holding.filter(({ p50 }) => p50 <= fastest * sameLatency).toSorted((a, b) => a.mean - b.mean)[0];
}

/** Keeps the settings that serve all sets of a vector, where the store can. */
async function choose(work: Work, sets: readonly TunedSet[], shared: SearchSettings | undefined): Promise<void> {
  const pointFor = (set: TunedSet) =>
    set.curve.find((point) => shared !== undefined && sameSettings(point.settings, shared));
  const servesAll = sets.every((set) => {
    const point = pointFor(set);
    return point !== undefined && holds(work, set, point);
  });
  const start = sets[0]?.curve[0]?.settings ?? {};
  const targetVector = sets[0]?.targetVector ?? '';
  if (shared !== undefined && servesAll) {
    const kept = await keep(work, targetVector, start, shared);
    await settle(work, sets, () => ({ chosen: shared, ...kept }));
    return;
  }
  await settle(work, sets, (set) => {
    const best = bestOf(work, set);
    if (best === undefined) return { how: noneHolds(work, set) };
    const others = sets.filter((each) => bestOf(work, each) === undefined).map((each) => each.set);
    const why =
      others.length > 0 ? `set ${others.join(', ')} holds its goal with none` : 'no setting holds for every set';
    return {
      chosen: best.settings,
      how: `Not kept, because ${why}: send ${JSON.stringify(best.settings)} with each search.`,
    };
  });
}

async function keep(work: Work, targetVector: string, start: SearchSettings, chosen: SearchSettings) {
  const changed = changedSettings(start, chosen);
  if (Object.keys(changed).length === 0) return { kept: true, how: 'It is searched so already.' };
  const sent = work.plan.event.validate.recall?.search ?? {};
  const replaced = Object.keys(changed).filter((name) => Object.hasOwn(sent, name));
  if (replaced.length > 0) {
    const how = `The application sends ${replaced.join(', ')} with each search, as validate.recall.search says: let it send ${JSON.stringify(changed)}.`;
    return { kept: false, how };
  }
  return await work.target.keepSearch(targetVector, changed);
}

function noneHolds({ goal }: Work, { curve, atLeast }: TunedSet): string {
  const best = curve.toSorted((a, b) => b.low - a.low)[0];
  if (best === undefined) return 'Nothing could be tried.';
  const seen = `${settingsText(best.settings) || 'as it is searched now'}: at least ${percent(best.low)} with a p95 of ${milliseconds(best.p95)}`;
  const wanted =
    goal?.maxP95Ms === undefined ? percent(atLeast) : `${percent(atLeast)} within ${milliseconds(goal.maxP95Ms)}`;
  const isTooFew = best.mean >= atLeast && best.low < atLeast;
  const few = isTooFew
    ? ` Its mean of ${percent(best.mean)} does, but ${plural(best.queries, 'query')} cannot show it: ask more.`
    : '';
  return `No setting that was tried holds ${wanted}; the best is ${seen}.${few}`;
}

async function settle(
  work: Work,
  sets: readonly TunedSet[],
  change: (set: TunedSet) => Partial<TunedSet>,
): Promise<void> {
  const changed = new Map(sets.map((set) => [`${set.set}\n${set.targetVector}`, { ...set, ...change(set) }]));
  work.tuning = {
    ...work.tuning,
    sets: work.tuning.sets.map((each) => changed.get(`${each.set}\n${each.targetVector}`) ?? each),
  };
  await save(work, {});
}

async function save(work: Work, change: Partial<Tuning>): Promise<void> {
  work.tuning = { ...work.tuning, ...change };
  await putJson(work.objects, runKeys(work.plan.run).tuning, work.tuning);
}

const isSet = (each: { set: string; targetVector: string }, set: string, targetVector: string): boolean =>
  each.set === set && each.targetVector === targetVector;

/** @throws NotFound when tuning.json is of another recall.json. */
function setOf({ tuning }: Work, set: string, targetVector: string): TunedSet {
  const found = tuning.sets.find((each) => isSet(each, set, targetVector));
  if (found === undefined)
    throw new NotFound(`tuning.json has no set '${set}': validate the run again`, { ids: [set] });
  return found;
}

function entryOf({ recall }: Work, set: string, targetVector: string): RecallEntry {
  const found = recall.sets.find((each) => isSet(each, set, targetVector));
  if (found === undefined)
    throw new NotFound(`recall.json has no set '${set}': validate the run again`, { ids: [set] });
  return found;
}
