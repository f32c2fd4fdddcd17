import { InvalidEvent } from '../../errors.ts';
import { embeddedMarkerKey } from '../../keys.ts';
import { readManifest } from '../../manifest.ts';
import { getJson, type ObjectStore, parseJsonObject } from '../../objects.ts';
import type { Plan } from '../../run-files.ts';
import { releaseMemory } from '../../shard/parquet-wasm.ts';
import { readShard } from '../../shard/shard.ts';
import { embeddedPayloadSchema, embeddedSchema } from './embed-files.ts';
import { openEmbedded } from './made.ts';

export interface FailedRecord {
  readonly id: string;
  readonly reason: string;
}

/**
 * Every record whose text could not be embedded, of the shards whose texts all have an answer, in the source's order.
 * @throws InvalidEvent when the run embeds none, NotFound before its export is sealed
 */
export async function* failedRecords(objects: ObjectStore, plan: Plan): AsyncGenerator<FailedRecord, void, undefined> {
  if (plan.embed === undefined) throw new InvalidEvent(`run '${plan.run}' embeds no texts`, { ids: [plan.run] });
  for (const { shard } of (await readManifest(objects, plan.run)).shards) {
    const marker = await getJson(objects, embeddedMarkerKey(plan.run, shard), embeddedSchema);
    if (marker === undefined || marker.failed === 0) continue;
    const { bytes, header, where } = await openEmbedded(objects, plan, shard);
    for await (const batch of readShard(bytes, where, { maxRecords: header.records, header, vectors: false })) {
      for (const [at, payload] of batch.payloads.entries()) {
        const { status, reason = '' } = parseJsonObject(Buffer.from(payload), embeddedPayloadSchema, where);
        if (status === 'failed') yield { id: batch.ids[at] ?? '', reason };
      }
    }
    releaseMemory(bytes);
  }
}
