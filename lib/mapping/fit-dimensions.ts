import { isMatryoshka, modelText } from '../embed/stage/model-id.ts';
import type { VectorSpec } from '../schema.ts';

/** What `dimensions` of a vector's mapping comes to: the floats that are kept, or why they cannot be. */
export interface FittedDimension {
  /** Floats of a vector in the target. */
  readonly dimension: number | undefined;
  /** Set where the source's vectors are truncated to it. */
  readonly truncate?: number;
  /** Ends of sentences that begin with the vector. */
  readonly problem?: string;
  readonly note?: string;
}

/** The rule of lib/mapping/truncate.ts: the first floats of a vector are one only where its model was trained for that. */
export function fitDimension(
  { kind, dimension, distance, model }: VectorSpec,
  asked: number | undefined,
  isMade: boolean,
): FittedDimension {
  if (asked === undefined || asked === dimension) return { dimension };
  if (kind !== 'dense')
    return { dimension, problem: `is ${kind}, and mapping.vectors asks for ${asked} dimensions of it` };
  if (dimension === undefined || asked > dimension) {
    const has = dimension === undefined ? 'vectors of no one length' : `${dimension} dimensions`;
    return { dimension, problem: `has ${has}, and mapping.vectors asks for ${asked}; a vector can only be shortened` };
  }
  if (model === undefined || !isMatryoshka(model)) {
    const where = isMade ? 'embed.model' : 'source.model';
    const whose = model === undefined ? 'a model that is not known' : `${modelText(model)}, which is not known for it`;
    const next = `where its model was trained so, say ${where} {"name": …, "isMatryoshka": true}; else leave dimensions out`;
    return {
      dimension,
      problem: `is asked for in ${asked} of its ${dimension} dimensions, which are a vector by themselves only of a Matryoshka model, and it was made by ${whose}; ${next}`,
    };
  }
  const kept = `the first ${asked} of ${dimension} floats are kept, at length 1`;
  const lengths =
    distance === 'cosine' || distance === undefined ? '' : `; what their length said is lost to distance ${distance}`;
  const provider = isMade
    ? `; embed.model {"dimensions": ${asked}} asks the provider for them, where it can give so many`
    : '';
  const note = `${kept}${lengths}. Neighbours differ from before by design: recall is measured among the truncated vectors, so it says whether the index is right and not what the truncation costs${provider}`;
  return { dimension: asked, truncate: asked, note };
}
