import { seededRandom } from '../lib/sample.ts';
import { betaBinomial, type Distribution, type Method, rare, simulate } from '../test/simulate.ts';
import type { BenchRow } from './row.ts';

const queries = 200;
const trials = 500;
const resamples = 400;

/**
 * How often the 95 % interval of a mean recall holds the truth, and how wide it is, beside the textbook's t interval and the
 * bootstrap's BCa (Efron, 1987), for 200 queries.
 */
export async function run(): Promise<BenchRow[]> {
  const cases: Readonly<Record<string, Distribution | undefined>> = {
    'ordinary, recall@10 near 0.9': betaBinomial(10, 0.9, 3),
    'recall@10 near 0.99': betaBinomial(10, 0.99, 3),
    ...Object.fromEntries(
      ['all perfect but 1% that find nothing', 'recall@50 near 0.99 but 0.007 that find 0'].map((name) => [
        name,
        rare[name],
      ]),
    ),
  };
  const methods: Readonly<Record<string, Method | undefined>> = { vecferry: undefined, t: student, BCa: bootstrap };
  return Object.entries(cases).flatMap(([name, distribution]) =>
    Object.entries(methods).map(([method, interval]): BenchRow => {
      if (distribution === undefined) throw new Error(`test/simulate.ts has no '${name}'`);
      const { covered, width, oracle } = simulate(distribution, queries, interval, trials);
      const row = { name: `${name}: the truth is in ${method}'s interval`, value: 100 * covered, unit: '%' };
      const goal = interval === undefined ? { goal: '>= 94 %' } : {};
      return { ...row, against: 'width of one who knows the distribution', ratio: width / oracle, ...goal };
    }),
  );
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** 1.972: the 97.5 % quantile of Student's t with 199 degrees of freedom. */
function student(recalls: readonly number[]): { low: number; high: number } {
  const middle = mean(recalls);
  const squares = recalls.reduce((sum, recall) => sum + (recall - middle) ** 2, 0);
  const half = 1.972 * Math.sqrt(squares / (recalls.length - 1) / recalls.length);
  return { low: middle - half, high: middle + half };
}

const random = seededRandom(1);

/** Bias-corrected and accelerated percentiles of resampled means; the mean itself where all recalls are the same. */
function bootstrap(recalls: readonly number[]): { low: number; high: number } {
  const n = recalls.length;
  const middle = mean(recalls);
  const means: number[] = [];
  for (let i = 0; i < resamples; i++) {
    let sum = 0;
    for (let q = 0; q < n; q++) sum += recalls[Math.floor(random() * n)] ?? 0;
    means.push(sum / n);
  }
  means.sort((a, b) => a - b);
  const below = means.filter((each) => each < middle).length;
  if (below === 0) return { low: means[0] ?? middle, high: means.at(-1) ?? middle };
  const bias = normalQuantile(below / resamples);
  // Of a mean, the jackknife's values lie as the recalls do, turned around.
  const cubes = recalls.reduce((sum, recall) => sum + (recall - middle) ** 3, 0);
  const squares = recalls.reduce((sum, recall) => sum + (recall - middle) ** 2, 0);
  const acceleration = cubes / (6 * squares ** 1.5);
  const at = (z: number): number => {
    const share = normal(bias + (bias + z) / (1 - acceleration * (bias + z)));
    return means[Math.min(resamples - 1, Math.max(0, Math.floor(share * resamples)))] ?? middle;
  };
  return { low: at(-1.96), high: at(1.96) };
}

/** Abramowitz and Stegun 26.2.17, off by 7.5e-8 at most. */
function normal(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const polynomial = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const above = (Math.exp(-(z * z) / 2) / Math.sqrt(2 * Math.PI)) * polynomial;
  return z < 0 ? above : 1 - above;
}

function normalQuantile(p: number): number {
  let [low, high] = [-8, 8];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normal(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
