/**
 * The 95 % interval of a mean of recalls, each from 0 to 1, one a query.
 *
 * Hits of one query come together or not at all (the search took a wrong turn), so k hits of n queries are not n * k
 * independent trials, and means near 1 with rare bad queries are what the textbook's t interval fails at: it covers the
 * truth 40 to 90 % of the time there, and says [1, 1] for a sample without a miss. Korn and Graubard (1998, "Confidence
 * intervals for proportions with small expected number of positive counts estimated from survey data", Survey
 * Methodology 24) put the effective number of trials, p (1 - p) / var(p), into Clopper and Pearson's exact interval.
 * It lies between the number of queries (each all or nothing) and n * k. The variance at either end is taken as if one more
 * query had been seen, at that end: one that finds nothing for the lower end, all for the upper. A sample cannot show what
 * is rarer than one in n, and one query in a hundred that finds nothing looks like none for 13 of 100 samples of 200:
 * without it the interval covers the truth 84 times of 100 there. What it costs is about 3.7 / n of width at most, which
 * every interval that holds for any distribution has to leave (Louis, 1981, "Confidence intervals for a binomial
 * parameter after observing no successes": 1 - 0.025^(1/n)). test/recall/interval.test.ts holds both by simulation.
 *
 * When all records were queries nothing is estimated, and the finite population correction of the variance (Cochran,
 * 1977, section 2.6) narrows the interval to the mean itself.
 */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

const tail = 0.025;

/**
 * @param recalls one a query; at least one.
 * @param k neighbours asked for: the steps of a recall.
 * @param population records the queries were drawn from; left out: no end.
 */
export function recallInterval(recalls: readonly number[], k: number, population = Number.POSITIVE_INFINITY): Interval {
  const n = recalls.length;
  let [sum, squares, worst, best] = [0, 0, 1, 0];
  for (const recall of recalls) {
    sum += recall;
    squares += recall * recall;
    if (recall < worst) worst = recall;
    if (recall > best) best = recall;
  }
  const mean = sum / n;
  const left = Number.isFinite(population) ? (population - n) / Math.max(1, population - 1) : 1;
  if (left <= 0) return { mean, low: mean, high: mean };
  const spread = mean * (1 - mean);
  const trialsWith = (unseen: number): number => {
    const deviations = squares + unseen * unseen - (sum + unseen) ** 2 / (n + 1);
    const effective = spread <= 0 || deviations <= 0 ? n : (spread * n * n) / deviations;
    return Math.min(n * k, Math.max(n, effective)) / left;
  };
  const [below, above] = [trialsWith(0), trialsWith(1)];
  return {
    mean,
    low: best <= 0 ? 0 : betaQuantile(tail, mean * below, (1 - mean) * below + 1),
    high: worst >= 1 ? 1 : betaQuantile(1 - tail, mean * above + 1, (1 - mean) * above),
  };
}

/** Queries that must all be perfect before the lower end reaches `atLeast`: 72 for 0.95. */
export function queriesNeeded(atLeast: number): number {
  return atLeast >= 1 ? Number.POSITIVE_INFINITY : Math.max(1, Math.ceil(Math.log(tail) / Math.log(atLeast)));
}

/** The x at which the regularised incomplete beta function is p, by false position with Illinois' step, to 1e-12. */
function betaQuantile(p: number, a: number, b: number): number {
  const logFront = logGamma(a + b) - logGamma(a) - logGamma(b);
  let [low, high, atLow, atHigh] = [0, 1, -p, 1 - p];
  for (let step = 0; step < 200 && high - low > 1e-12; step++) {
    // Every third step halves, so that a flat end of the function cannot hold it up.
    const x = step % 3 === 2 ? (low + high) / 2 : (low * atHigh - high * atLow) / (atHigh - atLow);
    const difference = incompleteBeta(x, a, b, logFront) - p;
    if (Math.abs(difference) < 1e-13) return x;
    if (difference < 0) [low, atLow, atHigh] = [x, difference, atHigh / 2];
    else [high, atHigh, atLow] = [x, difference, atLow / 2];
  }
  return (low + high) / 2;
}

/** I_x(a, b), DLMF 8.17.22 as a continued fraction, on the side where it converges fast. */
function incompleteBeta(x: number, a: number, b: number, logFront: number): number {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const front = Math.exp(logFront + a * Math.log(x) + b * Math.log1p(-x));
  if (x > (a + 1) / (a + b + 2)) return 1 - (front / b) * betaFraction(1 - x, b, a);
  return (front / a) * betaFraction(x, a, b);
}

/** 1 / (1 + d1 / (1 + d2 / ...)) by Lentz's method (Thompson and Barnett, 1986). */
function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  let c = 1;
  let d = 1 / nonZero(1 - ((a + b) * x) / (a + 1), tiny);
  let value = d;
  for (let m = 1; m <= 1000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / nonZero(1 + even * d, tiny);
    c = nonZero(1 + even / c, tiny);
    value *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / nonZero(1 + odd * d, tiny);
    c = nonZero(1 + odd / c, tiny);
    value *= d * c;
    const change = d * c - 1;
    if (change < 1e-14 && change > -1e-14) break;
  }
  return value;
}

function nonZero(value: number, tiny: number): number {
  return value < tiny && value > -tiny ? tiny : value;
}

/** ln of the gamma function for x > 0: Stirling's series (DLMF 5.11.1) after shifting x above 10; good to 1e-12. */
function logGamma(x: number): number {
  let shift = 0;
  let at = x;
  for (; at < 10; at++) shift += Math.log(at);
  const inverse = 1 / (at * at);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / at;
  return (at - 0.5) * Math.log(at) - at + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
