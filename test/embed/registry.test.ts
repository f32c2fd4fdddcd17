import { describe, expect, test } from '@jest/globals';
import { knownModels } from '../../lib/embed/models.ts';
import { describeModel, openEmbedder } from '../../lib/embed/registry.ts';
import { modelCardSchema } from '../../lib/embed/stage/embed-files.ts';
import { InvalidEvent } from '../../lib/errors.ts';

describe('what is known of a model', () => {
  test('every known one has a card that the plan can keep, and limits that a text fits into', () => {
    expect(knownModels.length).toBe(9);
    for (const { card, limits } of knownModels) {
      expect(modelCardSchema.parse(card)).toEqual(card);
      expect(limits.tokensPerRequest).toBeLessThanOrEqual(limits.tokensPerMinute);
      expect(describeModel({ provider: card.provider, name: card.name }).card).toEqual(card);
    }
    const names = knownModels.map(({ card }) => card.name);
    expect(new Set(names).size).toBe(names.length);
  });

  test('the event’s version, price and longest input take the place of ours', () => {
    const { card } = describeModel({
      provider: 'openai',
      name: 'text-embedding-3-small',
      version: '2026-01',
      usdPerMillionTokens: 0.01,
      maxInputTokens: 2_000,
    });
    expect(card).toMatchObject({ version: '2026-01', usdPerMillionTokens: 0.01, maxInputTokens: 2_000 });
  });

  test('its limits are lowered or raised by the event, not those of a request', async () => {
    const embedder = await openEmbedder({
      model: { provider: 'openai', name: 'text-embedding-3-small' },
      limits: { requestsPerMinute: 10, concurrency: 1 },
      connection: { apiKey: 'k' },
      isLocal: true,
    });
    expect(embedder.limits).toEqual({
      textsPerRequest: 256,
      tokensPerRequest: 300_000,
      requestsPerMinute: 10,
      tokensPerMinute: 1_000_000,
      concurrency: 1,
    });
  });

  test('a length that it does not give is refused with those that it gives', () => {
    const titan = { provider: 'bedrock', name: 'amazon.titan-embed-text-v2:0', dimensions: 768 } as const;
    expect(() => describeModel(titan)).toThrow(/gives no vectors of 768 floats; it gives 1024, 512, 256/);
    const openai = { provider: 'openai', name: 'text-embedding-3-small', dimensions: 2_000 } as const;
    expect(() => describeModel(openai)).toThrow(/it gives 1 to 1536/);
    expect(describeModel({ ...openai, dimensions: 700 }).card.dimensions).toBe(700);
  });
});

describe('what is not known', () => {
  test('a model of one’s own server needs its dimensions, and the message says so', () => {
    const model = { provider: 'openai', name: 'nomic-embed-text' } as const;
    expect(() => describeModel(model)).toThrow(InvalidEvent);
    expect(() => describeModel(model)).toThrow(/say how many floats its vectors have: "dimensions"/);
    expect(describeModel({ ...model, dimensions: 768 }).card).toEqual({
      provider: 'openai',
      name: 'nomic-embed-text',
      version: 'unknown',
      dimensions: 768,
      distance: 'cosine',
      maxInputTokens: 512,
      usdPerMillionTokens: null,
      isMatryoshka: false,
    });
  });

  test('a model of Bedrock or in this process that we do not know is refused with those that we do, since their forms differ', () => {
    expect(() => describeModel({ provider: 'bedrock', name: 'amazon.nova-2', dimensions: 3 })).toThrow(
      /there is no model 'amazon.nova-2' of provider bedrock; it has amazon.titan-embed-text-v2:0/,
    );
    expect(() => describeModel({ provider: 'local', name: 'bert' })).toThrow(/it has universal-sentence-encoder-lite/);
  });
});
