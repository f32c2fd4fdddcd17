import { z } from 'zod';

export const optionsSchema = z.strictObject({
  /** Column with the ids of a table that was not made here. */
  id: z.string().min(1).optional(),
  /** Distance of vectors without an index, in a table that was not made here. */
  distance: z.enum(['cosine', 'dot', 'euclid']).optional(),
  /** Records from which on an index is built; fewer are searched exactly. */
  indexFrom: z.int().min(256).default(100_000),
  /** Index partitions searched; left out: LanceDB's own default. */
  nprobes: z.int().positive().optional(),
  /** Candidates re-ranked by their whole vectors, as a multiple of k. */
  refineFactor: z.int().positive().optional(),
  /** Candidates kept while an HNSW index is searched. */
  ef: z.int().positive().optional(),
});
/** The options of an endpoint of store lancedb. */
export type Options = z.infer<typeof optionsSchema>;
