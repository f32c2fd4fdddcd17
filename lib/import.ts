import { type Batch, batchBytes, selectRecords, sliceBatch } from './batch.ts';
import { attachMade, besideMade, type EmbeddedObject, openEmbedded } from './embed/stage/made.ts';
import { RecordRefused, ShardDamaged, StoreUnavailable, Throttled, VecferryError } from './errors.ts';
import { exportedKey, failedKey, loadedKey, shardKey } from './keys.ts';
import { type Deadline, isNear, type Log } from './log.ts';
import { addDropped, droppedOf } from './mapping/dropped.ts';
import { mapBatch } from './mapping/mapping.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import type { ShardQueue } from './queue.ts';
import { type Failed, type Loaded, type Plan, shardEntrySchema } from './run-files.ts';
import { addChanges, conform, hasChanges, noChanges, type SchemaTally } from './schema/conform.ts';
import { releaseMemory } from './shard/parquet-wasm.ts';
import { readShard, type ShardHeader, verifyShard } from './shard/shard.ts';
import { type ImportMessage, type ImportTally, messageVersion } from './states.ts';
import type { StoreKind, Target } from './stores/port.ts';
import { makePace, type Pace } from './throttle.ts';

/** A write's limits: a store's own request limits are the adapter's matter, these bound what is in flight in memory. */
const maxWriteRecords = 10_000;
const maxWriteBytes = 8 * 1024 * 1024;
/** Ids kept in markers and messages, for people. */
const idsKept = 100;
/** Seconds before a shard comes back when the store was too busy for it. */
const busyDelaySeconds = 20;

export interface ImportShardInput {
  readonly plan: Plan;
  readonly message: ImportMessage;
  readonly target: Target;
  readonly targetKind: StoreKind;
  readonly objects: ObjectStore;
  readonly queue: ShardQueue;
  readonly deadline: Deadline;
  readonly log: Log;
  readonly now: () => Date;
}

/** loaded: every record is in the target. handedBack: the rest is on the queue again. refused: some records never will be. */
export type ImportOutcome = 'loaded' | 'handedBack' | 'refused';

export interface ImportResult {
  readonly outcome: ImportOutcome;
  /** Records that the target acknowledged in this call. */
  readonly written: number;
  /** How often the store throttled or was away in this call. */
  readonly throttled: number;
}

/**
 * Writes one shard into the target. Repeatable, also by two importers at once: writes are idempotent by id and position,
 * and the loaded marker is written after the last write was acknowledged.
 *
 * A record that the target refuses is isolated by halving its batch; the others are written, the record is named in the
 * failed marker and the message goes to the dead letters.
 *
 * In a live run a record that the target holds already stays as it is: the application wrote it, and what it wrote is
 * newer. It counts as written, since the marker says that every record of the shard is durable there, in this state or a
 * later one. One that the application deletes meanwhile may be brought back; "Apply the tombstones" comes after the import.
 *
 * @throws ShardDamaged when the object is not what was exported; SchemaMismatch when it was read under another schema that
 * no rule accepts; StoreUnavailable when the target stays away.
 */
export async function importShard(input: ImportShardInput): Promise<ImportResult> {
  const { plan, message, objects, queue, log, now } = input;
  const { run } = plan;
  const { shard } = message;
  if ((await objects.get(loadedKey(run, shard))) !== undefined) return { outcome: 'loaded', written: 0, throttled: 0 };
  const { bytes, header } = await getShard(input);
  const made = plan.embed === undefined ? undefined : await openEmbedded(objects, plan, shard);
  const { records } = header;
  const tallied = message.tally ?? noTally;
  const startedAt = tallied.startedAt ?? now().toISOString();
  const progress = { offset: message.offset, tally: { ...tallied, startedAt } };
  const pace = makePace({ maxRecords: maxWriteRecords, deadline: input.deadline, log });
  const before = progress.tally.written;
  const finished = await writeAll(input, { bytes, header, made }, progress, pace);
  progress.tally = { ...progress.tally, throttled: progress.tally.throttled + pace.count };
  releaseMemory(bytes);
  if (made !== undefined) releaseMemory(made.bytes);
  const result = { written: progress.tally.written - before, throttled: pace.count };
  if (!finished) {
    await queue.sendLater(
      { version: messageVersion, run, shard, attempt: message.attempt, ...progress },
      pace.count > 0 ? busyDelaySeconds : 0,
    );
    log.info('the rest of the shard is handed back', { shard, offset: progress.offset });
    return { ...result, outcome: 'handedBack' };
  }
  const { tally } = progress;
  if (tally.refused > 0) {
    const text = `the target refuses ${tally.refused} records: ${tally.reason ?? ''}`;
    await putFailed(input, { error: 'RecordRefused', message: text, ids: tally.refusedIds, attempts: 1, final: true });
    await queue.bury({ version: messageVersion, run, shard, attempt: message.attempt, offset: 0 }, text);
    return { ...result, outcome: 'refused' };
  }
  // A record whose text could not be embedded is not carried; compare names it.
  const carried = records - (tally.failed ?? 0);
  if (tally.written + tally.skipped !== carried) {
    const text = `shard ${shard} has ${carried} records to write, but the target acknowledged ${tally.written} and ${tally.skipped} were left out`;
    throw new StoreUnavailable(`${text}; the shard is written again`, { ids: [shard] });
  }
  const loaded: Loaded = {
    shard,
    records,
    written: tally.written,
    skipped: tally.skipped,
    skippedIds: tally.skippedIds,
    ...(tally.dropped && { dropped: tally.dropped }),
    throttled: tally.throttled,
    ...(tally.schema === undefined ? {} : { schema: tally.schema }),
    startedAt,
    at: now().toISOString(),
  };
  await putJson(objects, loadedKey(run, shard), loaded);
  await objects.delete(failedKey(run, shard));
  log.info('loaded a shard', { shard, records, throttled: loaded.throttled });
  return { ...result, outcome: 'loaded' };
}

/**
 * Notes a failed delivery. An error that no retry mends, or the last delivery that the queue allows, is final.
 * @returns true when the message has to be delivered again.
 */
export async function noteFailure(
  input: Pick<ImportShardInput, 'plan' | 'message' | 'objects' | 'queue' | 'now' | 'log'>,
  error: unknown,
  { attempts, maxAttempts }: { attempts: number; maxAttempts: number },
): Promise<boolean> {
  const isHopeless = error instanceof VecferryError && !error.retryable;
  const failure = {
    error: error instanceof Error ? error.name : 'Error',
    message: error instanceof Error ? error.message : String(error),
    ids: error instanceof VecferryError ? error.ids : [],
    attempts,
    final: isHopeless || attempts >= maxAttempts,
  };
  await putFailed(input, failure);
  const { message: reason, ...rest } = failure;
  // Powertools drops a field of the name `message`.
  input.log.warn('a shard could not be loaded', { shard: input.message.shard, reason, ...rest });
  if (isHopeless) await input.queue.bury({ ...input.message, offset: 0 }, failure.message);
  return !isHopeless;
}

const noTally: ImportTally = { written: 0, skipped: 0, skippedIds: [], refused: 0, refusedIds: [], throttled: 0 };

interface Progress {
  offset: number;
  tally: ImportTally;
}

/** @throws ShardDamaged when the object is gone, damaged, or not the one that was exported. */
async function getShard({ plan, message, objects }: ImportShardInput): Promise<Omit<Shard, 'made'>> {
  const { run } = plan;
  const key = shardKey(run, message.shard);
  const mend = 'start the run again, which exports the shard anew';
  const entry = await getJson(objects, exportedKey(run, message.shard), shardEntrySchema);
  const bytes = await objects.get(key);
  if (bytes === undefined || entry === undefined)
    throw new ShardDamaged(`${objects.locate(key)} is gone; ${mend}`, { ids: [message.shard] });
  const header = verifyShard(bytes, objects.locate(key));
  if (header.checksum !== entry.checksum) {
    const text = `${objects.locate(key)} is not what was exported: its checksum is not the marker's`;
    throw new ShardDamaged(`${text}; ${mend}`, { ids: [message.shard] });
  }
  return { bytes, header };
}

interface Shard {
  readonly bytes: Uint8Array;
  readonly header: ShardHeader;
  /** Of a run that embeds texts: the vectors that were made for it. */
  readonly made: EmbeddedObject | undefined;
}

/** False when the deadline came first; `progress` then says what is left. */
async function writeAll(input: ImportShardInput, shard: Shard, progress: Progress, pace: Pace): Promise<boolean> {
  const { plan, message, objects } = input;
  const where = objects.locate(shardKey(plan.run, message.shard));
  const { bytes, header } = shard;
  const readUnder = { ...header, where: `shard ${message.shard}` };
  const from = { maxRecords: maxWriteRecords, offset: progress.offset, header };
  const groups = readShard(bytes, where, from);
  for await (const { batch: group, made } of besideIts(groups, shard.made, progress.offset)) {
    const start = progress.offset;
    while (progress.offset < start + group.count) {
      const at = progress.offset - start;
      const part = pieceAt(group, at, pace.size(), made);
      const { batch: piece, ...changes } = conform(part, readUnder, plan);
      const carried = carriedOf(plan, piece, made && sliceBatch(made, at, at + piece.count));
      const tally = await writePiece(input, carried, progress.offset, pace);
      if (tally === undefined) return false;
      const failed = piece.count - carried.count;
      progress.offset += piece.count;
      progress.tally = addTally(progress.tally, { ...tally, ...schemaOf(changes), ...(failed > 0 && { failed }) });
      if (isNear(input.deadline) && progress.offset < header.records) return false;
    }
    for (const each of [group, made]) for (const { values } of each?.vectors.values() ?? []) releaseMemory(values);
  }
  return true;
}

/** The row groups, and beside them what was made for their records. */
async function* besideIts(
  groups: AsyncIterable<Batch>,
  made: EmbeddedObject | undefined,
  offset: number,
): AsyncGenerator<{ readonly batch: Batch; readonly made?: Batch }, void, undefined> {
  if (made !== undefined) yield* besideMade(groups, made, offset);
  else for await (const batch of groups) yield { batch };
}

/** The records with their made vectors, without those whose text could not be embedded. */
function carriedOf({ embed }: Plan, piece: Batch, made: Batch | undefined): Batch {
  if (made === undefined) return piece;
  const { batch, failed } = attachMade(piece, made, embed?.vector ?? '');
  if (failed.size === 0) return batch;
  const positions = Array.from({ length: batch.count }, (_, at) => at);
  return selectRecords(
    batch,
    positions.filter((at) => !failed.has(at)),
  );
}

function pieceAt(batch: Batch, from: number, records: number, made: Batch | undefined): Batch {
  const piece = sliceBatch(batch, from, from + records);
  const bytes = batchBytes(piece) + (made === undefined ? 0 : batchBytes(sliceBatch(made, from, from + records)));
  if (bytes <= maxWriteBytes || piece.count === 1) return piece;
  return pieceAt(batch, from, Math.max(1, Math.floor((piece.count * maxWriteBytes) / bytes)), made);
}

/** undefined when the store kept refusing until the deadline. */
async function writePiece(
  input: ImportShardInput,
  piece: Batch,
  offset: number,
  pace: Pace,
): Promise<ImportTally | undefined> {
  const { plan, message, target, targetKind } = input;
  const mode = plan.event.live !== false || plan.hasLiveWrites === true ? 'insert' : 'upsert';
  for (;;) {
    try {
      const { batch, skipped, dropped } = mapBatch(piece, plan.mapping, targetKind.capabilities.ids);
      const position = { run: plan.run, shard: message.shard, offset, attempt: plan.attempt };
      const { written } = batch.count === 0 ? { written: 0 } : await target.write(batch, { position, mode });
      pace.succeeded();
      return {
        ...noTally,
        written,
        skipped: skipped.length,
        skippedIds: skipped.slice(0, idsKept),
        ...droppedOf(dropped),
      };
    } catch (error) {
      if (error instanceof RecordRefused) return await isolate(input, piece, offset, pace, error);
      if (!(error instanceof Throttled || error instanceof StoreUnavailable)) throw error;
      if (!(await pace.failed(error))) return undefined;
    }
  }
}

/** Halves a refused batch until the records that the target will never take stand alone. */
async function isolate(
  input: ImportShardInput,
  piece: Batch,
  offset: number,
  pace: Pace,
  error: RecordRefused,
): Promise<ImportTally | undefined> {
  if (piece.count === 1) return { ...noTally, refused: 1, refusedIds: [...piece.ids], reason: error.message };
  const middle = Math.ceil(piece.count / 2);
  const first = await writePiece(input, sliceBatch(piece, 0, middle), offset, pace);
  const second = first && (await writePiece(input, sliceBatch(piece, middle, piece.count), offset + middle, pace));
  return first && second && addTally(first, second);
}

function addTally(a: ImportTally, b: ImportTally): ImportTally {
  const reason = a.reason ?? b.reason;
  const failed = (a.failed ?? 0) + (b.failed ?? 0);
  return {
    written: a.written + b.written,
    skipped: a.skipped + b.skipped,
    skippedIds: [...a.skippedIds, ...b.skippedIds].slice(0, idsKept),
    refused: a.refused + b.refused,
    refusedIds: [...a.refusedIds, ...b.refusedIds].slice(0, idsKept),
    throttled: a.throttled + b.throttled,
    ...addDropped(a, b),
    ...(reason === undefined ? {} : { reason }),
    ...(failed > 0 && { failed }),
    ...schemaOf(addChanges(a.schema ?? noChanges, b.schema ?? noChanges)),
  };
}

/** Nothing where every record was read under the run's schema. */
function schemaOf({ defaulted, removed, renamed }: SchemaTally): Pick<ImportTally, 'schema'> {
  const schema = { defaulted, removed, renamed };
  return hasChanges(schema) ? { schema } : {};
}

async function putFailed(
  { plan, message, objects, now }: Pick<ImportShardInput, 'plan' | 'message' | 'objects' | 'now'>,
  failure: Omit<Failed, 'shard' | 'at' | 'ids'> & { ids: readonly string[] },
): Promise<void> {
  const marker: Failed = {
    ...failure,
    ids: failure.ids.slice(0, idsKept),
    shard: message.shard,
    at: now().toISOString(),
  };
  await putJson(objects, failedKey(plan.run, message.shard), marker);
}
