import { modelText } from '../embed/stage/model-id.ts';
import type { Model } from '../event-embed.ts';
import type { ModelId } from '../schema.ts';
import type { Planned, SearchedVector } from './searched-vectors.ts';

/**
 * What a query of a vector is made of on either side. Where both hold the same vectors one serves both. Where the target's
 * are made by another model, or are truncated, the source is searched with a vector of its own, and what it finds is not
 * held against neighbours among the target's vectors: lib/recall/drift.ts holds one beside the other.
 */
export interface QuerySpace {
  /** Floats of the vector as the target gets it, and before it is truncated; undefined where neither side says. */
  readonly dimension: number | undefined;
  readonly whole: number | undefined;
  /** What embeds a text for the target; undefined: no model is known that can be asked. */
  readonly model: Model | undefined;
  /** undefined: the source is searched with the target's. */
  readonly source: SourceSpace | undefined;
}

export interface SourceSpace {
  /** The vector that is searched, by its name in the source; undefined: there is none, or it cannot be told which. */
  readonly vector: string | undefined;
  readonly dimension: number | undefined;
  /** True: the model is the target's, so that a text is embedded once. */
  readonly isSameModel: boolean;
  /** What embeds a text for the source; undefined: no model is known that can be asked. */
  readonly model: Model | undefined;
  /** Why what the source finds is not held against the truth, as the end of a sentence. */
  readonly why: string;
}

export function querySpace(planned: Planned, { vector, targetVector, dimension }: SearchedVector): QuerySpace {
  const { event, source, embed, mapping } = planned;
  const isMade = embed?.vector === vector;
  const own = source.vectors.find(({ name, kind }) => name === vector && kind === 'dense');
  const oldModel = askableModel(planned);
  const truncated = mapping.truncate?.[targetVector];
  if (isMade) {
    const { dimensions } = embed.model;
    const space = { dimension: truncated ?? dimensions, whole: dimensions, model: event.embed?.model };
    const old = own ?? onlyDense(planned);
    const isSameModel = embed.records === 'missing';
    const why = whyApart(planned, { isSameModel, model: old?.model ?? event.source.model });
    const model = isSameModel ? space.model : oldModel;
    return { ...space, source: { vector: old?.name, dimension: old?.dimension, isSameModel, model, why } };
  }
  // The same model as that of "embed": its vectors are copied.
  const model = oldModel ?? (embed === undefined ? event.embed?.model : undefined);
  const space = { dimension, whole: own?.dimension ?? dimension, model };
  if (truncated === undefined) return { ...space, source: undefined };
  const why = `its vectors are whole, and the target has the first ${truncated} floats of each`;
  return { ...space, source: { vector, dimension: own?.dimension, isSameModel: true, model, why } };
}

function onlyDense({ source }: Planned) {
  const [first, ...others] = source.vectors.filter(({ kind }) => kind === 'dense');
  return others.length === 0 ? first : undefined;
}

/** The model of the source, where the event says how it is asked. */
function askableModel({ event: { source } }: Planned): Model | undefined {
  return source.model !== undefined && 'provider' in source.model ? source.model : undefined;
}

function whyApart(
  { source }: Planned,
  { isSameModel, model }: { readonly isSameModel: boolean; readonly model: ModelId | undefined },
): string {
  if (isSameModel) return 'it lacks the vectors that the run makes';
  if (!source.vectors.some(({ kind }) => kind === 'dense')) return 'it has no dense vector';
  return `its vectors are of ${otherModel(model)}`;
}

/** `another model (glove, version 6B)` */
function otherModel(model: ModelId | undefined): string {
  return model === undefined ? 'another model' : `another model (${modelText(model)})`;
}
