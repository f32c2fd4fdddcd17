import { StoreUnavailable, Throttled, VecferryError } from '../errors.ts';
import { decodeFloats } from '../float-text.ts';
import { type AnsweredBefore, answeredBefore, measureBefore } from '../index-change/measure-before.ts';
import { runKeys } from '../keys.ts';
import { askLive, type LiveTruth, liveTruthOf, type Search } from '../live/live-truth.ts';
import { type Deadline, isNear } from '../log.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { type Manifest, type Plan, type Recall, tuningSchema } from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import type { Store } from '../stores/port.ts';
import { type Answers, hashOf, type KeptAnswer, queriesPerPart, readAnswers, writeAnswers } from './answers.ts';
import { goldAnswer } from './measures.ts';
import { querySpace } from './query-space.ts';
import { type AskedSet, type MeasuredSet, summarise } from './recall-summary.ts';
import { askSide, openSide, type Side, searchSide } from './search-side.ts';
import { changedSettings } from './search-steps.ts';
import { goalOf, searchedVectors, vectorsOf } from './searched-vectors.ts';
import { readTruthsAndHash, type Truth } from './truths.ts';

/** Searches on either side before any is timed: connections, caches and a just-in-time compiler get warm. */
export const warmUps = 20;

export interface RecallOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  /** Left out: all is asked in one go. */
  readonly deadline?: Deadline;
}

/** `recall` once all is measured; else call again. */
export type RecallOutcome = { readonly done: true; readonly recall: Recall } | { readonly done: false };

/**
 * Searches source and target for every query of every set, through the call an application makes, and holds what they
 * find against the exact neighbours from the shards. Both are searched in turn, so that both meet the same load; the
 * set's k first, so that no cache of another depth serves the search that is timed. What is answered is written to
 * answers/, and what is there already is not asked again, unless a side is set to be searched otherwise by now. Writes
 * recall.json once all is there. A source whose vectors are others is asked for gold queries alone. In a live run the truth is corrected by what was written since: live-truth.ts.
 * Where a new index has replaced the old one, the source's answers are those that the old one gave before: measure-before.ts.
 * @throws NotFound when the neighbours of a shard are not there.
 */
export async function measureRecall(options: RecallOptions): Promise<RecallOutcome> {
  const { plan, manifest, objects } = options;
  const reason = whyNot(plan, manifest);
  if (reason !== undefined) return await finish(options, { reason, sets: [] });

  const { truths, of } = await readTruthsAndHash(options);
  const sets: MeasuredSet[] = [];
  let part = 0;
  const live = liveTruthOf(options);
  const before = await answeredBefore(options, truths);
  const call: Call = { deadline: options.deadline, hasAsked: false, warm: new Set(), live, before };
  for (const set of setsOf(plan, truths, await keptByTarget(options))) {
    const sides = await openSides(options, set);
    const now = [
      await sourceSetTo(options.source, set, before),
      await setTo(options.target, set.searched.targetVector),
    ];
    const answers: Answers[] = [];
    for (let from = 0; from < set.truths.length; from += queriesPerPart, part++) {
      const next = set.truths.slice(from, from + queriesPerPart);
      const { name, vector, k, depths, settings, kept } = set;
      // Writes went on since an earlier attempt of a live run.
      const attempt = live === undefined ? [] : [plan.attempt];
      const hash = hashOf([of, name, vector, k, depths, settings, kept ?? null, now, from, ...attempt]);
      const found = await readAnswers(objects, plan.run, part, hash);
      if (found.asked < next.length) {
        found.source.failure ??= set.source?.why ?? before?.failureOf(next);
        await askPart(call, sides, set, next, found);
        await writeAnswers(objects, plan.run, part, found);
        if (found.asked < next.length) return { done: false };
      }
      answers.push(found);
    }
    sets.push({ ...set, answers });
  }
  return await finish(options, { sets: sets.map((set) => summarise(plan, set)) });
}

function whyNot(plan: Plan, manifest: Manifest): string | undefined {
  if (plan.event.validate.recall === null) return 'the event asks for none';
  if (searchedVectors(plan).length === 0) return 'the run moves no dense vector';
  return manifest.records === 0 ? 'the collection is empty' : undefined;
}

async function finish({ plan, objects }: RecallOptions, recall: Recall): Promise<RecallOutcome> {
  await putJson(objects, runKeys(plan.run).recall, recall);
  return { done: true, recall };
}

/** What tuning.json says that the target keeps, by its vectors' names; also to the run that was killed after it was kept. */
async function keptByTarget({ plan, objects }: RecallOptions): Promise<ReadonlyMap<string, SearchSettings>> {
  const tuning = await getJson(objects, runKeys(plan.run).tuning, tuningSchema);
  const sets = tuning?.sets.filter(({ kept }) => kept) ?? [];
  return new Map(
    sets.map(({ targetVector, curve, chosen }) => [
      targetVector,
      changedSettings(curve[0]?.settings ?? {}, chosen ?? {}),
    ]),
  );
}

function setsOf(plan: Plan, truths: readonly Truth[], kept: ReadonlyMap<string, SearchSettings>): AskedSet[] {
  const { sets = [], depths = [], search = {} } = plan.event.validate.recall ?? {};
  return sets.flatMap((set) =>
    vectorsOf(plan, set).map((searched) => {
      const { vector, targetVector } = searched;
      const own = truths.filter(({ query }) => query.set === set.name && query.vector === vector);
      const some = own.filter(({ candidates }) => candidates > 0);
      const most = some.reduce((max, { candidates }) => Math.max(max, candidates), 0);
      const { k: asked, atLeast } = goalOf(plan, set);
      const k = Math.min(asked, most);
      return {
        name: set.name,
        vector,
        searched,
        truths: some,
        without: own.length - some.length,
        isSampled: set.queries === undefined && set.file === undefined,
        filter: set.filter ?? null,
        k,
        atLeast,
        goldAtLeast: set.goldAtLeast,
        source: querySpace(plan, searched).source,
        depths: [...new Set(depths)].filter((depth) => depth !== k && depth <= most).sort((a, b) => a - b),
        settings: search,
        kept: kept.get(targetVector),
      };
    }),
  );
}

type SideName = 'source' | 'target';

async function openSides(
  { plan, source, target }: RecallOptions,
  { vector, settings, source: old }: AskedSet,
): Promise<Record<SideName, Side>> {
  const own = await openSide({ plan, side: 'source', store: source, vector });
  return {
    source: old?.vector === undefined ? own : { ...own, vector: old.vector },
    target: await openSide({ plan, side: 'target', store: target, vector, settings }),
  };
}

/** As setTo; of a source with other vectors only what gold queries search. */
async function sourceSetTo(
  store: Store,
  { vector, source }: AskedSet,
  before: AnsweredBefore | undefined,
): Promise<SearchSettings | string> {
  if (before !== undefined) return before.of;
  if (source === undefined) return await setTo(store, vector);
  return source.vector === undefined ? source.why : await setTo(store, source.vector);
}

/** How a side is set to be searched by itself: only answers that were given so count together. */
async function setTo(store: Store, vector: string): Promise<SearchSettings | string> {
  return await orFailure(async () => (await store.tuning(vector)).current);
}

/** How far one call has come. */
interface Call {
  readonly deadline: Deadline | undefined;
  hasAsked: boolean;
  /** Sides that need no more warming. */
  readonly warm: Set<Side>;
  readonly live: LiveTruth | undefined;
  readonly before: AnsweredBefore | undefined;
}

const mustEnd = ({ deadline, hasAsked }: Call): boolean => hasAsked && deadline !== undefined && isNear(deadline);

/** Asks what is left of a part until the deadline is near; one query at least in every call. */
async function askPart(
  call: Call,
  sides: Record<SideName, Side>,
  set: AskedSet,
  truths: readonly Truth[],
  answers: Answers,
): Promise<void> {
  const isAsked = set.source === undefined && call.before === undefined;
  const measured = isAsked ? [sides.source, sides.target] : [sides.target];
  for (const side of measured) if (!call.warm.has(side)) await warmUp(call, side, set);
  for (const truth of truths.slice(answers.asked)) {
    if (mustEnd(call)) return;
    if (set.source !== undefined) await askSourceGold(sides.source, set, truth, answers);
    const both: readonly SideName[] = answers.asked % 2 === 0 ? ['source', 'target'] : ['target', 'source'];
    await askBoth(call, sides, set, truth, answers, call.before === undefined ? both : ['target']);
    if (call.before !== undefined && answers.source.failure === undefined)
      answers.source.answers.push(await measureBefore(call.before, sides.source, truth, set));
    answers.asked++;
    call.hasAsked = true;
  }
}

/** A side that cannot be searched says so again when it is asked. */
async function warmUp(call: Call, side: Side, { truths, k, searched }: AskedSet): Promise<void> {
  call.warm.add(side);
  for (const truth of truths.slice(0, warmUps)) {
    if (mustEnd(call)) return;
    const answer = await orFailure(() => askSide(side, truth, { k, distance: searched.distance }));
    if (typeof answer === 'string') return;
  }
}

/** What a source with other vectors finds of what a gold query expects. */
async function askSourceGold(side: Side, { k }: AskedSet, truth: Truth, answers: Answers): Promise<void> {
  answers.sourceGold ??= { answers: [] };
  const kept = answers.sourceGold;
  const { expected, sourceValues } = truth.query;
  if (kept.failure !== undefined) return;
  // A part that was cut off is gone on with where its other answers end.
  kept.answers.length = answers.asked;
  if (expected === undefined || sourceValues === undefined) {
    kept.answers.push(null);
    return;
  }
  const found = await orFailure(() => searchSide(side, { ...truth, values: decodeFloats(sourceValues) }, k));
  if (typeof found === 'string') kept.failure = found;
  else {
    const named = found.hits.map(({ id }) => id);
    kept.answers.push(goldAnswer(named, new Set(expected), k));
  }
}

async function askBoth(
  { live }: Call,
  sides: Record<SideName, Side>,
  { k, depths, searched: { distance } }: AskedSet,
  truth: Truth,
  answers: Answers,
  turn: readonly SideName[],
): Promise<void> {
  const found = new Map<SideName, KeptAnswer>();
  /** undefined where the side cannot be searched, which its answers then say. */
  const unlessFailed = async <T>(name: SideName, ask: () => Promise<T>): Promise<T | undefined> => {
    if (answers[name].failure !== undefined) return undefined;
    const outcome = await orFailure(ask);
    if (typeof outcome !== 'string') return outcome;
    answers[name].failure = outcome;
    return undefined;
  };
  for (const depth of [k, ...depths]) {
    const asked = { k: depth, distance };
    const search: Search = (side, ...rest) => unlessFailed(side.side, () => searchSide(side, ...rest));
    const together =
      live &&
      (await askLive(
        live,
        turn.map((name) => sides[name]),
        truth,
        asked,
        search,
      ));
    for (const [at, name] of turn.entries()) {
      const answer = together ? together[at] : await unlessFailed(name, () => askSide(sides[name], truth, asked));
      if (answer === undefined) continue;
      const first = found.get(name);
      if (first === undefined) found.set(name, { ...answer, depths: [] });
      else first.depths.push(answer.recall);
    }
  }
  for (const [name, answer] of found) if (answers[name].failure === undefined) answers[name].answers.push(answer);
}

/** What a side that cannot be searched says. @throws what is no word of the store, or a fault that may pass */
export async function orFailure<T>(ask: () => Promise<T>): Promise<T | string> {
  try {
    return await ask();
  } catch (error) {
    const isPassing = error instanceof Throttled || error instanceof StoreUnavailable;
    if (!(error instanceof VecferryError) || isPassing) throw error;
    return error.message;
  }
}
