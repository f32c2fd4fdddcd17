import { z } from 'zod';
import { InvalidEvent, StoreUnavailable } from '../errors.ts';
import { parseAs } from '../event.ts';
import { type CollectionSchema, precisionSchema } from '../schema.ts';
import { plural } from '../words.ts';
import type { Capabilities, Description, ResolvedConnection, ResolvedEndpoint, Store, StoreKind } from './port.ts';
import { type Admin, openAdmin } from './qdrant/admin.ts';
import type { DataPath } from './qdrant/data.ts';
import { answersGrpc, openGrpc } from './qdrant/grpc.ts';
import { firstUuid, idTypeOf, isId } from './qdrant/ids.ts';
import { prepareCollection, readProgress, startIndexes } from './qdrant/index.ts';
import { indexSideOfQdrant } from './qdrant/index-change.ts';
import { countIds, fetchByIds, planRanges, type ReadPaths, readRange } from './qdrant/read.ts';
import { openRest } from './qdrant/rest.ts';
import { howToSearch, searchOf, searchSettings, tuningOf } from './qdrant/search.ts';
import {
  type CollectionInfo,
  denseOf,
  hiddenOf,
  nativeOf,
  optionsSchema,
  payloadIndexesOf,
  type QdrantOptions,
  strictModeOf,
  vectorsOf,
} from './qdrant/settings.ts';
import { insertOnlyVersion, minVersion, requireVersion } from './qdrant/version.ts';
import { type WritePaths, writeAll } from './qdrant/write.ts';

/**
 * Qdrant 1.13 and newer. Records go over gRPC in messages of our own making, collections, aliases and indexes over
 * Qdrant's REST client; where only HTTP is open, records go over REST too.
 */

const capabilities: Capabilities = {
  vectorKinds: ['dense', 'sparse', 'multi'],
  severalVectors: true,
  defaultVectorName: '',
  distances: ['cosine', 'dot', 'euclid', 'manhattan'],
  defaultDistance: 'cosine',
  // "value 70000 invalid, must be from 1 to 65536", Qdrant 1.18
  maxDimension: 65_536,
  precisions: ['float32', 'float16', 'uint8'],
  indexes: ['hnsw'],
  searchSettings,
  keepsSearch: false,
  missingVectors: true,
  normalisesCosine: true,
  ids: { integer: { min: '0', max: '18446744073709551615' }, uuid: true, string: false, composite: false },
  payload: {
    types: ['boolean', 'integer', 'float', 'text', 'json', 'list'],
    any: true,
    // gRPC's Value has int64. Up to 2^64-1 Qdrant keeps integers too, and we carry them over REST.
    maxInteger: '9223372036854775807',
    // Payloads are stored as JSON text (`impl Blob for Payload`) and read by serde_json without `float_roundtrip`, over gRPC too.
    nearDoubles: true,
    // A request over REST may hold 32 MiB; what gRPC takes depends on the server.
    maxBytes: 30 * 1024 * 1024,
  },
  insertOnly: true,
  deletes: true,
  drops: true,
  inPlace: false,
  changesIndex: 'instead',
  pointer: 'alias',
  reads: 'live',
  localOnly: false,
};

export const qdrant: StoreKind = {
  name: 'qdrant',
  title: 'Qdrant',
  capabilities,
  open: async (endpoint) => openQdrant(endpoint),
};

/** @throws InvalidEvent when connection or options are not of Qdrant's form. */
function openQdrant({ connection, collection, options: given, index }: ResolvedEndpoint): Store {
  const options = parseAs(optionsSchema, given ?? {}, "the options object of store 'qdrant'", InvalidEvent);
  const { url, grpcUrl, apiKey } = addressesOf(connection);
  const rest = openRest({ url, apiKey, collection });
  const admin = openAdmin(url, apiKey, collection);
  let chosen: DataPath | undefined;
  const path = once(async () => {
    chosen = await chooseDataPath({ url: grpcUrl, apiKey, collection }, rest, options.transport);
    return chosen;
  });
  const version = once(admin.version);
  const shape = once(async () => shapeOf(await admin.info()));
  const paths = async (): Promise<ReadPaths> => ({ data: await path(), rest, ...(await shape()) });

  const checkInserts = async (): Promise<void> => requireVersion(await version(), insertOnlyVersion, url);

  return {
    async describe() {
      requireVersion(await version(), minVersion, url);
      const notes = notesOn(await path(), options.transport, grpcUrl);
      return describe(admin, await path(), rest, notes);
    },
    count: async () => countRecords(admin, await path()),
    fetch: async (ids) => fetchByIds(await paths(), ids.filter(isId)),
    async search(request) {
      const asked = searchOf(request);
      return (await path()).search(asked);
    },
    ranges: async ({ records }) => {
      refuseHidden(collection, await admin.info());
      const data = await path();
      return planRanges(data, await countRecords(admin, data), records, (await shape()).maxPage);
    },
    async *read(range, limits) {
      yield* readRange(await paths(), range, limits);
    },
    async prepare(schema) {
      requireVersion(await version(), minVersion, url);
      await prepareCollection(admin, schema, options);
    },
    checkInserts,
    async write(batch, { mode }) {
      if (mode === 'insert') await checkInserts();
      const { maxUpsert } = await shape();
      await writeAll(batch, { data: await path(), rest, maxUpsert }, mode === 'insert');
      return { written: batch.count };
    },
    async delete(ids) {
      const held = ids.filter(isId);
      if (held.length > 0) await (await path()).delete(held);
    },
    buildIndex: (schema) => startIndexes(admin, schema, options),
    async indexProgress() {
      const progress = await readProgress(admin);
      const [note] = notesOn(await path(), options.transport, grpcUrl);
      return note === undefined ? progress : { ...progress, detail: `${progress.detail}; ${note}` };
    },
    pointer: admin.pointer,
    drop: (how = {}) => admin.drop(how),
    tuning: async (vector) => tuningOf(await admin.info(), vector),
    keepSearch: async (_vector, settings) => howToSearch(settings),
    ...(index && indexSideOfQdrant(admin, index)),
    async close() {
      rest.close();
      chosen?.close();
    },
  };
}

const connectionSchema = z.looseObject({
  url: z
    .url({ protocol: /^https?$/ })
    .refine((url) => new URL(url).password === '', 'holds a password; Qdrant takes an apiKey'),
  apiKey: z.string().min(1).optional(),
  /** Where gRPC is; left out: port 6334 of the same host. */
  grpcUrl: z.url({ protocol: /^https?$/ }).optional(),
});

/** Where a connection's REST and gRPC are. @throws InvalidEvent when it is not of Qdrant's form */
export function addressesOf(connection: ResolvedConnection) {
  const { url, apiKey, grpcUrl } = parseAs(
    connectionSchema,
    connection,
    "the connection of store 'qdrant'",
    InvalidEvent,
  );
  const rest = withPort(url, '6333');
  const grpc = grpcUrl === undefined ? new URL('/', rest) : withPort(grpcUrl, '6334');
  if (grpcUrl === undefined) grpc.port = '6334';
  return { url: rest.href.replace(/\/+$/, ''), apiKey, grpcUrl: grpc.origin };
}

/** Qdrant's own clients take its ports where a URL names none; URL drops a scheme's default port, so the text is looked at. */
function withPort(url: string, port: string): URL {
  const parsed = new URL(url);
  if (parsed.port === '' && !/^https?:\/\/[^/]*:\d+/.test(url)) parsed.port = port;
  return parsed;
}

/** gRPC where it is asked for or answers, else REST. */
async function chooseDataPath(
  grpc: { url: string; apiKey: string | undefined; collection: string },
  rest: DataPath,
  transport: QdrantOptions['transport'],
): Promise<DataPath> {
  if (transport === 'rest') return rest;
  if (transport === 'auto' && !(await answersGrpc(grpc.url, grpc.apiKey))) return rest;
  return openGrpc(grpc);
}

async function describe(admin: Admin, data: DataPath, rest: DataPath, notes: readonly string[]): Promise<Description> {
  const info = await admin.info();
  const { vectors, maxPage } = shapeOf(info);
  const strict = strictModeOf(info);
  const [count, first, uuid, payloadBytes] = await Promise.all([
    countRecords(admin, data),
    data.scrollIds(null, 1),
    data.scrollIds(firstUuid, 1),
    samplePayloadBytes({ data, rest, vectors, maxPage }),
  ]);
  const schema: CollectionSchema = {
    store: 'qdrant',
    idType: idTypeOf(first.ids[0], uuid.ids[0]),
    key: [],
    vectors: [...vectors],
    payloadIndexes: payloadIndexesOf(info),
    native: nativeOf(info),
  };
  const countsExactly = strict.search_allow_exact !== false;
  const withoutVector = countsExactly ? await admin.countWithoutVector(vectors.map(({ name }) => name)) : undefined;
  const told = [
    ...notes,
    ...(info.config.params.sharding_method === 'custom' ? [shardKeysNote] : []),
    ...encodedVectorsOf(info).map(encodedNote),
    ...(strict.unindexed_filtering_retrieve === false ? [strictModeNote] : []),
    ...(countsExactly ? [] : [noExactNote]),
  ];
  return { schema, count, payloadBytes, ...(withoutVector && { withoutVector }), notes: told };
}

/** Neither counted nor scrolled, they would be left behind without a word. @throws StoreUnavailable, since they show in time */
function refuseHidden(collection: string, info: CollectionInfo): void {
  const hidden = hiddenOf(info);
  if (hidden === 0) return;
  const text = `collection ${collection} hides ${plural(hidden, 'record')} from every read until its optimizer has had them (prevent_unoptimized)`;
  throw new StoreUnavailable(
    `${text}, so they cannot be moved; wait until it is green, or set prevent_unoptimized false`,
  );
}

const shardKeysNote =
  'the collection has custom sharding: its records are moved, which shard key each had is not; a Qdrant target shards by id';

/** Vectors that are stored in another form than floats or bytes, as `'title' is turbo4`: what is read is what the server decodes. */
export function encodedVectorsOf({ config }: CollectionInfo): readonly string[] {
  return Object.entries(denseOf(config.params.vectors)).flatMap(([name, { datatype }]) =>
    datatype === undefined || datatype === null || precisionSchema.safeParse(datatype).success
      ? []
      : [`'${name}' is ${datatype}`],
  );
}

const encodedNote = (vector: string): string =>
  `vector ${vector}, a form that keeps no exact floats: it is moved as the server decodes it, and a Qdrant target keeps float32`;

/** So it is on Qdrant Cloud unless the collection says otherwise (its documentation, Configure clusters). */
const strictModeNote =
  'the collection is in strict mode, which refuses a search with a filter on a field without a payload index of its type';

const noExactNote =
  "the collection's strict mode has search_allow_exact off: records are counted by their ids, which vectors some lack is not known beforehand, and what only an exact search shows is not looked for";

const shapeOf = (info: CollectionInfo): Pick<ReadPaths, 'vectors' | 'maxPage'> & Pick<WritePaths, 'maxUpsert'> => {
  const { max_query_limit, upsert_max_batchsize } = strictModeOf(info);
  return {
    vectors: vectorsOf(info),
    maxPage: max_query_limit ?? Number.POSITIVE_INFINITY,
    maxUpsert: upsert_max_batchsize ?? Number.POSITIVE_INFINITY,
  };
};

/** Exact: strict mode's search_allow_exact is about counts too (CountRequestInternal in Qdrant's source), and an estimate is no count. */
async function countRecords(admin: Admin, data: DataPath): Promise<number> {
  try {
    return await admin.count();
  } catch (error) {
    if (!(error instanceof InvalidEvent)) throw error;
    const info = await admin.info();
    if (strictModeOf(info).search_allow_exact !== false) throw error;
    return await countIds(data, shapeOf(info).maxPage);
  }
}

/** Said where auto has fallen back, because REST takes several times the processor time. */
function notesOn(data: DataPath, transport: QdrantOptions['transport'], grpcUrl: string): readonly string[] {
  if (transport !== 'auto' || data.name === 'grpc') return [];
  return [
    `Qdrant's gRPC does not answer at ${grpcUrl}, so records go over REST, which is slower; connection.grpcUrl names another address`,
  ];
}

/** Mean bytes of a hundred payloads, drawn at random. */
async function samplePayloadBytes(paths: ReadPaths): Promise<number> {
  const ids = await paths.data.sample(Math.min(100, paths.maxPage));
  if (ids.length === 0) return 0;
  const { payloads } = await fetchByIds(paths, ids);
  return payloads.reduce((sum, payload) => sum + Buffer.byteLength(payload), 0) / Math.max(1, payloads.length);
}

/** Runs `make` on the first call; a failure is forgotten, so that the next call tries again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
