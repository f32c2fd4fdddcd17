import { z } from 'zod';
import type { BedrockAnswer } from './bedrock-answer.ts';
import type { EmbedRequest } from './port.ts';
import { estimateTokens } from './tokens.ts';
import { readVector } from './vectors.ts';

/** Bodies of Cohere Embed: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html and -v4.html */

/** `truncate` NONE: a text that is too long is refused, not cut off unseen; the event's `longText` says what is to be done. */
export function coherePayload({ texts, purpose }: EmbedRequest, dimensions: number | undefined): unknown {
  return {
    texts,
    input_type: purpose === 'query' ? 'search_query' : 'search_document',
    truncate: 'NONE',
    embedding_types: ['float'],
    // v4 alone; v3 has one length.
    ...(dimensions === undefined ? {} : { output_dimension: dimensions }),
  };
}

/** v3 takes 512 tokens, and 2,048 characters: a text of few long words must not pass the second limit unseen. */
export function countCohere(text: string): number {
  return Math.max(estimateTokens(text), Math.ceil(text.length / 4));
}

/** `embeddings` is a list where no types were asked for ("embeddings_floats"), and else an object ("embeddings_by_type"). */
const answerSchema = z.looseObject({
  embeddings: z.union([z.array(z.unknown()), z.looseObject({ float: z.array(z.unknown()) })]),
});

/** Its vectors have no index: of an answer that is shorter or longer than the question, none can be told apart. */
export function readCohere(body: unknown, count: number): BedrockAnswer {
  const answer = answerSchema.safeParse(body);
  const rows = answer.success ? rowsOf(answer.data.embeddings) : [];
  const vectors = rows.length === count ? rows.map(readVector) : new Array<undefined>(count).fill(undefined);
  return { vectors, tokens: undefined };
}

const rowsOf = (embeddings: readonly unknown[] | { readonly float: readonly unknown[] }): readonly unknown[] =>
  'float' in embeddings ? embeddings.float : embeddings;
