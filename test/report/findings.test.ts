import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type Findings, findingsOf } from '../../lib/report/findings.ts';
import { type Cause, causeNames, type RecallEntry, type RecallSide, type Tuning } from '../../lib/run-files.ts';

/** What is found, by what was measured, tuned and diagnosed. */

const side = (mean: number, low: number): RecallSide => ({
  measured: true,
  queries: 200,
  mean,
  low,
  high: 1,
  spread: Array.from({ length: 11 }, () => 0),
  depths: [],
  ndcg: mean,
  rbo: mean,
  short: 0,
  worst: [{ id: '7', recall: 0.2 }],
  latency: { min: 1, p50: 1, p95: 1, p99: 1, max: 1, mean: 1, deviation: 0 },
});
const entry = (overrides: Partial<RecallEntry> = {}): RecallEntry => ({
  set: 'sampled',
  vector: 'embedding',
  targetVector: 'vec',
  distance: 'cosine',
  filter: null,
  k: 10,
  atLeast: 0.95,
  candidates: 1000,
  settings: {},
  source: side(1, 0.98),
  target: side(0.9, 0.88),
  gold: null,
  outcome: 'failed',
  note: 'The recall@10 of the target is 90.00%, below the 95.00% asked for.',
  ...overrides,
});
const tuned = (overrides: Partial<Tuning['sets'][number]> = {}): Tuning['sets'][number] => ({
  set: 'sampled',
  targetVector: 'vec',
  k: 10,
  atLeast: 0.95,
  curve: [
    { settings: { efSearch: 40 }, queries: 200, mean: 0.9, low: 0.88, high: 0.92, p50: 1, p95: 2 },
    { settings: { efSearch: 120 }, queries: 200, mean: 0.985, low: 0.97, high: 0.99, p50: 2, p95: 3 },
  ],
  chosen: { efSearch: 120 },
  kept: false,
  how: 'SET hnsw.ef_search = 120',
  ...overrides,
});
const cause = (name: Cause['cause'], overrides: Partial<Cause> = {}): Cause => ({
  cause: name,
  check: 'recall',
  what: 'what',
  evidence: 'evidence',
  next: `mend ${name}`,
  ...overrides,
});
const nothing = { different: [], missing: [], extra: [], unchecked: [], changed: [] };
const found = ({
  sets = [entry()],
  tuning = [] as Tuning['sets'],
  causes = [] as Cause[],
  compare = {},
  held = 9,
} = {}) => {
  const parts: Findings = {
    run: 'r1',
    mode: 'migrate',
    live: null,
    embedding: null,
    counts: {
      source: 9,
      manifest: 9,
      skipped: 0,
      gone: 0,
      target: held,
      expected: 9,
      agree: true,
      extra: 0,
      extraIds: [],
      note: '',
    },
    compare: {
      asked: 'all',
      startedAt: null,
      endedAt: null,
      records: 9,
      equal: 9,
      nearNumbers: 0,
      changed: 0,
      different: 0,
      missing: 0,
      extra: 0,
      unchecked: 0,
      notInSample: 0,
      duplicates: 0,
      skipped: 0,
      first: nothing,
      ...compare,
    },
    spotCheck: { asked: 0, checked: 0, different: 0, first: [] },
    recall: { sets },
    tuning,
    diagnosis: { causes },
  };
  return findingsOf(parts);
};

describe('a set that missed its goal', () => {
  test('says what its first cause says to do next', () => {
    const causes = [cause('index not built'), cause('efSearch too low')];
    expect(found({ causes })).toMatchObject([{ severity: 'failed', next: 'mend index not built', causes }]);
    expect(found()[0]?.next).toMatch(/^Raise the index settings/);
  });

  test('has the causes of its own set and vector, and no others', () => {
    const causes = [cause('other distance', { set: 'other' }), cause('probes too low', { vector: 'embedding' })];
    expect(found({ causes })[0]?.causes.map((each) => each.cause)).toEqual(['probes too low']);
  });

  test('is unproven, not failed, where the application alone has to say what tuning found, in words to be pasted', () => {
    const [finding, ...others] = found({ tuning: [tuned()], causes: [cause('efSearch too low')] });
    expect(others).toEqual([]);
    expect(finding?.severity).toBe('unproven');
    expect(finding?.what).toMatch(
      /With efSearch 120 it is 98\.50%, at least 97\.00%: recall@10 holds once the application searches so$/,
    );
    expect(finding?.next).toBe(
      `Let the application search so: SET hnsw.ef_search = 120. Then prove it with validate.recall {"search": {"efSearch":120}}: vecferry validate r1 --search '{"efSearch":120}'`,
    );
  });

  test('keeps what the application sends already in the words that prove it', () => {
    const [finding] = found({ sets: [entry({ settings: { rescore: true } })], tuning: [tuned()] });
    expect(finding?.next).toContain('{"search": {"rescore":true,"efSearch":120}}');
  });

  test('stays failed where no setting holds the goal, and is not told to tune again', () => {
    const none = tuned({ chosen: null, how: 'No setting that was tried holds 95.00%.' });
    expect(found({ tuning: [none], causes: [cause('efSearch too low')] })).toMatchObject([
      {
        severity: 'failed',
        next: expect.stringMatching(/^No setting that was tried holds 95.00%. Build the index anew/),
      },
    ]);
    const causes = [cause('efSearch too low'), cause('not normalised')];
    expect(found({ tuning: [none], causes })[0]?.next).toBe('mend not normalised');
    const few = { ...none, curve: none.curve.map((point) => ({ ...point, mean: 1, low: 0.94 })) };
    expect(found({ tuning: [few] })[0]?.next).toBe('No setting that was tried holds 95.00%.');
  });

  test('is no finding once it passed', () => {
    expect(found({ sets: [entry({ outcome: 'passed' })], tuning: [tuned({ kept: true })] })).toEqual([]);
  });
});

describe('a gold set that missed its goal', () => {
  const goldSide = { measured: true, queries: 80, recall: 0.5, low: 0.4, high: 0.6, ndcg: 0.5 } as const;
  const gold: NonNullable<RecallEntry['gold']> = {
    queries: 80,
    k: 10,
    atLeast: 0.8,
    source: { measured: false, reason: 'r' },
    target: goldSide,
    exact: { recall: 0.55, ndcg: 0.5 },
    difference: null,
    worst: [{ id: 'q7', recall: 0 }],
    outcome: 'failed',
    note: 'The target finds 50.00%.',
  };
  const of = (change: Partial<typeof gold>) =>
    found({ sets: [entry({ outcome: 'passed', gold: { ...gold, ...change } })] });

  test('is the model where its exact neighbours miss it too, and the search where they do not', () => {
    expect(of({})).toMatchObject([
      {
        check: 'gold',
        severity: 'failed',
        what: 'gold set sampled, vector embedding: the target finds 50.00%.',
        ids: ['q7'],
        next: expect.stringMatching(/^No search of these vectors does better: their exact neighbours hold 55\.00%\./),
      },
    ]);
    expect(of({ exact: { recall: 0.9, ndcg: 0.9 } })[0]?.next).toMatch(
      /^The vectors are good enough, the search is not/,
    );
    // Without a goal of its own it is what the source finds.
    const beside = { atLeast: null, source: { ...goldSide, recall: 0.9 }, exact: { recall: 0.85, ndcg: 0.8 } };
    expect(of(beside)[0]?.next).toMatch(/^No search of these vectors does better/);
  });

  test('is unproven, and no finding at all where it is only reported', () => {
    expect(of({ outcome: 'unproven' })).toMatchObject([
      { severity: 'unproven', next: expect.stringMatching(/^Give more gold/) },
    ]);
    expect(of({ outcome: 'unproven', atLeast: null })[0]?.next).toMatch(
      /^Mend what keeps the source from being searched/,
    );
    expect(of({ outcome: 'reported' })).toEqual([]);
    expect(of({ outcome: 'passed' })).toEqual([]);
  });
});

test('a missing range is why records are missing, and not why others differ', () => {
  const causes = [cause('range missing', { check: 'compare' })];
  const findings = found({ sets: [], causes, compare: { equal: 4, missing: 3, different: 2 }, held: 6 });
  expect(findings.map((each) => [each.what, each.causes.length])).toEqual([
    ['2 records are not the same in the target', 0],
    ['3 records are missing in the target', 1],
  ]);
  expect(findings[1]?.next).toBe('mend range missing');
});

test('every cause has its line in the documents', () => {
  const lines = readFileSync('docs/validation.md', 'utf8').split('\n');
  expect(causeNames.filter((name) => !lines.some((line) => line.startsWith(`| \`${name}\` |`)))).toEqual([]);
});
