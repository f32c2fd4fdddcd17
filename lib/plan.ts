import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { matchCollections } from './compare/match.ts';
import type { Move } from './cutover/cutover-files.ts';
import { flagToMove, isFinishedOnTarget } from './cutover/cutover-flag.ts';
import { type Flag, type FlagStore, placeOf } from './cutover/flag.ts';
import { readMoves, refuseFinished, refuseRetired } from './cutover/moves.ts';
import type { Embedder } from './embed/port.ts';
import { madeSchema } from './embed/stage/made.ts';
import { withSaidModel } from './embed/stage/model-id.ts';
import { asEmbedded, type PlannedEmbedding, planEmbedding, refuseOverBudget } from './embed/stage/plan-embed.ts';
import { withMarkFields } from './embed/stage/plan-mark.ts';
import { InvalidEvent, NotFound, RunMismatch } from './errors.ts';
import { bytesPerRecord, estimateRun } from './estimate.ts';
import type { RunEvent } from './event.ts';
import type { Model } from './event-embed.ts';
import { type Fit, fitCollection } from './fit.ts';
import { forgetFinished } from './forget.ts';
import { isIndexChange } from './index-change/index-change.ts';
import { checkIndexAgain, indexGuarantee, planIndex, refuseIndex } from './index-change/plan-index.ts';
import { runKeys } from './keys.ts';
import { forgetLoaded, forgetUnloaded } from './live/still-loaded.ts';
import { checkRules } from './mapping/check.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { checkPlace, isInPlace, placeGuarantee, refusePlace, unthrottled } from './place.ts';
import {
  countOrNone,
  liveNotes,
  refuseFullTarget,
  refuseLiveTarget,
  refuseMissingPointer,
  refuseOtherLength,
  refuseSameCollection,
  refuseSamePlace,
  refuseTooFewQueries,
  refuseUnheededSettings,
  refuseUnknownVectors,
} from './plan-checks.ts';
import { givenTexts, noFiles, type QueryFiles } from './recall/query-file.ts';
import { readGivenQueries } from './recall/query-sets.ts';
import { type Plan, planSchema, rangesSchema } from './run-files.ts';
import { refuseDefaults } from './schema/conform.ts';
import { stableEvent } from './schema/stable-event.ts';
import type { ModelId } from './schema.ts';
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
  /** Left out: whether the flag can be moved is seen when it is. */
  readonly flags?: FlagStore;
  /** Left out: a query set that names a file is refused. */
  readonly queryFiles?: QueryFiles;
  /** Milliseconds before a record that the target of a live run lacks is looked for again. */
  readonly lookAgainMs?: number;
  /** The model that the event's embed names; needed where it names one. It is asked nothing. */
  readonly embedder?: Pick<Embedder, 'card' | 'limits' | 'countTokens'> | undefined;
  /** The model of the source, where the event says how it is asked; nothing is asked of it. */
  readonly sourceModel?: Pick<Embedder, 'card'> | undefined;
}

/**
 * Reads both sides, checks that they fit, cuts the source into ranges and writes ranges.json and then plan.json. Writes
 * nothing else, and nothing into the stores. A run that is already planned keeps its ranges: it is resumed.
 *
 * @throws Incompatible, TargetNotEmpty, NotFound, BudgetExceeded before anything is written; RunMismatch when the run was planned for another
 * source, target or mapping, or another run is moving the flag.
 */
export async function planRun(given: PlanInput): Promise<Plan> {
  const input = { ...given, event: stableEvent(given.event) };
  const { run, event, objects } = input;
  refuseSameCollection(event);
  refusePlace(event, input.targetKind);
  refuseIndex(event, input.targetKind);
  refuseSamePlace(event);
  refuseMissingPointer(event, input.targetKind);
  refuseLiveTarget(event, input.targetKind);
  refuseUnheededSettings(event, input.targetKind);
  const keys = runKeys(run);
  const earlier = await getJson(objects, keys.plan, planSchema);
  if (earlier !== undefined) {
    await refuseFlag(input);
    return await resume(earlier, input);
  }

  const described = withSaidModel(await input.source.describe(), event);
  refuseDefaults(event, described.schema);
  const embedding = await planTexts(input, described);
  const { embed } = embedding ?? {};
  const made = asEmbedded(described, embedding);
  const source = embedding?.source ?? described.schema;
  const indexed = isIndexChange(event) ? await planIndex({ ...input, described }) : undefined;
  const fit = indexed ?? (await fitTarget(input, made));
  const checkedMapping = await checkRules(input, fit.mapping, described);
  const fitted = withMarkFields({
    fit,
    target: input.targetKind,
    mark: embedding?.mark,
    sample: embedding?.sample ?? [],
    old: described.schema.vectors.find(({ name }) => name === embedding?.mark?.vector)?.model,
  });
  await checkSets(input, { ...fitted, source, records: described.count, embed });
  await refuseFullTarget(event, input.target);
  const placed = { event, target: input.target, records: described.count, source, embed, isNew: true };
  const placeNotes = await checkPlace({ ...placed, schema: fitted.target });
  const flag = await refuseFlag(input);
  if (isFinishedOnTarget(input, flag)) throw isOlder(event);
  if (event.live !== false) await input.target.checkInserts?.();

  const shardBytes = Math.floor(event.parallel.shardMiB * 1024 * 1024);
  // A shard is held with the vectors that are made for it, which texts without any leave no trace of.
  const sizes = [described.schema, made.schema].map((schema) => bytesPerRecord(schema, described.payloadBytes));
  const recordBytes = Math.max(...sizes);
  const ranges = await cutRanges(input, described, Math.max(1, Math.floor(shardBytes / recordBytes)));
  const plan: Plan = {
    format: 1,
    run,
    attempt: 1,
    createdAt: input.now.toISOString(),
    event,
    fingerprint: fingerprintOf(event, ranges),
    source,
    target: fitted.target,
    mapping: fitted.mapping,
    ...(checkedMapping && { checkedMapping }),
    ...(embed === undefined ? {} : { embed }),
    ...(indexed && { index: indexed.index }),
    records: described.count,
    withoutVector: { ...made.withoutVector },
    notes: [
      ...(described.notes ?? []),
      ...(embedding?.notes ?? []),
      ...fitted.notes,
      ...liveNotes(event),
      ...placeNotes,
    ],
    guarantee: guaranteeOf(input, event, indexed?.index),
    hasLiveWrites: false,
    estimate: estimateRun({
      records: described.count,
      bytesPerRecord: recordBytes,
      shardBytes,
      ranges: ranges.length,
      exporters: event.parallel.exporters,
      isMoved: event.mode === 'migrate' && indexed === undefined,
      embed: embed?.estimate,
    }),
    shardBytes,
  };
  await putJson(objects, keys.ranges, ranges);
  await putJson(objects, keys.plan, plan);
  return plan;
}

/** How the texts are embedded; undefined where none are asked for. */
async function planTexts(
  { event, source, targetKind: target, embedder, queryFiles = noFiles }: PlanInput,
  described: Description,
): Promise<PlannedEmbedding | undefined> {
  if (event.embed === undefined) return undefined;
  if (embedder === undefined) throw new Error('the model of an event with embed was not opened');
  const queries = await givenTexts(event, queryFiles);
  return await planEmbedding({ event, source, described, embedder, target, queries });
}

function movesFlag({ mode, cutover, live, target }: RunEvent): boolean {
  if (target.into === 'place') return false;
  return mode === 'migrate' && (live !== false || (cutover !== null && cutover.pointer === undefined));
}

/** A flag that the run could not move at its very end is refused now. @throws RunMismatch, InvalidEvent */
async function refuseFlag({ run, event, flags }: PlanInput): Promise<Flag | undefined> {
  return movesFlag(event) && flags !== undefined ? await flagToMove({ run, event }, flags) : undefined;
}

/** An earlier run of the same two was finished: what was written since is in the target alone, and would be replaced. */
function isOlder({ source, target }: RunEvent): InvalidEvent {
  const text = `the routing flag says that ${placeOf(target)} alone is read and written, so ${placeOf(source)} is older`;
  const next =
    'move in the other direction; or, where the source is what counts, set cutover to null to copy it all the same';
  return new InvalidEvent(`${text}; ${next}`, { ids: ['cutover'] });
}

/**
 * The target as the run makes it; where the run only validates, as it is there.
 * @throws NotFound when it is not there then.
 */
async function fitTarget({ event, target, targetKind, sourceKind }: PlanInput, source: Description): Promise<Fit> {
  if (event.mode === 'migrate') return fitCollection({ source, target: targetKind, event });
  const described = await target.describe();
  const { notes, ...fitted } = matchCollections({ source, sourceKind, target: described, targetKind, event });
  return { ...fitted, notes: [...(described.notes ?? []), ...notes] };
}

/** What is searched for, at a first start and at every other: the sets may be changed between them. @throws InvalidEvent, NotFound */
async function checkSets(
  { event, queryFiles = noFiles, sourceModel }: PlanInput,
  planned: Pick<Plan, 'source' | 'target' | 'mapping' | 'records' | 'embed'>,
): Promise<void> {
  refuseTooFewQueries(event, planned.records);
  refuseUnknownVectors(event, madeSchema(planned), planned.mapping);
  const given = await readGivenQueries({ ...planned, event }, queryFiles);
  if (sourceModel !== undefined) refuseOtherLength({ ...planned, event }, [...given.values()].flat(), sourceModel.card);
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

const liveGuarantee =
  'The application writes to both sides through the client from before the export on, the source first. The import inserts only what the target lacks, so no older value is put over a newer one, and what was deleted meanwhile is deleted again after it. Validation then holds every record against the source as it is at that moment: what a write has not reached yet is looked at again, and what still differs is made as the source has it and counted as mended. A write past the client reaches the target in this way alone: where it is made before its record is compared.';

/** What holds when the source changes meanwhile. */
function guaranteeOf({ sourceKind }: PlanInput, event: RunEvent, index: Plan['index']): string {
  const { mode, live } = event;
  if (index !== undefined) return indexGuarantee(index.how);
  if (isInPlace(event)) return placeGuarantee(event);
  if (live !== false) return liveGuarantee;
  const taken = mode === 'migrate' ? 'moved' : 'compared';
  const texts = {
    snapshot: `Each shard is read in one snapshot of the source, but not all shards in the same one. A record that is changed during the export is ${taken} in its state before or after the change; one that is added or deleted may be missing or extra.`,
    live: `The source has no snapshots: a record that is changed, added or deleted while its range is read may be ${taken} in its state before or after.`,
  };
  return `${texts[sourceKind.capabilities.reads]} ${found}`;
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
 * What a run must have in common with the plan it goes on with. Hashed are mode, source, target, mapping, and the ranges as
 * they were written, and of an embedding the model, the text, the vector and the mark; how it is validated or cut over may be changed
 * between tries, and so may a budget, a limit, a price, or where the model is asked, and records of another schema be accepted.
 */
function fingerprintOf(event: RunEvent, ranges: readonly RangeItem[]): string {
  const { mode, source, target, parallel, embed, names, index } = event;
  const { schema: _, ...mapping } = event.mapping;
  const said = source.model === undefined ? source : { ...source, model: idOf(source.model) };
  // In JSON an array's undefined is null too, and a mark that is left out is no mark of null.
  const mark = embed?.mark === null ? false : embed?.mark;
  const made = embed === undefined ? [] : [[embed.text, idOf(embed.model), embed.vector, embed.records, mark]];
  const text = JSON.stringify([
    mode,
    said,
    unthrottled(target),
    mapping,
    parallel.shardMiB,
    ranges,
    ...made,
    ...(names ? [names] : []),
    ...(index ? [{ ...index, keep: undefined }] : []),
  ]);
  return createHash('sha256').update(text).digest('hex');
}

const idOf = (model: ModelId & Partial<Pick<Model, 'provider' | 'dimensions'>>) => [
  model.provider,
  model.name,
  model.version,
  model.dimensions,
];

/** What was imported took the defaults that the event had then. @throws RunMismatch, InvalidEvent */
function refuseOtherDefaults({ run, event: { mapping }, source }: Plan, event: RunEvent): void {
  refuseDefaults(event, source);
  if (!mapping.schema.accept || isDeepStrictEqual(mapping.schema, event.mapping.schema)) return;
  const text = `run '${run}' accepted records of another schema with the defaults ${JSON.stringify(mapping.schema.defaults)}`;
  throw new RunMismatch(`${text}; leave mapping.schema as it was, or give this one another run id`, { ids: [run] });
}

async function resume(earlier: Plan, input: PlanInput): Promise<Plan> {
  const { run, event, objects } = input;
  const ranges = await readRanges(objects, run);
  if (fingerprintOf(event, ranges) !== earlier.fingerprint) {
    const choices = 'start it with the event it began with, or give this one another run id';
    throw new RunMismatch(
      `run '${run}' was planned for another mode, source, target or mapping, another model, text, vector or mark of its embedding, another index, or its ranges were altered; ${choices}`,
      { ids: [run] },
    );
  }
  refuseOtherDefaults(earlier, event);
  // By the markers too: whoever mends a record in the source deletes its shard, which may be the only one.
  const { shards, exported } = runKeys(run);
  const hasExported = (await Promise.all([shards, exported].map((prefix) => objects.list(prefix)))).flat().length > 0;
  const log = await readMoves(objects, run);
  if (movesFlag(event)) refuseFinished(run, log, RunMismatch);
  refuseRetired(run, log, RunMismatch);
  const moves = log.filter(({ kind }) => kind === 'flag').map(({ action }) => action);
  const lastMove = moves.at(-1);
  // The flag's first move is logged before it is made, so whoever writes to both sides does so after it.
  const hasLiveWrites = lastMove !== undefined && lastMove !== 'finish';
  if (event.live !== false && hasExported && !hasLiveWrites) throw startedBeforeLive(run);
  // What the target holds may be what this run or its application wrote: that is no reason to refuse it.
  if (!hasExported && !hasLiveWrites) await refuseFullTarget(event, input.target);
  const asked = hasLiveWrites ? asItIsWritten(input, moves) : event;
  const plan: Plan = {
    ...earlier,
    ...(await matchAgain(earlier, input)),
    ...embedAgain(earlier, input),
    event: asked,
    guarantee: guaranteeOf(input, asked, earlier.index),
    hasLiveWrites,
    attempt: earlier.attempt + 1,
  };
  if (hasExported && event.mode === 'migrate') await forgetWhatIsGone(input, plan, ranges);
  const { source, target: schema, embed, records } = plan;
  await checkPlace({ event, target: input.target, records, source, embed, schema, isNew: false });
  await checkIndexAgain(earlier, input);
  await checkSets(input, plan);
  await forgetFinished(objects, run);
  await putJson(objects, runKeys(run).plan, plan);
  return plan;
}

/** Shards whose records are no longer in the target, since it was emptied or dropped meanwhile, are loaded again. */
async function forgetWhatIsGone(input: PlanInput, plan: Plan, ranges: readonly RangeItem[]): Promise<void> {
  if ((await countOrNone(input.target)) === 0) await forgetLoaded(input.objects, plan.run);
  else if (plan.hasLiveWrites) await forgetUnloaded({ ...input, plan, ranges });
}

function startedBeforeLive(run: string): RunMismatch {
  const text = `run '${run}' cannot be live: it exported records while writes went to one side alone`;
  return new RunMismatch(`${text}; start it with the event it began with, or give this one another run id`, {
    ids: [run],
  });
}

/**
 * The event of a run whose application writes to both sides by now. One that began live stays so, whatever the event says
 * of it now. One whose readers are in the middle of a canary is live from then on: its application reads and writes through
 * the client, and what it wrote since the first step is in no shard. Once all have moved only the event can say so: an
 * application that follows the flag by itself may then write to the target alone, and nothing of that may be mended away.
 * @param moves of the flag, oldest first
 */
function asItIsWritten({ event, targetKind }: PlanInput, moves: readonly Move['action'][]): RunEvent {
  // What is mended is copied from the source, whose vectors are of another model.
  if (event.mode !== 'migrate' || event.live !== false || event.embed !== undefined) return event;
  const beganLive = moves[0] === 'double';
  const hasCanary = (event.cutover?.canary ?? null) !== null;
  const isSteered = hasCanary && moves.at(-1) !== 'cutover' && targetKind.capabilities.insertOnly;
  return beganLive || isSteered ? { ...event, live: true } : event;
}

/** What may be changed of an embedding between tries. @throws BudgetExceeded */
function embedAgain({ embed }: Plan, { event, embedder }: PlanInput): Partial<Pick<Plan, 'embed'>> {
  if (embed === undefined || event.embed === undefined) return {};
  const { usdPerMillionTokens } = embedder?.card ?? embed.model;
  const usd = usdPerMillionTokens === null ? null : (embed.estimate.tokens / 1e6) * usdPerMillionTokens;
  const estimate = { ...embed.estimate, usd };
  refuseOverBudget(estimate, event.embed, embed.model);
  const model = { ...embed.model, usdPerMillionTokens };
  return { embed: { ...embed, model, longText: event.embed.longText, estimate } };
}

/** A target that this run does not make may be another one by now; what was compared under the other is compared again. */
async function matchAgain(earlier: Plan, input: PlanInput): Promise<Partial<Pick<Plan, 'target' | 'mapping'>>> {
  if (input.event.mode === 'migrate') return {};
  const { source: schema, records: count, withoutVector } = earlier;
  const source = { schema, count, payloadBytes: 0, withoutVector };
  const { target, mapping } = await fitTarget(input, source);
  return { target, mapping };
}
