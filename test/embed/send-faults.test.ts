import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { distanceBetween } from '../../lib/distance.ts';
import { embedText } from '../servers/embedding-models.ts';
import { type EmbeddingServer, type Fault, startEmbeddings } from '../servers/embeddings.ts';
import { openTestModel, sendAndCollect } from './make.ts';

const glosses = readFileSync(new URL('../data/glosses-5k.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line): string => JSON.parse(line).text);
const texts = [...new Set(glosses)].slice(0, 300);

let server: EmbeddingServer;
beforeAll(async () => {
  server = await startEmbeddings();
});
afterAll(async () => await server.close());
afterEach(() => {
  server.faults.clear();
  server.counts.embedded.clear();
});

const faults: readonly (readonly [string, Fault])[] = [
  ['429 that says when to come back', { kind: 'throttle', headers: { 'retry-after-ms': '30' } }],
  ['429 that says nothing', { kind: 'throttle' }],
  ['500', { kind: 'error', status: 500 }],
  ['half a batch', { kind: 'half' }],
  ['another order', { kind: 'shuffle' }],
  ['indices that stand there twice or do not exist', { kind: 'indices' }],
  ['a vector of the wrong length', { kind: 'length' }],
  ['a null in a vector', { kind: 'not finite' }],
  ['NaN, which is no JSON', { kind: 'not finite', literal: true }],
  ['a connection cut in the middle of the answer', { kind: 'cut' }],
];

describe('a provider that fails now and then loses nothing and is paid for nothing twice', () => {
  for (const [name, fault] of faults) {
    test(`${name}, on every third request`, async () => {
      const embedder = await openTestModel(server);
      server.faults.every(3, fault);
      const { answers, keys, sent } = await sendAndCollect(embedder, texts);
      expect(sent.done).toBe(true);
      expect(keys.length).toBe(texts.length);
      expect(new Set(keys).size).toBe(texts.length);
      expect(new Set(server.counts.embedded.values())).toEqual(new Set([1]));
      expect(server.counts.embedded.size).toBe(texts.length);
      const [text = ''] = texts;
      const answer = answers.get(text);
      expect(answer).toBeInstanceOf(Float32Array);
      for (const each of texts) expect(answers.get(each)).toEqual(await embedText(each, 100));
    });
  }
});

test('near-synonyms are nearer than strangers, so the test server has a meaning to drift from', async () => {
  const [near, nearer, far] = await Promise.all(
    ['a small dog', 'a little cat', 'the bank raised its interest rate'].map(
      async (text) => await embedText(text, 384),
    ),
  );
  expect(distanceBetween.cosine(near!, nearer!)).toBeLessThan(distanceBetween.cosine(near!, far!));
});
