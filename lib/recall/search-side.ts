import { denseVector, hasVector } from '../batch.ts';
import { distanceBetween } from '../distance.ts';
import { InvalidEvent } from '../errors.ts';
import { type Condition, meets } from '../filter.ts';
import { mapId } from '../mapping/mapping.ts';
import { conditionsInTarget } from '../mapping/names.ts';
import { patiently } from '../patiently.ts';
import type { Plan } from '../run-files.ts';
import type { Distance, SearchSettings } from '../schema.ts';
import type { Hit, Store } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';
import { allowedAt, type GoldAnswer, goldAnswer, ndcgAt, rankBiasedOverlap, recallAt } from './measures.ts';
import { searchedVectors } from './searched-vectors.ts';
import type { Truth } from './truths.ts';

/** One side of a run as it is searched: which vector, with which settings, and which id stands for which. */
export interface Side {
  readonly side: 'source' | 'target';
  readonly store: Pick<Store, 'search' | 'fetch'>;
  /** The vector's name on this side. */
  readonly vector: string;
  /** What the truth is ranked by: a source that names no distance is searched by it. A target is not: what it ranks by is what is measured. */
  readonly distance?: Distance;
  /** Empty: as the collection, the server and the client are set. */
  readonly settings: SearchSettings;
  readonly exact: boolean;
  /** The id that stands for a source id on this side. */
  readonly idOf: (sourceId: string) => string;
  /** The conditions as this side is asked them: fields may have other names there. */
  readonly filterOf: (conditions: readonly Condition[]) => readonly Condition[];
  /** True when the side may hold records that are in no shard. */
  readonly hasOthers: boolean;
}

export interface SideOptions {
  readonly plan: Plan;
  readonly side: 'source' | 'target';
  readonly store: Pick<Store, 'search' | 'fetch'>;
  /** The vector's name in the source. */
  readonly vector: string;
  /** Left out: for the target what the event says of how the application searches, for the source none. */
  readonly settings?: SearchSettings | undefined;
  /** True: the store is asked for exact neighbours, where it can. */
  readonly exact?: boolean;
}

/** What one search found, each measure from 0 to 1. */
export interface Answer {
  /** Of the k true neighbours, or of as many as there are. */
  readonly recall: number;
  readonly ndcg: number;
  readonly rbo: number;
  /** Records answered. */
  readonly hits: number;
  /** Records that could be answered, where the truth of a live run was corrected by what was written near the query. */
  readonly candidates?: number;
  /** Milliseconds the search took, in the try that was answered. */
  readonly millis: number;
  /** Where the query says which ids it expects. */
  readonly gold?: GoldAnswer;
}

/** @throws InvalidEvent when the run carries no dense vector of that name. */
export async function openSide({ plan, side, store, vector, settings, exact = false }: SideOptions): Promise<Side> {
  const searched = searchedVectors(plan).find((each) => each.vector === vector);
  if (searched === undefined) throw new InvalidEvent(`the run carries no dense vector '${vector}'`, { ids: [vector] });
  if (side === 'source')
    return {
      side,
      store,
      vector,
      distance: searched.distance,
      settings: settings ?? {},
      exact,
      idOf: (id) => id,
      filterOf: (filter) => filter,
      hasOthers: false,
    };
  const { capabilities } = await storeKind(plan.event.target.store);
  return {
    side,
    store,
    vector: searched.targetVector,
    settings: settings ?? plan.event.validate.recall?.search ?? {},
    exact,
    idOf: plan.mapping.ids === 'keep' ? (id) => id : (id) => mapId(capabilities.ids, id),
    filterOf: (conditions) => conditionsInTarget(plan.mapping, conditions),
    hasOthers: plan.event.target.into === 'existing',
  };
}

/**
 * Searches one side for a query, through the call an application makes, and measures the answer against the truth. The
 * query's own record counts as one of its neighbours: it is in the collection, and a search that misses it is wrong.
 * A query without candidates has nothing to find, and every measure of it is 1.
 * @throws what the store throws; one that is busy is asked again, with growing pauses.
 */
export async function askSide(side: Side, truth: Truth, asked: Asked): Promise<Answer> {
  return await measureAnswer(side, truth, await searchSide(side, truth, asked.k), asked);
}

export interface Asked {
  readonly k: number;
  /** What the truth is ranked by. */
  readonly distance: Distance;
}

/** What a side answered, and the milliseconds that the search took, in the try that was answered. */
export interface Searched {
  readonly hits: readonly Hit[];
  readonly millis: number;
}

/** Holds an answer against the truth. @throws what the store throws */
export async function measureAnswer(
  side: Side,
  truth: Truth,
  { hits, millis }: Searched,
  { k, distance }: Asked,
): Promise<Answer> {
  const found = { hits: hits.length, millis, ...(truth.query.expected && { gold: goldOf(side, truth, hits, k) }) };
  const depth = Math.min(k, truth.candidates);
  if (depth === 0) return { recall: 1, ndcg: 1, rbo: 1, ...found };
  // In a live run fewer may be known than there are.
  const allowed = (at: number): number => allowedAt(truth.nearest, Math.min(at, truth.nearest.length), distance);
  const answered = await distancesOf(side, truth, hits.slice(0, depth), allowed(depth), distance);
  return {
    recall: recallAt(answered, depth, allowed(depth)),
    ndcg: ndcgAt(answered, depth, allowed(depth)),
    rbo: rankBiasedOverlap(answered, depth, allowed),
    ...found,
  };
}

/** Searches one side for a query's k nearest. @throws what the store throws */
export async function searchSide(
  { store, vector, distance, settings, exact, filterOf }: Side,
  { values, filter }: Pick<Truth, 'values' | 'filter'>,
  k: number,
): Promise<Searched> {
  const request = {
    vector,
    query: values,
    k,
    ...(distance !== undefined && { distance }),
    ...(exact && { exact }),
    ...(filter.length > 0 && { filter: filterOf(filter) }),
    ...(Object.keys(settings).length > 0 && { settings }),
  };
  return await patiently(async () => {
    const start = performance.now();
    const hits = await store.search(request);
    return { hits, millis: performance.now() - start };
  });
}

function goldOf({ idOf }: Side, { query: { expected = [] } }: Truth, hits: readonly Hit[], k: number): GoldAnswer {
  return goldAnswer(
    hits.map(({ id }) => id),
    new Set(expected.map(idOf)),
    k,
  );
}

/** The exact distance of each hit, infinite for one that was named before or is farther than all that count. */
async function distancesOf(
  side: Side,
  truth: Truth,
  hits: readonly Hit[],
  allowed: number,
  distance: Distance,
): Promise<number[]> {
  const known = new Map(truth.nearest.map((each) => [side.idOf(each.id), each.distance]));
  const unknown = [...new Set(hits.map(({ id }) => id))].filter((id) => !known.has(id));
  // The list goes on past the depth: a record that is not on it is farther than its last, and needs no look unless that ties too.
  // Of a truth that is current all that was answered was looked for in the source: what is not on the list is not there.
  const isListTied =
    truth.isCurrent !== true && (truth.nearest.at(-1)?.distance ?? Number.POSITIVE_INFINITY) <= allowed;
  if (unknown.length > 0 && (isListTied || side.hasOthers)) {
    for (const [id, found] of await fetchDistances(side, truth, unknown, distance)) known.set(id, found);
  }
  return hits.map(({ id }) => {
    const found = known.get(id) ?? Number.POSITIVE_INFINITY;
    known.delete(id);
    return found;
  });
}

async function fetchDistances(
  { store, vector, filterOf }: Side,
  { values, filter }: Truth,
  ids: readonly string[],
  distance: Distance,
): Promise<Map<string, number>> {
  const batch = await patiently(() => store.fetch(ids));
  const column = batch.vectors.get(vector);
  const found = new Map<string, number>();
  if (column?.kind !== 'dense') return found;
  batch.ids.forEach((id, at) => {
    if (!hasVector(column, at) || !meets(filterOf(filter), batch.payloads[at] ?? '{}')) return;
    found.set(id, distanceBetween[distance](values, denseVector(column, at)));
  });
  return found;
}
