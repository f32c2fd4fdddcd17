import { type Batch, concatBatches } from '../batch.ts';
import { mirror } from '../client/mirror.ts';
import type { ClientSide, Identified } from '../client/side.ts';
import { alone, type Fetched, fetchRecords, type Located, maxFetch, split } from '../compare/fetch-records.ts';
import type { NearNumbers } from '../compare/json-equal.ts';
import { recordDifference, type Treatments, targetTreatments, untreated } from '../compare/record-equal.ts';
import { refuseUnlessBoth } from '../cutover/cutover-flag.ts';
import type { FlagStore } from '../cutover/flag.ts';
import { RecordRefused, StoreUnavailable } from '../errors.ts';
import { type Mapped, mapBatch, mapId } from '../mapping/mapping.ts';
import { patiently } from '../patiently.ts';
import type { Difference, Plan } from '../run-files.ts';
import type { Capabilities, Store } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';

/**
 * Source and target of a live run as they are at this moment, by ids of the source: which records differ, and the target
 * made as the source is. Records stay in the columns and JSON text of their stores, so that nothing is rounded on the way.
 */
export interface BothSides {
  readonly plan: Plan;
  readonly source: Store;
  readonly target: Store;
  readonly targetIds: Capabilities['ids'];
  readonly treatments: Treatments;
  /** The unit of the pauses between two looks at a record that differs, in milliseconds: settle.ts. */
  readonly lookAgainMs: number;
  /** The run's flag, which says whether the source may still be copied to the target; undefined: the caller has looked. */
  readonly flags: FlagStore | undefined;
}

export interface SidesInput {
  readonly plan: Plan;
  readonly source: Store;
  readonly target: Store;
  readonly lookAgainMs?: number | undefined;
  readonly flags?: FlagStore | undefined;
}

export async function bothSides({ plan, source, target, lookAgainMs = 1000, flags }: SidesInput): Promise<BothSides> {
  const { capabilities } = await storeKind(plan.event.target.store);
  const treatments = targetTreatments(plan, capabilities);
  return { plan, source, target, targetIds: capabilities.ids, treatments, lookAgainMs, flags };
}

/** The id in the target of a record of the source. */
export function targetIdOf({ plan, targetIds }: BothSides, id: string): string {
  return plan.mapping.ids === 'keep' ? id : mapId(targetIds, id);
}

/** A record on both sides, at one moment or nearly so. */
export interface Look {
  /** The source's. */
  readonly id: string;
  /** undefined: the target holds it as the source does, or neither holds it. */
  readonly difference: Omit<Difference, 'id'> | undefined;
  readonly inSource: Located | undefined;
  readonly inTarget: Located | undefined;
  /** Numbers of the target's payload that are near the source's and count as equal. */
  readonly nearNumbers: number;
}

/** The records with these ids on both sides as they are now. One look: a write may be under way. */
export async function lookAtSides(sides: BothSides, ids: readonly string[]): Promise<readonly Look[]> {
  const looks: Look[] = [];
  for (const part of split(ids, maxFetch)) {
    const [inTarget, inSource] = await Promise.all([
      fetchRecords(
        sides.target,
        part.map((id) => targetIdOf(sides, id)),
      ),
      fetchRecords(sides.source, part),
    ]);
    for (const id of part) {
      const near = { nearNumbers: 0 };
      looks.push({
        id,
        difference: differenceOf(sides, id, inSource, inTarget, near),
        ...near,
        inSource: inSource.records.get(id),
        inTarget: inTarget.records.get(targetIdOf(sides, id)),
      });
    }
  }
  return looks;
}

function differenceOf(
  sides: BothSides,
  id: string,
  inSource: Fetched,
  inTarget: Fetched,
  near: NearNumbers,
): Omit<Difference, 'id'> | undefined {
  const targetId = targetIdOf(sides, id);
  const refusals = [
    ['source', inSource.unreadable.get(id)],
    ['target', inTarget.unreadable.get(targetId)],
  ] as const;
  for (const [side, refusal] of refusals) {
    if (refusal !== undefined) return { verdict: 'unchecked', reason: `cannot be read from the ${side}: ${refusal}` };
  }
  if (inSource.doubled.has(id))
    return { verdict: 'different', reason: 'the source holds more than one record with it' };
  if (inTarget.doubled.has(targetId))
    return { verdict: 'different', reason: `the target holds more than one record with id ${targetId}` };
  const [now, found] = [inSource.records.get(id), inTarget.records.get(targetId)];
  if (now === undefined) {
    return found && { verdict: 'extra', reason: 'is in the target, and the source holds it no more' };
  }
  const missing = { verdict: 'missing', reason: `is in the source and not in the target, where its id is ${targetId}` };
  try {
    const { batch, dropped } = mapBatch(alone(now), sides.plan.mapping, sides.targetIds);
    if (batch.count === 0)
      return (
        found && { verdict: 'extra', reason: `is in the target, and the mapping leaves it out: ${leftOutBy(dropped)}` }
      );
    if (found === undefined) return { ...missing, verdict: 'missing' };
    const reason = recordDifference(batch, 0, found.batch, found.at, sides.treatments, 'kept', near);
    return reason === undefined ? undefined : { verdict: 'different', reason };
  } catch (error) {
    // As it is now the record cannot be carried, so the target cannot hold it.
    if (!(error instanceof RecordRefused)) throw error;
    return { verdict: found === undefined ? 'missing' : 'different', reason: error.message };
  }
}

function leftOutBy(dropped: Mapped['dropped']): string {
  const [rule] = dropped.keys();
  return rule === undefined ? 'it lacks a vector' : `rule '${rule}' drops it`;
}

/** One record as its store has it. */
interface SideRecord extends Identified {
  readonly batch: Batch;
}
type Side = ClientSide<SideRecord, never, never>;

/**
 * Makes the target hold of these ids what the source holds now, whatever is written to both meanwhile. Repeatable.
 * @returns the ids that one of the sides refuses, and why: the others are done.
 * @throws InvalidEvent when the run was finished meanwhile: what the target holds may be newer then.
 */
export async function mirrorIds(sides: BothSides, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const refused = new Map<string, string>();
  const [from, to] = [sourceSide(sides), targetSide(sides)];
  const pending = split([...new Set(ids)], maxFetch);
  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    if (sides.flags !== undefined) await refuseUnlessBoth(sides.plan, sides.flags);
    try {
      await mirror({ ids: part, from, to, same: isSame });
    } catch (error) {
      const named = refusedBy(error, part);
      if (named === undefined) pending.push(...split(part, Math.ceil(part.length / 2)));
      else for (const [id, reason] of named) refused.set(id, reason);
    }
  }
  return refused;
}

/** The ids that an error is about, and why; undefined when halves will tell. @throws the error, when it is about something else. */
function refusedBy(error: unknown, part: readonly string[]): (readonly [string, string])[] | undefined {
  // Records that changed each time that they were read: whoever writes them so often writes both sides.
  if (error instanceof StoreUnavailable && error.ids.length > 0) return error.ids.map((id) => [id, error.message]);
  if (!(error instanceof RecordRefused)) throw error;
  return part.length === 1 ? part.map((id) => [id, error.message]) : undefined;
}

function isSame(one: SideRecord, other: SideRecord): boolean {
  return recordDifference(one.batch, 0, other.batch, 0, untreated) === undefined;
}

function sourceSide({ source }: BothSides): Pick<Side, 'fetch'> {
  return {
    fetch: async (ids) => {
      const batch = await patiently(() => source.fetch(ids));
      return batch.ids.map((id, at) => ({ id, batch: alone({ batch, at }) }));
    },
  };
}

/** What the mapping leaves out is taken away: the record may have had its vector when it was written. */
function targetSide(sides: BothSides): Pick<Side, 'upsert' | 'delete'> {
  const { plan, target, targetIds } = sides;
  const remove = async (ids: readonly string[]): Promise<void> => {
    if (ids.length === 0) return;
    const mapped = ids.map((id) => targetIdOf(sides, id));
    await patiently(() => target.delete(mapped));
  };
  return {
    upsert: async (records) => {
      const { batch, skipped } = mapBatch(concatBatches(records.map((each) => each.batch)), plan.mapping, targetIds);
      await remove(skipped);
      if (batch.count === 0) return;
      const { written } = await patiently(() => target.write(batch, { mode: 'upsert' }));
      if (written === batch.count) return;
      const text = `the target acknowledged ${written} of ${batch.count} records`;
      throw new StoreUnavailable(`${text}; start the run again, which writes them again`);
    },
    delete: remove,
  };
}
