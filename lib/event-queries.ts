import { z } from 'zod';
import { filterSchema } from './filter.ts';

/** The part of an event that says what both sides are searched for. docs/validation.md, "What is searched for". */

const floats = z.array(z.number()).min(1);

/** A query that the event, or a file it names, gives. */
export const givenQuerySchema = z
  .strictObject({
    /** What the report calls it; left out: its number. */
    id: z.string().min(1).optional(),
    /** Of the vectors that the target gets; where these are truncated, whole or truncated. */
    vector: floats.optional(),
    /** In place of `vector`: a model makes it. */
    text: z.string().min(1).optional(),
    /**
     * Where another model makes the target's vectors: what the source is searched with. null: nothing, and the source is not
     * searched. Left out: the text, where the source's model can be asked.
     */
    sourceVector: floats.nullable().optional(),
    /** Conditions of this query, besides those of its set. */
    filter: filterSchema.optional(),
    /** Ids, as the source has them, that a good answer holds: a query of a gold set. */
    expected: z.array(z.string().min(1)).min(1).max(1000).optional(),
  })
  .refine(({ vector, text }) => (vector === undefined) !== (text === undefined), 'takes one of vector and text')
  .refine(({ text }) => text === undefined || text.trim() !== '', { path: ['text'], message: 'is blank' });
export type GivenQuery = z.infer<typeof givenQuerySchema>;

export const querySetSchema = z
  .strictObject({
    /** What the report calls it. */
    name: z.string().regex(/^[\w .-]{1,60}$/, 'takes at most 60 letters, digits, spaces, - _ .'),
    /** Records drawn by `seed` as queries. Left out where neither `queries` nor `file` is given: recall.queries. */
    sample: z.int().min(1).max(10_000).optional(),
    queries: z.array(givenQuerySchema).min(1).max(1000).optional(),
    /** A file of queries, a JSON object a line: s3://BUCKET/KEY, or a path where the run is on one machine. */
    file: z.string().min(1).optional(),
    /** The dense vector searched, by its name in the source; left out: each of the mapping's, or the only one for given queries. */
    vector: z.string().optional(),
    /** Conditions on payload fields, by their names in the source. */
    filter: filterSchema.optional(),
    k: z.int().min(1).max(1000).optional(),
    /** As recall.atLeast, for this set; null: reported, and not held against a goal. */
    atLeast: z.number().min(0).max(1).nullable().optional(),
    /**
     * Least share of the expected ids that the target finds, held against the lower end of the 95 % interval; null: it is
     * reported only. Left out: so too, but where another model makes the vectors the target must not be provably worse than the source.
     */
    goldAtLeast: z.number().min(0).max(1).nullable().optional(),
  })
  .refine(
    ({ sample, queries, file }) => [sample, queries, file].filter((each) => each !== undefined).length <= 1,
    'takes one of sample, queries and file',
  )
  .refine(({ goldAtLeast, queries, file }) => goldAtLeast == null || queries !== undefined || file !== undefined, {
    path: ['goldAtLeast'],
    message: 'is for queries that say what they expect, and this set is drawn from the records; leave it out',
  });
export type QuerySet = z.infer<typeof querySetSchema>;
