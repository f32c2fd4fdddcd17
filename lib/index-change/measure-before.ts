import { currentTruth, type LiveTruth, liveTruthOf, misses } from '../live/live-truth.ts';
import type { ObjectStore } from '../objects.ts';
import { hashOf, type KeptAnswer } from '../recall/answers.ts';
import { readQueries } from '../recall/queries.ts';
import type { AskedSet } from '../recall/recall-summary.ts';
import { type Answer, type Asked, measureAnswer, type Side } from '../recall/search-side.ts';
import type { Truth } from '../recall/truths.ts';
import type { Plan } from '../run-files.ts';
import type { Store } from '../stores/port.ts';
import { type Answered, readBefore, type SearchedBefore } from './before-files.ts';
import { asksOldFirst } from './index-change.ts';

/** Holds what an index answered before it was replaced against the truth, as if it were asked now. */

export interface AnsweredBefore {
  /** Hash of the answers: what was measured of others is measured anew. */
  readonly of: string;
  /** Why these queries have no answers; undefined: they do. */
  failureOf(truths: readonly Truth[]): string | undefined;
  answerOf(truth: Truth): Answered | undefined;
  readonly live: LiveTruth | undefined;
}

/** undefined: the source is there to be asked. @param truths one a query of queries.json, in its order */
export async function answeredBefore(
  { plan, objects, source, target }: Sides,
  truths: readonly Truth[],
): Promise<AnsweredBefore | undefined> {
  if (!asksOldFirst(plan)) return undefined;
  const { of } = await readQueries(objects, plan.run);
  const found = await readBefore(objects, plan, { queries: truths.length, of });
  const byQuery = new Map(typeof found === 'string' ? [] : truths.map(({ query }, at) => [query, found[at]] as const));
  return {
    of: hashOf(found),
    failureOf: (asked) =>
      typeof found === 'string'
        ? found
        : asked.map(({ query }) => byQuery.get(query)?.failure).find((each) => each !== undefined),
    answerOf: ({ query }) => byQuery.get(query),
    live: liveTruthOf({ plan, source, target }),
  };
}

interface Sides {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
}

/** What the old index found of one query, at the set's k and its other depths. */
export async function measureBefore(
  before: AnsweredBefore,
  side: Side,
  truth: Truth,
  { k, depths, searched: { distance } }: Pick<AskedSet, 'k' | 'depths' | 'searched'>,
): Promise<KeptAnswer> {
  const searches = before.answerOf(truth)?.searches ?? [];
  const [atK, ...others] = [k, ...depths].map((depth) => nearest(searches, depth));
  const first = await measureOne(before, side, truth, atK, { k, distance });
  const recalls: number[] = [];
  for (const [at, depth] of depths.entries())
    recalls.push((await measureOne(before, side, truth, others[at], { k: depth, distance })).recall);
  return { ...first, depths: recalls };
}

/** The search of that depth. A collection smaller than the set's k is measured at fewer than were asked for: then the first, which asked deepest. */
function nearest(searches: readonly SearchedBefore[], depth: number): SearchedBefore | undefined {
  return searches.find(({ k }) => k === depth) ?? searches[0];
}

/**
 * The truth comes from the shards, and applications have written since, some before the old index was asked and some after. What was written
 * after cannot be held against it, and what was written before stands in no shard. So an answer that misses something is held against the truth as
 * it is now too, and the better of the two counts.
 */
async function measureOne(
  { live }: AnsweredBefore,
  side: Side,
  truth: Truth,
  { hits, millis }: Pick<SearchedBefore, 'hits' | 'millis'> = { hits: [], millis: 0 },
  asked: Asked,
): Promise<Answer> {
  const found = { hits: hits.slice(0, asked.k), millis };
  const then = await measureAnswer(side, truth, found, asked);
  if (live === undefined || !misses(then)) return then;
  const ids = found.hits.map(({ id }) => id);
  const now = await measureAnswer(side, await currentTruth(live, truth, ids, asked.distance), found, asked);
  return now.recall > then.recall || (now.recall === then.recall && now.ndcg > then.ndcg) ? now : then;
}
