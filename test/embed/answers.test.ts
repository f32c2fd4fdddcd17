import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { openBedrock } from '../../lib/embed/bedrock.ts';
import { openOpenai } from '../../lib/embed/openai.ts';
import type { Embedder } from '../../lib/embed/port.ts';
import { Throttled, VecferryError } from '../../lib/errors.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { useTestCredentials } from './make.ts';

/** Answers as the providers' documentation and their users' bug reports give them; each names its source. */
const recorded = z
  .array(
    z.strictObject({
      source: z.string(),
      provider: z.enum(['openai', 'titan', 'cohere']),
      texts: z.array(z.string()),
      status: z.int(),
      headers: z.record(z.string(), z.string()).optional(),
      body: z.unknown(),
      vectors: z.array(z.array(z.number())).optional(),
      tokens: z.int().optional(),
      error: z.string().optional(),
      retryAfterMs: z.int().optional(),
    }),
  )
  .parse(JSON.parse(readFileSync(new URL('../data/embeddings/answers.json', import.meta.url), 'utf8')));

const models = { openai: 'glove-100', titan: 'amazon.titan-embed-text-v2:0', cohere: 'cohere.embed-v4:0' } as const;

useTestCredentials();
let server: EmbeddingServer;
beforeAll(async () => {
  server = await startEmbeddings();
});
afterAll(async () => await server.close());
afterEach(() => server.faults.clear());

/** With vectors of three floats, as the records have. */
async function open(provider: keyof typeof models): Promise<Embedder> {
  const kind = provider === 'openai' ? 'openai' : 'bedrock';
  const options = {
    card: {
      provider: kind,
      name: models[provider],
      version: '1',
      dimensions: 3,
      distance: 'cosine',
      maxInputTokens: 512,
      usdPerMillionTokens: 0,
      isMatryoshka: false,
    },
    limits: {
      textsPerRequest: 8,
      tokensPerRequest: 1_000,
      requestsPerMinute: 1_000,
      tokensPerMinute: 1_000_000,
      concurrency: 1,
    },
    connection: { url: kind === 'openai' ? server.url : server.bedrockUrl },
    region: 'us-east-1',
    isKnown: false,
    askedDimensions: undefined,
  } as const;
  return kind === 'openai' ? await openOpenai(options) : openBedrock(options);
}

describe('answers of providers as they were recorded', () => {
  for (const { source, provider, texts, status, headers = {}, body, ...expected } of recorded) {
    test(`${provider} ${status}: ${source}`, async () => {
      const embedder = await open(provider);
      server.faults.next({ kind: 'error', status, body, headers });
      const asked = embedder.embed({ texts, purpose: 'document' });
      if (expected.error === undefined) {
        const { answers, tokens } = await asked;
        expect(answers).toEqual(expected.vectors?.map((vector) => Float32Array.from(vector)));
        expect(tokens).toBe(expected.tokens);
      } else {
        const error = await asked.catch((each: unknown) => each);
        if (!(error instanceof VecferryError)) throw error;
        expect({ name: error.name, message: error.message }).toEqual({
          name: expected.error,
          message: expect.stringContaining(wordsOf(body)),
        });
        if (error instanceof Throttled) expect(error.retryAfterMs).toBe(expected.retryAfterMs);
      }
    });
  }
});

/** The words that a user has to be shown. */
function wordsOf(body: unknown): string {
  const words = z.object({ message: z.string() });
  return z
    .union([
      words.transform(({ message }) => message),
      z.object({ error: z.string() }).transform(({ error }) => error),
      z.object({ error: words }).transform(({ error }) => error.message),
    ])
    .parse(body);
}
