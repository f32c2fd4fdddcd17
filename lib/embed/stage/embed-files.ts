import { z } from 'zod';
import { distanceSchema } from '../../schema.ts';

/** What the plan and the objects of a run say of its embedding. */

const tally = z.int().nonnegative();

/** What is known of a model before it is asked. */
export const modelCardSchema = z.strictObject({
  provider: z.enum(['bedrock', 'openai', 'local']),
  name: z.string(),
  version: z.string(),
  dimensions: z.int().positive(),
  /** What its vectors are compared by. */
  distance: distanceSchema,
  /** Tokens of a text at most. */
  maxInputTokens: z.int().positive(),
  /** List price; null: not known. 0: nothing is charged. */
  usdPerMillionTokens: z.number().nonnegative().nullable(),
  /** True where the first floats of a vector are a vector by themselves, once scaled to length 1 again. */
  isMatryoshka: z.boolean(),
});
export type ModelCard = z.infer<typeof modelCardSchema>;

export const embedEstimateSchema = z.strictObject({
  /** Records whose text is embedded, at most: a text that stands there twice is embedded once. */
  texts: tally,
  tokens: tally,
  /** null: the price is not known. */
  usd: z.number().nonnegative().nullable(),
  seconds: z.number().nonnegative(),
  /** Records that the figures were worked out from. */
  sampled: tally,
  /** How each figure came about, with the source of rates and prices. */
  formula: z.array(z.string()),
});
export type EmbedEstimate = z.infer<typeof embedEstimateSchema>;

/** plan.embed: there where vectors are made, not where the source's are of the same model and are copied. */
export const embedPlanSchema = z.strictObject({
  /** Its name in a batch before the mapping: the source's vector that it takes the place of, or a new one. */
  vector: z.string(),
  /** The template, of fields of the source. */
  text: z.string(),
  model: modelCardSchema,
  records: z.enum(['all', 'missing']),
  longText: z.enum(['fail', 'truncate']),
  /** Fields of the target that name the model. */
  mark: z.strictObject({ model: z.string().nullable(), version: z.string().nullable() }),
  estimate: embedEstimateSchema,
});
export type EmbedPlan = z.infer<typeof embedPlanSchema>;

const failuresSchema = z.array(z.strictObject({ id: z.string(), reason: z.string() }));

/** Payloads of texts/<n>.parquet: what the text was charged with, and why there is no vector. */
export const answerPayloadSchema = z.strictObject({
  /** Its share of its request's: they need not be whole. */
  tokens: z.number().nonnegative(),
  failed: z.string().optional(),
  /** The start of the run in which it failed: the next one asks again. */
  attempt: z.int().positive().optional(),
});

/** Payloads of embedded/<shard>.parquet. copied: the record has its vector in the shard itself. */
export const embeddedPayloadSchema = z.strictObject({
  status: z.enum(['completed', 'failed', 'without text', 'copied']),
  reason: z.string().optional(),
});

export type EmbeddedPayload = z.infer<typeof embeddedPayloadSchema>;

/** embedded/<shard>.json: written after the Parquet object beside it. completed + failed + withoutText + copied = records. */
export const embeddedSchema = z.strictObject({
  shard: z.string(),
  records: tally,
  completed: tally,
  failed: tally,
  withoutText: tally,
  copied: tally,
  /** The first hundred. */
  failures: failuresSchema,
  /** The checksum that the object beside it carries. */
  checksum: z.string(),
  /** Hash of the shard, the text and the model: what was made of another is not taken for this one's. */
  of: z.string(),
  /** The start of the run in which it was put on the import queue last; 0: not yet. */
  queued: tally,
  startedAt: z.iso.datetime(),
  at: z.iso.datetime(),
});
export type Embedded = z.infer<typeof embeddedSchema>;

/**
 * embedding.json: pending + processing + completed + failed + without text = records. Written after each object of answers
 * and each shard.
 */
export const embeddingSchema = z.strictObject({
  done: z.boolean(),
  model: z.strictObject({ provider: z.string(), name: z.string(), version: z.string() }),
  records: tally,
  pending: tally,
  processing: tally,
  completed: tally,
  failed: tally,
  /** Records whose text is empty or not there: they have no vector, and the mapping's missingVectors says what that means. */
  withoutText: tally,
  /** The first hundred that failed; the files below embedded/ name all. */
  failures: failuresSchema,
  /** Of `completed`: records that had their vector already (`"records": "missing"`), and those whose text had been embedded for another record. */
  copied: tally,
  shared: tally,
  /** Texts whose answer was paid for. */
  texts: tally,
  /** As the provider counts them, or, where it does not say, as they were estimated. */
  tokens: tally,
  usd: z.number().nonnegative().nullable(),
  requests: tally,
  throttled: tally,
  /** What the provider last said where it was busy or away and has answered nothing since. */
  trouble: z.string().optional(),
  /** Shards whose vectors are all there. */
  shards: tally,
  startedAt: z.iso.datetime(),
  at: z.iso.datetime(),
  /** Of the start of the run that is under way, or was the last: what a rate is worked out from. */
  attempt: z.strictObject({ number: z.int().positive(), startedAt: z.iso.datetime(), texts: tally }).optional(),
});
export type Embedding = z.infer<typeof embeddingSchema>;
