import { z } from 'zod';
import { eventSchema } from './event.ts';
import { collectionSchema } from './schema.ts';
import { rangeItem } from './states.ts';

/**
 * The JSON files of a run, each with its schema: plan, ranges, manifest, and the ledger's markers. `format` is bumped
 * when a reader of the old form would go wrong.
 */

const tally = z.int().nonnegative();
/** Up to a hundred ids, for people. */
const firstIds = z.array(z.string());

/** How the target's records differ from the source's, worked out once by the plan. */
export const mappingPlanSchema = z.strictObject({
  /** Source vector name -> target vector name; vectors that are left out are not here. */
  vectors: z.record(z.string(), z.string()),
  /** Payload fields that are left out. */
  dropFields: z.array(z.string()),
  /** Payload fields whose numbers become strings, or whose numeric strings become numbers. */
  castFields: z.record(z.string(), z.enum(['number', 'string'])),
  /** keep: ids stay as they are. uuid5: ids that the target cannot hold become UUIDv5, the original goes into `originalId`. */
  ids: z.enum(['keep', 'uuid5']),
  originalId: z.string(),
  /** skip: records that lack a vector are left out and counted. */
  missingVectors: z.enum(['keep', 'skip']),
});
export type MappingPlan = z.infer<typeof mappingPlanSchema>;

export const estimateSchema = z.strictObject({
  records: tally,
  bytes: tally,
  shards: tally,
  seconds: z.number().nonnegative(),
  invocations: tally,
  usd: z.number().nonnegative(),
  /** How each figure came about, with the source of rates and prices. */
  formula: z.array(z.string()),
});

export type Estimate = z.infer<typeof estimateSchema>;

export const planSchema = z.strictObject({
  format: z.literal(1),
  run: z.string(),
  /** How often the run was started: 1, and one more each time it is resumed. */
  attempt: z.int().positive(),
  createdAt: z.iso.datetime(),
  event: eventSchema,
  /** Hash of source, target, mapping and ranges: a run is resumed under the same one only. */
  fingerprint: z.string(),
  source: collectionSchema,
  target: collectionSchema,
  mapping: mappingPlanSchema,
  records: tally,
  withoutVector: z.record(z.string(), tally),
  /** What a person should know before starting: settings that do not carry over, fields carried in another form. */
  notes: z.array(z.string()),
  /** What is guaranteed when the source changes during the export. */
  guarantee: z.string(),
  estimate: estimateSchema,
  shardBytes: tally,
});
export type Plan = z.infer<typeof planSchema>;

export const rangesSchema = z.array(rangeItem);

/** exported/<shard>.json: written after the shard itself; together they are the manifest. */
export const shardEntrySchema = z.strictObject({
  shard: z.string(),
  range: tally,
  part: tally,
  records: tally,
  bytes: tally,
  /** The checksum that the shard itself carries: lib/shard.ts. */
  checksum: z.string(),
  /** What is left of the range after this shard; null when it is the range's last. */
  rest: z.strictObject({ from: z.string().nullable(), to: z.string().nullable() }).nullable(),
});
export type ShardEntry = z.infer<typeof shardEntrySchema>;

export const manifestSchema = z.strictObject({
  format: z.literal(1),
  run: z.string(),
  records: tally,
  bytes: tally,
  shards: z.array(shardEntrySchema),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** loaded/<shard>.json: written after the target acknowledged every record of the shard. */
export const loadedSchema = z.strictObject({
  shard: z.string(),
  records: tally,
  written: tally,
  /** Left out by the mapping (records without a vector), with the first ids. */
  skipped: tally,
  skippedIds: firstIds,
  throttled: tally,
  at: z.iso.datetime(),
});
export type Loaded = z.infer<typeof loadedSchema>;

/** failed/<shard>.json: the last failure of a shard's import. `final`: no retry will mend it. */
export const failedSchema = z.strictObject({
  shard: z.string(),
  error: z.string(),
  message: z.string(),
  ids: firstIds,
  attempts: tally,
  final: z.boolean(),
  at: z.iso.datetime(),
});
export type Failed = z.infer<typeof failedSchema>;

/** How a record of the source is found in the target. `unchecked` is never equal. */
export const verdicts = ['equal', 'different', 'missing', 'extra', 'unchecked'] as const;
const differenceSchema = z.strictObject({
  id: z.string(),
  verdict: z.enum(['different', 'missing', 'extra', 'unchecked']),
  /** Which vector or field, the expected and the found value, shortened. */
  reason: z.string(),
});
export type Difference = z.infer<typeof differenceSchema>;

/**
 * compared/<shard>.json: the tallies of what was compared so far, so that a call that goes on, or is repeated, counts
 * nothing twice. equal + different + missing + unchecked + skipped = records, once done.
 */
export const comparedSchema = z.strictObject({
  shard: z.string(),
  /** False while a call still has to go on from `offset`, which counts the records compared and then those spot-checked. */
  done: z.boolean(),
  offset: tally,
  records: tally,
  equal: tally,
  /** Those of `equal` that are not as in the shard but as in the source now: it changed after the export, and so did the target. */
  changed: tally,
  /** Those of `changed` that neither side has any more. */
  gone: tally,
  different: tally,
  missing: tally,
  unchecked: tally,
  /** Those of `unchecked` that the event left out by asking for a sample. */
  notInSample: tally,
  /** Those of `different` that share their id in the target with an earlier record of the shard. */
  duplicates: tally,
  /** Records of this shard that were left out on purpose. */
  skipped: tally,
  /** The first hundred. */
  differences: z.array(differenceSchema),
  /** The first hundred of `changed`, and how they differ from the shard. */
  changes: z.array(z.strictObject({ id: z.string(), reason: z.string() })),
  /** Records of the sample read back from the source by id, and those that were not as in the shard. */
  spotChecked: tally,
  spotDifferent: tally,
  spotDifferences: z.array(differenceSchema),
});
export type Compared = z.infer<typeof comparedSchema>;

/**
 * queries.json: the sampled queries in random order, as base64 of little-endian float32, by source vector name.
 */
export const queriesSchema = z.array(z.strictObject({ vector: z.string(), id: z.string(), values: z.string() }));
export type Query = z.infer<typeof queriesSchema>[number];

/**
 * neighbours/<shard>.json: for each query, in the order of queries.json, its nearest records of this shard, nearest first:
 * ids of the source and float64 distances, k and some more, so that ties are seen. `done` is false while queries are left.
 */
export const neighboursSchema = z.strictObject({
  shard: z.string(),
  done: z.boolean(),
  /** Records of this shard that have the vector, by source vector name: the truth is drawn from them. */
  candidates: z.record(z.string(), tally),
  neighbours: z.array(z.array(z.strictObject({ id: z.string(), distance: z.number() }))),
});
export type Neighbours = z.infer<typeof neighboursSchema>;

/** How well one side finds the true neighbours, or why that is not known. */
export const recallSideSchema = z.discriminatedUnion('measured', [
  z.strictObject({
    measured: z.literal(true),
    queries: tally,
    /** Mean over the queries, and the 95 % interval of that mean. */
    mean: z.number(),
    low: z.number(),
    high: z.number(),
    /** The ids of the queries with the lowest recall, worst first, at most ten, all below 1. */
    worst: z.array(z.strictObject({ id: z.string(), recall: z.number() })),
    /** Milliseconds a search took. */
    latency: z.strictObject({ p50: z.number(), p95: z.number(), p99: z.number() }),
  }),
  z.strictObject({ measured: z.literal(false), reason: z.string() }),
]);
export type RecallSide = z.infer<typeof recallSideSchema>;

/** recall.json: one entry a dense vector of the mapping; `reason` says why there is none. */
export const recallSchema = z.strictObject({
  reason: z.string().optional(),
  vectors: z.array(
    z.strictObject({
      vector: z.string(),
      targetVector: z.string(),
      distance: z.enum(['cosine', 'dot', 'euclid', 'manhattan']),
      /** Neighbours asked for; fewer than the event says where there are fewer records. */
      k: tally,
      atLeast: z.number(),
      /** Records that have the vector. */
      candidates: tally,
      source: recallSideSchema,
      target: recallSideSchema,
      outcome: z.enum(['passed', 'failed', 'unproven', 'nothing to measure']),
      note: z.string(),
    }),
  ),
});
export type Recall = z.infer<typeof recallSchema>;

/** cutover.json: one entry a move, oldest first. */
export const cutoverEntrySchema = z.strictObject({
  at: z.iso.datetime(),
  action: z.enum(['cutover', 'rollback']),
  kind: z.enum(['alias', 'view', 'flag']),
  name: z.string(),
  from: z.string().nullable(),
  to: z.string().nullable(),
});
export const cutoverLogSchema = z.array(cutoverEntrySchema);
export type CutoverEntry = z.infer<typeof cutoverEntrySchema>;
