import type { Batch } from '../batch.ts';
import { maxFetch, split } from '../compare/fetch-records.ts';
import { recordDifference, untreated } from '../compare/record-equal.ts';
import type { FlagStore } from '../cutover/flag.ts';
import { RecordRefused } from '../errors.ts';
import { runKeys } from '../keys.ts';
import { type Deadline, handOverMs, isNear } from '../log.ts';
import { carriedRecords } from '../mapping/carried.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { patiently } from '../patiently.ts';
import { readRanges } from '../plan.ts';
import type { Manifest, Plan } from '../run-files.ts';
import { getShard } from '../shard/get-shard.ts';
import { releaseMemory } from '../shard/parquet-wasm.ts';
import type { Range, Store } from '../stores/port.ts';
import { type BothSides, bothSides, lookAtSides, targetIdOf } from './both-sides.ts';
import { type IdSet, makeIdSet, maxIdsHeld } from './id-set.ts';
import { type Sweep, sweepSchema } from './live-files.ts';
import { type Settled, settleSides } from './settle.ts';
import { newTombstones } from './tombstones.ts';

const pieceOptions = { maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 };
/** Ids kept of each kind, for people; the tallies count them all. */
const maxNamed = 100;

export interface SweepOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  /** Left out: that writes still go to both sides is not looked at before something is mended. */
  readonly flags?: FlagStore;
  readonly deadline: Deadline;
  /** Milliseconds before a record that differs is looked at again. */
  readonly lookAgainMs?: number;
  /** Milliseconds of work that a kill may cost. */
  readonly saveEveryMs?: number;
  /** Ids that the set in memory may hold. */
  readonly maxIds?: number;
}

/** Of a record of the target whose id stands for none of the source. It is not ours to delete. */
const noneHasIt = 'is in the target, and no id of the source becomes this one';

type Tallies = { -readonly [K in keyof Sweep]: Sweep[K] };

interface Sweeping extends Omit<SweepOptions, 'source' | 'target'> {
  readonly sides: BothSides;
  readonly tallies: Tallies;
  /** Ids of the source that were seen, by which most of the target's are known without asking; undefined where there are too many, or an earlier call saw a part. */
  known: Known | undefined;
  /** Ids that were not seen the same, to be looked at on both sides. */
  readonly suspects: Suspects;
  /** Looks at the suspects and writes down how far it is, at most every few seconds. */
  save(isDue?: boolean): Promise<void>;
  /** True when the call has to end: something was done, and the deadline is near. */
  isTimeToStop(): boolean;
}

/**
 * Suspects wait for each other: a record that differs is looked at several times, over eight seconds, and in a large run
 * every shard may have one.
 */
interface Suspects {
  /** Written since the export, or not known. */
  readonly written: Set<string>;
  /** Records of a shard that were not seen in the source. */
  readonly unseen: Set<string>;
}
const maxSuspects = 10_000;
/** As comparing has it: more than that is no matter of single writes. */
const maxMendedPerShard = 1000;

interface Known {
  readonly ids: IdSet;
  room: number;
}

/**
 * Holds the two sides of a live run against each other, as far as comparing shards with the target cannot tell: what was
 * deleted, then every record of the source against its shard, then what the target holds and the source does not. A
 * record that is not as its shard, or in none, was written meanwhile: it is looked at in both stores as it is now, again
 * after a pause, mended by copying it from the source, and named when it still differs.
 *
 * Repeatable, and goes on where an earlier call of the same attempt stopped: sweep.json has the tallies and the place
 * that they reach. Memory takes one shard, one piece of a collection and the ids' hashes; above ten million ids these are
 * left out, and every record of the target is looked for in the source instead.
 */
export async function sweepWrites(options: SweepOptions): Promise<{ done: boolean }> {
  const { plan, manifest, objects, deadline, saveEveryMs = 10_000, maxIds = maxIdsHeld } = options;
  const key = runKeys(plan.run).sweep;
  const earlier = await getJson(objects, key, sweepSchema);
  const tallies: Tallies = earlier?.attempt === plan.attempt ? earlier : noTallies(plan.attempt);
  if (tallies.done) return { done: true };
  const isAtBegin = tallies.phase === 'tombstones' || (tallies.phase === 'source' && isStart(tallies));
  // A fifth more, for what was added since the export.
  const room = Math.ceil(manifest.records * 1.2) + 10_000;
  let savedAt = performance.now();
  let steps = 0;
  const sides = await bothSides(options);
  const maxMended = maxMendedPerShard * Math.max(1, manifest.shards.length);
  const suspects: Suspects = { written: new Set(), unseen: new Set() };
  const sweeping: Sweeping = {
    ...options,
    sides,
    tallies,
    suspects,
    known: isAtBegin && room <= maxIds ? { ids: makeIdSet(room), room } : undefined,
    save: async (isDue = false) => {
      steps++;
      const isFull = suspects.written.size + suspects.unseen.size >= maxSuspects;
      if (!isDue && !isFull && performance.now() - savedAt < saveEveryMs) return;
      await settle(sides, suspects, tallies, maxMended);
      tallies.at = new Date().toISOString();
      await putJson(objects, key, tallies);
      savedAt = performance.now();
    },
    // Twice the usual: the suspects are looked at before the place is handed over.
    isTimeToStop: () => steps > 0 && isNear({ remainingMs: () => deadline.remainingMs() - handOverMs }),
  };
  const isThrough = await sweepPhases(sweeping);
  await settle(sides, suspects, tallies, maxMended);
  if (isThrough) await lookOnceMore(sweeping);
  tallies.done = isThrough;
  await sweeping.save(true);
  return { done: tallies.done };
}

function noTallies(attempt: number): Tallies {
  const startedAt = new Date().toISOString();
  const seen = { tombstones: 0, added: 0, changed: 0, deleted: 0, mended: 0 };
  const left = { missing: 0, different: 0, extra: 0, unchecked: 0 };
  const place = { phase: 'tombstones', shards: 0, rest: null } as const;
  const lists = { applied: [], mends: [], differences: [] };
  return { attempt, done: false, ...place, ...seen, ...left, ...lists, note: '', startedAt, at: startedAt };
}

const isStart = ({ shards, rest }: Tallies): boolean => shards === 0 && rest === null;

/** False when the deadline came first. */
async function sweepPhases(sweeping: Sweeping): Promise<boolean> {
  const { tallies, plan } = sweeping;
  if (tallies.phase === 'tombstones') {
    if (!(await sweepTombstones(sweeping))) return false;
    tallies.phase = 'source';
  }
  if (tallies.phase === 'source') {
    if (!(await sweepSource(sweeping))) return false;
    tallies.phase = 'target';
    tallies.rest = null;
  }
  // A target that holds records of its own may hold what the source does not.
  if (plan.event.target.into === 'new' && !(await sweepTarget(sweeping))) return false;
  // Those that came meanwhile.
  return await sweepTombstones(sweeping);
}

/**
 * Looks at the suspects on both sides, mends what still differs, and counts what it came to. Where more would be mended in
 * all than `maxMended`, none is: a source that was emptied by accident does not empty the target.
 */
async function settle(
  sides: BothSides,
  { written, unseen }: Suspects,
  tallies: Tallies,
  maxMended: number,
): Promise<void> {
  const settled = await settleSides(sides, [...new Set([...written, ...unseen])], {
    maxMended: Math.max(0, maxMended - tallies.mended),
  });
  for (const id of unseen) if (settled.gone.has(id)) tallies.deleted++;
  count(tallies, settled);
  written.clear();
  unseen.clear();
}

/** What one phase found different may have been mended since, by another one or by its writer. */
async function lookOnceMore({ sides, tallies }: Sweeping): Promise<void> {
  const asked = tallies.differences.filter(({ reason }) => reason !== noneHasIt).map(({ id }) => id);
  const looks = await lookAtSides(sides, asked);
  const still = new Set(looks.flatMap(({ id, difference }) => (difference === undefined ? [] : [id])));
  for (const { id, verdict, reason } of tallies.differences) {
    if (reason === noneHasIt || still.has(id)) continue;
    tallies[verdict]--;
    tallies.mended++;
    name(tallies.mends, { id, reason });
  }
  tallies.differences = tallies.differences.filter(({ id, reason }) => reason === noneHasIt || still.has(id));
}

/** An importer that was given up for dead may have inserted an old record after the tombstones were applied. */
async function sweepTombstones(sweeping: Sweeping): Promise<boolean> {
  const { suspects, tallies, objects, plan } = sweeping;
  const applied = new Set(tallies.applied);
  for await (const { names, ids } of newTombstones(objects, plan.run, applied)) {
    for (const id of ids) suspects.written.add(id);
    for (const name of names) applied.add(name);
    tallies.applied = [...applied];
    tallies.tombstones += ids.length;
    await sweeping.save();
    if (sweeping.isTimeToStop()) return false;
  }
  return true;
}

/** Shard by shard, over the keys that each covers: together these are all that the source can hold. */
async function sweepSource(sweeping: Sweeping): Promise<boolean> {
  const { sides, tallies, manifest } = sweeping;
  const covered = await rangesOf(sweeping);
  // The export's bounds may be of the collection as it was then.
  const now = (await sides.source.renew?.()) ?? ((range: Range) => range);
  for (const [at, { shard }] of manifest.shards.entries()) {
    if (at < tallies.shards) continue;
    if (sweeping.isTimeToStop()) return false;
    if (!(await sweepShard(sweeping, shard, now(tallies.rest ?? covered[at] ?? open)))) return false;
    tallies.shards = at + 1;
    tallies.rest = null;
    await sweeping.save();
  }
  return true;
}

const open: Range = { from: null, to: null };

/** The keys of the source that each shard covers, in the manifest's order. */
async function rangesOf({ objects, plan, manifest: { shards } }: Sweeping): Promise<Range[]> {
  const ranges = new Map((await readRanges(objects, plan.run)).map((each) => [each.range, each]));
  return shards.map(({ range, part, rest }, at) => {
    const planned = ranges.get(range) ?? open;
    const before = part === 0 ? undefined : shards[at - 1]?.rest;
    return { from: before?.from ?? planned.from, to: rest === null ? planned.to : rest.from };
  });
}

/** Holds what the source holds now of a shard's keys, from `range` on, against the shard. False when the deadline came first. */
async function sweepShard(sweeping: Sweeping, shard: string, range: Range): Promise<boolean> {
  const { sides, suspects, tallies, objects, plan } = sweeping;
  const exported = await getShard(objects, plan, shard);
  await remember(sweeping, exported);
  const places = new Map(exported.ids.map((id, at) => [id, at]));
  const unseen = new Set(exported.ids);
  try {
    for await (const { batch, rest } of sides.source.read(range, pieceOptions)) {
      await remember(sweeping, batch);
      for (const [at, id] of batch.ids.entries()) {
        const place = places.get(id);
        unseen.delete(id);
        if (place !== undefined && recordDifference(exported, place, batch, at, untreated) === undefined) continue;
        if (place === undefined) tallies.added++;
        else tallies.changed++;
        suspects.written.add(id);
      }
      if (rest === null) break;
      tallies.rest = rest;
      await sweeping.save();
      if (sweeping.isTimeToStop()) return false;
    }
  } finally {
    for (const { values } of exported.vectors.values()) releaseMemory(values);
  }
  // Deleted; or seen by an earlier call, which takes a look more.
  for (const id of unseen) suspects.unseen.add(id);
  return true;
}

/** What the mapping leaves out is not known: the target should not hold it. */
async function remember(sweeping: Sweeping, batch: Batch): Promise<void> {
  const { known, plan } = sweeping;
  if (known === undefined) return;
  const { ids } = await carriedRecords(batch, plan);
  for (const id of ids) {
    if (known.ids.has(id)) continue;
    if (known.room === 0) {
      sweeping.known = undefined;
      return;
    }
    known.room--;
    known.ids.add(id);
  }
}

/** Whatever the target holds and the source does not. False when the deadline came first. */
async function sweepTarget(sweeping: Sweeping): Promise<boolean> {
  const { sides, suspects, tallies } = sweeping;
  try {
    const now = (await sides.target.renew?.()) ?? ((range: Range) => range);
    for await (const { batch, rest } of sides.target.read(now(tallies.rest ?? open), pieceOptions)) {
      const ids: string[] = [];
      for (const [at, targetId] of batch.ids.entries()) {
        const id = sourceIdOf(sides, targetId, batch.payloads[at] ?? '{}');
        if (id !== undefined) ids.push(id);
        else count(tallies, { mended: [], left: [{ id: targetId, verdict: 'extra', reason: noneHasIt }] });
      }
      for (const id of await unknownOf(sweeping, ids)) suspects.written.add(id);
      if (rest === null) break;
      tallies.rest = rest;
      await sweeping.save();
      if (sweeping.isTimeToStop()) return false;
    }
    return true;
  } catch (error) {
    // A table with an id twice, for one: LanceDB's cannot be listed.
    if (!(error instanceof RecordRefused)) throw error;
    tallies.note = `The target cannot be read whole, so what it holds besides was not looked for: ${error.message}`;
    return true;
  }
}

/** Those of these ids, of records of the target, that are not known to be in the source, or come a second time. */
async function unknownOf({ known, sides, plan }: Sweeping, ids: readonly string[]): Promise<readonly string[]> {
  if (known !== undefined) return ids.filter((id) => !known.ids.take(id));
  const held = new Set<string>();
  for (const part of split(ids, maxFetch)) {
    try {
      const batch = await patiently(() => sides.source.fetch(part));
      for (const id of (await carriedRecords(batch, plan)).ids) held.add(id);
    } catch (error) {
      // Some of them cannot be read, which the look at both sides tells one by one.
      if (!(error instanceof RecordRefused)) throw error;
    }
  }
  return ids.filter((id) => !held.delete(id));
}

/** The id in the source of a record of the target; undefined where none can have this id there. */
function sourceIdOf(sides: BothSides, targetId: string, payload: string): string | undefined {
  const { ids, originalId } = sides.plan.mapping;
  if (ids === 'keep') return targetId;
  const kept = payload.includes(JSON.stringify(originalId)) ? Object(JSON.parse(payload))[originalId] : undefined;
  const candidates = [...(typeof kept === 'string' ? [kept] : []), targetId];
  return candidates.find((id) => targetIdOf(sides, id) === targetId);
}

function count(tallies: Tallies, { mended, left }: Pick<Settled, 'mended' | 'left'>): void {
  tallies.mended += mended.length;
  for (const each of mended) name(tallies.mends, { id: each.id, reason: each.reason });
  for (const each of left) {
    // What two phases find is one difference.
    if (tallies.differences.some(({ id, verdict }) => id === each.id && verdict === each.verdict)) continue;
    tallies[each.verdict]++;
    if (tallies[each.verdict] <= maxNamed) tallies.differences.push(each);
  }
}

function name<T>(list: T[], entry: T): void {
  if (list.length < maxNamed) list.push(entry);
}
