import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ReadsSeen } from '../../lib/cutover/cutover-files.ts';
import { type Bounds, judge } from '../../lib/cutover/watch.ts';
import { seededRandom } from '../../lib/sample.ts';
import { makeCanaryWorld } from '../canary-world.ts';

const bounds: Bounds = { requests: 100, maxErrorRate: 0.05, maxP95Ms: 200, minOverlap: 0.9, percent: 10 };
const seen = (over: Partial<ReadsSeen> = {}): ReadsSeen => ({
  reads: 100,
  errors: 0,
  p95Ms: 50,
  shadows: 100,
  overlap: 1,
  ...over,
});

describe('what the metrics say of a step', () => {
  test('holds at each bound, and is a breach just beyond it', () => {
    expect(judge(seen({ errors: 5, p95Ms: 200, overlap: 0.9 }), bounds).verdict).toBe('holds');
    for (const beyond of [{ errors: 6 }, { p95Ms: 200.1 }, { overlap: 0.899 }])
      expect(judge(seen(beyond), bounds).verdict).toBe('breach');
  });

  test('is a breach before there are enough reads, once their errors alone are more than so many may have', () => {
    expect(judge(seen({ reads: 6, errors: 5 }), bounds).verdict).toBe('too few');
    expect(judge(seen({ reads: 6, errors: 6 }), bounds)).toEqual({
      verdict: 'breach',
      says: '6 of the last 6 reads of the target failed, and at most 5.00% may',
    });
  });

  test('is too few where any of what is judged is, and says which', () => {
    expect(judge(seen({ reads: 12, shadows: 3, overlap: 0 }), bounds)).toEqual({
      verdict: 'too few',
      says: '12 of 100 reads of the target; 3 of 100 shadow reads',
    });
    expect(judge(seen({ shadows: 0, overlap: null }), { ...bounds, minOverlap: null }).verdict).toBe('holds');
    // Periods may hold the reads before they hold the latencies.
    expect(judge(seen({ p95Ms: null }), bounds).verdict).toBe('too few');
  });

  test('of a latency is not judged where there is no bound, nor any read of a step that routes none', () => {
    expect(judge(seen({ p95Ms: 9999 }), { ...bounds, maxP95Ms: null }).verdict).toBe('holds');
    expect(judge(seen({ reads: 0, p95Ms: null }), { ...bounds, percent: 0 }).verdict).toBe('holds');
    expect(judge(seen({ reads: 0, p95Ms: null, overlap: 0.5 }), { ...bounds, percent: 0 }).verdict).toBe('breach');
    expect(judge(seen(), { ...bounds, percent: 0, minOverlap: null }).says).toBe('nothing is judged at this step');
  });
});

/** One read of the target, or a shadow read, at a moment in seconds from the canary's begin. */
interface Event {
  readonly at: number;
  readonly read?: readonly [ms: number, ok: boolean];
  readonly overlap?: number;
}

interface Stream {
  readonly perSecond: number;
  readonly steps: readonly { readonly percent: number; readonly minutes: number }[];
  readonly watchSeconds: number;
  readonly requests: number;
  readonly seed: number;
}

const streams: fc.Arbitrary<Stream> = fc.record({
  perSecond: fc.integer({ min: 1, max: 30 }),
  steps: fc
    .uniqueArray(fc.integer({ min: 0, max: 99 }), { maxLength: 3 })
    .map((percents) => [...percents.sort((a, b) => a - b), 100])
    .chain((percents) =>
      fc.tuple(...percents.map((percent) => fc.integer({ min: 1, max: 4 }).map((minutes) => ({ percent, minutes })))),
    ),
  watchSeconds: fc.integer({ min: 5, max: 60 }),
  requests: fc.integer({ min: 20, max: 100 }),
  seed: fc.nat(),
});

/**
 * As noisy as it may be: of any `requests` reads in a row as many fail as may, then as many are slow as a p95 lets pass; and
 * of any so many shadow reads so many have nothing in common that the mean is just not below its goal.
 */
function makeNoise({ requests, seed }: Stream) {
  const random = seededRandom(seed);
  const [errors, slow, apart] = [0.05, 0.04, 0.08].map((share) => Math.floor(requests * share));
  const lately: { errors: boolean[]; slow: boolean[]; apart: boolean[] } = { errors: [], slow: [], apart: [] };
  /** True where the last so many leave room for another, and chance wants it: in bursts, as real faults come. */
  let burst = 0;
  const happens = (kind: keyof typeof lately, most: number): boolean => {
    const recent = lately[kind].slice(-(requests - 1));
    if (random() < 0.02) burst = 20;
    burst -= 1;
    const yes = recent.filter(Boolean).length < most && random() < (burst > 0 ? 0.9 : 0.05);
    lately[kind] = [...recent, yes];
    return yes;
  };
  return {
    read: (): readonly [number, boolean] => {
      const isSlow = happens('slow', slow ?? 0);
      const isOk = !happens('errors', errors ?? 0);
      return [isSlow ? 5000 : 1 + random() * 199, isOk];
    },
    overlap: (): number => (happens('apart', apart ?? 0) ? 0 : 0.98 + random() * 0.02),
  };
}

type Breach = (random: () => number) => Pick<Event, 'read' | 'overlap'>;

interface Ended {
  readonly error: unknown;
  /** The last look, and the one before it, in seconds. */
  readonly lookAt: number;
  readonly lookBefore: number;
  /** Of the step that the last look looked at. */
  readonly stepAt: number;
  readonly events: readonly Event[];
}

/** A canary from begin to end, its application's metrics in a real file, on a clock of its own. */
async function runCanary(stream: Stream, breach?: { readonly from: number; readonly make: Breach }): Promise<Ended> {
  const { steps, watchSeconds, requests, perSecond, seed } = stream;
  const world = await makeCanaryWorld({
    canary: { steps, watchSeconds, requests, maxP95Ms: 200, minOverlap: 0.9, patienceMinutes: 30 },
  });
  const begin = world.time;
  const noise = makeNoise(stream);
  const random = seededRandom(seed + 1);
  const events: Event[] = [];
  let second = 0;
  const advanceTo = (until: number): void => {
    for (; second + 1 <= until; second++) {
      const at = second + 0.5;
      const made = Array.from({ length: perSecond }, (): Event => {
        if (breach !== undefined && at >= breach.from) return { at, ...breach.make(random) };
        return { at, read: noise.read(), overlap: noise.overlap() };
      });
      events.push(...made);
      world.write({
        at: begin + at * 1000,
        reads: made.flatMap(({ read }) => (read === undefined ? [] : [read])),
        shadowReads: made.flatMap(({ overlap }) =>
          overlap === undefined ? [] : [{ k: 10, overlap, activeMs: 5, otherMs: 5 }],
        ),
      });
    }
  };
  let [lookAt, lookBefore, stepAt] = [0, 0, 0];
  for (;;) {
    try {
      stepAt = (Date.parse((await world.canary())?.stepAt ?? world.now().toISOString()) - begin) / 1000;
      const look = await world.step();
      if (look.done) return { error: undefined, lookAt, lookBefore, stepAt, events };
      expect(look.seconds).toBeLessThanOrEqual(watchSeconds);
      lookBefore = lookAt;
      lookAt += look.seconds;
      world.time = begin + lookAt * 1000;
      advanceTo(lookAt);
    } catch (error) {
      expect(await world.flag()).toMatchObject({ active: 'memory:articles', weight: 0 });
      return { error, lookAt, lookBefore, stepAt, events };
    }
  }
}

/** By the words of the event's documentation, over what truly happened: whether a look at that moment should find a breach. */
function isBreachAt({ requests }: Stream, { events, stepAt }: Ended, at: number, percent: number): boolean {
  const lately = events.filter((event) => event.at >= stepAt && event.at <= at);
  const reads = lately.flatMap(({ read }) => (read === undefined ? [] : [read])).slice(-requests);
  const overlaps = lately.flatMap(({ overlap }) => (overlap === undefined ? [] : [overlap])).slice(-requests);
  const failed = reads.filter(([, ok]) => !ok).length;
  const millis = reads.flatMap(([ms, ok]) => (ok ? [ms] : [])).sort((a, b) => a - b);
  const mean = overlaps.reduce((sum, each) => sum + each, 0) / overlaps.length;
  const isFailing = percent > 0 && failed > 0.05 * requests;
  const isSlow = percent > 0 && reads.length === requests && (millis[Math.ceil(millis.length * 0.95) - 1] ?? 0) > 200;
  return isFailing || isSlow || (overlaps.length === requests && mean < 0.9);
}

describe('the watch of a canary', () => {
  test('takes nobody back for noise below the bounds, in whatever steps, bursts and rates', async () => {
    await fc.assert(
      fc.asyncProperty(streams, async (stream) => {
        const { error } = await runCanary(stream);
        expect(error).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  const breaches: Readonly<Record<string, Breach>> = {
    'an error burst': () => ({ read: [5, false], overlap: 1 }),
    'errors of one read in five': (random) => ({ read: [5, random() > 0.2], overlap: 1 }),
    'a target that is slow from then on': () => ({ read: [201, true], overlap: 1 }),
    'answers that have half in common': () => ({ read: [5, true], overlap: 0.5 }),
  };
  for (const [what, make] of Object.entries(breaches)) {
    test(`takes readers back at the first look at which ${what} can be seen, from each step`, async () => {
      const steps = new Set<number>();
      const holds = () =>
        fc.assert(
          fc.asyncProperty(streams, fc.double({ min: 0, max: 0.95, noNaN: true }), async (stream, share) => {
            const seconds = stream.steps.reduce((sum, { minutes }) => sum + minutes * 60, 0);
            const from = Math.floor(share * seconds);
            const ended = await runCanary(stream, { from, make });
            const { error, lookAt, lookBefore, stepAt } = ended;
            if (error === undefined) {
              // It began so late, or in steps that route so little, that no look saw enough of it before the end.
              const at100 = isBreachAt(stream, ended, lookAt, 100);
              expect(at100).toBe(false);
              return;
            }
            expect(error).toMatchObject({ name: 'TakenBack' });
            const percent = Number(/at (\d+)%/.exec(String(Object(error).message))?.[1]);
            steps.add(stream.steps.findIndex((step) => step.percent === percent));
            expect(lookAt).toBeGreaterThanOrEqual(from);
            expect(isBreachAt(stream, ended, lookAt, percent)).toBe(true);
            // The look before was none too late: nothing could be seen of it then, or readers were not at this step yet.
            if (lookBefore > stepAt) expect(isBreachAt(stream, ended, lookBefore, percent)).toBe(false);
            expect(lookAt - lookBefore).toBeLessThanOrEqual(stream.watchSeconds);
          }),
          { numRuns: 40 },
        );
      // Chance may put all of them into one step.
      for (let round = 0; round < 10 && steps.size < 2; round++) await holds();
      expect(steps.size).toBeGreaterThan(1);
    });
  }
});
