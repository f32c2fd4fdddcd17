import type { Batch } from '../batch.ts';
import { NotFound, ShardDamaged } from '../errors.ts';
import { shardKey } from '../keys.ts';
import type { ObjectStore } from '../objects.ts';
import { type Conformed, type ConformPlan, conform } from '../schema/conform.ts';
import { releaseMemory } from './parquet-wasm.ts';
import { decodeShard } from './shard.ts';

/**
 * The records of a run's shard, as the run's schema has them.
 * @throws NotFound when the object is not there, ShardDamaged when it is not as it was written or is another shard,
 * SchemaMismatch when it was read under another schema that no rule accepts.
 */
export async function getShard(
  objects: ObjectStore,
  plan: ConformPlan & { run: string },
  shard: string,
): Promise<Batch> {
  return (await getConformed(objects, plan, shard)).batch;
}

/** The same, with what was changed for it. */
export async function getConformed(
  objects: ObjectStore,
  plan: ConformPlan & { run: string },
  shard: string,
): Promise<Conformed> {
  const key = shardKey(plan.run, shard);
  const where = objects.locate(key);
  const bytes = await objects.get(key);
  if (bytes === undefined) throw new NotFound(`${where} is not there: export the run again`, { ids: [shard] });
  const { meta, batch } = await decodeShard(bytes, where);
  releaseMemory(bytes);
  if (meta.shard !== shard)
    throw new ShardDamaged(`${where} holds shard ${meta.shard}, not ${shard}`, { ids: [shard] });
  return conform(batch, { ...meta, where: `shard ${shard}` }, plan);
}
