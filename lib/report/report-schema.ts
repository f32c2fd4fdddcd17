import { z } from 'zod';
import { embeddingReportSchema } from '../embed/stage/embedding-report.ts';
import { errorNames } from '../errors.ts';
import { indexReportSchema } from '../index-change/index-report.ts';
import { mappingReportSchema } from '../mapping/words.ts';
import { driftReportSchema } from '../recall/drift-files.ts';
import { causeSchema, recallSchema, tuningSchema } from '../run-files.ts';
import { droppedSchema } from '../states.ts';
import { schemaReportSchema } from './schema-report.ts';

/**
 * report.json: what a run did and whether that is proved. The page is made from it, and docs/report.schema.json from
 * this file, for whoever reads reports by machine.
 */

/** The published schema's `$id`, which every report names. The number is that of `format`. */
export const reportSchemaId = 'urn:vecferry:report:1';

const tally = z.int().nonnegative();
const named = z.array(z.strictObject({ id: z.string(), reason: z.string() }));

/** What both sides hold. Three numbers must agree: source = manifest, target = manifest without what was left out. */
export const countsSchema = z.strictObject({
  source: tally.describe('Records in the source when the report was written.'),
  manifest: tally.describe('Records in the shards.'),
  skipped: tally.describe('Records that the mapping left out on purpose.'),
  gone: tally.describe(
    'Records of the shards that neither side has any more: they were deleted from both after the export. Of a live run: those that the source has no more.',
  ),
  target: tally,
  added: tally.optional().describe('Of a live run: records that the source holds and no shard.'),
  expected: tally.describe('What the target should hold: manifest - skipped - gone, and of a live run + added.'),
  agree: z.boolean().describe('In a live run counts are of a moment, and need not agree.'),
  extra: tally.nullable().describe('Records of the target that are in no shard; null: not looked for.'),
  extraIds: z.array(z.string()).describe('The first hundred, by their ids in the target.'),
  addedIds: z
    .array(z.string())
    .optional()
    .describe('Records of the source that are in no shard, the first hundred; looked for when the source has changed.'),
  isOneTable: z
    .boolean()
    .optional()
    .describe('True of a run in place, whose target is its source: applications write it, and nothing has to agree.'),
  note: z.string().describe("What was not looked at, and why; '' where nothing was left out."),
});
export type Counts = z.infer<typeof countsSchema>;

export const compareReportSchema = z.strictObject({
  asked: z.union([z.literal('all'), tally]).describe('`all`, or the size of the sample that the event asked for.'),
  startedAt: z.iso
    .datetime()
    .nullable()
    .describe(
      'From when to when: a shard that an earlier try found clean is not compared again. null where there is no shard.',
    ),
  endedAt: z.iso.datetime().nullable(),
  records: tally,
  equal: tally,
  nearNumbers: tally.describe(
    'Numbers in the payloads of those that have other digits from the fifteenth on, as Qdrant reads them: within 1e-14 of what was written.',
  ),
  changed: tally.describe('Those of `equal` that changed on both sides after the export.'),
  different: tally,
  missing: tally,
  extra: tally.nullable().describe('null: not looked for.'),
  unchecked: tally,
  notInSample: tally.describe('Those of `unchecked` that the event left out by asking for a sample.'),
  duplicates: tally.describe('Those of `different` that share their target id with another record.'),
  skipped: tally,
  first: z
    .strictObject({ different: named, missing: named, extra: named, unchecked: named, changed: named })
    .describe(
      'The first hundred of each kind, by their ids in the source; those of `extra` by their ids in the target.',
    ),
});
export type CompareReport = z.infer<typeof compareReportSchema>;

export const liveReportSchema = z.strictObject({
  flag: z.string().describe('The routing flag that makes the application write to both sides.'),
  since: z.iso.datetime().nullable().describe('Since when it does.'),
  sweptFrom: z.iso.datetime().describe('When both sides were held against each other.'),
  sweptTo: z.iso.datetime(),
  changed: tally.describe('Records that the source holds otherwise than their shard.'),
  added: tally.describe('Records that the source holds and no shard.'),
  deleted: tally.describe('Records of the shards that the source holds no more.'),
  tombstones: tally.describe('Ids that the application deleted through the client.'),
  mended: tally.describe('Records that had to be copied from the source again, or deleted again.'),
  missing: tally.describe('Records written meanwhile that are not in the target, from here on in spite of mending.'),
  different: tally,
  extra: tally.nullable().describe('Records that the target holds and the source does not; null: not looked for.'),
  unchecked: tally.describe('Records written meanwhile that could not be read from both sides.'),
  note: z.string().describe("What was not looked at, and why; '' where nothing was left out."),
  first: z
    .strictObject({ mended: named, missing: named, different: named, unchecked: named })
    .describe('The first hundred of each kind, by their ids in the source.'),
});
export type LiveReport = z.infer<typeof liveReportSchema>;

export const verdictSchema = z
  .enum(['validated', 'failed', 'unproven'])
  .describe(
    'validated: all that was asked for is proved. failed: something is wrong. unproven: something could not be checked.',
  );
export type Verdict = z.infer<typeof verdictSchema>;

export const findingSchema = z.strictObject({
  check: z.enum(['counts', 'compare', 'source', 'live', 'embedding', 'recall', 'gold', 'run']),
  severity: z.enum(['failed', 'unproven']),
  what: z.string(),
  ids: z.array(z.string()).describe('The first ids concerned, at most a hundred.'),
  next: z.string().describe('What to do next.'),
  set: z.string().optional().describe('For recall and gold: the query set and the source vector.'),
  vector: z.string().optional(),
  causes: z.array(causeSchema).default([]).describe('Why, where the diagnosis could tell.'),
});
export type Finding = z.infer<typeof findingSchema>;

export const settingRowSchema = z.strictObject({
  group: z.string().describe('What the setting belongs to: the collection, a vector, the payload indexes, the store.'),
  setting: z.string(),
  source: z.string().nullable().describe('null: the side has no such setting, or does not tell.'),
  target: z.string().nullable(),
  differs: z.boolean().describe('False too where two stores have no common word for it.'),
});
export type SettingRow = z.infer<typeof settingRowSchema>;

export const timelineSchema = z.strictObject({
  startedAt: z.iso.datetime(),
  stepSeconds: z.number().positive(),
  stages: z.array(
    z.strictObject({
      stage: z
        .enum(['export', 'embed', 'import', 'compare', 'search'])
        .describe('search: the shards searched through for the exact neighbours of the queries.'),
      records: tally,
      perSecond: z.array(z.number().nonnegative()),
    }),
  ),
});
export type Timeline = z.infer<typeof timelineSchema>;

const sizeSchema = z.strictObject({
  records: tally,
  bytes: tally,
  shards: tally,
  seconds: z.number().nonnegative().describe('From the plan to the report.'),
  usd: z.number().nonnegative(),
});

export const reportSchema = z.strictObject({
  $schema: z.literal(reportSchemaId).describe('Which schema this is: docs/report.schema.json of vecferry.'),
  format: z.literal(1),
  run: z.string(),
  mode: z
    .enum(['migrate', 'validate'])
    .describe('migrate: moved, then validated. validate: two collections held against each other, nothing written.'),
  ranOn: z.enum(['aws', 'one machine']),
  verdict: verdictSchema,
  summary: z.string().describe('One sentence.'),
  plannedAt: z.iso
    .datetime()
    .nullable()
    .describe('When the plan, the last import and the report were written; null where it did not come to that.'),
  importedAt: z.iso.datetime().nullable(),
  createdAt: z.iso.datetime(),
  source: z.strictObject({ store: z.string(), collection: z.string() }).nullable(),
  target: z.strictObject({ store: z.string(), collection: z.string() }).nullable(),
  failure: z
    .strictObject({
      error: z.string().describe(`One of ${Object.values(errorNames).join(', ')}, or what the platform calls it.`),
      message: z.string(),
      ids: z.array(z.string()),
    })
    .nullable()
    .describe("Why the run ended early; null where it came to its validation's end."),
  takenBack: z
    .strictObject({
      at: z.iso.datetime(),
      reason: z.string(),
      writes: z.string().describe('Where the writes are that were made meanwhile.'),
      next: z.string().describe('What to do next.'),
    })
    .nullable()
    .describe(
      'Readers were moved after the validation, and taken back to the source: when and why. The verdict is that of the validation all the same.',
    ),
  findings: z
    .array(findingSchema)
    .describe('What failed or could not be checked, the worst first, each with what to do next.'),
  counts: countsSchema.nullable().describe('null from here on: the run did not come to it.'),
  compare: compareReportSchema.nullable(),
  spotCheck: z
    .strictObject({ asked: tally, checked: tally, different: tally, first: named })
    .nullable()
    .describe('Records read back from the source by id and held against the shards.'),
  live: liveReportSchema
    .nullable()
    .describe('What the application wrote while a live run went on; null also of a run that was not live.'),
  embedding: embeddingReportSchema
    .nullable()
    .describe('Vectors that a model made; null: the run makes none, or ended before it made any.'),
  index: indexReportSchema
    .nullable()
    .describe(
      'An index that was changed in its collection; null: the run changes none, or ended before it was measured.',
    ),
  mapping: mappingReportSchema
    .nullable()
    .describe('What the mapping makes of payloads, and what the plan saw of it; null: it leaves them as they are.'),
  recall: recallSchema
    .nullable()
    .describe('One entry a query set and dense vector; docs/validation.md defines each measure.'),
  tuning: tuningSchema.shape.sets
    .nullable()
    .describe(
      'What raising the search settings of the target did; null: the event did not ask for it, or no goal was missed.',
    ),
  drift: driftReportSchema
    .nullable()
    .describe(
      'What the vectors of the target find beside what those of the source do, where another model made them or they are truncated. Nothing of it is a gate; null: both hold the same.',
    ),
  settings: z.array(settingRowSchema).nullable().describe('Both collections as they were when the report was written.'),
  timeline: timelineSchema
    .nullable()
    .describe(
      "Records a second over the run's time: equal steps from `startedAt` on, a rate each. null: no shard was worked on.",
    ),
  skipped: z
    .strictObject({
      records: tally,
      ids: z.array(z.string()),
      dropped: z
        .array(droppedSchema)
        .optional()
        .describe('Those that a rule of the mapping left out, by its name, with the first ids.'),
    })
    .nullable(),
  schema: schemaReportSchema
    .nullable()
    .describe(
      'Records that were read under another schema than the run’s, or under old names, and what was done for it; null: none were.',
    ),
  throttled: tally.describe('How often the target asked the import to slow down.'),
  estimate: sizeSchema.nullable().describe('What the plan expected.'),
  actual: sizeSchema
    .nullable()
    .describe(
      'What it came to. `usd` is worked out, not billed: the seconds that functions were seen to work, at the prices of the estimate; on one machine nothing is billed.',
    ),
  unread: z.array(z.string()).describe('What could not be read for this report, and why.'),
  notes: z
    .array(z.string())
    .describe("The plan's notes and what it guarantees when the source changes during the export."),
  guarantee: z.string().nullable(),
});
export type Report = z.infer<typeof reportSchema>;
