import type { Distance } from '../schema.ts';

/**
 * How good an answer is, held against the exact neighbours; docs/validation.md defines each measure.
 *
 * An answer is given as the exact distances of what was answered, in the order of the answer: infinite for a record that
 * was named before or is no candidate. A record counts at depth d when its distance is at most that of the true d-th
 * neighbour plus a slack, whichever record it is, so that ties are no misses: recall as ann-benchmarks defines it
 * (ann_benchmarks/plotting/metrics.py, `knn_threshold`). There the slack is absolute; here it shrinks with distances below
 * 1, or else every hit would count in a collection whose vectors lie that close together. Never laxer than ann-benchmarks,
 * but for the float32 rounding of 1 - cos.
 */
const slack = 1e-3;
const cosineRounding = 1e-6;

/** The weight of the first ranks in rank-biased overlap: ten ranks have 86 % of it (Webber, Moffat and Zobel, 2010). */
export const persistence = 0.9;

/**
 * The distance up to which an answered record counts at `depth`.
 * @param nearest the true neighbours' distances, ascending; where it has fewer than `depth`, nothing counts.
 */
export function allowedAt(nearest: readonly { readonly distance: number }[], depth: number, by: Distance): number {
  const limit = nearest[depth - 1]?.distance ?? Number.NEGATIVE_INFINITY;
  return limit + slack * Math.min(1, Math.abs(limit)) + (by === 'cosine' ? cosineRounding : 0);
}

/** The share of the true `depth` neighbours that the first `depth` answered make up. @param allowed see allowedAt */
export function recallAt(answered: readonly number[], depth: number, allowed: number): number {
  return countUpTo(answered, depth, allowed) / depth;
}

/**
 * Normalised discounted cumulated gain with binary gains: a record that counts at `depth` and stands at rank r gains
 * 1 / log2(r + 1), and the sum is held against that of an answer without a miss (Järvelin and Kekäläinen, 2002, with the
 * discount of Burges et al., 2005, that trec_eval's ndcg_cut takes too). Among the true neighbours their order does not
 * matter, but a miss costs more the earlier it stands.
 */
export function ndcgAt(answered: readonly number[], depth: number, allowed: number): number {
  const gains = answered.slice(0, depth).map((distance) => distance <= allowed);
  return discountedGain(gains) / discountedGain(Array(depth).fill(true));
}

/** The sum of 1 / log2(rank + 1) over the ranks that gain, from 1 on. */
export function discountedGain(gains: readonly boolean[]): number {
  return gains.reduce((sum, gains, at) => sum + (gains ? 1 / Math.log2(at + 2) : 0), 0);
}

/**
 * Extrapolated rank-biased overlap of the answer and the true order (Webber, Moffat and Zobel, 2010, "A similarity measure
 * for indefinite rankings", ACM TOIS 28(4), equation 30), evaluated to `depth`: the agreement of the first d ranks, for
 * each d, with weights that fall by `p` a rank, the last one held on to for what lies deeper. Ranks that were not
 * answered are misses, unlike in their equation 32 for lists of unequal length: the store was asked for `depth` records.
 * @param allowed see allowedAt, for each depth from 1 on
 */
export function rankBiasedOverlap(
  answered: readonly number[],
  depth: number,
  allowed: (depth: number) => number,
  p = persistence,
): number {
  return extrapolated((d) => recallAt(answered, d, allowed(d)), depth, p);
}

/** Webber's equation 30. @param agreementAt of the first d ranks, 0 to 1 */
export function extrapolated(agreementAt: (d: number) => number, depth: number, p: number): number {
  let sum = 0;
  let agreement = 0;
  for (let d = 1; d <= depth; d++) {
    agreement = agreementAt(d);
    sum += agreement * p ** d;
  }
  return Math.min(1, agreement * p ** depth + ((1 - p) / p) * sum);
}

function countUpTo(answered: readonly number[], depth: number, allowed: number): number {
  let count = 0;
  for (let at = 0; at < depth && at < answered.length; at++) if ((answered[at] ?? allowed) <= allowed) count++;
  return count;
}

/** How much of what a gold query expects stands among the first k of an answer. */
export interface GoldAnswer {
  /**
   * Capped recall: of the expected ids, or of k where they are more, so that 1 can be reached (BEIR: Thakur et al., 2021, R_cap@k).
   */
  readonly recall: number;
  /** With binary gains, as ndcgAt. */
  readonly ndcg: number;
}

/** @param answered ids in the order of the answer @param expected at least one id */
export function goldAnswer(answered: readonly string[], expected: ReadonlySet<string>, k: number): GoldAnswer {
  const open = new Set(expected);
  const gains = answered.slice(0, k).map((id) => open.delete(id));
  const most = Math.min(k, expected.size);
  return {
    recall: gains.filter((gain) => gain).length / most,
    ndcg: discountedGain(gains) / discountedGain(Array(most).fill(true)),
  };
}
