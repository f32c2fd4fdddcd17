import { z } from 'zod';

/** The JSON files of a cutover: the question to a person, the steps of the canary, the log of moves. */

const tally = z.int().nonnegative();
const at = z.iso.datetime();

/**
 * approval.json: what a person was asked, and by what the state machine knows the answer. A run that goes on before it was
 * answered keeps `askedAt`, by which the question is known, and waits by another token, for the whole time again.
 */
export const approvalSchema = z.strictObject({ token: z.string(), askedAt: at, until: at });
export type Approval = z.infer<typeof approvalSchema>;
/** approval-answers/<askedAt>.json: the one answer to that question. */
export const answerSchema = z.strictObject({
  answer: z.enum(['approved', 'rejected']),
  by: z.string(),
  reason: z.string(),
  at,
  /** When the question was asked that this answers. */
  askedAt: at,
  /** True once the run has it; false where it was stopped when the answer came: it takes it when it goes on. */
  taken: z.boolean(),
});
export type Answer = z.infer<typeof answerSchema>;

/** What the last requests of one side looked like; nulls where there were none. */
export const readsSeenSchema = z.strictObject({
  /** Reads of the side, and those of them that failed: of the last so many as were asked for. */
  reads: tally,
  errors: tally,
  p95Ms: z.number().nullable(),
  /** Shadow reads, and the mean overlap@k of their two answers. */
  shadows: tally,
  overlap: z.number().nullable(),
});
export type ReadsSeen = z.infer<typeof readsSeenSchema>;

/** canary.json */
export const canarySchema = z.strictObject({
  startedAt: at,
  /** When the execution began that this belongs to: another one goes on at the same step, its time begun anew. */
  since: z.string(),
  /** Index into the event's steps, and since when readers are at it. */
  step: tally,
  stepAt: at,
  /** null: the event names none, and validation measured no latency of the source, so latency is not judged. */
  maxP95Ms: z.number().nullable(),
  /** taking back: decided and being done, which a repeated call brings to its end. */
  state: z.enum(['watching', 'passed', 'taking back', 'taken back']),
  /** What the last look saw and said. */
  lookedAt: at.nullable(),
  seen: readsSeenSchema.nullable(),
  says: z.string(),
  /** What was seen at the end of each step that is over. */
  steps: z.array(
    z.strictObject({
      percent: z.number(),
      startedAt: at,
      endedAt: at,
      seen: readsSeenSchema.nullable(),
      says: z.string(),
    }),
  ),
});
export type CanaryState = z.infer<typeof canarySchema>;

/** moves/<number>.json: a move of the pointer that readers follow. */
export const moveSchema = z.strictObject({
  at,
  /**
   * double: writes go to both sides. step: a share of the reads moves. finish: writes go to one side again. retire: what the run
   * replaced is about to be dropped, and nothing is taken back any more.
   */
  action: z.enum(['double', 'step', 'cutover', 'rollback', 'finish', 'retire']),
  kind: z.enum(['alias', 'view', 'flag', 'column', 'index']),
  name: z.string(),
  /** What reads went to before and go to now; of a step the store that the rest goes to; of retire what is dropped, and the target. */
  from: z.string().nullable(),
  to: z.string().nullable(),
  /** Of a step: percent of reads that go to the target. */
  percent: z.number().optional(),
  /** Why, where somebody or the watch says so. */
  reason: z.string().optional(),
  /** What a person should know of it: records that have no vector after a rollback in place, which index searches use after a cutover. */
  note: z.string().optional(),
});
export type Move = z.infer<typeof moveSchema>;

/** retired.json: what the run replaced is gone. By it a collection that somebody makes under the old name is never dropped. */
export const retiredSchema = z.strictObject({
  at,
  /** As a person had to repeat it, and in words. */
  name: z.string(),
  what: z.string(),
  /** As they were before; null: not known. */
  records: tally.nullable(),
  bytes: tally.nullable(),
});
export type Retired = z.infer<typeof retiredSchema>;

/** switched.json: `moveAt` is the time of the log's cutover whose columns or indexes were switched. */
export const switchedSchema = z.strictObject({ moveAt: z.iso.datetime() });
