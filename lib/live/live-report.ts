import { NotFound } from '../errors.ts';
import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { maxNamed, sum, withoutVerdict } from '../report/report-compared.ts';
import type { Counts, Finding, LiveReport, Report } from '../report/report-schema.ts';
import type { Compared, Difference, Manifest, Plan } from '../run-files.ts';
import { count, plural } from '../words.ts';
import { liveSchema, type Sweep, sweepSchema } from './live-files.ts';

/** What the report of a live run says of the writes that went on meanwhile. */

/** The sweep of this attempt; undefined of a run that was not live. @throws NotFound when it was not done. */
export async function readSweep({ run, attempt, event }: Plan, objects: ObjectStore): Promise<Sweep | undefined> {
  if (event.live === false) return undefined;
  const key = runKeys(run).sweep;
  const sweep = await getJson(objects, key, sweepSchema);
  if (sweep?.done === true && sweep.attempt === attempt) return sweep;
  const text = `${objects.locate(key)} is not there, not finished, or of an earlier attempt: validate the run again`;
  throw new NotFound(text, { ids: [run] });
}

interface Counted {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly sweep: Sweep;
  readonly source: number;
  readonly target: number;
  /** Records of the shards that the mapping leaves out. */
  readonly skipped: number;
}

/**
 * Both counts are of a moment, and writes go on: that they are not the same shows nothing, nor that they are. What shows it
 * is that the sweep left no record missing or extra.
 */
export function liveCounts({ plan, manifest, sweep, source, target, skipped }: Counted): Counts {
  const { added, deleted } = sweep;
  const isShared = plan.event.target.into === 'existing';
  const expected = Math.max(0, manifest.records - skipped - deleted + added);
  const own =
    'The target may hold records of its own, so those that the source does not hold were not looked for there.';
  const moment = 'The application wrote to both sides meanwhile: these are counts of a moment, which need not agree.';
  return {
    source,
    manifest: manifest.records,
    skipped,
    gone: deleted,
    added,
    target,
    expected,
    agree: source === manifest.records - deleted + added && (isShared ? target >= expected : target === expected),
    extra: isShared ? null : sweep.extra,
    extraIds: named(sweep, 'extra').map(({ id }) => id),
    note: [moment, ...(isShared ? [own] : []), ...(sweep.note === '' ? [] : [sweep.note])].join(' '),
  };
}

/** @param sweep undefined of a run that was not live */
export async function liveReport(
  plan: Plan,
  objects: ObjectStore,
  sweep: Sweep | undefined,
  compared: readonly Compared[],
): Promise<Report['live']> {
  if (sweep === undefined) return null;
  const live = await getJson(objects, runKeys(plan.run).live, liveSchema);
  const lagging = compared.flatMap(({ mendedIds }) => mendedIds);
  const { added, changed, deleted, tombstones, missing, different, extra, unchecked, note } = sweep;
  return {
    flag: live?.flag ?? '',
    since: live?.since ?? null,
    sweptFrom: sweep.startedAt,
    sweptTo: sweep.at,
    changed,
    added,
    deleted,
    tombstones,
    mended: sweep.mended + sum(compared, (each) => each.mended),
    missing,
    different,
    extra: plan.event.target.into === 'existing' ? null : extra,
    unchecked,
    note,
    first: {
      mended: [...lagging.map((id) => ({ id, reason: laggingReason })), ...sweep.mends].slice(0, maxNamed),
      missing: named(sweep, 'missing'),
      different: named(sweep, 'different'),
      unchecked: named(sweep, 'unchecked'),
    },
  };
}

const laggingReason = 'was in the target neither as its shard nor as the source has it, when it was compared';

function named({ differences }: Sweep, verdict: Difference['verdict']): { id: string; reason: string }[] {
  return differences
    .filter((each) => each.verdict === verdict)
    .map(withoutVerdict)
    .slice(0, maxNamed);
}

const again =
  'See the reason of each below and mend it, then start the run again under its id: it looks at both sides anew.';

/** Extra records are a finding of the comparison. */
export function liveFindings(live: LiveReport | null): Omit<Finding, 'causes'>[] {
  if (live === null) return [];
  const { first } = live;
  const idsOf = (list: readonly { readonly id: string }[]): string[] => list.map(({ id }) => id);
  const are = (tally: number): string =>
    `${plural(tally, 'record')} ${tally === 1 ? 'that was' : 'that were'} written during the run`;
  const found: Omit<Finding, 'causes'>[] = [];
  const add = (severity: Finding['severity'], what: string, ids: string[], next: string): void => {
    found.push({ check: 'live', severity, what, ids, next });
  };
  if (live.missing > 0)
    add(
      'failed',
      `${are(live.missing)} ${live.missing === 1 ? 'is' : 'are'} missing in the target`,
      idsOf(first.missing),
      again,
    );
  if (live.different > 0) {
    const what = `${are(live.different)} ${live.different === 1 ? 'is' : 'are'} not the same in the target`;
    add('failed', what, idsOf(first.different), again);
  }
  if (live.unchecked > 0) {
    const what = `${are(live.unchecked)} could not be held against the other side`;
    add('unproven', what, idsOf(first.unchecked), again);
  }
  if (live.note !== '') add('unproven', live.note, [], 'Mend that, then start the run again under its id.');
  return found;
}

/** A sentence or two for the summary; '' of a run that was not live. */
export function liveSummary(live: LiveReport | null): string {
  if (live === null) return '';
  const { changed, added, deleted, mended } = live;
  if (changed + added + deleted + mended === 0) return 'It was live, and the application wrote nothing meanwhile.';
  const wrote = `Meanwhile the application changed ${plural(changed, 'record')}, added ${count(added)} and deleted ${count(deleted)}, and both sides hold the same of them.`;
  if (mended === 0) return wrote;
  return `${wrote} ${plural(mended, 'record')} had to be mended, since a write had not reached both sides.`;
}
