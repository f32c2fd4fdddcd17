import type { Batch } from '../batch.ts';
import { Incompatible, InvalidEvent } from '../errors.ts';
import { conditionsOf, type Filter } from '../filter.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import type { SearchSettings } from '../schema.ts';
import type { Hit, Store, StoreKind } from '../stores/port.ts';
import { type AppliedMapping, applyMapping, noMapping } from './applied-mapping.ts';
import type { ClientRecord, ClientSide, DenseVector } from './side.ts';
import { batchOf, lastOfEach, recordsOf, shapesOf, type VectorShapes } from './store-records.ts';

/**
 * One of vecferry's stores as a side of the client: source or target of a run, in the source's ids, vector names and
 * fields. The target of a run takes the run's mapping, so that an application's own write is the record that the run
 * itself would have made.
 */

export interface StoreQuery {
  /** The dense vector searched, as the source names it; left out: the side's `vector`, or the only one there is. */
  readonly vector?: string;
  readonly values: DenseVector;
  readonly k: number;
  /** Fields as the source names them. */
  readonly filter?: Filter;
}

export interface StoreHit {
  /** The source's id. */
  readonly id: string;
  /** The store's own score: only the order means the same in another store. */
  readonly score: number;
}

export type StoreSide = ClientSide<ClientRecord, StoreQuery, StoreHit>;

export interface StoreSideOptions {
  readonly store: Store;
  readonly kind: StoreKind;
  /** The vector that queries search which name none, as the source names it. */
  readonly vector?: string;
  /** For the target of a run: the `mapping` of its plan. */
  readonly mapping?: MappingPlan;
  /** Settings of searches, `{"efSearch": 120}`. */
  readonly search?: SearchSettings;
}

/** Ids in one call of a store's fetch or delete. */
const idsPerCall = 1000;

/** @throws Incompatible when records of such a store cannot be deleted. */
export function storeSide({ store, kind, vector, mapping, search = {} }: StoreSideOptions): StoreSide {
  if (!kind.capabilities.deletes)
    throw new Incompatible(
      `${kind.title} cannot delete records by id, as an application's writes need; use another store`,
      { ids: [kind.name] },
    );
  const map = mapping === undefined ? noMapping : applyMapping(mapping, kind.capabilities.ids);
  let known: Promise<VectorShapes> | undefined;
  const shapes = async (): Promise<VectorShapes> => {
    known ??= store.fetch([]).then(shapesOf);
    try {
      return await known;
    } catch (error) {
      known = undefined;
      throw error;
    }
  };
  const fetchAll = async (ids: readonly string[]): Promise<readonly Batch[]> =>
    await inParts(ids, async (some) => await store.fetch(some));
  const resolve = idResolver(map, fetchAll);

  return {
    search: async (query) => {
      const name = query.vector ?? vector ?? onlyDense(map.sourceShapes(await shapes()));
      const hits = await store.search({
        vector: map.vectorName(name),
        query: Float32Array.from(query.values),
        k: query.k,
        ...(query.filter !== undefined && { filter: map.conditions(conditionsOf(query.filter)) }),
        ...(Object.keys(search).length > 0 && { settings: search }),
      });
      return await resolve(hits);
    },
    upsert: async (records) => {
      if (records.length === 0) return;
      const there = await shapes();
      const mapped = map.records(batchOf(lastOfEach(records), map.sourceShapes(there)), there);
      if (mapped.batch.count > 0) {
        await store.write(mapped.batch, { mode: 'upsert' }).catch((error: unknown) => {
          // The collection may have another vector since.
          known = undefined;
          throw error;
        });
      }
      // A record without a vector is none of the target's; the one that it replaces may have been.
      await inParts(mapped.skipped.map(map.targetId), async (some) => await store.delete(some));
    },
    delete: async (ids) => {
      await inParts(ids.map(map.targetId), async (some) => await store.delete(some));
    },
    fetch: async (ids) => {
      const asked = new Map(ids.map((id) => [map.targetId(id), id]));
      const found = await fetchAll([...asked.keys()]);
      return found.flatMap((batch) => recordsOf(map.sourceRecords(batch, (id) => asked.get(id) ?? id)));
    },
  };
}

/** Original ids remembered: 100,000 of them are some 15 MB. An id stands for the same original for ever. */
const maxRemembered = 100_000;

/** Hits in the source's ids. A hit whose id may stand for another is read; one that is gone meanwhile is left out. */
function idResolver(map: AppliedMapping, fetchAll: (ids: readonly string[]) => Promise<readonly Batch[]>) {
  const originals = new Map<string, string>();
  return async (hits: readonly Hit[]): Promise<readonly StoreHit[]> => {
    const mapped = hits.flatMap(({ id }) => (map.mayBeMapped(id) ? [id] : []));
    const found = new Map<string, string>();
    for (const id of mapped) {
      const original = originals.get(id);
      if (original !== undefined) found.set(id, original);
    }
    for (const { ids, payloads } of await fetchAll(mapped.filter((id) => !found.has(id))))
      for (const [at, id] of ids.entries()) found.set(id, map.sourceId(id, payloads[at] ?? '{}'));
    if (originals.size + found.size > maxRemembered) originals.clear();
    for (const [id, original] of found) originals.set(id, original);
    return hits.flatMap(({ id, score }) => {
      const original = map.mayBeMapped(id) ? found.get(id) : id;
      return original === undefined ? [] : [{ id: original, score }];
    });
  };
}

/** Calls `work` with at most a thousand of the ids at a time, one call after the other. */
async function inParts<T>(ids: readonly string[], work: (some: readonly string[]) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let at = 0; at < ids.length; at += idsPerCall) results.push(await work(ids.slice(at, at + idsPerCall)));
  return results;
}

function onlyDense(shapes: VectorShapes): string {
  const dense = [...shapes].flatMap(([name, { kind }]) => (kind === 'dense' ? [name] : []));
  const [only] = dense;
  if (only !== undefined && dense.length === 1) return only;
  const names = dense.map((name) => `'${name}'`).join(', ') || 'none';
  throw new InvalidEvent(`the query names no vector, and the collection has ${names}; say which with {"vector": NAME}`);
}
