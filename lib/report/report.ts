import { readCompared } from '../compare/counts.ts';
import { readEmbedding } from '../embed/stage/embedding-report.ts';
import { NotFound } from '../errors.ts';
import { indexAfter, indexSummary, readIndexReport } from '../index-change/index-report.ts';
import { keepsIndex } from '../index-change/keeps-index.ts';
import { runKeys } from '../keys.ts';
import { liveReport, liveSummary, readSweep } from '../live/live-report.ts';
import { readLoaded } from '../manifest.ts';
import { sumDropped } from '../mapping/dropped.ts';
import { mappingReport } from '../mapping/words.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { spotChecksOf } from '../place.ts';
import { type Drift, driftSchema } from '../recall/drift-files.ts';
import {
  type Compared,
  type Diagnosis,
  diagnosisSchema,
  type Loaded,
  type Manifest,
  type Plan,
  type Recall,
  recallSchema,
  type Tuning,
  tuningSchema,
} from '../run-files.ts';
import { readSettings, type SettingsTable } from '../settings-table.ts';
import type { Reader, Target } from '../stores/port.ts';
import { plural } from '../words.ts';
import { findingsOf, namedNote } from './findings.ts';
import { indexFindings } from './index-findings.ts';
import { maxNamed, nearWords, sum, sumCompared, withoutVerdict } from './report-compared.ts';
import { actualOf, endpointsOf, estimateOf, placeOf, putReport } from './report-put.ts';
import { type CompareReport, type Counts, type Report, reportSchemaId, type Verdict } from './report-schema.ts';
import { schemaReport } from './schema-report.ts';
import { readSpans, type Spans, timelineOf } from './timeline.ts';

export interface ReportOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly counts: Counts;
  /** For the settings of both collections as they are now. */
  readonly source: Reader;
  readonly target: Reader & Pick<Target, 'indexes'>;
  readonly now?: () => Date;
}

export interface ReportOutcome {
  /** True only when everything that the event asked for was checked and is right. */
  readonly passed: boolean;
  /** True where a new index that did not pass stays. */
  readonly keepsIndex: boolean;
  readonly summary: string;
  /** Where report.json lies. */
  readonly report: string;
}

/**
 * Puts together what the validation found, writes report.json and report.html, and says whether the run passed.
 * @throws NotFound when a shard was not compared or recall was not measured: then nothing can be said.
 */
export async function writeReport(options: ReportOptions): Promise<ReportOutcome> {
  const { plan, manifest, objects, counts, source, target, now } = options;
  const compared = await readCompared(plan, manifest, objects);
  const loaded = await readLoaded(objects, plan.run);
  const recallKey = runKeys(plan.run).recall;
  const recall = await getJson(objects, recallKey, recallSchema);
  if (recall === undefined) {
    throw new NotFound(`${objects.locate(recallKey)} is not there: validate the run again`, { ids: [recallKey] });
  }
  const tuning = await getJson(objects, runKeys(plan.run).tuning, tuningSchema);
  const diagnosis = (await getJson(objects, runKeys(plan.run).diagnosis, diagnosisSchema)) ?? { causes: [] };
  const settings = await readSettings({ plan, source, target });
  const drift = await getJson(objects, runKeys(plan.run).drift, driftSchema);
  const spans = await readSpans(objects, plan.run);
  const embedding = await readEmbedding(objects, plan);
  const live = await liveReport(plan, objects, await readSweep(plan, objects), compared);
  const indexed = await readIndexReport({ plan, objects, recall, indexes: target.indexes });
  const createdAt = (now?.() ?? new Date()).toISOString();
  const ranOn = placeOf(objects, plan.run);
  const found = {
    indexed,
    counts,
    compared,
    loaded,
    recall,
    tuning,
    diagnosis,
    drift,
    settings,
    spans,
    live,
    embedding,
  };
  const report = buildReport({ plan, manifest, ...found, createdAt, ranOn });
  await putReport(objects, report);
  return {
    passed: report.verdict === 'validated',
    keepsIndex: typeof report.index?.kept === 'string',
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
  readonly drift: Drift | undefined;
  readonly settings: SettingsTable;
  readonly spans: Spans;
  readonly live: Report['live'];
  readonly embedding: Report['embedding'];
  readonly indexed: Awaited<ReturnType<typeof readIndexReport>>;
  readonly createdAt: string;
  readonly ranOn: Report['ranOn'];
}

/** The report of a validation that came to its end. */
function buildReport(parts: Parts): Report {
  const { plan, manifest, counts, compared, loaded, recall, tuning, diagnosis, settings, spans, live, createdAt } =
    parts;
  const { embedding, indexed } = parts;
  const { validate } = plan.event;
  const compare = sumCompared(compared, counts, validate.compare === 'all' ? 'all' : validate.compare.sample);
  const spotCheck = {
    asked: Math.min(spotChecksOf(plan), manifest.records),
    checked: sum(compared, (each) => each.spotChecked),
    different: sum(compared, (each) => each.spotDifferent),
    first: compared.flatMap((each) => each.spotDifferences.map(withoutVerdict)).slice(0, maxNamed),
  };
  // What the import left out; a run that only validates has none, and left it out of the comparison.
  const skipping = plan.event.mode === 'validate' ? compared : loaded;
  const skippedIds = skipping.flatMap((each) => each.skippedIds).slice(0, maxNamed);
  const dropped = sumDropped(skipping, maxNamed);
  const { run, event } = plan;
  const tuned = tuning?.sets ?? [];
  const found = { counts, compare, spotCheck, live, recall, tuning: tuned, diagnosis };
  const isIndex = indexed.index !== null;
  const findings = [
    ...indexFindings(run, indexed.index),
    ...findingsOf({ run, mode: event.mode, embedding, isIndex, ...found }),
  ];
  const verdict = verdictOf(findings);
  const index = verdict === 'validated' ? indexed.index : withKept(plan, { indexed, recall, tuning, findings });
  const importedAt =
    loaded
      .map(({ at }) => at)
      .sort()
      .at(-1) ?? null;
  return {
    $schema: reportSchemaId,
    format: 1,
    run: plan.run,
    mode: plan.event.mode,
    ranOn: parts.ranOn,
    verdict,
    summary: summarise(verdict, plan, { compare, live, recall, findings, index }),
    plannedAt: plan.createdAt,
    importedAt,
    createdAt,
    ...endpointsOf(plan),
    failure: null,
    takenBack: null,
    findings,
    counts,
    compare,
    spotCheck,
    live,
    embedding,
    index,
    recall,
    tuning: tuning?.sets ?? null,
    drift: driftOf(parts.drift),
    settings: [...settings.rows],
    timeline: timelineOf(spans),
    skipped: { records: counts.skipped, ids: skippedIds, ...(dropped.length > 0 && { dropped }) },
    schema: schemaReport(plan, loaded),
    mapping: mappingReport(plan),
    throttled: sum(loaded, (each) => each.throttled),
    estimate: estimateOf(plan),
    actual: actualOf({ plan, spans, createdAt, shards: manifest.shards, embedding }),
    unread: [...settings.unread, ...indexed.unread],
    notes: plan.notes,
    guarantee: plan.guarantee,
  };
}

/** Of an index that did not pass, whether it stays. */
function withKept(
  plan: Plan,
  {
    indexed: { index },
    recall,
    tuning,
    findings,
  }: Pick<Parts, 'indexed' | 'recall' | 'tuning'> & Pick<Report, 'findings'>,
): Report['index'] {
  if (index === null) return null;
  return { ...index, kept: keepsIndex(plan, { ...index, recall, findings, tuning: tuning?.sets ?? [] }) ?? null };
}

function driftOf(drift: Drift | undefined): Report['drift'] {
  return drift === undefined || drift.sets.length === 0 ? null : { changed: drift.changed, sets: drift.sets };
}

function verdictOf(findings: Report['findings']): Verdict {
  if (findings.some(({ severity }) => severity === 'failed')) return 'failed';
  return findings.length > 0 ? 'unproven' : 'validated';
}

function summarise(
  verdict: Verdict,
  plan: Plan,
  {
    compare,
    live,
    recall,
    findings,
    index,
  }: Pick<Parts, 'live' | 'recall'> & {
    readonly compare: CompareReport;
    readonly findings: Report['findings'];
    readonly index: Report['index'];
  },
): string {
  if (index !== null) return summariseIndex(verdict, plan, { recall, findings, index });
  const [from, to] = [plan.event.source, plan.event.target].map(({ store, collection }) => `${store} ${collection}`);
  const isMove = plan.event.mode === 'migrate';
  const pair = isMove ? `${from} to ${to}` : `${from} and ${to}`;
  if (verdict === 'validated') {
    const skipped = compare.skipped === 0 ? '' : `, ${compare.skipped} left out as the mapping says`;
    const of = compare.asked === 'all' ? 'all ' : `${compare.records - compare.unchecked} sampled of `;
    const compared = `${of}${plural(compare.records, 'record')} compared and equal${nearWords(compare)}${skipped}`;
    const passed = recall.sets.filter(({ outcome }) => outcome === 'passed');
    const isOnlyVector = new Set(recall.sets.map(({ vector }) => vector)).size === 1;
    const recalls = passed.map((entry) => (passed.length === 1 ? entry.note : namedNote(entry, { isOnlyVector })));
    const said = isMove || compare.asked !== 'all' ? `Validated, ${pair}: ${compared}.` : sameWords(compare, from, to);
    const golden = recall.sets.flatMap((entry) =>
      entry.gold?.outcome === 'passed' ? [{ ...entry, note: entry.gold.note }] : [],
    );
    const gold = golden.map((entry) => (golden.length === 1 ? entry.note : namedNote(entry, { isOnlyVector })));
    return [said, liveSummary(live), ...recalls, ...gold].filter((each) => each !== '').join(' ');
  }
  const word = verdict === 'failed' ? 'Failed' : 'Could not validate';
  const whats = findings.map(({ what }) => what.replace(/\.$/, '')).join('; ');
  const after = isMove ? 'Nothing was cut over, and the source is untouched.' : 'Neither was changed.';
  return `${word}, ${pair}: ${whats}. ${after}`;
}

function summariseIndex(
  verdict: Verdict,
  { run, event: { source } }: Plan,
  {
    recall,
    findings,
    index,
  }: Pick<Report, 'findings'> & { readonly recall: Recall; readonly index: NonNullable<Report['index']> },
): string {
  const vector = index.vector === '' ? '' : ` vector ${index.vector} of`;
  const what = indexSummary(index, `${vector} ${source.store} ${source.collection}`.trim());
  if (verdict === 'validated') {
    const passed = recall.sets.filter(({ outcome }) => outcome === 'passed');
    const notes = passed.map((entry) => (passed.length === 1 ? entry.note : namedNote(entry, { isOnlyVector: true })));
    return [`Validated, ${what}`, ...notes].join(' ');
  }
  const whats = findings.map((each) => each.what.replace(/\.$/, '')).join('; ');
  return `${verdict === 'failed' ? 'Failed' : 'Could not validate'}, ${what} ${capital(whats)}. ${indexAfter(index, run)}`;
}

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

/** Of two collections that were wholly compared. Extra records were not looked for where the event lets the target hold more. */
function sameWords(compare: CompareReport, from = '', to = ''): string {
  const { records, skipped, extra } = compare;
  const left = skipped === 0 ? '' : `, but for ${skipped} left out as the mapping says`;
  const others = extra === null ? '; others that the second may hold were not looked for' : '';
  return `Validated: ${from} and ${to} hold the same ${plural(records - skipped, 'record')}${nearWords(compare)}${left}${others}.`;
}
