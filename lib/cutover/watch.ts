import type { Canary } from '../event.ts';
import { count, milliseconds, percent, plural } from '../words.ts';
import type { ReadsSeen } from './cutover-files.ts';

/** Whether readers may stay where a step of the canary has put them: a pure function of what the client's metrics say. */

export interface Bounds extends Pick<Canary, 'requests' | 'maxErrorRate'> {
  /** null: not judged. */
  readonly minOverlap: number | null;
  /** null: not judged. */
  readonly maxP95Ms: number | null;
  /** Percent of reads that go to the target; of none nothing but the overlap can be judged. */
  readonly percent: number;
}

export interface Judgement {
  readonly verdict: 'holds' | 'too few' | 'breach';
  /** For people: what was seen, and of a breach what was allowed. */
  readonly says: string;
}

/**
 * A breach of any bound is one, also where another has too few requests to be judged. Errors are counted before there are
 * as many reads as asked for, too: once they alone are more than so many reads may have, no more reads can mend it.
 */
export function judge(seen: ReadsSeen, bounds: Bounds): Judgement {
  const judged = bounds.percent > 0 ? [errorsOf(seen, bounds), latencyOf(seen, bounds)] : [];
  const all = [...judged, overlapOf(seen, bounds)].filter((each) => each !== undefined);
  const verdict =
    (['breach', 'too few'] as const).find((worst) => all.some((each) => each.verdict === worst)) ?? 'holds';
  const says = all.filter((each) => each.verdict === verdict).map((each) => each.says);
  return { verdict, says: says.length === 0 ? 'nothing is judged at this step' : says.join('; ') };
}

function errorsOf({ reads, errors }: ReadsSeen, { requests, maxErrorRate }: Bounds): Judgement {
  const of = Math.max(reads, requests);
  const text = `${count(errors)} of the last ${plural(reads, 'read')} of the target failed`;
  if (errors / of > maxErrorRate)
    return { verdict: 'breach', says: `${text}, and at most ${percent(maxErrorRate)} may` };
  if (reads < requests)
    return { verdict: 'too few', says: `${count(reads)} of ${plural(requests, 'read')} of the target` };
  return { verdict: 'holds', says: text };
}

function latencyOf({ reads, errors, p95Ms }: ReadsSeen, { requests, maxP95Ms }: Bounds): Judgement | undefined {
  if (maxP95Ms === null || reads < requests) return undefined;
  if (p95Ms === null) {
    const why = errors >= reads ? 'every one failed' : 'the metrics do not tell yet';
    return { verdict: 'too few', says: `no latency of the last ${plural(reads, 'read')}: ${why}` };
  }
  const text = `their p95 latency is ${milliseconds(p95Ms)}`;
  if (p95Ms > maxP95Ms) {
    const says = `the p95 latency of the last ${plural(reads, 'read')} of the target is ${milliseconds(p95Ms)}, and at most ${milliseconds(maxP95Ms)} is allowed`;
    return { verdict: 'breach', says };
  }
  return { verdict: 'holds', says: text };
}

function overlapOf({ shadows, overlap }: ReadsSeen, { requests, minOverlap }: Bounds): Judgement | undefined {
  if (minOverlap === null) return undefined;
  if (shadows < requests || overlap === null) {
    return { verdict: 'too few', says: `${count(shadows)} of ${plural(requests, 'shadow read')}` };
  }
  const text = `the mean overlap of the last ${plural(shadows, 'shadow read')} is ${percent(overlap)}`;
  if (overlap < minOverlap)
    return { verdict: 'breach', says: `${text}, and at least ${percent(minOverlap)} is asked for` };
  return { verdict: 'holds', says: text };
}
