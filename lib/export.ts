import { type Batch, batchBytes, concatBatches, noRecords } from './batch.ts';
import { RecordRefused, ShardDamaged, UnsupportedFormat } from './errors.ts';
import { exportedKey, failedKey, loadedKey, runKeys, shardKey, shardName } from './keys.ts';
import { type Deadline, isNear, type Log } from './log.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import type { ShardQueue } from './queue.ts';
import { type Plan, type ShardEntry, shardEntrySchema } from './run-files.ts';
import { fingerprintOf } from './schema/fingerprint.ts';
import { schemaRead } from './schema/schema-read.ts';
import type { CollectionSchema } from './schema.ts';
import { releaseMemory } from './shard/parquet-wasm.ts';
import { encodeShard, shardHeader, verifyShard } from './shard/shard.ts';
import { type ExportInput, type ExportOutput, messageVersion } from './states.ts';
import type { Range, Source } from './stores/port.ts';

/** Limits of one read: small enough that a batch and its copy as Parquet fit beside each other in memory. */
const readLimits = { maxRecords: 20_000, maxBytes: 8 * 1024 * 1024 } as const;
/** Records a shard holds at most, however small they are: a shard is an importer's unit of work. */
const maxShardRecords = 200_000;

export interface ExportRangeInput extends Omit<ExportInput, 'run'> {
  readonly plan: Plan;
  readonly source: Source;
  readonly objects: ObjectStore;
  readonly queue: ShardQueue;
  readonly deadline: Deadline;
  readonly log: Log;
}

/**
 * Writes one range of the source as shards, and puts a message on the import queue for each as soon as it is written, unless
 * the run only validates.
 *
 * Repeatable: shard keys are deterministic; a shard that is there and whole is not exported again, and its message is sent
 * again only while it is not loaded. The order is object, marker, message: whatever a crash leaves out, the next try adds.
 *
 * @throws RecordRefused when a record cannot stand in a shard (a NaN or infinite float), naming it.
 */
export async function exportRange(input: ExportRangeInput): Promise<ExportOutput> {
  const { plan, range, objects, log } = input;
  const existing = new Set(await objects.list(`${runKeys(plan.run).shards}${shardName(range.range, 0).slice(0, -3)}`));
  let part = input.next?.part ?? 0;
  let left: Range | null = { from: input.next?.from ?? range.from, to: range.to };
  let shards = 0;
  let records = 0;
  while (left !== null) {
    const entry = await adopt(input, part, existing);
    if (entry !== undefined) {
      await announce(input, entry.shard);
      left = entry.rest;
      part += 1;
    } else {
      const cut = await cutShards(input, left, part, existing);
      left = cut.left;
      part += cut.shards;
      shards += cut.shards;
      records += cut.records;
    }
    if (left !== null && isNear(input.deadline)) {
      log.info('the deadline is near: the rest of the range is handed back', { range: range.range, part });
      return { done: false, shards, records, next: { part, from: left.from } };
    }
  }
  return { done: true, shards, records };
}

/** The entry of a part that an earlier try has written whole; undefined when it has to be exported. */
async function adopt(
  { plan, range, objects, log }: ExportRangeInput,
  part: number,
  existing: ReadonlySet<string>,
): Promise<ShardEntry | undefined> {
  const shard = shardName(range.range, part);
  const key = shardKey(plan.run, shard);
  if (!existing.has(key)) return undefined;
  const bytes = await objects.get(key);
  if (bytes === undefined) return undefined;
  try {
    const meta = verifyShard(bytes, objects.locate(key));
    const marker = await getJson(objects, exportedKey(plan.run, shard), shardEntrySchema);
    if (marker !== undefined && marker.checksum === meta.checksum) return marker;
    // The marker was not written any more, or is of an earlier object: the shard itself says what it is.
    if (meta.run !== plan.run || meta.shard !== shard)
      throw new ShardDamaged(`${objects.locate(key)} holds shard ${meta.shard} of run '${meta.run}'`);
    const now = new Date().toISOString();
    const entry = {
      shard,
      range: range.range,
      part,
      records: meta.records,
      bytes: bytes.length,
      checksum: meta.checksum,
      rest: meta.rest,
      startedAt: now,
      at: now,
    };
    await putJson(objects, exportedKey(plan.run, shard), entry);
    return entry;
  } catch (error) {
    if (!(error instanceof ShardDamaged || error instanceof UnsupportedFormat)) throw error;
    log.warn('a shard of an earlier try is damaged, or of another format, and is exported again', {
      shard,
      reason: error.message,
    });
    return undefined;
  }
}

interface Cut {
  readonly left: Range | null;
  readonly shards: number;
  readonly records: number;
}

/** Reads on from `from` and writes shards until the range ends, the deadline nears, or the next part is already there. */
async function cutShards(
  input: ExportRangeInput,
  from: Range,
  firstPart: number,
  existing: ReadonlySet<string>,
): Promise<Cut> {
  const { plan, range, source } = input;
  let pending: Batch[] = [];
  let readUnder: CollectionSchema | undefined;
  let pendingBytes = 0;
  let shards = 0;
  let records = 0;
  let startedAt = new Date();
  const flush = async (rest: Range | null): Promise<void> => {
    const batch = pending.length > 0 ? concatBatches(pending) : noRecords(plan.source.vectors);
    pending = [];
    pendingBytes = 0;
    await writeShard(input, shardName(range.range, firstPart + shards), batch, { rest, startedAt, readUnder });
    startedAt = new Date();
    shards += 1;
    records += batch.count;
  };
  let left: Range | null = from;
  const isTimeToStop = (): boolean =>
    existing.has(shardKey(plan.run, shardName(range.range, firstPart + shards))) || isNear(input.deadline);
  // A shard is read together with the vectors that are made for it.
  const madeBytes = (plan.embed?.model.dimensions ?? 0) * Float32Array.BYTES_PER_ELEMENT;
  const sizeOf = (batch: Batch): number => batchBytes(batch) + batch.count * madeBytes;
  const limits = {
    maxRecords: Math.max(1, Math.min(readLimits.maxRecords, Math.floor(plan.shardBytes / Math.max(1, madeBytes)))),
    maxBytes: Math.min(readLimits.maxBytes, plan.shardBytes),
  };
  for await (const { batch, rest, schema } of source.read(from, limits)) {
    refuseNotFinite(batch);
    const isFull = pendingBytes + sizeOf(batch) > plan.shardBytes || countOf(pending) + batch.count > maxShardRecords;
    // Records of two schemas never share a shard: it could say but one.
    if ((isFull || !isSameSchema(schema, readUnder)) && pending.length > 0) {
      await flush(left);
      if (isTimeToStop()) return { left, shards, records };
    }
    readUnder = schema;
    pending.push(batch);
    pendingBytes += sizeOf(batch);
    left = rest;
    if (rest === null) break;
  }
  // The range is empty, or its last records went away while it was read: its last shard says that nothing is left.
  await flush(null);
  return { left: null, shards, records };
}

function isSameSchema(one: CollectionSchema | undefined, other: CollectionSchema | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && fingerprintOf(one) === fingerprintOf(other));
}

const countOf = (batches: readonly Batch[]): number => batches.reduce((sum, { count }) => sum + count, 0);

interface ReadPart {
  /** What is left of the range after the shard. */
  readonly rest: Range | null;
  readonly startedAt: Date;
  /** What the store found the collection to be, where it tells. */
  readonly readUnder: CollectionSchema | undefined;
}

async function writeShard(
  input: ExportRangeInput,
  shard: string,
  batch: Batch,
  { rest, startedAt, readUnder }: ReadPart,
): Promise<void> {
  const { plan, range, objects, log } = input;
  const part = Number(shard.slice(shard.lastIndexOf('-') + 1));
  const bytes = await encodeShard(batch, {
    run: plan.run,
    schema: schemaRead(plan.source, readUnder, batch, plan.event.names),
    collection: plan.event.source.collection,
    range: { from: range.from, to: range.to },
    rest,
    shard,
  });
  // What was loaded from an earlier object of this name may differ from what is in this one.
  await objects.delete(loadedKey(plan.run, shard));
  await objects.put(shardKey(plan.run, shard), bytes, 'application/vnd.apache.parquet');
  const entry: ShardEntry = {
    shard,
    range: range.range,
    part,
    records: batch.count,
    bytes: bytes.length,
    checksum: shardHeader(bytes, shard).checksum,
    rest,
    startedAt: startedAt.toISOString(),
    at: new Date().toISOString(),
  };
  releaseMemory(bytes);
  await putJson(objects, exportedKey(plan.run, shard), entry);
  await announce(input, shard);
  log.info('exported a shard', { shard, records: batch.count, bytes: entry.bytes });
}

/** A failure of an earlier attempt is forgotten: this one begins anew. A run that only validates or changes an index imports nothing, and one that embeds texts only what has its vectors. */
async function announce({ plan, objects, queue }: ExportRangeInput, shard: string): Promise<void> {
  if (plan.event.mode === 'validate' || plan.embed !== undefined || plan.index !== undefined) return;
  if ((await objects.get(loadedKey(plan.run, shard))) !== undefined) return;
  await objects.delete(failedKey(plan.run, shard));
  await queue.send([{ version: messageVersion, run: plan.run, shard, attempt: plan.attempt, offset: 0 }]);
}

/** No store can search for NaN, JSON cannot write it, and comparing it never ends well. */
function refuseNotFinite(batch: Batch): void {
  for (const [name, each] of batch.vectors) {
    if (areFinite(each.values)) continue;
    const at = each.values.findIndex((value) => !Number.isFinite(value));
    const position =
      each.kind === 'dense'
        ? Math.floor(at / each.dimension)
        : recordOf(each.offsets, each.kind === 'multi' ? Math.floor(at / each.dimension) : at);
    const id = batch.ids[position] ?? '';
    throw new RecordRefused(
      `vector '${name}' of record '${id}' holds ${each.values[at]}; mend or delete the record in the source, or leave the vector out in the mapping`,
      {
        ids: [id],
      },
    );
  }
}

/** A tenth of the time that a callback a float takes: NaN and infinity times 0 are NaN, and so is every sum with it. */
function areFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) * 0;
  return sum === 0;
}

/** The record whose entries [offsets[i], offsets[i + 1]) hold `entry`. */
function recordOf(offsets: Uint32Array, entry: number): number {
  return offsets.findLastIndex((offset, at) => offset <= entry && at < offsets.length - 1);
}
