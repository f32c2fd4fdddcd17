import { z } from 'zod';
import { distanceSchema, indexSchema, precisionSchema } from './schema.ts';

/** The part of an event that says how a record of the source becomes one of the target. */

const vectorMapping = z.strictObject({
  /** Name in the target; left out: as the target's defaults say. */
  to: z.string().optional(),
  distance: distanceSchema.optional(),
  precision: precisionSchema.optional(),
  /** The index the target builds; left out: the source's where both have the notion, else the store's default. */
  index: indexSchema.optional(),
  /**
   * The first so many floats are kept and scaled to length 1 again: for vectors of a model that was trained for it
   * (Matryoshka representation learning, arxiv.org/abs/2205.13147).
   */
  dimensions: z.int().positive().optional(),
});

export const mappingSchema = z.strictObject({
  /** Source vector name -> its name and settings in the target, or null to leave the vector out. Unnamed ones are all moved. */
  vectors: z.record(z.string(), vectorMapping.nullable()).default({}),
  /** Payload field -> how it is carried, or null to leave it out. `number` accepts rounding to a double, `string` keeps every digit. */
  payload: z.record(z.string(), z.enum(['number', 'string']).nullable()).default({}),
  /** What happens to records without a vector where the target cannot hold them. */
  missingVectors: z.enum(['refuse', 'skip']).default('refuse'),
  /** Payload field that keeps an id which the target cannot hold. */
  originalId: z.string().min(1).default('original_id'),
});
export type Mapping = z.infer<typeof mappingSchema>;
  /** What becomes of records that were read under another schema than the run was planned with: docs/names.md. */
  schema: z
    .strictObject({
      /** False: refused, with what differs. True: fields that they lack take their default, those that the run does not know are left out; both counted. */
      accept: z.boolean().default(false),
      /** Field -> its value in records that lack it; left out: null. */
      defaults: z.record(z.string(), z.json()).default({}),
    })
    .prefault({}),
