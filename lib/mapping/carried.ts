import { type Batch, selectRecords } from '../batch.ts';
import { getMade } from '../embed/stage/made.ts';
import type { ObjectStore } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import { idsLeftOut } from './mapping.ts';

/** The records of a shard that are carried, with their made vectors: without those whose text could not be embedded. @throws as getMade */
export async function getCarriedShard(objects: ObjectStore, plan: Plan, shard: string): Promise<Batch> {
  const { batch, failed } = await getMade(objects, plan, shard);
  const positions = Array.from({ length: failed.size > 0 ? batch.count : 0 }, (_, at) => at);
  const made =
    failed.size === 0
      ? batch
      : selectRecords(
          batch,
          positions.filter((at) => !failed.has(at)),
        );
  return await carriedRecords(made, plan);
}

/** The records of a batch of the source that the mapping carries: all, or those that lack no vector. */
export async function carriedRecords(batch: Batch, plan: Plan): Promise<Batch> {
  const skipped = await skippedIds(batch, plan);
  if (skipped.size === 0) return batch;
  return selectRecords(
    batch,
    batch.ids.flatMap((id, at) => (skipped.has(id) ? [] : [at])),
  );
}

/** Ids of the records that the mapping leaves out, because they lack a vector or by a rule. */
export async function skippedIds(batch: Batch, { mapping }: Plan): Promise<ReadonlySet<string>> {
  return idsLeftOut(batch, mapping);
}
