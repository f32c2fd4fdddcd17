import { recallInterval } from '../lib/recall/interval.ts';

/**
 * Queries whose recalls come from a distribution with a known mean, and how an interval does on samples of them. For the
 * test of lib/recall/interval.ts and the bench that sets other intervals beside it.
 */

/** Recalls that a query may have, and how likely each is. */
export interface Distribution {
  readonly k: number;
  readonly values: readonly number[];
  readonly shares: readonly number[];
}

/** Numerical Recipes' linear congruential generator: jest's sandbox makes each use of Math slow, and this needs none. */
function fastRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

/** Every query has this recall. */
export const always = (recall: number): Distribution => ({ k: 10, values: [recall], shares: [1] });

/** k trials that hit with `mean` each, independent of each other. */
export const binomial = (k: number, mean: number): Distribution =>
  hits(k, (_, misses) => ((misses + 1) / (k - misses)) * (mean / (1 - mean)));

/**
 * k trials that hit with a chance of the query's own, drawn from a beta distribution with this mean: the smaller
 * `concentration`, the more do the hits of a query come together or not at all. At 1 most queries are near 0 or 1.
 */
export function betaBinomial(k: number, mean: number, concentration: number): Distribution {
  const [a, b] = [mean * concentration, (1 - mean) * concentration];
  return hits(k, (found, misses) => (((misses + 1) / (k - misses)) * (found + a)) / (b + misses));
}

/** From the ratio of a count's chance to that of the count below: `ratio(found, misses)` leads from `found` to one more. */
function hits(k: number, ratio: (found: number, misses: number) => number): Distribution {
  const logs = [0];
  for (let found = 0; found < k; found++) logs.push((logs[found] ?? 0) + Math.log(ratio(found, k - found - 1)));
  const largest = Math.max(...logs);
  const weights = logs.map((log) => Math.exp(log - largest));
  const total = weights.reduce((sum, each) => sum + each, 0);
  return { k, values: weights.map((_, found) => found / k), shares: weights.map((each) => each / total) };
}

export function mixture(...parts: readonly (readonly [number, Distribution])[]): Distribution {
  return {
    k: Math.max(...parts.map(([, { k }]) => k)),
    values: parts.flatMap(([, { values }]) => values),
    shares: parts.flatMap(([weight, { shares }]) => shares.map((share) => weight * share)),
  };
}

const meanOf = ({ values, shares }: Distribution): number =>
  values.reduce((sum, value, i) => sum + value * (shares[i] ?? 0), 0);

/** Draws in constant time: Walker's alias method as Vose (1991) sets it up. */
function sampler({ values, shares }: Distribution, random: () => number): () => number {
  const count = values.length;
  const total = shares.reduce((sum, share) => sum + share, 0);
  const height = shares.map((share) => (share * count) / total);
  const other = values.map((_, i) => i);
  const low = other.filter((i) => (height[i] ?? 0) < 1);
  const high = other.filter((i) => (height[i] ?? 0) >= 1);
  const own = [...height];
  while (low.length > 0 && high.length > 0) {
    const [small, large] = [low.pop() ?? 0, high.pop() ?? 0];
    other[small] = large;
    own[large] = (own[large] ?? 0) + (own[small] ?? 0) - 1;
    ((own[large] ?? 0) < 1 ? low : high).push(large);
  }
  return () => {
    const at = random() * count;
    const i = at | 0;
    return values[at - i < (own[i] ?? 1) ? i : (other[i] ?? i)] ?? 0;
  };
}

export type Method = (recalls: readonly number[], k: number) => { readonly low: number; readonly high: number };

export interface Simulated {
  /** Shares of the trials. */
  readonly covered: number;
  readonly tooHigh: number;
  /** Mean width, and that of the interval one would give who knew the distribution: 95 % of the sample means. */
  readonly width: number;
  readonly oracle: number;
}

export function simulate(
  distribution: Distribution,
  n: number,
  method: Method = recallInterval,
  trials = 2000,
): Simulated {
  const draw = sampler(distribution, fastRandom(n * 7919 + distribution.values.length));
  const truth = meanOf(distribution);
  const means: number[] = [];
  let [covered, tooHigh, width] = [0, 0, 0];
  for (let trial = 0; trial < trials; trial++) {
    const recalls: number[] = [];
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const recall = draw();
      recalls.push(recall);
      sum += recall;
    }
    means.push(sum / n);
    const { low, high } = method(recalls, distribution.k);
    if (low > truth + 1e-9) tooHigh++;
    else if (high > truth - 1e-9) covered++;
    width += high - low;
  }
  means.sort((a, b) => a - b);
  const quantile = (p: number): number => means[Math.floor(p * trials)] ?? 0;
  return {
    covered: covered / trials,
    tooHigh: tooHigh / trials,
    width: width / trials,
    oracle: quantile(0.975) - quantile(0.025),
  };
}

/** What searches do: every query has its own chance of a hit. */
export const shapes: Record<string, Distribution> = {};
for (const k of [10, 100]) {
  for (const mean of [0.5, 0.8, 0.95, 0.99]) {
    for (const concentration of [1, 3, 10])
      shapes[`recall@${k} near ${mean}, beta-binomial of concentration ${concentration}`] = betaBinomial(
        k,
        mean,
        concentration,
      );
    shapes[`recall@${k} near ${mean}, every neighbour by itself`] = binomial(k, mean);
  }
}
for (const mean of [0.5, 0.8, 0.95, 0.99]) shapes[`recall@1 near ${mean}`] = binomial(1, mean);

/** What makes intervals fail: a few queries unlike the others. */
export const rare: Record<string, Distribution> = {
  'all perfect but 1% that find nothing': mixture([0.99, always(1)], [0.01, always(0)]),
  'all perfect but 5% that find nothing': mixture([0.95, always(1)], [0.05, always(0)]),
  'all perfect but 1% that find half': mixture([0.99, always(1)], [0.01, always(0.5)]),
  'all perfect but 3% that miss one of ten': mixture([0.97, always(1)], [0.03, always(0.9)]),
  'all perfect but 10% of any recall': mixture([0.9, always(1)], [0.1, betaBinomial(10, 0.5, 2)]),
  'good but 2% near 0.3': mixture([0.98, binomial(10, 0.995)], [0.02, binomial(10, 0.3)]),
  'filtered: few candidates a query': mixture(
    [0.3, binomial(2, 0.95)],
    [0.3, betaBinomial(5, 0.9, 3)],
    [0.4, betaBinomial(10, 0.95, 3)],
  ),
  'half of the answers empty': mixture([0.5, always(1)], [0.5, always(0)]),
};
for (const [share, recall, near] of [
  [0.003, 0, 0.99],
  [0.007, 0, 0.99],
  [0.01, 0, 0.995],
  [0.014, 0, 0.9],
  [0.014, 0.2, 0.99],
  [0.03, 0, 0.9],
  [0.05, 0, 0.7],
] as const)
  rare[`recall@50 near ${near} but ${share} that find ${recall}`] = mixture(
    [1 - share, binomial(50, near)],
    [share, always(recall)],
  );
rare['recall@50 near 0.7 but 2% that find all'] = mixture([0.98, binomial(50, 0.7)], [0.02, always(1)]);
