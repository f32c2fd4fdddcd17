import { BedrockRuntimeClient, InvokeModelCommand } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { BedrockAnswer } from './bedrock-answer.ts';
import { fromBedrock } from './bedrock-errors.ts';
import { coherePayload, countCohere, readCohere } from './cohere.ts';
import { type EmbedderOptions, longestRequestMs } from './options.ts';
import type { Embedder, EmbedRequest, EmbedResponse } from './port.ts';
import { readTitan, titanPayload } from './titan.ts';
import { estimateTokens } from './tokens.ts';
import { checkLengths } from './vectors.ts';

/** Amazon Bedrock by InvokeModel: the body's form is each model maker's own. */

/** What a model of Bedrock takes and gives, apart from who carries it there. */
export interface BedrockForm {
  payload(request: EmbedRequest, dimensions: number | undefined): unknown;
  /** Vectors in the order of the texts, as many as there are; `tokens` where the body says. */
  read(body: unknown, count: number): BedrockAnswer;
  countTokens(text: string): number;
}

export function openBedrock({
  card,
  modelId = card.name,
  limits,
  connection,
  region,
  askedDimensions,
  requestMs = longestRequestMs,
}: EmbedderOptions): Embedder {
  const client = new BedrockRuntimeClient({
    // send.ts asks again, for all providers alike.
    maxAttempts: 1,
    ...(region === undefined ? {} : { region }),
    ...(connection.url === undefined ? {} : { endpoint: connection.url }),
    // The client's own handler speaks HTTP/2 alone, which few proxies and no test server do.
    requestHandler: new NodeHttpHandler({
      requestTimeout: requestMs,
      connectionTimeout: 5_000,
      throwOnRequestTimeout: true,
    }),
  });
  const form: BedrockForm = card.name.includes('cohere.')
    ? { payload: coherePayload, read: readCohere, countTokens: countCohere }
    : { payload: titanPayload, read: readTitan, countTokens: estimateTokens };
  const check = checkLengths(card.name, card.dimensions);
  return {
    card,
    limits,
    countTokens: form.countTokens,
    // Titan has no parameter to cut off by, and Cohere is told not to.
    refusesLongTexts: true,
    embed: async (request: EmbedRequest): Promise<EmbedResponse> => {
      const { body, tokens } = await invoke(client, modelId, form.payload(request, askedDimensions));
      const answer = form.read(body, request.texts.length);
      return { answers: check(answer.vectors), tokens: answer.tokens ?? tokens };
    },
    close: async () => client.destroy(),
  };
}

interface Invoked {
  readonly body: unknown;
  /** Of the header x-amzn-bedrock-input-token-count, which every model's answer carries. */
  readonly tokens: number | undefined;
}

async function invoke(client: BedrockRuntimeClient, model: string, payload: unknown): Promise<Invoked> {
  const command = new InvokeModelCommand({
    modelId: model,
    contentType: 'application/json',
    accept: 'application/json',
    body: JSON.stringify(payload),
  });
  let tokens: number | undefined;
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      tokens = readTokenHeader(result.response);
      return result;
    },
    { step: 'deserialize', name: 'readTokenCount' },
  );
  try {
    const { body } = await client.send(command);
    return { body: parse(new TextDecoder().decode(body)), tokens };
  } catch (error) {
    throw fromBedrock(error, model);
  }
}

function readTokenHeader(response: unknown): number | undefined {
  if (typeof response !== 'object' || response === null || !('headers' in response)) return undefined;
  const { headers } = response;
  if (typeof headers !== 'object' || headers === null) return undefined;
  const count = Number(new Map(Object.entries(headers)).get('x-amzn-bedrock-input-token-count') ?? Number.NaN);
  return Number.isFinite(count) ? count : undefined;
}

/** Undefined for what is no JSON: its texts are asked again. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
