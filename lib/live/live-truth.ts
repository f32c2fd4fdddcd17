import { denseVector, hasVector } from '../batch.ts';
import { type Fetched, fetchRecords, type Located } from '../compare/fetch-records.ts';
import { distanceBetween } from '../distance.ts';
import { meets } from '../filter.ts';
import { compiledRules } from '../mapping/rules.ts';
import { isInPlace } from '../place.ts';
import { truncated } from '../recall/query-floats.ts';
import {
  type Answer,
  type Asked,
  askSide,
  measureAnswer,
  type Searched,
  type Side,
  searchSide,
} from '../recall/search-side.ts';
import type { Truth } from '../recall/truths.ts';
import type { Plan } from '../run-files.ts';
import type { Distance } from '../schema.ts';
import type { Hit, Reader } from '../stores/port.ts';

/**
 * The truth of a live run. The exact neighbours come from the shards, and the application has written since: an answer may
 * be right and differ from them. So a query whose answer misses something is held against the source as it is now. What the
 * truth names and what was answered is read from the source: records that are gone, have lost their vector or no longer
 * meet the filter are struck out, the others are ranked by their distance now.
 *
 * A record that was added or has come nearer is known when any side answers with it, so that each side is held to what
 * the other finds. What neither finds is not known: then the figure is that of the records known, for both sides alike.
 */
export interface LiveTruth {
  readonly plan: Plan;
  readonly source: Pick<Reader, 'fetch'>;
}

export interface LiveSides extends LiveTruth {
  /** Needed of a run in place. */
  readonly target?: Pick<Reader, 'fetch'>;
}

/**
 * undefined where nobody writes meanwhile, and the truth from the shards stands. Of a run in place the table is what it is held
 * against, with the vectors that are made: applications write it all the time.
 */
export function liveTruthOf({ plan, source, target }: LiveSides): LiveTruth | undefined {
  if (isInPlace(plan.event)) return target && { plan, source: target };
  return plan.event.live === false ? undefined : { plan, source };
}

/** Distances within so little of each other are the same, summed in another order. */
const sameDistance = 1e-9;

/**
 * The truth as it is now, as far as it is known.
 * @param answered ids of the source that were answered
 * @param distance what the truth is ranked by
 */
export async function currentTruth(
  { plan, source }: LiveTruth,
  truth: Truth,
  answered: readonly string[],
  distance: Distance,
): Promise<Truth> {
  const listed = truth.nearest.map(({ id }) => id);
  const ids = [...new Set([...listed, ...answered])];
  const found = await fetchRecords(source, ids);
  const nearest = ids
    .flatMap((id) => {
      const at = distanceNow(plan, truth, found.records.get(id), distance);
      return at === undefined ? [] : [{ id, distance: at }];
    })
    .sort((a, b) => a.distance - b.distance);
  // The list has all candidates, or the nearest of them: then those that are not on it are as many as before.
  const isWhole = truth.candidates <= listed.length;
  const candidates = isWhole ? nearest.length : Math.max(nearest.length, truth.candidates - lostOf(found, listed));
  return { ...truth, nearest, candidates, isCurrent: true };
}

const lostOf = ({ records }: Fetched, ids: readonly string[]): number => ids.filter((id) => !records.has(id)).length;

/** undefined: it is no candidate any more. */
function distanceNow(
  { mapping }: Plan,
  { query, values, filter }: Truth,
  record: Located | undefined,
  distance: Distance,
): number | undefined {
  if (record === undefined) return undefined;
  const { batch, at } = record;
  const column = batch.vectors.get(query.vector);
  if (column?.kind !== 'dense' || !hasVector(column, at)) return undefined;
  if (filter.length > 0 && !meets(filter, batch.payloads[at] ?? '{}')) return undefined;
  const isCarried = Object.keys(mapping.vectors).every((name) => {
    const each = batch.vectors.get(name);
    return each !== undefined && hasVector(each, at);
  });
  if (mapping.missingVectors === 'skip' && !isCarried) return undefined;
  if (compiledRules(mapping)?.dropReason(batch.payloads[at] ?? '{}', batch.ids[at] ?? '') !== undefined)
    return undefined;
  const held = denseVector(column, at);
  // A vector that the mapping truncates is whole in the source.
  return distanceBetween[distance](values, held.length > values.length ? truncated(held, values.length) : held);
}

/** The truth as it is now, with what one side answers to the query. @throws what the store throws */
export async function currentTruthBy(
  live: LiveTruth,
  side: Side,
  truth: Truth,
  { k, distance }: Asked,
): Promise<Truth> {
  const { hits } = await searchSide(side, truth, k);
  return await currentTruth(live, truth, await sourceIdsOf(live.plan, side, truth, hits), distance);
}

/** True when records were written near the query since the export. */
function hasChanged(truth: Truth, now: Truth): boolean {
  const before = new Map(truth.nearest.map(({ id, distance }) => [id, distance]));
  const last = truth.candidates <= before.size ? Number.POSITIVE_INFINITY : (truth.nearest.at(-1)?.distance ?? 0);
  const known = now.nearest.filter(({ id, distance }) => before.has(id) || distance <= last);
  return (
    known.length !== before.size ||
    known.some(({ id, distance }) => Math.abs(distance - (before.get(id) ?? Number.POSITIVE_INFINITY)) > sameDistance)
  );
}

/** Searches a side for a query; undefined where it cannot be searched. */
export type Search = (side: Side, truth: Truth, k: number) => Promise<Searched | undefined>;

/** Times that a query is asked whose answer misses something near which records were written. */
const maxAsks = 2;

/**
 * Asks some sides for one query, one after another, and holds their answers against the truth, where one misses something
 * against the truth as it is now. A record may be written between the search and the look into the source: where some
 * were written near the query, and still something is missed, all sides are asked once more.
 * @returns an answer a side, undefined for one that cannot be searched
 */
export async function askLive(
  live: LiveTruth,
  sides: readonly Side[],
  truth: Truth,
  asked: Asked,
  search: Search = searchSide,
): Promise<readonly (Answer | undefined)[]> {
  for (let ask = 1; ; ask++) {
    const found: { readonly side: Side; readonly searched: Searched | undefined }[] = [];
    for (const side of sides) found.push({ side, searched: await search(side, truth, asked.k) });
    const measure = async (by: Truth): Promise<readonly (Answer | undefined)[]> =>
      await Promise.all(
        found.map(async ({ side, searched }) => searched && (await measureAnswer(side, by, searched, asked))),
      );
    const before = await measure(truth);
    if (!before.some(misses)) return before;
    const ids = await Promise.all(
      found.map(async ({ side, searched }) => await sourceIdsOf(live.plan, side, truth, searched?.hits ?? [])),
    );
    const now = await currentTruth(live, truth, ids.flat(), asked.distance);
    const answers = await measure(now);
    if (!hasChanged(truth, now)) return answers;
    if (ask === maxAsks || !answers.some(misses))
      return answers.map((each) => each && { ...each, candidates: now.candidates });
  }
}

/** Something is not there, or stands further back than it should. */
export const misses = (answer: Answer | undefined): boolean =>
  answer !== undefined && (answer.recall < 1 || answer.rbo < 1 - sameDistance);

/** Asks one side for a query, in a live run by the truth as it is now. @throws what askSide throws */
export function askerOf(options: LiveSides): (side: Side, truth: Truth, asked: Asked) => Promise<Answer> {
  const live = liveTruthOf(options);
  if (live === undefined) return askSide;
  return async (side, truth, asked) => {
    const [answer] = await askLive(live, [side], truth, asked);
    return answer ?? (await askSide(side, truth, asked));
  };
}

/** The source's ids of what a side answered. Where the mapping made another id, the target's payload keeps the source's. */
async function sourceIdsOf(plan: Plan, side: Side, truth: Truth, hits: readonly Hit[]): Promise<readonly string[]> {
  const ids = hits.map(({ id }) => id);
  if (side.side === 'source' || plan.mapping.ids === 'keep') return ids;
  const known = new Map(truth.nearest.map(({ id }) => [side.idOf(id), id]));
  const { records } = await fetchRecords(
    side.store,
    ids.filter((id) => !known.has(id)),
  );
  return ids.map((id) => known.get(id) ?? originalId(plan, records.get(id)) ?? id);
}

function originalId({ mapping }: Plan, record: Located | undefined): string | undefined {
  if (record === undefined) return undefined;
  const payload: unknown = JSON.parse(record.batch.payloads[record.at] ?? '{}');
  const found: unknown = Object.entries(Object(payload)).find(([name]) => name === mapping.originalId)?.[1];
  return typeof found === 'string' ? found : undefined;
}
