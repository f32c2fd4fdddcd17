import type { ResolvedConnection } from '../stores/port.ts';
import type { EmbedLimits } from './port.ts';
import type { ModelCard } from './stage/embed-files.ts';

/** What a provider's file makes an embedder of. */
export interface EmbedderOptions {
  readonly card: ModelCard;
  /** Who is asked, where it is not the card's name: an inference profile of Bedrock. */
  readonly modelId?: string;
  readonly limits: EmbedLimits;
  readonly connection: ResolvedConnection;
  readonly region: string | undefined;
  /** False where all that is known of the model stands in the event. */
  readonly isKnown: boolean;
  /** Floats that the provider is to be asked for; undefined: the model's own, which it gives unasked. */
  readonly askedDimensions: number | undefined;
  /** Milliseconds that a request may take; for tests. */
  readonly requestMs?: number;
}

/**
 * Below lib/log.ts's handOverMs: a request that is begun at the last moment ends before the function is stopped. One that
 * takes longer is asked again with half as many texts.
 */
export const longestRequestMs = 25_000;
