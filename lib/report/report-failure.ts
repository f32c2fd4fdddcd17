import { readMoves, rollbackSince } from '../cutover/moves.ts';
import { writesMeanwhile } from '../cutover/notices.ts';
import { readEmbedding } from '../embed/stage/embedding-report.ts';
import { VecferryError } from '../errors.ts';
import { replacesIndex } from '../index-change/index-change.ts';
import { indexAfter, indexBack, indexHalfway, indexTakenBack } from '../index-change/index-report.ts';
import { runKeys } from '../keys.ts';
import { readEach } from '../manifest.ts';
import { mappingReport } from '../mapping/words.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { type Plan, shardEntrySchema } from '../run-files.ts';
import { canaryFailedWith } from '../states.ts';
import { nextAfterError } from './findings.ts';
import { maxNamed } from './report-compared.ts';
import { actualOf, endpointsOf, estimateOf, placeOf, putReport } from './report-put.ts';
import { type Report, reportSchema, reportSchemaId } from './report-schema.ts';
import { readSpans, timelineOf } from './timeline.ts';

export interface FailureOptions {
  readonly objects: ObjectStore;
  readonly run: string;
  /** The error's name, as Step Functions hands it over. */
  readonly error: string;
  readonly message: string;
  readonly ids?: readonly string[];
  /** Left out where the run did not come to a plan. */
  readonly plan?: Plan | undefined;
  readonly now?: () => Date;
}

/** What Step Functions says of a Distributed Map whose child failed. */
const mapFailed = 'States.ExceedToleratedFailureThreshold';

/**
 * The report of a run that ended early: what went wrong and what to do next. A report that the validation wrote before
 * is kept within it; for ValidationFailed it is the report already, and stays as it is. Where readers were taken back the
 * validation's verdict stays what it was: that is not what went wrong.
 */
export async function writeFailure(options: FailureOptions): Promise<Report> {
  const { objects, run, error, message, ids = [], plan } = options;
  const earlier = await getJson(objects, runKeys(run).report, reportSchema);
  if (earlier !== undefined && error === 'ValidationFailed') return await addIndexBack(objects, earlier);
  // A map fails with a count alone, after its child has reported why.
  if (earlier?.failure && error === mapFailed) return earlier;
  if (earlier?.failure === null && plan !== undefined && (await isAfterCanary(options, earlier)))
    return await addTakenBack(options, { earlier, plan });
  const failure = { error, message, ids: ids.slice(0, maxNamed) };
  const finding = {
    check: 'run' as const,
    severity: 'failed' as const,
    what: message,
    ids: failure.ids,
    next: await nextOf(options),
    causes: [],
  } satisfies Report['findings'][number];
  const createdAt = (options.now?.() ?? new Date()).toISOString();
  const base = earlier ?? {
    ...emptyReport(run, createdAt, plan),
    ranOn: placeOf(objects, run),
    ...(plan === undefined ? {} : await doneSoFar(objects, plan, createdAt)),
  };
  const report: Report = {
    ...base,
    verdict: 'failed',
    summary: `Failed with ${error}: ${message}`,
    createdAt,
    failure,
    findings: [finding, ...base.findings],
  };
  await putReport(objects, report);
  return report;
}

/** Where the new index replaces the old one as it is built, readers may use it by now. */
async function nextOf({ objects, run, error, plan }: FailureOptions): Promise<string> {
  const next = nextAfterError(error);
  if (plan === undefined || !replacesIndex(plan)) return next;
  const isBegun = (await objects.get(runKeys(run).index)) !== undefined;
  return isBegun ? `${next} ${indexHalfway(run)}` : next;
}

/** A change that did not pass was taken back after its report was written. Repeatable. */
async function addIndexBack(objects: ObjectStore, earlier: Report): Promise<Report> {
  if (earlier.index === null || earlier.index.takenBack !== null) return earlier;
  const takenBack = indexTakenBack(await readMoves(objects, earlier.run), earlier.createdAt);
  if (takenBack === null) return earlier;
  const summary = earlier.summary.replace(indexAfter(earlier.index, earlier.run), indexBack(earlier.index));
  const report: Report = { ...earlier, summary, index: { ...earlier.index, used: 'old', takenBack } };
  await putReport(objects, report);
  return report;
}

/** True where readers were taken back since the report was written, because of this very error. */
async function isAfterCanary({ objects, run, error }: FailureOptions, { createdAt }: Report): Promise<boolean> {
  if (error === 'TakenBack') return true;
  const back = rollbackSince(await readMoves(objects, run), createdAt);
  return back?.reason === canaryFailedWith.replace('{}', error);
}

/** Repeatable: what was added stays until the run is validated again. */
async function addTakenBack(
  { objects, error, message, now }: FailureOptions,
  { earlier, plan }: { readonly earlier: Report; readonly plan: Plan },
): Promise<Report> {
  if (earlier.takenBack !== null) return earlier;
  const at = (now?.() ?? new Date()).toISOString();
  const report: Report = {
    ...earlier,
    summary: `${earlier.summary} Then readers were moved, and taken back.`,
    takenBack: {
      at,
      reason: error === 'TakenBack' ? message : `${error}: ${message}`,
      writes: writesMeanwhile(plan),
      next: nextAfterError('TakenBack'),
    },
  };
  await putReport(objects, report);
  return report;
}

/** How far the run came, by its ledger; what cannot be read of it is named, since a failure has to be reported all the same. */
async function doneSoFar(
  objects: ObjectStore,
  plan: Plan,
  createdAt: string,
): Promise<Pick<Report, 'embedding' | 'timeline' | 'actual' | 'unread'>> {
  const { run } = plan;
  try {
    const spans = await readSpans(objects, run);
    const exported = await readEach(await objects.list(runKeys(run).exported), (key) =>
      getJson(objects, key, shardEntrySchema),
    );
    const shards = exported.filter((each) => each !== undefined);
    const embedding = await readEmbedding(objects, plan);
    const actual = actualOf({ plan, spans, shards, createdAt, embedding });
    return { embedding, timeline: timelineOf(spans), actual, unread: [] };
  } catch (error) {
    if (!(error instanceof VecferryError)) throw error;
    return {
      embedding: null,
      timeline: null,
      actual: null,
      unread: [`how far the run came could not be read: ${error.message}`],
    };
  }
}

function emptyReport(run: string, createdAt: string, plan: Plan | undefined): Report {
  return {
    $schema: reportSchemaId,
    format: 1,
    run,
    mode: plan?.event.mode ?? 'migrate',
    ranOn: 'aws',
    verdict: 'failed',
    summary: '',
    plannedAt: plan?.createdAt ?? null,
    importedAt: null,
    createdAt,
    ...(plan === undefined ? { source: null, target: null } : endpointsOf(plan)),
    failure: null,
    takenBack: null,
    findings: [],
    counts: null,
    compare: null,
    spotCheck: null,
    live: null,
    embedding: null,
    index: null,
    recall: null,
    tuning: null,
    drift: null,
    settings: null,
    timeline: null,
    skipped: null,
    schema: null,
    mapping: plan === undefined ? null : mappingReport(plan),
    throttled: 0,
    estimate: plan === undefined ? null : estimateOf(plan),
    actual: null,
    unread: [],
    notes: plan?.notes ?? [],
    guarantee: plan?.guarantee ?? null,
  };
}
