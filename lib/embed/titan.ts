import { z } from 'zod';
import type { BedrockAnswer } from './bedrock-answer.ts';
import type { EmbedRequest } from './port.ts';
import { readVector } from './vectors.ts';

/** Bodies of Amazon Titan Text Embeddings: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html */

/** One text a request. v1 takes `inputText` alone; v2 scales to length 1 unless told otherwise. */
export function titanPayload({ texts }: EmbedRequest, dimensions: number | undefined): unknown {
  return { inputText: texts[0], ...(dimensions === undefined ? {} : { dimensions }) };
}

const answerSchema = z.looseObject({
  embedding: z.unknown(),
  inputTextTokenCount: z.int().nonnegative().optional(),
});

export function readTitan(body: unknown, count: number): BedrockAnswer {
  const answer = answerSchema.safeParse(body);
  const first = answer.success ? readVector(answer.data.embedding) : undefined;
  return {
    vectors: Array.from({ length: count }, (_, i) => (i === 0 ? first : undefined)),
    tokens: answer.success ? answer.data.inputTextTokenCount : undefined,
  };
}
