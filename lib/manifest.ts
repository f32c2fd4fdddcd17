import { ImportFailed, NotFound, ShardDamaged } from './errors.ts';
import { nameOfKey, parseShardName, runKeys } from './keys.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { readRanges } from './plan.ts';
import type { ShardQueue } from './queue.ts';
import {
  type Failed,
  failedSchema,
  type Loaded,
  loadedSchema,
  type Manifest,
  manifestSchema,
  type Plan,
  type ShardEntry,
  shardEntrySchema,
} from './run-files.ts';
import type { Dropped } from './states.ts';

/** Markers read at once; S3 serves thousands a second from one prefix. */
const readsAtOnce = 32;

/**
 * Writes manifest.json and shards.json once every range is in shards.
 * @throws ShardDamaged when a range's shards do not reach to its end: the run is started again, which exports what is missing.
 */
export async function sealManifest({ plan, objects }: { plan: Plan; objects: ObjectStore }): Promise<Manifest> {
  const { run } = plan;
  const entries = await readMarkers(objects, runKeys(run).exported, (key) => getJson(objects, key, shardEntrySchema));
  const shards = entries.toSorted((a, b) => a.range - b.range || a.part - b.part);
  const open = (await readRanges(objects, run)).filter(
    ({ range }) => !isComplete(shards.filter((entry) => entry.range === range)),
  );
  if (open.length > 0) {
    throw new ShardDamaged(
      `${open.length} ranges of run '${run}' are not wholly exported; start the run again, which exports what is missing`,
      {
        ids: open.map(({ range }) => String(range)),
      },
    );
  }
  const manifest: Manifest = {
    format: 1,
    run,
    records: shards.reduce((sum, { records }) => sum + records, 0),
    bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0),
    shards,
  };
  await putJson(
    objects,
    runKeys(run).shardList,
    shards.map(({ shard }) => shard),
  );
  await putJson(objects, runKeys(run).manifest, manifest);
  return manifest;
}

/** The parts are numbered without a gap, and the last one, and only it, says that nothing is left of the range. */
function isComplete(parts: readonly ShardEntry[]): boolean {
  return (
    parts.length > 0 &&
    parts.every(({ part, rest }, at) => part === at && (rest === null) === (at === parts.length - 1))
  );
}

/** @throws NotFound when the export is not sealed yet. */
export async function readManifest(objects: ObjectStore, run: string): Promise<Manifest> {
  const manifest = await getJson(objects, runKeys(run).manifest, manifestSchema);
  if (manifest === undefined)
    throw new NotFound(`run '${run}' has no manifest yet: its export is not complete`, { ids: [run] });
  return manifest;
}

export interface ImportState {
  readonly loaded: number;
  readonly shards: number;
  readonly done: boolean;
}

/**
 * Holds the ledger against the manifest. A failure is raised only when every other shard is loaded, so that one poison
 * record costs one shard.
 * @throws ImportFailed naming the shards that cannot be loaded and why, once nothing else is under way.
 */
export async function checkImport({
  plan,
  objects,
  queue,
}: {
  plan: Plan;
  objects: ObjectStore;
  queue: ShardQueue;
}): Promise<ImportState> {
  const { run } = plan;
  const { shards } = await readManifest(objects, run);
  const loaded = new Set((await objects.list(runKeys(run).loaded)).map(nameOfKey));
  const missing = shards.map(({ shard }) => shard).filter((shard) => !loaded.has(shard));
  if (missing.length === 0) return { loaded: shards.length, shards: shards.length, done: true };
  const dead = new Set(await queue.deadShards(run, plan.attempt));
  const failures = await readFailures(objects, run);
  const given = missing.filter((shard) => dead.has(shard) || failures.get(shard)?.final === true);
  if (given.length === missing.length) {
    const reasons = given
      .slice(0, 5)
      .map(
        (shard) =>
          `${shard}: ${failures.get(shard)?.message ?? 'it is among the dead letters; its importer died without a word'}`,
      );
    const mend =
      'mend the cause and start the run again; what is loaded stays loaded. Where records are mended in the source, delete their shards below shards/ of the run first, so that they are exported again';
    throw new ImportFailed(
      `${given.length} of ${shards.length} shards could not be loaded, the others are. ${reasons.join('. ')}. Then ${mend}`,
      { ids: given },
    );
  }
  return { loaded: shards.length - missing.length, shards: shards.length, done: false };
}

/** The last failure of each shard that ever failed; one that was loaded later is among them. */
export async function readFailures(objects: ObjectStore, run: string): Promise<ReadonlyMap<string, Failed>> {
  const failures = await readMarkers(objects, runKeys(run).failed, (key) => getJson(objects, key, failedSchema));
  return new Map(failures.map((failure) => [failure.shard, failure]));
}

/** What the target acknowledged, shard by shard. Of the ids that were left out the first hundred of the run are kept. */
export async function readLoaded(objects: ObjectStore, run: string): Promise<readonly Loaded[]> {
  let left = 100;
  const named = new Map<string, number>();
  const firstOf = ({ rule, records, ids }: Dropped): Dropped => {
    const before = named.get(rule) ?? 0;
    named.set(rule, before + ids.length);
    return { rule, records, ids: ids.slice(0, Math.max(0, 100 - before)) };
  };
  const read = (key: string): Promise<Loaded | undefined> => getJson(objects, key, loadedSchema);
  // In the shards' order: which ids are the first must not hang on which marker was read first.
  return await readMarkers(objects, runKeys(run).loaded, read, (marker) => {
    const skippedIds = marker?.skippedIds.slice(0, left) ?? [];
    left -= skippedIds.length;
    return marker && { ...marker, skippedIds, ...(marker.dropped && { dropped: marker.dropped.map(firstOf) }) };
  });
}

async function readMarkers<T>(
  objects: ObjectStore,
  prefix: string,
  read: (key: string) => Promise<T | undefined>,
  keep?: (found: T | undefined) => T | undefined,
): Promise<T[]> {
  const keys = (await objects.list(prefix)).filter((key) => isShard(nameOfKey(key)));
  return (await readEach(keys, read, keep)).filter((each) => each !== undefined);
}

/**
 * What `read` gives for each, in order, a few dozen at a time: a run may have as many shards as it likes.
 * @param keep what of each stays in memory; called in the keys' order
 */
export async function readEach<K, T>(
  keys: readonly K[],
  read: (key: K) => Promise<T>,
  keep: (found: T) => T = (found) => found,
): Promise<T[]> {
  const found: T[] = [];
  for (let at = 0; at < keys.length; at += readsAtOnce) {
    found.push(...(await Promise.all(keys.slice(at, at + readsAtOnce).map(read))).map((each) => keep(each)));
  }
  return found;
}

function isShard(name: string): boolean {
  return parseShardName(name).range >= 0;
}
