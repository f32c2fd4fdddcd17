import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { openOpenai } from '../../lib/embed/openai.ts';
import { describeModel, openEmbedder } from '../../lib/embed/registry.ts';
import { AccessDenied, InvalidEvent, StoreUnavailable } from '../../lib/errors.ts';
import { embedText } from '../servers/embedding-models.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { openTestModel, sendAndCollect } from './make.ts';

let server: EmbeddingServer;
beforeAll(async () => {
  server = await startEmbeddings({ apiKey: 'sk-test' });
});
afterAll(async () => await server.close());
afterEach(() => {
  server.faults.clear();
  server.counts.requests = 0;
  server.counts.bodies.length = 0;
  server.counts.headers.length = 0;
});

const withKey = (): { url: string; apiKey: string } => ({ url: server.url, apiKey: 'sk-test' });

describe('a request to an endpoint that speaks OpenAI’s protocol', () => {
  test('asks for floats, by the key of the connection, and for dimensions only where the event says others than the model’s', async () => {
    const model = { provider: 'openai', name: 'text-embedding-3-small' } as const;
    const texts = ['a small dog', 'a little cat'];
    const whole = await openEmbedder({ model, connection: withKey(), isLocal: true });
    const { answers, tokens } = await whole.embed({ texts, purpose: 'document' });
    expect(answers).toEqual(await Promise.all(texts.map(async (text) => await embedText(text, 1536))));
    expect(tokens).toBe(6);
    expect(server.counts.bodies).toEqual([{ model: 'text-embedding-3-small', encoding_format: 'float', input: texts }]);
    expect(server.counts.headers[0]?.authorization).toBe('Bearer sk-test');

    const short = await openEmbedder({ model: { ...model, dimensions: 256 }, connection: withKey(), isLocal: true });
    expect((await short.embed({ texts, purpose: 'document' })).answers[0]).toHaveLength(256);
    expect(server.counts.bodies[1]).toMatchObject({ dimensions: 256 });
  });

  test('a model of one’s own server is not asked for dimensions, since most refuse the word; they are checked all the same', async () => {
    const model = { provider: 'openai', name: 'glove-384', dimensions: 384 } as const;
    const embedder = await openEmbedder({ model, connection: withKey(), isLocal: true });
    expect((await embedder.embed({ texts: ['one'], purpose: 'document' })).answers[0]).toHaveLength(384);
    expect(server.counts.bodies[0]).not.toHaveProperty('dimensions');
  });

  test('vectors in base64 are read as well, as one kind of server sends them whatever it is asked for', async () => {
    const other = await startEmbeddings({ base64: true });
    try {
      const embedder = await openTestModel(other);
      const { answers } = await embedder.embed({ texts: ['a small dog'], purpose: 'document' });
      expect(answers).toEqual([await embedText('a small dog', 100)]);
      other.faults.next({ kind: 'not finite' });
      expect((await embedder.embed({ texts: ['one', 'two'], purpose: 'document' })).answers[0]).toBeUndefined();
    } finally {
      await other.close();
    }
  });

  test('indices that do not exist, or stand there twice, are not trusted: these texts have no answer, the others have theirs', async () => {
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const embedder = await openEmbedder({ model, connection: withKey(), isLocal: true });
    server.faults.next({ kind: 'indices' });
    const { answers } = await embedder.embed({ texts: ['one', 'two', 'three'], purpose: 'document' });
    expect(answers).toEqual([undefined, await embedText('two', 100), await embedText('three', 100)]);
  });

  test('a base URL with a slash at its end is the same', async () => {
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const embedder = await openEmbedder({
      model,
      connection: { ...withKey(), url: `${server.url}/` },
      isLocal: true,
    });
    expect((await embedder.embed({ texts: ['one'], purpose: 'document' })).answers[0]).toHaveLength(100);
  });
});

describe('an event that is wrong costs one request', () => {
  test('vectors of another length than the event says: the message gives both', async () => {
    const model = { provider: 'openai', name: 'glove-384', dimensions: 768 } as const;
    const embedder = await openEmbedder({ model, connection: withKey(), isLocal: true });
    const texts = Array.from({ length: 200 }, (_, i) => `text ${i}`);
    const sent = sendAndCollect(embedder, texts);
    await expect(sent).rejects.toThrow(InvalidEvent);
    await expect(sent).rejects.toThrow(/gives vectors of 384 floats, and the event says 768; write "dimensions": 384/);
    // Those that were under way with it.
    expect(server.counts.requests).toBeLessThanOrEqual(embedder.limits.concurrency);
  });

  test('one vector of the wrong length after right ones is a fault of the answer, not of the event', async () => {
    const embedder = await openEmbedder({
      model: { provider: 'openai', name: 'glove-100', dimensions: 100 },
      connection: withKey(),
      isLocal: true,
    });
    await embedder.embed({ texts: ['one'], purpose: 'document' });
    server.faults.next({ kind: 'length', all: true });
    const { answers } = await embedder.embed({ texts: ['one', 'two'], purpose: 'document' });
    expect(answers).toEqual([undefined, undefined]);
  });

  test('a wrong key, no credit, an unknown model: waiting mends none of them', async () => {
    const texts = Array.from({ length: 200 }, (_, i) => `text ${i}`);
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const limits = { concurrency: 1 };
    const noKey = await openEmbedder({ model, limits, connection: { url: server.url }, isLocal: true });
    await expect(sendAndCollect(noKey, texts)).rejects.toThrow(AccessDenied);
    const keyed = await openEmbedder({ model, limits, connection: withKey(), isLocal: true });
    server.faults.next({ kind: 'quota' });
    await expect(sendAndCollect(keyed, texts)).rejects.toThrow(/credit is used up/);
    const unknown = { ...model, name: 'no-such-model' };
    const nobody = await openEmbedder({ model: unknown, limits, connection: withKey(), isLocal: true });
    await expect(sendAndCollect(nobody, texts)).rejects.toThrow(InvalidEvent);
    expect(server.counts.requests).toBe(3);
  });

  test('a key never stands in an error, whatever the server says', async () => {
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const embedder = await openEmbedder({ model, connection: { ...withKey(), apiKey: 'sk-secret' }, isLocal: true });
    await expect(embedder.embed({ texts: ['one'], purpose: 'document' })).rejects.toThrow(AccessDenied);
    const keyed = await openEmbedder({ model, connection: withKey(), isLocal: true });
    server.faults.next({ kind: 'error', status: 401, body: { error: { message: 'wrong: Bearer sk-test' } } });
    const error = await keyed.embed({ texts: ['one'], purpose: 'document' }).catch((each: unknown) => each);
    expect(String(error)).toContain('wrong: Bearer …');
    expect(String(error)).not.toContain('sk-test');
  });
});

test('OpenAI without a key is refused by whoever opens it, before anything is asked that could only fail', async () => {
  const model = { provider: 'openai', name: 'text-embedding-3-small' } as const;
  const opened = openEmbedder({ model, connection: {}, isLocal: true });
  await expect(opened).rejects.toMatchObject({ name: 'InvalidEvent', message: expect.stringContaining('"apiKey"') });
  const own = await openEmbedder({ model, connection: { url: 'http://127.0.0.1:9/v1' }, isLocal: true });
  expect(own.card.name).toBe(model.name);
});

test('a connection that is no URL is refused before anything is asked, and never means OpenAI’s own', async () => {
  const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
  for (const connection of [{ path: '/models' }, { url: 'postgres://here/v1' }, { url: 'nonsense' }]) {
    const opened = openEmbedder({ model, connection, isLocal: true });
    await expect(opened).rejects.toThrow(/embed.model.connection has no http or https URL/);
  }
});

describe('a server that is away', () => {
  test('one that never answers is given up after its time, and asked again', async () => {
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const embedder = await openOpenai({
      ...describeModel(model),
      connection: withKey(),
      region: undefined,
      isKnown: false,
      askedDimensions: undefined,
      requestMs: 200,
    });
    server.faults.next({ kind: 'hang' }, 2);
    await expect(embedder.embed({ texts: ['one'], purpose: 'document' })).rejects.toThrow(
      /has not answered within 0.2 seconds/,
    );
    const { answers } = await sendAndCollect(embedder, ['one', 'two', 'three']);
    expect(answers.size).toBe(3);
  });

  test('nobody at the url: the message says what to check', async () => {
    const model = { provider: 'openai', name: 'glove-100', dimensions: 100 } as const;
    const embedder = await openEmbedder({ model, connection: { url: 'http://127.0.0.1:9/v1' }, isLocal: true });
    const asked = embedder.embed({ texts: ['one'], purpose: 'document' });
    await expect(asked).rejects.toThrow(StoreUnavailable);
    await expect(asked).rejects.toThrow(/cannot be reached: .+; check the url of the connection/);
  });
});

test('a server that takes sixteen texts a request is asked for no more, after it has said so', async () => {
  const other = await startEmbeddings();
  try {
    const embedder = await openTestModel(other, {}, { concurrency: 1 });
    other.faults.next({
      kind: 'error',
      status: 422,
      body: { error: 'batch size 32 > maximum allowed batch size 16', error_type: 'Validation' },
    });
    const texts = Array.from({ length: 200 }, (_, i) => `text ${i}`);
    const { answers } = await sendAndCollect(embedder, texts);
    expect(answers.size).toBe(200);
    const sizes = other.counts.bodies.map(({ input }) => (Array.isArray(input) ? input.length : 0));
    expect(sizes[0]).toBe(32);
    expect(Math.max(...sizes.slice(1))).toBe(16);
  } finally {
    await other.close();
  }
});
