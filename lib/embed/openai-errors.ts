import {
  AccessDenied,
  InvalidEvent,
  RecordRefused,
  StoreUnavailable,
  Throttled,
  type VecferryError,
} from '../errors.ts';
import { retryAfterMs } from './retry-after.ts';

/** What an error's answer says; every compatible server has its own form. */
interface Said {
  readonly words: string;
  readonly code: string | undefined;
  /** The parameter that OpenAI takes offence at. */
  readonly param: string | undefined;
}

/** Parameters that the event decides, not a text. */
const ofTheEvent = new Set(['model', 'dimensions', 'encoding_format']);

/**
 * platform.openai.com/docs/guides/error-codes. RecordRefused: one of the texts, or their number, is at fault; which, is
 * found by asking for fewer.
 */
export function errorOf(status: number, headers: Headers, body: string, where: string): VecferryError {
  const { words, code, param } = readError(body);
  const said = `${where} answered ${status}: ${words}`;
  if (status === 429 && code === 'insufficient_quota') {
    return new AccessDenied(`${said}; the account's credit is used up, and waiting does not mend it`);
  }
  if (status === 429 || (status === 503 && headers.has('retry-after'))) {
    const ms = retryAfterMs(headers);
    return new Throttled(said, ms === undefined ? {} : { retryAfterMs: ms });
  }
  if (status === 401 || status === 403) {
    return new AccessDenied(`${said}; check the apiKey of the connection's secret`);
  }
  const isModel = code === 'model_not_found' || (param !== undefined && ofTheEvent.has(param));
  if (status === 404 || status === 405 || (isModel && status < 500)) {
    return new InvalidEvent(`${said}; check the name of embed.model and the url of its connection`, {
      ids: ['embed.model'],
    });
  }
  if (status === 400 || status === 413 || status === 422) return new RecordRefused(said);
  return new StoreUnavailable(said);
}

/** OpenAI: {"error": {message, code, param}}; Ollama: {"error": "…"}; TEI: {"error": "…", "error_type"}; vLLM: {"message", "code"} or {"detail"}. */
function readError(body: string): Said {
  const outer = parseObject(body);
  const inner = outer?.['error'];
  const from = typeof inner === 'object' && inner !== null ? new Map(Object.entries(inner)) : undefined;
  const at = (name: string): unknown => from?.get(name) ?? outer?.[name];
  const words = [at('message'), inner, at('detail')].find((each) => typeof each === 'string');
  const type = stringOr(at('type'));
  return {
    words: (typeof words === 'string' ? words : body.trim() === '' ? 'nothing' : body).slice(0, 500),
    code: type === 'insufficient_quota' ? type : stringOr(at('code')),
    param: stringOr(at('param')),
  };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : undefined;
  } catch {
    return undefined;
  }
}

const stringOr = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
