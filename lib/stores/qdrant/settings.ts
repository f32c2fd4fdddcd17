import { z } from 'zod';
import {
  type CollectionSchema,
  type Distance,
  type Precision,
  precisionSchema,
  type VectorIndex,
  type VectorSpec,
} from '../../schema.ts';

/**
 * A collection's settings between Qdrant's words and ours. What only Qdrant understands stands in the schema's `native`,
 * under the names that creating a collection takes, and is used again when the target is Qdrant too.
 */

const count = z.int().nonnegative();
const setting = z.record(z.string(), z.unknown());

/** Options of an endpoint. All but `transport` concern the target, and win over what the source had. */
export const optionsSchema = z.strictObject({
  /** How records travel. auto: gRPC where it answers, else REST. */
  transport: z.enum(['auto', 'grpc', 'rest']).default('auto'),
  hnsw: z
    .strictObject({
      /** 0: no graph. */
      m: count.optional(),
      efConstruction: z.int().min(4).optional(),
      /** Kilobytes of vectors below which a filtered search scans. */
      fullScanThreshold: count.optional(),
      onDisk: z.boolean().optional(),
      /** Edges a node within each tenant, where m is 0. */
      payloadM: count.optional(),
      /** Vectors that have settings of their own, by name. */
      vectors: z
        .record(z.string(), z.strictObject({ m: count.optional(), efConstruction: z.int().min(4).optional() }))
        .default({}),
    })
    .prefault({}),
  optimizers: z
    .strictObject({
      /** Kilobytes of vectors a segment needs before its graph is built. */
      indexingThreshold: z.int().positive().optional(),
      memmapThreshold: count.optional(),
      maxSegmentSize: z.int().positive().optional(),
      defaultSegmentNumber: count.optional(),
    })
    .prefault({}),
  /** As Qdrant's quantization_config: {"scalar": …}, {"product": …} or {"binary": …}; null leaves the source's out. */
  quantization: setting.nullable().optional(),
  /** Keeps the vectors on disk. */
  onDisk: z.boolean().optional(),
  onDiskPayload: z.boolean().optional(),
  shardNumber: z.int().positive().optional(),
  replicationFactor: z.int().positive().optional(),
  writeConsistencyFactor: z.int().positive().optional(),
  /** Payload field -> index: a type (`keyword`, `integer`, …), Qdrant's field_schema, or null to leave the source's out. */
  payloadIndexes: z.record(z.string(), z.union([z.string(), setting]).nullable()).default({}),
});
export type QdrantOptions = z.infer<typeof optionsSchema>;

const hnswInfo = z.looseObject({
  m: z.number().nullish(),
  ef_construct: z.number().nullish(),
  /** Kilobytes of vectors in a segment below which it is searched without its graph. */
  full_scan_threshold: z.number().nullish(),
  payload_m: z.number().nullish(),
});
const vectorInfo = z.looseObject({
  size: z.int().positive(),
  distance: z.enum(['Cosine', 'Dot', 'Euclid', 'Manhattan']),
  /** Newer servers have `turbo4` besides (VectorStorageDatatype in Qdrant's source), and may get more: what is read are floats in any case. */
  datatype: z.string().nullish(),
  hnsw_config: hnswInfo.nullish(),
  quantization_config: setting.nullish(),
  multivector_config: setting.nullish(),
});
const optimizerInfo = z.looseObject({
  indexing_threshold: z.number().nullish(),
  /** 0: nothing is ever optimized, so no graph is built. */
  max_optimization_threads: z.union([z.number(), z.string()]).nullish(),
});

/** What GET /collections/{name} answers, as far as it is read here. */
export const infoSchema = z.looseObject({
  status: z.enum(['green', 'yellow', 'grey', 'red']),
  optimizer_status: z.union([z.string(), z.looseObject({ error: z.string() })]),
  points_count: z.number().nullish(),
  indexed_vectors_count: z.number().nullish(),
  segments_count: z.number(),
  config: z.looseObject({
    params: z.looseObject({
      vectors: z.union([vectorInfo, z.record(z.string(), vectorInfo)]).nullish(),
      sparse_vectors: z.record(z.string(), setting).nullish(),
      sharding_method: z.string().nullish(),
    }),
    hnsw_config: hnswInfo,
    optimizer_config: optimizerInfo,
    quantization_config: setting.nullish(),
    strict_mode_config: z
      .looseObject({
        enabled: z.boolean().nullish(),
        unindexed_filtering_retrieve: z.boolean().nullish(),
        max_query_limit: z.number().nullish(),
        upsert_max_batchsize: z.number().nullish(),
        search_allow_exact: z.boolean().nullish(),
        search_max_hnsw_ef: z.number().nullish(),
        search_max_oversampling: z.number().nullish(),
      })
      .nullish(),
    wal_config: setting.nullish(),
    metadata: setting.nullish(),
  }),
  /** Since 1.17: updates that wait, and records that prevent_unoptimized hides from every read until the optimizer has had them. */
  update_queue: z.looseObject({ deferred_points: z.number().nullish() }).nullish(),
  payload_schema: z.record(
    z.string(),
    z.looseObject({ data_type: z.string(), params: setting.nullish(), points: z.number().nullish() }),
  ),
});
export type CollectionInfo = z.infer<typeof infoSchema>;

/** Why the collection is red; undefined: it is not. Red with an optimizer that is well has an update that failed (local_shard_status in its source). */
export function failureOf({ status, optimizer_status: optimizer }: CollectionInfo): string | undefined {
  if (typeof optimizer !== 'string') return `its optimizer has failed: ${optimizer.error}`;
  return status === 'red' ? 'an update could not be applied' : undefined;
}

/** Records that no read shows: not search, scroll, retrieve or count (github.com/qdrant/qdrant/pull/8283, 8365). */
export const hiddenOf = ({ update_queue: queue }: CollectionInfo): number => queue?.deferred_points ?? 0;

/** What strict mode forbids in this collection; nothing where it is off. */
export function strictModeOf({ config }: CollectionInfo): NonNullable<typeof config.strict_mode_config> {
  return config.strict_mode_config?.enabled === true ? config.strict_mode_config : {};
}

const distances = {
  Cosine: 'cosine',
  Dot: 'dot',
  Euclid: 'euclid',
  Manhattan: 'manhattan',
} as const satisfies Record<string, Distance>;
export const distanceWords = { cosine: 'Cosine', dot: 'Dot', euclid: 'Euclid', manhattan: 'Manhattan' } as const;

/** Qdrant's default since 1.16, in kilobytes; 20,000 before. */
const defaultIndexingThreshold = 10_000;

/** The vectors of a collection: the unnamed one as ''. */
export function vectorsOf({ config }: CollectionInfo): readonly VectorSpec[] {
  const dense = Object.entries(denseOf(config.params.vectors)).map(([name, vector]): VectorSpec => {
    const isMulti = vector.multivector_config !== undefined && vector.multivector_config !== null;
    const hnsw = { ...withoutNulls(config.hnsw_config), ...withoutNulls(vector.hnsw_config ?? {}) };
    const precision: Precision = precisionSchema.safeParse(vector.datatype ?? 'float32').data ?? 'float32';
    return {
      name,
      kind: isMulti ? 'multi' : 'dense',
      dimension: vector.size,
      distance: distances[vector.distance],
      precision,
      index: indexOf(hnsw['m'], hnsw['ef_construct']),
    };
  });
  const sparse = Object.keys(config.params.sparse_vectors ?? {}).map(
    (name): VectorSpec => ({ name, kind: 'sparse', distance: 'dot', precision: 'float32' }),
  );
  return [...dense, ...sparse];
}

/** What the search of a dense or multi vector goes by: its own settings, and the collection's where it has none. */
export function vectorParametersOf({ config }: CollectionInfo, name: string) {
  const own = denseOf(config.params.vectors)[name];
  const hnsw = hnswInfo.parse({ ...withoutNulls(config.hnsw_config), ...withoutNulls(own?.hnsw_config ?? {}) });
  return { hnsw, quantization: own?.quantization_config ?? config.quantization_config ?? undefined };
}

export function payloadIndexesOf({ payload_schema }: CollectionInfo): CollectionSchema['payloadIndexes'] {
  const indexes = Object.entries(payload_schema).map(([field, { data_type, params }]) => ({
    field,
    type: data_type,
    ...(params === undefined || params === null ? {} : { native: withoutNulls(params) }),
  }));
  return indexes.sort((a, b) => (a.field < b.field ? -1 : 1));
}

/** Settings that only Qdrant understands; `vectors` and `sparse_vectors` are by vector name. */
export function nativeOf({ config }: CollectionInfo): CollectionSchema['native'] {
  const { vectors, sparse_vectors, sharding_method: _, ...params } = config.params;
  const own = Object.entries(denseOf(vectors)).map(
    ([name, { size: _size, distance: _distance, datatype, ...rest }]) => [name, withoutNulls(rest)],
  );
  return withoutNulls({
    params: withoutNulls(params),
    vectors: Object.fromEntries(own),
    sparse_vectors: sparse_vectors ?? {},
    hnsw_config: withoutNulls(config.hnsw_config),
    optimizers_config: withoutNulls(config.optimizer_config),
    quantization_config: config.quantization_config,
    wal_config: withoutNulls(config.wal_config ?? {}),
    metadata: config.metadata,
  });
}

/** The body that creates the collection of `schema`, with index building off: `indexing_threshold: 0`. */
export function createBody(schema: CollectionSchema, options: QdrantOptions): Record<string, unknown> {
  const native = nativeSchema.parse(schema.native);
  const hnsw = { ...native.hnsw_config, ...hnswWords(options.hnsw) };
  const dense = schema.vectors.filter(({ kind }) => kind !== 'sparse');
  const vectors = dense.map((spec) => [spec.name, vectorBody(spec, native.vectors[spec.name] ?? {}, hnsw, options)]);
  const sparse = schema.vectors
    .filter(({ kind }) => kind === 'sparse')
    .map(({ name }) => [name, native.sparse_vectors[name] ?? {}]);
  const quantization = options.quantization === undefined ? native.quantization_config : options.quantization;
  const params = Object.entries(native.params).filter(([name]) => !patchedParams.includes(name));
  return withoutNulls({
    ...Object.fromEntries(params),
    vectors: isOneUnnamed(dense) ? vectors[0]?.[1] : Object.fromEntries(vectors),
    sparse_vectors: sparse.length === 0 ? undefined : Object.fromEntries(sparse),
    hnsw_config: hnsw,
    optimizers_config: {
      ...withoutPause(native.optimizers_config),
      ...optimizerWords(options.optimizers),
      indexing_threshold: 0,
    },
    quantization_config: quantization,
    wal_config: native.wal_config,
    metadata: native.metadata,
    on_disk_payload: options.onDiskPayload ?? native.params['on_disk_payload'],
    shard_number: options.shardNumber ?? native.params['shard_number'],
    replication_factor: options.replicationFactor ?? native.params['replication_factor'],
    write_consistency_factor: options.writeConsistencyFactor ?? native.params['write_consistency_factor'],
  });
}

/**
 * A source whose optimizer is off was being loaded itself; a target with it off would never get its index. And records that wait for the
 * optimizer are not shown under prevent_unoptimized, so it waits for the end of the load.
 */
function withoutPause(settings: Readonly<Record<string, unknown>>) {
  const { max_optimization_threads: threads, prevent_unoptimized: _, ...rest } = settings;
  return threads === 0 ? rest : { ...rest, max_optimization_threads: threads };
}

/** Settings that a collection shows and PATCH takes, but creating it does not (CreateCollection of its OpenAPI). */
const patchedParams: readonly string[] = ['read_fan_out_factor', 'read_fan_out_delay_ms'];

/** The body that switches index building on once the load is over, with what the load went without. */
export function loadedBody(schema: CollectionSchema, options: QdrantOptions): Record<string, unknown> {
  const native = nativeSchema.parse(schema.native);
  const params = patchedParams.flatMap((name) =>
    native.params[name] === undefined ? [] : [[name, native.params[name]]],
  );
  return {
    optimizers_config: withoutNulls({
      indexing_threshold: indexingThreshold(schema, options),
      prevent_unoptimized: native.optimizers_config['prevent_unoptimized'],
    }),
    ...(params.length > 0 && { params: Object.fromEntries(params) }),
  };
}

/** Kilobytes of vectors a segment needs before its graph is built, once the load is over. */
function indexingThreshold(schema: CollectionSchema, options: QdrantOptions): number {
  const before = nativeSchema.parse(schema.native).optimizers_config['indexing_threshold'];
  // 0 at the source: it was being loaded itself.
  const kept = typeof before === 'number' && before > 0 ? before : defaultIndexingThreshold;
  return options.optimizers.indexingThreshold ?? kept;
}

/** Payload indexes to make: the schema's that are Qdrant's, changed as the options say. Field -> field_schema. */
export function wantedPayloadIndexes(schema: CollectionSchema, options: QdrantOptions): ReadonlyMap<string, unknown> {
  const wanted = new Map<string, unknown>();
  for (const { field, type, native } of schema.payloadIndexes) {
    if (payloadIndexTypes.has(type)) wanted.set(field, native ?? type);
  }
  for (const [field, index] of Object.entries(options.payloadIndexes)) {
    if (index === null) wanted.delete(field);
    else wanted.set(field, index);
  }
  return wanted;
}

/** Bytes of one record's largest dense vector as the collection stores it: what the indexing threshold is held against. */
export function storedVectorBytes(vectors: readonly VectorSpec[]): number {
  const width = { float32: 4, float16: 2, uint8: 1 } as const;
  const indexed = vectors.filter(({ kind, index }) => kind === 'dense' && index?.kind !== 'none');
  return Math.max(0, ...indexed.map(({ dimension = 0, precision }) => dimension * width[precision]));
}

/** @see https://qdrant.tech/documentation/concepts/indexing/#payload-index */
export const payloadIndexTypes: ReadonlySet<string> = new Set([
  'keyword',
  'integer',
  'float',
  'bool',
  'geo',
  'datetime',
  'text',
  'uuid',
]);

const nativeSchema = z.looseObject({
  params: setting.default({}),
  vectors: z.record(z.string(), setting).default({}),
  sparse_vectors: z.record(z.string(), setting).default({}),
  hnsw_config: setting.default({}),
  optimizers_config: setting.default({}),
  quantization_config: setting.optional(),
  wal_config: setting.optional(),
  metadata: setting.optional(),
});

function vectorBody(
  spec: VectorSpec,
  native: Readonly<Record<string, unknown>>,
  collectionHnsw: Readonly<Record<string, unknown>>,
  { hnsw, onDisk }: QdrantOptions,
): Record<string, unknown> {
  const own = hnswOf(spec.index, collectionHnsw, hnsw.m !== undefined, hnsw.efConstruction !== undefined);
  const hnswConfig = { ...recordOf(native['hnsw_config']), ...own, ...hnswWords(hnsw.vectors[spec.name] ?? {}) };
  return withoutNulls({
    ...native,
    size: spec.dimension,
    distance: distanceWords[spec.distance ?? 'cosine'],
    datatype: spec.precision === 'float32' ? undefined : spec.precision,
    on_disk: onDisk ?? native['on_disk'],
    hnsw_config: Object.keys(hnswConfig).length === 0 ? undefined : hnswConfig,
    multivector_config: spec.kind === 'multi' ? (native['multivector_config'] ?? { comparator: 'max_sim' }) : undefined,
  });
}

/** A vector's own graph settings, where they differ from the collection's and the options do not overrule them. */
function hnswOf(
  index: VectorIndex | undefined,
  collection: Readonly<Record<string, unknown>>,
  mIsGiven: boolean,
  efIsGiven: boolean,
): Record<string, number> {
  const { m, ef } =
    index?.kind === 'hnsw'
      ? { m: index.m, ef: index.efConstruction }
      : { m: index?.kind === 'none' ? 0 : undefined, ef: undefined };
  return {
    ...(m !== undefined && !mIsGiven && m !== collection['m'] ? { m } : {}),
    ...(ef !== undefined && !efIsGiven && ef !== collection['ef_construct'] ? { ef_construct: ef } : {}),
  };
}

function hnswWords(options: Partial<QdrantOptions['hnsw']>): Record<string, unknown> {
  return withoutNulls({
    m: options.m,
    ef_construct: options.efConstruction,
    full_scan_threshold: options.fullScanThreshold,
    on_disk: options.onDisk,
    payload_m: options.payloadM,
  });
}

function optimizerWords(options: QdrantOptions['optimizers']): Record<string, unknown> {
  return withoutNulls({
    memmap_threshold: options.memmapThreshold,
    max_segment_size: options.maxSegmentSize,
    default_segment_number: options.defaultSegmentNumber,
  });
}

function indexOf(m: unknown, efConstruction: unknown): VectorIndex {
  if (m === 0) return { kind: 'none' };
  return {
    kind: 'hnsw',
    ...(typeof m === 'number' ? { m } : {}),
    ...(typeof efConstruction === 'number' ? { efConstruction } : {}),
  };
}

/** Dense and multi vectors as the server describes them, by name; the unnamed one is ''. */
export function denseOf(
  vectors: CollectionInfo['config']['params']['vectors'],
): Readonly<Record<string, z.infer<typeof vectorInfo>>> {
  if (vectors === undefined || vectors === null) return {};
  const alone = vectorInfo.safeParse(vectors);
  if (alone.success) return { '': alone.data };
  return z.record(z.string(), vectorInfo).parse(vectors);
}

function isOneUnnamed(vectors: readonly VectorSpec[]): boolean {
  return vectors.length === 1 && vectors[0]?.name === '';
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  const parsed = setting.safeParse(value);
  return parsed.success ? parsed.data : {};
}

/** Qdrant answers null for what is not set; asked for null it may refuse. */
export function withoutNulls(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined && value !== null));
}
