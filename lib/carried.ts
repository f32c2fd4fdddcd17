import { type Batch, selectRecords } from './batch.ts';
import { split } from './fetch-records.ts';
import { mapBatch } from './mapping.ts';
import type { Plan } from './run-files.ts';
import { storeKind } from './stores/registry.ts';

/** The records of a batch of the source that the mapping carries: all, or those that lack no vector. */
export async function carriedRecords(batch: Batch, plan: Plan): Promise<Batch> {
  const skipped = await skippedIds(batch, plan);
  if (skipped.size === 0) return batch;
  return selectRecords(
    batch,
    batch.ids.flatMap((id, at) => (skipped.has(id) ? [] : [at])),
  );
}

/** Ids of the records that the mapping leaves out, because they lack a vector. */
export async function skippedIds(batch: Batch, plan: Plan): Promise<ReadonlySet<string>> {
  if (plan.mapping.missingVectors === 'keep') return new Set();
  const { capabilities } = await storeKind(plan.event.target.store);
  const parts = split(
    Array.from({ length: batch.count }, (_, at) => at),
    10_000,
  );
  return new Set(parts.flatMap((part) => mapBatch(selectRecords(batch, part), plan.mapping, capabilities.ids).skipped));
}
