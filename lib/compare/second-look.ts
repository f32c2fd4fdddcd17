import { setTimeout as sleep } from 'node:timers/promises';
import type { Batch } from '../batch.ts';
import { RecordRefused } from '../errors.ts';
import type { BothSides } from '../live/both-sides.ts';
import { type Mapped, mapBatch } from '../mapping/mapping.ts';
import type { Compared, Plan } from '../run-files.ts';
import type { Capabilities, Store } from '../stores/port.ts';
import type { AsNow } from './compare-made.ts';
import { type Fetched, fetchRecords, type Located } from './fetch-records.ts';
import type { NearNumbers } from './json-equal.ts';
import { type Nulls, recordDifference, type Treatments } from './record-equal.ts';

/** What comparing a shard finds at first sight, and at the second: where nobody writes meanwhile; compare-live.ts has the other. */

/** Ids and reasons that a file keeps of each kind, for people; the tallies count them all. */
const maxNamed = 100;
/** Records of a shard that are looked at again; when more differ it is no matter of timing. */
const maxSecondLooks = 1000;

/** What every step of one call needs. */
export interface Comparison {
  readonly plan: Plan;
  readonly source: Store;
  readonly target: Pick<Store, 'fetch'>;
  /** The shard's records as the mapping takes them, and as they were exported. */
  readonly batch: Batch;
  readonly exported: Batch;
  /** Of a run that embeds texts: why the text of these has no vector, by position. */
  readonly failed: ReadonlyMap<number, string>;
  readonly asNow: AsNow;
  readonly ids: Capabilities['ids'];
  readonly treatments: Treatments;
  readonly nulls: Nulls;
  /** Positions whose target id an earlier record of the shard has, and that record's id. */
  readonly doubled: ReadonlyMap<number, string>;
  /** Of a live run: both sides as they are now. */
  readonly sides: BothSides | undefined;
  readonly secondLookMs: number;
  secondLooks: number;
}

/** A record that is not in the target as it is in the shard. */
export interface Suspect {
  readonly sourceId: string;
  /** The record as the target should hold it. */
  readonly expected: Located;
  readonly verdict: 'different' | 'missing' | 'unchecked';
  readonly reason: string;
}

/** What is no difference. */
type Rules = Pick<Comparison, 'treatments' | 'nulls'>;

export type Tallies = { -readonly [K in keyof Compared]: Compared[K] };

/** The records that are not in the target as they are in the shard. */
export function findSuspects({ batch, sourceIds }: Mapped, found: Fetched, rules: Rules, near: NearNumbers): Suspect[] {
  return batch.ids.flatMap((_, at) => {
    const suspect = judge({ batch, at }, found, rules, near);
    return suspect === undefined ? [] : [{ ...suspect, sourceId: sourceIds[at] ?? '', expected: { batch, at } }];
  });
}

/** What is wrong with one record as it was found; undefined: nothing. */
export function judge(
  { batch, at }: Located,
  { records, unreadable, doubled }: Fetched,
  { treatments, nulls }: Rules,
  near?: NearNumbers,
): Pick<Suspect, 'verdict' | 'reason'> | undefined {
  const id = batch.ids[at] ?? '';
  const refusal = unreadable.get(id);
  if (refusal !== undefined) return { verdict: 'unchecked', reason: `cannot be read from the target: ${refusal}` };
  const found = records.get(id);
  if (found === undefined) return { verdict: 'missing', reason: `is not in the target, where its id is ${id}` };
  if (doubled.has(id)) return { verdict: 'different', reason: `there is more than one record with id ${id}` };
  const reason = recordDifference(batch, at, found.batch, found.at, treatments, nulls, near);
  return reason === undefined ? undefined : { verdict: 'different', reason };
}

/** Counts what stays different after a second look at the target, and what the source itself has changed since. */
export async function lookAgain(comparison: Comparison, suspects: readonly Suspect[], tallies: Tallies): Promise<void> {
  const again = suspects.slice(0, Math.max(0, maxSecondLooks - comparison.secondLooks));
  comparison.secondLooks += again.length;
  for (const suspect of suspects.slice(again.length)) countSuspect(tallies, suspect);
  if (again.length === 0) return;
  await sleep(comparison.secondLookMs);
  const { target, source } = comparison;
  const targetIds = again.map(({ expected: { batch, at } }) => batch.ids[at] ?? '');
  const [inTarget, inSource] = await Promise.all([
    fetchRecords(target, targetIds),
    fetchRecords(
      source,
      again.map(({ sourceId }) => sourceId),
    ),
  ]);
  for (const suspect of again) {
    const second = judge(suspect.expected, inTarget, comparison, tallies);
    if (second === undefined) tallies.equal++;
    else if (isAsSourceNow(comparison, suspect.sourceId, suspect.expected, inSource, inTarget, tallies)) {
      tallies.equal++;
      tallies.changed++;
      if (second.verdict === 'missing') tallies.gone++;
      const reason = `the source changed after the export, and the target is as the source is now: ${second.reason}`;
      name(tallies.changes, { id: suspect.sourceId, reason });
    } else {
      const reason = `${second.reason}${textNow(comparison, suspect.sourceId, inSource)}`;
      countSuspect(tallies, { ...suspect, ...second, reason });
    }
  }
}

export function countSuspect(tallies: Tallies, { sourceId, verdict, reason }: Omit<Suspect, 'expected'>): void {
  tallies[verdict]++;
  // Of each verdict its own hundred: one missing record is named beside any number of different ones.
  const before = tallies[verdict] - (verdict === 'unchecked' ? tallies.notInSample : 0);
  if (before <= maxNamed) tallies.differences.push({ id: sourceId, verdict, reason });
}

export function name<T>(list: T[], entry: T): void {
  if (list.length < maxNamed) list.push(entry);
}

/** True when the target holds what the source holds at this moment, or when neither has the record any more. */
export function isAsSourceNow(
  { plan, ids, treatments, nulls, asNow }: Comparison,
  sourceId: string,
  expected: Located,
  inSource: Fetched,
  inTarget: Fetched,
  near?: NearNumbers,
): boolean {
  const targetId = expected.batch.ids[expected.at] ?? '';
  if (inSource.unreadable.has(sourceId) || inTarget.unreadable.has(targetId)) return false;
  if (inSource.doubled.has(sourceId) || inTarget.doubled.has(targetId)) return false;
  const [now, found] = [inSource.records.get(sourceId), inTarget.records.get(targetId)];
  if (now === undefined || found === undefined) return now === undefined && found === undefined;
  try {
    const record = asNow(now, sourceId);
    if (record === undefined) return false;
    const mapped = mapBatch(record, plan.mapping, ids);
    if (mapped.batch.count === 0) return false;
    return recordDifference(mapped.batch, 0, found.batch, found.at, treatments, nulls, near) === undefined;
  } catch (error) {
    // The record as it is now cannot be carried, so the target cannot hold it.
    if (error instanceof RecordRefused) return false;
    throw error;
  }
}

/** Of a run that embeds texts, the end of a reason: what is known no more of a record whose text is another by now. */
export function textNow({ asNow }: Comparison, sourceId: string, inSource: Fetched): string {
  const now = inSource.records.get(sourceId);
  if (now === undefined || asNow(now, sourceId) !== undefined) return '';
  return '; its text changed since it was embedded, so the vector that belongs to it now was never made: start another run';
}
