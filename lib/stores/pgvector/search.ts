import { Incompatible, InvalidEvent, NotFound } from '../../errors.ts';
import { type Distance, type SearchSettingName, type SearchSettings, searchSettingNames } from '../../schema.ts';
import type { Hit, SearchRequest, SearchTuning } from '../port.ts';
import { type Column, distanceOperators, type Layout, type VectorField } from './catalog.ts';
import type { Database, Row, Session } from './connect.ts';
import { filterSql } from './filter.ts';
import { quoteName, quoteText } from './names.ts';
import { isHidden, readKept } from './place.ts';
import { tableOf } from './read.ts';

/** The nearest records, as an application asks for them, and the settings that decide what an index finds. */

/** hnsw.ef_search, ivfflat.probes and *.iterative_scan (pgvector README, "Query Options", "Iterative Index Scans"). */
export const heededSettings = ['efSearch', 'probes', 'iterativeScan'] as const satisfies readonly SearchSettingName[];

/** Largest values of hnsw.ef_search and ivfflat.probes (src/hnsw.h, src/ivfflat.h). */
export const [maxEfSearch, maxProbes] = [1000, 32_768];
/** hnsw.ef_search where nobody says another: an index scan that is not iterative returns no more rows than that. */
const defaultEfSearch = 40;
/** IVFFlat's `lists` where the index says none (IVFFLAT_DEFAULT_LISTS). */
const defaultLists = 100;

/** What a server says of itself, the role's and the database's settings included. */
export interface ServerSettings {
  readonly efSearch: number;
  /** False: it is pgvector's default. */
  readonly saysEfSearch: boolean;
  readonly probes: number;
  /** undefined: pgvector before 0.8 cannot scan on. */
  readonly hnswScansOn: boolean | undefined;
  readonly ivfflatScansOn: boolean | undefined;
  /** Where each of pgvector's settings comes from, as pg_settings says. */
  readonly sources: ReadonlyMap<string, string>;
  /** `hnsw.ef_search = '120'`: those of `place` that a session does not know of, opened before they were kept or by another role. */
  readonly kept: readonly string[];
}

/** @param place where the endpoint's options keep search settings; undefined: nowhere */
export async function readServerSettings(session: Session, place?: string): Promise<ServerSettings> {
  // pgvector knows its settings once a session has used it; until then any name is taken for one.
  await session.rows(`SELECT '[1]'::vector::text AS loaded`);
  const rows = await session.rows(
    `SELECT name::text AS name, setting::text AS setting, source::text AS source FROM pg_settings WHERE name LIKE 'hnsw.%' OR name LIKE 'ivfflat.%'`,
  );
  const found = new Map(rows.map((row) => [row['name'], row]));
  const sources = new Map([...found].map(([name, row]) => [name ?? '', row['source'] ?? 'default']));
  const standing = place === undefined ? [] : await readKept(session, place);
  const kept = new Map([...standing].filter(([name]) => !isHidden(place ?? '', sources.get(name) ?? '')));
  const value = (name: string): string | undefined => kept.get(name) ?? found.get(name)?.['setting'] ?? undefined;
  const scansOn = (name: string): boolean | undefined => {
    const mode = value(name);
    return mode === undefined ? undefined : mode !== 'off';
  };
  return {
    efSearch: Number(value('hnsw.ef_search') ?? defaultEfSearch),
    saysEfSearch: kept.has('hnsw.ef_search') || (sources.get('hnsw.ef_search') ?? 'default') !== 'default',
    probes: Number(value('ivfflat.probes') ?? 1),
    hnswScansOn: scansOn('hnsw.iterative_scan'),
    ivfflatScansOn: scansOn('ivfflat.iterative_scan'),
    sources,
    kept: [...kept].map(([name, setting]) => `${name} = ${quoteText(setting)}`),
  };
}

export interface SearchContext {
  readonly layout: Layout;
  readonly server: ServerSettings;
  /** The endpoint's options. */
  readonly options: Pick<SearchSettings, (typeof heededSettings)[number]>;
  readonly defaultDistance: Distance;
}

/** @throws InvalidEvent when a setting is not heeded; NotFound and Incompatible when the vector cannot be searched. */
export async function searchNearest(
  database: Database,
  context: SearchContext,
  request: SearchRequest,
): Promise<readonly Hit[]> {
  const { select, settings, hitsOf } = searchSql(context, request);
  return hitsOf(await database.use(async (session) => await session.rowsWith(settings, select(vectorText(request)))));
}

export interface SearchSql {
  readonly field: VectorField;
  /** The search for a vector, given as SQL. */
  readonly select: (vector: string) => string;
  /** What this search needs otherwise than the server is set. */
  readonly settings: readonly string[];
  /** Nearest first. */
  readonly hitsOf: (rows: readonly Row[]) => readonly Hit[];
}

/** @throws as searchNearest */
export function searchSql(
  { layout, server, options, defaultDistance }: SearchContext,
  { vector, k, exact = false, filter = [], settings = {}, distance = defaultDistance }: SearchRequest,
): SearchSql {
  requireHeeded(settings);
  const field = fieldOf(layout, vector);
  if (field.form === 'sparsevec')
    throw new Incompatible(`vector '${vector}' is sparse; only dense vectors are searched`, { ids: [vector] });
  if (field.form === 'float4[]' || field.form === 'float8[]')
    throw new Incompatible(`'${vector}' is an array, which PostgreSQL cannot search; set validate.recall to null`, {
      ids: [vector],
    });
  const { operator } = distanceOperators[field.distance ?? distance];
  const column = quoteName(field.column.name);
  const keys = layout.key.map(({ name }, at) => `${quoteName(name)}::text AS "vecferry k${at}"`).join(', ');
  const where = [`${column} IS NOT NULL`, ...filterSql(layout, filter)].join(' AND ');
  return {
    field,
    select: (literal) => {
      const nearness = `${column} ${operator} ${literal}::${field.form}`;
      return `SELECT ${keys}, (${nearness})::text AS "vecferry score" FROM ${tableOf(layout)} WHERE ${where} ORDER BY ${nearness} LIMIT ${k}`;
    },
    settings: exact ? exactly : localSettings(field, k, { ...options, ...given(settings) }, server),
    hitsOf: (rows) => {
      const hits = rows.map((row): Hit => {
        const values = layout.key.map((_, at) => row[`vecferry k${at}`] ?? '');
        return { id: idOf(layout.key, values), score: Number(row['vecferry score']) };
      });
      // A scan in relaxed order may be slightly out of it.
      return hits.sort((a, b) => a.score - b.score);
    },
  };
}

export const vectorText = ({ query }: Pick<SearchRequest, 'query'>): string => quoteText(`[${query.join(',')}]`);

export function fieldOf(layout: Layout, vector: string): VectorField {
  const field = layout.vectors.find(({ name }) => name === vector);
  if (field !== undefined) return field;
  const names = layout.vectors.map(({ name }) => `'${name}'`).join(', ');
  throw new NotFound(`table ${tableOf(layout)} has no vector '${vector}'; it has ${names}`, { ids: [vector] });
}

/** Without those that are undefined, which would hide the others. */
const given = (settings: SearchSettings): SearchSettings =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

/** @throws InvalidEvent */
export function requireHeeded(settings: SearchSettings): void {
  const heeded: readonly string[] = heededSettings;
  const unknown = searchSettingNames.filter((name) => settings[name] !== undefined && !heeded.includes(name));
  if (unknown.length > 0) {
    throw new InvalidEvent(
      `pgvector heeds no ${unknown.join(', ')}: it searches whole vectors; it takes ${heededSettings.join(', ')}`,
      { ids: unknown },
    );
  }
  requireAtMost('efSearch', settings.efSearch, maxEfSearch);
  requireAtMost('probes', settings.probes, maxProbes);
}

function requireAtMost(name: string, value: number | undefined, limit: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= limit))
    throw new InvalidEvent(`${name} is ${value}; pgvector takes a whole number from 1 to ${limit}`, { ids: [name] });
}

/** A bitmap scan stays open: an index on a filter's column finds rows exactly too. Those on vectors have none. */
const exactly: readonly string[] = ['enable_indexscan = off'];

/** What this search needs otherwise than the server is set. Those of the index that is not there do no harm. */
function localSettings(
  { index }: VectorField,
  k: number,
  { efSearch, probes, iterativeScan }: SearchSettings,
  server: ServerSettings,
): readonly string[] {
  const isBounded = index.kind === 'hnsw' && !server.saysEfSearch && k > defaultEfSearch;
  const wanted = efSearch ?? (isBounded ? Math.min(maxEfSearch, k) : undefined);
  return [
    ...server.kept,
    ...(wanted === undefined ? [] : [`hnsw.ef_search = ${wanted}`]),
    ...(probes === undefined ? [] : [`ivfflat.probes = ${probes}`]),
    ...scanSetting('hnsw', iterativeScan, server.hnswScansOn),
    ...scanSetting('ivfflat', iterativeScan, server.ivfflatScansOn),
  ];
}

/** IVFFlat knows the relaxed order only; hits are put in order here. */
export const scanModes = { hnsw: 'strict_order', ivfflat: 'relaxed_order' } as const;

function scanSetting(
  kind: 'hnsw' | 'ivfflat',
  wanted: boolean | undefined,
  serverScansOn: boolean | undefined,
): readonly string[] {
  if (wanted === undefined || wanted === (serverScansOn ?? false)) return [];
  if (serverScansOn === undefined)
    throw new InvalidEvent('iterativeScan needs pgvector 0.8; ALTER EXTENSION vector UPDATE, or leave it out', {
      ids: ['iterativeScan'],
    });
  return [`${kind}.iterative_scan = ${wanted ? scanModes[kind] : 'off'}`];
}

/** An index that is not there, or not valid, is none: the search is then exact, and no setting changes it. */
export function tuningOf({ layout, server, options }: SearchContext, vector: string): SearchTuning {
  const { index } = fieldOf(layout, vector);
  const scansOn = index.kind === 'ivfflat' ? server.ivfflatScansOn : server.hnswScansOn;
  const canScanOn = scansOn !== undefined;
  const scan = canScanOn ? { iterativeScan: options.iterativeScan ?? scansOn } : {};
  const heedsScan = canScanOn ? { iterativeScan: true as const } : {};
  if (index.kind === 'hnsw') {
    return {
      current: { efSearch: options.efSearch ?? server.efSearch, ...scan },
      heeds: { efSearch: maxEfSearch, ...heedsScan },
      isQuantized: false,
    };
  }
  if (index.kind !== 'ivfflat') return { current: {}, heeds: {}, isQuantized: false };
  return {
    current: { probes: options.probes ?? server.probes, ...scan },
    heeds: { probes: Math.min(maxProbes, index.lists ?? defaultLists), ...heedsScan },
    isQuantized: false,
  };
}

function idOf(key: readonly Column[], values: readonly string[]): string {
  if (key.length === 1) return values[0] ?? '';
  const parts = key.map(({ base }, at) => (/^int[248]$/.test(base) ? values[at] : JSON.stringify(values[at])));
  return `[${parts.join(',')}]`;
}
