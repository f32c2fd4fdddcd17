import { createHash } from 'node:crypto';
import { z } from 'zod';
import { answersKey } from '../keys.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';

/**
 * What both sides answered, in parts of some queries, so that a call which nears its deadline is gone on with, and a kill
 * costs no more than a part.
 */

/** Queries of one set and vector that a part holds at most. */
export const queriesPerPart = 50;

const share = z.number().min(0).max(1);
const goldSchema = z.strictObject({ recall: share, ndcg: share });
const answerSchema = z.strictObject({
  /** The measures at the set's k, and what the search took. */
  recall: share,
  ndcg: share,
  rbo: share,
  hits: z.int().nonnegative(),
  candidates: z.int().nonnegative().optional(),
  millis: z.number(),
  gold: goldSchema.optional(),
  /** Recall at the other depths, in their order, each by a search of its own. */
  depths: z.array(share),
});
export type KeptAnswer = z.infer<typeof answerSchema>;

/** One a query asked, in their order; `failure` says why the side cannot be searched, and then its answers end. */
const sideSchema = z.strictObject({ failure: z.string().optional(), answers: z.array(answerSchema) });

/** answers/<part>.json */
const answersSchema = z.strictObject({
  /** Hash of the queries, their truth, and how they are asked: other answers are not taken for these. */
  of: z.string(),
  /** Queries asked so far. */
  asked: z.int().nonnegative(),
  source: sideSchema,
  target: sideSchema,
  /**
   * Where the source's vectors are others than the target's, so that it is not asked for the rest: what it finds of what
   * gold queries expect, one a query asked, null where it has no vector to search with.
   */
  sourceGold: z.strictObject({ failure: z.string().optional(), answers: z.array(goldSchema.nullable()) }).optional(),
  startedAt: z.iso.datetime(),
  at: z.iso.datetime(),
});
export type Answers = z.infer<typeof answersSchema>;

/** The part as far as it was asked, or an empty one where what is there belongs to something else. */
export async function readAnswers(objects: ObjectStore, run: string, part: number, of: string): Promise<Answers> {
  const found = await getJson(objects, answersKey(run, part), answersSchema);
  if (found?.of === of) return found;
  const now = new Date().toISOString();
  return { of, asked: 0, source: { answers: [] }, target: { answers: [] }, startedAt: now, at: now };
}

export async function writeAnswers(objects: ObjectStore, run: string, part: number, answers: Answers): Promise<void> {
  await putJson(objects, answersKey(run, part), { ...answers, at: new Date().toISOString() });
}

/** The hash of anything that JSON holds. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
