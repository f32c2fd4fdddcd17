import { createHash } from 'node:crypto';
import { madeChecksum } from '../embed/stage/made.ts';
import { NotFound } from '../errors.ts';
import { type Condition, conditionsOf } from '../filter.ts';
import { decodeFloats } from '../float-text.ts';
import { neighboursKey } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { type Manifest, neighboursSchema, type Plan, type Query } from '../run-files.ts';
import { neighboursHash } from './neighbours.ts';
import { readQueries } from './queries.ts';
import { neighboursKept } from './searched-vectors.ts';

/** A query and its exact neighbours over all shards. */
export interface Truth {
  readonly query: Query;
  readonly values: Float32Array;
  /** Ids of the source, nearest first; some more than the deepest measure needs. */
  readonly nearest: readonly { readonly id: string; readonly distance: number }[];
  /** Records of the collection that have the query's vector and meet its filter. */
  readonly candidates: number;
  /** Empty: no filter. */
  readonly filter: readonly Condition[];
  /** True of a live run's that was held against the source: lib/live/live-truth.ts. */
  readonly isCurrent?: boolean;
}

export interface TruthsOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
}

/**
 * The queries of every set, in the order of queries.json, with their exact neighbours. The shards' lists are merged one
 * after another, so that memory goes with the queries and one shard, and not with the shards.
 * @throws NotFound when the neighbours of a shard are not there, or are those of other queries.
 */
export async function readTruths(options: TruthsOptions): Promise<readonly Truth[]> {
  return (await readTruthsAndHash(options)).truths;
}

/** The truths, and the hash of all that they were worked out from. @throws as readTruths */
export async function readTruthsAndHash({
  plan,
  manifest,
  objects,
}: TruthsOptions): Promise<{ truths: readonly Truth[]; of: string }> {
  const { queries, of: queriesOf } = await readQueries(objects, plan.run);
  const kept = neighboursKept(plan);
  const hash = createHash('sha256');
  const candidates = new Float64Array(queries.length);
  const nearest: Truth['nearest'][] = queries.map(() => []);
  for (const { shard, checksum } of manifest.shards) {
    const key = neighboursKey(plan.run, shard);
    const of = neighboursHash(plan, queriesOf, await madeChecksum(objects, plan, shard, checksum));
    hash.update(of);
    const found = await getJson(objects, key, neighboursSchema);
    if (found?.done !== true || found.of !== of) {
      const text = `${objects.locate(key)} is not there or not of these queries and this shard`;
      throw new NotFound(`${text}; start the run again under its id: it is worked out anew`, { ids: [shard] });
    }
    queries.forEach((query, q) => {
      candidates[q] = (candidates[q] ?? 0) + (found.candidates[q] ?? 0);
      nearest[q] = mergeNearest(nearest[q] ?? [], found.neighbours[q] ?? [], kept.get(query.set) ?? 0);
    });
  }
  const truths = queries.map((query, q) => ({
    query,
    values: decodeFloats(query.values),
    nearest: nearest[q] ?? [],
    candidates: candidates[q] ?? 0,
    filter: query.filter === undefined ? [] : conditionsOf(query.filter),
  }));
  return { truths, of: hash.digest('hex') };
}

/** The nearest of both lists, of equal ones those of the earlier shard first. Both are nearest first. */
function mergeNearest(a: Truth['nearest'], b: Truth['nearest'], keep: number): Truth['nearest'] {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const merged: Truth['nearest'][number][] = [];
  for (let i = 0, j = 0; merged.length < keep; ) {
    const [one, other] = [a[i], b[j]];
    if (one === undefined && other === undefined) break;
    if (other === undefined || (one !== undefined && one.distance <= other.distance)) {
      if (one !== undefined) merged.push(one);
      i++;
    } else {
      merged.push(other);
      j++;
    }
  }
  return merged;
}
