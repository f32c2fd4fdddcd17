import { type Batch, noRecords } from '../../batch.ts';
import { StoreUnavailable } from '../../errors.ts';
import { type Patience, patiently } from '../../patiently.ts';
import { splitObject } from '../json-members.ts';
import { readListed } from '../pieces.ts';
import type { Hit, Piece, PlannedRange, Range, ReadOptions, SearchRequest } from '../port.ts';
import { type Unseen, unseenIn, whereOf } from './filter.ts';
import type { ChromaApi } from './http.ts';
import { type Answer, type Names, parseAnswer, toBatch } from './records.ts';

/**
 * Reading a Chroma collection. Chroma cannot filter by a range of ids nor sort by them: it gives records by id, or by
 * position in the order in which they were added. So all ids are listed first (ids alone: 100,000 of 20 characters take 0.6 s), sorted
 * here, and a range is the ids between two of them, fetched by id. No page of records depends on a position, so records
 * added or deleted meanwhile make no other record slip; one that is deleted after the listing is left out, one that is
 * added after it is not read. Every handle lists once, and again when the number of records has changed:
 * 1,000,000 ids of 20 characters are 100 pages and about 60 MB.
 */

/** One collection as its reader sees it. */
export interface ChromaCollection {
  readonly api: ChromaApi;
  readonly id: string;
  readonly name: string;
  /** Name of the one vector. */
  readonly vector: string;
  /** Undefined while the collection has never held a record. */
  readonly dimension: number | undefined;
  readonly names: Names;
}

/** Ids a page of the listing holds. No variable of SQLite's is used up by them. */
const idsPerPage = 10_000;
/** Records asked for by id at once: far from the 32,766 variables that a SQLite statement takes (sqlite.org/limits.html). */
const recordsPerGet = 2_000;
/** Listings begun again because records were deleted under them, before that is an error. */
const listings = 5;

export async function countRecords({ api, id, name }: ChromaCollection): Promise<number> {
  return Number(await api.call(`counting '${name}'`, 'GET', `/collections/${id}/count`));
}

/** The records with these ids, in this order; ids that are not there are left out. */
export async function fetchRecords(collection: ChromaCollection, ids: readonly string[]): Promise<Batch> {
  const { vector, dimension, names } = collection;
  if (ids.length === 0 || dimension === undefined)
    return noRecords([
      { name: vector, kind: 'dense', precision: 'float32', ...(dimension === undefined ? {} : { dimension }) },
    ]);
  const answer = await getById(collection, ids, ['embeddings', 'metadatas', 'documents', 'uris']);
  return toBatch(answer, ids, vector, dimension, names);
}

export async function getById(
  { api, id, name }: ChromaCollection,
  ids: readonly string[],
  include: readonly string[],
): Promise<Answer> {
  const body = JSON.stringify({ ids, include });
  const what = `reading ${ids.length} records of '${name}'`;
  return parseAnswer(await patiently(() => api.call(what, 'POST', `/collections/${id}/get`, body), vanishing));
}

/**
 * Chroma looks for ids first and for their vectors afterwards; when a record is deleted in between, the whole request ends
 * with 500 and "Error finding id" (1.5.9). Asked again it answers.
 */
const vanishing: Patience = {
  firstPauseMs: 10,
  isPassing: (error) => error instanceof StoreUnavailable && /Error finding id/.test(error.message),
};

/** The first records in Chroma's order, without embeddings: a sample. */
export async function sampleRecords({ api, id, name }: ChromaCollection, limit: number): Promise<Answer> {
  const body = JSON.stringify({ limit, include: ['metadatas', 'documents', 'uris'] });
  return parseAnswer(await api.call(`sampling '${name}'`, 'POST', `/collections/${id}/get`, body));
}

/**
 * All ids, sorted. Chroma pages by position in the order of adding, so a deletion under the listing makes the rest slip
 * forward: each page therefore begins with the last id of the page before, and if it does not, the listing begins again.
 * @throws StoreUnavailable when records are deleted so fast that no listing comes to its end.
 */
export async function listIds(collection: ChromaCollection): Promise<readonly string[]> {
  for (let listing = 0; listing < listings; listing++) {
    const ids = await listOnce(collection);
    if (ids !== undefined) return ids.sort();
  }
  throw new StoreUnavailable(
    `records of '${collection.name}' were deleted under each of ${listings} listings of its ids; stop deleting while vecferry reads`,
  );
}

async function listOnce(collection: ChromaCollection): Promise<string[] | undefined> {
  const ids: string[] = [];
  for (;;) {
    const offset = Math.max(0, ids.length - 1);
    const page = await pageOfIds(collection, offset);
    if (ids.length > 0 && page[0] !== ids.at(-1)) return undefined;
    for (const id of ids.length > 0 ? page.slice(1) : page) ids.push(id);
    if (page.length < idsPerPage) return ids;
  }
}

async function pageOfIds({ api, id, name }: ChromaCollection, offset: number): Promise<readonly string[]> {
  const body = JSON.stringify({ limit: idsPerPage, offset, include: [] });
  return parseAnswer(await api.call(`listing ids of '${name}'`, 'POST', `/collections/${id}/get`, body)).ids;
}

export function cutRanges(ids: readonly string[], records: number): readonly PlannedRange[] {
  const bounds: (string | null)[] = [null];
  for (let at = records; at < ids.length; at += records) bounds.push(ids[at] ?? null);
  return bounds.map((from, at) => ({
    from,
    to: bounds[at + 1] ?? null,
    records: Math.min(records, ids.length - at * records),
  }));
}

export async function* readRange(
  collection: ChromaCollection,
  sorted: readonly string[],
  range: Range,
  limits: ReadOptions,
): AsyncGenerator<Piece> {
  const start = range.from === null ? 0 : firstAtLeast(sorted, range.from);
  const end = range.to === null ? sorted.length : firstAtLeast(sorted, range.to);
  const ids = sorted.slice(start, end);
  yield* readListed({
    ids,
    limits: { ...limits, maxRecords: Math.min(limits.maxRecords, recordsPerGet) },
    fetch: (from, to) => fetchRecords(collection, ids.slice(from, to)),
    rest: (id) => (id === undefined ? null : { from: id, to: range.to }),
  });
}

/** Position of the first id that is not below `bound`, in the order of JavaScript's own sort (UTF-16 units). */
function firstAtLeast(sorted: readonly string[], bound: string): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? '') < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The k nearest. Chroma takes no `ef` with a query, but its graph search keeps as many candidates as it has to give back
 * (hnswlib: the larger of ef and k), so that a query for `efSearch` results finds what one with that `ef` finds;
 * measured on 1.5.9, 3,000 records of 32 dimensions, ef 10: recall@10 0.25, for 200 results 0.82; with ef 300 in the
 * configuration when the server starts 0.87. A value below the collection's own changes nothing. Asked to be exact it
 * searches as widely as it is let; where a sparse graph falls apart, records of the other parts are not found even so.
 * @throws Incompatible for a filter that Chroma cannot answer for each record.
 */
export async function search(
  collection: ChromaCollection,
  { query, k, exact, filter = [], settings }: SearchRequest,
  unseen: () => Promise<Unseen>,
): Promise<readonly Hit[]> {
  const { api, id, name, names } = collection;
  const where = filter.length === 0 ? undefined : whereOf(filter, names, await unseen());
  if (where === '') return [];
  const results = Math.max(k, exact === true ? maxEf : (settings?.efSearch ?? 0));
  const body = `{"query_embeddings":[[${query.join(',')}]],"n_results":${results},"include":["distances"]${where === undefined ? '' : `,"where":${where}`}}`;
  const answer = splitObject(
    await patiently(() => api.call(`searching '${name}'`, 'POST', `/collections/${id}/query`, body), vanishing),
  );
  const [ids] = parseNested(answer.get('ids'));
  const [distances] = parseNested(answer.get('distances'));
  return (ids ?? []).slice(0, k).map((hit, at) => ({ id: String(hit), score: Number(distances?.[at]) }));
}

/** Chroma names no limit for results; an answer of 10,000 is half a megabyte. */
export const maxEf = 10_000;

/** Records in which it is looked for what filters cannot see. */
const unseenSample = 1_000;

export async function findUnseen({ api, id, name }: ChromaCollection): Promise<Unseen> {
  const body = JSON.stringify({ limit: unseenSample, include: ['metadatas'] });
  return unseenIn(parseAnswer(await api.call(`sampling '${name}'`, 'POST', `/collections/${id}/get`, body)));
}

function parseNested(raw: string | undefined): (string | number)[][] {
  return raw === undefined || raw === 'null' ? [] : JSON.parse(raw);
}
