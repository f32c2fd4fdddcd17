import { setTimeout as sleep } from 'node:timers/promises';
import { fetchRecords } from '../compare/fetch-records.ts';
import { RecordRefused } from '../errors.ts';
import { exportedKey, loadedKey, nameOfKey, parseShardName, runKeys, shardName } from '../keys.ts';
import { type Mapped, mapBatch } from '../mapping/mapping.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { patiently } from '../patiently.ts';
import { type Plan, shardEntrySchema } from '../run-files.ts';
import type { RangeItem } from '../states.ts';
import type { Range, Source, StoreKind, Target } from '../stores/port.ts';

/** Shards that are looked at, evenly over those loaded, and the records of each: an emptied target shows in the first. */
const maxShards = 32;
const recordsOfShard = 32;

export interface LedgerInput {
  readonly plan: Plan;
  readonly ranges: readonly RangeItem[];
  readonly objects: ObjectStore;
  readonly source: Source;
  readonly target: Target;
  readonly targetKind: StoreKind;
  /** Milliseconds before a record that the target lacks is looked for again: a write may be between its two sides. */
  readonly lookAgainMs?: number;
}

/** Nothing is loaded whatever the markers say, so the shards are loaded again. */
export async function forgetLoaded(objects: ObjectStore, run: string): Promise<void> {
  for (const key of await objects.list(runKeys(run).loaded)) await objects.delete(key);
}

/**
 * Takes the loaded markers away whose promise no longer holds, in a run whose application writes to both sides. There a
 * count cannot tell: a target that was emptied, or dropped and made again, holds a few records as soon as something was
 * written. So the markers are held against the records themselves. With writes on both sides the target holds all that the
 * source holds of a shard's keys once that is loaded, whether it was exported or written since. A record that the source
 * holds and the target lacks, at two looks, breaks the promise, and the shard is loaded again. Where most of the shards
 * looked at are broken the target was emptied, and all are.
 *
 * To forget too much costs time and no record, since the import of such a run inserts only what is absent. A marker that
 * stays though its records are gone (all that was looked at had been written again) is found by compare, as missing.
 */
export async function forgetUnloaded(input: LedgerInput): Promise<void> {
  const { plan, objects } = input;
  const loaded = (await objects.list(runKeys(plan.run).loaded)).map(nameOfKey).sort();
  const step = Math.max(1, loaded.length / maxShards);
  const chosen = Array.from(
    { length: Math.min(loaded.length, maxShards) },
    (_, i) => loaded[Math.floor(i * step)] ?? '',
  );
  const broken: string[] = [];
  for (const shard of chosen) if (!(await isStillLoaded(input, shard))) broken.push(shard);
  if (broken.length * 2 > chosen.length) return await forgetLoaded(objects, plan.run);
  for (const shard of broken) await objects.delete(loadedKey(plan.run, shard));
}

/** False when the source holds one of the shard's first records and the target lacks it, at two looks. */
async function isStillLoaded(input: LedgerInput, shard: string): Promise<boolean> {
  const { source, target, lookAgainMs = 1000 } = input;
  const { batch, sourceIds } = await firstRecords(input, shard);
  const first = await fetchRecords(target, batch.ids);
  const idOf = new Map(batch.ids.map((id, at) => [id, sourceIds[at] ?? '']));
  const absent = batch.ids.filter((id) => !first.records.has(id) && !first.unreadable.has(id));
  if (absent.length === 0) return true;
  await sleep(lookAgainMs);
  const inSource = await fetchRecords(
    source,
    absent.map((id) => idOf.get(id) ?? ''),
  );
  const inTarget = await fetchRecords(target, absent);
  return absent.every((id) => inTarget.records.has(id) || !inSource.records.has(idOf.get(id) ?? ''));
}

const nothing: Mapped = {
  batch: { count: 0, ids: [], vectors: new Map(), payloads: [] },
  sourceIds: [],
  skipped: [],
  dropped: new Map(),
};

/** The first records that the source holds now of a shard's keys, as the target should hold them; none where they cannot be carried. */
async function firstRecords(input: LedgerInput, shard: string): Promise<Mapped> {
  const range = await keysOf(input, shard);
  if (range === undefined) return nothing;
  const options = { maxRecords: recordsOfShard, maxBytes: 16 * 1024 * 1024 };
  return await patiently(async () => {
    for await (const { batch } of input.source.read(range, options)) {
      try {
        return mapBatch(batch, input.plan.mapping, input.targetKind.capabilities.ids);
      } catch (error) {
        // What cannot be carried is in no target: it says nothing of the marker.
        if (error instanceof RecordRefused) return nothing;
        throw error;
      }
    }
    return nothing;
  });
}

/** The source's keys that a shard holds: from where the part before it ended. undefined where the export's markers are gone. */
async function keysOf({ plan, ranges, objects }: LedgerInput, shard: string): Promise<Range | undefined> {
  const { range, part } = parseShardName(shard);
  const whole = ranges.find((each) => each.range === range);
  const entryOf = async (name: string) => await getJson(objects, exportedKey(plan.run, name), shardEntrySchema);
  const entry = await entryOf(shard);
  const before = part === 0 ? undefined : await entryOf(shardName(range, part - 1));
  const from = part === 0 ? whole : before?.rest;
  if (whole === undefined || entry === undefined || from === undefined || from === null) return undefined;
  return { from: from.from, to: entry.rest?.from ?? whole.to };
}
