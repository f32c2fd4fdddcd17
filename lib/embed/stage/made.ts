import { createHash } from 'node:crypto';
import { type Batch, concatBatches, type DenseColumn, denseVector, noRecords, sliceBatch } from '../../batch.ts';
import { InvalidEvent, NotFound, ShardDamaged } from '../../errors.ts';
import type { Embed, Model } from '../../event-embed.ts';
import { embeddedKey, embeddedMarkerKey } from '../../keys.ts';
import { getJson, type ObjectStore, parseJsonObject } from '../../objects.ts';
import type { Plan } from '../../run-files.ts';
import type { CollectionSchema } from '../../schema.ts';
import { getShard } from '../../shard/get-shard.ts';
import { releaseMemory } from '../../shard/parquet-wasm.ts';
import { readShard, type ShardHeader, verifyShard } from '../../shard/shard.ts';
import {
  type EmbeddedPayload,
  type EmbedPlan,
  embeddedPayloadSchema,
  embeddedSchema,
  type ModelCard,
} from './embed-files.ts';

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

/** What a shard's made vectors depend on: its records, their text, and the model. @param checksum of the shard as it was exported */
export function embeddedHash({ embed }: Plan, checksum: string): string {
  const { provider, name, version, dimensions } = embed?.model ?? {};
  const model = [provider, name, version, dimensions];
  const text = JSON.stringify([checksum, embed?.vector, embed?.text, embed?.records, model]);
  return createHash('sha256').update(text).digest('hex');
}

/** A shard's records as the mapping takes them, for hashes: its checksum, and that of its made vectors where there are any. */
export async function madeChecksum(objects: ObjectStore, plan: Plan, shard: string, checksum: string): Promise<string> {
  if (plan.embed === undefined) return checksum;
  const made = await getJson(objects, embeddedMarkerKey(plan.run, shard), embeddedSchema);
  return `${checksum} ${made?.checksum ?? ''}`;
}

export interface MadeShard {
  /** Every record, its made vector in the place of the source's. */
  readonly batch: Batch;
  /** The same as they were exported. */
  readonly exported: Batch;
  /** Why the text of these has no vector, by position: such a record is not carried. */
  readonly failed: ReadonlyMap<number, string>;
}

/**
 * A shard with its made vectors; of a run that makes none, as it was exported.
 * @throws NotFound when an object is not there, ShardDamaged when one is not as it was written or of another shard.
 */
export async function getMade(objects: ObjectStore, plan: Plan, shard: string): Promise<MadeShard> {
  const exported = await getShard(objects, plan, shard);
  const { embed } = plan;
  if (embed === undefined) return { batch: exported, exported, failed: new Map() };
  const { bytes, header, where } = await openEmbedded(objects, plan, shard);
  const groups: Batch[] = [];
  for await (const group of readShard(bytes, where, { maxRecords: header.records, header })) groups.push(group);
  releaseMemory(bytes);
  const made = groups.length === 0 ? noRecords(madeSchema(plan).vectors) : concatBatches(groups);
  return { exported, ...attachMade(exported, made, embed.vector) };
}

/** Gives the memory of its vectors back at once; nothing may read them any more. */
export function releaseMade({ batch, exported }: MadeShard): void {
  for (const each of [batch, exported]) for (const { values } of each.vectors.values()) releaseMemory(values);
}

/** The records of a shard with their made vectors, each at its position. @throws as getMade */
export async function getMadeShard(objects: ObjectStore, plan: Plan, shard: string): Promise<Batch> {
  return (await getMade(objects, plan, shard)).batch;
}

export interface EmbeddedObject {
  readonly bytes: Uint8Array;
  readonly header: ShardHeader;
  readonly where: string;
}

/** The vectors that were made for a shard, verified. @throws NotFound, ShardDamaged */
export async function openEmbedded(objects: ObjectStore, plan: Plan, shard: string): Promise<EmbeddedObject> {
  const key = embeddedKey(plan.run, shard);
  const where = objects.locate(key);
  const mend = 'start the run again, which makes it anew from the answers that it has';
  const [bytes, marker] = await Promise.all([
    objects.get(key),
    getJson(objects, embeddedMarkerKey(plan.run, shard), embeddedSchema),
  ]);
  if (bytes === undefined || marker === undefined)
    throw new NotFound(`${where} is not there; ${mend}`, { ids: [shard] });
  const header = verifyShard(bytes, where);
  if (header.checksum !== marker.checksum)
    throw new ShardDamaged(`${where} is not what was made: its checksum is not the marker's; ${mend}`, {
      ids: [shard],
    });
  return { bytes, header, where };
}

/**
 * Batches of a shard, in order, and what was made for their records: both are read side by side, a row group of each at a
 * time. @param offset of the first record of `source`
 */
export async function* besideMade(
  source: AsyncIterable<Batch>,
  { bytes, header, where }: EmbeddedObject,
  offset: number,
): AsyncGenerator<{ readonly batch: Batch; readonly made: Batch }, void, undefined> {
  const groups = readShard(bytes, where, { maxRecords: header.records, offset, header });
  let rest: Batch | undefined;
  for await (const batch of source) {
    const parts: Batch[] = [];
    for (let missing = batch.count; missing > 0; ) {
      rest ??= (await groups.next()).value ?? undefined;
      if (rest === undefined) throw new ShardDamaged(`${where} has fewer records than its shard`, { ids: [where] });
      const part = sliceBatch(rest, 0, missing);
      parts.push(part);
      missing -= part.count;
      rest = part.count === rest.count ? undefined : sliceBatch(rest, part.count, rest.count);
    }
    yield { batch, made: concatBatches(parts) };
  }
}

/**
 * The records with the vectors that were made for them. @param made embedded/<shard>.parquet's records, of the same ids in
 * the same order @throws ShardDamaged
 */
export function attachMade(batch: Batch, made: Batch, vector: string): Omit<MadeShard, 'exported'> {
  const column = made.vectors.get(vector);
  const isSame = made.count === batch.count && made.ids.every((id, at) => id === batch.ids[at]);
  if (!isSame || column?.kind !== 'dense') {
    const text = `the vectors that were made for a shard of ${batch.count} records are not of these records`;
    throw new ShardDamaged(`${text}; start the run again`, { ids: batch.ids.slice(0, 1) });
  }
  const failed = new Map<number, string>();
  const copied: number[] = [];
  for (const [at, payload] of made.payloads.entries()) {
    if (payload === completedPayload) continue;
    const { status, reason = '' } = parseJsonObject(Buffer.from(payload), embeddedPayloadSchema, 'a made vector');
    if (status === 'failed') failed.set(at, reason);
    if (status === 'copied') copied.push(at);
  }
  const own = batch.vectors.get(vector);
  const whole = copied.length > 0 && own?.kind === 'dense' ? withOwn(column, own, copied) : column;
  return { batch: { ...batch, vectors: new Map([...batch.vectors, [vector, whole]]) }, failed };
}

/** What the payload of a record whose text was embedded says. */
export const completedPayload = JSON.stringify({ status: 'completed' } satisfies EmbeddedPayload);

function withOwn(made: DenseColumn, own: DenseColumn, copied: readonly number[]): DenseColumn {
  const values = made.values.slice();
  const present = made.present?.slice() ?? new Uint8Array(values.length / made.dimension).fill(1);
  for (const at of copied) {
    values.set(denseVector(own, at), at * made.dimension);
    present[at] = 1;
  }
  return present.every((each) => each === 1)
    ? { kind: 'dense', dimension: made.dimension, values }
    : { kind: 'dense', dimension: made.dimension, values, present };
}
