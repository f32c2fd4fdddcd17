import { InvalidEvent } from '../../errors.ts';
import { type SearchSettingName, type SearchSettings, searchSettingNames } from '../../schema.ts';
import type { KeptSearch, SearchRequest, SearchTuning } from '../port.ts';
import { mustOf, type QdrantCondition } from './filter.ts';
import { type CollectionInfo, strictModeOf, vectorParametersOf, vectorsOf } from './settings.ts';

/** Settings that a search may carry. */
export const searchSettings = ['efSearch', 'rescore', 'oversampling'] as const satisfies readonly SearchSettingName[];

/** A search as the server is asked. */
export interface QdrantSearch {
  readonly vector: string;
  readonly values: Float32Array;
  readonly k: number;
  readonly must: readonly QdrantCondition[];
  readonly params: SearchParams;
}

/** Qdrant's SearchParams; empty: none are sent. */
export interface SearchParams {
  readonly hnsw_ef?: number;
  readonly exact?: true;
  readonly quantization?: { readonly rescore?: boolean; readonly oversampling?: number };
}

/** @throws InvalidEvent for a setting that Qdrant's search does not have. @throws Incompatible for a field that its filters cannot name. */
export function searchOf({ vector, query, k, exact, filter = [], settings = {} }: SearchRequest): QdrantSearch {
  const params = { ...paramsOf(settings), ...(exact === true ? ({ exact } as const) : {}) };
  return { vector, values: query, k, must: mustOf(filter), params };
}

function paramsOf(settings: SearchSettings): SearchParams {
  const takes: readonly SearchSettingName[] = searchSettings;
  const unknown = searchSettingNames.filter((name) => settings[name] !== undefined && !takes.includes(name));
  if (unknown.length > 0)
    throw new InvalidEvent(`a search in Qdrant has no ${unknown.join(', ')}; it takes ${searchSettings.join(', ')}`, {
      ids: unknown,
    });
  const { efSearch, rescore, oversampling } = settings;
  const quantization = {
    ...(rescore === undefined ? {} : { rescore }),
    ...(oversampling === undefined ? {} : { oversampling }),
  };
  return {
    ...(efSearch === undefined ? {} : { hnsw_ef: efSearch }),
    ...(Object.keys(quantization).length === 0 ? {} : { quantization }),
  };
}

/** Qdrant names no limit for hnsw_ef: past this a search without the graph (`exact`) is the better choice. */
const maxEf = 10_000;
/** Nor for oversampling; its documentation goes up to 4. More is needed where a bit stands for a float of few. */
const maxOversampling = 64;

/**
 * A search without hnsw_ef takes the vector's ef_construct (HnswGraphConfig::new in Qdrant's source), and one without
 * rescore does as the kind of quantization says. No graph is searched where none is built, nor below full_scan_threshold.
 * @throws InvalidEvent when the collection has no such dense vector
 */
export function tuningOf(info: CollectionInfo, vector: string): SearchTuning {
  const spec = vectorsOf(info).find(({ name, kind }) => name === vector && kind === 'dense');
  if (spec === undefined)
    throw new InvalidEvent(`the collection has no dense vector '${vector}'; name one of its own`, { ids: [vector] });
  const { hnsw, quantization } = vectorParametersOf(info, vector);
  const strict = strictModeOf(info);
  const points = info.points_count ?? 0;
  const kilobytes = (points * (spec.dimension ?? 0) * storedBytes[spec.precision]) / 1024;
  // payload_m alone links the records of a tenant, for searches that filter by it.
  const linked = hnsw.m !== 0 || (hnsw.payload_m ?? 0) > 0;
  const hasGraph = linked && (info.indexed_vectors_count ?? 0) > 0 && kilobytes >= (hnsw.full_scan_threshold ?? 0);
  const isQuantized = quantization !== undefined;
  const ef = hnsw.ef_construct;
  return {
    current: {
      ...(hasGraph && typeof ef === 'number' ? { efSearch: ef } : {}),
      ...(isQuantized ? { rescore: rescoresByDefault(quantization), oversampling: 1 } : {}),
    },
    heeds: {
      ...(hasGraph ? { efSearch: Math.min(strict.search_max_hnsw_ef ?? maxEf, Math.max(points, ef ?? 1)) } : {}),
      ...(isQuantized ? { rescore: true, oversampling: strict.search_max_oversampling ?? maxOversampling } : {}),
    },
    isQuantized,
  };
}

const storedBytes = { float32: 4, float16: 2, uint8: 1 } as const;

/** QuantizedVectors::default_rescoring in Qdrant's source: binary, and TurboQuant of less than its usual 4 bits. */
function rescoresByDefault(quantization: Readonly<Record<string, unknown>>): boolean {
  if ('binary' in quantization) return true;
  const { turbo } = quantization;
  if (typeof turbo !== 'object' || turbo === null || !('bits' in turbo)) return false;
  return turbo.bits !== null && turbo.bits !== undefined && turbo.bits !== 'bits4';
}

/** A collection of Qdrant's keeps no search settings: they go along with each search. @throws InvalidEvent */
export function howToSearch(settings: SearchSettings): KeptSearch {
  const params = JSON.stringify(paramsOf(settings), null, 1)
    .replace(/\n\s*/g, ' ')
    .replace(/\{ /g, '{')
    .replace(/ \}/g, '}');
  return {
    kept: false,
    how: `a Qdrant collection keeps no search settings; send with every search: "params": ${params}`,
  };
}
