import type { SearchSettings } from '../schema.ts';
import type { SearchTuning } from '../stores/port.ts';

/**
 * Which search settings are tried, in which order: each yielded set of settings is measured, and what came of it handed
 * back. The order depends on nothing else, so a tuning that was cut off goes on by handing back what it has already seen.
 */

export interface StepsInput {
  /** As the target is searched now; it is measured first. */
  readonly start: SearchSettings;
  readonly tuning: SearchTuning;
  readonly k: number;
  /** True where filtered searches were answered with fewer than k records though there were as many. */
  readonly isShort: boolean;
  /** Records that can be found: no efSearch above it finds more. */
  readonly records: number;
}

export interface Tried {
  /** The lower end of the interval reaches the goal. */
  readonly holds: boolean;
  readonly mean: number;
}

/**
 * Qdrant's documentation goes up to 4; more is needed where few bits stand for a vector. Past `usualOversampling` each is
 * tried only where the one before helped.
 */
const oversamplings = [1.5, 2, 3, 4, 8, 16, 32, 64] as const;
const usualOversampling = 8;
/** efSearch and probes are doubled: 2^12 times the default is past what any store takes. */
const maxDoublings = 12;
/** Two doublings that add less than this mean that what is missing is not to be found this way. */
const leastGain = 0.0005;
/** Between the last value that failed and the first that held, so many are tried, down to a tenth of it. */
const maxBisections = 4;
/** Where a store does not tell what is in effect: pgvector searches with 40, Qdrant and Chroma with 100. */
const unknownEfSearch = 40;

type Steps<T> = Generator<SearchSettings, T, Tried>;

/** Ends when a setting holds and none lower does, or when there is nothing left to raise. */
export function* searchSteps(input: StepsInput): Steps<void> {
  const { start, tuning } = input;
  let best: Reached = { settings: start, ...(yield start) };
  if (best.holds) return;
  for (const change of changesOf(input)) {
    if (goesTooFar(change.oversampling ?? 0, best.settings.oversampling ?? 1)) break;
    const settings = { ...best.settings, ...change };
    const tried = yield settings;
    if (tried.holds) return;
    // More oversampling costs more with each search; the other two are held on to where they do no harm.
    const least = change.oversampling === undefined ? best.mean : best.mean + leastGain;
    if (tried.mean >= least) best = { settings, ...tried };
  }
  for (const name of ['efSearch', 'probes'] as const) {
    const largest = tuning.heeds[name];
    if (largest === undefined) continue;
    best = yield* climb(input, name, best, largest === true ? input.records : largest);
    if (best.holds) return;
  }
}

/** True past the usual where the oversampling before this one, half of it, added nothing to `best`. */
const goesTooFar = (oversampling: number, best: number): boolean =>
  oversampling > usualOversampling && best * 2 < oversampling;

/** What is tried before a wider search: it costs less, and what it mends a wider search does not. */
function changesOf({ start, tuning: { heeds, isQuantized }, isShort }: StepsInput): readonly SearchSettings[] {
  const scan = isShort && heeds.iterativeScan !== undefined && start.iterativeScan !== true;
  const rescore = isQuantized && heeds.rescore !== undefined && start.rescore !== true;
  const most = heeds.oversampling === true ? Number.POSITIVE_INFINITY : (heeds.oversampling ?? 0);
  const more = isQuantized ? oversamplings.filter((each) => each <= most) : [];
  return [
    ...(scan ? [{ iterativeScan: true }] : []),
    ...(rescore ? [{ rescore: true }] : []),
    ...more.filter((each) => each > (start.oversampling ?? 1)).map((oversampling) => ({ oversampling })),
  ];
}

type Reached = Tried & { readonly settings: SearchSettings };

/** Doubles one setting until the goal holds, then looks for a lower value that holds it too. */
function* climb(
  { k, records }: StepsInput,
  name: 'efSearch' | 'probes',
  start: Reached,
  largest: number,
): Steps<Reached> {
  const from = start.settings;
  const last = Math.min(largest, Math.max(records, k));
  let best = start;
  // Fewer candidates than k make no sense, and a store may have raised them to k by itself.
  let failing = name === 'probes' ? (from.probes ?? 1) : Math.max(from.efSearch ?? unknownEfSearch, k);
  const means = [start.mean];
  for (let doubling = 0; doubling < maxDoublings && failing < last; doubling++) {
    const value = Math.min(failing * 2, last);
    const settings = { ...from, [name]: value };
    const tried = yield settings;
    if (tried.holds) {
      yield* bisect(name, from, failing, value);
      return { settings, ...tried };
    }
    if (tried.mean > best.mean + leastGain) best = { settings, ...tried };
    means.push(tried.mean);
    if (means.length > 2 && tried.mean - (means.at(-3) ?? 0) < leastGain) break;
    failing = value;
  }
  return best;
}

function* bisect(name: 'efSearch' | 'probes', from: SearchSettings, fails: number, holds: number): Steps<void> {
  let [low, high] = [fails, holds];
  for (let step = 0; step < maxBisections && high - low > Math.max(1, high / 10); step++) {
    const value = Math.round((low + high) / 2);
    if ((yield { ...from, [name]: value }).holds) high = value;
    else low = value;
  }
}

/** Settings under which every one of these searches finds at least what it found: the larger of each. */
export function largerOf(all: readonly SearchSettings[]): SearchSettings {
  const larger = (name: 'efSearch' | 'probes' | 'oversampling') => {
    const values = all.flatMap((each) => each[name] ?? []);
    return values.length === 0 ? {} : { [name]: Math.max(...values) };
  };
  const either = (name: 'rescore' | 'iterativeScan') => {
    const values = all.flatMap((each) => each[name] ?? []);
    return values.length === 0 ? {} : { [name]: values.includes(true) };
  };
  return {
    ...larger('efSearch'),
    ...larger('probes'),
    ...either('rescore'),
    ...larger('oversampling'),
    ...either('iterativeScan'),
  };
}

/** `efSearch 120, rescore`, for people; '' for none. */
export function settingsText(settings: SearchSettings): string {
  return Object.entries(settings)
    .map(([name, value]) => (value === true ? name : value === false ? `no ${name}` : `${name} ${value}`))
    .join(', ');
}

/** True when both say the same, in whatever order. */
export function sameSettings(one: SearchSettings, other: SearchSettings): boolean {
  const sorted = (settings: SearchSettings) => JSON.stringify(Object.entries(settings).sort());
  return sorted(one) === sorted(other);
}

/** Those of `settings` that are not as in `before`. */
export function changedSettings(before: SearchSettings, settings: SearchSettings): SearchSettings {
  const known = new Map<string, unknown>(Object.entries(before));
  return Object.fromEntries(Object.entries(settings).filter(([name, value]) => known.get(name) !== value));
}
