import { z } from 'zod';

/**
 * Another index of one vector, in the collection that has it: built beside the old one or in its place, validated, and only
 * then made the one that readers use. docs/index-change.md. What is left out is suggested from the collection's size, with the source of
 * the rule: lib/index-change/advice.ts.
 */

const hnsw = z.strictObject({
  kind: z.literal('hnsw'),
  /** Edges a node. */
  m: z.int().min(2).max(100).optional(),
  efConstruction: z.int().min(4).max(1000).optional(),
});
const ivfflat = z.strictObject({
  kind: z.literal('ivfflat'),
  lists: z.int().min(1).max(32_768).optional(),
});

export const indexChangeSchema = z.strictObject({
  /** The vector, by its name in the collection; left out: the only dense one. */
  vector: z.string().optional(),
  /** Which index it takes the place of where the vector has several of different operator classes: its name, or its operator class. The others stay. */
  replaces: z.string().min(1).optional(),
  /** Left out: as it is (where only quantization changes). */
  to: z.discriminatedUnion('kind', [hnsw, ivfflat]).optional(),
  /** Qdrant's quantization_config of the vector; null takes it off. Left out: as it is. */
  quantization: z.record(z.string(), z.unknown()).nullable().optional(),
  /** Whether the new index stays where the run does not pass. Left out: where it finds no less than the old one. */
  keep: z.boolean().optional(),
});
export type IndexChange = z.infer<typeof indexChangeSchema>;
