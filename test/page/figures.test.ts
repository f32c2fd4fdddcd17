import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { reportPage } from '../../lib/page/page.ts';
import { filterWords } from '../../lib/page/recall.ts';
import { reportSchema } from '../../lib/report/report-schema.ts';
import type { RecallSide } from '../../lib/run-files.ts';
import { makeFilteredEntry, makeReport } from '../make-report.ts';

/** Figures as odd as a run can make them: a page is drawn for all of them, and says no nonsense. */

const share = fc.oneof(fc.constantFrom(0, 1, 0.5, 0.95), fc.double({ min: 0, max: 1, noNaN: true }));
const millis = fc.oneof(fc.constantFrom(0, 0.0004, 1, 60_000), fc.double({ min: 0, max: 1e6, noNaN: true }));
const ordered = (size: number, each: fc.Arbitrary<number>): fc.Arbitrary<number[]> =>
  fc.array(each, { minLength: size, maxLength: size }).map((all) => all.toSorted((a, b) => a - b));

const side: fc.Arbitrary<RecallSide> = fc.oneof(
  fc.constant({ measured: false as const, reason: 'it is away' }),
  fc
    .record({
      of: ordered(3, share),
      spread: fc.array(fc.nat(10_000), { minLength: 11, maxLength: 11 }),
      times: ordered(5, millis),
    })
    .map(({ of: [low = 0, mean = 0, high = 0], spread, times: [min = 0, p50 = 0, p95 = 0, p99 = 0, max = 0] }) => ({
      measured: true as const,
      queries: spread.reduce((sum, each) => sum + each, 0),
      mean,
      low,
      high,
      spread,
      depths: [],
      ndcg: mean,
      rbo: low,
      short: 0,
      worst: [],
      latency: { min, p50, p95, p99, max, mean: p50, deviation: 0 },
    })),
);
const entry = fc
  .record({ source: side, target: side, vector: fc.string(), atLeast: fc.option(share), k: fc.nat(1000) })
  .map((parts) => ({ ...makeFilteredEntry(''), ...parts, filter: null }));
const tried = fc
  .record({ of: ordered(3, share), p50: millis, efSearch: fc.integer({ min: 1, max: 4096 }) })
  .map(({ of: [low = 0, mean = 0, high = 0], p50, efSearch }) => ({
    settings: { efSearch },
    queries: 9,
    mean,
    low,
    high,
    p50,
    p95: p50 * 2,
  }));
const timeline = fc.record({
  startedAt: fc.constant('2026-11-21T08:00:00.000Z'),
  stepSeconds: fc.double({ min: 0.001, max: 1e5, noNaN: true }),
  stages: fc.array(
    fc.record({
      stage: fc.constantFrom('export' as const, 'import' as const, 'compare' as const, 'search' as const),
      records: fc.nat(),
      perSecond: fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e7, noNaN: true })), {
        minLength: 60,
        maxLength: 60,
      }),
    }),
    { maxLength: 4 },
  ),
});

describe('the page', () => {
  test('is drawn for whatever figures a run can come to', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 2 }),
        fc.array(tried, { maxLength: 4 }),
        timeline,
        (sets, curve, time) => {
          const [first] = makeReport('').tuning ?? [];
          const report = reportSchema.parse({
            ...makeReport(''),
            recall: { sets },
            tuning: [{ ...first, curve, chosen: curve.at(-1)?.settings ?? null }],
            timeline: time,
          });
          const page = reportPage(report);
          expect(page).not.toMatch(/\b(NaN|Infinity|undefined)\b|<script/);
        },
      ),
      { numRuns: 20, seed: 1 },
    );
  });

  test("keeps a vector's name as text in its charts, whatever it is", () => {
    const vector = `</svg><script>x</script>"{a|b}'`;
    const page = reportPage(makeReport('', { recall: { sets: [{ ...makeFilteredEntry(''), vector }] } }));
    expect(page).not.toContain('<script');
    expect(page).toContain('&lt;/svg&gt;&lt;script&gt;');
  });

  test('says a filter in words', () => {
    expect(filterWords({ topic: 'news', year: { gte: 2020, lt: 2024 }, lang: { in: ['en', 'de'] }, open: true })).toBe(
      'topic is news and year at least 2020 and below 2024 and lang is en or de and open is true',
    );
  });
});
