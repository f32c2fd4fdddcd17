import { z } from 'zod';

/** What recall.json says of a set whose queries say which ids a good answer holds. docs/validation.md, "Gold sets". */

const tally = z.int().nonnegative();
const share = z.number().min(0).max(1);

export const goldSideSchema = z.discriminatedUnion('measured', [
  z.strictObject({
    measured: z.literal(true),
    queries: tally,
    recall: share.describe('gold recall@k: mean over the queries, and the 95 % interval of that mean.'),
    low: z.number(),
    high: z.number(),
    ndcg: share,
  }),
  z.strictObject({ measured: z.literal(false), reason: z.string() }),
]);
export type GoldSide = z.infer<typeof goldSideSchema>;

export const goldSchema = z.strictObject({
  queries: tally.describe('Those of the set that say what they expect, and have something to find.'),
  k: tally,
  atLeast: z.number().nullable().describe('goldAtLeast of the event; null: it names none.'),
  source: goldSideSchema.describe('Searched with a vector of its own where the target has those of another model.'),
  target: goldSideSchema,
  exact: z
    .strictObject({ recall: share, ndcg: share })
    .describe("How the exact neighbours among the target's vectors do: no search of them does better."),
  difference: z
    .strictObject({ queries: tally, mean: z.number(), low: z.number(), high: z.number() })
    .nullable()
    .describe('Target less source over the queries that both were asked, paired, with its 95 % interval; null: none.'),
  worst: z
    .array(z.strictObject({ id: z.string(), recall: z.number() }))
    .describe(
      'The queries for which the target finds least of what they expect, worst first, at most ten, all below 1.',
    ),
  outcome: z.enum(['passed', 'failed', 'unproven', 'reported']),
  note: z.string(),
});
export type Gold = z.infer<typeof goldSchema>;
