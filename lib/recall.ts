import { denseVector, hasVector } from './batch.ts';
import { distanceBetween } from './distance.ts';
import { StoreUnavailable, Throttled, VecferryError } from './errors.ts';
import { patiently } from './fetch-records.ts';
import { queriesNeeded, recallInterval } from './interval.ts';
import { runKeys } from './keys.ts';
import { type Deadline, isNear } from './log.ts';
import { mapId } from './mapping.ts';
import { type ObjectStore, putJson } from './objects.ts';
import { type SearchedVector, searchedVectors } from './query-sets.ts';
import type { Manifest, Plan, Recall, RecallEntry, RecallSide } from './run-files.ts';
import type { Distance } from './schema.ts';
import type { Hit, Store } from './stores/port.ts';
import { storeKind } from './stores/registry.ts';
import { readTruths, type Truth } from './truths.ts';
import { percent } from './words.ts';

/**
 * Recall@k as ann-benchmarks defines it (ann_benchmarks/plotting/metrics.py, `knn_threshold`): a hit counts when its exact
 * distance is at most that of the true k-th neighbour plus a slack of 1e-3, whichever record it is, so ties are no misses.
 * There the slack is absolute; here it shrinks with distances below 1, or else every hit would count in a collection
 * whose vectors lie that close together. Never laxer than ann-benchmarks, but for the float32 rounding of 1 - cos.
 */
const slack = 1e-3;
const cosineRounding = 1e-6;

/** Searches on either side before any is timed: connections, caches and a just-in-time compiler get warm. */
const warmUps = 20;
const maxWorst = 10;

export interface RecallOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  /** Near it no further query is asked, and the interval is that of fewer queries. Left out: all are asked. */
  readonly deadline?: Deadline;
}

/** One side's searches: what was found and how long it took. */
interface Side {
  readonly store: Store;
  readonly vector: string;
  /** The id that stands for a source id on this side. */
  readonly idOf: (sourceId: string) => string;
  /** True when the side may hold records that are in no shard. */
  readonly hasOthers: boolean;
  readonly recalls: number[];
  readonly millis: number[];
  /** Why the side cannot be searched. */
  failure?: string;
}

/**
 * Searches source and target for every query, through the call an application makes, and holds what they find against
 * the exact neighbours from the shards. Both are searched in turn, so that both meet the same load. The query's own
 * record counts as one of its neighbours: it is in the collection, and a search that misses it is wrong. Writes recall.json.
 * @throws NotFound when the neighbours of a shard are not there.
 */
export async function measureRecall(options: RecallOptions): Promise<Recall> {
  const recall = await measure(options);
  await putJson(options.objects, runKeys(options.plan.run).recall, recall);
  return recall;
}

async function measure(options: RecallOptions): Promise<Recall> {
  const { plan, manifest, objects } = options;
  const settings = plan.event.validate.recall;
  if (settings === null) return { reason: 'the event asks for none', sets: [] };
  const vectors = searchedVectors(plan);
  if (vectors.length === 0) return { reason: 'the run moves no dense vector', sets: [] };
  if (manifest.records === 0) return { reason: 'the collection is empty', sets: [] };
  const truths = await readTruths({ plan, manifest, objects });
  const measured: Recall['sets'] = [];
  for (const vector of vectors) {
    const own = truths.filter(({ query }) => query.vector === vector.vector);
    measured.push(await measureVector(options, vector, own, own[0]?.candidates ?? 0));
  }
  return { sets: measured };
}

async function measureVector(
  { plan, source, target, deadline }: RecallOptions,
  { vector, targetVector, distance }: SearchedVector,
  truths: readonly Truth[],
  candidates: number,
): Promise<RecallEntry> {
  const { k: asked = 10, atLeast = 0.95 } = plan.event.validate.recall ?? {};
  const k = Math.min(asked, candidates);
  const about = {
    set: 'sampled',
    vector,
    targetVector,
    distance,
    filter: null,
    k,
    atLeast,
    candidates,
    settings: {},
    exactGold: null,
  };
  if (truths.length === 0) {
    const side: RecallSide = { measured: false, reason: 'no record has this vector' };
    const note = 'No record has this vector, so there is nothing to search for.';
    return { ...about, source: side, target: side, outcome: 'nothing to measure', note };
  }
  const { capabilities } = await storeKind(plan.event.target.store);
  const hasOthers = plan.event.target.into === 'existing';
  const mapped = (id: string): string => (plan.mapping.ids === 'keep' ? id : mapId(capabilities.ids, id));
  const ofSource: Side = { store: source, vector, idOf: (id) => id, hasOthers: false, recalls: [], millis: [] };
  const ofTarget: Side = { store: target, vector: targetVector, idOf: mapped, hasOthers, recalls: [], millis: [] };
  await searchInTurn([ofSource, ofTarget], truths, { k, distance, deadline });
  const found = summarise(ofTarget, truths, k, candidates);
  const isShort = ofTarget.recalls.length < truths.length && found.measured;
  const late = isShort ? ` The time ended after ${ofTarget.recalls.length} of ${truths.length} queries.` : '';
  const judged = judge(found, k, atLeast);
  return {
    ...about,
    source: summarise(ofSource, truths, k, candidates),
    target: found,
    ...judged,
    note: judged.note + late,
  };
}

interface SearchSettings {
  readonly k: number;
  readonly distance: Distance;
  readonly deadline: Deadline | undefined;
}

async function searchInTurn(sides: readonly Side[], truths: readonly Truth[], settings: SearchSettings): Promise<void> {
  for (const truth of truths.slice(0, warmUps)) {
    for (const side of sides) await search(side, truth, settings);
  }
  for (const [at, truth] of truths.entries()) {
    if (settings.deadline !== undefined && isNear(settings.deadline)) return;
    for (const side of at % 2 === 0 ? sides : sides.toReversed()) {
      const found = await search(side, truth, settings);
      if (found === undefined) continue;
      side.millis.push(found.millis);
      side.recalls.push(await recallOf(side, truth, found.hits, settings));
    }
  }
}

/** undefined when this side cannot be searched; why stands in `failure`. */
async function search(
  side: Side,
  { values }: Truth,
  { k }: SearchSettings,
): Promise<{ hits: readonly Hit[]; millis: number } | undefined> {
  if (side.failure !== undefined) return undefined;
  try {
    return await patiently(async () => {
      const start = performance.now();
      const hits = await side.store.search({ vector: side.vector, query: values, k });
      return { hits, millis: performance.now() - start };
    });
  } catch (error) {
    const isPassing = error instanceof Throttled || error instanceof StoreUnavailable;
    if (!(error instanceof VecferryError) || isPassing) throw error;
    side.failure = error.message;
    return undefined;
  }
}

/** The share of the true k neighbours that the hits make up: each record once, and no more than k. */
async function recallOf(
  side: Side,
  truth: Truth,
  hits: readonly Hit[],
  { k, distance }: SearchSettings,
): Promise<number> {
  const limit = truth.nearest[k - 1]?.distance ?? Number.NEGATIVE_INFINITY;
  const allowed = limit + slack * Math.min(1, Math.abs(limit)) + (distance === 'cosine' ? cosineRounding : 0);
  const known = new Map(truth.nearest.map((each) => [side.idOf(each.id), each.distance]));
  const ids = [...new Set(hits.slice(0, k).map(({ id }) => id))];
  const unknown = ids.filter((id) => !known.has(id));
  // The list goes on past k: a record that is not on it is farther than its last, and needs no look unless that ties too.
  const isListTied = (truth.nearest.at(-1)?.distance ?? Number.POSITIVE_INFINITY) <= allowed;
  if (unknown.length > 0 && (isListTied || side.hasOthers)) {
    for (const [id, found] of await distancesOf(side, truth, unknown, distance)) known.set(id, found);
  }
  return ids.filter((id) => (known.get(id) ?? Number.POSITIVE_INFINITY) <= allowed).length / k;
}

async function distancesOf(
  { store, vector }: Side,
  { values }: Truth,
  ids: readonly string[],
  distance: Distance,
): Promise<Map<string, number>> {
  const batch = await patiently(() => store.fetch(ids));
  const column = batch.vectors.get(vector);
  const found = new Map<string, number>();
  if (column?.kind !== 'dense') return found;
  batch.ids.forEach((id, at) => {
    if (hasVector(column, at)) found.set(id, distanceBetween[distance](values, denseVector(column, at)));
  });
  return found;
}

function summarise(
  { recalls, millis, failure }: Side,
  truths: readonly Truth[],
  k: number,
  candidates: number,
): RecallSide {
  if (failure !== undefined) return { measured: false, reason: failure };
  if (recalls.length === 0) return { measured: false, reason: 'the time ended before the first query' };
  const worst = recalls
    .map((recall, at) => ({ id: truths[at]?.query.id ?? '', recall }))
    .filter(({ recall }) => recall < 1)
    .sort((a, b) => a.recall - b.recall)
    .slice(0, maxWorst);
  const latency = {
    min: percentile(millis, 0),
    p50: percentile(millis, 50),
    p95: percentile(millis, 95),
    p99: percentile(millis, 99),
    max: percentile(millis, 100),
    mean: 0,
    deviation: 0,
  };
  const rest = { spread: Array.from({ length: 11 }, () => 0), depths: [], ndcg: 0, rbo: 0, gold: null, short: 0 };
  return {
    measured: true,
    queries: recalls.length,
    ...recallInterval(recalls, k, candidates),
    ...rest,
    worst,
    latency,
  };
}

/** The smallest value that at least `percent` of the values do not pass (nearest rank). */
function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}

function judge(target: RecallSide, k: number, atLeast: number): Pick<RecallEntry, 'outcome' | 'note'> {
  if (!target.measured) return { outcome: 'unproven', note: `The target could not be searched: ${target.reason}.` };
  const { low, mean, queries } = target;
  const figure = `recall@${k} of the target is ${percent(mean)}, at least ${percent(low)} with 95% confidence`;
  if (low >= atLeast) return { outcome: 'passed', note: `The ${figure}.` };
  if (mean < atLeast) return { outcome: 'failed', note: `The ${figure}, below the ${percent(atLeast)} asked for.` };
  const needed = queriesNeeded(atLeast);
  const advice =
    queries < needed ? `; at least ${needed} queries are needed even without a miss` : '; ask more queries';
  const note = `The ${figure}: ${queries} queries are too few to show the ${percent(atLeast)} asked for${advice}.`;
  return { outcome: 'unproven', note };
}
