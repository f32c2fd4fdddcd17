import { createHash } from 'node:crypto';
import type { Batch } from './batch.ts';
import type { EmbedPlan, ModelCard } from './embed-files.ts';
import { InvalidEvent } from './errors.ts';
import type { Embed, Model } from './event-embed.ts';
import { getShard } from './get-shard.ts';
import type { ObjectStore } from './objects.ts';
import type { Plan } from './run-files.ts';
import type { CollectionSchema } from './schema.ts';

/** Vectors that a model made, in the place of those that a shard holds: what the mapping then takes for the source's. */

/** The model that a run asks, and its limits. @throws InvalidEvent when it asks none */
export function askedModel({ run, event }: Plan): [Model, Embed['limits']] {
  if (event.embed === undefined) throw new InvalidEvent(`run '${run}' embeds no texts`, { ids: [run] });
  return [event.embed.model, event.embed.limits];
}

/** By what an answer is found again: SHA-256 of the model and the text, hex. */
export function textKey({ provider, name, version, dimensions }: ModelCard, text: string): string {
  return createHash('sha256')
    .update(JSON.stringify([provider, name, version, dimensions]))
    .update('\0')
    .update(text)
    .digest('hex');
}

/** The source as the mapping sees it: with the vector that is made, of the model's dimension and distance. */
export function madeSchema({
  source,
  embed,
}: {
  source: CollectionSchema;
  embed?: EmbedPlan | undefined;
}): CollectionSchema {
  if (embed === undefined) return source;
  const { vector, model } = embed;
  const own = source.vectors.find(({ name }) => name === vector);
  const made = {
    name: vector,
    kind: 'dense' as const,
    dimension: model.dimensions,
    distance: model.distance,
    precision: own?.precision ?? ('float32' as const),
    ...(own?.index === undefined ? {} : { index: own.index }),
    model: { name: model.name, version: model.version, ...(model.isMatryoshka && { isMatryoshka: true }) },
  };
  const others = source.vectors.filter(({ name }) => name !== vector);
  return {
    ...source,
    vectors: own === undefined ? [...others, made] : source.vectors.map((each) => (each === own ? made : each)),
  };
}

/** The records of a shard with their made vectors; of a run that makes none, as they were exported. @throws as getShard */
export async function getMadeShard(objects: ObjectStore, plan: Plan, shard: string): Promise<Batch> {
  const batch = await getShard(objects, plan.run, shard);
  if (plan.embed === undefined) return batch;
  throw new Error(`shard ${shard}: made vectors cannot be read yet`);
}
