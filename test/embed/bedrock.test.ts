import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openBedrock } from '../../lib/embed/bedrock.ts';
import type { Embedder } from '../../lib/embed/port.ts';
import { describeModel, openEmbedder } from '../../lib/embed/registry.ts';
import { AccessDenied, InvalidEvent } from '../../lib/errors.ts';
import type { Model } from '../../lib/event-embed.ts';
import { embedText } from '../servers/embedding-models.ts';
import { type EmbeddingServer, type Fault, startEmbeddings } from '../servers/embeddings.ts';
import { sendAndCollect, useTestCredentials } from './make.ts';

useTestCredentials();
let server: EmbeddingServer;
beforeAll(async () => {
  server = await startEmbeddings();
});
const opened: Embedder[] = [];
afterAll(async () => {
  for (const embedder of opened) await embedder.close();
  await server.close();
});
afterEach(() => {
  server.faults.clear();
  server.counts.bodies.length = 0;
  server.counts.paths.length = 0;
  server.counts.requests = 0;
  server.counts.embedded.clear();
});

const open = async (name: string, more: Partial<Model> = {}): Promise<Embedder> => {
  const model: Model = { provider: 'bedrock', name, region: 'us-east-1', ...more };
  const embedder = await openEmbedder({ model, connection: { url: server.bedrockUrl }, isLocal: false });
  opened.push(embedder);
  return embedder;
};

describe('Titan', () => {
  test('takes one text a request, and dimensions only where the event says others', async () => {
    const embedder = await open('amazon.titan-embed-text-v2:0');
    expect(embedder.limits.textsPerRequest).toBe(1);
    const { answers, tokens } = await embedder.embed({ texts: ['a small dog'], purpose: 'document' });
    expect(answers).toEqual([await embedText('a small dog', 1024)]);
    expect(tokens).toBe(3);
    const short = await open('amazon.titan-embed-text-v2:0', { dimensions: 256 });
    await short.embed({ texts: ['a small dog'], purpose: 'document' });
    expect(server.counts.bodies).toEqual([{ inputText: 'a small dog' }, { inputText: 'a small dog', dimensions: 256 }]);
  });
});

test('a text is judged too long by Bedrock, which refuses it for nothing, not by our estimate, which is too high', async () => {
  const embedder = await open('amazon.titan-embed-text-v2:0');
  expect(embedder.refusesLongTexts).toBe(true);
  const words = 'Too many input tokens. Max input tokens: 8192, request input token count: 11530';
  server.faults.refuse((text) => (text.length > 20 ? words : undefined));
  const { answers } = await sendAndCollect(embedder, ['short', 'a text of more than twenty characters']);
  expect(answers.get('short')).toBeInstanceOf(Float32Array);
  expect(answers.get('a text of more than twenty characters')).toEqual({ failed: expect.stringContaining(words) });
});

describe('Cohere', () => {
  test('takes many, and is told documents from queries; a text that is too long is refused, not cut off unseen', async () => {
    const embedder = await open('cohere.embed-english-v3');
    const texts = ['a small dog', 'a little cat'];
    const { answers } = await embedder.embed({ texts, purpose: 'document' });
    expect(answers).toEqual(await Promise.all(texts.map(async (text) => await embedText(text, 1024))));
    await embedder.embed({ texts: ['dog'], purpose: 'query' });
    const form = { truncate: 'NONE', embedding_types: ['float'] };
    expect(server.counts.bodies).toEqual([
      { texts, input_type: 'search_document', ...form },
      { texts: ['dog'], input_type: 'search_query', ...form },
    ]);
  });

  test('Embed v4 is the same model by its inference profile, which is who is asked', async () => {
    const embedder = await open('us.cohere.embed-v4:0', { dimensions: 512 });
    expect(embedder.card).toMatchObject({ name: 'cohere.embed-v4:0', version: '4', dimensions: 512 });
    const { answers } = await embedder.embed({ texts: ['one'], purpose: 'document' });
    expect(answers[0]).toHaveLength(512);
    expect(server.counts.bodies[0]).toMatchObject({ output_dimension: 512 });
    expect(server.counts.paths).toEqual(['/model/us.cohere.embed-v4:0/invoke']);
  });

  test('an answer of fewer vectors than texts cannot be told apart, so none of it is used: it is asked for in halves', async () => {
    const embedder = await open('cohere.embed-english-v3');
    const texts = ['a small dog', 'the interest rate of a bank', 'a chemical element', 'to walk slowly'];
    const float = await Promise.all(texts.slice(1).map(async (text) => [...(await embedText(text, 1024))]));
    server.faults.next({ kind: 'error', status: 200, body: { embeddings: { float } } });
    const { answers } = await sendAndCollect(embedder, texts);
    for (const text of texts) expect(answers.get(text)).toEqual(await embedText(text, 1024));
  });
});

describe('Bedrock', () => {
  const faults: readonly (readonly [string, Fault])[] = [
    ['ThrottlingException', { kind: 'throttle' }],
    ['ModelTimeoutException', { kind: 'error', status: 408 }],
    ['ServiceUnavailableException', { kind: 'error', status: 503 }],
    ['a connection that is cut', { kind: 'cut' }],
    ['a vector of the wrong length', { kind: 'length' }],
  ];
  for (const [name, fault] of faults) {
    test(`${name}, on every fifth request, loses no text and pays for none twice`, async () => {
      const embedder = await open('amazon.titan-embed-text-v2:0', { dimensions: 256 });
      const texts = Array.from({ length: 30 }, (_, i) => `a text with the number ${i}`);
      await embedder.embed({ texts: ['first'], purpose: 'document' });
      server.faults.every(5, fault);
      const { keys, answers } = await sendAndCollect(embedder, texts);
      expect(keys.toSorted()).toEqual(texts.toSorted());
      for (const text of texts) expect(answers.get(text)).toBeInstanceOf(Float32Array);
      server.counts.embedded.delete('first');
      expect(new Set(server.counts.embedded.values())).toEqual(new Set([1]));
      expect(server.counts.embedded.size).toBe(30);
    });
  }

  test('is asked once a request: its client’s own retries would hide throttling from the pace', async () => {
    const embedder = await open('amazon.titan-embed-text-v2:0');
    server.faults.next({ kind: 'error', status: 500 }, 5);
    await expect(embedder.embed({ texts: ['one'], purpose: 'document' })).rejects.toThrow();
    expect(server.counts.requests).toBe(1);
  });

  test('a role without permission, and a model that does not exist, are said at once', async () => {
    const embedder = await open('amazon.titan-embed-text-v2:0');
    server.faults.next({ kind: 'error', status: 403 });
    const denied = embedder.embed({ texts: ['one'], purpose: 'document' });
    await expect(denied).rejects.toThrow(AccessDenied);
    await expect(denied).rejects.toThrow(/bedrock:InvokeModel/);
    server.faults.next({ kind: 'error', status: 404 });
    await expect(embedder.embed({ texts: ['one'], purpose: 'document' })).rejects.toThrow(InvalidEvent);
  });

  test('one that never answers is given up after its time', async () => {
    const model = { provider: 'bedrock', name: 'amazon.titan-embed-text-v2:0' } as const;
    const embedder = openBedrock({
      ...describeModel(model),
      connection: { url: server.bedrockUrl },
      region: 'us-east-1',
      isKnown: true,
      askedDimensions: undefined,
      requestMs: 300,
    });
    server.faults.next({ kind: 'hang' });
    const begun = performance.now();
    await expect(embedder.embed({ texts: ['one'], purpose: 'document' })).rejects.toThrow(/cannot be reached/);
    expect(performance.now() - begun).toBeLessThan(30_000);
    await embedder.close();
  });
});
