import type { Table, VectorQuery } from '@lancedb/lancedb';
import { NotFound } from '../../errors.ts';
import type { SearchSettings, VectorSpec } from '../../schema.ts';
import type { KeptSearch, SearchTuning } from '../port.ts';
import { indexOn } from './index.ts';
import type { Layout, VectorColumnLayout } from './layout.ts';
import type { Options } from './options.ts';

/** How a LanceDB search is set: the search's own settings, else the endpoint's options, else the index's, else LanceDB's. */

/** Partitions visited where nothing says a number (LanceDB's documentation of VectorQuery.nprobes). */
const defaultProbes = 20;
/** LanceDB names no limits; beyond these a search reads the table nearly whole. */
const maxEf = 10_000;
const maxRefine = 100;

/** @throws NotFound */
export function vectorOf(table: Table, layout: Layout, name: string): VectorColumnLayout {
  const vector = layout.vectors.find(({ spec }) => spec.name === name);
  if (vector === undefined) throw new NotFound(`table '${table.name}' has no vector '${name}'`, { ids: [name] });
  return vector;
}

/** What a search without settings of its own is carried out with. */
export function currentSettings(spec: VectorSpec, options: Options): SearchSettings {
  const efSearch = options.ef ?? (spec.index?.kind === 'hnsw' ? spec.index.efSearch : undefined);
  const probes = options.nprobes ?? (spec.index?.kind === 'ivfflat' ? spec.index.probes : undefined);
  return {
    ...(efSearch === undefined ? {} : { efSearch }),
    ...(probes === undefined ? {} : { probes }),
    ...(options.refineFactor === undefined ? {} : { rescore: true, oversampling: options.refineFactor }),
  };
}

export function applySettings(query: VectorQuery, settings: SearchSettings, k: number): VectorQuery {
  const { efSearch, probes, rescore, oversampling } = settings;
  const isRefined = rescore ?? oversampling !== undefined;
  const refine = isRefined ? Math.ceil(oversampling ?? 1) : undefined;
  // LanceDB refuses fewer candidates than it has to give back.
  if (efSearch !== undefined) query.ef(Math.max(efSearch, k * (refine ?? 1)));
  if (probes !== undefined) query.nprobes(probes);
  if (refine !== undefined) query.refineFactor(refine);
  return query;
}

/** What the index on the vector heeds: none is searched exactly; PQ, SQ and RQ keep the vectors compressed. */
export async function tuningOf(
  table: Table,
  { column }: VectorColumnLayout,
  spec: VectorSpec,
  options: Options,
): Promise<SearchTuning> {
  const index = await indexOn(table, column);
  if (index === undefined) return { current: {}, heeds: {}, isQuantized: false };
  const isQuantized = /(pq|sq|rq)$/i.test(index.indexType);
  const isGraph = /hnsw/i.test(index.indexType);
  const current = currentSettings(spec, options);
  const lists = spec.index?.kind === 'ivfflat' ? spec.index.lists : undefined;
  // LanceDB does not tell how many partitions there are; it makes at most about the root of the number of records.
  const maxProbes = lists ?? Math.max(defaultProbes, Math.ceil(4 * Math.sqrt(index.numIndexedRows ?? 0)));
  return {
    current: { probes: defaultProbes, ...(isQuantized ? { rescore: false } : {}), ...current },
    heeds: {
      probes: Math.max(maxProbes, current.probes ?? 1),
      ...(isGraph ? { efSearch: Math.max(maxEf, current.efSearch ?? 1) } : {}),
      ...(isQuantized ? { rescore: true, oversampling: Math.max(maxRefine, current.oversampling ?? 1) } : {}),
    },
    isQuantized,
  };
}

/** LanceDB's tables have no place for them. */
export function saidBySearch({ efSearch, probes, rescore, oversampling }: SearchSettings): KeptSearch {
  const calls = [
    ...(efSearch === undefined ? [] : [`.ef(${efSearch})`]),
    ...(probes === undefined ? [] : [`.nprobes(${probes})`]),
    ...(oversampling !== undefined || rescore === true ? [`.refineFactor(${Math.ceil(oversampling ?? 1)})`] : []),
  ];
  return {
    kept: false,
    how: `a LanceDB table keeps no search settings; the application says them with each query: table.vectorSearch(vector)${calls.join('')}.limit(k)`,
  };
}
