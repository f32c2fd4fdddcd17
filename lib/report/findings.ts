import { embeddingFinding } from '../embed/stage/embedding-report.ts';
import { type ErrorName, errorNames } from '../errors.ts';
import { liveFindings } from '../live/live-report.ts';
import type { Gold } from '../recall/gold-files.ts';
import { changedSettings, sameSettings, settingsText } from '../recall/search-steps.ts';
import type { Cause, Diagnosis, Recall, RecallEntry, Tuning } from '../run-files.ts';
import { count, percent, plural } from '../words.ts';
import { nextIndex } from './index-findings.ts';
import type { CompareReport, Counts, Finding, Report } from './report-schema.ts';

/** What a report finds wrong or unproved, each with what to do next. Nothing found means that the run passed. */

export interface Findings {
  readonly run: string;
  readonly mode: Report['mode'];
  readonly counts: Counts;
  readonly compare: CompareReport;
  readonly spotCheck: NonNullable<Report['spotCheck']>;
  /** null: the run was not live. */
  readonly live: Report['live'];
  /** null: no model made vectors. */
  readonly embedding: Report['embedding'];
  /** True: the run changes an index, and moves nothing. */
  readonly isIndex?: boolean;
  readonly recall: Recall;
  readonly tuning: Tuning['sets'];
  readonly diagnosis: Diagnosis;
}

interface Found extends Omit<Finding, 'causes'> {
  /** True: this says what to do, whatever the cause; else the first cause says it better. */
  readonly isNextKnown?: boolean;
  /** True: search settings were tried, and none holds the goal. */
  readonly isTuned?: boolean;
  /** True of missing records, which a missing range explains. */
  readonly isMissing?: boolean;
}

/** Causes whose next step is tuning. */
const tunable: readonly Cause['cause'][] = [
  'efSearch too low',
  'probes too low',
  'quantized without rescoring',
  'oversampling too low',
  'filtered after the index',
];

/** What is wrong first, then what could not be checked; each with its causes, of which the first says what to do next. */
export function findingsOf(parts: Findings): Finding[] {
  const { run, mode, counts, compare, spotCheck, live, embedding, diagnosis } = parts;
  const advice = counts.isOneTable === true ? advices.place : live === null ? advices[mode] : advices.live;
  const failedTexts = failedNow(parts);
  const failed = embedding === null || failedTexts === 0 ? undefined : embeddingFinding(run, embedding);
  const findings: Found[] = [
    ...(failed === undefined ? [] : [{ ...failed, isNextKnown: true }]),
    ...compareFindings(compare, advice, failedTexts),
    ...sourceFindings(spotCheck, advice),
    // Writes go on: the sweep has found what they left out.
    ...(live === null ? countFindings(counts, compare, advice) : liveFindings(live)),
    ...recallFindings(parts),
    ...goldFindings(parts),
  ];
  return findings
    .toSorted((a, b) => Number(a.severity === 'unproven') - Number(b.severity === 'unproven'))
    .map(({ isNextKnown, isTuned, isMissing = false, ...found }) => {
      const causes = diagnosis.causes.filter((cause) => explains(cause, { isMissing, ...found }));
      const [first] = causes.filter(({ cause }) => isTuned !== true || !tunable.includes(cause));
      return { ...found, next: isNextKnown ? found.next : (first?.next ?? found.next), causes };
    });
}

/** In place a text that failed may have been mended in the table since, and its vector been made: comparison has seen it. */
function failedNow({ counts, compare, embedding }: Findings): number {
  const failed = embedding?.failed ?? 0;
  return counts.isOneTable === true && compare.notInSample === 0 ? Math.min(failed, compare.missing) : failed;
}

function explains(cause: Cause, { check, set, vector, isMissing }: Omit<Found, 'isNextKnown' | 'isTuned'>): boolean {
  return (
    cause.check === check &&
    (check !== 'compare' || isMissing === true) &&
    (cause.set === undefined || cause.set === set) &&
    (cause.vector === undefined || cause.vector === vector)
  );
}

/** What to do about records, by what the run did: moved them, or found them where they were. */
const advices = {
  migrate: {
    again:
      'Start the run again under a new id, into a new collection; if the same ids come up, look at one in both stores.',
    unique: 'Make the ids unique in the source, then start the run again under a new id.',
    extra: 'that the run did not write',
    changed: 'If the source was written to since, start the run again under a new id while it is quiet',
    whileQuiet: 'It changed during the run: start the run again under a new id while nothing is written to it.',
  },
  place: {
    again:
      "Set the run's column of these rows to NULL and start the run again under its id, which makes their vectors; if the same ids come up, see what else writes the column.",
    unique: 'Make the ids unique in the table, then start the run again under a new id.',
    extra: 'that the run did not write',
    changed: 'Start the run again under its id',
    whileQuiet: 'Start the run again under its id.',
  },
  live: {
    again: 'Start the run again under its id: both sides are compared anew, and what a write did not reach is mended.',
    unique: 'Make the ids unique in the source, then start the run again under a new id.',
    extra: 'that the source does not hold',
    changed: 'See that every writer goes through the client, then start the run again under its id',
    whileQuiet: 'See that every writer goes through the client, then start the run again under its id.',
  },
  validate: {
    again: 'Look at one of them in both stores, copy those that are wrong again, and validate again under a new id.',
    unique: 'Make the ids unique in the source, copy these records again, and validate again under a new id.',
    extra: 'that the source does not hold',
    changed: 'If the source was written to since, validate again under a new id while it is quiet',
    whileQuiet: 'It changed while it was read: validate again under a new id while nothing is written to it.',
  },
} as const;
type Advice = (typeof advices)[keyof typeof advices];

/** @param failed records whose text could not be embedded: they are missing, and a finding of their own */
function compareFindings({ first, ...compare }: CompareReport, advice: Advice, failed: number): Found[] {
  const idsOf = (entries: readonly { readonly id: string }[]): string[] => entries.map(({ id }) => id);
  const found: Found[] = [];
  const add = (severity: Finding['severity'], what: string, ids: string[], next: string): void => {
    found.push({ check: 'compare', severity, what, ids, next });
  };
  const different = compare.different - compare.duplicates;
  const verb = (tally: number, one: string, many: string): string => (tally === 1 ? one : many);
  if (different > 0) {
    const what = `${plural(different, 'record')} ${verb(different, 'is', 'are')} not the same in the target`;
    add('failed', what, idsOf(first.different), `See which field or vector differs below. ${advice.again}`);
  }
  if (compare.duplicates > 0) {
    const what = `${plural(compare.duplicates, 'record')} ${verb(compare.duplicates, 'shares its', 'share their')} id in the target with another`;
    add('failed', what, idsOf(first.different), advice.unique);
  }
  const missing = Math.max(0, compare.missing - failed);
  if (missing > 0) {
    const others = failed === 0 ? '' : ', besides those that could not be embedded';
    const what = `${plural(missing, 'record')} ${verb(missing, 'is', 'are')} missing in the target${others}`;
    const next = `See that nothing else deletes from the target. ${advice.again}`;
    found.push({ check: 'compare', severity: 'failed', what, ids: idsOf(first.missing), next, isMissing: true });
  }
  if (compare.extra !== null && compare.extra > 0) {
    const what = `the target holds ${plural(compare.extra, 'record')} ${advice.extra}`;
    const next =
      'See what else writes to the target and delete these records, or say "into": "existing" if they belong there.';
    add('failed', what, idsOf(first.extra), next);
  }
  const unchecked = compare.unchecked - compare.notInSample;
  if (unchecked > 0) {
    const what = `${plural(unchecked, 'record')} could not be compared`;
    add('unproven', what, idsOf(first.unchecked), 'See the reason of each below, mend it, and validate the run again.');
  }
  const sum = compare.equal + compare.different + compare.missing + compare.unchecked + compare.skipped;
  if (sum !== compare.records) {
    const what = `${plural(compare.records, 'record')} were to be compared, but ${count(sum)} are accounted for`;
    add(
      'unproven',
      what,
      [],
      'Validate the run again; if it comes up again, please report it with the files under compared/.',
    );
  }
  return found;
}

function sourceFindings({ asked, checked, different, first }: Findings['spotCheck'], advice: Advice): Found[] {
  const ids = first.map(({ id }) => id);
  if (different > 0) {
    const what = `${count(different)} of ${plural(checked, 'record')} read back from the source ${different === 1 ? 'is' : 'are'} not as exported`;
    const next = `${advice.changed}; if not, please report it.`;
    return [{ check: 'source', severity: 'failed', what, ids, next }];
  }
  if (checked >= asked) return [];
  const what = `only ${count(checked)} of ${plural(asked, 'record')} were read back from the source`;
  return [{ check: 'source', severity: 'unproven', what, ids, next: 'Validate the run again.' }];
}

function countFindings(counts: Counts, compare: CompareReport, { whileQuiet }: Advice): Found[] {
  const found: Found[] = [];
  if (counts.isOneTable === true) return found;
  const exported = counts.manifest - counts.gone;
  const { addedIds: added = [] } = counts;
  if (counts.source !== exported) {
    const what = `the source holds ${plural(counts.source, 'record')}, ${more(counts.source - exported)} than were exported`;
    found.push({ check: 'counts', severity: 'failed', what, ids: added, next: whileQuiet });
  } else if (added.length > 0) {
    const what = 'the source holds as many records as were exported, but not the same ones: these were not exported';
    found.push({ check: 'counts', severity: 'failed', what, ids: added, next: whileQuiet });
  }
  // Missing and extra records are findings of their own; this is for a count that they do not explain.
  const explained = counts.expected - compare.missing - compare.duplicates + (counts.extra ?? 0);
  const isShort = counts.extra === null ? counts.target < counts.expected : counts.target !== explained;
  if (isShort) {
    const what = `the target holds ${plural(counts.target, 'record')}, ${more(counts.target - counts.expected)} than it should`;
    const next = 'Compare every record ("compare": "all") and validate the run again: the report then names them.';
    found.push({ check: 'counts', severity: 'failed', what, ids: [], next });
  }
  return found;
}

function more(difference: number): string {
  return `${count(Math.abs(difference))} ${difference > 0 ? 'more' : 'fewer'}`;
}

/** A set's note where it stands among others: `news, vector embedding: the recall@10 of the target is …` */
export function namedNote(
  { set, vector, note }: Pick<RecallEntry, 'set' | 'vector' | 'note'>,
  { isOnlyVector = false } = {},
): string {
  const name = vector === '' ? 'the unnamed vector' : `vector ${vector}`;
  return `${isOnlyVector ? set : `${set}, ${name}`}: ${note.charAt(0).toLowerCase()}${note.slice(1)}`;
}

function recallFindings({ run, recall, tuning, isIndex = false }: Findings): Found[] {
  return recall.sets.flatMap((entry): Found[] => {
    const { set, vector, targetVector, outcome, target } = entry;
    if (outcome !== 'failed' && outcome !== 'unproven') return [];
    const ids = target.measured ? target.worst.map(({ id }) => id) : [];
    const what = namedNote(entry);
    const found = { check: 'recall', ids, set, vector } as const;
    const tuned = tuning.find((each) => each.set === set && each.targetVector === targetVector);
    const holding = tuned === undefined ? undefined : tunedFinding(run, entry, tuned);
    if (holding !== undefined)
      return [
        { ...found, severity: 'unproven', what: `${what} ${holding.what}`, next: holding.next, isNextKnown: true },
      ];
    if (tuned !== undefined && tuned.curve.length > 0) {
      // Where so few queries are what keeps it from being shown, another index would not show it either.
      const isTooFew = tuned.curve.some(({ mean, low }) => mean >= tuned.atLeast && low < tuned.atLeast);
      const mend = isTooFew
        ? ''
        : ' Build the index anew with larger settings (HNSW: m and efConstruction), and validate again.';
      const next = `${tuned.how}${mend}`;
      return [{ ...found, severity: outcome, what, next, isTuned: true }];
    }
    const next = isIndex && outcome === 'failed' && target.measured ? nextIndex : recallAdvice(outcome, entry);
    return [{ ...found, severity: outcome, what, next }];
  });
}

/**
 * A set that holds its goal once the application searches as the tuning chose. Nothing is wrong with the target, but the
 * application does not search so yet as far as the event says: it is unproven, until validate.recall.search says it.
 */
function tunedFinding(
  run: string,
  { settings, k }: RecallEntry,
  { curve, chosen, kept, how }: Tuning['sets'][number],
): Pick<Found, 'what' | 'next'> | undefined {
  const point = curve.find((each) => chosen !== null && sameSettings(each.settings, chosen));
  if (chosen === null || point === undefined || kept) return undefined;
  const before = curve[0]?.settings ?? {};
  const changed = changedSettings(before, chosen);
  const search = JSON.stringify({ ...settings, ...changed });
  return {
    what: `With ${settingsText(changed)} it is ${percent(point.mean)}, at least ${percent(point.low)}: recall@${k} holds once the application searches so`,
    next: `Let the application search so: ${how}. Then prove it with validate.recall {"search": ${search}}: vecferry validate ${run} --search '${search}'`,
  };
}

/** A gold set whose goal is missed: whether the model is what misses it, or the search. */
function goldFindings({ recall }: Findings): Found[] {
  return recall.sets.flatMap(({ set, vector, gold }): Found[] => {
    if (gold === null || (gold.outcome !== 'failed' && gold.outcome !== 'unproven')) return [];
    const ids = gold.worst.map(({ id }) => id);
    const what = `gold set ${namedNote({ set, vector, note: gold.note })}`;
    return [{ check: 'gold', severity: gold.outcome, what, ids, set, vector, next: goldAdvice(gold) }];
  });
}

function goldAdvice({ outcome, target, source, exact, atLeast, difference }: Gold): string {
  if (!target.measured) return 'Mend what keeps the target from being searched, and validate the run again.';
  if (outcome === 'unproven') {
    if (atLeast === null && difference === null)
      return 'Mend what keeps the source from being searched, or set goldAtLeast, or null to have it reported only; and validate the run again.';
    return 'Give more gold queries, or ask for less in goldAtLeast, and validate again.';
  }
  const goal = atLeast ?? (source.measured ? source.recall : 0);
  if (exact.recall >= goal) {
    return `The vectors are good enough, the search is not: their exact neighbours hold ${percent(exact.recall)}. Raise the search settings of the target (\`vecferry tune\` finds them), and validate again.`;
  }
  return `No search of these vectors does better: their exact neighbours hold ${percent(exact.recall)}. Look at the queries named and at the examples under "drift", then make the vectors of another text or by another model, in a new run; or, if this is good enough, ask for less in goldAtLeast.`;
}

function recallAdvice(outcome: 'failed' | 'unproven', { target, candidates }: RecallEntry): string {
  if (!target.measured && candidates === 0)
    return 'See that the filter names the field and its values as the source has them, or set "atLeast": null for this set.';
  if (!target.measured) return 'Mend what keeps the target from being searched, and validate the run again.';
  if (outcome === 'failed') {
    return 'Raise the index settings of the target (HNSW: efSearch first, then efConstruction and m), see that its index is built, and validate again.';
  }
  return 'Ask for more queries in validate.recall.queries, or for less in atLeast, and validate again.';
}

const nextSteps: Readonly<Record<ErrorName, string>> = {
  [errorNames.invalidEvent]: 'Mend the event as the message says and start a new run.',
  [errorNames.incompatible]:
    'Change the mapping or the target as the message says and start a new run; nothing was written.',
  [errorNames.targetNotEmpty]:
    'Name a new collection, or say "into": "existing" if its records should stay beside the run\'s.',
  [errorNames.notFound]:
    'See that what is named exists and that the name is spelt as the store has it, then start the run again.',
  [errorNames.runMismatch]: 'Start the run under a new id, or with the very event it was started with.',
  [errorNames.accessDenied]:
    'Give the credentials in the secret the rights that docs/stores.md lists, then start the run again under its id.',
  [errorNames.throttled]: 'Start the run again under its id when the store is less busy; it goes on where it stopped.',
  [errorNames.storeUnavailable]:
    'See that the store runs and can be reached, then start the run again under its id; it goes on where it stopped.',
  [errorNames.recordRefused]:
    'Mend the records named in the source, or leave the field or vector out in the mapping, and start a new run.',
  [errorNames.shardDamaged]:
    'Delete the object named and start the run again under its id: its range is exported again.',
  [errorNames.unsupportedFormat]:
    'Bring the older shards up with `vecferry upgrade`, which leaves them as they are, and read the folder that it makes; newer ones take the release that the message names.',
  [errorNames.importFailed]:
    'Read failed/<shard>.json of the shards named, mend the cause, and start the run again under its id. Where records are mended in the source, delete shards/<shard>.parquet of the run first, so that they are exported again.',
  [errorNames.budgetExceeded]:
    'Raise embed.budget, or embed fewer records or with a cheaper model, and start the run again under its id: what is embedded is not paid for twice.',
  [errorNames.schemaMismatch]:
    'Say in the mapping what becomes of the fields named, or accept the other schema as the message says, and start the run again.',
  [errorNames.validationFailed]: 'Read the findings of the report.',
  [errorNames.takenBack]:
    'Readers are on the source again, and no write was lost. See docs/runbook.md, "Readers were taken back"; then start the run again under its id.',
  [errorNames.repairQueueFull]:
    'See why the other side of the flag cannot be written to; the client goes on by itself once it can.',
};

/** What a person should do after a run ended with this error. */
export function nextAfterError(error: string): string {
  const known = Object.entries(nextSteps).find(([name]) => name === error);
  return (
    known?.[1] ??
    'Look at the log of the function that failed, then start the run again under its id; it goes on where it stopped.'
  );
}
