import type { Embedder } from './embed/port.ts';
import type { Deadline, Log } from './log.ts';
import type { ObjectStore } from './objects.ts';
import type { ShardQueue } from './queue.ts';
import type { Manifest, Plan } from './run-files.ts';

export interface EmbedStageInput {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly queue: ShardQueue;
  readonly embedder: Embedder;
  readonly deadline: Deadline;
  readonly log: Log;
  readonly now: () => Date;
}

/** Embeds the texts of every shard, and puts a shard on the import queue once its vectors are there. */
export async function embedShards({ plan }: EmbedStageInput): Promise<{ readonly done: boolean }> {
  throw new Error(`run ${plan.run}: texts cannot be embedded yet`);
}
