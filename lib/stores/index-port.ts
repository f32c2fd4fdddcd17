import type { Distance, SearchSettings, VectorIndex } from '../schema.ts';

/**
 * What a run that changes an index opens and asks: the collection itself, of which one vector gets another index. Opened so, a
 * source searches by the old index and a target by the new one, where the store can hold both at once (capabilities.changesIndex
 * `beside`); a target's `buildIndex` and `indexProgress` make the new one and nothing else, its `pointer` swaps the two, and its
 * `drop` drops the one that readers do not use.
 */
export interface IndexSide {
  readonly side: 'source' | 'target';
  readonly run: string;
  /** The vector; undefined: the only dense one. */
  readonly vector: string | undefined;
  /** Name or operator class of the index that is replaced; left out: the only one. */
  readonly replaces?: string | undefined;
  /** What is wanted, with everything that was left out suggested; undefined before that is planned. */
  readonly to: IndexForm | undefined;
  /** What was there when the run was planned: what a rollback makes again. */
  readonly from: IndexForm | undefined;
}

/** An index as a store has it. */
export interface IndexForm {
  readonly index: VectorIndex;
  /** Qdrant's quantization_config; null: none. Left out: the store has no such thing. */
  readonly quantization?: Readonly<Record<string, unknown>> | null | undefined;
}

/** What is known of the vector before it is changed. */
export interface IndexedNow extends IndexForm {
  readonly vector: string;
  readonly records: number;
  readonly dimension: number;
  readonly distance: Distance;
  /** On disk, where the store tells. */
  readonly bytes?: number;
}

export interface IndexCheck {
  /** What a person should know: locks, space, what readers see meanwhile. */
  readonly notes: readonly string[];
  /** before: the old one cannot be searched once the new one is there. */
  readonly oldAsked: 'in turn' | 'before';
}

export interface IndexTarget {
  /** @throws NotFound, Incompatible where the vector is not there, has no index to change, or there are several and none is named. */
  now(): Promise<IndexedNow>;
  /**
   * Looks whether it can be done, and changes nothing. @throws Incompatible with every reason why it cannot.
   */
  check(wanted: IndexForm, options: { readonly isNew: boolean }): Promise<IndexCheck>;
  /** What is there by now, of both; undefined: it is not there. For the report. */
  sizes(): Promise<{ readonly old?: number; readonly new?: number }>;
  /** Which of the two a search as an application makes it uses by now, where the store tells: `old`, `new`, or undefined for neither. */
  used?(settings: SearchSettings): Promise<'old' | 'new' | undefined>;
}
