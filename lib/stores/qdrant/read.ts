import { type Batch, batchBytes, concatBatches, noRecords, sliceBatch } from '../../batch.ts';
import { StoreUnavailable } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';
import type { Piece, PlannedRange, Range, ReadOptions } from '../port.ts';
import type { DecodedPoints } from './answers.ts';
import type { DataPath } from './data.ts';
import { compareIds, cutRanges } from './ids.ts';

/** Records of a read's first page: nothing is known of their size yet, and a payload may be a megabyte. */
const firstPage = 32;
/** A page is asked for by records; this many bytes are aimed at, from the mean of the page before. */
const pageBytes = 8 * 1024 * 1024;
/** Up to this many records, ranges are cut from all ids; above, from a sample. */
const allIdsUpTo = 50_000;
/** Sampled ids a range: quantiles then lie within about 14 % (1/sqrt(50)) of an even cut. */
const samplesPerRange = 50;
const maxSamples = 20_000;
/** Ids a page, without payload and vectors. */
const idsPage = 10_000;
/** Records asked for by id in one request. */
const idsPerGet = 250;

export interface ReadPaths {
  readonly data: DataPath;
  /** Tells exactly what gRPC may have rounded. */
  readonly rest: DataPath;
  readonly vectors: readonly VectorSpec[];
  /** Records that one page, or one sample, may have: strict mode's max_query_limit. */
  readonly maxPage: number;
}

/** The records of a range, a page ahead of the caller. */
export async function* readRange(paths: ReadPaths, range: Range, options: ReadOptions): AsyncGenerator<Piece> {
  let limit = Math.min(options.maxRecords, paths.maxPage, firstPage);
  let coming: Promise<Page> | undefined = readPage(paths, range.from, range.to, limit);
  while (coming !== undefined) {
    const { batch, next }: Page = await coming;
    const mean = batchBytes(batch) / Math.max(1, batch.count);
    limit = Math.max(
      1,
      Math.min(options.maxRecords, paths.maxPage, Math.floor(Math.min(pageBytes, options.maxBytes) / (mean + 64))),
    );
    coming = next === null ? undefined : readPage(paths, next, range.to, limit);
    // The caller may stop between pages; the page under way then fails without anyone waiting for it.
    coming?.catch(() => {});
    for (const piece of splitByBytes(batch, options.maxBytes)) {
      const from = batch.ids[piece.end] ?? next;
      yield { batch: sliceBatch(batch, piece.start, piece.end), rest: from === null ? null : { from, to: range.to } };
    }
  }
}

/** The records with these ids, those that are there. */
export async function fetchByIds(paths: ReadPaths, ids: readonly string[]): Promise<Batch> {
  if (ids.length === 0) return noRecords(paths.vectors);
  const parts: Batch[] = [];
  for (let at = 0; at < ids.length; at += idsPerGet) {
    const found = await paths.data.get(paths.vectors, ids.slice(at, at + idsPerGet));
    parts.push(await withExactNumbers(paths, found));
  }
  return concatBatches(parts);
}

type IdLister = Pick<DataPath, 'sample' | 'scrollIds'>;

/** Ranges of about `perRange` records that cover all ids. */
export async function planRanges(
  data: IdLister,
  count: number,
  perRange: number,
  maxPage = Number.POSITIVE_INFINITY,
): Promise<readonly PlannedRange[]> {
  if (count <= perRange) return [{ from: null, to: null, records: count }];
  if (count <= allIdsUpTo) return cutRanges(await allIds(data, maxPage), count, perRange);
  const samples = Math.min(maxSamples, maxPage, Math.ceil(count / perRange) * samplesPerRange);
  return cutRanges(await data.sample(samples), count, perRange);
}

interface Page {
  readonly batch: Batch;
  /** The id that the next page begins with; null when the range is read. */
  readonly next: string | null;
}

async function readPage(paths: ReadPaths, from: string | null, to: string | null, limit: number): Promise<Page> {
  const found = await paths.data.scroll(paths.vectors, from, limit);
  const { ids } = found.batch;
  const [first] = ids;
  if (from !== null && first !== undefined && compareIds(first, from) < 0)
    throw new StoreUnavailable(`Qdrant answered a scroll from ${from} with ${first}, which comes before it`);
  if (from !== null && found.next !== null && compareIds(found.next, from) <= 0)
    throw new StoreUnavailable(`Qdrant answered a scroll from ${from} with ${found.next} as the next, which goes back`);
  const end = to === null ? -1 : ids.findIndex((id) => compareIds(id, to) >= 0);
  const inside = end === -1 ? found : { ...found, batch: sliceBatch(found.batch, 0, end) };
  const batch = await withExactNumbers(paths, inside);
  const isLast = end !== -1 || found.next === null || (to !== null && compareIds(found.next, to) >= 0);
  return { batch, next: isLast ? null : found.next };
}

/**
 * Qdrant sends integers between 2^63 and 2^64 as doubles over gRPC. Where a payload has such a number, REST tells it
 * exactly; it may be a true double as well, which REST tells too.
 */
async function withExactNumbers({ rest, vectors }: ReadPaths, { batch, doubtful }: DecodedPoints): Promise<Batch> {
  const inBatch = new Set(batch.ids);
  const wanted = doubtful.filter((id) => inBatch.has(id));
  if (wanted.length === 0) return batch;
  const exact = new Map<string, string>();
  for (let at = 0; at < wanted.length; at += idsPerGet) {
    const { batch: again } = await rest.get(vectors, wanted.slice(at, at + idsPerGet));
    for (const [each, id] of again.ids.entries()) exact.set(id, again.payloads[each] ?? '{}');
  }
  return { ...batch, payloads: batch.payloads.map((payload, at) => exact.get(batch.ids[at] ?? '') ?? payload) };
}

/** Pieces of a batch within `maxBytes`, each with a record at least. */
function splitByBytes(batch: Batch, maxBytes: number): { start: number; end: number }[] {
  if (batch.count === 0) return [];
  if (batchBytes(batch) <= maxBytes) return [{ start: 0, end: batch.count }];
  const pieces: { start: number; end: number }[] = [];
  let start = 0;
  let bytes = 0;
  for (let at = 0; at < batch.count; at++) {
    const size = batchBytes(sliceBatch(batch, at, at + 1));
    if (at > start && bytes + size > maxBytes) {
      pieces.push({ start, end: at });
      start = at;
      bytes = 0;
    }
    bytes += size;
  }
  pieces.push({ start, end: batch.count });
  return pieces;
}

async function allIds(data: IdLister, maxPage: number): Promise<readonly string[]> {
  const ids: string[] = [];
  for await (const page of idPages(data, maxPage)) ids.push(...page);
  return ids;
}

/** Records, by their ids: where strict mode refuses to count exactly. */
export async function countIds(data: IdLister, maxPage: number): Promise<number> {
  let count = 0;
  for await (const page of idPages(data, maxPage)) count += page.length;
  return count;
}

async function* idPages(data: Pick<IdLister, 'scrollIds'>, maxPage: number): AsyncGenerator<readonly string[]> {
  let from: string | null = null;
  do {
    const page: Awaited<ReturnType<IdLister['scrollIds']>> = await data.scrollIds(from, Math.min(idsPage, maxPage));
    yield page.ids;
    from = page.next;
  } while (from !== null);
}
