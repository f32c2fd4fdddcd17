import type { Compared, Difference } from '../run-files.ts';
import { plural } from '../words.ts';
import type { CompareReport, Counts } from './report-schema.ts';

/** Ids that a report names of each kind; the rest is counted. */
export const maxNamed = 100;

/** What the comparison of all shards came to. */
export function sumCompared(compared: readonly Compared[], counts: Counts, asked: 'all' | number): CompareReport {
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
    nearNumbers: sum(compared, (each) => each.nearNumbers),
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
      extra: counts.extraIds.map((id) => ({
        id,
        reason: 'is in the target and not among the records of the source, or there more than once',
      })),
      unchecked: first('unchecked'),
      changed: compared.flatMap((each) => each.changes).slice(0, maxNamed),
    },
  };
}

/** What was let pass, to be said wherever records are said to be equal: `, 12 numbers with other last digits`; '' where nothing was. */
export function nearWords({ nearNumbers }: Pick<CompareReport, 'nearNumbers'>): string {
  return nearNumbers === 0 ? '' : `, ${plural(nearNumbers, 'number')} with other last digits`;
}

export function withoutVerdict({ id, reason }: Difference): { id: string; reason: string } {
  return { id, reason };
}

export function sum<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((total, each) => total + of(each), 0);
}
