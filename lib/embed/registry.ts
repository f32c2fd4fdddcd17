import { InvalidEvent } from '../errors.ts';
import type { Embed, Model } from '../event-embed.ts';
import type { ResolvedConnection } from '../stores/port.ts';
import { type KnownModel, knownModels, unknownModel, unknownVersion } from './models.ts';
import type { EmbedderOptions } from './options.ts';
import type { Embedder, EmbedLimits } from './port.ts';
import type { ModelCard } from './stage/embed-files.ts';

export interface OpenEmbedder {
  readonly model: Model;
  /** In place of the provider's own limits. */
  readonly limits?: Embed['limits'];
  readonly connection: ResolvedConnection;
  /** False on AWS, where the local model has no place. */
  readonly isLocal: boolean;
}

/**
 * Makes an embedder ready; asks the provider nothing. Each provider's code is loaded when it is first asked for, so that no
 * function loads what it does not use.
 * @throws InvalidEvent when the model is not known and the event does not say enough of it.
 */
export async function openEmbedder({ model, limits = {}, connection, isLocal }: OpenEmbedder): Promise<Embedder> {
  const { card, limits: own } = describeModel(model);
  const known = findKnown(model);
  const options: EmbedderOptions = {
    card,
    modelId: model.name,
    limits: {
      ...own,
      requestsPerMinute: limits.requestsPerMinute ?? own.requestsPerMinute,
      tokensPerMinute: limits.tokensPerMinute ?? own.tokensPerMinute,
      concurrency: limits.concurrency ?? own.concurrency,
    },
    connection,
    region: model.region,
    isKnown: known !== undefined,
    askedDimensions: known === undefined || known.card.dimensions === card.dimensions ? undefined : card.dimensions,
  };
  switch (model.provider) {
    case 'bedrock':
      return (await import('./bedrock.ts')).openBedrock(options);
    case 'openai':
      return await (await import('./openai.ts')).openOpenai(options);
    case 'local':
      if (!isLocal) {
        const text = `the local model '${model.name}' runs on one machine only: its weights are not part of the functions`;
        const next =
          'on AWS use {"provider": "bedrock", "name": "amazon.titan-embed-text-v2:0"}, or a server of your own by {"provider": "openai", "connection": …}';
        throw new InvalidEvent(`${text}; ${next}`, { ids: ['embed.model.provider'] });
      }
      return await (await import('./local.ts')).openLocal(options);
  }
}

/**
 * What the event and our list say of a model, without its provider.
 * @throws InvalidEvent when neither says enough, or the model does not give vectors of these dimensions.
 */
export function describeModel(model: Model): { readonly card: ModelCard; readonly limits: EmbedLimits } {
  const known = findKnown(model);
  if (known === undefined) return describeUnknown(model);
  const card: ModelCard = {
    ...known.card,
    version: model.version ?? known.card.version,
    dimensions: model.dimensions ?? known.card.dimensions,
    usdPerMillionTokens: model.usdPerMillionTokens ?? known.card.usdPerMillionTokens,
    maxInputTokens: model.maxInputTokens ?? known.card.maxInputTokens,
  };
  const { dimensions } = known;
  const fits =
    typeof dimensions === 'string' ? card.dimensions <= known.card.dimensions : dimensions.includes(card.dimensions);
  if (!fits) {
    const gives = typeof dimensions === 'string' ? `1 to ${known.card.dimensions}` : dimensions.join(', ');
    throw new InvalidEvent(`'${model.name}' gives no vectors of ${card.dimensions} floats; it gives ${gives}`, {
      ids: ['embed.model.dimensions'],
    });
  }
  return { card, limits: known.limits };
}

function describeUnknown(model: Model): { readonly card: ModelCard; readonly limits: EmbedLimits } {
  const { provider, name, dimensions, maxInputTokens = unknownModel.maxInputTokens } = model;
  if (provider !== 'openai') {
    const names = knownModels.filter((each) => each.card.provider === provider).map(({ card }) => card.name);
    throw new InvalidEvent(`there is no model '${name}' of provider ${provider}; it has ${names.join(', ')}`, {
      ids: ['embed.model.name'],
    });
  }
  if (dimensions === undefined) {
    const text = `nothing is known of the model '${name}'; say how many floats its vectors have`;
    throw new InvalidEvent(
      `${text}: "dimensions", and "maxInputTokens" where it takes more than ${maxInputTokens} tokens`,
      {
        ids: ['embed.model.dimensions'],
      },
    );
  }
  return {
    card: {
      provider,
      name,
      version: model.version ?? unknownVersion,
      dimensions,
      distance: 'cosine',
      maxInputTokens,
      usdPerMillionTokens: model.usdPerMillionTokens ?? null,
      isMatryoshka: false,
    },
    limits: unknownModel.limits,
  };
}

/** A Bedrock model is found by its inference profile too (`us.cohere.embed-v4:0`), and is the same model: its vectors are. */
function findKnown({ provider, name }: Model): KnownModel | undefined {
  return knownModels.find(({ card }) => card.provider === provider && card.name === baseName(provider, name));
}

function baseName(provider: Model['provider'], name: string): string {
  return provider === 'bedrock' ? name.replace(/^(us|us-gov|eu|apac|jp|au|ca|global)\./, '') : name;
}
