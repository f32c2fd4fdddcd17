import { z } from 'zod';
import { InvalidEvent, StoreUnavailable } from '../errors.ts';
import type { ResolvedConnection } from '../stores/port.ts';
import { errorOf } from './openai-errors.ts';
import { type EmbedderOptions, longestRequestMs } from './options.ts';
import type { Embedder, EmbedRequest, EmbedResponse } from './port.ts';
import { estimateTokens } from './tokens.ts';
import { checkLengths, readVector } from './vectors.ts';

/** Any endpoint that speaks OpenAI's protocol: POST {base}/embeddings (platform.openai.com/docs/api-reference/embeddings/create). */

const defaultUrl = 'https://api.openai.com/v1';

const answerSchema = z.looseObject({
  data: z.array(z.looseObject({ index: z.int().optional(), embedding: z.unknown() })),
  usage: z
    .looseObject({
      prompt_tokens: z.number().nonnegative().optional(),
      total_tokens: z.number().nonnegative().optional(),
    })
    .nullish(),
});
type Answer = z.infer<typeof answerSchema>;

export async function openOpenai({
  card,
  limits,
  connection,
  isKnown,
  askedDimensions,
  requestMs = longestRequestMs,
}: EmbedderOptions): Promise<Embedder> {
  const url = endpointOf(connection);
  const check = checkLengths(card.name, card.dimensions);
  const headers = {
    'content-type': 'application/json',
    ...(connection.apiKey === undefined ? {} : { authorization: `Bearer ${connection.apiKey}` }),
  };
  const options = {
    model: card.name,
    // base64 is half as long, but not all compatible servers know it.
    encoding_format: 'float',
    ...(askedDimensions === undefined ? {} : { dimensions: askedDimensions }),
  };
  const where = `the model '${card.name}' at ${url.host}`;
  return {
    card,
    limits,
    countTokens: isKnown ? (await import('./openai-tokens.ts')).countOpenaiTokens : estimateTokens,
    embed: async ({ texts }: EmbedRequest): Promise<EmbedResponse> => {
      const { response, text } = await post({ url, headers, body: { ...options, input: texts }, requestMs, where });
      if (!response.ok) throw errorOf(response.status, response.headers, withoutKey(text, connection.apiKey), where);
      const answer = readAnswer(text);
      if (answer === undefined) return { answers: texts.map(() => undefined), tokens: undefined };
      return {
        answers: check(inOrder(answer.data, texts.length)),
        tokens: answer.usage?.total_tokens ?? answer.usage?.prompt_tokens,
      };
    },
    close: async () => undefined,
  };
}

/** The base URL's path with /embeddings behind it; what it has for a query stays. @throws InvalidEvent */
function endpointOf({ url: base = defaultUrl, path, apiKey }: ResolvedConnection): URL {
  if (base === defaultUrl && path === undefined && apiKey === undefined) {
    const text = 'embed.model.connection gives no key, and the endpoint of OpenAI takes nobody without one';
    throw new InvalidEvent(`${text}; write {"secret": NAME} with "apiKey", or {"url": …} of a server of your own`, {
      ids: ['embed.model.connection'],
    });
  }
  const url = URL.parse(base);
  if (path !== undefined || url === null || !/^https?:$/.test(url.protocol)) {
    const text = 'embed.model.connection has no http or https URL';
    throw new InvalidEvent(`${text}; write {"url": "http://127.0.0.1:8080/v1"}, or a secret with "url" and "apiKey"`, {
      ids: ['embed.model.connection'],
    });
  }
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/embeddings`;
  return url;
}

/** Some servers say in their error which key was wrong. */
function withoutKey(text: string, key: string | undefined): string {
  return key === undefined || key === '' ? text : text.replaceAll(key, '…');
}

interface Post {
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: unknown;
  readonly requestMs: number;
  readonly where: string;
}

async function post({
  url,
  headers,
  body,
  requestMs,
  where,
}: Post): Promise<{ readonly response: Response; readonly text: string }> {
  const signal = AbortSignal.timeout(requestMs);
  try {
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal });
    return { response, text: await response.text() };
  } catch (error) {
    if (signal.aborted) {
      throw new StoreUnavailable(`${where} has not answered within ${requestMs / 1000} seconds`, { cause: error });
    }
    const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new StoreUnavailable(`${where} cannot be reached: ${reason}; check the url of the connection`, {
      cause: error,
    });
  }
}

/** Undefined for what is no answer: a Python server that writes NaN into its JSON, a proxy's page. Its texts are asked again. */
function readAnswer(text: string): Answer | undefined {
  try {
    return answerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * By `index`, since items may come in any order or be left out. An index that stands there twice or is out of range says
 * that the answer cannot be told apart there. A server that gives none keeps the order, if nothing is left out.
 */
function inOrder(data: Answer['data'], count: number): readonly (Float32Array | undefined)[] {
  const vectors = new Array<Float32Array | undefined>(count).fill(undefined);
  if (data.every(({ index }) => index === undefined)) {
    return data.length === count ? data.map(({ embedding }) => readVector(embedding)) : vectors;
  }
  const seen = new Set<number>();
  for (const { index, embedding } of data) {
    if (index === undefined || index < 0 || index >= count) continue;
    vectors[index] = seen.has(index) ? undefined : readVector(embedding);
    seen.add(index);
  }
  return vectors;
}
