import { appendFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloudWatchClient, GetMetricDataCommand, type GetMetricDataInput } from '@aws-sdk/client-cloudwatch';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import fc from 'fast-check';
import { fileMetrics } from '../../lib/client/file-metrics.ts';
import type { MetricLine } from '../../lib/client/metric-line.ts';
import { cloudWatchReads } from '../../lib/cutover/read-metrics-cloudwatch.ts';
import { fileReads } from '../../lib/cutover/read-metrics-files.ts';
import { appendLines, makeLine } from '../client-lines.ts';

const place = 'memory:articles2';
const flag = 'articles2';
const t0 = Date.parse('2026-03-01T12:00:00Z');
const none = { reads: 0, errors: 0, p95Ms: null, shadows: 0, overlap: null };
const shadow = (overlap: number) => ({ k: 10, overlap, activeMs: 5, otherMs: 6 });
const times = <T>(count: number, make: (at: number) => T): T[] => Array.from({ length: count }, (_, at) => make(at));
const newDirectory = (): string => mkdtempSync(join(tmpdir(), 'vecferry-metrics-'));

describe('metrics in files', () => {
  const ask = (
    directory: string,
    over: Partial<{ since: number; now: number; requests: number; place: string }> = {},
  ) =>
    fileReads(directory).lastReads({
      flag,
      place: over.place ?? place,
      since: new Date(over.since ?? t0),
      now: new Date(over.now ?? t0 + 600_000),
      requests: over.requests ?? 100,
    });

  test('that no client has written yet hold no reads, which is no error', async () => {
    expect(await ask(newDirectory())).toEqual(none);
  });

  test('are those that the client appends', async () => {
    const directory = newDirectory();
    const reads = times(20, (at) => [at + 1, at !== 3] as const);
    await fileMetrics(directory).write([makeLine({ at: t0 + 1000, reads, shadowReads: [shadow(0.5), shadow(1)] })]);
    expect(await ask(directory)).toEqual({ reads: 20, errors: 1, p95Ms: 20, shadows: 2, overlap: 0.75 });
  });

  test('of several processes are merged by time, and only the last requests of the place since the step count', async () => {
    const directory = newDirectory();
    // Every read takes as many ms as it is old in seconds, so the p95 tells which were counted.
    for (let at = 1; at <= 300; at++) {
      const line = makeLine({ at: t0 + at * 1000, reads: [[300 - at, at % 10 !== 0]] });
      appendLines(directory, `process-${at % 3}`, [
        line,
        makeLine({ at: t0 + at * 1000, place: 'memory:articles', reads: [[9999, false]] }),
      ]);
    }
    expect(await ask(directory, { requests: 100 })).toMatchObject({ reads: 100, errors: 10, p95Ms: 95 });
    expect(await ask(directory, { requests: 100, since: t0 + 281_000 })).toMatchObject({
      reads: 20,
      errors: 2,
      p95Ms: 19,
    });
    expect(await ask(directory, { requests: 10, place: 'memory:articles' })).toMatchObject({
      reads: 10,
      errors: 10,
      p95Ms: null,
    });
  });

  test('of a line whose slowest read began before the step do not count: a target that was mended is not judged by it', async () => {
    const directory = newDirectory();
    appendLines(directory, 'one', [
      makeLine({ at: t0 + 300, begunAt: t0 - 1, reads: [[301, false]], shadowReads: [shadow(0)] }),
      makeLine({ at: t0 + 1300, begunAt: t0, reads: [[7, true]], shadowReads: [shadow(1)] }),
      // A line may end with a read that began before those of the line ahead of it.
      makeLine({ at: t0 + 2300, begunAt: t0 - 1, reads: [[2301, false]] }),
    ]);
    expect(await ask(directory)).toEqual({ reads: 1, errors: 0, p95Ms: 7, shadows: 1, overlap: 1 });
    expect(await ask(directory, { since: t0 - 1 })).toMatchObject({ reads: 3, errors: 2 });
  });

  test('whose last line is half written are read without it', async () => {
    const directory = newDirectory();
    appendLines(directory, 'one', [
      makeLine({ at: t0 + 1000, reads: [[1, true]] }),
      makeLine({ at: t0 + 2000, reads: [[2, true]] }),
    ]);
    const whole = `${JSON.stringify(makeLine({ at: t0 + 3000, reads: [[3, true]] }))}\n`;
    for (const [before, length] of [1, 20, whole.length - 1].entries()) {
      const file = join(directory, flag, `2026-03-01T12-half-${length}.jsonl`);
      writeFileSync(file, whole.slice(0, length));
      expect(await ask(directory)).toMatchObject({ reads: 2 + before, p95Ms: before === 0 ? 2 : 3 });
      appendFileSync(file, whole.slice(length));
    }
    expect(await ask(directory)).toMatchObject({ reads: 5, p95Ms: 3 });
  });

  test('that are longer than what is read at once are read as one, wherever a piece ends', async () => {
    const directory = newDirectory();
    const lines = times(400, (at) => makeLine({ at: t0 + at, reads: times(20 + (at % 7), () => [at, true] as const) }));
    appendLines(directory, 'one', lines);
    const reads = lines.reduce((sum, line) => sum + line.reads.length, 0);
    expect(await ask(directory, { requests: 100_000 })).toMatchObject({ reads, p95Ms: 380 });
  });

  test('with a line that is none say which file, since what cannot be read cannot be judged', async () => {
    const directory = newDirectory();
    mkdirSync(join(directory, flag), { recursive: true });
    writeFileSync(join(directory, flag, 'x.jsonl'), '{"broken\n');
    await expect(ask(directory)).rejects.toMatchObject({
      name: 'ShardDamaged',
      message: expect.stringContaining('x.jsonl'),
    });
  });
});

const cloud = mockClient(CloudWatchClient);

/** CloudWatch as its pages describe it, over lines that were taken up: rounding, ages, periods from the start on, pages. */
function simulate(lines: readonly MetricLine[], now: number, { pageSize = 100_800 } = {}) {
  const calls: GetMetricDataInput[] = [];
  cloud.on(GetMetricDataCommand).callsFake((input: GetMetricDataInput) => {
    calls.push(input);
    const points = (input.MetricDataQueries ?? []).flatMap((query) => pointsOf(lines, now, input, query));
    const from = Number(input.NextToken ?? 0);
    const page = points.slice(from, from + pageSize);
    const ids = [...new Set((input.MetricDataQueries ?? []).map(({ Id }) => Id))];
    return {
      MetricDataResults: ids.map((Id) => {
        const own = page.filter(({ id }) => id === Id);
        return {
          Id,
          StatusCode: 'Complete',
          Timestamps: own.map(({ at }) => new Date(at)),
          Values: own.map(({ value }) => value),
        };
      }),
      ...(from + pageSize < points.length ? { NextToken: String(from + pageSize) } : {}),
    };
  });
  return calls;
}

function pointsOf(
  lines: readonly MetricLine[],
  now: number,
  { StartTime, EndTime }: GetMetricDataInput,
  { Id: id, MetricStat }: NonNullable<GetMetricDataInput['MetricDataQueries']>[number],
) {
  const { Metric, Period = 0, Stat = '' } = MetricStat ?? {};
  const period = Period * 1000;
  const division = Period < 60 ? period : 60_000;
  const start = Math.floor(StartTime!.getTime() / division) * division;
  if (![1, 5, 10, 20, 30].includes(Period) && Period % 60 !== 0) throw new Error(`no such period: ${Period}`);
  // Data points of less than a minute are available for 3 hours; for an older start nothing is returned.
  if (Period < 60 && start < now - 3 * 3_600_000) return [];
  const dimension = (name: string) => Metric?.Dimensions?.find(({ Name }) => Name === name)?.Value;
  const points: { id: string | undefined; at: number; value: number }[] = [];
  for (let at = start; at < EndTime!.getTime(); at += period) {
    const values = lines
      .filter((line) => line.flag === dimension('flag') && line.place === dimension('place'))
      .filter(({ _aws: { Timestamp } }) => Timestamp >= at && Timestamp < at + period)
      .flatMap((line) => [line[Metric?.MetricName as 'Reads'] ?? []].flat() as number[]);
    if (values.length === 0) continue;
    const sorted = values.toSorted((a, b) => a - b);
    const sum = values.reduce((total, each) => total + each, 0);
    const stats: Record<string, number> = {
      Sum: sum,
      SampleCount: values.length,
      p95: sorted[Math.ceil(0.95 * values.length) - 1]!,
    };
    points.push({ id, at, value: stats[Stat]! });
  }
  return points.reverse();
}

describe('metrics in CloudWatch', () => {
  beforeEach(() => void cloud.reset());
  const ask = (over: Partial<{ since: number; now: number; requests: number }> = {}) =>
    cloudWatchReads(new CloudWatchClient({ region: 'eu-central-1' })).lastReads({
      flag,
      place,
      since: new Date(over.since ?? t0),
      now: new Date(over.now ?? t0 + 600_000),
      requests: over.requests ?? 100,
    });
  const perSecond = (from: number, seconds: number, make: (at: number) => Partial<Parameters<typeof makeLine>[0]>) =>
    times(seconds, (at) => makeLine({ at: from + at * 1000, ...make(at) }));

  test('that are not there yet hold no reads', async () => {
    simulate([], t0 + 600_000);
    expect(await ask()).toEqual(none);
  });

  test('are judged over the shortest stretch that holds enough reads, and the p95 over exactly that one', async () => {
    const now = t0 + 600_000;
    // 10 a second; the last ten seconds alone are slow.
    const lines = perSecond(t0, 600, (at) => ({ reads: times(10, (i) => [at >= 590 ? 500 : 5, i !== 0] as const) }));
    const calls = simulate(lines, now);
    expect(await ask({ now: now - 1 })).toMatchObject({ reads: 100, errors: 10, p95Ms: 500 });
    expect(calls.at(-1)).toMatchObject({ StartTime: new Date(now - 10_000), EndTime: new Date(now) });
    expect(await ask({ now: now - 1, requests: 1000 })).toMatchObject({ reads: 1200, errors: 120, p95Ms: 500 });
    expect(calls.at(-1)).toMatchObject({ StartTime: new Date(now - 120_000), EndTime: new Date(now) });
    expect(calls.at(-1)?.MetricDataQueries?.[0]?.MetricStat).toMatchObject({ Period: 120, Stat: 'p95' });
  });

  test('of periods that began before the step do not count, so the readers of the step before are not judged again', async () => {
    const lines = perSecond(t0, 60, (at) => ({ reads: times(10, () => [5, at >= 20] as const) }));
    simulate(lines, t0 + 60_000);
    expect(await ask({ since: t0 + 15_000, now: t0 + 59_999 })).toMatchObject({ errors: 0 });
    expect(await ask({ since: t0 + 8_000, now: t0 + 59_999, requests: 1000 })).toMatchObject({
      reads: 500,
      errors: 100,
    });
  });

  test('that a line of before tells of do not count: it is of the second before its time, and of reads that took one', async () => {
    const lines = perSecond(t0, 60, (at) => ({ reads: times(10, () => [5, at >= 20] as const) }));
    simulate(lines, t0 + 60_000);
    expect(await ask({ since: t0 + 9_000, now: t0 + 59_999 })).toMatchObject({ errors: 0 });
  });

  test('older than three hours are asked for by the minute, and only where the younger ones are too few', async () => {
    const now = t0 + 6 * 3_600_000;
    const few = times(6 * 60, (at) =>
      makeLine({ at: t0 + at * 60_000, reads: [[at, true]], shadowReads: [shadow(1)] }),
    );
    const calls = simulate(few, now);
    expect(await ask({ now })).toMatchObject({ reads: 100, shadows: 100 });
    expect(calls.filter(({ MetricDataQueries }) => MetricDataQueries?.length === 4)).toHaveLength(1);
    expect(await ask({ now, requests: 300 })).toMatchObject({ reads: 300, shadows: 300, p95Ms: 344 });
    const periods = calls.map(({ MetricDataQueries }) => MetricDataQueries?.[0]?.MetricStat?.Period);
    expect(periods).toEqual([10, 6060, 10, 60, 18_060]);
  });

  test('are read page by page to the end', async () => {
    const lines = perSecond(t0, 600, () => ({ reads: [[5, true]], shadowReads: [shadow(0.9)] }));
    const calls = simulate(lines, t0 + 600_000, { pageSize: 50 });
    expect(await ask({ since: t0 - 10_000, requests: 1000 })).toMatchObject({ reads: 600, shadows: 600 });
    expect(calls.filter(({ NextToken }) => NextToken !== undefined).length).toBeGreaterThan(3);
  });

  test('that CloudWatch cannot give just now are an error that is tried again, not zero reads', async () => {
    cloud.on(GetMetricDataCommand).resolves({ MetricDataResults: [{ Id: 'reads', StatusCode: 'InternalError' }] });
    await expect(ask()).rejects.toMatchObject({ name: 'StoreUnavailable' });
    cloud.on(GetMetricDataCommand).rejects(Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException' }));
    await expect(ask()).rejects.toMatchObject({ name: 'Throttled' });
    cloud.on(GetMetricDataCommand).rejects(Object.assign(new Error('no'), { name: 'AccessDenied' }));
    await expect(ask()).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  test('say what the files say, up to the reads that its periods hold besides, for any stream of reads', async () => {
    const line = fc.record({
      at: fc.integer({ min: 0, max: 4 * 3600 }),
      reads: fc.array(fc.tuple(fc.integer({ min: 1, max: 900 }), fc.boolean()), { maxLength: 12 }),
      overlaps: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
    });
    const stream = fc.array(line, { minLength: 0, maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(
        stream,
        fc.integer({ min: 0, max: 14_000 }),
        fc.integer({ min: 1, max: 60 }),
        async (given, from, requests) => {
          const lines = given
            .map(({ at, reads, overlaps }) =>
              makeLine({ at: t0 + at * 1000 + 1, reads, shadowReads: overlaps.map(shadow) }),
            )
            .sort((a, b) => a._aws.Timestamp - b._aws.Timestamp);
          const directory = newDirectory();
          appendLines(directory, 'one', lines);
          const now = t0 + 4 * 3_600_000 + 2000;
          simulate(lines, now, { pageSize: 7 });
          const since = t0 + from * 1000;
          const coarse = await ask({ since, now, requests });
          // The same number of reads as its whole periods hold: the files must say the very same of them.
          const exact = { flag, place, now: new Date(now), since: new Date(since) };
          const files = fileReads(directory);
          const start = Math.ceil((since + 2000) / 10_000) * 10_000;
          const minuteStart = Math.ceil((since + 2000) / 60_000) * 60_000;
          const isFine = start >= now - 175 * 60_000;
          const counted = { ...exact, since: new Date(isFine ? start : minuteStart) };
          const same = await files.lastReads({ ...counted, requests: Math.max(1, coarse.reads) });
          const all = await files.lastReads({ ...counted, requests: 100_000 });
          if (coarse.reads > 0)
            expect({ reads: same.reads, errors: same.errors }).toEqual({ reads: coarse.reads, errors: coarse.errors });
          expect(coarse.reads).toBeGreaterThanOrEqual(Math.min(requests, all.reads));
          if (coarse.p95Ms !== null) expect(coarse.p95Ms).toBe(same.p95Ms);
          expect(coarse.shadows).toBeGreaterThanOrEqual(Math.min(requests, all.shadows));
          const sameShadows = await files.lastReads({ ...counted, requests: Math.max(1, coarse.shadows) });
          if (coarse.shadows > 0) expect(coarse.overlap).toBeCloseTo(sameShadows.overlap ?? -1, 9);
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('repairs that wait with applications', () => {
  const waiting = (at: number, RepairsWaiting: number): MetricLine => ({ ...makeLine({ at }), RepairsWaiting });
  const now = new Date(t0 + 600_000);
  const secondsAgo = (seconds: number): number => now.getTime() - seconds * 1000;

  test('are in files what each client said last, and one that is gone stands in the way for three minutes', async () => {
    const directory = newDirectory();
    expect(await fileReads(directory).repairsWaiting({ flag, place, now })).toBe(0);
    appendLines(directory, 'one', [waiting(secondsAgo(90), 3), makeLine({ at: secondsAgo(60) })]);
    appendLines(directory, 'two', [waiting(secondsAgo(120), 9), waiting(secondsAgo(5), 2)]);
    appendLines(directory, 'mended', [waiting(secondsAgo(50), 8), waiting(secondsAgo(20), 0)]);
    appendLines(directory, 'gone', [waiting(secondsAgo(200), 50)]);
    appendLines(directory, 'other', [
      { ...makeLine({ at: secondsAgo(1), place: 'memory:other' }), RepairsWaiting: 70 },
    ]);
    expect(await fileReads(directory).repairsWaiting({ flag, place, now })).toBe(5);
  });

  test('are in CloudWatch the most that any client said in that time', async () => {
    cloud.reset();
    cloud.on(GetMetricDataCommand).resolves({ MetricDataResults: [{ Id: 'waiting', Values: [0, 7, 3] }] });
    const metrics = cloudWatchReads(new CloudWatchClient({ region: 'eu-central-1' }));
    expect(await metrics.repairsWaiting({ flag, place, now })).toBe(7);
    const { input } = cloud.commandCalls(GetMetricDataCommand)[0]?.args[0] ?? {};
    expect(input?.MetricDataQueries?.[0]?.MetricStat).toMatchObject({
      Metric: { Namespace: 'vecferry/client', MetricName: 'RepairsWaiting' },
      Stat: 'Maximum',
    });
    expect(Number(input?.StartTime)).toBeLessThanOrEqual(secondsAgo(180));
    cloud.on(GetMetricDataCommand).resolves({ MetricDataResults: [{ Id: 'waiting', Values: [] }] });
    expect(await metrics.repairsWaiting({ flag, place, now })).toBe(0);
  });
});
