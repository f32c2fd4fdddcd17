import { z } from 'zod';
import { Incompatible, InvalidEvent, NotFound, RecordRefused } from '../errors.ts';
import { parseAs } from '../event.ts';
import { makeLocks } from '../locks.ts';
import type { CollectionSchema, Distance, VectorSpec } from '../schema.ts';
import type { Unseen } from './chroma/filter.ts';
import { type ChromaApi, chromaApi } from './chroma/http.ts';
import {
  type ChromaCollection,
  countRecords,
  cutRanges,
  fetchRecords,
  findUnseen,
  listIds,
  maxEf,
  readRange,
  sampleRecords,
  search,
} from './chroma/read.ts';
import { fromChroma } from './chroma/records.ts';
import { deleteRecords, write } from './chroma/write.ts';
import type {
  Capabilities,
  Description,
  KeptSearch,
  ResolvedEndpoint,
  SearchTuning,
  Store,
  StoreKind,
} from './port.ts';
import { refuseSettings } from './search-settings.ts';

/** Chroma, over its REST API. Payload fields are metadata keys; the field `document` is the record's document. */

const optionsSchema = z.strictObject({
  /** Payload field that stands for a record's document. */
  document: z.string().min(1).default('document'),
  /** Payload field that stands for a record's URI. */
  uri: z.string().min(1).default('uri'),
  /** Name of the one vector. */
  vector: z.string().min(1).default('embedding'),
  tenant: z.string().min(1).optional(),
  database: z.string().min(1).optional(),
});
type Options = z.infer<typeof optionsSchema>;

const connectionSchema = z.object({
  url: z.url(),
  apiKey: z.string().optional(),
  /** Sent with every request, for a proxy's own authorization. */
  headers: z.record(z.string(), z.string()).default({}),
  tenant: z.string().default('default_tenant'),
  database: z.string().default('default_database'),
});

/** Records whose payloads are measured for a description. */
const sampleSize = 200;

const capabilities: Capabilities = {
  vectorKinds: ['dense'],
  severalVectors: false,
  defaultVectorName: 'embedding',
  distances: ['cosine', 'dot', 'euclid'],
  // Chroma's default space is l2 (docs.trychroma.com, configure collections).
  defaultDistance: 'euclid',
  // No limit is documented; this one is ours.
  maxDimension: 65_536,
  precisions: ['float32'],
  indexes: ['hnsw'],
  searchSettings: ['efSearch'],
  keepsSearch: false,
  missingVectors: false,
  // Measured on 1.5.9: with cosine the index scales vectors, and get scales them back, within 2e-7 of their length.
  normalisesCosine: false,
  ids: { integer: false, uuid: true, string: { maxLength: 65_536 }, composite: false },
  payload: {
    // What can be filtered on. All else is carried as JSON text under the metadata key vecferry_json.
    types: ['boolean', 'integer', 'float', 'text', 'uuid', 'timestamp', 'date', 'time', 'bytes', 'list'],
    any: true,
    // One record has to fit into a request.
    maxBytes: 8 * 1024 * 1024,
  },
  insertOnly: true,
  deletes: true,
  drops: true,
  inPlace: false,
  changesIndex: false,
  pointer: false,
  reads: 'live',
  localOnly: false,
};

export const chroma: StoreKind = {
  name: 'chroma',
  title: 'Chroma',
  capabilities,
  open: async (endpoint) => openChroma(endpoint),
};

const distanceOf: Readonly<Record<string, Distance>> = { l2: 'euclid', cosine: 'cosine', ip: 'dot' };
const spaceOf = { euclid: 'l2', cosine: 'cosine', dot: 'ip', manhattan: undefined } as const;

/** Chroma's answer about a collection; what we do not use is left out. */
const index = z.object({
  space: z.string().nullish(),
  max_neighbors: z.int().nullish(),
  ef_construction: z.int().nullish(),
  ef_search: z.int().nullish(),
});
const collectionSchema = z.object({
  id: z.string(),
  dimension: z.int().nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  configuration_json: z.object({ hnsw: index.nullish(), spann: index.nullish() }),
});
type Found = z.infer<typeof collectionSchema>;

function openChroma({ connection, collection: name, options }: ResolvedEndpoint): Store {
  const settings = parseAs(optionsSchema, options, "the options object of store 'chroma'", InvalidEvent);
  return chromaStore(openApi({ connection, options }).api, name, settings);
}

/** A database of a server, and how it is called without credentials: `http://host:8000/default_tenant/default_database`. */
export function openApi({ connection, options }: Pick<ResolvedEndpoint, 'connection' | 'options'>): {
  readonly api: ChromaApi;
  readonly place: string;
} {
  const settings = parseAs(optionsSchema, options, "the options object of store 'chroma'", InvalidEvent);
  const given = parseAs(connectionSchema, connection, "the connection of store 'chroma'", InvalidEvent);
  const tenant = settings.tenant ?? given.tenant;
  const database = settings.database ?? given.database;
  const api = chromaApi({ url: given.url, apiKey: given.apiKey, headers: given.headers, tenant, database });
  return { api, place: `${new URL(given.url).origin}/${tenant}/${database}` };
}

function chromaStore(api: ChromaApi, name: string, options: Options): Store {
  /** The sorted ids as last listed, and how many records there were. */
  let listed: { readonly count: number; readonly ids: Promise<readonly string[]> } | undefined;
  let unseen: Promise<Unseen> | undefined;
  let held: ChromaCollection | undefined;
  /** Two upserts of one record would each take the other's fields away, again and again. */
  const locks = makeLocks();
  /** Asks once; a collection without a dimension may get one with its first record, so it is asked again. */
  const collection = async (): Promise<ChromaCollection> => {
    if (held?.dimension === undefined) held = view(api, name, options, await find(api, name));
    return held;
  };
  const sortedIds = async (): Promise<readonly string[]> => {
    const count = await countRecords(await collection());
    if (listed?.count !== count) listed = { count, ids: listIds(await collection()) };
    try {
      return await listed.ids;
    } catch (error) {
      listed = undefined;
      throw error;
    }
  };
  return {
    describe: () => describe(api, name, options),
    count: async () => countRecords(await collection()),
    fetch: async (ids) => fetchRecords(await collection(), ids),
    search: async (request) => {
      if (request.vector !== options.vector)
        throw new NotFound(
          `the vector of Chroma collection '${name}' is called '${options.vector}', not '${request.vector}'`,
          {
            ids: [request.vector],
          },
        );
      refuseSettings(request.settings, capabilities.searchSettings, chroma.title);
      return await search(await collection(), request, async () => {
        unseen ??= findUnseen(await collection()).catch((error) => {
          unseen = undefined;
          throw error;
        });
        return await unseen;
      });
    },
    tuning: async () => tuningOf(await find(api, name)),
    keepSearch: async (_, { efSearch }) => wordsFor(efSearch),
    close: async () => {
      listed = undefined;
    },
    ranges: async ({ records }) => cutRanges(await sortedIds(), records),
    renew: async () => {
      listed = undefined;
      return (range) => range;
    },
    async *read(range, limits) {
      // A count that is the same may be of other ids: as many were added as deleted. Whole reads, which name them, list anew.
      if (range.from === null && range.to === null) listed = undefined;
      yield* readRange(await collection(), await sortedIds(), range, limits);
    },
    prepare: async (schema) => {
      await prepare(api, name, schema);
      held = undefined;
    },
    write: async (batch, settings) => {
      listed = undefined;
      unseen = undefined;
      // An insert changes nothing that is there: it needs no turn.
      if (settings.mode === 'insert') return await write(await collection(), batch, settings);
      return await locks.run(batch.ids, async () => await write(await collection(), batch, settings));
    },
    delete: async (ids) => {
      listed = undefined;
      unseen = undefined;
      await locks.run(ids, async () => await deleteRecords(await collection(), ids));
    },
    // Chroma adds to its graph as it writes.
    buildIndex: async () => {},
    indexProgress: async () => ({ done: true, detail: 'Chroma builds its index while it writes' }),
    drop: async ({ dryRun = false } = {}) => {
      const isThere = (await findAny(api, name)) !== undefined;
      if (isThere && !dryRun) await drop(api, name);
      held = undefined;
      listed = undefined;
      unseen = undefined;
      return { name, what: `Chroma collection '${name}'`, isThere };
    },
  };
}

async function findAny(api: ChromaApi, name: string): Promise<Found | undefined> {
  try {
    return await find(api, name);
  } catch (error) {
    if (error instanceof NotFound) return undefined;
    throw error;
  }
}

/** By its name, which is what the server asks for in the place of an id (1.5.9). */
async function drop(api: ChromaApi, name: string): Promise<void> {
  try {
    await api.call(`deleting collection '${name}'`, 'DELETE', `/collections/${encodeURIComponent(name)}`);
  } catch (error) {
    // Another call was quicker.
    if (!(error instanceof NotFound)) throw error;
  }
}

/** Of the index of Chroma's distributed form (SPANN) we know nothing. */
function tuningOf({ configuration_json: { hnsw } }: Found): SearchTuning {
  if (hnsw === null || hnsw === undefined) return { current: {}, heeds: {}, isQuantized: false };
  const efSearch = hnsw.ef_search ?? undefined;
  return {
    current: efSearch === undefined ? {} : { efSearch },
    heeds: { efSearch: Math.max(maxEf, efSearch ?? 0) },
    isQuantized: false,
  };
}

/**
 * The configuration takes another ef_search, but a running server goes on with the one that it loaded the collection with
 * (1.5.9): changing it would be a promise that the next search does not keep.
 */
function wordsFor(efSearch: number | undefined): KeptSearch {
  if (efSearch === undefined) return { kept: false, how: 'Chroma heeds efSearch alone, so there is nothing to keep' };
  return {
    kept: false,
    how: `ask for more than is used, collection.query(…, n_results=${efSearch}), and take the first k; or set collection.modify(configuration={"hnsw": {"ef_search": ${efSearch}}}) and start the Chroma server again, which goes on with the value that it loaded the collection with`,
  };
}

async function find(api: ChromaApi, name: string): Promise<Found> {
  const text = await api.call(`opening collection '${name}'`, 'GET', `/collections/${encodeURIComponent(name)}`);
  return collectionSchema.parse(JSON.parse(text));
}

function view(api: ChromaApi, name: string, options: Options, found: Found): ChromaCollection {
  const names = { document: options.document, uri: options.uri };
  return { api, id: found.id, name, vector: options.vector, dimension: found.dimension ?? undefined, names };
}

async function describe(api: ChromaApi, name: string, options: Options): Promise<Description> {
  const found = await find(api, name);
  const collection = view(api, name, options, found);
  const sample = await sampleRecords(collection, sampleSize);
  const payloads = sample.payloads.map((payload, at) => fromChroma(sample.ids[at] ?? '', payload, collection.names));
  const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0);
  return {
    schema: schemaOf(found, options),
    count: await countRecords(collection),
    payloadBytes: payloads.length === 0 ? 0 : bytes / payloads.length,
  };
}

function schemaOf(
  { dimension, metadata, configuration_json: configuration }: Found,
  options: Options,
): CollectionSchema {
  const settings = configuration.hnsw ?? configuration.spann ?? {};
  const own = Object.entries(metadata ?? {}).filter(([key]) => !key.startsWith('hnsw:'));
  const { max_neighbors: m, ef_construction: efConstruction, ef_search: efSearch } = settings;
  const vector: VectorSpec = {
    name: options.vector,
    kind: 'dense',
    distance: distanceOf[settings.space ?? 'l2'] ?? 'euclid',
    precision: 'float32',
    index: {
      kind: 'hnsw',
      ...(typeof m === 'number' ? { m } : {}),
      ...(typeof efConstruction === 'number' ? { efConstruction } : {}),
      ...(typeof efSearch === 'number' ? { efSearch } : {}),
    },
    ...(typeof dimension === 'number' ? { dimension } : {}),
  };
  return {
    store: 'chroma',
    idType: 'string',
    key: [],
    vectors: [vector],
    payloadIndexes: [],
    native: own.length === 0 ? {} : { metadata: Object.fromEntries(own) },
  };
}

async function prepare(api: ChromaApi, name: string, schema: CollectionSchema): Promise<void> {
  const [vector, ...others] = schema.vectors;
  if (vector === undefined || others.length > 0 || vector.kind !== 'dense')
    throw new Incompatible(
      `a Chroma record has one dense vector; collection '${name}' would have ${schema.vectors.length}`,
    );
  const space = spaceOf[vector.distance ?? capabilities.defaultDistance];
  if (space === undefined)
    throw new Incompatible(`Chroma has no distance '${vector.distance}'; it has cosine, dot and euclid`);
  const { m, efConstruction, efSearch } = vector.index?.kind === 'hnsw' ? vector.index : {};
  const hnsw = { space, max_neighbors: m, ef_construction: efConstruction, ef_search: efSearch };
  const { metadata } = schema.native;
  const body = JSON.stringify({ name, configuration: { hnsw }, metadata, get_or_create: true });
  await api.call(`creating collection '${name}'`, 'POST', '/collections', body).catch((error) => {
    throw error instanceof RecordRefused ? new InvalidEvent(error.message, { cause: error }) : error;
  });
  const found = await find(api, name);
  const { hnsw: madeHnsw, spann } = found.configuration_json;
  const there = (madeHnsw ?? spann)?.space ?? 'l2';
  const isOther = typeof found.dimension === 'number' && found.dimension !== vector.dimension;
  if (there !== space || isOther)
    throw new Incompatible(
      `collection '${name}' is there with ${found.dimension ?? 'no'} dimensions and space ${there}; the run needs ${vector.dimension} and ${space}. Name another collection or delete this one`,
    );
}
