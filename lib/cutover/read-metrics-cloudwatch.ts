import {
  type CloudWatchClient,
  CloudWatchServiceException,
  GetMetricDataCommand,
  type MetricDataQuery,
  type MetricDataResult,
} from '@aws-sdk/client-cloudwatch';
import { metricNamespace } from '../client/metric-line.ts';
import { StoreUnavailable, Throttled } from '../errors.ts';
import type { ReadsSeen } from './cutover-files.ts';
import { type LastReads, type ReadMetrics, repairsMs } from './read-metrics.ts';

/**
 * The metrics that the client's EMF lines make in CloudWatch, which gives them by periods and not one by one. So what is
 * judged is a window of whole periods, the shortest that ends now and holds as many reads as are asked for.
 *
 * docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricStat.html: periods under a minute are there for 3 hours, of
 * a minute for 15 days. API_GetMetricData.html: a start is rounded down to the whole minute, with a period of 10, 20 or 30 s to
 * such a division of a minute; 500 queries and 100,800 data points a call. Periods are counted from the start on
 * (github.com/boto/boto3/issues/3457). A new metric may take two minutes to be there, and each value some seconds
 * (docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/publishingMetrics.html): what is not there yet is judged by the next look.
 */

const second = 1000;
const minute = 60 * second;
const finePeriod = 10 * second;
/** A line tells of reads that ended in the second before it, and one of the target may take a second by the client's default. */
const lineMs = 2 * second;
/** Younger than the 3 hours by what two clocks may differ. */
const fineMs = 175 * minute;

/** One period of the metrics; times in milliseconds since 1970. */
interface Period {
  readonly start: number;
  readonly reads: number;
  readonly errors: number;
  readonly shadows: number;
  /** Sum of the overlaps. */
  readonly overlap: number;
}

const figures = {
  reads: ['Reads', 'Sum'],
  errors: ['ReadErrors', 'Sum'],
  shadows: ['ShadowOverlap', 'SampleCount'],
  overlap: ['ShadowOverlap', 'Sum'],
} as const;
type Figure = keyof typeof figures;

export function cloudWatchReads(client: CloudWatchClient): ReadMetrics {
  return {
    lastReads: async (options) => {
      const { now, requests } = options;
      const since = ceil(options.since.getTime() + lineMs, finePeriod);
      const end = ceil(now.getTime() + 1, finePeriod);
      if (since >= end) return { reads: 0, errors: 0, p95Ms: null, shadows: 0, overlap: null };
      const periods = await newestPeriods(client, { ...options, since, end });
      const window = windowOf(periods, { since, end, requests });
      const p95Ms = window === undefined ? null : await p95Of(client, options, window);
      const all = periods.filter(({ start }) => window === undefined || start >= window.start);
      const shadows = lastShadows(periods, requests);
      return {
        reads: sum(all, 'reads'),
        // Of a line that is being taken up the errors may be there before the reads.
        errors: Math.min(sum(all, 'errors'), sum(all, 'reads')),
        p95Ms,
        ...shadows,
      };
    },
    repairsWaiting: async ({ flag, place, now }) => {
      const end = ceil(now.getTime() + 1, minute);
      const query = queryOf({ id: 'waiting', name: 'RepairsWaiting', stat: 'Maximum', periodMs: minute, flag, place });
      const found = await getData(client, [query], end - minute - repairsMs, end);
      return Math.max(0, ...found.flatMap(({ Values = [] }) => Values));
    },
  };
}

/** A stretch of time that one period of CloudWatch can be: the percentile of its values can be asked for. */
interface Window {
  readonly start: number;
  readonly periodMs: number;
}

/**
 * The shortest such stretch that ends now and holds enough reads; undefined where none does that begins after `since`.
 * Percentiles of periods cannot be added up, so the whole stretch has to be one period: 10, 20 or 30 seconds, or minutes.
 */
function windowOf(
  periods: readonly Period[],
  { since, end, requests }: { readonly since: number; readonly end: number; readonly requests: number },
): Window | undefined {
  const short = [10, 20, 30].map((seconds) => {
    const periodMs = seconds * second;
    return { start: ceil(end - periodMs, periodMs), periodMs };
  });
  const minutes = Math.max(0, Math.floor((end - 1 - ceil(since, minute)) / minute) + 1);
  const last = floor(end - 1, minute);
  const long = Array.from({ length: minutes }, (_, at) => {
    const start = last - at * minute;
    return { start, periodMs: ceil(end - start, minute) };
  });
  const sorted = periods.toSorted((a, b) => b.start - a.start);
  let [at, reads] = [0, 0];
  for (const each of [...short, ...long].filter(({ start }) => start >= since).sort((a, b) => b.start - a.start)) {
    for (let period = sorted[at]; period !== undefined && period.start >= each.start; period = sorted[++at])
      reads += period.reads;
    if (reads >= requests) return each;
  }
  return undefined;
}

async function p95Of(
  client: CloudWatchClient,
  { flag, place }: LastReads,
  { start, periodMs }: Window,
): Promise<number | null> {
  const query = queryOf({ id: 'p95', name: 'ReadLatency', stat: 'p95', periodMs, flag, place });
  const found = await getData(client, [query], start, start + periodMs);
  const values = found.flatMap(({ Values = [] }) => Values);
  return values.length === 0 ? null : Math.max(...values);
}

/** Newest first, back to `since` or until there are as many reads and shadow reads as asked for. */
async function newestPeriods(
  client: CloudWatchClient,
  options: Omit<LastReads, 'since' | 'now'> & { readonly since: number; readonly end: number },
): Promise<readonly Period[]> {
  const { since, end, requests } = options;
  const fineFrom = Math.max(since, floor(end - fineMs, minute));
  const found = [...(await readPeriods(client, options, { start: fineFrom, end, periodMs: finePeriod }))];
  const isCovered = (): boolean => sum(found, 'reads') >= requests && sum(found, 'shadows') >= requests;
  // What is older is there by minutes, a day a call: 4 x 1,440 data points.
  const oldest = ceil(since, minute);
  for (let before = fineFrom; before > oldest && !isCovered(); ) {
    const start = Math.max(oldest, before - 24 * 60 * minute);
    found.push(...(await readPeriods(client, options, { start, end: before, periodMs: minute })));
    before = start;
  }
  return found;
}

interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly periodMs: number;
}

async function readPeriods(
  client: CloudWatchClient,
  { flag, place }: Pick<LastReads, 'flag' | 'place'>,
  { start, end, periodMs }: Stretch,
): Promise<readonly Period[]> {
  const queries = Object.entries(figures).map(([id, [name, stat]]) =>
    queryOf({ id, name, stat, periodMs, flag, place }),
  );
  const periods = new Map<number, Period>();
  for (const { Id, Timestamps = [], Values = [] } of await getData(client, queries, start, end)) {
    const figure = figureNames.find((name) => name === Id);
    if (figure === undefined) continue;
    for (const [at, time] of Timestamps.entries()) {
      const key = time.getTime();
      const period = periods.get(key) ?? { start: key, reads: 0, errors: 0, shadows: 0, overlap: 0 };
      periods.set(key, { ...period, [figure]: period[figure] + (Values[at] ?? 0) });
    }
  }
  return [...periods.values()];
}

const figureNames: readonly Figure[] = ['reads', 'errors', 'shadows', 'overlap'];

interface Query {
  readonly id: string;
  readonly name: string;
  readonly stat: string;
  readonly periodMs: number;
  readonly flag: string;
  readonly place: string;
}

function queryOf({ id, name, stat, periodMs, flag, place }: Query): MetricDataQuery {
  const Dimensions = [
    { Name: 'flag', Value: flag },
    { Name: 'place', Value: place },
  ];
  const Metric = { Namespace: metricNamespace, MetricName: name, Dimensions };
  return { Id: id, MetricStat: { Metric, Period: periodMs / second, Stat: stat } };
}

/** Every page. @throws Throttled @throws StoreUnavailable */
async function getData(
  client: CloudWatchClient,
  queries: MetricDataQuery[],
  start: number,
  end: number,
): Promise<readonly MetricDataResult[]> {
  const found: MetricDataResult[] = [];
  let token: string | undefined;
  do {
    const page = await sendPage(client, queries, { start, end, token });
    const failed = page.results.find(({ StatusCode }) => StatusCode === 'InternalError' || StatusCode === 'Forbidden');
    if (failed !== undefined) {
      const why = (failed.Messages ?? []).map(({ Value }) => Value).join('; ');
      throw new StoreUnavailable(`CloudWatch could not read the metric '${failed.Id}': ${failed.StatusCode} ${why}`);
    }
    found.push(...page.results);
    token = page.next;
  } while (token !== undefined);
  return found;
}

async function sendPage(
  client: CloudWatchClient,
  queries: MetricDataQuery[],
  { start, end, token }: { readonly start: number; readonly end: number; readonly token: string | undefined },
): Promise<{ readonly results: readonly MetricDataResult[]; readonly next: string | undefined }> {
  const command = new GetMetricDataCommand({
    MetricDataQueries: queries,
    StartTime: new Date(start),
    EndTime: new Date(end),
    ScanBy: 'TimestampDescending',
    ...(token === undefined ? {} : { NextToken: token }),
  });
  try {
    const { MetricDataResults = [], NextToken } = await client.send(command);
    return { results: MetricDataResults, next: NextToken };
  } catch (error) {
    throw failureOf(error);
  }
}

/** What waiting mends is named so, and the state machine tries again; the client has tried three times by itself. */
function failureOf(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const text = `CloudWatch did not give the metrics of the client: ${error.message}`;
  if (/Throttl|LimitExceeded|TooManyRequests/.test(error.name)) return new Throttled(text, { cause: error });
  const isServers = error instanceof CloudWatchServiceException && error.$fault === 'server';
  const isAway = error.name === 'TimeoutError' || ('code' in error && /^(E[A-Z_]+)$/.test(String(error.code)));
  return isServers || isAway ? new StoreUnavailable(text, { cause: error }) : error;
}

/** Of the newest periods as many as hold so many shadow reads, or all. */
function lastShadows(periods: readonly Period[], requests: number): Pick<ReadsSeen, 'shadows' | 'overlap'> {
  let [shadows, overlap] = [0, 0];
  for (const period of periods.toSorted((a, b) => b.start - a.start)) {
    if (shadows >= requests) break;
    shadows += period.shadows;
    overlap += period.overlap;
  }
  return { shadows, overlap: shadows === 0 ? null : overlap / shadows };
}

function sum(periods: readonly Period[], figure: Exclude<keyof Period, 'start'>): number {
  return periods.reduce((total, period) => total + period[figure], 0);
}

function floor(time: number, step: number): number {
  return Math.floor(time / step) * step;
}

function ceil(time: number, step: number): number {
  return Math.ceil(time / step) * step;
}
