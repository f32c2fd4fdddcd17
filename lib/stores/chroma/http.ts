import {
  AccessDenied,
  InvalidEvent,
  NotFound,
  RecordRefused,
  StoreUnavailable,
  Throttled,
  VecferryError,
} from '../../errors.ts';

/**
 * Chroma's REST API v2. Texts go in and come out: the npm client parses every number into a double, which would round
 * integers above 2^53, and sends embeddings as decimal digits where the server takes their bytes.
 */
export interface ChromaApi {
  /** The answer's text. `path` is relative to the database. @throws an error of errors.ts for every answer but 2xx. */
  call(what: string, method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: string): Promise<string>;
  /** What the server says about its limits, asked once. */
  limits(): Promise<{ readonly maxBatchSize: number; readonly takesBase64: boolean }>;
}

export interface ChromaConnection {
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly tenant: string;
  readonly database: string;
}

/** Milliseconds an answer may take. Chroma builds its graph while it writes, so a large batch takes seconds. */
const timeoutMs = 120_000;

export function chromaApi({ url, apiKey, headers, tenant, database }: ChromaConnection): ChromaApi {
  const root = `${url.replace(/\/+$/, '')}/api/v2`;
  const base = `${root}/tenants/${encodeURIComponent(tenant)}/databases/${encodeURIComponent(database)}`;
  const sent = {
    'content-type': 'application/json',
    ...(apiKey === undefined ? {} : { 'x-chroma-token': apiKey }),
    ...headers,
  };
  const request = async (what: string, method: string, address: string, body?: string): Promise<string> => {
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      const response = await fetch(address, { method, headers: sent, signal, ...(body === undefined ? {} : { body }) });
      const text = await response.text();
      if (response.ok) return text;
      throw refusal(what, response, text);
    } catch (cause) {
      if (cause instanceof VecferryError) throw cause;
      throw new StoreUnavailable(
        `${what}: Chroma at ${new URL(url).host} did not answer: ${reasonOf(cause)}; check the url of the connection, and that the server runs`,
        {
          cause,
        },
      );
    }
  };
  let limits: Promise<{ readonly maxBatchSize: number; readonly takesBase64: boolean }> | undefined;
  const askLimits = async () => parseLimits(await request('asking for limits', 'GET', `${root}/pre-flight-checks`));
  return {
    call: (what, method, path, body) => request(what, method, `${base}${path}`, body),
    limits: async () => {
      limits ??= askLimits();
      try {
        return await limits;
      } catch (error) {
        limits = undefined;
        throw error;
      }
    },
  };
}

function parseLimits(text: string): { readonly maxBatchSize: number; readonly takesBase64: boolean } {
  const parsed: unknown = JSON.parse(text);
  const has = (name: string): unknown =>
    typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, name) : undefined;
  const size = has('max_batch_size');
  // 166: what Chroma's oldest SQLite builds (999 variables, 6 a record) take, for servers that do not say.
  const maxBatchSize = typeof size === 'number' && size > 0 ? size : 166;
  return { maxBatchSize, takesBase64: has('supports_base64_encoding') === true };
}

function refusal(what: string, response: Response, text: string): VecferryError {
  const { status } = response;
  const message = `${what}: Chroma answered ${status}: ${reasonIn(text)}`;
  if (status === 429 || (status === 503 && response.headers.has('retry-after')))
    return new Throttled(message, retryAfter(response.headers.get('retry-after')));
  if (status === 401 || status === 403) return new AccessDenied(message);
  if (status === 404) return new NotFound(message);
  if (status === 409) return new InvalidEvent(message);
  if (status === 400 || status === 413 || status === 422) return new RecordRefused(message);
  return new StoreUnavailable(message);
}

function retryAfter(header: string | null): { readonly retryAfterMs?: number } {
  const seconds = Number(header ?? Number.NaN);
  return Number.isFinite(seconds) ? { retryAfterMs: seconds * 1000 } : {};
}

/** The server's message without its frame, at most 300 characters. */
function reasonIn(text: string): string {
  const match = /"message":"((?:[^"\\]|\\.)*)"/.exec(text);
  return (match?.[1] ?? text).slice(0, 300);
}

function reasonOf(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null) return String(cause);
  const inner: unknown = Reflect.get(cause, 'cause');
  return inner === undefined ? String(cause) : `${String(cause)} (${String(inner)})`;
}
