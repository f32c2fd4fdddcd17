import { createHash } from 'node:crypto';
import { denseVector, hasVector, selectRecords } from './batch.ts';
import { NotFound } from './errors.ts';
import { getShard } from './get-shard.ts';
import { runKeys } from './keys.ts';
import { mapBatch } from './mapping.ts';
import { type ObjectStore, parseJsonObject, putJson } from './objects.ts';
import { type Manifest, type Plan, type Query, queriesSchema } from './run-files.ts';
import { drawPositions } from './sample.ts';
import type { Distance } from './schema.ts';
import { storeKind } from './stores/registry.ts';

/** Records drawn for one wanted query at most, where most records lack the vector. */
const maxDrawn = 256;

export interface QueriesOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
}

/** A dense vector that recall is measured for. */
export interface SearchedVector {
  /** Its name in the source, and in the target. */
  readonly vector: string;
  readonly targetVector: string;
  /** What the truth is ranked by: the event's mapping where it names one, else the source's, else the target's. */
  readonly distance: Distance;
}

/** The dense vectors of the mapping; sparse and multi vectors have no search in the port. */
export function searchedVectors({ event, source, target, mapping }: Plan): SearchedVector[] {
  return source.vectors.flatMap(({ name, kind, distance: sourceDistance }) => {
    const targetVector = mapping.vectors[name];
    if (kind !== 'dense' || targetVector === undefined) return [];
    const targetDistance = target.vectors.find((each) => each.name === targetVector)?.distance;
    const distance = event.mapping.vectors[name]?.distance ?? sourceDistance ?? targetDistance ?? 'cosine';
    return [{ vector: name, targetVector, distance }];
  });
}

/** Neighbours kept for each query, by set: some more than its deepest measure needs, so that ties with the last one are known by their distance. */
export function neighboursKept({ event }: Plan): ReadonlyMap<string, number> {
  const { recall } = event.validate;
  return new Map(
    recall?.sets.map(({ name, k = recall.k }) => {
      const deepest = Math.max(k, ...recall.depths);
      return [name, deepest + Math.max(10, Math.ceil(deepest / 10))];
    }),
  );
}

/** The queries of a run, and a hash of them. @throws NotFound when there are none: "Choose the queries" comes first. */
export async function readQueries(
  objects: ObjectStore,
  run: string,
): Promise<{ readonly queries: readonly Query[]; readonly of: string }> {
  const key = runKeys(run).queries;
  const body = await objects.get(key);
  if (body === undefined)
    throw new NotFound(`${objects.locate(key)} is not there: validate the run from its start`, { ids: [key] });
  return {
    queries: parseJsonObject(body, queriesSchema, objects.locate(key)),
    of: createHash('sha256').update(body).digest('hex'),
  };
}

/**
 * Draws the vectors that both sides are searched with from the records of the run, by the event's seed, and writes
 * queries.json: for each dense vector as many as the event asks for, or as there are. They stand in random order, so that
 * the first of them are a sample too. Repeating it writes the same.
 */
export async function chooseQueries({ plan, manifest, objects }: QueriesOptions): Promise<{ queries: number }> {
  const { recall, seed } = plan.event.validate;
  const vectors = searchedVectors(plan).map(({ vector }) => vector);
  let queries: Query[] = [];
  if (recall !== null && vectors.length > 0) {
    for (let size = recall.queries; ; size *= 4) {
      const drawn = await drawQueries(
        { plan, manifest, objects },
        vectors,
        drawPositions(manifest.records, size, seed + 2),
      );
      queries = vectors.flatMap((name) => drawn.filter(({ vector }) => vector === name).slice(0, recall.queries));
      const isEnough = queries.length === vectors.length * recall.queries;
      if (isEnough || size >= manifest.records || size >= recall.queries * maxDrawn) break;
    }
  }
  await putJson(objects, runKeys(plan.run).queries, queries);
  return { queries: queries.length };
}

/** The vectors of the records at these positions of the run, in the positions' order; records the mapping leaves out are not read. */
async function drawQueries(
  { plan, manifest, objects }: QueriesOptions,
  vectors: readonly string[],
  positions: readonly number[],
): Promise<Query[]> {
  const { capabilities } = await storeKind(plan.event.target.store);
  const found = new Map<number, Query[]>();
  let from = 0;
  for (const { shard, records } of manifest.shards) {
    const start = from;
    const inShard = positions.filter((at) => at >= start && at < start + records);
    from += records;
    if (inShard.length === 0) continue;
    const drawn = selectRecords(
      await getShard(objects, plan.run, shard),
      inShard.map((at) => at - start),
    );
    const skipped = new Set(mapBatch(drawn, plan.mapping, capabilities.ids).skipped);
    drawn.ids.forEach((id, at) => {
      const queries = vectors.flatMap((vector) => {
        const column = drawn.vectors.get(vector);
        if (column?.kind !== 'dense' || !hasVector(column, at) || skipped.has(id)) return [];
        return [{ set: 'sampled', vector, id, values: encodeFloats(denseVector(column, at)) }];
      });
      found.set(inShard[at] ?? -1, queries);
    });
  }
  return positions.flatMap((at) => found.get(at) ?? []);
}

/** Little-endian float32 as base64: every machine that runs this is little-endian. */
export function encodeFloats(values: Float32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

/** The floats of `encodeFloats`. */
export function decodeFloats(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  const floats = new Float32Array(bytes.length / 4);
  new Uint8Array(floats.buffer).set(bytes);
  return floats;
}
