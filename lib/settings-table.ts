import { VecferryError } from './errors.ts';
import type { SettingRow } from './report/report-schema.ts';
import type { Plan } from './run-files.ts';
import type { CollectionSchema, VectorSpec } from './schema.ts';
import type { Reader, SearchTuning } from './stores/port.ts';

/** The settings of both collections side by side, as they are when the report is written. */

export interface SettingsOptions {
  readonly plan: Plan;
  readonly source: Reader;
  readonly target: Reader;
}

export interface SettingsTable {
  readonly rows: readonly SettingRow[];
  /** What a side would not tell, and why; its column is then as the plan had it. */
  readonly unread: readonly string[];
}

interface Side {
  readonly schema: CollectionSchema;
  /** What searches of each dense vector depend on, by the vector's name. */
  readonly tunings: ReadonlyMap<string, SearchTuning>;
  readonly unread: readonly string[];
}

/** Reads both sides. A side that cannot be read costs its newest values and is named in `unread`, never the report. */
export async function readSettings({ plan, source, target }: SettingsOptions): Promise<SettingsTable> {
  const sides = [readSide('source', source, plan.source), readSide('target', target, plan.target)] as const;
  const [ours, theirs] = await Promise.all(sides);
  return { rows: settingRows(plan, ours, theirs), unread: [...ours.unread, ...theirs.unread] };
}

async function readSide(name: 'source' | 'target', store: Reader, planned: CollectionSchema): Promise<Side> {
  const unread: string[] = [];
  const told = async <T>(what: string, read: () => Promise<T>, instead: T): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      // A fault of ours is not a store that is away.
      if (!(error instanceof VecferryError)) throw error;
      unread.push(`${what} of the ${name} could not be read: ${error.message}`);
      return instead;
    }
  };
  const schema = await told('the settings', async () => (await store.describe()).schema, planned);
  const tunings = new Map<string, SearchTuning>();
  for (const { name: vector } of schema.vectors.filter(({ kind }) => kind === 'dense')) {
    const tuning = await told(`the search settings of ${nameOf(vector)}`, () => store.tuning(vector), undefined);
    if (tuning !== undefined) tunings.set(vector, tuning);
  }
  return { schema, tunings, unread };
}

function nameOf(vector: string): string {
  return vector === '' ? 'the unnamed vector' : `vector ${vector}`;
}

type Cells = Readonly<Record<string, string | null>>;

function settingRows({ mapping }: Plan, source: Side, target: Side): SettingRow[] {
  const vectors = Object.entries(mapping.vectors).flatMap(([from, to]) => {
    const group = from === to ? nameOf(from) : `${nameOf(from)}, in the target ${nameOf(to)}`;
    return pairUp(group, vectorCells(source, from), vectorCells(target, to));
  });
  const leftOut = source.schema.vectors
    .filter(({ name }) => mapping.vectors[name] === undefined)
    .flatMap(({ name }) => pairUp(nameOf(name), { moved: 'yes' }, { moved: 'left out, as the mapping says' }));
  const isSameStore = source.schema.store === target.schema.store;
  // Stores have words of their own for a payload index: across two of them it counts only whether there is one.
  const indexes = pairUp('payload indexes', indexCells(source.schema), indexCells(target.schema)).map((row) =>
    isSameStore ? row : { ...row, differs: (row.source === null) !== (row.target === null) },
  );
  const native = pairUp("the store's own", flatten(source.schema.native), flatten(target.schema.native));
  return [
    ...pairUp('collection', collectionCells(source.schema), collectionCells(target.schema)),
    ...vectors,
    ...leftOut,
    ...indexes,
    ...native.map((row) => ({ ...row, differs: isSameStore && row.differs })),
  ];
}

/** A row for each setting that either side has, in the order of the one that has more. */
function pairUp(group: string, source: Cells, target: Cells): SettingRow[] {
  const names = [...new Set([...Object.keys(source), ...Object.keys(target)])];
  return names.flatMap((setting) => {
    const [ours = null, theirs = null] = [source[setting], target[setting]];
    return ours === null && theirs === null
      ? []
      : [{ group, setting, source: ours, target: theirs, differs: ours !== theirs }];
  });
}

function collectionCells({ store, idType, key }: CollectionSchema): Cells {
  return { store, ids: idType, key: key.length === 0 ? null : key.map(({ name }) => name).join(', ') };
}

function vectorCells({ schema, tunings }: Side, name: string): Cells {
  const spec = schema.vectors.find((each) => each.name === name);
  if (spec === undefined) return {};
  return {
    kind: spec.kind,
    dimension: textOf(spec.dimension),
    distance: spec.distance ?? null,
    precision: spec.precision,
    ...indexedAs(spec),
    ...searchedAs(spec, tunings.get(name)),
  };
}

function indexedAs({ index }: VectorSpec): Cells {
  if (index === undefined) return { index: 'as the store does by itself' };
  if (index.kind === 'hnsw') return { index: 'hnsw', m: textOf(index.m), efConstruction: textOf(index.efConstruction) };
  if (index.kind === 'ivfflat') return { index: 'ivfflat', lists: textOf(index.lists) };
  return { index: index.kind === 'other' ? index.name : 'none' };
}

function searchedAs(spec: VectorSpec, tuning: SearchTuning | undefined): Cells {
  const { index } = spec;
  const kept = {
    efSearch: index?.kind === 'hnsw' ? index.efSearch : undefined,
    probes: index?.kind === 'ivfflat' ? index.probes : undefined,
  };
  const {
    efSearch = kept.efSearch,
    probes = kept.probes,
    rescore,
    oversampling,
    iterativeScan,
  } = tuning?.current ?? {};
  return {
    efSearch: textOf(efSearch),
    probes: textOf(probes),
    rescore: textOf(rescore),
    oversampling: textOf(oversampling),
    iterativeScan: textOf(iterativeScan),
    quantized: tuning === undefined ? null : textOf(tuning.isQuantized),
    // An index that is asked for may not be there yet, or not for so few records.
    searched: isSearchedExactly(spec, tuning) ? 'exactly, without an index' : null,
  };
}

/** Where an index of a kind that we know is searched, some setting changes what it finds. */
function isSearchedExactly({ index }: VectorSpec, tuning: SearchTuning | undefined): boolean {
  return tuning !== undefined && index?.kind !== 'other' && Object.keys(tuning.heeds).length === 0;
}

function indexCells({ payloadIndexes }: CollectionSchema): Cells {
  return Object.fromEntries(payloadIndexes.map(({ field, type }) => [field, type]));
}

/** `{"optimizers": {"threshold": 5}}` as `optimizers.threshold` -> `5`. */
function flatten(value: unknown, path = ''): Cells {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return path === '' ? {} : { [path]: textOf(value) };
  }
  const entries = Object.entries(value);
  return Object.assign({}, ...entries.map(([name, inner]) => flatten(inner, path === '' ? name : `${path}.${name}`)));
}

function textOf(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
