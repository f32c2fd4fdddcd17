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

export const planSchema = z.strictObject({
  format: z.literal(1),
  run: z.string(),
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
  /** SHA-256 of the object, hex. */
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

/** compared/<shard>.json */
export const comparedSchema = z.strictObject({
  shard: z.string(),
  records: tally,
  equal: tally,
  different: tally,
  missing: tally,
  unchecked: tally,
  /** Records of the sample read back from the source by id, and those that were not as in the shard. */
  spotChecked: tally,
  spotDifferent: tally,
  /** The first hundred. */
  differences: z.array(differenceSchema),
  /** Records of this shard that were left out on purpose. */
  skipped: tally,
});
export type Compared = z.infer<typeof comparedSchema>;

/** queries.json: the sampled queries, as base64 of little-endian float32, by source vector name. */
export const queriesSchema = z.array(z.strictObject({ vector: z.string(), id: z.string(), values: z.string() }));

/** neighbours/<shard>.json: for each query its k nearest records of this shard, ids of the source, by distance. */
export const neighboursSchema = z.strictObject({
  shard: z.string(),
  neighbours: z.array(z.array(z.strictObject({ id: z.string(), distance: z.number() }))),
});

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
