import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { dimensionsOf, embedText, floatsOf } from './embedding-models.ts';

/**
 * A server that speaks OpenAI's protocol (`/v1/embeddings`, `/v1/models`) and Bedrock's (`/model/{id}/invoke`), with models
 * of real meaning (embedding-models.ts), that counts what it was asked and fails as it is told.
 *
 * Models: `glove-N` of N floats (`glove-100`, `glove-50`, `glove-384`, `glove-512`, …), and the providers' own names;
 * `hash-N`, whose vectors mean nothing.
 */
export interface EmbeddingServer {
  /** Base URL of OpenAI's protocol, ending in /v1. */
  readonly url: string;
  /** Endpoint of Bedrock. */
  readonly bedrockUrl: string;
  readonly counts: Counts;
  readonly faults: Faults;
  /** True once every request was answered and every client is gone: a client that was killed has sent nothing more. */
  isLeft(): Promise<boolean>;
  close(): Promise<void>;
}

export interface Counts {
  /** Requests that came, refused ones too. */
  requests: number;
  /** Requests answered with a fault of whatever kind. */
  faulty: number;
  /** Tokens of what was answered: four characters each. */
  tokens: number;
  /** How often each text was asked for. */
  readonly asked: Map<string, number>;
  /** How often each text was answered with a good vector: what a client that lost nothing had to pay for once. */
  readonly embedded: Map<string, number>;
  /** Bodies of the requests, in their order. */
  readonly bodies: Record<string, unknown>[];
  readonly headers: IncomingMessage['headers'][];
  readonly paths: string[];
  /** When each request came, milliseconds. */
  readonly at: number[];
}

export type Fault =
  /** 429; `headers` may say when to come back. */
  | { readonly kind: 'throttle'; readonly headers?: Readonly<Record<string, string>> }
  /** `body` may be an answer as it was recorded, with status 200 too. */
  | {
      readonly kind: 'error';
      readonly status: number;
      readonly body?: unknown;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** Credit used up: 429 that no waiting mends. */
  | { readonly kind: 'quota' }
  /** The second half of the texts is left out; one alone is answered. */
  | { readonly kind: 'half' }
  /** All answers, in another order. */
  | { readonly kind: 'shuffle' }
  /** The first text's index stands there twice, and one is out of range. */
  | { readonly kind: 'indices' }
  /** The first vector, or all, one float short. */
  | { readonly kind: 'length'; readonly all?: boolean }
  /** The first vector holds a null (`literal`: the body a NaN, which is no JSON). */
  | { readonly kind: 'not finite'; readonly literal?: boolean }
  /** Never answers. */
  | { readonly kind: 'hang' }
  /** The connection is cut in the middle of the answer: what it held is charged and lost. */
  | { readonly kind: 'cut' };

export interface Faults {
  /** The next `times` requests, in the order of the calls. */
  next(fault: Fault, times?: number): void;
  /** Every n-th request that has no other fault; undefined: none. */
  every(n: number, fault: Fault | undefined): void;
  /** A request with such a text is refused as a whole: 400 with these words. */
  refuse(words: (text: string) => string | undefined): void;
  clear(): void;
}

export interface EmbeddingServerOptions {
  /** Before each answer. */
  readonly delayMs?: number;
  /** Where set, requests need this key as their bearer. */
  readonly apiKey?: string;
  /** Encodes vectors as base64 whatever was asked for, as one kind of server does. */
  readonly base64?: boolean;
}

const tokensOf = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + Math.ceil(text.length / 4), 0);

interface Asked {
  readonly protocol: 'openai' | 'titan' | 'cohere';
  readonly texts: readonly string[];
  readonly floats: number;
  readonly isHash?: boolean;
}

interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export async function startEmbeddings(options: EmbeddingServerOptions = {}): Promise<EmbeddingServer> {
  const counts: Counts = {
    requests: 0,
    faulty: 0,
    tokens: 0,
    asked: new Map(),
    embedded: new Map(),
    bodies: [],
    headers: [],
    paths: [],
    at: [],
  };
  const planned = makeFaults();
  let underWay = 0;
  const refuse = (asked: Asked, authorization: string | undefined): Reply | undefined => {
    if (options.apiKey !== undefined && authorization !== `Bearer ${options.apiKey}`) {
      return refusal(asked, 401, 'Incorrect API key provided', { code: 'invalid_api_key' });
    }
    const words = asked.texts.map(planned.refused).find((each) => each !== undefined);
    return words === undefined ? undefined : refusal(asked, 400, words);
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body: Record<string, unknown> = JSON.parse(await readBody(request));
    counts.requests += 1;
    counts.at.push(Date.now());
    counts.bodies.push(body);
    counts.headers.push(request.headers);
    const path = decodeURIComponent(request.url ?? '');
    counts.paths.push(path);
    const asked = readAsked(path, body);
    if ('status' in asked) return send(response, asked);
    for (const text of asked.texts) count(counts.asked, text);
    if (options.delayMs !== undefined) await sleep(options.delayMs);
    const reply = refuse(asked, request.headers.authorization);
    if (reply !== undefined) return send(response, reply);
    await answerWith(planned.take(counts.requests), asked, body, response);
  };
  const answerWith = async (
    fault: Fault | undefined,
    asked: Asked,
    body: Record<string, unknown>,
    response: ServerResponse,
  ): Promise<void> => {
    if (fault !== undefined) counts.faulty += 1;
    if (fault?.kind === 'hang') return;
    const early = fault === undefined ? undefined : replyOf(fault, asked);
    if (early !== undefined) return send(response, early);
    const vectors = await Promise.all(
      asked.texts.map(async (text) => await embedText(asked.isHash ? spelt(text) : text, asked.floats)),
    );
    const rows = spoil(vectors, fault);
    for (const { index, isGood } of rows) {
      const text = asked.texts[index];
      if (isGood && text !== undefined) count(counts.embedded, text);
    }
    counts.tokens += tokensOf(asked.texts);
    send(response, { status: 200, body: form(asked, rows, body, options) }, fault);
  };

  const server = createServer((request, response) => {
    if (request.method === 'GET' && request.url === '/v1/models') {
      const data = Object.keys(dimensionsOf).map((id) => ({ id, object: 'model' }));
      return send(response, { status: 200, body: { object: 'list', data } });
    }
    underWay += 1;
    answer(request, response)
      .catch((error: unknown) => send(response, { status: 500, body: String(error) }))
      .finally(() => {
        underWay -= 1;
      });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the embedding server has no port');
  const bedrockUrl = `http://127.0.0.1:${address.port}`;
  return {
    url: `${bedrockUrl}/v1`,
    bedrockUrl,
    counts,
    faults: planned.faults,
    isLeft: async () => {
      const open = await new Promise<number>((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      );
      return open === 0 && underWay === 0;
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function makeFaults(): {
  readonly faults: Faults;
  readonly take: (request: number) => Fault | undefined;
  readonly refused: (text: string) => string | undefined;
} {
  const queue: Fault[] = [];
  let each: { readonly n: number; readonly fault: Fault } | undefined;
  let refuse: (text: string) => string | undefined = () => undefined;
  return {
    take: (request) => queue.shift() ?? (each !== undefined && request % each.n === 0 ? each.fault : undefined),
    refused: (text) => refuse(text),
    faults: {
      next: (fault, times = 1) => void queue.push(...new Array<Fault>(times).fill(fault)),
      every: (n, fault) => {
        each = fault === undefined ? undefined : { n, fault };
      },
      refuse: (words) => {
        refuse = words;
      },
      clear: () => {
        queue.length = 0;
        each = undefined;
        refuse = () => undefined;
      },
    },
  };
}

function readAsked(path: string, body: Record<string, unknown>): Asked | Reply {
  const invoked = /^\/model\/(.+)\/invoke$/.exec(path)?.[1];
  const model = invoked ?? String(body['model']);
  const floats = floatsOf(model.replace(/^(?:us|eu|apac|global)\./, ''));
  const known: Pick<Asked, 'protocol'> = {
    protocol: invoked === undefined ? 'openai' : invoked.includes('cohere.') ? 'cohere' : 'titan',
  };
  if (invoked === undefined && path !== '/v1/embeddings') {
    return refusal(known, 404, `Invalid URL (POST ${path})`, { type: 'invalid_request_error' });
  }
  if (floats === undefined) {
    return refusal(known, 404, `The model '${model}' does not exist`, { code: 'model_not_found' });
  }
  const wanted = body[known.protocol === 'cohere' ? 'output_dimension' : 'dimensions'];
  if (typeof wanted === 'number' && wanted > floats) {
    return refusal(known, 400, `Invalid value for 'dimensions' = ${wanted}`, { param: 'dimensions' });
  }
  const input =
    known.protocol === 'openai' ? body['input'] : known.protocol === 'cohere' ? body['texts'] : body['inputText'];
  const texts: string[] = Array.isArray(input) ? input.map(String) : [String(input)];
  return {
    ...known,
    texts,
    floats: typeof wanted === 'number' ? wanted : floats,
    isHash: model.startsWith('hash-'),
  };
}

/** Without a word that the models know. */
const spelt = (text: string): string => [...text].map((each) => each.codePointAt(0)).join(' ');

function replyOf(fault: Fault, asked: Asked): Reply | undefined {
  switch (fault.kind) {
    case 'throttle':
      return {
        ...refusal(asked, 429, 'Rate limit reached', { code: 'rate_limit_exceeded' }),
        headers: { ...headersOf(asked, 429), ...fault.headers },
      };
    case 'quota':
      return refusal(asked, 429, 'You exceeded your current quota', {
        type: 'insufficient_quota',
        code: 'insufficient_quota',
      });
    case 'error':
      return fault.body === undefined
        ? refusal(asked, fault.status, 'The server had an error')
        : {
            status: fault.status,
            body: fault.body,
            ...(fault.headers === undefined ? {} : { headers: fault.headers }),
          };
    default:
      return undefined;
  }
}

const exceptions: Readonly<Record<number, string>> = {
  400: 'ValidationException',
  401: 'UnrecognizedClientException',
  403: 'AccessDeniedException',
  404: 'ResourceNotFoundException',
  408: 'ModelTimeoutException',
  429: 'ThrottlingException',
  500: 'InternalServerException',
  503: 'ServiceUnavailableException',
};

/** Bedrock names the exception in a header. */
const headersOf = ({ protocol }: Pick<Asked, 'protocol'>, status: number): Record<string, string> =>
  protocol === 'openai' ? {} : { 'x-amzn-errortype': exceptions[status] ?? 'InternalServerException' };

function refusal(
  asked: Pick<Asked, 'protocol'>,
  status: number,
  message: string,
  more: Readonly<Record<string, string>> = {},
): Reply {
  const body =
    asked.protocol === 'openai'
      ? { error: { message, type: 'invalid_request_error', param: null, code: null, ...more } }
      : { message };
  return { status, headers: headersOf(asked, status), body };
}

interface Row {
  readonly index: number;
  readonly vector: readonly (number | null)[];
  readonly isGood: boolean;
}

function spoil(vectors: readonly Float32Array[], fault: Fault | undefined): readonly Row[] {
  const rows = vectors.map((vector, index): Row => ({ index, vector: [...vector], isGood: true }));
  const [first] = rows;
  if (first === undefined) return rows;
  switch (fault?.kind) {
    case 'half':
      return rows.slice(0, Math.ceil(rows.length / 2));
    case 'cut':
      return rows.map((row) => ({ ...row, isGood: false }));
    case 'shuffle':
      return rows.toReversed();
    case 'indices':
      return [
        { ...first, isGood: false },
        { ...first, isGood: false },
        { ...first, index: rows.length, isGood: false },
        ...rows.slice(1),
      ];
    case 'length':
      return rows.map((row, i) =>
        i === 0 || fault.all === true ? { ...row, vector: row.vector.slice(1), isGood: false } : row,
      );
    case 'not finite':
      if (fault.literal === true) return rows.map((row) => ({ ...row, isGood: false }));
      return [{ ...first, vector: [null, ...first.vector.slice(1)], isGood: false }, ...rows.slice(1)];
    default:
      return rows;
  }
}

function form(
  { protocol, texts }: Asked,
  rows: readonly Row[],
  body: Record<string, unknown>,
  { base64 }: EmbeddingServerOptions,
): unknown {
  const tokens = tokensOf(texts);
  if (protocol === 'titan') return { embedding: rows[0]?.vector, inputTextTokenCount: tokens };
  if (protocol === 'cohere') {
    const float = rows.map(({ vector }) => vector);
    const asked = body['embedding_types'] !== undefined;
    const embeddings = asked ? { float } : float;
    return { id: 'a', texts, embeddings, response_type: asked ? 'embeddings_by_type' : 'embeddings_floats' };
  }
  const data = rows.map(({ index, vector }) => ({
    object: 'embedding',
    index,
    embedding: base64 === true ? toBase64(vector) : vector,
  }));
  return { object: 'list', data, model: body['model'], usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

function toBase64(vector: readonly (number | null)[]): string {
  const floats = Float32Array.from(vector, (each) => each ?? Number.NaN);
  return Buffer.from(floats.buffer).toString('base64');
}

function send(response: ServerResponse, { status, headers, body }: Reply, fault?: Fault): void {
  let text = typeof body === 'string' ? body : JSON.stringify(body);
  if (fault?.kind === 'not finite' && fault.literal === true) text = text.replace(/\[-?[\d.e-]+,/, '[NaN,');
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  if (fault?.kind !== 'cut') {
    response.end(text);
    return;
  }
  response.write(text.slice(0, Math.floor(text.length / 2)), () => response.destroy());
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const count = (into: Map<string, number>, text: string): void => void into.set(text, (into.get(text) ?? 0) + 1);
