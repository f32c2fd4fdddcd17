import type { EmbedLimits } from './port.ts';
import type { ModelCard } from './stage/embed-files.ts';

/** What is known of a model without asking it. Prices are list prices on demand, in USD a million tokens. */
export interface KnownModel {
  /** isMatryoshka: OpenAI's third generation by its announcement (openai.com/index/new-embedding-models-and-api-updates), Cohere's v4 by Cohere's own listing of it. */
  readonly card: ModelCard;
  /** Lengths its vectors can be asked for. */
  readonly dimensions: readonly number[] | 'any up to its own';
  readonly limits: EmbedLimits;
  /** Where the price stands, and when it was read. */
  readonly priceSource: string;
}

/** The version of a model that nobody gave one: two such models are the same only by the word of the event. */
export const unknownVersion = 'unknown';

/** Titan takes one text a request (docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html). */
const titan = { textsPerRequest: 1, tokensPerRequest: 8_192, concurrency: 16 };
/**
 * What Bedrock has long given an account on demand in us-east-1. AWS' pages disagree on which of the two is still enforced
 * (userguide/titan-embedding-models: requests; userguide/quotas-runtime: tokens), so both are kept to. An account's own
 * stand in the Service Quotas console, and may be less in other regions and new accounts: write them into `embed.limits`.
 */
const bedrockQuota = { requestsPerMinute: 2_000, tokensPerMinute: 300_000 };
/** 96 texts a request (userguide/model-parameters-embed-v3.html and -v4.html), and 8 at once of our own choice. */
const cohere = { textsPerRequest: 96, concurrency: 8 };
/**
 * At most 2,048 texts and 300,000 tokens a request (platform.openai.com/docs/api-reference/embeddings/create, `input`);
 * 3,000 requests and 1,000,000 tokens a minute in tier 1, the lowest that is paid for (the model's page).
 * Of the 2,048 we use 256: an answer of 256 x 3,072 floats as JSON is 17 MB already.
 */
const openai: EmbedLimits = {
  textsPerRequest: 256,
  tokensPerRequest: 300_000,
  requestsPerMinute: 3_000,
  tokensPerMinute: 1_000_000,
  concurrency: 8,
};
const openaiPrices = 'platform.openai.com/docs/pricing, as price lists quoted it in July 2026';
const bedrockPrices = 'aws.amazon.com/bedrock/pricing for us-east-1, as price lists quoted it in August 2026';

const card = (
  provider: ModelCard['provider'],
  name: string,
  rest: Omit<ModelCard, 'provider' | 'name' | 'distance'>,
): ModelCard => ({ provider, name, distance: 'cosine', ...rest });

export const knownModels: readonly KnownModel[] = [
  {
    card: card('bedrock', 'amazon.titan-embed-text-v2:0', {
      version: '2',
      dimensions: 1024,
      maxInputTokens: 8_192,
      usdPerMillionTokens: 0.02,
      // AWS offers three lengths, but says nowhere that the shorter vectors are the beginnings of the longer.
      isMatryoshka: false,
    }),
    dimensions: [1024, 512, 256],
    limits: { ...titan, ...bedrockQuota },
    priceSource: bedrockPrices,
  },
  {
    card: card('bedrock', 'amazon.titan-embed-text-v1', {
      version: '1',
      dimensions: 1536,
      maxInputTokens: 8_192,
      usdPerMillionTokens: 0.1,
      isMatryoshka: false,
    }),
    dimensions: [1536],
    limits: { ...titan, ...bedrockQuota },
    priceSource: bedrockPrices,
  },
  ...['cohere.embed-english-v3', 'cohere.embed-multilingual-v3'].map(
    (name): KnownModel => ({
      card: card('bedrock', name, {
        version: '3',
        dimensions: 1024,
        maxInputTokens: 512,
        usdPerMillionTokens: 0.1,
        isMatryoshka: false,
      }),
      dimensions: [1024],
      limits: { ...cohere, ...bedrockQuota, tokensPerRequest: 96 * 512 },
      priceSource: bedrockPrices,
    }),
  ),
  {
    card: card('bedrock', 'cohere.embed-v4:0', {
      version: '4',
      dimensions: 1536,
      maxInputTokens: 128_000,
      usdPerMillionTokens: 0.12,
      isMatryoshka: true,
    }),
    dimensions: [1536, 1024, 512, 256],
    limits: { ...cohere, ...bedrockQuota, tokensPerRequest: 128_000 },
    priceSource: bedrockPrices,
  },
  {
    card: card('openai', 'text-embedding-3-small', {
      version: '3',
      dimensions: 1536,
      maxInputTokens: 8_192,
      usdPerMillionTokens: 0.02,
      isMatryoshka: true,
    }),
    dimensions: 'any up to its own',
    limits: openai,
    priceSource: openaiPrices,
  },
  {
    card: card('openai', 'text-embedding-3-large', {
      version: '3',
      dimensions: 3072,
      maxInputTokens: 8_192,
      usdPerMillionTokens: 0.13,
      isMatryoshka: true,
    }),
    dimensions: 'any up to its own',
    limits: openai,
    priceSource: openaiPrices,
  },
  {
    card: card('openai', 'text-embedding-ada-002', {
      version: '2',
      dimensions: 1536,
      maxInputTokens: 8_192,
      usdPerMillionTokens: 0.1,
      isMatryoshka: false,
    }),
    dimensions: [1536],
    limits: openai,
    priceSource: openaiPrices,
  },
  {
    card: card('local', 'universal-sentence-encoder-lite', {
      version: '1',
      dimensions: 512,
      // It has no limit of its own, but its tokenizer takes time that grows with the square: 0.1 s here, 2 s at 5,000.
      maxInputTokens: 2_048,
      usdPerMillionTokens: 0,
      isMatryoshka: false,
    }),
    dimensions: [512],
    // 64 texts are half a second's work (a text of 12 tokens takes 7 ms); the rates are above what one core does.
    limits: {
      textsPerRequest: 64,
      tokensPerRequest: 32_768,
      requestsPerMinute: 600,
      tokensPerMinute: 10_000_000,
      concurrency: 1,
    },
    priceSource: 'it runs in this process',
  },
];

/** A model of a server that speaks OpenAI's protocol, of which the event says all that is known. */
export const unknownModel = {
  /** Most models that such servers offer (MiniLM, BGE, E5, nomic's default) take 512 tokens. */
  maxInputTokens: 512,
  limits: {
    // Text Embeddings Inference refuses more than 32 texts unless told otherwise (--max-client-batch-size).
    textsPerRequest: 32,
    tokensPerRequest: 16_384,
    // One's own server has no quota: what it can do shows in its answers, and `concurrency` holds it there.
    requestsPerMinute: 60_000,
    tokensPerMinute: 100_000_000,
    concurrency: 4,
  } satisfies EmbedLimits,
} as const;
