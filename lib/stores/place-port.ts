import type { Batch } from '../batch.ts';
import type { CollectionSchema } from '../schema.ts';

/**
 * What a run in place reads and writes: the collection itself, which gets a new vector beside the old one. Opened so, a
 * source has the old one under the vector's name and a target the new one, before the switch and after it, and neither
 * sees the other's. A target's `write` fills the vector alone, of those records that lack it and whose text is still the
 * batch's; what was changed or deleted meanwhile counts as written, and is the catch-up's.
 */
export interface InPlace {
  readonly side: 'source' | 'target';
  readonly run: string;
  /** The vector; undefined: the only dense one, else `embedding`. */
  readonly vector: string | undefined;
  /** Its floats; undefined before that is planned. */
  readonly dimension: number | undefined;
  /** Payload fields that its text is made of, as a template names them: white space alone is no text. */
  readonly fields: readonly string[];
  /**
   * all: a new vector beside the old one. missing: the vector that is there is filled where a record lacks it; the source
   * then has those records alone, and shows them without it.
   */
  readonly records: 'all' | 'missing';
}

export interface PlaceTarget {
  /**
   * Looks whether the collection can take the vector that `schema` has, before anything is changed. @param isNew false: an
   * earlier start of the run may have made it. @param isSearched false: validation searches nothing. @returns what a person should know: locks, space, what stays.
   * @throws Incompatible, AccessDenied with every reason why it cannot.
   */
  check(schema: CollectionSchema, options: PlaceCheck): Promise<readonly string[]>;
  /** Records that lack the vector and may have a text, in key order, after the key of an earlier answer. */
  lacking(after: string | null, limit: number): Promise<Lacking>;
}

export interface PlaceCheck {
  readonly isNew: boolean;
  readonly isSearched: boolean;
}

export interface Lacking {
  /** Without vectors. */
  readonly batch: Batch;
  /** Where the next ones begin; null: these were the last. */
  readonly next: string | null;
}

/** Makes the vectors of records that lack them; one without a text is left out. */
export type FillLacking = (lacking: Batch) => Promise<Batch>;
