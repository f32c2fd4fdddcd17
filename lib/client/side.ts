/**
 * A collection as an application uses it: source or target of a run, through the application's own database client or
 * through one of vecferry's stores (store-side.ts). R, Q and H are the application's own types of a record, a query and
 * a hit; both sides take the same, in the source's ids and field names. Each method throws the store's error.
 */
export interface ClientSide<R extends Identified, Q, H extends Identified> {
  /** The nearest records, nearest first. */
  search(query: Q): Promise<readonly H[]>;
  /** Writes the records; those that are there are replaced. Durable when it returns. */
  upsert(records: readonly R[]): Promise<void>;
  /** Deletes the records; ids that are not there are no error. Durable when it returns. */
  delete(ids: readonly string[]): Promise<void>;
  /** The records with these ids, in any order, as the last acknowledged write left them; ids that are not there are left out. */
  fetch(ids: readonly string[]): Promise<readonly R[]>;
}

export interface Identified {
  readonly id: string;
}

/** A record of vecferry's own stores. */
export interface ClientRecord extends Identified {
  /** By vector name; a vector that is left out is one that the record does not have. */
  readonly vectors: Readonly<Record<string, ClientVector>>;
  /** A JSON object. An integer beyond 2^53 is a bigint, read and written, so that none is rounded in silence. */
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Dense, sparse, or several dense ones (late interaction). */
export type ClientVector = DenseVector | SparseVector | readonly DenseVector[];
export type DenseVector = Float32Array | readonly number[];

export interface SparseVector {
  /** Zero-based, ascending, each once. */
  readonly indices: Uint32Array | readonly number[];
  /** As many as there are indices. */
  readonly values: DenseVector;
}
