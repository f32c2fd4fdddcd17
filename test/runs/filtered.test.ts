import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Batch, concatBatches, type DenseColumn, denseVector } from '../../lib/batch.ts';
import type { Report } from '../../lib/report/report-schema.ts';
import type { FieldSpec } from '../../lib/schema.ts';
import { makeSchema } from '../make.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/**
 * What a team regrets most after a migration: searches with a filter that find too little, though the data is right. Shown
 * on PostgreSQL, whose HNSW index is filtered after it was searched.
 */

let runs: Runs;
let words: Batch;
let source: EndpointInput;
let target: EndpointInput;
let goldFile: string;

/**
 * As many that of the 40 candidates which a search keeps by default five pass, and as few that the planner takes the
 * vector's index all the same.
 */
const topics = 8;
const field = (name: string, type: FieldSpec['type']): FieldSpec => ({ name, type, nullable: true });
const schema = makeSchema({
  vectors: [
    {
      name: 'embedding',
      kind: 'dense',
      dimension: 100,
      distance: 'cosine',
      precision: 'float32',
      index: { kind: 'none' },
    },
  ],
  fields: [field('topic', 'integer'), field('word', 'text')],
});

beforeAll(async () => {
  runs = await startRuns();
  mkdirSync(join(runs.directory, 'words'));
  copyFileSync('test/data/words-10k.parquet', join(runs.directory, 'words', 'words.parquet'));
  const file = { store: 'files', connection: { path: runs.directory }, collection: 'words' };
  const pieces: Batch[] = [];
  const limits = { maxRecords: 10_000, maxBytes: 1 << 26 };
  for await (const { batch } of (await runs.open(file)).read({ from: null, to: null }, limits)) pieces.push(batch);
  const all = concatBatches(pieces);
  const payloads = all.payloads.map((text, at) => JSON.stringify({ topic: at % topics, word: JSON.parse(text).word }));
  words = { ...all, payloads };
  source = await endpointIn(runs, 'pgvector', 'words');
  await runs.seed(source, schema, words);
  target = await endpointIn(runs, 'pgvector', 'copies');
  goldFile = join(runs.directory, 'gold.jsonl');
  const column = words.vectors.get('embedding');
  if (column?.kind !== 'dense') throw new Error('the words have no vectors');
  writeFileSync(goldFile, Array.from({ length: 100 }, (_, at) => goldLine(column, at * 97)).join('\n'));
});
afterAll(async () => await runs.close());

/** A word expects itself and a word that has nothing to do with it. */
function goldLine(column: DenseColumn, at: number): string {
  const expected = [words.ids[at], words.ids[(at + 5000) % words.count]];
  return JSON.stringify({ id: JSON.parse(words.payloads[at]!).word, vector: [...denseVector(column, at)], expected });
}

const sets = () => [
  { name: 'all', atLeast: null },
  { name: 'topic', filter: { topic: 3 }, atLeast: 0.9 },
  { name: 'gold', file: goldFile, atLeast: 0.9 },
];

const entryOf = ({ recall }: Report, set: string) => recall!.sets.find((each) => each.set === set)!;

test('a search that filters too late fails the run, and one that reads on passes it', async () => {
  const mapping = { vectors: { embedding: { index: { kind: 'hnsw', m: 12, efConstruction: 60 } } } };
  const validate = { recall: { sets: sets(), depths: [] } };
  const { outcome, report } = await runs.run({ source, target, mapping, validate, cutover: null });
  expect(outcome.status).toBe('FAILED');
  const topic = entryOf(report!, 'topic');
  expect(topic).toMatchObject({ outcome: 'failed', candidates: 1250, source: { mean: 1, short: 0 } });
  expect(topic.target.measured && topic.target.mean).toBeLessThan(0.8);
  expect(topic.target.measured && topic.target.short).toBeGreaterThan(100);
  expect(report!.findings.map(({ check, set }) => [check, set])).toEqual([['recall', 'topic']]);
  expect(report!.compare).toMatchObject({ equal: 10_000, different: 0 });
  expect(entryOf(report!, 'all')).toMatchObject({ outcome: 'reported', atLeast: null, source: { mean: 1 } });
  const gold = entryOf(report!, 'gold');
  const { exact } = gold.gold!;
  expect(exact.recall).toBeCloseTo(0.5, 2);
  expect(gold).toMatchObject({ outcome: 'passed', gold: { queries: 100, source: exact, outcome: 'reported' } });

  // The same with what the application would have to send.
  const search = { efSearch: 80, iterativeScan: true };
  const again = { recall: { sets: sets(), depths: [], search } };
  const second = expectValidated(await runs.run({ mode: 'validate', source, target, validate: again, cutover: null }));
  expect(entryOf(second, 'topic')).toMatchObject({ outcome: 'passed', settings: search, target: { short: 0 } });
});
