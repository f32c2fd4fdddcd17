import { denseVector, hasVector, selectRecords } from './batch.ts';
import { getShard } from './get-shard.ts';
import { runKeys } from './keys.ts';
import { mapBatch } from './mapping.ts';
import { type ObjectStore, putJson } from './objects.ts';
import type { Manifest, Plan, Query } from './run-files.ts';
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
  /** The target's: what is near is what the application will find there. */
  readonly distance: Distance;
  /** Undefined where the source does not say. */
  readonly sourceDistance: Distance | undefined;
}

/** The dense vectors of the mapping; sparse and multi vectors have no search in the port. */
export function searchedVectors({ source, target, mapping }: Plan): SearchedVector[] {
  return source.vectors.flatMap(({ name, kind, distance: sourceDistance }) => {
    const targetVector = mapping.vectors[name];
    if (kind !== 'dense' || targetVector === undefined) return [];
    const spec = target.vectors.find((each) => each.name === targetVector);
    const distance = spec?.distance ?? sourceDistance ?? 'cosine';
    return [{ vector: name, targetVector, distance, sourceDistance }];
  });
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
      const drawn = await readQueries(
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
async function readQueries(
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
