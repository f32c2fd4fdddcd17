import { createHash } from 'node:crypto';
import { Incompatible, InvalidEvent, NotFound, RunMismatch, TargetNotEmpty } from './errors.ts';
import { bytesPerRecord, estimateRun } from './estimate.ts';
import type { RunEvent } from './event.ts';
import { fitCollection } from './fit.ts';
import { queriesNeeded } from './interval.ts';
import { runKeys } from './keys.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type Plan, planSchema, rangesSchema } from './run-files.ts';
import type { RangeItem } from './states.ts';
import type { Description, Source, StoreKind, Target } from './stores/port.ts';

/** A range is not made smaller than this for the sake of more exporters: each costs an invocation and a shard. */
const minRecordsPerRange = 2_000;

export interface PlanInput {
  readonly run: string;
  readonly event: RunEvent;
  readonly source: Source;
  readonly sourceKind: StoreKind;
  readonly target: Target;
  readonly targetKind: StoreKind;
  readonly objects: ObjectStore;
  readonly now: Date;
}

/**
 * Reads both sides, checks that they fit, cuts the source into ranges and writes ranges.json and then plan.json. Writes
 * nothing else, and nothing into the stores. A run that is already planned keeps its ranges: it is resumed.
 *
 * @throws Incompatible, TargetNotEmpty, NotFound before anything is written; RunMismatch when the run was planned for another
 * source, target or mapping.
 */
export async function planRun(input: PlanInput): Promise<Plan> {
  const { run, event, objects } = input;
  refuseSameCollection(event);
  refuseMissingPointer(input);
  const keys = runKeys(run);
  const earlier = await getJson(objects, keys.plan, planSchema);
  if (earlier !== undefined) return await resume(earlier, input);

  const described = await input.source.describe();
  refuseTooFewQueries(event, described.count);
  const fitted = fitCollection({ source: described, target: input.targetKind, event });
  await refuseFullTarget(input);

  const shardBytes = Math.floor(event.parallel.shardMiB * 1024 * 1024);
  const recordBytes = bytesPerRecord(described.schema, described.payloadBytes);
  const ranges = await cutRanges(input, described, Math.max(1, Math.floor(shardBytes / recordBytes)));
  const plan: Plan = {
    format: 1,
    run,
    attempt: 1,
    createdAt: input.now.toISOString(),
    event,
    fingerprint: fingerprintOf(event, ranges),
    source: described.schema,
    target: fitted.target,
    mapping: fitted.mapping,
    records: described.count,
    withoutVector: { ...described.withoutVector },
    notes: [...(described.notes ?? []), ...fitted.notes],
    guarantee: guarantees[input.sourceKind.capabilities.reads],
    estimate: estimateRun({
      records: described.count,
      bytesPerRecord: recordBytes,
      shardBytes,
      ranges: ranges.length,
      exporters: event.parallel.exporters,
    }),
    shardBytes,
  };
  await putJson(objects, keys.ranges, ranges);
  await putJson(objects, keys.plan, plan);
  return plan;
}

/** The plan of a run. @throws NotFound when the run was never planned. */
export async function readPlan(objects: ObjectStore, run: string): Promise<Plan> {
  const plan = await getJson(objects, runKeys(run).plan, planSchema);
  if (plan === undefined)
    throw new NotFound(`there is no run '${run}' at ${objects.locate(runKeys(run).plan)}`, { ids: [run] });
  return plan;
}

/** The run's ranges. @throws NotFound when the run was never planned. */
export async function readRanges(objects: ObjectStore, run: string): Promise<readonly RangeItem[]> {
  const ranges = await getJson(objects, runKeys(run).ranges, rangesSchema);
  if (ranges === undefined)
    throw new NotFound(`run '${run}' has no ranges at ${objects.locate(runKeys(run).ranges)}`, { ids: [run] });
  return ranges;
}

const found =
  'Validation names added records when the counts or the records it reads back show a change, and changed or deleted ones among those it reads back: validate.spotCheck says how many, and as many as there are records finds every one.';

const guarantees: Readonly<Record<'snapshot' | 'live', string>> = {
  snapshot: `Each shard is read in one snapshot of the source, but not all shards in the same one. A record that is changed during the export is moved in its state before or after the change; one that is added or deleted may be missing or extra. ${found}`,
  live: `The source has no snapshots: a record that is changed, added or deleted while its range is read may be moved in its state before or after. ${found}`,
};

function refuseSameCollection({ source, target }: RunEvent): void {
  const place = ({ store, connection, collection }: typeof source): string =>
    JSON.stringify([store, connection, collection]);
  if (place(source) !== place(target)) return;
  throw new InvalidEvent(
    `source and target are the same collection '${source.collection}'; name another target.collection`,
    { ids: [source.collection] },
  );
}

/** Found here, and not by the cutover, which comes after everything else. */
function refuseMissingPointer({ event: { cutover }, targetKind }: PlanInput): void {
  if (cutover?.pointer === undefined || targetKind.capabilities.pointer !== false) return;
  throw new Incompatible(
    `cutover.pointer '${cutover.pointer}': ${targetKind.title} has no aliases or views; leave it out to use the routing flag`,
    { ids: ['cutover.pointer'] },
  );
}

/** A goal that so few queries could not show, though none missed, would fail the run at its very end. */
function refuseTooFewQueries({ validate: { recall } }: RunEvent, records: number): void {
  // Where every record is asked for there is nothing left to estimate.
  if (recall === null || recall.queries >= records || recall.queries >= queriesNeeded(recall.atLeast)) return;
  const needed = queriesNeeded(recall.atLeast);
  const choices = Number.isFinite(needed)
    ? `ask for ${needed} queries or more, or a lower goal`
    : 'no number of queries shows that; ask for a lower goal';
  throw new InvalidEvent(
    `validate.recall: ${recall.queries} queries cannot show a recall of ${recall.atLeast} with 95 % confidence, even without a miss; ${choices}`,
    {
      ids: ['validate.recall.queries'],
    },
  );
}

async function refuseFullTarget({ event, target }: Pick<PlanInput, 'event' | 'target'>): Promise<void> {
  if (event.target.into === 'existing') return;
  const count = await countOrNone(target);
  if (count === 0) return;
  const { collection, store } = event.target;
  const choices = 'name another target.collection, empty it, or upsert into it with target {"into": "existing"}';
  throw new TargetNotEmpty(
    `the ${store} collection '${collection}' already holds ${count} records that this run did not write; ${choices}`,
    {
      ids: [collection],
    },
  );
}

async function countOrNone(target: Target): Promise<number> {
  try {
    return await target.count();
  } catch (error) {
    if (error instanceof NotFound) return 0;
    throw error;
  }
}

/** Numbered from 0, in the store's key order. */
async function cutRanges(
  { source, event }: PlanInput,
  { count }: Description,
  shardRecords: number,
): Promise<RangeItem[]> {
  const fair = Math.ceil(count / event.parallel.exporters);
  const records = Math.min(shardRecords, Math.max(minRecordsPerRange, fair));
  const ranges = await source.ranges({ records });
  return ranges.map((range, at) => ({ range: at, from: range.from, to: range.to, records: range.records }));
}

/**
 * What a run must have in common with the plan it goes on with. Hashed are source, target, mapping, and the ranges as they
 * were written; how it is validated or cut over may be changed between tries.
 */
function fingerprintOf({ source, target, mapping, parallel }: RunEvent, ranges: readonly RangeItem[]): string {
  const text = JSON.stringify([source, target, mapping, parallel.shardMiB, ranges]);
  return createHash('sha256').update(text).digest('hex');
}

async function resume(earlier: Plan, input: PlanInput): Promise<Plan> {
  const { run, event, objects } = input;
  const ranges = await readRanges(objects, run);
  if (fingerprintOf(event, ranges) !== earlier.fingerprint) {
    const choices = 'start it with the event it began with, or give this one another run id';
    throw new RunMismatch(
      `run '${run}' was planned for another source, target or mapping, or its ranges were altered; ${choices}`,
      { ids: [run] },
    );
  }
  const hasBegun = (await objects.list(runKeys(run).shards)).length > 0;
  if (!hasBegun) await refuseFullTarget(input);
  if (hasBegun && (await countOrNone(input.target)) === 0) await forgetLoaded(objects, run);
  await forgetVerdict(objects, run);
  const plan = { ...earlier, event, attempt: earlier.attempt + 1 };
  await putJson(objects, runKeys(run).plan, plan);
  return plan;
}

/** The target was emptied or dropped meanwhile, so nothing is loaded whatever the markers say: the shards are loaded again. */
async function forgetLoaded(objects: ObjectStore, run: string): Promise<void> {
  for (const key of await objects.list(runKeys(run).loaded)) await objects.delete(key);
}

/**
 * A validation that came to its end is done anew, since the target may have been mended meanwhile; one that was cut off
 * goes on where it was.
 */
async function forgetVerdict(objects: ObjectStore, run: string): Promise<void> {
  const keys = runKeys(run);
  if ((await objects.get(keys.report)) === undefined) return;
  const stale = [...(await objects.list(keys.compared)), keys.recall, keys.report, keys.reportPage];
  for (const key of stale) await objects.delete(key);
}
