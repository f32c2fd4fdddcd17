import { createHash } from 'node:crypto';
import { type Batch, selectRecords, sliceBatch } from '../batch.ts';
import type { FlagStore } from '../cutover/flag.ts';
import { getMade, madeChecksum, releaseMade } from '../embed/stage/made.ts';
import { NotFound } from '../errors.ts';
import { isIndexChange } from '../index-change/index-change.ts';
import { comparedKey } from '../keys.ts';
import { bothSides } from '../live/both-sides.ts';
import { settleSpots, settleSuspects } from '../live/compare-live.ts';
import { type Deadline, isNear } from '../log.ts';
import { readManifest } from '../manifest.ts';
import { addDropped, droppedOf } from '../mapping/dropped.ts';
import { mapBatch, mapId } from '../mapping/mapping.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { isInPlace, spotChecksOf } from '../place.ts';
import { type Compared, comparedSchema, type Difference, type Manifest, type Plan } from '../run-files.ts';
import { drawPositions } from '../sample.ts';
import type { ShardOutput } from '../states.ts';
import type { Capabilities, Store } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';
import { asNowOf } from './compare-made.ts';
import { comparePlace } from './compare-place.ts';
import { fetchRecords, maxFetch, split } from './fetch-records.ts';
import { asCompared, nullsOf } from './match.ts';
import { type Treatments, targetTreatments, untreatedBy } from './record-equal.ts';
import {
  type Comparison,
  countSuspect,
  findSuspects,
  isAsSourceNow,
  judge,
  lookAgain,
  name,
  type Tallies,
  textNow,
} from './second-look.ts';

/** Fetches of the target under way at once. */
const maxInFlight = 4;

export interface CompareOptions {
  readonly plan: Plan;
  readonly shard: string;
  readonly source: Store;
  readonly target: Store;
  readonly objects: ObjectStore;
  /** Left out: that writes still go to both sides is not looked at before something is mended. */
  readonly flags?: FlagStore;
  /** Where an earlier call of this try handed over; left out where a try begins. */
  readonly offset?: number | undefined;
  readonly deadline: Deadline;
  /** Milliseconds before a record that differs is looked at again: writes may still be settling in the target. In a live run the unit of several pauses. */
  readonly secondLookMs?: number;
  /** Milliseconds of work that a kill may cost. */
  readonly saveEveryMs?: number;
}

/**
 * Holds the records of a shard against the target, and a sample of them against the source, and writes
 * compared/<shard>.json. A record that differs is looked at twice, and then held against the source as it is now, so
 * that neither a slow target nor a change of the source after the export is a false alarm. In a live run it is looked at
 * more often, and mended: compare-live.ts. There a record that is as in its shard while the source has moved on is the
 * sweep's matter, which holds every record of the source against the shards.
 *
 * The tallies are written every few seconds with the offset that they reach, and by it a call goes on, whether this try
 * handed over at its deadline or an earlier one was killed. A shard that an earlier try found whole is not compared again;
 * one where it found something is, from its start, since that may have been mended. What another validation found, of
 * another shard or asked otherwise, does not count, nor in a live run what was found before it was started again.
 * @throws NotFound when the shard or the manifest is not there, ShardDamaged when it is not as it was written.
 */
export async function compareShard(options: CompareOptions): Promise<ShardOutput> {
  const { plan, shard, objects, offset = 0, deadline, saveEveryMs = 10_000 } = options;
  const manifest = await readManifest(objects, plan.run);
  const { capabilities } = await storeKind(plan.event.target.store);
  const sourceKind = await storeKind(plan.event.source.store);
  const treatments = { ...targetTreatments(plan, capabilities), ...nearBySource(plan, sourceKind.capabilities) };
  const key = comparedKey(plan.run, shard);
  const exported = manifest.shards.find((entry) => entry.shard === shard)?.checksum ?? '';
  const checksum = await madeChecksum(objects, plan, shard, exported);
  const of = hashOf(plan, manifest, { shard, checksum }, treatments);
  const earlier = await getJson(objects, key, comparedSchema);
  const goesOn = earlier?.of === of && (offset > 0 || isClean(earlier));
  if (goesOn && earlier.done) return { done: true };
  if (isIndexChange(plan.event)) {
    // Nothing was written: both sides are the same records, and none of them is called equal.
    const records = manifest.shards.find((entry) => entry.shard === shard)?.records ?? 0;
    await putJson(objects, key, { ...noTallies(shard, of, { count: records }, []), done: true });
    return { done: true };
  }

  const made = await getMade(objects, plan, shard);
  const { batch } = made;
  const comparison: Comparison = {
    plan,
    source: options.source,
    target: asCompared(options.target, plan, sourceKind.capabilities),
    ...made,
    asNow: asNowOf(plan, made),
    ids: capabilities.ids,
    treatments,
    nulls: nullsOf(plan),
    doubled: findDoubled(batch, plan, capabilities.ids),
    sides: plan.event.live === false ? undefined : await bothSides({ ...options, lookAgainMs: options.secondLookMs }),
    secondLookMs: options.secondLookMs ?? 1000,
    secondLooks: 0,
  };
  const compare = positionsToCompare(plan, manifest, shard, batch.count);
  const spots = positionsOf(manifest, shard, spotChecksOf(plan), plan.event.validate.seed + 1);
  const tallies: Tallies = goesOn ? earlier : noTallies(shard, of, batch, compare);
  const begun = tallies.offset;
  const save = async (): Promise<void> => {
    tallies.at = new Date().toISOString();
    tallies.done = tallies.offset >= compare.length + spots.length;
    await putJson(objects, key, tallies);
  };

  const step = maxFetch * maxInFlight;
  let savedAt = performance.now();
  while (tallies.offset < compare.length + spots.length) {
    if (isNear(deadline) && tallies.offset > begun) break;
    const [at, { mended }] = [tallies.offset, tallies];
    if (at < compare.length) {
      const positions = compare.slice(at, at + step);
      await comparePositions(comparison, positions, tallies);
      tallies.offset += positions.length;
    } else {
      const positions = spots.slice(at - compare.length, at - compare.length + step);
      await checkSpots(comparison, positions, tallies, untreatedBy(sourceKind.capabilities));
      tallies.offset += positions.length;
    }
    // What was mended is not seen again by a call that goes on from before it, so it would never be named.
    if (tallies.mended === mended && performance.now() - savedAt < saveEveryMs) continue;
    await save();
    savedAt = performance.now();
  }
  await save();
  releaseMade(made);
  return tallies.done ? { done: true } : { done: false, offset: tallies.offset };
}

/** Of two collections that others filled, the source may have its own digits of what both were given. A move is held to what it read. */
function nearBySource({ event }: Plan, { payload }: Capabilities): Partial<Pick<Treatments, 'doubles'>> {
  return event.mode === 'validate' && payload.nearDoubles === true ? { doubles: 'near' } : {};
}

/** What the tallies of a shard depend on besides the two collections: the shard, what was asked for, and how it is compared. */
function hashOf(
  plan: Plan,
  manifest: Manifest,
  { shard, checksum }: { readonly shard: string; readonly checksum: string },
  treatments: Treatments,
): string {
  const { compare, seed, spotCheck } = plan.event.validate;
  const at = manifest.shards.findIndex((entry) => entry.shard === shard);
  const before = manifest.shards.slice(0, at).reduce((sum, { records }) => sum + records, 0);
  // A sample is drawn from the whole run: which of a shard's records are in it hangs on where the shard lies.
  const place = [manifest.records, before, checksum];
  const text = JSON.stringify([
    place,
    compare,
    seed,
    spotCheck,
    plan.event.mode,
    plan.event.live === false ? null : plan.attempt,
    nullsOf(plan),
    plan.mapping,
    [...treatments.vectors],
    treatments.doubles,
  ]);
  return createHash('sha256').update(text).digest('hex');
}

function isClean({ different, missing, unchecked, notInSample, spotDifferent }: Compared): boolean {
  return different === 0 && missing === 0 && unchecked === notInSample && spotDifferent === 0;
}

/** Positions in the shard, ascending, of a sample of `size` records of the whole run that every shard draws alike. */
function positionsOf(manifest: Manifest, shard: string, size: number, seed: number): number[] {
  let from = 0;
  for (const entry of manifest.shards) {
    if (entry.shard === shard) {
      const to = from + entry.records;
      const drawn = drawPositions(manifest.records, size, seed).filter((at) => at >= from && at < to);
      return drawn.map((at) => at - from).sort((a, b) => a - b);
    }
    from += entry.records;
  }
  throw new NotFound(`the manifest of the run has no shard '${shard}'`, { ids: [shard] });
}

function positionsToCompare(plan: Plan, manifest: Manifest, shard: string, count: number): number[] {
  const { compare, seed } = plan.event.validate;
  if (compare === 'all') return Array.from({ length: count }, (_, at) => at);
  return positionsOf(manifest, shard, compare.sample, seed);
}

function noTallies(shard: string, of: string, { count }: Pick<Batch, 'count'>, compare: readonly number[]): Tallies {
  const notInSample = count - compare.length;
  const none = {
    equal: 0,
    nearNumbers: 0,
    changed: 0,
    gone: 0,
    different: 0,
    missing: 0,
    duplicates: 0,
    skipped: 0,
    mended: 0,
  };
  const lists = { skippedIds: [], differences: [], changes: [], mendedIds: [], spotDifferences: [] };
  const spot = { spotChecked: 0, spotDifferent: 0 };
  const startedAt = new Date().toISOString();
  return {
    shard,
    done: false,
    of,
    startedAt,
    at: startedAt,
    offset: 0,
    records: count,
    ...none,
    unchecked: notInSample,
    notInSample,
    ...spot,
    ...lists,
  };
}

/** One of two records with the same id in the target overwrites the other, so the later one is never equal. */
function findDoubled(batch: Batch, { mapping }: Plan, ids: Capabilities['ids']): Map<number, string> {
  const targetIds = mapping.ids === 'keep' ? batch.ids : batch.ids.map((id) => mapId(ids, id));
  const doubled = new Map<number, string>();
  if (new Set(targetIds).size === batch.count) return doubled;
  const seen = new Map<string, string>();
  batch.ids.forEach((id, at) => {
    const targetId = targetIds[at] ?? '';
    const earlier = seen.get(targetId);
    if (earlier === undefined) seen.set(targetId, id);
    else doubled.set(at, earlier);
  });
  return doubled;
}

async function comparePositions(comparison: Comparison, positions: readonly number[], tallies: Tallies): Promise<void> {
  const { plan, batch, ids, doubled, failed } = comparison;
  if (isInPlace(plan.event) && plan.embed !== undefined) return await comparePlace(comparison, positions, tallies);
  const isSingle = (at: number): boolean => !doubled.has(at) && !failed.has(at);
  const single = doubled.size + failed.size === 0 ? positions : positions.filter(isSingle);
  for (const at of positions) {
    const why = failed.get(at);
    if (why === undefined || doubled.has(at)) continue;
    const reason = `was not written, because its text could not be embedded: ${why}`;
    countSuspect(tallies, { sourceId: batch.ids[at] ?? '', verdict: 'missing', reason });
  }
  for (const at of positions) {
    const earlier = doubled.get(at);
    if (earlier === undefined) continue;
    tallies.duplicates++;
    const sourceId = batch.ids[at] ?? '';
    const reason = `has the same id in the target as record '${earlier}': one of them overwrites the other`;
    countSuspect(tallies, { sourceId, verdict: 'different', reason });
  }
  const suspects = await Promise.all(
    split(single, maxFetch).map(async (part) => {
      const mapped = mapBatch(recordsAt(batch, part), plan.mapping, ids);
      tallies.skipped += mapped.skipped.length;
      for (const id of mapped.skipped) name(tallies.skippedIds, id);
      Object.assign(tallies, addDropped(tallies, droppedOf(mapped.dropped)));
      const found = findSuspects(mapped, await fetchRecords(comparison.target, mapped.batch.ids), comparison, tallies);
      tallies.equal += mapped.batch.count - found.length;
      return found;
    }),
  );
  const { sides } = comparison;
  if (sides === undefined) await lookAgain(comparison, suspects.flat(), tallies);
  else await settleSuspects({ ...comparison, sides }, suspects.flat(), tallies);
}

/** The records at these ascending positions; where they lie side by side, as when every record is compared, no float is copied. */
function recordsAt(batch: Batch, positions: readonly number[]): Batch {
  const [first = 0, last = -1] = [positions[0], positions.at(-1)];
  return last - first + 1 === positions.length ? sliceBatch(batch, first, last + 1) : selectRecords(batch, positions);
}

/**
 * Reads records back from the source by id, another path than the export took, and holds them against the shard: a fault
 * of the export must not hide behind its own output.
 */
async function checkSpots(
  comparison: Comparison,
  positions: readonly number[],
  tallies: Tallies,
  treatments: Treatments,
): Promise<void> {
  const { exported: batch, source, target, plan, ids } = comparison;
  const found = await fetchRecords(
    source,
    positions.map((at) => batch.ids[at] ?? ''),
  );
  tallies.spotChecked += positions.length;
  const suspects = positions.flatMap((at) => {
    const suspect = judge({ batch, at }, found, { treatments, nulls: 'kept' });
    return suspect === undefined ? [] : [{ ...suspect, at, id: batch.ids[at] ?? '' }];
  });
  if (suspects.length === 0) return;
  if (comparison.sides !== undefined) {
    const left = await settleSpots(
      comparison.sides,
      suspects.map(({ id }) => id),
      tallies,
    );
    for (const each of left) countSpot(tallies, each);
    return;
  }
  const targetIds = suspects.map(({ id }) => (plan.mapping.ids === 'keep' ? id : mapId(ids, id)));
  const inTarget = await fetchRecords(target, targetIds);
  suspects.forEach(({ id, verdict, reason }, at) => {
    const expected = { batch: { ...batch, ids: targetIds }, at };
    if (isAsSourceNow(comparison, id, expected, found, inTarget)) return;
    const text = textNow(comparison, id, found);
    countSpot(tallies, { id, verdict, reason: `${spotReason(verdict, reason)}${text}` });
  });
}

function countSpot(tallies: Tallies, difference: Difference): void {
  tallies.spotDifferent++;
  name(tallies.spotDifferences, difference);
}

function spotReason(verdict: Difference['verdict'], reason: string): string {
  if (verdict === 'missing') return 'is in the shard but no longer in the source: it was deleted after the export';
  if (verdict === 'unchecked') return reason.replace('from the target', 'from the source');
  return `the source is not as its shard: it changed after the export, or the export is wrong; ${reason}`;
}
