import type { VectorIndex } from '../schema.ts';
import { count } from '../words.ts';

/**
 * What an index's settings should be, from the size of what it indexes. Each suggestion says where its rule comes from; all are
 * starting points, which validation then measures.
 */

export interface Advice {
  readonly setting: string;
  readonly value: number;
  readonly why: string;
}

export interface AdviceInput {
  readonly store: string;
  /** What the event says of it; what it leaves out is suggested. */
  readonly asked: AskedIndex;
  readonly records: number;
  readonly dimension: number;
  /** The most neighbours that a search asks for. */
  readonly k: number;
}

export type AskedIndex =
  | { readonly kind: 'hnsw'; readonly m?: number | undefined; readonly efConstruction?: number | undefined }
  | { readonly kind: 'ivfflat'; readonly lists?: number | undefined };

/** hnsw.ef_search and ivfflat.probes take no more (pgvector, src/hnsw.h and src/ivfflat.h). */
const [maxEfSearch, maxLists] = [1000, 32_768];

/** github.com/pgvector/pgvector, README, "HNSW": m 16, ef_construction 64, hnsw.ef_search 40. */
const pgvectorDefaults = { m: 16, efConstruction: 64, efSearch: 40, from: 'pgvector README, "HNSW"' };
/** qdrant.tech/documentation/concepts/indexing: m 16, ef_construct 100; a search takes hnsw_ef as ef_construct where none is given. */
const qdrantDefaults = { m: 16, efConstruction: 100, from: 'Qdrant documentation, "Indexing"' };

/** The index with every setting, and what was suggested of it and of its searches, with the reason. */
export function adviseIndex(input: AdviceInput): { readonly index: VectorIndex; readonly advice: readonly Advice[] } {
  return input.asked.kind === 'hnsw' ? adviseHnsw(input, input.asked) : adviseIvfflat(input, input.asked);
}

function adviseHnsw(
  { store, records, dimension, k }: AdviceInput,
  asked: Extract<AskedIndex, { readonly kind: 'hnsw' }>,
): ReturnType<typeof adviseIndex> {
  const defaults = store === 'qdrant' ? qdrantDefaults : pgvectorDefaults;
  const suggested = edgesFor(records, dimension, defaults);
  // pgvector takes no efConstruction below twice m.
  const m = asked.m ?? Math.max(2, Math.min(suggested.m, Math.floor((asked.efConstruction ?? Infinity) / 2)));
  const isQdrant = store === 'qdrant';
  const ratio = defaults.efConstruction / defaults.m;
  const efConstruction =
    asked.efConstruction ?? Math.min(1000, Math.max(defaults.efConstruction, Math.ceil(m * ratio)));
  const usual = isQdrant ? efConstruction : pgvectorDefaults.efSearch;
  const efSearch = Math.min(isQdrant ? Infinity : maxEfSearch, Math.max(usual, k));
  const advice: Advice[] = [];
  if (asked.m === undefined) advice.push({ setting: 'm', value: m, why: suggested.why });
  if (asked.efConstruction === undefined) {
    const why =
      efConstruction === defaults.efConstruction
        ? `the default (${defaults.from})`
        : `${ratio} times m, as of the defaults (${defaults.from})${isQdrant ? '' : '; pgvector takes no less than twice m'}`;
    advice.push({ setting: 'efConstruction', value: efConstruction, why });
  }
  const searches =
    efSearch === usual
      ? `the default${isQdrant ? ', which is efConstruction' : ''} (${defaults.from})`
      : `as many as the deepest search asks for, k ${k}: a smaller one finds fewer (hnswlib, ALGO_PARAMS.md)`;
  advice.push({
    setting: 'efSearch',
    value: efSearch,
    why: `${searches}; of searches, raise it first where recall is missed`,
  });
  return { index: { kind: 'hnsw', m, efConstruction }, advice };
}

/**
 * github.com/nmslib/hnswlib, ALGO_PARAMS.md: about 6 is best at 4 dimensions, 12 to 48 for most uses, and vectors of high
 * dimension or a high recall take more. Malkov and Yashunin, arxiv.org/abs/1603.09320, section 4.1: 5 to 48, more for high
 * dimension and high recall; memory grows with it.
 */
function edgesFor(
  records: number,
  dimension: number,
  defaults: Pick<typeof pgvectorDefaults, 'm' | 'from'>,
): { m: number; why: string } {
  const rule = 'hnswlib, ALGO_PARAMS.md: 12 to 48 for most uses, more for high dimension and recall';
  if (dimension <= 16) return { m: 8, why: `${dimension} dimensions are few (hnswlib, ALGO_PARAMS.md: about 6 at 4)` };
  if (dimension >= 256 && records > 1_000_000)
    return { m: 24, why: `${count(records)} records of ${dimension} dimensions are many of high dimension (${rule})` };
  return { m: defaults.m, why: `the default (${defaults.from}), within the usual range (${rule})` };
}

/** pgvector README, "IVFFlat": lists = rows / 1000 up to a million rows and sqrt(rows) above, probes = sqrt(lists). */
function adviseIvfflat(
  { records }: AdviceInput,
  asked: Extract<AskedIndex, { readonly kind: 'ivfflat' }>,
): ReturnType<typeof adviseIndex> {
  const isLarge = records > 1_000_000;
  const wanted = isLarge ? Math.sqrt(records) : records / 1000;
  const lists = asked.lists ?? Math.min(maxLists, Math.max(1, Math.round(wanted)));
  const probes = Math.max(1, Math.round(Math.sqrt(lists)));
  const rule = isLarge ? 'the square root of the rows, above a million' : 'a thousandth of the rows, up to a million';
  const advice: Advice[] = [];
  if (asked.lists === undefined)
    advice.push({ setting: 'lists', value: lists, why: `${rule}: ${count(records)} (pgvector README, "IVFFlat")` });
  const why =
    'the square root of lists (pgvector README, "IVFFlat"); of searches, raise it first where recall is missed';
  advice.push({ setting: 'probes', value: probes, why });
  return { index: { kind: 'ivfflat', lists }, advice };
}
