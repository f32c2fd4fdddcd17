import { modelText } from '../embed/stage/model-id.ts';
import { StoreUnavailable, Throttled, VecferryError } from '../errors.ts';
import { decodeFloats } from '../float-text.ts';
import { runKeys } from '../keys.ts';
import { type Deadline, isNear } from '../log.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Manifest, Plan } from '../run-files.ts';
import type { Store } from '../stores/port.ts';
import { hashOf } from './answers.ts';
import { examplesOf } from './drift-examples.ts';
import { type Drift, type DriftAnswer, type DriftMean, type DriftSet, driftSchema } from './drift-files.ts';
import { recallInterval } from './interval.ts';
import { listRankBiasedOverlap, overlapOf, rankCorrelation } from './list-measures.ts';
import { querySpace, type SourceSpace } from './query-space.ts';
import { spreadOf } from './recall-summary.ts';
import { openSide, type Side, searchSide } from './search-side.ts';
import { goalOf, type SearchedVector, vectorsOf } from './searched-vectors.ts';
import { readTruthsAndHash, type Truth } from './truths.ts';

/** What is done is written this often, so that a kill costs no more. */
const checkpointMs = 60_000;
/** Ids of either side that an example shows. */
const shown = 5;

export interface DriftInput {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  readonly deadline: Deadline;
}

/**
 * Holds what the source's own vectors find against what the target's do, where another model made these or they are
 * truncated: for each query that has a vector of both, the same k and depths are searched for on both sides. Writes
 * drift.json. Nothing of it is a gate: another model is meant to find other records. Near the deadline what is done is
 * written: call again.
 * @throws NotFound when the neighbours of a shard are not there.
 */
export async function measureDrift(input: DriftInput): Promise<{ readonly done: boolean }> {
  const { plan, manifest, objects } = input;
  const key = runKeys(plan.run).drift;
  const sets = manifest.records === 0 ? [] : changedSets(plan);
  const { truths, of: truthsOf } = sets.length === 0 ? { truths: [], of: '' } : await readTruthsAndHash(input);
  const of = hashOf([truthsOf, plan.event.validate.recall, sets.map(({ name, searched }) => [name, searched.vector])]);
  const earlier = await getJson(objects, key, driftSchema);
  if (earlier?.of === of && earlier.done) return { done: true };
  const empty: Drift = { done: false, of, changed: changedText(plan), sets: [], underWay: { answers: [] } };
  let drift = earlier?.of === of ? earlier : empty;
  const work: Work = { ...input, hasAsked: false, writtenAt: performance.now() };
  for (const set of sets.slice(drift.sets.length)) {
    const asked = askedOf(plan, set, truths);
    const found = await askSet(work, asked, drift);
    if (found === undefined) return { done: false };
    drift = { ...drift, sets: [...drift.sets, found], underWay: { answers: [] } };
    await putJson(objects, key, drift);
  }
  await putJson(objects, key, { ...drift, done: true });
  return { done: true };
}

/** True where drift is measured: a vector that is searched is other in the target. */
export function hasOtherVectors(plan: Plan): boolean {
  return changedSets(plan).length > 0;
}

interface Work extends DriftInput {
  hasAsked: boolean;
  writtenAt: number;
}

interface ChangedSet {
  readonly name: string;
  readonly searched: SearchedVector;
  readonly space: SourceSpace;
  readonly k: number;
  readonly isSampled: boolean;
}

/** The sets, and the vectors that they search, of which the source has others than the target. */
function changedSets(plan: Plan): readonly ChangedSet[] {
  return (plan.event.validate.recall?.sets ?? []).flatMap((set) =>
    vectorsOf(plan, set).flatMap((searched) => {
      const { source: space } = querySpace(plan, searched);
      if (space === undefined) return [];
      const isSampled = set.queries === undefined && set.file === undefined;
      return [{ name: set.name, searched, space, k: goalOf(plan, set).k, isSampled }];
    }),
  );
}

function changedText({ source, embed, event, mapping }: Plan): string {
  const truncated = Object.entries(mapping.truncate ?? {}).map(
    ([vector, dimensions]) => `vector '${vector}' is truncated to ${dimensions} floats`,
  );
  if (embed === undefined) return truncated.join('; ');
  const old = source.vectors.find((each) => each.name === embed.vector)?.model ?? event.source.model;
  const by = `${modelText(embed.model)}, ${embed.model.dimensions} floats`;
  const before = source.vectors.some(({ kind }) => kind === 'dense')
    ? `in place of ${modelText(old)}`
    : 'where the source has no dense vector';
  const made = `${by}, ${embed.records === 'missing' ? 'those too that the source lacks' : before}`;
  return [made, ...truncated].join('; ');
}

interface AskedSet extends ChangedSet {
  /** Queries with a vector of both sides and something to find. */
  readonly truths: readonly Truth[];
  readonly without: number;
  readonly depths: readonly number[];
  readonly population: number | undefined;
}

function askedOf(plan: Plan, set: ChangedSet, all: readonly Truth[]): AskedSet {
  const { name, searched, isSampled } = set;
  const own = all.filter(
    ({ query, candidates }) => query.set === name && query.vector === searched.vector && candidates > 0,
  );
  const truths = own.filter(({ query }) => query.sourceValues !== undefined);
  const most = truths.reduce((max, { candidates }) => Math.max(max, candidates), 0) - (isSampled ? 1 : 0);
  const k = Math.min(set.k, most);
  const depths = [...new Set(plan.event.validate.recall?.depths ?? [])];
  return {
    ...set,
    k,
    truths: k > 0 ? truths : [],
    without: own.length - truths.length,
    depths: depths.filter((depth) => depth !== k && depth <= most).sort((a, b) => a - b),
    // A sample stands for the records it was drawn from; queries that somebody chose stand for more than themselves.
    population: isSampled ? truths[0]?.candidates : undefined,
  };
}

/** undefined where the deadline came first. */
async function askSet(work: Work, asked: AskedSet, drift: Drift): Promise<DriftSet | undefined> {
  const { plan, objects, source, target, deadline } = work;
  const { name: set, searched, space, truths } = asked;
  const { vector } = searched;
  if (truths.length === 0 || space.vector === undefined) {
    return { measured: false, set, vector, reason: reasonOf(asked) };
  }
  const ownSide = await openSide({ plan, side: 'source', store: source, vector });
  const sides = {
    source: { ...ownSide, vector: space.vector },
    target: await openSide({ plan, side: 'target', store: target, vector }),
  };
  const answers = [...drift.underWay.answers];
  const write = async (): Promise<void> => {
    await putJson(objects, runKeys(plan.run).drift, { ...drift, underWay: { answers } });
    work.writtenAt = performance.now();
  };
  for (const truth of truths.slice(answers.length)) {
    if (work.hasAsked && isNear(deadline)) {
      await write();
      return undefined;
    }
    if (performance.now() - work.writtenAt > checkpointMs) await write();
    const answer = await orFailure(() => askBoth(sides, asked, truth));
    if (typeof answer === 'string') return { measured: false, set, vector, reason: answer };
    answers.push(answer);
    work.hasAsked = true;
  }
  return { ...summarise(asked, space.vector, answers), examples: await examplesOf(work, truths, answers) };
}

function reasonOf({ space, searched, truths, without, isSampled }: AskedSet): string {
  if (space.vector === undefined) return `the source has no one vector that '${searched.vector}' takes the place of`;
  if (truths.length > 0) return 'there is nothing to find besides the query itself';
  if (without === 0) return 'no query has anything to find';
  return isSampled
    ? 'none of the records drawn has a vector in the source'
    : 'no query has a vector for the source: give texts, and say in source.model how its model is asked, or give each query its sourceVector';
}

async function askBoth(
  sides: { readonly source: Side; readonly target: Side },
  { k, depths, isSampled }: AskedSet,
  truth: Truth,
): Promise<DriftAnswer> {
  const old = { ...truth, values: decodeFloats(truth.query.sourceValues ?? '') };
  const mapped = sides.target.idOf;
  const overlaps: number[] = [];
  let first: Pick<DriftAnswer, 'rbo' | 'correlation' | 'source' | 'target'> | undefined;
  for (const depth of [k, ...depths]) {
    const found = await askOne(sides.source, old, depth, isSampled);
    const other = await askOne(sides.target, truth, depth, isSampled);
    const ids = found.map(mapped);
    overlaps.push(overlapOf(ids, other));
    if (first !== undefined) continue;
    const [inSource, inTarget] = [new Set(ids), new Set(other)];
    first = {
      rbo: listRankBiasedOverlap(ids, other),
      correlation: rankCorrelation(ids, other),
      source: found.slice(0, shown).map((id) => ({ id, isCommon: inTarget.has(mapped(id)) })),
      target: other.slice(0, shown).map((id) => ({ id, isCommon: inSource.has(id) })),
    };
  }
  return { overlaps, ...(first ?? { rbo: 1, correlation: 1, source: [], target: [] }) };
}

/** Ids of the `depth` nearest, each once; a sampled query's own record, which says nothing, is asked for besides and left out. */
async function askOne(side: Side, truth: Truth, depth: number, isSampled: boolean): Promise<string[]> {
  const { hits } = await searchSide(side, truth, isSampled ? depth + 1 : depth);
  const own = isSampled ? side.idOf(truth.query.id) : undefined;
  return [...new Set(hits.map(({ id }) => id))].filter((id) => id !== own).slice(0, depth);
}

function summarise(
  { name, searched, k, depths, truths, without, isSampled, population }: AskedSet,
  sourceVector: string,
  answers: readonly DriftAnswer[],
) {
  const overlaps = answers.map((each) => each.overlaps[0] ?? 0);
  const mean = (values: readonly number[], at = k): DriftMean => recallInterval(values, at, population);
  return {
    measured: true as const,
    set: name,
    vector: searched.vector,
    sourceVector,
    targetVector: searched.targetVector,
    k,
    queries: truths.length,
    without,
    isOwnLeftOut: isSampled,
    overlap: mean(overlaps),
    spread: spreadOf(overlaps),
    depths: depths.map((depth, at) => {
      const found = answers.map((each) => each.overlaps[at + 1] ?? 0);
      return { depth, ...mean(found, depth) };
    }),
    rbo: mean(answers.map(({ rbo }) => rbo)),
    correlation: ofCorrelations(mean(answers.map(({ correlation }) => (correlation + 1) / 2))),
  };
}

/** A correlation c lies between -1 and 1, so (c + 1) / 2 has the interval of a mean of recalls. */
const ofCorrelations = ({ mean, low, high }: DriftMean): DriftMean => ({
  mean: 2 * mean - 1,
  low: 2 * low - 1,
  high: 2 * high - 1,
});

/** What a side that cannot be searched says. @throws what is no word of the store, or a fault that may pass */
async function orFailure<T>(ask: () => Promise<T>): Promise<T | string> {
  try {
    return await ask();
  } catch (error) {
    const isPassing = error instanceof Throttled || error instanceof StoreUnavailable;
    if (!(error instanceof VecferryError) || isPassing) throw error;
    return error.message;
  }
}
