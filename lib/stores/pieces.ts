import { type Batch, batchBytes, sliceBatch } from '../batch.ts';
import type { Piece, Range, ReadOptions } from './port.ts';

/** How a store that first lists a range's ids, sorted, turns them into pieces that keep to the limits. */
export interface ListedRange {
  readonly ids: readonly string[];
  readonly limits: ReadOptions;
  /** The records ids[from] to ids[to] (exclusive), in that order; records that are no longer there are left out. */
  fetch(from: number, to: number): Promise<Batch>;
  /** What is left of the range from `id` on; undefined: the id after the listed ones, null if there is none. */
  rest(id: string | undefined): Range | null;
}

/** Records read first; how many follow depends on the bytes that these take. */
const firstRead = 256;

export async function* readListed({ ids, limits, fetch, rest }: ListedRange): AsyncGenerator<Piece> {
  let take = firstRead;
  for (let at = 0; at < ids.length; ) {
    const end = Math.min(at + take, at + limits.maxRecords, ids.length);
    const read = await fetch(at, end);
    yield* cut(read, limits, rest, ids[end]);
    take = nextTake(read, take, limits);
    at = end;
  }
}

/** So many that they fill a batch by the mean of those just read; at most four times as many as before, for some are larger. */
function nextTake(read: Batch, take: number, limits: ReadOptions): number {
  const perRecord = Math.max(1, batchBytes(read) / Math.max(1, read.count));
  return Math.max(1, Math.min(take * 4, limits.maxRecords, Math.floor(limits.maxBytes / perRecord)));
}

/** Cuts what was read where it would pass the limit in bytes. `after` is the id that follows. */
function* cut(
  read: Batch,
  limits: ReadOptions,
  rest: ListedRange['rest'],
  after: string | undefined,
): Generator<Piece> {
  const vectorBytes = batchBytes({ ...read, payloads: [] }) / Math.max(1, read.count);
  let start = 0;
  let bytes = 0;
  for (let at = 0; at < read.count; at++) {
    const size = vectorBytes + (read.payloads[at]?.length ?? 0);
    if (at > start && bytes + size > limits.maxBytes) {
      yield { batch: sliceBatch(read, start, at), rest: rest(read.ids[at]) };
      start = at;
      bytes = 0;
    }
    bytes += size;
  }
  if (read.count > start) yield { batch: sliceBatch(read, start, read.count), rest: rest(after) };
}
