import { extrapolated, persistence } from './measures.ts';

/**
 * How far two answers to one query agree, neither of them the truth: what another model finds beside what the old one
 * does. Lists of ids, nearest first, each id once; docs/validation.md defines each measure. All are symmetric.
 */

/** The share of ids that both name, of the longer list. 1 where both are empty: nothing was lost. */
export function overlapOf(a: readonly string[], b: readonly string[]): number {
  const longer = Math.max(a.length, b.length);
  if (longer === 0) return 1;
  const named = new Set(a);
  return b.filter((id) => named.has(id)).length / longer;
}

/**
 * Extrapolated rank-biased overlap of two lists (Webber, Moffat and Zobel, 2010, equation 30), evaluated to the longer of
 * them; the shorter one's ranks that are not there are misses, as in measures.ts. 1 where both are empty.
 */
export function listRankBiasedOverlap(a: readonly string[], b: readonly string[], p = persistence): number {
  const depth = Math.max(a.length, b.length);
  if (depth === 0) return 1;
  const [inA, inB] = [new Set<string>(), new Set<string>()];
  let common = 0;
  const agreementAt = (d: number): number => {
    const [one, other] = [a[d - 1], b[d - 1]];
    if (one !== undefined) {
      inA.add(one);
      if (inB.has(one)) common++;
    }
    if (other !== undefined) {
      inB.add(other);
      if (inA.has(other)) common++;
    }
    return common / d;
  };
  return extrapolated(agreementAt, depth, p);
}

/**
 * Kendall's rank correlation with ties, tau-b (Kendall, 1945, "The treatment of ties in ranking problems", Biometrika 33),
 * over every id that either list names; those that a list lacks are tied behind its last, since it puts them there in no
 * order (Fagin, Kumar and Sivakumar, 2003, "Comparing top k lists", SIAM J. Discrete Math. 17). From -1 to 1: 1 is the same
 * list; two of k without a common id come to -2k / (3k - 1), since each puts its own in front of all of the other's.
 */
export function rankCorrelation(a: readonly string[], b: readonly string[]): number {
  const [rankA, rankB] = [ranksOf(a), ranksOf(b)];
  const all = [...new Set([...a, ...b])];
  const pairs = all.map((id) => [rankA.get(id) ?? a.length, rankB.get(id) ?? b.length] as const);
  let [balance, untiedA, untiedB] = [0, 0, 0];
  for (let i = 0; i < pairs.length; i++) {
    const [iA, iB] = pairs[i] ?? [0, 0];
    for (let j = i + 1; j < pairs.length; j++) {
      const [jA, jB] = pairs[j] ?? [0, 0];
      balance += Math.sign(iA - jA) * Math.sign(iB - jB);
      if (iA !== jA) untiedA++;
      if (iB !== jB) untiedB++;
    }
  }
  // One id in both, or none in either: the same list.
  if (untiedA === 0 && untiedB === 0) return 1;
  return untiedA === 0 || untiedB === 0 ? 0 : balance / Math.sqrt(untiedA * untiedB);
}

function ranksOf(list: readonly string[]): ReadonlyMap<string, number> {
  return new Map(list.map((id, rank) => [id, rank]));
}
