import type { Embedder, EmbedLimits, EmbedRequest, EmbedResponse } from '../../lib/embed/port.ts';

/** A provider in memory that does what a script says, by a clock that stands still until it is slept by. */
export interface Scripted {
  readonly embedder: Embedder;
  readonly clock: Clock;
  /** Every request that was begun. */
  readonly begun: { readonly at: number; readonly texts: readonly string[]; readonly tokens: number }[];
  /** Tokens of answers, as the provider counts them. */
  charged: number;
}

export interface Clock {
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** What becomes of the n-th request, counted from 0. It may throw. */
export type Script = (
  n: number,
  request: EmbedRequest,
  now: number,
) => EmbedResponse['answers'] | Promise<EmbedResponse['answers']>;

const roomy: EmbedLimits = {
  textsPerRequest: 4,
  tokensPerRequest: 1_000,
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 1_000_000_000,
  concurrency: 2,
};

/** A text has as many tokens as characters. */
export const countTokens = (text: string): number => text.length;

/** The vector of a text: one float, from which the text can be told. */
export const vectorOf = (text: string): Float32Array => Float32Array.of(text.length);

export const answerAll: Script = (_, { texts }) => texts.map(vectorOf);

export function makeScripted(script: Script, limits: Partial<EmbedLimits> = {}): Scripted {
  let now = 0;
  const made: Scripted = {
    embedder: {
      card: {
        provider: 'openai',
        name: 'scripted',
        version: '1',
        dimensions: 1,
        distance: 'cosine',
        maxInputTokens: 1_000,
        usdPerMillionTokens: 1,
        isMatryoshka: false,
      },
      limits: { ...roomy, ...limits },
      countTokens,
      embed: async (request) => {
        const tokens = request.texts.reduce((sum, text) => sum + countTokens(text), 0);
        const n = made.begun.push({ at: now, texts: request.texts, tokens }) - 1;
        const answers = await script(n, request, now);
        made.charged += tokens;
        return { answers, tokens };
      },
      close: async () => undefined,
    },
    clock: {
      now: () => now,
      sleep: async (ms) => {
        now += ms;
        // The answers under way come first, as they do when time passes.
        await new Promise((resolve) => setImmediate(resolve));
      },
    },
    begun: [],
    charged: 0,
  };
  return made;
}
