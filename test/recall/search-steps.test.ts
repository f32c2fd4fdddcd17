import { describe, expect, test } from '@jest/globals';
import { largerOf, type StepsInput, sameSettings, searchSteps, settingsText } from '../../lib/recall/search-steps.ts';
import type { SearchSettings } from '../../lib/schema.ts';

/** Runs the steps on a collection whose recall is a formula, and says what was tried. */
function tried(input: Partial<StepsInput>, recall: (settings: SearchSettings) => number, goal = 0.95) {
  const steps = searchSteps({
    start: {},
    tuning: { current: {}, heeds: {}, isQuantized: false },
    k: 10,
    isShort: false,
    records: 10_000,
    ...input,
  });
  const all: SearchSettings[] = [];
  for (let next = steps.next(); !next.done; ) {
    all.push(next.value);
    const mean = recall(next.value);
    next = steps.next({ mean, holds: mean >= goal });
  }
  return all;
}
const tuning = (heeds: StepsInput['tuning']['heeds'], isQuantized = false): StepsInput['tuning'] => ({
  current: {},
  heeds,
  isQuantized,
});

describe('the steps of tuning', () => {
  test('double efSearch from what is in effect, then close in on the least that holds', () => {
    const all = tried({ start: { efSearch: 40 }, tuning: tuning({ efSearch: 1000 }) }, ({ efSearch = 0 }) =>
      efSearch >= 200 ? 0.96 : 0.9 * (efSearch / 200),
    );
    expect(all.slice(0, 4)).toEqual([{ efSearch: 40 }, { efSearch: 80 }, { efSearch: 160 }, { efSearch: 320 }]);
    const holding = all.map(({ efSearch = 0 }) => efSearch).filter((each) => each >= 200);
    expect(Math.min(...holding)).toBeLessThanOrEqual(220);
    expect(all.length).toBeLessThanOrEqual(8);
  });

  test('end at once where what is in effect holds', () => {
    expect(tried({ start: { efSearch: 40 }, tuning: tuning({ efSearch: true }) }, () => 1)).toEqual([{ efSearch: 40 }]);
  });

  test('never pass the largest value that the store takes, which is tried', () => {
    const all = tried({ start: { efSearch: 300 }, tuning: tuning({ efSearch: 1000 }) }, ({ efSearch = 0 }) =>
      Math.min(0.94, efSearch / 1100),
    );
    expect(all.at(-1)).toEqual({ efSearch: 1000 });
  });

  test('stop where doubling adds nothing: what is missing is not to be found that way', () => {
    expect(tried({ start: { probes: 1 }, tuning: tuning({ probes: 4096 }) }, () => 0.5).length).toBeLessThanOrEqual(4);
  });

  test('rescore quantized hits before more of them are taken, and widen the search last', () => {
    const all = tried(
      { start: { efSearch: 64 }, tuning: tuning({ efSearch: true, rescore: true, oversampling: true }, true) },
      (s) => (s.rescore ? 0.7 : 0.4) + Math.min(0.2, (s.oversampling ?? 1) * 0.05) + (s.efSearch === 128 ? 0.07 : 0),
    );
    expect(all.slice(0, 8)).toEqual([
      { efSearch: 64 },
      { efSearch: 64, rescore: true },
      { efSearch: 64, rescore: true, oversampling: 1.5 },
      { efSearch: 64, rescore: true, oversampling: 2 },
      { efSearch: 64, rescore: true, oversampling: 3 },
      { efSearch: 64, rescore: true, oversampling: 4 },
      { efSearch: 64, rescore: true, oversampling: 8 },
      { efSearch: 128, rescore: true, oversampling: 4 },
    ]);
  });

  test('oversample past 8 only as long as that helps, and no further than the store takes', () => {
    const run = (most: number, until: number): number[] =>
      tried(
        { start: { rescore: true, oversampling: 1 }, tuning: tuning({ rescore: true, oversampling: most }, true) },
        ({ oversampling = 1 }) => Math.min(oversampling, until) / 100,
      ).map(({ oversampling = 0 }) => oversampling);
    expect(run(64, 100)).toEqual([1, 1.5, 2, 3, 4, 8, 16, 32, 64]);
    expect(run(40, 100)).toEqual([1, 1.5, 2, 3, 4, 8, 16, 32]);
    expect(run(64, 8)).toEqual([1, 1.5, 2, 3, 4, 8, 16]);
    expect(run(64, 4)).toEqual([1, 1.5, 2, 3, 4, 8]);
  });

  test('scan on first where filtered searches come up short, and not where they do not', () => {
    const input = { start: { efSearch: 40 }, tuning: tuning({ efSearch: 1000, iterativeScan: true }) };
    const recall = (s: SearchSettings): number => (s.iterativeScan ? 1 : 0.3);
    expect(tried({ ...input, isShort: true }, recall)).toEqual([
      { efSearch: 40 },
      { efSearch: 40, iterativeScan: true },
    ]);
    expect(tried(input, recall).every(({ iterativeScan }) => iterativeScan === undefined)).toBe(true);
  });

  test('leave a change out that made it worse', () => {
    const all = tried({ start: {}, tuning: tuning({ rescore: true, efSearch: true }, true) }, (s) =>
      s.rescore ? 0.2 : 0.5,
    );
    expect(all.slice(2).every(({ rescore }) => rescore === undefined)).toBe(true);
  });

  test('are none past the first where the target heeds nothing', () => {
    expect(tried({}, () => 0.1)).toEqual([{}]);
  });
});

test('the larger of several settings serves every one of them', () => {
  expect(largerOf([{ efSearch: 80 }, { efSearch: 200, rescore: false }, { rescore: true, oversampling: 2 }])).toEqual({
    efSearch: 200,
    rescore: true,
    oversampling: 2,
  });
  expect(largerOf([{}, {}])).toEqual({});
  expect(settingsText({ efSearch: 200, rescore: true, iterativeScan: false })).toBe(
    'efSearch 200, rescore, no iterativeScan',
  );
  expect(sameSettings({ efSearch: 1, probes: 2 }, { probes: 2, efSearch: 1 })).toBe(true);
  expect(sameSettings({ efSearch: 1 }, {})).toBe(false);
});
