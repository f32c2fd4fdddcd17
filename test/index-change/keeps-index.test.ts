import { expect, test } from '@jest/globals';
import { keepsIndex } from '../../lib/index-change/keeps-index.ts';
import type { RecallEntry, Tuning } from '../../lib/run-files.ts';
import { makePlan } from '../make-plan.ts';

type Measured = Extract<RecallEntry['source'], { measured: true }>;

const side = (mean: number, at100 = mean): Measured => ({
  measured: true,
  queries: 100,
  mean,
  low: mean - 0.02,
  high: mean + 0.02,
  spread: Array.from({ length: 11 }, () => 0),
  depths: [{ depth: 100, mean: at100, low: at100, high: at100 }],
  ndcg: mean,
  rbo: mean,
  short: 0,
  worst: [],
  latency: { min: 1, p50: 1, p95: 1, p99: 1, max: 1, mean: 1, deviation: 0 },
});
const entry = (source: RecallEntry['source'], target: RecallEntry['target']): RecallEntry => ({
  set: 'sampled',
  vector: 'v',
  targetVector: 'v',
  distance: 'cosine',
  filter: null,
  k: 10,
  atLeast: 0.95,
  candidates: 1000,
  settings: {},
  source,
  target,
  gold: null,
  outcome: 'failed',
  note: '',
});
const tuned = (chosen: Tuning['sets'][number]['chosen']): Tuning['sets'] => [
  { set: 'sampled', targetVector: 'v', k: 10, atLeast: 0.95, curve: [], chosen, kept: false, how: '' },
];

interface Case {
  readonly sets?: readonly RecallEntry[];
  readonly tuning?: Tuning['sets'];
  readonly keep?: boolean;
  readonly check?: 'recall' | 'gold';
  readonly used?: 'old' | 'new';
  readonly how?: 'beside' | 'instead';
}

function kept({ sets = [entry(side(0.6), side(0.9))], tuning = [], keep, check = 'recall', ...more }: Case = {}) {
  const { used = 'new', how = 'beside' } = more;
  const index = { to: { kind: 'hnsw' }, ...(keep !== undefined && { keep }) } as const;
  const event = { ...makePlan().event, index };
  return keepsIndex({ event }, { recall: { sets }, findings: [{ check }], tuning, used, how });
}

test('an index that missed its goal stays where readers find no less by it, and goes where they would or nobody knows', () => {
  expect(kept()).toBe('it finds no less than the old one');
  expect(kept({ sets: [entry(side(0.9), side(0.8))] })).toBeUndefined();
  expect(kept({ sets: [entry(side(0.6, 0.9), side(0.9, 0.8))] })).toBeUndefined();
  expect(kept({ sets: [entry(side(0.6), side(0.9)), entry(side(0.9), side(0.8))] })).toBeUndefined();
  expect(kept({ sets: [entry({ measured: false, reason: 'away' }, side(0.9))] })).toBeUndefined();
  expect(kept({ sets: [] })).toBeUndefined();
  // Another goal than recall was missed.
  expect(kept({ check: 'gold' })).toBeUndefined();
  // What was searched is the old one, since somebody took the change back meanwhile.
  expect(kept({ how: 'instead', used: 'old' })).toBeUndefined();
});

test('it stays too where the tuning found settings that reach the goal, or where the event says so', () => {
  const sets = [entry(side(0.9), side(0.8))];
  expect(kept({ sets, tuning: tuned({ efSearch: 200 }) })).toMatch(/settings that the tuning found/);
  expect(kept({ sets, tuning: tuned(null) })).toBeUndefined();
  expect(kept({ sets, keep: true })).toBe('index.keep says so');
  expect(kept({ keep: false })).toBeUndefined();
});
