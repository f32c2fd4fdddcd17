import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { ShardDamaged } from '../errors.ts';
import { type Endpoint, parseAs, type RunEvent } from '../event.ts';
import { flagPath } from './flag-path.ts';

/**
 * The routing flag: which store an application reads and writes, when source and target are different stores. A store is
 * named by its place, `store:collection`. docs/client.md shows it, also for applications that read it by themselves.
 */
export const flagSchema = z.strictObject({
  /** The place that serves reads. */
  active: z.string(),
  /** The place that a share of the reads goes to; equal to `active` when nothing is under way. */
  candidate: z.string(),
  /** Percent of reads that go to the candidate: lib/cutover/route.ts says whose. */
  weight: z.number().min(0).max(100),
  /** Percent of reads that are sent to the other place too, to hold both answers against each other. */
  shadow: z.number().min(0).max(100).default(0),
  /** Where writes go, in this order: a write counts once the first has it. Left out: to `active` alone. */
  writes: z.array(z.string()).min(1).max(2).optional(),
  /** The run that moves the flag: its ledger takes the tombstones of deletes. */
  run: z.string().optional(),
});
export type Flag = z.infer<typeof flagSchema>;

/** A collection as flags and metrics name it. */
export function placeOf({ store, collection }: Pick<Endpoint, 'store' | 'collection'>): string {
  return `${store}:${collection}`;
}

/** The flag of a run: the event's, else one named after the collection by its stable name, else after the target's. */
export function flagNameOf({ cutover, names, target }: RunEvent): string {
  return cutover?.flag ?? (names?.collection ?? target.collection).replace(/[^A-Za-z0-9_.-]/g, '_');
}

export interface FlagStore {
  /** undefined when the flag was never set. */
  read(name: string): Promise<Flag | undefined>;
  /** Replaces the flag's value at once. */
  write(name: string, flag: z.input<typeof flagSchema>): Promise<void>;
  /** For people: where the flag is. */
  locate(name: string): string;
}

/** Flags as files in a directory; a write is a rename, so a reader sees the old flag or the new one. */
export function fileFlags(directory: string): FlagStore {
  const path = (name: string): string => flagPath(directory, name);
  return {
    read: async (name) => {
      try {
        return parseFlag(await readFile(path(name), 'utf8'), path(name));
      } catch (error) {
        if (Object(error).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    write: async (name, flag) => {
      await mkdir(dirname(path(name)), { recursive: true });
      const next = `${path(name)}.${randomUUID()}.next`;
      await writeFile(next, `${JSON.stringify(flag)}\n`);
      await rename(next, path(name));
    },
    locate: path,
  };
}

/** @param where what the flag is called in an error @throws ShardDamaged when it is not a flag */
export function parseFlag(text: string, where: string): Flag {
  const what = `the routing flag ${where}`;
  try {
    return parseAs(flagSchema, JSON.parse(text), what, ShardDamaged);
  } catch (cause) {
    if (cause instanceof ShardDamaged) throw cause;
    // Without its `writes` the application would write to one side alone, in the middle of a run.
    const fields = '{"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had';
    const next = `where a run has moved readers vecferry rollback RUN writes it anew, else set it to ${fields}`;
    throw new ShardDamaged(`${what} is not JSON; ${next}`, { cause });
  }
}
