import { z } from 'zod';

/** drift.json: what the source's own vectors find beside what the target's do. docs/validation.md, "Another model: drift". */

const tally = z.int().nonnegative();
const share = z.number().min(0).max(1);
const meanSchema = z.strictObject({ mean: z.number(), low: z.number(), high: z.number() });
export type DriftMean = z.infer<typeof meanSchema>;

const shownSchema = z.strictObject({
  id: z.string().describe("The record's id in the source."),
  text: z.string().describe("What is embedded of it, shortened; '' where it could not be read."),
  isExpected: z.boolean().describe('True of a record that a gold query expects.'),
  isCommon: z.boolean().describe('False: the other side does not name it among its first k. It is new, or gone.'),
});
export type Shown = z.infer<typeof shownSchema>;

const exampleSchema = z.strictObject({
  id: z.string(),
  text: z.string(),
  overlap: share,
  source: z.array(shownSchema).describe('The first five answers.'),
  target: z.array(shownSchema),
});
export type DriftExample = z.infer<typeof exampleSchema>;

const measuredSchema = z.strictObject({
  measured: z.literal(true),
  set: z.string(),
  vector: z.string(),
  sourceVector: z.string().describe('Searched in the source, by its name there.'),
  targetVector: z.string(),
  k: tally,
  queries: tally.describe('Asked of both sides.'),
  without: tally.describe('Queries of the set for which the source has no vector.'),
  isOwnLeftOut: z
    .boolean()
    .describe("True: a sampled query's own record, which both sides find first, is left out of both answers."),
  overlap: meanSchema.describe('overlap@k: mean over the queries, and the 95 % interval of that mean.'),
  spread: z
    .array(tally)
    .length(11)
    .describe('Queries by their overlap@k: ten steps of a tenth from 0 on, and those with the same records.'),
  depths: z
    .array(z.strictObject({ depth: tally, ...meanSchema.shape }))
    .describe('overlap@depth at other depths, ascending, each searched for by itself.'),
  rbo: meanSchema.describe('Rank-biased overlap at k.'),
  correlation: meanSchema.describe('Rank correlation (Kendall, tau-b) at k, from -1 to 1.'),
  examples: z.array(exampleSchema).describe('The queries whose answers changed most, at most five.'),
});
export type DriftMeasured = z.infer<typeof measuredSchema>;

const setSchema = z.discriminatedUnion('measured', [
  measuredSchema,
  z.strictObject({ measured: z.literal(false), set: z.string(), vector: z.string(), reason: z.string() }),
]);
export type DriftSet = z.infer<typeof setSchema>;

/** As it stands in the report. */
export const driftReportSchema = z.strictObject({
  changed: z.string().describe('What is other in the target, in words: the models, or that vectors are truncated.'),
  sets: z.array(setSchema).describe('One entry a query set and vector that is other in the target.'),
});
export type DriftReport = z.infer<typeof driftReportSchema>;

/** What one query found: measures, and the first five ids of each side, of the source as it has them, of the target as it has them. */
export const driftAnswerSchema = z.strictObject({
  /** At k, then at the other depths. */
  overlaps: z.array(share),
  rbo: share,
  correlation: z.number().min(-1).max(1),
  source: z.array(z.strictObject({ id: z.string(), isCommon: z.boolean() })),
  target: z.array(z.strictObject({ id: z.string(), isCommon: z.boolean() })),
});
export type DriftAnswer = z.infer<typeof driftAnswerSchema>;

export const driftSchema = z.strictObject({
  done: z.boolean(),
  /** Hash of the queries and of how they are asked. */
  of: z.string(),
  ...driftReportSchema.shape,
  /** What a call that came near its deadline has seen of the set that follows `sets`, a query after the other. */
  underWay: z.strictObject({ answers: z.array(driftAnswerSchema) }),
});
export type Drift = z.infer<typeof driftSchema>;
