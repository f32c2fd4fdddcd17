import type { Deadline, Log } from '../log.ts';
import type { ModelCard } from './stage/embed-files.ts';

/**
 * An embedding model that can be asked: one file a provider. Requests are made one by one here; what packs texts into them,
 * keeps to rate limits and asks again is send.ts, the same for all.
 */
export interface Embedder {
  readonly card: ModelCard;
  readonly limits: EmbedLimits;
  /** Tokens of a text: exact where the tokenizer is at hand, else an estimate that errs on the high side. */
  countTokens(text: string): number;
  /** True where the provider itself refuses a text that is too long, for nothing; others cut it off unseen. */
  readonly refusesLongTexts?: boolean;
  /**
   * One request, asked once. @throws Throttled (with retryAfterMs where the provider says), StoreUnavailable, AccessDenied,
   * InvalidEvent (the provider knows no such model, or not these dimensions).
   */
  embed(request: EmbedRequest): Promise<EmbedResponse>;
  close(): Promise<void>;
}

export interface EmbedRequest {
  readonly texts: readonly string[];
  /** Models of some providers embed a query otherwise than a document. */
  readonly purpose: 'document' | 'query';
}

export interface EmbedResponse {
  /** One a text, in their order: the vector, why this text has none, or undefined where the answer left it out. */
  readonly answers: readonly (Float32Array | { readonly refused: string } | undefined)[];
  /** As the provider counts them, of the whole request; undefined where it does not say. */
  readonly tokens: number | undefined;
}

/** The source of each figure stands beside it in the provider's file; the event may say lower or higher ones. */
export interface EmbedLimits {
  readonly textsPerRequest: number;
  readonly tokensPerRequest: number;
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  /** Requests under way at once. */
  readonly concurrency: number;
}

/** A text that has no answer yet; `key` is lib/embed/stage/made.ts's hash of model and text. */
export interface TextToEmbed {
  readonly key: string;
  readonly text: string;
}

export interface EmbeddedText {
  readonly key: string;
  readonly answer: Float32Array | { readonly failed: string };
  /** Its share of the request's. */
  readonly tokens: number;
}

export interface SendOptions {
  readonly embedder: Embedder;
  readonly purpose: EmbedRequest['purpose'];
  /**
   * Drawn from as there is room for another request, so that a run's texts need not be in memory. Each key once; and it may
   * not wait for the answer of a text that it gave before, which may still be waiting for others to fill its request.
   */
  readonly texts: AsyncIterable<TextToEmbed> | Iterable<TextToEmbed>;
  /**
   * Called with the answers of a request as they arrive, once a text; awaited, so that no more is asked than can be kept.
   * Calls overlap, up to `concurrency`: what commits in groups has its group.
   */
  readonly onAnswers: (answers: readonly EmbeddedText[]) => Promise<void>;
  /**
   * Asked before each request with the tokens that it and those under way would take, beyond what onAnswers was told of;
   * throws BudgetExceeded to stop: it is asked again once what was under way has arrived, and its word counts when nothing is.
   */
  readonly mayAsk?: (tokens: number) => void;
  /** Told of each request that found the provider busy or away, and is made again. */
  readonly onTrouble?: (error: Error) => void;
  /** True where the model has answered other texts of the run: then texts that fail one by one are at fault, not the model. */
  readonly hasAnswered?: boolean;
  /** No request is begun near it. */
  readonly deadline: Deadline;
  readonly log: Log;
  /** For tests. */
  readonly clock?: { readonly now: () => number; readonly sleep: (ms: number) => Promise<void> };
}

export interface Sent {
  /** False where the deadline came first. */
  readonly done: boolean;
  readonly requests: number;
  readonly throttled: number;
}
