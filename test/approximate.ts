import { setTimeout as sleep } from 'node:timers/promises';
import { readManifest } from '../lib/manifest.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import type { Manifest, Plan } from '../lib/run-files.ts';
import type { SearchSettings } from '../lib/schema.ts';
import type { SearchRequest, SearchTuning, Store } from '../lib/stores/port.ts';
import { noDeadline, type World } from './world.ts';

/**
 * A store whose search is approximate in a known way, over a memory store: it reaches a record only when efSearch is
 * large enough for it. Exact searches reach all.
 */
export interface Approximation {
  /** efSearch of a search that says none. */
  readonly efSearch: number;
  /** efSearch at which every record is reached; half of it reaches half of them. */
  readonly full: number;
  readonly tuning?: Partial<SearchTuning>;
  /** False: exact is not heeded. */
  readonly canBeExact?: boolean;
  /** Milliseconds a search takes with efSearch 100. */
  readonly millis?: number;
  /** The settings take this share of the records away or give them back: by what name the store heeds them. */
  readonly reach?: (settings: SearchSettings, request: SearchRequest) => number;
  /** True: keepSearch makes the settings the collection's own. */
  readonly keeps?: boolean;
}

/** 0 to 1, the same for an id whatever the rest. */
function placeOf(id: string): number {
  let value = 0x811c9dc5;
  for (const char of id) value = Math.imul(value ^ char.charCodeAt(0), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  return ((value ^ (value >>> 13)) >>> 0) / 2 ** 32;
}

export function approximate(store: Store, how: Approximation): Store & { readonly searches: () => number } {
  let searches = 0;
  let own: SearchSettings = { efSearch: how.efSearch, ...how.tuning?.current };
  return {
    ...store,
    searches: () => searches,
    search: async (request) => {
      searches += 1;
      const settings = { ...own, ...request.settings };
      const isExact = request.exact === true && how.canBeExact !== false;
      const share = isExact ? 1 : (how.reach?.(settings, request) ?? (settings.efSearch ?? how.efSearch) / how.full);
      if (how.millis !== undefined && !isExact) await sleep((how.millis * (settings.efSearch ?? how.efSearch)) / 100);
      const { settings: _, ...plain } = request;
      const hits = await store.search({ ...plain, k: share >= 1 ? request.k : request.k * 20 });
      return hits.filter(({ id }) => placeOf(id) < share).slice(0, request.k);
    },
    tuning: async () => ({ heeds: { efSearch: true }, isQuantized: false, ...how.tuning, current: own }),
    keepSearch: async (_, settings, { dryRun = false } = {}) => {
      if (how.keeps !== true || dryRun)
        return { kept: false, how: `send ${JSON.stringify(settings)} with each search` };
      own = { ...own, ...settings };
      return { kept: true, how: 'kept by the collection' };
    },
  };
}

/** From a loaded target to recall.json, which says what the target missed. */
export async function measure(world: World, plan: Plan): Promise<Manifest> {
  const manifest = await readManifest(world.objects, plan.run);
  await chooseQueries({ plan, manifest, objects: world.objects });
  for (const { shard } of manifest.shards) {
    const input = { plan, shard, objects: world.objects, deadline: noDeadline };
    while (!(await findNeighbours(input)).done);
  }
  await measureRecall({ ...world, plan, manifest, deadline: noDeadline });
  return manifest;
}
