import { z } from 'zod';
import { filterSchema } from './filter.ts';
import { parseTemplate } from './mapping/template.ts';
import { distanceSchema, fieldTypeSchema, indexSchema, precisionSchema } from './schema.ts';

/** The part of an event that says how a record of the source becomes one of the target. */

const vectorMapping = z.strictObject({
  /** Name in the target; left out: as the target's defaults say. */
  to: z.string().optional(),
  distance: distanceSchema.optional(),
  precision: precisionSchema.optional(),
  /** The index the target builds; left out: the source's where both have the notion, else the store's default. */
  index: indexSchema.optional(),
  /**
   * The first so many floats are kept and scaled to length 1 again: for vectors of a model that was trained for it
   * (Matryoshka representation learning, arxiv.org/abs/2205.13147).
   */
  dimensions: z.int().positive().optional(),
});

/** A field of a payload by its name, or a path into objects: `meta.category`. */
const fieldPath = z
  .string()
  .min(1)
  .refine((path) => path.split('.').every((step) => step !== '' && step !== '__proto__'), {
    error: 'is no field: a path has names with one dot between two, and none is __proto__',
  });
const holdsRounded = (value: unknown): boolean =>
  typeof value === 'object' && value !== null
    ? Object.values(value).some(holdsRounded)
    : typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER;
const roundedText = 'holds a number beyond 2^53 - 1, which was rounded when the event was read; write it as a text';
/** A value that the event gives. Its larger integers have lost their digits before anybody sees them. */
const givenValue = z.json().refine((value) => !holdsRounded(value), roundedText);
const scalar = z.union([
  z.string(),
  z.number().refine((value) => !holdsRounded(value), roundedText),
  z.boolean(),
  z.null(),
]);

/** lib/mapping/cast.ts says what each takes. */
export const castSchema = z.enum(['number', 'integer', 'string', 'boolean', 'timestamp', 'date', 'json', 'list']);
export type CastName = z.infer<typeof castSchema>;

const isExpression = (by: string): boolean => by.length > 2 && by.startsWith('/') && by.endsWith('/');

function isPattern(by: string): boolean {
  try {
    separatorOf(by);
    return true;
  } catch {
    return false;
  }
}

function isTemplate(text: string): boolean {
  try {
    parseTemplate(text, 'template');
    return true;
  } catch {
    return false;
  }
}

/** A text as it is, or between slashes a regular expression. @throws SyntaxError when it is none */
export function separatorOf(by: string): string | RegExp {
  return isExpression(by) ? new RegExp(by.slice(1, -1), 'u') : by;
}

/** What becomes of one field. All of it reads the source's record, so the order of rules never matters. */
export const fieldRuleSchema = z
  .strictObject({
    /** Its name in the target, or a path into an object there; left out: where it is. */
    to: fieldPath.optional(),
    /** Stands where a record lacks the field, or holds null there; nothing below is done to it. */
    default: givenValue.optional(),
    /** The first so many characters of a text are kept. */
    cut: z.int().positive().optional(),
    /** Value, as text -> what it becomes. */
    values: z.record(z.string(), scalar).optional(),
    /** After `values`, in order: as ILIKE, in any case, % for any characters, _ for one, a backslash before either for itself. */
    patterns: z.array(z.strictObject({ like: z.string().min(1), to: scalar })).optional(),
    /** A value that neither takes. drop: the record is left out, counted and listed. */
    otherwise: z.union([z.enum(['refuse', 'keep', 'drop']), z.strictObject({ value: scalar })]).optional(),
    /** After the values. */
    cast: castSchema.optional(),
    /** Of numbers that are cast to a timestamp or date: what they count since 1970. */
    unit: z.enum(['s', 'ms', 'us']).optional(),
    /** A text in parts: the last field takes the rest, and null stands where there are too few. Without `to`: a list of all parts. */
    split: z
      .strictObject({
        by: z
          .string()
          .min(1)
          .refine(isPattern, 'is no regular expression between its slashes')
          .refine(
            (by) => !/^\/.+\/[dgimsuvy]+$/.test(by),
            'takes a regular expression without flags: it holds for all of the text',
          ),
        to: z.array(fieldPath).min(2).optional(),
      })
      .optional(),
  })
  .refine(
    ({ otherwise, values, patterns }) => otherwise === undefined || values !== undefined || patterns !== undefined,
    {
      path: ['otherwise'],
      error: 'says what becomes of a value that "values" and "patterns" do not take, and there are none',
    },
  )
  .refine(({ unit, cast }) => unit === undefined || cast === 'timestamp' || cast === 'date', {
    path: ['unit'],
    error: 'is of a cast to "timestamp" or "date"',
  })
  .refine(
    ({ split, ...others }) =>
      split === undefined || Object.keys(others).every((name) => name === 'to' && split.to === undefined),
    { path: ['split'], error: 'stands alone; without its own "to" it may have a "to" beside it' },
  );
export type FieldRule = z.infer<typeof fieldRuleSchema>;

/** A field that no field of the source becomes. In a template `id` is the record's, where no field has that name. */
export const addedFieldSchema = z.union([
  z.strictObject({ value: givenValue }),
  z.strictObject({
    template: z
      .string()
      .min(1)
      .refine(isTemplate, 'has a brace without its counterpart; write {FIELD}, and {{ or }} for a brace itself'),
  }),
  z.strictObject({ join: z.array(fieldPath).min(1), by: z.string().default(' ') }),
]);
export type AddedField = z.infer<typeof addedFieldSchema>;

export const recordRuleSchema = z.strictObject({
  /** What report and markers call it. */
  name: z.string().regex(/^[\w .-]{1,60}$/, 'takes at most 60 letters, digits, spaces, - _ .'),
  /** Records whose fields, as the source has them, meet every condition are left out, counted and listed. */
  drop: filterSchema,
});

/** What a field of the target is declared as. `values` and `maxLength` are held everywhere, the types where a store has columns. */
const columnRule = z
  .strictObject({
    /** Left out: what the rules make of it. */
    type: fieldTypeSchema.optional(),
    /** PostgreSQL: the name of an enum type of these values; made where it is not there. */
    enum: z.string().min(1).optional(),
    values: z.array(z.string()).min(1).optional(),
    /** PostgreSQL: `values` are held by a CHECK too. */
    check: z.boolean().optional(),
    /** Characters at most; PostgreSQL: a varchar of so many. */
    maxLength: z.int().positive().max(10_485_760).optional(),
    /** The store's own type, `numeric(12,4)`. */
    native: z.string().min(1).optional(),
  })
  .refine(({ enum: name, check, values }) => values !== undefined || (name === undefined && check !== true), {
    path: ['values'],
    error: 'are what an enum type and a check are made of; give them',
  })
  .refine(
    (column) => [column.enum, column.maxLength, column.native].filter((each) => each !== undefined).length <= 1,
    'takes one of enum, maxLength and native: each is a type',
  )
  .refine(({ values = [] }) => new Set(values).size === values.length, { path: ['values'], error: 'are not unique' });
export type ColumnRule = z.infer<typeof columnRule>;

export const mappingSchema = z.strictObject({
  /** Source vector name -> its name and settings in the target, or null to leave the vector out. Unnamed ones are all moved. */
  vectors: z.record(z.string(), vectorMapping.nullable()).default({}),
  /**
   * Payload field, or path into one -> what becomes of it, or null to leave it out. A cast alone is its short form: `number`
   * accepts rounding to a double, `string` keeps every digit.
   */
  payload: z.record(z.string(), z.union([castSchema, fieldRuleSchema]).nullable()).default({}),
  /** Fields of the target that no field of the source becomes. */
  add: z.record(fieldPath, addedFieldSchema).default({}),
  /** Fields that `payload` does not name. */
  others: z.enum(['keep', 'drop']).default('keep'),
  /** Field of the target -> what it is declared as. */
  columns: z.record(z.string().min(1), columnRule).default({}),
  /** Records that are left out. */
  records: z
    .array(recordRuleSchema)
    .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, 'have names that are not unique')
    .default([]),
  /** What happens to records without a vector where the target cannot hold them. */
  missingVectors: z.enum(['refuse', 'skip']).default('refuse'),
  /** Payload field that keeps an id which the target cannot hold. */
  originalId: z.string().min(1).default('original_id'),
  /** What becomes of records that were read under another schema than the run was planned with: docs/names.md. */
  schema: z
    .strictObject({
      /** False: refused, with what differs. True: fields that they lack take their default, those that the run does not know are left out; both counted. */
      accept: z.boolean().default(false),
      /** Field -> its value in records that lack it; left out: null. */
      defaults: z.record(z.string(), givenValue).default({}),
    })
    .prefault({}),
});
export type Mapping = z.infer<typeof mappingSchema>;
