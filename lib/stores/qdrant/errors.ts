import { type ServiceError, status } from '@grpc/grpc-js';
import {
  AccessDenied,
  Incompatible,
  InvalidEvent,
  NotFound,
  RecordRefused,
  StoreUnavailable,
  Throttled,
  VecferryError,
} from '../../errors.ts';

/** Turns what gRPC, HTTP and Qdrant's client throw into the errors of errors.ts. */

/** What a request was about, for messages: never holds a key. */
export interface Asked {
  /** `http://host:6333` */
  readonly where: string;
  /** `Upsert of articles` */
  readonly what: string;
  /** True when records were sent: then a refusal is about them, else about what was asked for. */
  readonly isWrite: boolean;
}

/** The request is larger than the server takes: half of it may pass. */
export class TooLarge extends Error {}

/** The error to throw: RecordRefused without ids where the server says that records are wrong. */
export function fromGrpc(error: ServiceError, asked: Asked): Error {
  const said = `${asked.where} answered ${asked.what} with ${status[error.code] ?? error.code}: ${error.details}`;
  if (isSizeComplaint(error.details)) return new TooLarge(said, { cause: error });
  if (isFull(error.details)) return full(said, error);
  const [after] = error.metadata.get('retry-after');
  const pause = retryAfter(after?.toString());
  switch (error.code) {
    case status.RESOURCE_EXHAUSTED:
      return new Throttled(said, { ...pause, cause: error });
    // As a 503 over REST: one that says when to come back is busy, not away.
    case status.UNAVAILABLE:
      if (pause.retryAfterMs === undefined) return new StoreUnavailable(said, { cause: error });
      return new Throttled(said, { ...pause, cause: error });
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return new AccessDenied(`${said}; check the apiKey of the connection`, { cause: error });
    case status.NOT_FOUND:
      return new NotFound(said, { cause: error });
    case status.INVALID_ARGUMENT:
    case status.OUT_OF_RANGE:
    case status.FAILED_PRECONDITION:
    case status.ALREADY_EXISTS:
    case status.UNIMPLEMENTED:
      return asked.isWrite ? new RecordRefused(said, { cause: error }) : new InvalidEvent(said, { cause: error });
    default:
      return new StoreUnavailable(said, { cause: error });
  }
}

/** The same for an HTTP answer that is not 2xx. `body` is its text. */
export function fromHttp(code: number, body: string, after: string | null | undefined, asked: Asked): Error {
  const said = `${asked.where} answered ${asked.what} with ${code}: ${messageIn(body)}`;
  if (code === 413 || isSizeComplaint(body)) return new TooLarge(said);
  if (isFull(body)) return full(said);
  const pause = retryAfter(after ?? undefined);
  if (code === 429 || (code === 503 && pause.retryAfterMs !== undefined)) return new Throttled(said, pause);
  if (code === 401 || code === 403) return new AccessDenied(`${said}; check the apiKey of the connection`);
  if (code === 404) return new NotFound(said);
  if (code >= 500 || code === 408) return new StoreUnavailable(said);
  return asked.isWrite ? new RecordRefused(said) : new InvalidEvent(said);
}

/** What `fetch` or Qdrant's REST client threw: an answer that is not 2xx, or no answer at all. */
export function fromClient(error: unknown, asked: Asked): Error {
  if (error instanceof VecferryError || error instanceof TooLarge) return error;
  const { name, message } = Object(error);
  // QdrantClientTimeoutError is what Qdrant's client makes of an AbortError, TimeoutError what AbortSignal.timeout throws.
  if (['QdrantClientTimeoutError', 'AbortError', 'TimeoutError'].includes(name))
    return new StoreUnavailable(
      `${asked.where} did not answer ${asked.what} in time (${message}); it may still be at work on it, and it can be asked again`,
      { cause: error },
    );
  if (!(error instanceof Error)) return new StoreUnavailable(`${asked.where} ${asked.what}: ${error}`);
  // ApiError of @qdrant/openapi-typescript-fetch
  if ('status' in error && typeof error.status === 'number') {
    const body = 'data' in error ? error.data : '';
    const after = 'headers' in error && error.headers instanceof Headers ? error.headers.get('retry-after') : null;
    return fromHttp(error.status, typeof body === 'string' ? body : JSON.stringify(body), after, asked);
  }
  // QdrantClientResourceExhaustedError: a 429 with a Retry-After, in seconds
  if ('retry_after' in error) {
    const said = `${asked.where} answered ${asked.what} with 429: ${error.message}`;
    return new Throttled(said, { ...retryAfter(String(error.retry_after)), cause: error });
  }
  const reason = error.cause instanceof Error ? `${error.message}, ${error.cause.message}` : error.message;
  const mend = 'check the url of the connection, and that the server runs';
  return new StoreUnavailable(`${asked.where} cannot be reached for ${asked.what} (${reason}); ${mend}`, {
    cause: error,
  });
}

/**
 * Strict mode's max_points_count, max_collection_vector_size_bytes and max_collection_payload_size_bytes: the collection takes no record
 * any more, whichever it is (check_collection_size_limit in Qdrant's source).
 */
const isFull = (message: string): boolean =>
  /Max (?:points count|vector storage size|payload storage size) limit of \S+ reached/i.test(message);

const full = (said: string, cause?: Error): Incompatible =>
  new Incompatible(
    `${said}; no record is at fault: the collection is full by its strict mode. Raise the limit in its strict_mode_config, or move less`,
    { cause },
  );

/** Qdrant says `{"status":{"error": …}}`; a proxy says anything. */
function messageIn(body: string): string {
  const found = /"error":("(?:[^"\\]|\\.)*")/.exec(body)?.[1];
  if (found === undefined) return body.slice(0, 500);
  const text: unknown = JSON.parse(found);
  return String(text);
}

/** Retry-After in seconds or as a date. */
function retryAfter(header: string | undefined): { retryAfterMs?: number } {
  if (header === undefined || header === '') return {};
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? { retryAfterMs: Math.max(0, ms) } : {};
}

/** tonic: `message length too large`; grpc: `larger than max`; actix: `is larger than allowed`. */
function isSizeComplaint(message: string): boolean {
  return /message length too large|larger than (?:max|allowed)/i.test(message);
}
