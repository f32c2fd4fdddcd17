import { InvalidEvent } from '../errors.ts';
import type { Embed, Model } from '../event-embed.ts';
import type { ResolvedConnection } from '../stores/port.ts';
import type { Embedder } from './port.ts';

export interface OpenEmbedder {
  readonly model: Model;
  /** In place of the provider's own limits. */
  readonly limits?: Embed['limits'];
  readonly connection: ResolvedConnection;
  /** False on AWS, where the local model has no place. */
  readonly isLocal: boolean;
}

/** Makes an embedder ready; asks the provider nothing. @throws InvalidEvent when the model is not known and the event does not say enough of it. */
export async function openEmbedder({ model }: OpenEmbedder): Promise<Embedder> {
  throw new InvalidEvent(`embed.model: there is no provider '${model.provider}' yet`, {
    ids: ['embed.model.provider'],
  });
}
