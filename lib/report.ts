import { readCompared } from './counts.ts';
import { NotFound } from './errors.ts';
import { findingsOf, nextAfterError } from './findings.ts';
import { runKeys } from './keys.ts';
import { readLoaded } from './manifest.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { reportPage } from './report-page.ts';
import { type CompareReport, type Counts, type Report, reportSchema, type Verdict } from './report-schema.ts';
import {
  type Compared,
  type Diagnosis,
  type Difference,
  diagnosisSchema,
  type Loaded,
  type Manifest,
  type Plan,
  type Recall,
  recallSchema,
  type Tuning,
  tuningSchema,
} from './run-files.ts';
import { plural } from './words.ts';

const maxNamed = 100;

export interface ReportOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly counts: Counts;
  readonly now?: () => Date;
}

export interface ReportOutcome {
  /** True only when everything that the event asked for was checked and is right. */
  readonly passed: boolean;
  readonly summary: string;
  /** Where report.json lies. */
  readonly report: string;
}

/**
 * Puts together what the validation found, writes report.json and report.html, and says whether the run passed.
 * @throws NotFound when a shard was not compared or recall was not measured: then nothing can be said.
 */
export async function writeReport({ plan, manifest, objects, counts, now }: ReportOptions): Promise<ReportOutcome> {
  const compared = await readCompared(plan, manifest, objects);
  const loaded = await readLoaded(objects, plan.run);
  const recallKey = runKeys(plan.run).recall;
  const recall = await getJson(objects, recallKey, recallSchema);
  if (recall === undefined) {
    throw new NotFound(`${objects.locate(recallKey)} is not there: validate the run again`, { ids: [recallKey] });
  }
  const tuning = await getJson(objects, runKeys(plan.run).tuning, tuningSchema);
  const diagnosis = (await getJson(objects, runKeys(plan.run).diagnosis, diagnosisSchema)) ?? { causes: [] };
  const createdAt = (now?.() ?? new Date()).toISOString();
  const report = buildReport({ plan, manifest, counts, compared, loaded, recall, tuning, diagnosis, createdAt });
  await putReport(objects, report);
  return {
    passed: report.verdict === 'validated',
    summary: report.summary,
    report: objects.locate(runKeys(plan.run).report),
  };
}

interface Parts {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly counts: Counts;
  readonly compared: readonly Compared[];
  readonly loaded: readonly Loaded[];
  readonly recall: Recall;
  readonly tuning: Tuning | undefined;
  readonly diagnosis: Diagnosis;
  readonly createdAt: string;
}

/** The report of a validation that came to its end. */
export function buildReport({
  plan,
  manifest,
  counts,
  compared,
  loaded,
  recall,
  tuning,
  diagnosis,
  createdAt,
}: Parts): Report {
  const { validate } = plan.event;
  const compare = sumCompared(compared, counts, validate.compare === 'all' ? 'all' : validate.compare.sample);
  const spotCheck = {
    asked: Math.min(validate.spotCheck, manifest.records),
    checked: sum(compared, (each) => each.spotChecked),
    different: sum(compared, (each) => each.spotDifferent),
    first: compared.flatMap((each) => each.spotDifferences.map(withoutVerdict)).slice(0, maxNamed),
  };
  // What the import left out; a run that only validates has none, and left it out of the comparison.
  const skipping = plan.event.mode === 'validate' ? compared : loaded;
  const skippedIds = skipping.flatMap((each) => each.skippedIds).slice(0, maxNamed);
  const findings = findingsOf({ mode: plan.event.mode, counts, compare, spotCheck, recall, diagnosis });
  const verdict = verdictOf(findings);
  const importedAt =
    loaded
      .map(({ at }) => at)
      .sort()
      .at(-1) ?? null;
  const { records, bytes, shards, seconds, usd } = plan.estimate;
  return {
    format: 1,
    run: plan.run,
    mode: plan.event.mode,
    verdict,
    summary: summarise(verdict, plan, compare, recall, findings),
    plannedAt: plan.createdAt,
    importedAt,
    createdAt,
    ...endpointsOf(plan),
    failure: null,
    findings,
    counts,
    compare,
    spotCheck,
    recall,
    tuning: tuning?.sets ?? null,
    settings: null,
    timeline: null,
    skipped: { records: counts.skipped, ids: skippedIds },
    throttled: sum(loaded, (each) => each.throttled),
    estimate: { records, bytes, shards, seconds, usd },
    actual: {
      records: manifest.records,
      bytes: manifest.bytes,
      shards: manifest.shards.length,
      seconds: secondsBetween(plan.createdAt, createdAt),
      usd: 0,
    },
    notes: plan.notes,
    guarantee: plan.guarantee,
  };
}

function endpointsOf({ event: { source, target } }: Plan): Pick<Report, 'source' | 'target'> {
  return {
    source: { store: source.store, collection: source.collection },
    target: { store: target.store, collection: target.collection },
  };
}

function sumCompared(compared: readonly Compared[], counts: Counts, asked: 'all' | number): CompareReport {
  const first = (verdict: Difference['verdict']) =>
    compared
      .flatMap(({ differences }) => differences.filter((each) => each.verdict === verdict).map(withoutVerdict))
      .slice(0, maxNamed);
  return {
    asked,
    startedAt: compared.map(({ startedAt }) => startedAt).sort()[0] ?? null,
    endedAt:
      compared
        .map(({ at }) => at)
        .sort()
        .at(-1) ?? null,
    records: sum(compared, (each) => each.records),
    equal: sum(compared, (each) => each.equal),
    changed: sum(compared, (each) => each.changed),
    different: sum(compared, (each) => each.different),
    missing: sum(compared, (each) => each.missing),
    extra: counts.extra,
    unchecked: sum(compared, (each) => each.unchecked),
    notInSample: sum(compared, (each) => each.notInSample),
    duplicates: sum(compared, (each) => each.duplicates),
    skipped: sum(compared, (each) => each.skipped),
    first: {
      different: first('different'),
      missing: first('missing'),
      extra: counts.extraIds.map((id) => ({ id, reason: 'is in the target and not among the records of the source' })),
      unchecked: first('unchecked'),
      changed: compared.flatMap((each) => each.changes).slice(0, maxNamed),
    },
  };
}

function withoutVerdict({ id, reason }: Difference): { id: string; reason: string } {
  return { id, reason };
}

function sum<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((total, each) => total + of(each), 0);
}

function verdictOf(findings: Report['findings']): Verdict {
  if (findings.some(({ severity }) => severity === 'failed')) return 'failed';
  return findings.length > 0 ? 'unproven' : 'validated';
}

function summarise(
  verdict: Verdict,
  plan: Plan,
  compare: CompareReport,
  recall: Recall,
  findings: Report['findings'],
): string {
  const [from, to] = [plan.event.source, plan.event.target].map(({ store, collection }) => `${store} ${collection}`);
  const isMove = plan.event.mode === 'migrate';
  const pair = isMove ? `${from} to ${to}` : `${from} and ${to}`;
  if (verdict === 'validated') {
    const skipped = compare.skipped === 0 ? '' : `, ${compare.skipped} left out as the mapping says`;
    const of = compare.asked === 'all' ? 'all ' : `${compare.records - compare.unchecked} sampled of `;
    const compared = `${of}${plural(compare.records, 'record')} compared and equal${skipped}`;
    const recalls = recall.sets.filter(({ outcome }) => outcome === 'passed').map(({ note }) => note);
    const said = isMove || compare.asked !== 'all' ? `Validated, ${pair}: ${compared}.` : sameWords(compare, from, to);
    return [said, ...recalls].join(' ');
  }
  const word = verdict === 'failed' ? 'Failed' : 'Could not validate';
  const whats = findings.map(({ what }) => what.replace(/\.$/, '')).join('; ');
  const after = isMove ? 'Nothing was cut over, and the source is untouched.' : 'Neither was changed.';
  return `${word}, ${pair}: ${whats}. ${after}`;
}

/** Of two collections that were wholly compared. Extra records were not looked for where the event lets the target hold more. */
function sameWords({ records, skipped, extra }: CompareReport, from = '', to = ''): string {
  const left = skipped === 0 ? '' : `, but for ${skipped} left out as the mapping says`;
  const others = extra === null ? '; others that the second may hold were not looked for' : '';
  return `Validated: ${from} and ${to} hold the same ${plural(records - skipped, 'record')}${left}${others}.`;
}

function secondsBetween(from: string, to: string): number {
  return Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000);
}

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
 * is kept within it; for ValidationFailed it is the report already, and stays as it is.
 */
export async function writeFailure(options: FailureOptions): Promise<Report> {
  const { objects, run, error, message, ids = [], plan } = options;
  const earlier = await getJson(objects, runKeys(run).report, reportSchema);
  if (earlier !== undefined && error === 'ValidationFailed') return earlier;
  // A map fails with a count alone, after its child has reported why.
  if (earlier?.failure && error === mapFailed) return earlier;
  const failure = { error, message, ids: ids.slice(0, maxNamed) };
  const finding = {
    check: 'run' as const,
    severity: 'failed' as const,
    what: message,
    ids: failure.ids,
    next: nextAfterError(error),
    causes: [],
  } satisfies Report['findings'][number];
  const createdAt = (options.now?.() ?? new Date()).toISOString();
  const base = earlier ?? emptyReport(run, createdAt, plan);
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

function emptyReport(run: string, createdAt: string, plan: Plan | undefined): Report {
  return {
    format: 1,
    run,
    mode: plan?.event.mode ?? 'migrate',
    verdict: 'failed',
    summary: '',
    plannedAt: plan?.createdAt ?? null,
    importedAt: null,
    createdAt,
    ...(plan === undefined ? { source: null, target: null } : endpointsOf(plan)),
    failure: null,
    findings: [],
    counts: null,
    compare: null,
    spotCheck: null,
    recall: null,
    tuning: null,
    settings: null,
    timeline: null,
    skipped: null,
    throttled: 0,
    estimate: plan === undefined ? null : estimateOf(plan),
    actual: null,
    notes: plan?.notes ?? [],
    guarantee: plan?.guarantee ?? null,
  };
}

function estimateOf({ estimate: { records, bytes, shards, seconds, usd } }: Plan): Report['estimate'] {
  return { records, bytes, shards, seconds, usd };
}

async function putReport(objects: ObjectStore, report: Report): Promise<void> {
  const keys = runKeys(report.run);
  await objects.put(keys.reportPage, reportPage(report), 'text/html; charset=utf-8');
  await putJson(objects, keys.report, report);
}

/** True when the run's report says that everything was checked and is right; false also when there is none. */
export async function hasPassed(objects: ObjectStore, run: string): Promise<boolean> {
  const report = await getJson(objects, runKeys(run).report, reportSchema);
  return report?.verdict === 'validated';
}
