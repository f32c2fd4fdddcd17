import { type Batch, batchBytes, column, concatBatches, hasVector, noRecords, selectRecords } from '../batch.ts';
import { Incompatible, InvalidEvent, NotFound, RecordRefused } from '../errors.ts';
import { conditionsOf, type Filter, meets } from '../filter.ts';
import { locate, readingOf, valueAt } from '../mapping/paths.ts';
import { type CollectionSchema, fieldTypeSchema } from '../schema.ts';
import { exactKept, exactTuning, searchExactly } from './exact-search.ts';
import type {
  Capabilities,
  FieldValues,
  Piece,
  Pointer,
  Range,
  ReadOptions,
  ResolvedEndpoint,
  Store,
  StoreKind,
  WriteOptions,
} from './port.ts';

/**
 * The reference store: collections in this process. Other stores are held against what it does. It takes no options and
 * has no limits but memory.
 */

const capabilities: Capabilities = {
  vectorKinds: ['dense', 'sparse', 'multi'],
  severalVectors: true,
  distances: ['cosine', 'dot', 'euclid', 'manhattan'],
  defaultDistance: 'cosine',
  maxDimension: 1_000_000,
  precisions: ['float32'],
  indexes: [],
  searchSettings: [],
  keepsSearch: false,
  missingVectors: true,
  normalisesCosine: false,
  ids: {
    integer: { min: '-9223372036854775808', max: '18446744073709551615' },
    uuid: true,
    string: { maxLength: 65_536 },
    composite: true,
  },
  payload: {
    types: fieldTypeSchema.options,
    any: true,
  },
  insertOnly: true,
  deletes: true,
  drops: true,
  inPlace: false,
  changesIndex: false,
  pointer: 'alias',
  reads: 'snapshot',
  localOnly: true,
};

export const memory: StoreKind = {
  name: 'memory',
  title: 'Memory',
  capabilities,
  open: async (endpoint) => openMemory(endpoint),
};

interface Collection {
  schema: CollectionSchema;
  /** One record a batch, by id. */
  readonly records: Map<string, Batch>;
  /** All of them in one batch, made for the first search after a write. */
  joined?: Batch | undefined;
}

/** The collections and pointers of one `connection.path`. */
interface Space {
  readonly collections: Map<string, Collection>;
  readonly pointers: Map<string, string>;
}

const spaces = new Map<string, Space>();

/** @throws InvalidEvent when the connection has no path, which names the space that source and target share. */
function openMemory({ connection, collection: name }: ResolvedEndpoint): Store {
  const { path } = connection;
  if (path === undefined) throw new InvalidEvent('the memory store needs connection {"path": NAME}; any name will do');
  const space = spaces.get(path) ?? { collections: new Map(), pointers: new Map() };
  spaces.set(path, space);

  const existing = (): Collection => {
    const found = space.collections.get(space.pointers.get(name) ?? name);
    if (found === undefined)
      throw new NotFound(`the memory store '${path}' has no collection '${name}'`, { ids: [name] });
    return found;
  };

  return {
    async describe() {
      const { schema, records } = existing();
      const bytes = [...records.values()].reduce((sum, record) => sum + (record.payloads[0]?.length ?? 0), 0);
      return {
        schema,
        count: records.size,
        payloadBytes: records.size === 0 ? 0 : bytes / records.size,
        withoutVector: countMissing(schema, records),
      };
    },
    schema: async () => existing().schema,
    count: async () => existing().records.size,
    fetch: async (ids) => {
      const { schema, records } = existing();
      return join(
        schema,
        ids.flatMap((id) => records.get(id) ?? []),
      );
    },
    search: async (request) => {
      const collection = existing();
      const { schema, records } = collection;
      const distance = schema.vectors.find((spec) => spec.name === request.vector)?.distance;
      collection.joined ??= join(schema, [...records.values()]);
      return await searchExactly([collection.joined], request, {
        distance: distance ?? request.distance ?? capabilities.defaultDistance,
        title: memory.title,
      });
    },
    tuning: async () => exactTuning,
    keepSearch: async () => exactKept,
    close: async () => {},
    ranges: async ({ records: perRange }) => {
      const ids = sortedIds(existing());
      const cuts = ids.filter((_, at) => at > 0 && at % perRange === 0);
      const bounds = [null, ...cuts, null];
      return bounds
        .slice(1)
        .map((to, at) => ({ from: bounds[at] ?? null, to, records: Math.min(perRange, ids.length - at * perRange) }));
    },
    read: (range, options) => readRange(existing(), range, options),
    values: valuesOf(existing),
    prepare: async (schema) => {
      const there = space.collections.get(name);
      if (there === undefined) space.collections.set(name, { schema, records: new Map() });
      else if (JSON.stringify(there.schema.vectors) !== JSON.stringify(schema.vectors)) {
        throw new Incompatible(`collection '${name}' is there with other vectors; name another collection or drop it`);
      }
    },
    write: async (batch, options) => writeBatch(existing(), batch, options),
    delete: async (ids) => {
      const collection = existing();
      collection.joined = undefined;
      for (const id of ids) collection.records.delete(id);
    },
    buildIndex: async () => {},
    indexProgress: async () => ({ done: true, fraction: 1 }),
    pointer: pointerOf(space),
    drop: async ({ dryRun = false } = {}) => {
      refusePointed(space, name);
      const isThere = space.collections.has(name);
      if (!dryRun) space.collections.delete(name);
      return { name, what: `collection '${name}' of the memory store '${path}'`, isThere };
    },
  };
}

/** A pointer to nothing would fail its readers; one by that name stands for another collection. */
function refusePointed({ pointers }: Space, name: string): void {
  const target = pointers.get(name);
  if (target !== undefined)
    throw new Incompatible(`'${name}' is a pointer, which stands for collection '${target}'`, { ids: [name] });
  const [pointer] = [...pointers].find(([, to]) => to === name) ?? [];
  if (pointer !== undefined)
    throw new Incompatible(`the pointer '${pointer}' stands for collection '${name}'; move it first`, {
      ids: [pointer],
    });
}

function valuesOf(existing: () => Collection): FieldValues {
  const held = (field: string, except: readonly Filter[] = []): (readonly [id: string, value: string])[] => {
    const filters = except.map(conditionsOf);
    const { records } = existing();
    return sortedIds(existing()).flatMap((id) => {
      const payload = records.get(id)?.payloads[0] ?? '{}';
      if (filters.some((conditions) => meets(conditions, payload))) return [];
      const reading = readingOf(payload);
      const place = locate(reading, field, field.split('.'));
      const value = place && valueAt(reading, place);
      return value === undefined || value === 'null' ? [] : [[id, value] as const];
    });
  };
  return {
    distinct: async (field, { limit, except }) => {
      const counts = new Map<string, number>();
      for (const [, value] of held(field, except)) counts.set(value, (counts.get(value) ?? 0) + 1);
      return counts.size > limit ? undefined : [...counts].map(([value, records]) => ({ value, records }));
    },
    idsWith: async (field, value, limit) =>
      held(field)
        .filter((each) => each[1] === value)
        .slice(0, limit)
        .map(([id]) => id),
  };
}

function pointerOf(space: Space): Pointer {
  return {
    read: async (name) => space.pointers.get(name),
    move: async (name, to) => {
      if (to === undefined) space.pointers.delete(name);
      else if (space.collections.has(to)) space.pointers.set(name, to);
      else throw new NotFound(`there is no collection '${to}' to point at`, { ids: [to] });
    },
  };
}

/** Ids in order of their UTF-16 units, the order of this store's keys. */
function sortedIds({ records }: Collection): string[] {
  return [...records.keys()].sort((a, b) => (a < b ? -1 : 1));
}

async function* readRange(
  from: Collection,
  range: Range,
  { maxRecords, maxBytes }: ReadOptions,
): AsyncGenerator<Piece> {
  const ids = sortedIds(from).filter(
    (id) => (range.from === null || id >= range.from) && (range.to === null || id < range.to),
  );
  const snapshot = ids.flatMap((id) => from.records.get(id) ?? []);
  for (let at = 0; at < snapshot.length; ) {
    let end = at;
    let bytes = 0;
    for (; end < snapshot.length && end - at < maxRecords; end++) {
      const record = snapshot[end];
      bytes += record === undefined ? 0 : batchBytes(record);
      if (bytes > maxBytes && end > at) break;
    }
    const next = ids[end];
    yield {
      schema: from.schema,
      batch: concatBatches(snapshot.slice(at, end)),
      rest: next === undefined ? null : { from: next, to: range.to },
    };
    at = end;
  }
}

async function writeBatch(collection: Collection, batch: Batch, { mode }: WriteOptions): Promise<{ written: number }> {
  const { schema, records } = collection;
  const wrong = schema.vectors.find(({ name, kind, dimension }) => {
    const found = batch.vectors.get(name);
    return found === undefined || found.kind !== kind || (found.kind !== 'sparse' && found.dimension !== dimension);
  });
  if (wrong !== undefined)
    throw new RecordRefused(`vector '${wrong.name}' is not as the collection declares it`, { ids: batch.ids });
  collection.joined = undefined;
  // A copy: the caller may take the batch's memory back.
  for (const [at, id] of batch.ids.entries()) {
    if (mode === 'upsert' || !records.has(id)) records.set(id, selectRecords(batch, [at]));
  }
  return { written: batch.count };
}

function countMissing(schema: CollectionSchema, records: ReadonlyMap<string, Batch>): Record<string, number> {
  const missing = schema.vectors.map(({ name }) => {
    const without = [...records.values()].filter((record) => !hasVector(column(record, name), 0));
    return [name, without.length] as const;
  });
  return Object.fromEntries(missing.filter(([, count]) => count > 0));
}

function join(schema: CollectionSchema, records: readonly Batch[]): Batch {
  return records.length > 0
    ? selectRecords(
        concatBatches(records),
        records.map((_, at) => at),
      )
    : noRecords(schema.vectors);
}
