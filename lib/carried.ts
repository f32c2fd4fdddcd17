import { type Batch, selectRecords } from './batch.ts';
import { idsLeftOut } from './mapping.ts';
import type { Plan } from './run-files.ts';

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
