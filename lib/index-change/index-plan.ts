import { z } from 'zod';
import { indexSchema } from '../schema.ts';

const form = z.strictObject({
  index: indexSchema,
  /** Qdrant's quantization_config; null: none. Left out: the store has no such thing. */
  quantization: z.record(z.string(), z.unknown()).nullable().optional(),
});

/** What the plan found and chose. */
export const indexPlanSchema = z.strictObject({
  vector: z.string(),
  from: form,
  to: form,
  /** beside: both are there at once, and the old one goes when the run is retired. instead: the new one replaces the old one as it is built. */
  how: z.enum(['beside', 'instead']),
  /** in turn: the same queries are asked of both. before: of the old one before the new one is built, since it cannot be searched by itself after. */
  oldAsked: z.enum(['in turn', 'before']),
  /** What was suggested and why, with its source: for the plan's page and the report. */
  advice: z.array(z.strictObject({ setting: z.string(), value: z.number(), why: z.string() })),
});
export type IndexPlan = z.infer<typeof indexPlanSchema>;
