import { z } from 'zod';
import { connectionSchema } from './event-endpoint.ts';
import { modelIdSchema } from './schema.ts';

/** The part of an event that has vectors made anew by an embedding model. docs/embedding.md gives the reason for each default. */

/** A model that can be asked. */
export const modelSchema = z.strictObject({
  ...modelIdSchema.shape,
  /** bedrock: Amazon Bedrock. openai: any endpoint that speaks OpenAI's protocol. local: in this process, without a network. */
  provider: z.enum(['bedrock', 'openai', 'local']),
  /** openai: {"url": the base URL, ending in /v1 as a rule} or {"secret": NAME} with {"url", "apiKey"}. bedrock: left out, or {"url": an endpoint}. */
  connection: connectionSchema.optional(),
  /** AWS region of Bedrock; left out: the function's. */
  region: z.string().min(1).optional(),
  /** Floats of a vector; left out: the model's own. Of a model that is not known: it has to be said. */
  dimensions: z.int().positive().max(65_536).optional(),
  /** Of a model that is not known, or where another price was agreed. */
  usdPerMillionTokens: z.number().nonnegative().optional(),
  /** Tokens of a text at most, of a model that is not known. */
  maxInputTokens: z.int().positive().optional(),
});
export type Model = z.infer<typeof modelSchema>;

const fieldName = z.string().min(1).nullable();

export const embedSchema = z.strictObject({
  /** The text: a payload field of the source, or a template of several, `"{title}: {body}"`. */
  text: z.string().min(1),
  model: modelSchema,
  /** The vector that is made: one of the source that it takes the place of, or a new name. Left out: the source's only dense vector, else `embedding`. */
  vector: z.string().optional(),
  /** all: every record. missing: those that lack the vector; the others keep theirs, which the same model must have made. */
  records: z.enum(['all', 'missing']).default('all'),
  /** A text longer than the model takes: the record fails, or its text is cut off. */
  longText: z.enum(['fail', 'truncate']).default('fail'),
  /** A run whose estimate, or whose bill so far, passes one of these stops before it spends. */
  budget: z
    .strictObject({
      usd: z.number().nonnegative().optional(),
      tokens: z.number().nonnegative().optional(),
      minutes: z.number().positive().optional(),
    })
    .prefault({}),
  /** Left out: the provider's own. */
  limits: z
    .strictObject({
      requestsPerMinute: z.number().positive().optional(),
      tokensPerMinute: z.number().positive().optional(),
      concurrency: z.int().min(1).max(256).optional(),
    })
    .prefault({}),
  /** Fields of the target that say which model made the vector; null: none. Left out: these, and none where the run is in place. */
  mark: z
    .strictObject({ model: fieldName.default('embedding_model'), version: fieldName.default('embedding_version') })
    .nullable()
    .optional(),
});
export type Embed = z.infer<typeof embedSchema>;
