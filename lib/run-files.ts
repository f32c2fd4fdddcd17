import { z } from 'zod';
import { embedPlanSchema } from './embed/stage/embed-files.ts';
import { eventSchema } from './event.ts';
import { filterSchema } from './filter.ts';
import { indexPlanSchema } from './index-change/index-plan.ts';
import { checkedMappingSchema, mappingPlanSchema } from './mapping/mapping-files.ts';
import { goldSchema } from './recall/gold-files.ts';
import { collectionSchema, distanceSchema, searchSettingsSchema } from './schema.ts';
import { droppedSchema, rangeItem, schemaTallySchema, tuneGoal } from './states.ts';

/**
 * The JSON files of a run, each with its schema: plan, ranges, manifest, and the ledger's markers. `format` is bumped
 * when a reader of the old form would go wrong.
 */

const tally = z.int().nonnegative();
/** Up to a hundred ids, for people. */
const firstIds = z.array(z.string());
const at = z.iso.datetime();
/** When the work on a shard began and ended: what the report's rates over time are made of. */
const span = { startedAt: at, at };

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
  /** Left out: the mapping has nothing that depends on the records. */
  checkedMapping: checkedMappingSchema.optional(),
  /** How vectors are made; left out: none are. */
  embed: embedPlanSchema.optional(),
  /** The index that is there and the one that is wanted; left out: the run changes none. */
  index: indexPlanSchema.optional(),
  records: tally,
  withoutVector: z.record(z.string(), tally),
  /** What a person should know before starting: settings that do not carry over, fields carried in another form. */
  notes: z.array(z.string()),
  /** What is guaranteed when the source changes during the export. */
  guarantee: z.string(),
  /**
   * True where an application may have written to the target already when the run was started again: the import then
   * inserts only what is absent, as in a live run.
   */
  hasLiveWrites: z.boolean().optional(),
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
  /** The checksum that the shard itself carries: lib/shard/shard.ts. */
  checksum: z.string(),
  /** What is left of the range after this shard; null when it is the range's last. */
  rest: z.strictObject({ from: z.string().nullable(), to: z.string().nullable() }).nullable(),
  ...span,
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
  /** Those of `skipped` that a rule of the mapping left out, by its name, with the first ids. Left out: none. */
  dropped: z.array(droppedSchema).optional(),
  throttled: tally,
  /** Left out where every record was read under the run's schema. */
  schema: schemaTallySchema.optional(),
  ...span,
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
export const differenceSchema = z.strictObject({
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
  /** Numbers of the payloads of those whose last digits are other ones, where a store hands out doubles so: json-equal.ts. */
  nearNumbers: tally,
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
  /** Records of this shard that were left out on purpose, with the first ids. */
  skipped: tally,
  skippedIds: firstIds,
  /** Those of `skipped` that a rule of the mapping left out, by its name, with the first ids. Left out: none. */
  dropped: z.array(droppedSchema).optional(),
  /** The first hundred. */
  differences: z.array(differenceSchema),
  /** Of a live run: records that were made as the source has them, because they still differed after several looks. */
  mended: tally,
  mendedIds: firstIds,
  /** The first hundred of `changed`, and how they differ from the shard. */
  changes: z.array(z.strictObject({ id: z.string(), reason: z.string() })),
  /** Records of the sample read back from the source by id, and those that were not as in the shard. */
  spotChecked: tally,
  spotDifferent: tally,
  spotDifferences: z.array(differenceSchema),
  /** Hash of the shard and of what was asked for: what another validation found is not taken for this one's. */
  of: z.string(),
  ...span,
});
export type Compared = z.infer<typeof comparedSchema>;

/**
 * queries.json: the queries of every set, a set after the other, each set's in random order, so that the first of them
 * are a sample too.
 */
export const queriesSchema = z.array(
  z.strictObject({
    /** The set's name in the event. */
    set: z.string(),
    /** The source vector searched. */
    vector: z.string(),
    /** A record's id where the query was sampled, else the query's own id or its number. */
    id: z.string(),
    /** Of a query that was given as a text. */
    text: z.string().optional(),
    /** Base64 of little-endian float32, of the vectors that the target gets: made by a model, or truncated. */
    values: z.string(),
    /** What the source is searched with, where its vectors are others: lib/recall/query-space.ts. */
    sourceValues: z.string().optional(),
    /** The set's conditions and the query's own. */
    filter: filterSchema.optional(),
    /** Ids of the source that a good answer holds. */
    expected: z.array(z.string()).optional(),
  }),
);
export type Query = z.infer<typeof queriesSchema>[number];

/**
 * neighbours/<shard>.json: for each query, in the order of queries.json, its nearest records of this shard that meet its
 * filter, nearest first: ids of the source and float64 distances, as many as the deepest measure needs and some more, so
 * that ties are seen. `done` is false while queries are left.
 */
export const neighboursSchema = z.strictObject({
  shard: z.string(),
  done: z.boolean(),
  /** Hash of the shard and of the queries. */
  of: z.string(),
  /** For each query, the records of this shard that have its vector and meet its filter: its truth is drawn from them. */
  candidates: z.array(tally),
  neighbours: z.array(z.array(z.strictObject({ id: z.string(), distance: z.number() }))),
  ...span,
});
export type Neighbours = z.infer<typeof neighboursSchema>;

const share = z.number().min(0).max(1);
/** How well one side finds the true neighbours, or why that is not known. docs/validation.md defines each measure. */
export const recallSideSchema = z.discriminatedUnion('measured', [
  z.strictObject({
    measured: z.literal(true),
    queries: tally,
    mean: z.number().describe('recall@k: mean over the queries, and the 95 % interval of that mean.'),
    low: z.number(),
    high: z.number(),
    spread: z
      .array(tally)
      .length(11)
      .describe('Queries by their recall@k: ten steps of a tenth from 0 on, and those without a miss.'),
    depths: z
      .array(z.strictObject({ depth: tally, mean: z.number(), low: z.number(), high: z.number() }))
      .describe('recall@depth at other depths, ascending, each searched for by itself.'),
    ndcg: share.describe('Means over the queries at k.'),
    rbo: share,
    short: tally.describe('Queries that were answered with fewer than k records though there were as many.'),
    worst: z
      .array(z.strictObject({ id: z.string(), recall: z.number() }))
      .describe('The ids of the queries with the lowest recall, worst first, at most ten, all below 1.'),
    /** Milliseconds a search took. */
    latency: z.strictObject({
      min: z.number(),
      p50: z.number(),
      p95: z.number(),
      p99: z.number(),
      max: z.number(),
      mean: z.number(),
      deviation: z.number().describe('Standard deviation.'),
    }),
  }),
  z.strictObject({ measured: z.literal(false), reason: z.string() }),
]);
export type RecallSide = z.infer<typeof recallSideSchema>;

/** recall.json: one entry a query set and dense vector; `reason` says why there is none. */
export const recallSchema = z.strictObject({
  reason: z.string().optional(),
  sets: z.array(
    z.strictObject({
      set: z.string(),
      vector: z.string(),
      targetVector: z.string(),
      distance: distanceSchema.describe(
        "What the truth is ranked by: the event's where it names one, else the source's.",
      ),
      filter: filterSchema.nullable().describe("The set's; queries may have their own besides."),
      k: tally.describe('Neighbours asked for; fewer than the event says where there are fewer records.'),
      atLeast: z.number().nullable().describe('null: reported, and not held against a goal.'),
      candidates: tally.describe('Records that have the vector and meet the filter, of the query that has the fewest.'),
      settings: searchSettingsSchema.describe(
        'Settings that the target was searched with, where the event or the tuning says any.',
      ),
      source: recallSideSchema,
      target: recallSideSchema,
      gold: goldSchema.nullable().describe('null: no query of the set says what it expects.'),
      outcome: z.enum(['passed', 'failed', 'unproven', 'reported', 'nothing to measure']),
      note: z.string(),
    }),
  ),
});
export type Recall = z.infer<typeof recallSchema>;
export type RecallEntry = Recall['sets'][number];

/** tuning.json: what raising the target's search settings did, one entry a set that missed its goal. */
export const tuningSchema = z.strictObject({
  done: z.boolean(),
  /** What the command line asked for; empty: the goals of the event. */
  goal: tuneGoal,
  measuring: z
    .boolean()
    .describe(
      'True once settings were kept by the target: recall is measured anew with them, and recall.json replaced.',
    ),
  /** What a call that came near its deadline has seen of the setting that it was measuring. */
  underWay: z
    .strictObject({
      set: z.string(),
      targetVector: z.string(),
      settings: searchSettingsSchema,
      recalls: z.array(z.number()),
      millis: z.array(z.number()),
    })
    .optional(),
  sets: z.array(
    z.strictObject({
      set: z.string(),
      targetVector: z.string(),
      k: tally,
      atLeast: z.number(),
      /** In the order they were tried; the first is as the target was searched before. */
      curve: z.array(
        z.strictObject({
          settings: searchSettingsSchema,
          queries: tally,
          mean: z.number(),
          low: z.number(),
          high: z.number(),
          p50: z.number(),
          p95: z.number(),
        }),
      ),
      chosen: searchSettingsSchema
        .nullable()
        .describe('The settings with the lowest latency among those that hold the goal; null: none does.'),
      kept: z.boolean(),
      how: z.string().describe('Where they are kept, or what the application has to say.'),
    }),
  ),
});
export type Tuning = z.infer<typeof tuningSchema>;

/** Why a check failed, where that can be told; docs/validation.md has a line for each. */
export const causeNames = [
  'other distance',
  'not normalised',
  'payload index missing',
  'filtered after the index',
  'efSearch too low',
  'probes too low',
  'quantized without rescoring',
  'oversampling too low',
  'index not built',
  'range missing',
] as const;
export const causeSchema = z.strictObject({
  cause: z.enum(causeNames),
  check: z.enum(['compare', 'recall']),
  set: z.string().optional().describe('The query set and source vector concerned; left out: all of them.'),
  vector: z.string().optional(),
  what: z.string().describe('A sentence: what is wrong.'),
  evidence: z.string().describe('What was tried or seen that shows it, with figures.'),
  next: z.string(),
});
export type Cause = z.infer<typeof causeSchema>;
/** diagnosis.json */
export const diagnosisSchema = z.strictObject({ causes: z.array(causeSchema) });
export type Diagnosis = z.infer<typeof diagnosisSchema>;
