import { z } from 'zod';
import { embedSchema, modelSchema } from '../../event-embed.ts';
import { mappingSchema } from '../../event-mapping.ts';
import { distanceSchema, indexSchema, modelIdSchema, precisionSchema } from '../../schema.ts';

/**
 * The words of a collection file: those that events and stores' options have too. What is not named stays as it is, and what is to go is
 * named under `drop`. Which store takes which field is said by docs/migrations.md, and held by each store's planner.
 */

const count = z.int().nonnegative();
const setting = z.record(z.string(), z.unknown());

/** `Cosine` is what Qdrant calls it, and `cosine` what everything else here does: both are taken. */
const distance = z.preprocess((given) => (typeof given === 'string' ? given.toLowerCase() : given), distanceSchema);

export const hnswWordsSchema = z.strictObject({
  /** Edges a node; 0: no graph. */
  m: count.optional(),
  efConstruction: z.int().min(4).optional(),
  fullScanThreshold: count.optional(),
  maxIndexingThreads: count.optional(),
  onDisk: z.boolean().optional(),
  payloadM: count.optional(),
  /** Candidates kept while searching, where the collection keeps it (Chroma). */
  efSearch: z.int().positive().optional(),
});
export type HnswWords = z.infer<typeof hnswWordsSchema>;

/** Qdrant's quantization_config; null: none. */
const quantization = setting
  .refine(
    (given) => {
      const [kind, ...others] = Object.keys(given);
      return others.length === 0 && kind !== undefined && ['scalar', 'product', 'binary', 'turbo'].includes(kind);
    },
    {
      error: 'is wrong: it has one member, "scalar", "product", "binary" or "turbo", as Qdrant\'s quantization_config',
    },
  )
  .nullable();

export const vectorWordsSchema = z.strictObject({
  /** Floats a vector. Left out: the vector is there already. */
  size: z.int().positive().optional(),
  distance: distance.optional(),
  precision: precisionSchema.optional(),
  /** True: a record has several of it (Qdrant's multivector, max_sim). */
  multi: z.boolean().optional(),
  hnsw: hnswWordsSchema.optional(),
  /** Its index in the words of an event's mapping: pgvector and LanceDB. */
  index: indexSchema.optional(),
  quantization: quantization.optional(),
  onDisk: z.boolean().optional(),
  /** True: a smaller `size` is met by the first floats of each vector, whose model was trained for it. */
  matryoshka: z.boolean().optional(),
});
export type VectorWords = z.infer<typeof vectorWordsSchema>;

export const sparseWordsSchema = z.strictObject({
  /** idf: values are weighted by how rare their index is, as Qdrant searches. */
  modifier: z.enum(['idf', 'none']).optional(),
  onDisk: z.boolean().optional(),
  fullScanThreshold: count.optional(),
});

const optimizersSchema = z.strictObject({
  deletedThreshold: z.number().min(0).max(1).optional(),
  vacuumMinVectorNumber: count.optional(),
  defaultSegmentNumber: count.optional(),
  maxSegmentSize: z.int().positive().optional(),
  memmapThreshold: count.optional(),
  /** Kilobytes of vectors a segment needs before its graph is built; 0: no graph is built. */
  indexingThreshold: count.optional(),
  flushIntervalSec: z.int().positive().optional(),
  maxOptimizationThreads: z.union([count, z.literal('auto')]).optional(),
});

type VectorValue = number[] | { indices: number[]; values: number[] } | number[][];
const isNumbers = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'number');
/** Said as one sentence: a union would say what its first member lacks. */
const vectorValue = z.custom<VectorValue>(
  (given) => {
    if (isNumbers(given)) return true;
    if (Array.isArray(given)) return given.length > 0 && given.every(isNumbers);
    const { indices, values, ...others } = Object(given);
    return isNumbers(indices) && isNumbers(values) && Object.keys(others).length === 0;
  },
  { error: 'is wrong: a vector is a list of numbers, {indices, values} with a number each, or a list of such lists' },
);
/** Integers beyond 2^53 arrive as bigint. */
const recordId = z.custom<string | number | bigint>(
  (given) => (typeof given === 'string' && given !== '') || typeof given === 'bigint' || Number.isInteger(given),
  { error: 'is wrong: an id is a text or an integer' },
);
export const seedSchema = z
  .strictObject({
    id: recordId,
    /** The collection's only vector. */
    vector: vectorValue.optional(),
    vectors: z.record(z.string(), vectorValue).optional(),
    payload: setting.default({}),
  })
  .refine(({ vector, vectors }) => vector === undefined || vectors === undefined, {
    path: ['vector'],
    error: 'is the collection\'s only vector; with "vectors" beside it leave it out',
  });
export type Seed = z.infer<typeof seedSchema>;

const payloadIndex = z.custom<string | Record<string, unknown>>(
  (given) => (typeof given === 'string' && given !== '') || typeof Object(given).type === 'string',
  { error: 'is wrong: an index is its type ("keyword", "integer", …) or an object with "type"' },
);

const columnSchema = z.strictObject({
  /** The store's own type: `text`, `numeric(12,4)`. */
  type: z.string().min(1),
  nullable: z.boolean().default(true),
});

/** Vectors by name, or the only one's words by themselves. */
const vectors = z.preprocess(
  (given) => {
    const isOne = typeof given === 'object' && given !== null && 'size' in given && typeof given.size !== 'object';
    return isOne ? { '': given } : given;
  },
  z.record(z.string(), vectorWordsSchema),
);

const dropSchema = z.strictObject({
  payloadIndexes: z.array(z.string().min(1)).optional(),
  aliases: z.array(z.string().min(1)).optional(),
  /** Ids of records. */
  records: z.array(recordId).optional(),
  /** True: the collection itself, with its records. */
  collection: z.boolean().optional(),
});

const copySchema = z.strictObject({
  embed: embedSchema.optional(),
  mapping: mappingSchema.optional(),
  model: z.union([modelSchema, modelIdSchema]).optional(),
  validate: setting.nullable().optional(),
  parallel: setting.optional(),
});

const changeWords = {
  vectors: vectors.optional(),
  sparse: z.record(z.string().min(1), sparseWordsSchema).optional(),
  hnsw: hnswWordsSchema.optional(),
  optimizers: optimizersSchema.optional(),
  quantization: quantization.optional(),
  onDiskPayload: z.boolean().optional(),
  shardNumber: z.int().positive().optional(),
  replicationFactor: z.int().positive().optional(),
  writeConsistencyFactor: z.int().positive().optional(),
  /** Payload columns of a table: pgvector. */
  columns: z.record(z.string().min(1), columnSchema).optional(),
  /** What an id is, of a table that is made: pgvector, LanceDB. */
  idType: z.enum(['integer', 'uuid', 'string']).optional(),
  /** Payload field -> index. */
  payloadIndexes: z.record(z.string().min(1), payloadIndex).optional(),
  /** Names that are to stand for the collection: aliases, or views. */
  aliases: z.array(z.string().min(1)).optional(),
  /** Records that are to be there, by id. */
  seed: z.array(seedSchema).max(10_000).optional(),
  /** The same, one JSON object a line, in a file beside this one. Its checksum stands here, since the history holds this file's alone. */
  seedFile: z
    .strictObject({ name: z.string().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/, 'is 64 hex digits') })
    .optional(),
  drop: dropSchema.optional(),
  /** How the records are copied where a change needs another collection: parts of the event of the run that does it. */
  copy: copySchema.optional(),
  /** True: the step waits until the store has done what was asked: a graph may take hours. */
  wait: z.boolean().optional(),
};
export const changeSchema = z.strictObject(changeWords);
export type Change = z.infer<typeof changeSchema>;

/** The fields that are taken where `path` leads, for messages; undefined: any name is. */
export function fieldsAt(path: readonly PropertyKey[]): readonly string[] | undefined {
  const [first, second, third] = path;
  if (first === undefined) return ['store', 'collection', 'collections', 'down', ...Object.keys(changeWords)];
  if (first === 'collections') return second === undefined ? undefined : fieldsOfChange(path.slice(2));
  if (first === 'down')
    return second === 'collections' && third !== undefined
      ? fieldsOfChange(path.slice(3))
      : fieldsOfChange(path.slice(1));
  return fieldsOfChange(path);
}

function fieldsOfChange(path: readonly PropertyKey[]): readonly string[] | undefined {
  const [first, name, within] = path;
  if (first === undefined) return Object.keys(changeWords);
  const last = within ?? (first === 'hnsw' ? 'hnsw' : undefined);
  if (last === 'hnsw') return Object.keys(hnswWordsSchema.shape);
  const shape = {
    vectors: name === undefined ? undefined : vectorWordsSchema.shape,
    sparse: name === undefined ? undefined : sparseWordsSchema.shape,
    columns: name === undefined ? undefined : columnSchema.shape,
    seed: name === undefined ? undefined : seedSchema.shape,
    optimizers: optimizersSchema.shape,
    drop: dropSchema.shape,
    copy: copySchema.shape,
  }[String(first)];
  return shape === undefined ? undefined : Object.keys(shape);
}

const fileSchema = z
  .strictObject({
    /** A name of migrations/vecferry.yaml. */
    store: z.string().min(1),
    collection: z.string().min(1).optional(),
    ...changeWords,
    /** Several collections of the store, by name. */
    collections: z.record(z.string().min(1), changeSchema).optional(),
    /** How it is taken back, in the same words; left out: as worked out when it was applied. */
    down: z
      .union([z.strictObject({ collections: z.record(z.string().min(1), changeSchema) }), changeSchema])
      .optional(),
  })
  .superRefine(({ store: _, collection, collections, down, ...change }, { addIssue }) => {
    const issue = (path: string, message: string): void => addIssue({ code: 'custom', path: [path], message });
    if ((collection === undefined) === (collections === undefined))
      issue(
        'collection',
        'is missing: say "collection: NAME", or "collections:" with several by name, and one of the two',
      );
    const [first] = Object.keys(change).filter((name) =>
      Object.entries(change).some(([key, value]) => key === name && value !== undefined),
    );
    if (collections !== undefined && first !== undefined)
      issue(first, 'stands beside "collections"; say it of each collection there');
    if (down === undefined || collection === undefined) return;
    if ('collections' in down) issue('down', 'has "collections" and the file has "collection"; say the change itself');
  });

/** A collection file: what each collection is to be like, and how that is taken back where the file says it. */
export interface CollectionFile {
  readonly store: string;
  readonly up: ReadonlyMap<string, Change>;
  readonly down: ReadonlyMap<string, Change> | undefined;
}

export const collectionFileSchema = fileSchema.transform((given): CollectionFile => {
  const { store, collection, collections, down, ...change } = given;
  const names = (of: Change | { collections: Record<string, Change> }): ReadonlyMap<string, Change> =>
    'collections' in of ? new Map(Object.entries(of.collections)) : new Map([[collection ?? '', of]]);
  return {
    store,
    up: names(collections === undefined ? change : { collections }),
    down: down === undefined ? undefined : names(down),
  };
});
