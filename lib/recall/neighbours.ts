import { createHash } from 'node:crypto';
import { type Batch, type DenseColumn, hasVector } from '../batch.ts';
import { madeChecksum } from '../embed/stage/made.ts';
import { NotFound } from '../errors.ts';
import { conditionsOf, type Filter, fieldsMeet, fieldsOf } from '../filter.ts';
import { decodeFloats } from '../float-text.ts';
import { exportedKey, neighboursKey } from '../keys.ts';
import { type Deadline, isNear } from '../log.ts';
import { getCarriedShard } from '../mapping/carried.ts';
import { asTruncated } from '../mapping/truncate.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { type Neighbours, neighboursSchema, type Plan, type Query, shardEntrySchema } from '../run-files.ts';
import type { ShardOutput } from '../states.ts';
import { findNearest } from './nearest.ts';
import { readQueries } from './queries.ts';
import { neighboursKept, type SearchedVector, searchedVectors } from './searched-vectors.ts';

/** Queries between two looks at the deadline. */
const queriesAtOnce = 256;
/** What is done is written this often, so that a kill costs no more. */
const checkpointMs = 60_000;
/** A byte a record for each filter: as many filters as fit are held against a payload while it is parsed. */
const maxMaskBytes = 64 * 1024 * 1024;

export interface NeighboursOptions {
  readonly plan: Plan;
  readonly shard: string;
  readonly objects: ObjectStore;
  /** Left out: the work is done in one go. */
  readonly deadline?: Deadline;
}

/**
 * Finds each query's exact nearest records within one shard, among those that meet its filter, and writes
 * neighbours/<shard>.json. Records that the mapping left out are no candidates: the target never got them. What is there
 * already for this shard and these queries is not worked out again. Near the deadline what is done is written, and
 * `offset` says how many queries that is: call again.
 * @throws NotFound when the queries were not chosen, or the shard is not there.
 */
export async function findNeighbours({ plan, shard, objects, deadline }: NeighboursOptions): Promise<ShardOutput> {
  const key = neighboursKey(plan.run, shard);
  const { queries, of: queriesOf } = await readQueries(objects, plan.run);
  const of = neighboursHash(plan, queriesOf, await checksumOf(objects, plan, shard));
  const earlier = await getJson(objects, key, neighboursSchema);
  const own = earlier?.of === of ? earlier : undefined;
  if (own?.done === true) return { done: true };

  const batch = asTruncated(await getCarriedShard(objects, plan, shard), plan.mapping);
  const seek = seeker(batch, plan, queries);
  const candidates = own?.candidates.slice() ?? [];
  const neighbours = own?.neighbours.slice() ?? [];
  const startedAt = own?.startedAt ?? new Date().toISOString();
  const write = async (done: boolean): Promise<void> => {
    const found: Neighbours = { shard, done, of, candidates, neighbours, startedAt, at: new Date().toISOString() };
    await putJson(objects, key, found);
  };
  let written = performance.now();
  for (let isFirst = true; neighbours.length < queries.length; isFirst = false) {
    if (deadline !== undefined && isNear(deadline) && !isFirst) {
      await write(false);
      return { done: false, offset: neighbours.length };
    }
    if (performance.now() - written > checkpointMs) {
      await write(false);
      written = performance.now();
    }
    for (const found of seek(queries.slice(neighbours.length, neighbours.length + queriesAtOnce))) {
      candidates.push(found.candidates);
      neighbours.push(found.nearest);
    }
  }
  await write(true);
  return { done: true };
}

/**
 * What a shard's neighbours were worked out from: the shard, the queries, how they are ranked and how many are kept.
 * @param queriesOf hash of the queries @param checksum of the shard with its made vectors
 */
export function neighboursHash(plan: Plan, queriesOf: string, checksum: string): string {
  const { missingVectors } = plan.mapping;
  const text = JSON.stringify([checksum, queriesOf, searchedVectors(plan), missingVectors, [...neighboursKept(plan)]]);
  return createHash('sha256').update(text).digest('hex');
}

/** The shard's checksum without reading it. */
async function checksumOf(objects: ObjectStore, plan: Plan, shard: string): Promise<string> {
  const key = exportedKey(plan.run, shard);
  const entry = await getJson(objects, key, shardEntrySchema);
  if (entry === undefined)
    throw new NotFound(`${objects.locate(key)} is not there: start the run again under its id`, { ids: [shard] });
  return await madeChecksum(objects, plan, shard, entry.checksum);
}

interface Found {
  readonly candidates: number;
  readonly nearest: Neighbours['neighbours'][number];
}

/** Finds the neighbours of some queries, in their order. Those with the same vector, filter and depth pass over the records together. */
function seeker(batch: Batch, plan: Plan, all: readonly Query[]): (queries: readonly Query[]) => Found[] {
  const vectors = new Map(searchedVectors(plan).map((each) => [each.vector, each]));
  const kept = neighboursKept(plan);
  const maskOf = maskMaker(batch, all);
  return (queries) => {
    const groups = Map.groupBy(queries, ({ set, vector, filter }) =>
      JSON.stringify([vector, filter ?? null, kept.get(set) ?? 0]),
    );
    const found = new Map<Query, Found>();
    for (const group of groups.values()) {
      const [first] = group;
      const vector = first === undefined ? undefined : vectors.get(first.vector);
      if (first === undefined || vector === undefined) continue;
      const mask = first.filter === undefined ? undefined : maskOf(first.filter);
      const results = nearestOf(batch, vector, mask, group, kept.get(first.set) ?? 0);
      for (const [at, query] of group.entries()) found.set(query, results[at] ?? nothing);
    }
    return queries.map((query) => found.get(query) ?? nothing);
  };
}

const nothing: Found = { candidates: 0, nearest: [] };

function nearestOf(
  batch: Batch,
  { vector, distance }: SearchedVector,
  mask: Uint8Array | undefined,
  queries: readonly Query[],
  keep: number,
): Found[] {
  const column = batch.vectors.get(vector);
  if (column?.kind !== 'dense') return [];
  const among = mask === undefined ? column : { ...column, present: both(mask, column.present) };
  const candidates = countPresent(among, batch.count);
  if (candidates === 0) return [];
  const values = queries.map((query) => decodeFloats(query.values));
  return findNearest(among, batch.count, values, distance, keep).map(({ positions, distances }) => ({
    candidates,
    nearest: Array.from(positions, (at, i) => ({ id: batch.ids[at] ?? '', distance: distances[i] ?? 0 })),
  }));
}

function countPresent(column: DenseColumn, count: number): number {
  if (column.present === undefined) return count;
  let sum = 0;
  for (let at = 0; at < count; at++) if (hasVector(column, at)) sum++;
  return sum;
}

function both(mask: Uint8Array, present: Uint8Array | undefined): Uint8Array {
  return present === undefined ? mask : mask.map((each, at) => each & (present[at] ?? 0));
}

/**
 * Which records of the batch meet a filter, a byte each. All filters that fit into memory are worked out in one pass over
 * the payloads, so that each is parsed once and not once a query.
 */
function maskMaker(batch: Batch, queries: readonly Query[]): (filter: Filter) => Uint8Array {
  const filters = [
    ...new Map(queries.flatMap(({ filter }) => (filter ? [[JSON.stringify(filter), filter] as const] : []))),
  ];
  const atOnce = Math.max(1, Math.floor(maxMaskBytes / Math.max(1, batch.count)));
  let masks = new Map<string, Uint8Array>();
  return (filter) => {
    const key = JSON.stringify(filter);
    if (!masks.has(key)) {
      const from = filters.findIndex(([each]) => each === key);
      masks = makeMasks(batch, filters.slice(from, from + atOnce));
    }
    return masks.get(key) ?? new Uint8Array(batch.count);
  };
}

function makeMasks(batch: Batch, filters: readonly (readonly [string, Filter])[]): Map<string, Uint8Array> {
  const made = filters.map(([key, filter]) => ({
    key,
    conditions: conditionsOf(filter),
    mask: new Uint8Array(batch.count),
  }));
  batch.payloads.forEach((payload, at) => {
    const fields = fieldsOf(payload);
    for (const { conditions, mask } of made) if (fieldsMeet(conditions, fields)) mask[at] = 1;
  });
  return new Map(made.map(({ key, mask }) => [key, mask]));
}
