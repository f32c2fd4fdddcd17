import type { Batch } from '../../batch.ts';
import type { VectorSpec } from '../../schema.ts';
import type { Hit } from '../port.ts';
import type { DecodedPoints } from './answers.ts';
import type { QdrantSearch } from './search.ts';

/** How records travel to and from one collection: gRPC or REST, the same for the rest of the store. */
export interface DataPath {
  readonly name: 'grpc' | 'rest';
  /**
   * Sends the records at `positions`, as many as fit into one request, and waits until they are applied.
   * @throws TooLarge when the server takes no request of that size
   */
  upsert(batch: Batch, positions: readonly number[], options: UpsertLimits): Promise<Sent>;
  /** Deletes these records and waits until that is applied; at least one id, all of them ids that Qdrant has. */
  delete(ids: readonly string[]): Promise<void>;
  /** A page of records in the order of their ids, from `from` (inclusive) on; null is the beginning. */
  scroll(vectors: readonly VectorSpec[], from: string | null, limit: number): Promise<DecodedPoints>;
  /** Ids only, in order. */
  scrollIds(
    from: string | null,
    limit: number,
  ): Promise<{ readonly ids: readonly string[]; readonly next: string | null }>;
  get(vectors: readonly VectorSpec[], ids: readonly string[]): Promise<DecodedPoints>;
  search(request: QdrantSearch): Promise<readonly Hit[]>;
  /** Ids of up to `limit` records drawn at random. */
  sample(limit: number): Promise<readonly string[]>;
  close(): void;
}

export interface UpsertLimits {
  readonly insertOnly: boolean;
  readonly maxBytes: number;
  readonly maxRecords: number;
}

export interface Sent {
  /** How many of the positions are done. */
  readonly taken: number;
  /** Positions among them that only REST can carry. */
  readonly restOnly: readonly number[];
}

/** A request's answer is waited for this long: an upsert is applied before it is answered. */
export const requestTimeoutMs = 120_000;
