import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Report } from '../../lib/report/report-schema.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { type Gloss, readGlosses, seedGlosses } from './glosses.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/**
 * Definitions of WordNet by another model, their words as gold queries: who asks for a word is to find its definition. The
 * old vectors are means of GloVe's, which the server makes of queries too.
 */

const count = 1000;
let runs: Runs;
let server: EmbeddingServer;
let source: EndpointInput & { readonly model?: unknown };
let goldFile: string;

/** What a person would type: the words of the entry. */
const goldLine = ({ id, words }: Gloss): string =>
  JSON.stringify({ id: words.join(' '), text: words.join(', '), expected: [id] });

beforeAll(async () => {
  [runs, server] = await Promise.all([startRuns(), startEmbeddings()]);
  const glosses = readGlosses(count);
  const old = { provider: 'openai', name: 'glove-100', dimensions: 100, connection: { url: server.url } };
  source = { ...(await seedGlosses(runs.unique('glosses'), glosses)), model: old };
  goldFile = join(runs.directory, 'gold.jsonl');
  writeFileSync(
    goldFile,
    glosses
      .filter((_, at) => at % 5 === 0)
      .map(goldLine)
      .join('\n'),
  );
});
afterAll(async () => {
  await server.close();
  await runs.close();
});

const recall = (gold: Record<string, unknown>) => ({
  depths: [],
  queries: 100,
  sets: [{ name: 'sampled' }, { name: 'words', file: goldFile, atLeast: null, ...gold }],
});

const goldOf = ({ recall }: Report) => recall!.sets.find(({ set }) => set === 'words')!.gold!;

test('another model drifts, and is taken because the gold set says that it is better', async () => {
  const target = await endpointIn(runs, 'qdrant', 'glosses');
  const embed = { text: 'text', model: { provider: 'local', name: 'universal-sentence-encoder-lite' } };
  const result = await runs.run({ source, target, embed, validate: { recall: recall({ goldAtLeast: 0.3 }) } });
  const report = expectValidated(result);
  const gold = goldOf(report);
  expect(gold).toMatchObject({
    outcome: 'passed',
    queries: 200,
    source: { measured: true },
    target: { measured: true },
  });
  expect(gold.difference!.low).toBeGreaterThan(0);
  // The index is held against the new vectors; the old ones are not.
  expect(report.recall!.sets).toMatchObject([
    { source: { measured: false, reason: expect.stringMatching(/^its vectors are of another model \(glove-100/) } },
    { source: { measured: false } },
  ]);
  const { changed, sets } = report.drift!;
  expect(changed).toMatch(/^universal-sentence-encoder-lite.*512 floats, in place of glove-100/);
  expect(sets).toMatchObject([
    { measured: true, set: 'sampled', queries: 100, without: 0, isOwnLeftOut: true, k: 10 },
    { measured: true, set: 'words', queries: 200, isOwnLeftOut: false },
  ]);
  for (const set of sets) {
    if (!set.measured) throw new Error(set.reason);
    expect(set.overlap.mean).toBeGreaterThan(0.05);
    expect(set.overlap.mean).toBeLessThan(0.7);
    // Ids of the target are UUIDs; people know the source's.
    for (const { source: before, target: now } of set.examples) {
      expect(before).toHaveLength(5);
      for (const { id, text } of [...before, ...now]) {
        expect(id).toMatch(/^\d{8}-n$/);
        expect(text).not.toBe('');
      }
    }
  }
});

test('a model that means nothing fails the gold set, says why, and nothing is cut over', async () => {
  const target = await endpointIn(runs, 'qdrant', 'glosses');
  const model = { provider: 'openai', name: 'hash-64', dimensions: 64, connection: { url: server.url } };
  const { outcome, report } = await runs.run({
    source,
    target,
    embed: { text: 'text', model: { ...model, maxInputTokens: 8000, usdPerMillionTokens: 0.02 } },
    // No goal: it is held against the source, which can be asked too.
    validate: { recall: recall({}) },
  });
  expect(outcome.status).toBe('FAILED');
  expect(report!.verdict).toBe('failed');
  // The data is right, and so is the index.
  expect(report!.compare).toMatchObject({ equal: count, different: 0 });
  expect(report!.findings).toMatchObject([
    {
      check: 'gold',
      severity: 'failed',
      set: 'words',
      next: expect.stringMatching(/^No search of these vectors does better/),
    },
  ]);
  expect(goldOf(report!)).toMatchObject({ outcome: 'failed', atLeast: null });
  expect(goldOf(report!).difference!.high).toBeLessThan(0);
  expect(report!.summary).toMatch(/Nothing was cut over, and the source is untouched\.$/);
});
