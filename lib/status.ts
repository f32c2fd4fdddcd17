import { z } from 'zod';
import {
  type Approval,
  answerSchema,
  approvalSchema,
  canarySchema,
  type Move,
  retiredSchema,
  switchedSchema,
} from './cutover/cutover-files.ts';
import { cutoverStage, lastMade } from './cutover/cutover-stage.ts';
import { readMoves } from './cutover/moves.ts';
import { type Notice, noticeSchema } from './cutover/notices.ts';
import type { Embedding } from './embed/stage/embed-files.ts';
import { readEmbedStatus } from './embed/stage/embed-status.ts';
import { NotFound } from './errors.ts';
import { asksOldFirst } from './index-change/index-change.ts';
import { approvalAnswerKey, nameOfKey, runKeys } from './keys.ts';
import { appliedSchema, liveSchema, sweepSchema } from './live/live-files.ts';
import { liveStage } from './live/live-stage.ts';
import { getJson, type ObjectStore } from './objects.ts';
import {
  type Compared,
  comparedSchema,
  failedSchema,
  loadedSchema,
  manifestSchema,
  type Plan,
  planSchema,
  shardEntrySchema,
  tuningSchema,
} from './run-files.ts';
import type { Stage, StageName } from './stage.ts';
import { indexOutput } from './states.ts';
import { plural } from './words.ts';

/**
 * How far a run is, worked out from its objects alone: the same on one machine and on AWS, while it runs, after it was
 * killed, and when it is over.
 */

export interface RunStatus {
  readonly run: string;
  readonly source: string;
  readonly target: string;
  readonly records: number;
  readonly stages: readonly Stage[];
  /** Shards whose last import failed; those that no retry will mend are `final`. */
  readonly failed: readonly {
    readonly shard: string;
    readonly error: string;
    readonly message: string;
    readonly final: boolean;
  }[];
  /** Records left out by the mapping so far. */
  readonly skipped: number;
  /** How far the texts are embedded; undefined where the run embeds none, or has not begun. */
  readonly embedding: Embedding | undefined;
  /** Where the report is, once it is written. */
  readonly report: string | undefined;
  readonly reportPage: string | undefined;
  /** What the run last moved: readers are on the target after a cutover. A switch of columns that is not made yet is none. */
  readonly lastMove: Move | undefined;
  /** All that it moved, oldest first. */
  readonly moves: readonly Move[];
  /** The question that the run waits to be answered, by `vecferry approve` or `vecferry reject`. */
  readonly question: Pick<Approval, 'askedAt' | 'until'> | undefined;
  /** What people were told, oldest first; on AWS they are told by mail, and this is empty. */
  readonly notices: readonly Notice[];
}

/**
 * Remembers markers that were read: they never change once they are done, so a look at a run that is watched costs a
 * listing a stage and one read a new marker.
 */
export type StatusCache = Map<string, unknown>;

/** @throws NotFound when no such run was planned here. @throws ShardDamaged when one of its files is not ours. */
export async function runStatus(options: {
  readonly objects: ObjectStore;
  readonly run: string;
  readonly cache?: StatusCache;
  readonly now?: Date;
}): Promise<RunStatus> {
  const { objects, run, cache = new Map(), now = new Date() } = options;
  const keys = runKeys(run);
  const plan = await read(objects, keys.plan, planSchema, cache);
  if (plan === undefined) throw await noRun(objects, run);

  const exported = await readAll(objects, keys.exported, shardEntrySchema, cache);
  const manifest = await read(objects, keys.manifest, manifestSchema, cache);
  const loaded = await readAll(objects, keys.loaded, loadedSchema, cache);
  const compared = await readAll(objects, keys.compared, comparedSchema, cache, ({ done }) => done);
  const neighbours = (await objects.list(keys.neighbours)).length;
  // A failed marker is overwritten by the next attempt, so it is never remembered.
  const failedMarkers = await readAll(objects, keys.failed, failedSchema, new Map());
  const moves = await readMoves(objects, run);
  // It is overwritten at each look, so it is never remembered either.
  const index = await getJson(objects, keys.index, indexOutput);
  const report = await getJson(objects, keys.report, endSchema);
  const has = new Set(await objects.list(keys.prefix));
  const tuning = await getJson(objects, keys.tuning, tuningSchema);
  const isTuning = tuning?.done === false && report === undefined;
  const tried = tuning?.sets.reduce((sum, { curve }) => sum + curve.length, 0) ?? 0;
  const cutover = await readCutover(objects, run);
  const records = manifest?.records ?? plan.records;
  const shards = manifest?.shards.length ?? plan.estimate.shards;
  const isCompared = manifest !== undefined && compared.filter(({ done }) => done).length >= shards;
  const isIndexed = index !== undefined || has.has(keys.queries);
  const embedded = await readEmbedStatus(objects, plan, { records, isIndexed });
  const loadedNames = new Set(loaded.map(({ shard }) => shard));
  const stages = [
    stage('export', sum(exported, 'records'), records, 'records', manifest !== undefined),
    ...embedded.embed,
    stage('import', sum(loaded, 'records'), records, 'records', manifest !== undefined && loaded.length >= shards),
    ...embedded.catchUp,
    indexStage(plan, index, has.has(keys.queries)),
    stage(
      'compare',
      compared.reduce((total, each) => total + lookedAt(each), 0),
      records,
      'records',
      isCompared,
    ),
    ...(plan.event.live === false ? [] : [liveStage({ plan, shards, now, ...(await readLive(objects, run, has)) })]),
    {
      ...stage('recall', neighbours, shards, 'shards', has.has(keys.recall) && !isTuning),
      ...(isTuning && { detail: `tuning the search, ${plural(tried, 'setting')} tried` }),
    },
    ...embedded.drift,
  ];
  const end = report === undefined ? 'under way' : isFailure(report) ? 'failed' : 'over';
  const seen = { plan, verdict: report?.verdict, moves, isIndexed: index?.done, keptAt: keptAtOf(report), now };
  const moving = cutoverStage({ ...seen, ...cutover });
  const awaitsAnswer = moving.state === 'running' && cutover.answer === undefined;
  return {
    run,
    source: `${plan.event.source.store} ${plan.event.source.collection}`,
    target: `${plan.event.target.store} ${plan.event.target.collection}`,
    records,
    stages: [...order(stages, plan, end), moving],
    failed: failedMarkers
      .filter(({ shard }) => !loadedNames.has(shard))
      .map(({ shard, error, message, final }) => ({ shard, error, message, final })),
    skipped: sum(loaded, 'skipped'),
    embedding: embedded.embedding,
    report: has.has(keys.report) ? objects.locate(keys.report) : undefined,
    reportPage: has.has(keys.reportPage) ? objects.locate(keys.reportPage) : undefined,
    lastMove: lastMade({ moves, ...cutover }),
    moves,
    question: awaitsAnswer ? cutover.approval : undefined,
    notices: await readAll(objects, keys.notices, noticeSchema, cache),
  };
}

/** Queries are chosen once the index is built, but where the old one is asked them first. */
function indexStage(plan: Plan, index: z.infer<typeof indexOutput> | undefined, areQueriesChosen: boolean): Stage {
  const isFirst = asksOldFirst(plan);
  const isAsking = isFirst && index === undefined && areQueriesChosen;
  const detail = isAsking ? 'the old one is asked first, before the new one is built' : (index?.detail ?? '');
  return {
    ...stage('index', 0, 1, 'steps', index?.done === true || (areQueriesChosen && !isFirst)),
    ...(detail !== '' && { detail }),
  };
}

/** What is overwritten at each look is never remembered. */
async function readCutover(objects: ObjectStore, run: string) {
  const keys = runKeys(run);
  const [asked, canary, switched, retired] = await Promise.all([
    getJson(objects, keys.approval, approvalSchema),
    getJson(objects, keys.canary, canarySchema),
    getJson(objects, keys.switched, switchedSchema),
    getJson(objects, keys.retired, retiredSchema),
  ]);
  const seen = { canary, switchedAt: switched?.moveAt, isDropped: retired !== undefined };
  if (asked === undefined) return { approval: undefined, answer: undefined, ...seen };
  const { askedAt, until } = asked;
  // Its token stays where it is: whoever has it answers.
  return {
    approval: { askedAt, until },
    answer: await getJson(objects, approvalAnswerKey(run, askedAt), answerSchema),
    ...seen,
  };
}

async function readLive(objects: ObjectStore, run: string, has: ReadonlySet<string>) {
  const keys = runKeys(run);
  const [live, applied, sweep] = await Promise.all([
    getJson(objects, keys.live, liveSchema),
    getJson(objects, keys.tombstonesApplied, appliedSchema),
    getJson(objects, keys.sweep, sweepSchema),
  ]);
  const tombstones = [...has].filter((key) => key.startsWith(keys.tombstones)).length;
  return { live, applied, sweep, tombstones };
}

/** Records of a shard that are accounted for: a call that goes on writes its tallies every few seconds. */
const lookedAt = ({ equal, different, missing, unchecked, skipped }: Compared): number =>
  equal + different + missing + unchecked + skipped;

/** What to say of a run without a plan: it never was, or its plan was refused and a report says why. */
export async function noRun(objects: ObjectStore, run: string): Promise<NotFound> {
  const { report, reportPage } = runKeys(run);
  const isRefused = (await objects.get(report)) !== undefined;
  const refused = `run '${run}' ended before it had a plan; ${objects.locate(reportPage)} says why`;
  const none = `there is no run '${run}' in ${objects.locate('runs/')}`;
  return new NotFound(isRefused ? refused : none, { ids: [run] });
}

function stage(name: StageName, done: number, total: number, unit: Stage['unit'], isDone: boolean): Stage {
  return {
    name,
    state: isDone ? 'done' : done > 0 ? 'running' : 'waiting',
    done: isDone ? total : Math.min(done, total),
    total,
    unit,
  };
}

/** Of a report, how the run ended: a run that failed on its way has stages that were never done. */
const endSchema = z.looseObject({
  verdict: z.string().optional(),
  failure: z.unknown().optional(),
  createdAt: z.string().optional(),
  index: z.looseObject({ kept: z.string().nullish() }).nullish(),
});
const keptAtOf = (report: z.infer<typeof endSchema> | undefined): string | undefined =>
  typeof report?.index?.kept === 'string' ? report.createdAt : undefined;
const isFailure = ({ failure }: z.infer<typeof endSchema>): boolean => failure !== undefined && failure !== null;

/** What the markers cannot show: the first stage that is not done is under way, and a finished run has none left. */
function order(stages: readonly Stage[], plan: Plan, end: 'under way' | 'failed' | 'over'): readonly Stage[] {
  let isFirst = true;
  return stages.map((each) => {
    if (isSkipped(each.name, plan)) return { ...each, state: 'skipped' };
    if (end === 'over' && each.state !== 'done') return { ...each, state: 'done', done: each.total };
    if (each.state === 'done' || end === 'failed') return each;
    const state = isFirst && !plan.event.dryRun ? 'running' : each.state;
    isFirst = false;
    return { ...each, state };
  });
}

/** Two collections that are held against each other are both there already. */
function isSkipped(name: StageName, { event }: Plan): boolean {
  if (name === 'recall' || name === 'drift') return event.validate.recall === null;
  // Nothing is moved.
  if (event.index !== undefined) return name === 'import' || name === 'compare';
  return event.mode === 'validate' && (name === 'import' || name === 'index');
}

async function read<T>(
  objects: ObjectStore,
  key: string,
  schema: z.ZodType<T>,
  cache: StatusCache,
  isFinal: (value: T) => boolean = () => true,
): Promise<T | undefined> {
  const remembered = schema.safeParse(cache.get(key));
  if (cache.has(key) && remembered.success) return remembered.data;
  const value = await getJson(objects, key, schema);
  if (value !== undefined && isFinal(value)) cache.set(key, value);
  return value;
}

async function readAll<T>(
  objects: ObjectStore,
  prefix: string,
  schema: z.ZodType<T>,
  cache: StatusCache,
  isFinal: (value: T) => boolean = () => true,
): Promise<readonly T[]> {
  const keys = await objects.list(prefix);
  const values = await Promise.all(
    keys.filter((key) => nameOfKey(key) !== '').map((key) => read(objects, key, schema, cache, isFinal)),
  );
  // A marker that went away between listing and reading counts at the next look.
  return values.filter((value) => value !== undefined);
}

function sum<K extends string>(rows: readonly Readonly<Record<K, number>>[], field: K): number {
  return rows.reduce((total, row) => total + row[field], 0);
}
