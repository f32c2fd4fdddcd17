import { z } from 'zod';

/**
 * What a collection looks like, in words that every store shares. A source describes itself with it, the plan turns it
 * into the schema of the target, and a shard carries it, so it is a schema of ours: parsed wherever it is read.
 */

/** `cosine` is 1 - cos, `dot` the negative inner product, `euclid` the L2 norm, `manhattan` the L1 norm of the difference. */
export const distanceSchema = z.enum(['cosine', 'dot', 'euclid', 'manhattan']);
export type Distance = z.infer<typeof distanceSchema>;

export const vectorKindSchema = z.enum(['dense', 'sparse', 'multi']);
export type VectorKind = z.infer<typeof vectorKindSchema>;

/** How a store keeps each float; batches and shards always carry float32. */
export const precisionSchema = z.enum(['float32', 'float16', 'uint8']);
export type Precision = z.infer<typeof precisionSchema>;

/** An approximate index on one vector. Settings left out are the store's defaults. */
export const indexSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('hnsw'),
    /** Edges a node. */
    m: z.int().positive().optional(),
    efConstruction: z.int().positive().optional(),
    /** Candidates kept while searching, where the collection stores it. */
    efSearch: z.int().positive().optional(),
  }),
  z.strictObject({
    kind: z.literal('ivfflat'),
    lists: z.int().positive().optional(),
    /** Lists visited while searching, where the collection stores it. */
    probes: z.int().positive().optional(),
  }),
  /** Any other index, by the store's own name for it; carried to the same store only. */
  z.strictObject({ kind: z.literal('other'), name: z.string() }),
  z.strictObject({ kind: z.literal('none') }),
]);
export type VectorIndex = z.infer<typeof indexSchema>;

/**
 * How a search is carried out, in the field's words. Each is left out where the collection, the server or the client
 * decides; a store heeds those that its capabilities list.
 */
export const searchSettingsSchema = z.strictObject({
  /** HNSW: candidates kept while searching (Qdrant `hnsw_ef`, pgvector `hnsw.ef_search`, LanceDB `ef`). */
  efSearch: z.int().positive().optional(),
  /** IVF: lists, or partitions, visited (pgvector `ivfflat.probes`, LanceDB `nprobes`). */
  probes: z.int().positive().optional(),
  /** Quantized hits are ranked again by their whole vectors (Qdrant `rescore`, LanceDB's refine). */
  rescore: z.boolean().optional(),
  /** Quantized hits taken before they are rescored, as a multiple of k (Qdrant `oversampling`, LanceDB `refineFactor`). */
  oversampling: z.number().min(1).optional(),
  /** The index is read on until k records pass the filter (pgvector `iterative_scan`). */
  iterativeScan: z.boolean().optional(),
});
export type SearchSettings = z.infer<typeof searchSettingsSchema>;
export const searchSettingNames = searchSettingsSchema.keyof().options;
export type SearchSettingName = (typeof searchSettingNames)[number];

/** Which embedding model made vectors, as its provider, a shard or a team calls it. */
export const modelIdSchema = z.strictObject({
  name: z.string().min(1),
  /** Left out: unknown, and then two models are the same only by the word of the event. */
  version: z.string().min(1).optional(),
  /** True: the first floats of its vectors are vectors by themselves. Left out: as far as that is known of the name. */
  isMatryoshka: z.boolean().optional(),
});
export type ModelId = z.infer<typeof modelIdSchema>;

export const vectorSpecSchema = z.strictObject({
  /** '' is Qdrant's unnamed vector. */
  name: z.string(),
  kind: vectorKindSchema,
  /** Floats a vector; for sparse vectors the size of the index space where the store fixes one. */
  dimension: z.int().positive().optional(),
  /** Undefined where the source does not say (a file, an unindexed pgvector column): the event or the target's default decides. */
  distance: distanceSchema.optional(),
  precision: precisionSchema.default('float32'),
  /** False where the store itself forbids a record without this vector. Left out: it may be missing. */
  nullable: z.boolean().optional(),
  index: indexSchema.optional(),
  /** What made its vectors, where known: the event, a shard or the records themselves say it. No store keeps it but files. */
  model: modelIdSchema.optional(),
});
export type VectorSpec = z.infer<typeof vectorSpecSchema>;

/**
 * What a payload field holds, and how its value stands in the payload's JSON text:
 * integer: a JSON integer of any size; float: a JSON number; decimal: a JSON number when every value of the type has at
 * most 15 significant digits (a double holds those exactly), else a string; timestamp: a string, ISO 8601 with `Z`;
 * date, time, uuid, text: a string; bytes: a base64 string; json: any JSON value; list: a JSON array.
 */
export const fieldTypeSchema = z.enum([
  'boolean',
  'integer',
  'float',
  'decimal',
  'text',
  'uuid',
  'timestamp',
  'date',
  'time',
  'bytes',
  'json',
  'list',
]);
export type FieldType = z.infer<typeof fieldTypeSchema>;

export const fieldSpecSchema = z.strictObject({
  name: z.string(),
  type: fieldTypeSchema,
  nullable: z.boolean().default(true),
  /** The store's own type, `numeric(12,4)` or `timestamp with time zone`: the same store makes the same column again. */
  native: z.string().optional(),
  /** The only values it takes, where an event declares them: by an enum type of this name, or a CHECK. */
  values: z.array(z.string()).optional(),
  enum: z.string().optional(),
  check: z.boolean().optional(),
});
export type FieldSpec = z.infer<typeof fieldSpecSchema>;

/** A payload field that the store indexes for filters. `type` is the store's word (Qdrant's `keyword`, PostgreSQL's `btree`). */
export const payloadIndexSchema = z.strictObject({
  field: z.string(),
  type: z.string(),
  /** The store's own definition, carried to the same store only. */
  native: z.unknown().optional(),
});
export type PayloadIndex = z.infer<typeof payloadIndexSchema>;

/** integer, uuid and string say what every id is; mixed: integers and UUIDs side by side (Qdrant); composite: a JSON array. */
export const idTypeSchema = z.enum(['integer', 'uuid', 'string', 'mixed', 'composite']);
export type IdType = z.infer<typeof idTypeSchema>;

export const collectionSchema = z.strictObject({
  store: z.string(),
  /** The store whose own words stand in `native`, when it is another: a folder of shards that came from PostgreSQL. */
  origin: z.string().optional(),
  idType: idTypeSchema,
  /** Columns of the key, in order, where the store has named ones; empty where an id is just an id. */
  key: z.array(fieldSpecSchema).default([]),
  vectors: z.array(vectorSpecSchema),
  /** Declared payload fields; undefined where the store declares none and any record may hold anything. */
  fields: z.array(fieldSpecSchema).optional(),
  payloadIndexes: z.array(payloadIndexSchema).default([]),
  /**
   * Settings that only the same store understands (Qdrant's optimizers and quantization); the plan says when they are
   * dropped. What hangs on a vector stands in an object of objects by the vector's name, and follows it when it is renamed.
   */
  native: z.record(z.string(), z.unknown()).default({}),
});
export type CollectionSchema = z.infer<typeof collectionSchema>;
