import { z } from 'zod';
import { differenceSchema } from '../run-files.ts';

/** The JSON files of a live run, besides those that every run has. */

const tally = z.int().nonnegative();
const at = z.iso.datetime();

/** live.json: from `since` on writes go to both sides; from `settledAt` on every writer knows. null: the flag is about to say so. */
export const liveSchema = z.strictObject({ flag: z.string(), since: at, settledAt: at.nullable() });
export type Live = z.infer<typeof liveSchema>;

/** tombstones/<time>-<uuid>.json, written by the client before it deletes. Ids are the source's. */
export const tombstoneSchema = z.strictObject({ at, ids: z.array(z.string()) });

/** tombstones.json: which of them an attempt has applied after the import. */
export const appliedSchema = z.strictObject({
  attempt: z.int().positive(),
  done: z.boolean(),
  /** Names of the tombstones' objects. */
  applied: z.array(z.string()),
  ids: tally,
});
export type Applied = z.infer<typeof appliedSchema>;

/**
 * sweep.json: how far the live writes were looked at after the import: tombstones, then every record of the source against
 * its shard, then what the target holds and the source does not. A record that is not as its shard, or in none, is held
 * against the target as both sides are now.
 */
export const sweepSchema = z.strictObject({
  attempt: z.int().positive(),
  done: z.boolean(),
  phase: z.enum(['tombstones', 'source', 'target']),
  /** Shards whose keys were swept in the source, in the manifest's order. */
  shards: tally,
  /** Where the next call goes on, in the shard after those or in the target; null at its begin. */
  rest: z.strictObject({ from: z.string().nullable(), to: z.string().nullable() }).nullable(),
  /** Tombstones looked at, by the names of their objects, and the ids that they name. */
  applied: z.array(z.string()),
  tombstones: tally,
  /** Records of the source that are in no shard, that are not as in their shard, and records of the shards that it holds no more. */
  added: tally,
  changed: tally,
  deleted: tally,
  /** Records that were made as the source has them, since a writer's second write had not come or had come too late. */
  mended: tally,
  /** The first hundred of them, and how they differed. */
  mends: z.array(z.strictObject({ id: z.string(), reason: z.string() })),
  /** Records that are still not the same after that, or could not be read; the first hundred of each. */
  missing: tally,
  different: tally,
  extra: tally,
  unchecked: tally,
  differences: z.array(differenceSchema),
  /** What was not looked at, and why. */
  note: z.string(),
  startedAt: at,
  at,
});
export type Sweep = z.infer<typeof sweepSchema>;
