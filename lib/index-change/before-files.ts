import { z } from 'zod';
import { beforeKey, runKeys } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { hashOf } from '../recall/answers.ts';
import { goalOf } from '../recall/searched-vectors.ts';
import type { Manifest, Plan, Query } from '../run-files.ts';
import { asksOldFirst, replacesIndex } from './index-change.ts';

/**
 * before/<part>.json: what the old index answered to some queries before it was replaced, in the order of queries.json. Nobody
 * can ask it again, so these stay as long as the run does: a validation that is done anew takes them again.
 */

/** Queries that a part holds at most: what a kill costs. */
export const queriesPerBefore = 50;

const searchSchema = z.strictObject({
  k: z.int().positive(),
  /** Nearest first, ids as the collection has them. */
  hits: z.array(z.strictObject({ id: z.string(), score: z.number() })),
  /** Milliseconds of the try that was answered. */
  millis: z.number().nonnegative(),
});
/** Of one query: a search a depth, the set's k first; `failure` where it cannot be searched, and why. */
const answeredSchema = z.strictObject({ failure: z.string().optional(), searches: z.array(searchSchema) });
export type Answered = z.infer<typeof answeredSchema>;
export type SearchedBefore = z.infer<typeof searchSchema>;

const beforeSchema = z.strictObject({
  /** Hash of the queries and how deep they are asked: answers to others are not taken for these. */
  of: z.string(),
  /** Hash of what the queries were chosen by: while it is the same they are not chosen anew, and a file that changed meanwhile is not read again. */
  chosenBy: z.string(),
  answers: z.array(answeredSchema),
  startedAt: z.iso.datetime(),
  at: z.iso.datetime(),
});
export type Before = z.infer<typeof beforeSchema>;

export async function readBeforePart(objects: ObjectStore, run: string, part: number): Promise<Before | undefined> {
  return await getJson(objects, beforeKey(run, part), beforeSchema);
}

/** How deep each query is asked: the set's k first, so that no cache of another depth serves the search that is timed. */
export function depthsOf(plan: Plan, query: Pick<Query, 'set'>): readonly number[] {
  const { sets = [], depths = [] } = plan.event.validate.recall ?? {};
  const set = sets.find(({ name }) => name === query.set);
  if (set === undefined) return [];
  const { k } = goalOf(plan, set);
  return [k, ...[...new Set(depths)].filter((depth) => depth !== k).sort((a, b) => a - b)];
}

/** @param of the hash of queries.json */
export function beforeHash(plan: Plan, of: string): string {
  const { sets = [], depths = [] } = plan.event.validate.recall ?? {};
  return hashOf([of, plan.index ?? null, depths, sets.map((set) => [set.name, goalOf(plan, set).k])]);
}

export function chosenByHash(plan: Plan, manifest: Manifest): string {
  const { recall, seed } = plan.event.validate;
  return hashOf([recall, seed, manifest.shards.map(({ shard, checksum }) => [shard, checksum])]);
}

/** True where the old index was asked the queries that are chosen, and what they are chosen by has not changed since. */
export async function areQueriesKept(plan: Plan, manifest: Manifest, objects: ObjectStore): Promise<boolean> {
  if (!asksOldFirst(plan)) return false;
  const first = await readBeforePart(objects, plan.run, 0);
  if (first?.chosenBy !== chosenByHash(plan, manifest)) return false;
  return (await objects.get(runKeys(plan.run).queries)) !== undefined;
}

/**
 * What the old index answered, a query of queries.json in its order.
 * @returns why it was not asked, where there are no answers to these queries
 */
export async function readBefore(
  objects: ObjectStore,
  plan: Plan,
  { queries, of }: { readonly queries: number; readonly of: string },
): Promise<readonly Answered[] | string> {
  const found: Answered[] = [];
  const hash = beforeHash(plan, of);
  for (let part = 0; found.length < queries; part++) {
    const next = await readBeforePart(objects, plan.run, part);
    if (next?.of !== hash || next.answers.length === 0) return tooLate(plan);
    found.push(...next.answers);
  }
  return found;
}

const tooLate = (plan: Plan): string =>
  replacesIndex(plan)
    ? 'the old index was replaced before these queries were chosen, and cannot be asked any more'
    : `the new index was there before these queries were chosen, and beside it the connection's role cannot search the old one; vecferry rollback ${plan.run} drops it, and the run asks the old one first when it is started again`;
