import { z } from 'zod';
import { addedFieldSchema, fieldRuleSchema, recordRuleSchema } from '../event-mapping.ts';

/** The mapping as the plan keeps it, and what trying it on the source's records said. */

const tally = z.int().nonnegative();

/** The rules of a mapping besides leaving fields out and casting numbers: lib/mapping/rules.ts applies them. */
export const mappingRulesSchema = z.strictObject({
  records: z.array(recordRuleSchema),
  /** In the event's order; null: left out of the object that the path leads into. */
  fields: z.array(z.strictObject({ from: z.string(), rule: fieldRuleSchema.nullable() })),
  add: z.record(z.string(), addedFieldSchema),
  others: z.enum(['keep', 'drop']),
  /** Where the target declares its fields: all of them, in order. One that a record has nothing for is null. */
  declared: z.array(z.string()).optional(),
  /** Field of the target -> what its texts are held to. */
  checks: z.record(
    z.string(),
    z.strictObject({ values: z.array(z.string()).optional(), maxLength: z.int().positive().optional() }),
  ),
});
export type MappingRules = z.infer<typeof mappingRulesSchema>;

/** How the target's records differ from the source's, worked out once by the plan. */
export const mappingPlanSchema = z.strictObject({
  /** Source vector name -> target vector name; vectors that are left out are not here. */
  vectors: z.record(z.string(), z.string()),
  /** Target vector name -> the floats that are kept of it: lib/mapping/truncate.ts. Those that stay whole are not here. */
  truncate: z.record(z.string(), z.int().positive()).optional(),
  /** Fields that say which model made the target's `vector`: lib/mapping/mark.ts. `isDeclared`: null, and not left out, where a record has none. `isKept`: a record that names a model keeps what it says. */
  mark: z
    .strictObject({
      vector: z.string(),
      fields: z.record(z.string(), z.string()),
      isDeclared: z.boolean(),
      isKept: z.boolean().optional(),
    })
    .optional(),
  /** Payload fields that are left out. */
  dropFields: z.array(z.string()),
  /** Payload fields whose numbers become strings, or whose numeric strings become numbers. */
  castFields: z.record(z.string(), z.enum(['number', 'string'])),
  /** Left out: the mapping has no other rules, and no payload is taken apart for them. */
  rules: mappingRulesSchema.optional(),
  /** keep: ids stay as they are. uuid5: ids that the target cannot hold become UUIDv5, the original goes into `originalId`. */
  ids: z.enum(['keep', 'uuid5']),
  originalId: z.string(),
  /** skip: records that lack a vector are left out and counted. */
  missingVectors: z.enum(['keep', 'skip']),
});
export type MappingPlan = z.infer<typeof mappingPlanSchema>;

/** What a look at the source's records said of the rules: lib/mapping/check.ts. */
export const mappingFindingSchema = z.strictObject({
  /** refused: the run would fail at these records. dropped: a rule leaves them out. lost: they lose something. unmet: they lack a field that a rule names. */
  kind: z.enum(['refused', 'dropped', 'lost', 'unmet']),
  /** Of the source, or the rule's name. */
  field: z.string(),
  what: z.string().describe('A sentence, with how many records and the first ids.'),
  records: tally,
  ids: z.array(z.string()),
  isWhole: z.boolean().describe('False: seen in a sample alone.'),
});
export type MappingFinding = z.infer<typeof mappingFindingSchema>;

export const checkedMappingSchema = z.strictObject({
  looked: tally.describe('Records that the rules were tried on.'),
  records: tally,
  counted: z.array(z.string()).describe('Fields whose values were all counted by the store.'),
  findings: z.array(mappingFindingSchema),
});
export type CheckedMapping = z.infer<typeof checkedMappingSchema>;
