import { NotFound, RecordRefused } from '../errors.ts';
import { comparedKey } from '../keys.ts';
import { type IdSet, makeIdSet, maxIdsHeld } from '../live/id-set.ts';
import { liveCounts, readSweep } from '../live/live-report.ts';
import { type Deadline, isNear } from '../log.ts';
import { readEach, readLoaded } from '../manifest.ts';
import { carriedRecords, getCarriedShard } from '../mapping/carried.ts';
import { leavesOut, mapId } from '../mapping/mapping.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { patiently } from '../patiently.ts';
import { isInPlace } from '../place.ts';
import type { Counts } from '../report/report-schema.ts';
import { type Compared, comparedSchema, type Manifest, type Plan } from '../run-files.ts';
import { getShard } from '../shard/get-shard.ts';
import type { Store } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';
import { split } from './fetch-records.ts';

const maxNamed = 100;
/** Markers held whole at once; each names up to three hundred records. */
const shardsAtOnce = 256;
const pieceOptions = { maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 };

export interface CountOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  /** Near it the search for extra ids ends, and says so. */
  readonly deadline?: Deadline;
}

/**
 * Counts both sides and the manifest, which must agree once records left out on purpose are taken off. When the target
 * holds more than it was given, its ids are read and those that are in no shard are named; likewise the source's, when
 * it was written to after the plan. Of a live run, which is written to all the time, the sweep has found them.
 * @throws NotFound when the sweep of a live run was not done.
 */
export async function countSides(options: CountOptions): Promise<Counts> {
  const { plan, manifest, objects, source, target } = options;
  const [inSource, inTarget] = await Promise.all([patiently(() => source.count()), patiently(() => target.count())]);
  const loaded = await readLoaded(objects, plan.run);
  // Of tallies alone: what each names would add up where everything is wrong.
  const markers = await readEach(manifest.shards, async ({ shard }) => {
    const marker = await getJson(objects, comparedKey(plan.run, shard), comparedSchema);
    return marker && { ...marker, differences: [], changes: [], spotDifferences: [], skippedIds: [], mendedIds: [] };
  });
  const compared = markers.filter((marker) => marker !== undefined);
  const skipped =
    plan.event.mode === 'migrate' ? sum(loaded, (each) => each.skipped) : await countSkipped(options, compared);
  const sweep = await readSweep(plan, objects);
  if (sweep !== undefined) return liveCounts({ plan, manifest, sweep, source: inSource, target: inTarget, skipped });
  const gone = sum(compared, (each) => each.gone);
  if (isInPlace(plan.event)) {
    const note =
      'Source and target are one table, which applications write: there is nothing to hold against each other.';
    const held = { source: inSource, manifest: manifest.records, skipped, gone, target: inTarget, expected: inTarget };
    return { ...held, agree: true, isOneTable: true, extra: null, extraIds: [], addedIds: [], note };
  }
  const expected = manifest.records - skipped - gone;
  const counts = { source: inSource, manifest: manifest.records, skipped, gone, target: inTarget, expected };
  const isSourceSame = inSource === manifest.records - gone;
  // As many may have been added as were deleted; a record that was deleted shows that the source was written to.
  const hasChanged = !isSourceSame || compared.some((each) => each.spotDifferent > 0);
  const added = hasChanged ? await nameAdded(options) : { addedIds: [], note: '' };
  const { addedIds } = added;
  if (plan.event.target.into === 'existing') {
    const own = 'The target may hold records of its own, so records that are in no shard were not looked for.';
    const note = sentences(own, added.note);
    return { ...counts, agree: isSourceSame && inTarget >= expected, extra: null, extraIds: [], addedIds, note };
  }
  // With every record compared it is known how many of the target's are ours, even if as many were lost as were added.
  const isWhole =
    compared.length === manifest.shards.length && compared.every((each) => each.done && each.notInSample === 0);
  const absent = isWhole ? sum(compared, (each) => each.missing + each.duplicates) : 0;
  const extra = Math.max(0, inTarget - (expected - absent));
  const { extraIds, note } = extra > 0 ? await nameExtra(options, extra) : { extraIds: [], note: '' };
  const agree = isSourceSame && inTarget === expected;
  return { ...counts, agree, extra, extraIds, addedIds, note: sentences(note, added.note) };
}

/** Records that the mapping leaves out, where nothing was imported that would have counted them. */
async function countSkipped({ plan, manifest, objects }: CountOptions, compared: readonly Compared[]): Promise<number> {
  if (!leavesOut(plan.mapping)) return 0;
  const isWhole =
    compared.length === manifest.shards.length && compared.every((each) => each.done && each.notInSample === 0);
  if (isWhole) return sum(compared, (each) => each.skipped);
  let skipped = 0;
  for (const { shard } of manifest.shards) {
    const batch = await getShard(objects, plan, shard);
    skipped += batch.count - (await carriedRecords(batch, plan)).count;
  }
  return skipped;
}

const sentences = (...all: readonly string[]): string => all.filter((each) => each !== '').join(' ');

/**
 * compared/<shard>.json of the run's shards. Of what they name only as much is kept as a report shows, the first hundred
 * of each kind, so that memory goes with the shards and not with what is wrong.
 * @throws NotFound when one is not there or was not finished.
 */
export async function readCompared(plan: Plan, manifest: Manifest, objects: ObjectStore): Promise<Compared[]> {
  const named = new Map<string, number>();
  const first = <T>(all: readonly T[], kindOf: (each: T) => string): T[] =>
    all.filter((each) => {
      const kind = kindOf(each);
      const count = (named.get(kind) ?? 0) + 1;
      named.set(kind, count);
      return count <= maxNamed;
    });
  const found: Compared[] = [];
  for (const part of split(manifest.shards, shardsAtOnce)) {
    const read = await readEach(part, async ({ shard }) => {
      const key = comparedKey(plan.run, shard);
      const marker = await getJson(objects, key, comparedSchema);
      if (marker?.done === true) return marker;
      const text = `${objects.locate(key)} is not there or not finished: validate the run again`;
      throw new NotFound(text, { ids: [shard] });
    });
    for (const each of read) {
      found.push({
        ...each,
        differences: first(each.differences, ({ verdict }) => verdict),
        spotDifferences: first(each.spotDifferences, () => 'source'),
        changes: first(each.changes, () => 'changed'),
        skippedIds: first(each.skippedIds, () => 'skipped'),
        ...(each.dropped && {
          dropped: each.dropped.map(({ ids, ...rest }) => ({ ...rest, ids: first(ids, () => `rule ${rest.rule}`) })),
        }),
        mendedIds: first(each.mendedIds, () => 'mended'),
      });
    }
  }
  return found;
}

function sum<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((total, each) => total + of(each), 0);
}

async function nameExtra(
  { plan, manifest, objects, target, deadline }: CountOptions,
  extra: number,
): Promise<{ extraIds: string[]; note: string }> {
  const { capabilities } = await storeKind(plan.event.target.store);
  const isLate = (): boolean => deadline !== undefined && isNear(deadline);
  const unnamed = (why: string) => `The ids of the extra records are not all named: ${why}.`;
  if (manifest.records > maxIdsHeld) {
    const why = `the run has ${manifest.records} records, and at most ${maxIdsHeld} ids are held in memory`;
    return { extraIds: [], note: unnamed(why) };
  }
  const ours = makeIdSet(manifest.records);
  for (const { shard } of manifest.shards) {
    if (isLate()) return { extraIds: [], note: unnamed('the time ended while the shards were read') };
    const { ids } = await getCarriedShard(objects, plan, shard);
    for (const id of ids) ours.add(plan.mapping.ids === 'keep' ? id : mapId(capabilities.ids, id));
  }
  const found = await readUnknown(target, ours, Math.min(extra, maxNamed), isLate);
  return { extraIds: found.ids, note: found.end === '' ? '' : unnamed(found.end) };
}

/** Ids of the target that are not in `ours`, and those that come a second time, until there are enough; `end` says what cut it short. */
async function readUnknown(
  target: Store,
  ours: IdSet,
  enough: number,
  isLate: () => boolean,
): Promise<{ ids: string[]; end: string }> {
  const ids: string[] = [];
  try {
    for await (const { batch } of target.read({ from: null, to: null }, pieceOptions)) {
      for (const id of batch.ids) if (!ours.take(id) && ids.length < maxNamed) ids.push(id);
      if (ids.length >= enough) break;
      if (isLate()) return { ids, end: 'the time ended while the target was read' };
    }
    return { ids, end: '' };
  } catch (error) {
    // A table with an id twice, for one: LanceDB's cannot be listed.
    if (error instanceof RecordRefused) return { ids, end: `the target cannot be read whole, ${error.message}` };
    throw error;
  }
}

/** Records of the source that are in no shard: added after the plan, or after their range was exported. */
async function nameAdded({
  plan,
  manifest,
  objects,
  source,
  deadline,
}: CountOptions): Promise<{ addedIds: string[]; note: string }> {
  const isLate = (): boolean => deadline !== undefined && isNear(deadline);
  const unnamed = (why: string) => `The records that the source holds and no shard are not all named: ${why}.`;
  if (manifest.records > maxIdsHeld) {
    const why = `the run has ${manifest.records} records, and at most ${maxIdsHeld} ids are held in memory`;
    return { addedIds: [], note: unnamed(why) };
  }
  const exported = makeIdSet(manifest.records);
  for (const { shard } of manifest.shards) {
    if (isLate()) return { addedIds: [], note: unnamed('the time ended while the shards were read') };
    for (const id of (await getShard(objects, plan, shard)).ids) exported.add(id);
  }
  const addedIds: string[] = [];
  for await (const { batch } of source.read({ from: null, to: null }, pieceOptions)) {
    for (const id of batch.ids) if (!exported.has(id) && addedIds.length < maxNamed) addedIds.push(id);
    if (addedIds.length >= maxNamed) break;
    if (isLate()) return { addedIds, note: unnamed('the time ended while the source was read') };
  }
  return { addedIds, note: '' };
}
