import { createHash } from 'node:crypto';
import { type Batch, hasVector, selectRecords } from './batch.ts';
import { NotFound } from './errors.ts';
import { split } from './fetch-records.ts';
import { getShard } from './get-shard.ts';
import { exportedKey, neighboursKey } from './keys.ts';
import { type Deadline, isNear } from './log.ts';
import { mapBatch } from './mapping.ts';
import { findNearest } from './nearest.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { decodeFloats, neighboursKept, readQueries, searchedVectors } from './queries.ts';
import { type Neighbours, neighboursSchema, type Plan, type Query, shardEntrySchema } from './run-files.ts';
import type { ShardOutput } from './states.ts';
import { storeKind } from './stores/registry.ts';

/** Queries between two looks at the deadline. */
const queriesAtOnce = 256;

export interface NeighboursOptions {
  readonly plan: Plan;
  readonly shard: string;
  readonly objects: ObjectStore;
  /** Queries done by an earlier call that handed over. */
  readonly offset?: number | undefined;
  /** Left out: the work is done in one go. */
  readonly deadline?: Deadline;
}

/**
 * Finds each query's exact nearest records within one shard and writes neighbours/<shard>.json. Records that the mapping
 * left out are no candidates: the target never got them. Near the deadline what is done is written, and `offset` says
 * how many queries that is.
 * @throws NotFound when the queries were not chosen, or the shard is not there.
 */
export async function findNeighbours(options: NeighboursOptions): Promise<ShardOutput> {
  const { plan, shard, objects, offset = 0, deadline } = options;
  const key = neighboursKey(plan.run, shard);
  const { queries, of: queriesOf } = await readQueries(objects, plan.run);
  const entry = await getJson(objects, exportedKey(plan.run, shard), shardEntrySchema);
  if (entry === undefined)
    throw new NotFound(`${objects.locate(exportedKey(plan.run, shard))} is not there: export the run again`, {
      ids: [shard],
    });
  const of = neighboursHash(plan, queriesOf, entry.checksum);
  const batch = await carriedRecords(await getShard(objects, plan.run, shard), plan);
  const earlier = offset > 0 ? await getJson(objects, key, neighboursSchema) : undefined;
  const neighbours: Neighbours['neighbours'] = (earlier?.neighbours ?? []).slice(0, queries.length);
  const candidates = queries.map(({ vector }) => countPresent(batch, vector));
  const startedAt = new Date().toISOString();
  while (neighbours.length < queries.length) {
    if (deadline !== undefined && isNear(deadline) && neighbours.length > offset) break;
    const next = queries.slice(neighbours.length, neighbours.length + queriesAtOnce);
    neighbours.push(...nearestOf(batch, plan, next, Math.max(...neighboursKept(plan).values())));
  }
  const done = neighbours.length === queries.length;
  await putJson(objects, key, {
    shard,
    done,
    of,
    candidates,
    neighbours,
    startedAt,
    at: new Date().toISOString(),
  } satisfies Neighbours);
  return done ? { done } : { done, offset: neighbours.length };
}

/**
 * What a shard's neighbours were worked out from: the shard, the queries, how they are ranked and how many are kept.
 * @param queriesOf hash of the queries @param checksum the shard's
 */
export function neighboursHash(plan: Plan, queriesOf: string, checksum: string): string {
  const text = JSON.stringify([
    checksum,
    queriesOf,
    searchedVectors(plan),
    plan.mapping.missingVectors,
    [...neighboursKept(plan)],
  ]);
  return createHash('sha256').update(text).digest('hex');
}

/** The records of a shard that the mapping carries: all, or those that lack no vector. */
export async function carriedRecords(batch: Batch, plan: Plan): Promise<Batch> {
  if (plan.mapping.missingVectors === 'keep') return batch;
  const { capabilities } = await storeKind(plan.event.target.store);
  const parts = split(
    Array.from({ length: batch.count }, (_, at) => at),
    10_000,
  );
  const skipped = new Set(
    parts.flatMap((part) => mapBatch(selectRecords(batch, part), plan.mapping, capabilities.ids).skipped),
  );
  if (skipped.size === 0) return batch;
  return selectRecords(
    batch,
    batch.ids.flatMap((id, at) => (skipped.has(id) ? [] : [at])),
  );
}

function countPresent(batch: Batch, vector: string): number {
  const column = batch.vectors.get(vector);
  if (column === undefined) return 0;
  if (column.present === undefined) return batch.count;
  return batch.ids.reduce((sum, _, at) => sum + (hasVector(column, at) ? 1 : 0), 0);
}

/** One list a query, in the queries' order, whichever vector each of them is for. */
function nearestOf(batch: Batch, plan: Plan, queries: readonly Query[], keep: number): Neighbours['neighbours'] {
  const lists = new Map<Query, Neighbours['neighbours'][number]>();
  for (const { vector, distance } of searchedVectors(plan)) {
    const column = batch.vectors.get(vector);
    const own = queries.filter((query) => query.vector === vector);
    if (column?.kind !== 'dense' || own.length === 0) continue;
    const found = findNearest(
      column,
      batch.count,
      own.map(({ values }) => decodeFloats(values)),
      distance,
      keep,
    );
    found.forEach(({ positions, distances }, q) => {
      const list = Array.from(positions, (at, i) => ({ id: batch.ids[at] ?? '', distance: distances[i] ?? 0 }));
      const query = own[q];
      if (query !== undefined) lists.set(query, list);
    });
  }
  return queries.map((query) => lists.get(query) ?? []);
}
