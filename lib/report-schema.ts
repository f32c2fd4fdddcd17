import { z } from 'zod';
import { errorNames } from './errors.ts';
import { causeSchema, recallSchema, tuningSchema } from './run-files.ts';

/** report.json: what a run did and whether that is proved. docs/ and the page are made from it. */

const tally = z.int().nonnegative();
const named = z.array(z.strictObject({ id: z.string(), reason: z.string() }));

/** What both sides hold. Three numbers must agree: source = manifest, target = manifest without what was left out. */
export const countsSchema = z.strictObject({
  /** Records in the source when the report was written. */
  source: tally,
  /** Records in the shards. */
  manifest: tally,
  /** Records that the mapping left out on purpose. */
  skipped: tally,
  /** Records of the shards that neither side has any more: they were deleted from both after the export. */
  gone: tally,
  target: tally,
  /** What the target should hold: manifest - skipped - gone. */
  expected: tally,
  agree: z.boolean(),
  /** Records of the target that are in no shard; null: not looked for. */
  extra: tally.nullable(),
  /** The first hundred, by their ids in the target. */
  extraIds: z.array(z.string()),
  /** Records of the source that are in no shard, the first hundred; looked for when the source has changed. */
  addedIds: z.array(z.string()).optional(),
  /** What was not looked at, and why; '' where nothing was left out. */
  note: z.string(),
});
export type Counts = z.infer<typeof countsSchema>;

export const compareReportSchema = z.strictObject({
  /** `all`, or the size of the sample that the event asked for. */
  asked: z.union([z.literal('all'), tally]),
  /** From when to when: a shard that an earlier try found clean is not compared again. null where there is no shard. */
  startedAt: z.iso.datetime().nullable(),
  endedAt: z.iso.datetime().nullable(),
  records: tally,
  equal: tally,
  /** Those of `equal` that changed on both sides after the export. */
  changed: tally,
  different: tally,
  missing: tally,
  /** null: not looked for. */
  extra: tally.nullable(),
  unchecked: tally,
  /** Those of `unchecked` that the event left out by asking for a sample. */
  notInSample: tally,
  /** Those of `different` that share their target id with another record. */
  duplicates: tally,
  skipped: tally,
  /** The first hundred of each kind, by their ids in the source; those of `extra` by their ids in the target. */
  first: z.strictObject({ different: named, missing: named, extra: named, unchecked: named, changed: named }),
});
export type CompareReport = z.infer<typeof compareReportSchema>;

/** validated: all that was asked for is proved. failed: something is wrong. unproven: something could not be checked. */
export const verdictSchema = z.enum(['validated', 'failed', 'unproven']);
export type Verdict = z.infer<typeof verdictSchema>;

export const findingSchema = z.strictObject({
  check: z.enum(['counts', 'compare', 'source', 'recall', 'run']),
  severity: z.enum(['failed', 'unproven']),
  what: z.string(),
  /** The first ids concerned, at most a hundred. */
  ids: z.array(z.string()),
  /** What to do next. */
  next: z.string(),
  /** For recall: the query set and the source vector. */
  set: z.string().optional(),
  vector: z.string().optional(),
  /** Why, where the diagnosis could tell. */
  causes: z.array(causeSchema).default([]),
});
export type Finding = z.infer<typeof findingSchema>;

/** One setting of the two collections: `embedding: distance`. null: the side has no such thing. */
export const settingRowSchema = z.strictObject({
  setting: z.string(),
  source: z.string().nullable(),
  target: z.string().nullable(),
  differs: z.boolean(),
});
export type SettingRow = z.infer<typeof settingRowSchema>;

/** Records a second over the run's time: equal steps from `startedAt` on, a rate each. */
export const timelineSchema = z.strictObject({
  startedAt: z.iso.datetime(),
  stepSeconds: z.number().positive(),
  stages: z.array(
    z.strictObject({
      stage: z.enum(['export', 'import', 'compare', 'search']),
      perSecond: z.array(z.number().nonnegative()),
    }),
  ),
});
export type Timeline = z.infer<typeof timelineSchema>;

const sizeSchema = z.strictObject({ records: tally, bytes: tally, shards: tally, seconds: z.number().nonnegative() });

export const reportSchema = z.strictObject({
  format: z.literal(1),
  run: z.string(),
  mode: z.enum(['migrate', 'validate']),
  verdict: verdictSchema,
  /** One sentence. */
  summary: z.string(),
  /** When the plan, the last import and the report were written; null where it did not come to that. */
  plannedAt: z.iso.datetime().nullable(),
  importedAt: z.iso.datetime().nullable(),
  createdAt: z.iso.datetime(),
  source: z.strictObject({ store: z.string(), collection: z.string() }).nullable(),
  target: z.strictObject({ store: z.string(), collection: z.string() }).nullable(),
  /** Why the run ended early; null where it came to its validation's end. */
  failure: z
    .strictObject({ error: z.union([z.enum(errorNames), z.string()]), message: z.string(), ids: z.array(z.string()) })
    .nullable(),
  /** What failed or could not be checked, the worst first, each with what to do next. */
  findings: z.array(findingSchema),
  /** null from here on: the run did not come to it. */
  counts: countsSchema.nullable(),
  compare: compareReportSchema.nullable(),
  /** Records read back from the source by id and held against the shards. */
  spotCheck: z.strictObject({ asked: tally, checked: tally, different: tally, first: named }).nullable(),
  recall: recallSchema.nullable(),
  tuning: tuningSchema.shape.sets.nullable(),
  /** Both collections as they were when the report was written. */
  settings: z.array(settingRowSchema).nullable(),
  timeline: timelineSchema.nullable(),
  skipped: z.strictObject({ records: tally, ids: z.array(z.string()) }).nullable(),
  /** How often the target asked the import to slow down. */
  throttled: tally,
  estimate: z.strictObject({ ...sizeSchema.shape, usd: z.number().nonnegative() }).nullable(),
  /** `usd`: the seconds that functions were seen to work, at the estimate's prices; on one machine nobody bills them. */
  actual: z.strictObject({ ...sizeSchema.shape, usd: z.number().nonnegative() }).nullable(),
  /** The plan's notes and what it guarantees when the source changes during the export. */
  notes: z.array(z.string()),
  guarantee: z.string().nullable(),
});
export type Report = z.infer<typeof reportSchema>;
