import type { DenseColumn } from '../../batch.ts';
import { ShardDamaged } from '../../errors.ts';
import { embeddedKey, embeddedMarkerKey, failedKey, loadedKey } from '../../keys.ts';
import type { Deadline, Log } from '../../log.ts';
import { getJson, type ObjectStore, putJson } from '../../objects.ts';
import type { ShardQueue } from '../../queue.ts';
import type { Manifest, Plan, ShardEntry } from '../../run-files.ts';
import { releaseMemory } from '../../shard/parquet-wasm.ts';
import { encodeShard, shardHeader, verifyShard } from '../../shard/shard.ts';
import { messageVersion } from '../../states.ts';
import type { Embedder } from '../port.ts';
import { type Embedded, type EmbeddedPayload, type EmbedPlan, embeddedSchema } from './embed-files.ts';
import type { EmbedProgress } from './embed-progress.ts';
import { completedPayload, embeddedHash, madeSchema } from './made.ts';
import type { TextOf } from './shard-texts.ts';
import type { Texts } from './texts.ts';

/** The shards of made vectors, embedded/<shard>.parquet: those that are there are adopted, others written, and each is put on the import queue. */

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

/** What every step of one call needs. */
export interface Stage extends EmbedStageInput {
  readonly embed: EmbedPlan;
  readonly texts: Texts;
  readonly progress: EmbedProgress;
  /** Shards whose texts were all drawn, in order, until they are written. */
  readonly opened: OpenShard[];
  /** Shards with texts that this call does not ask for. */
  readonly pending: string[];
  readonly read: {
    /** True once every shard was looked at. */
    whole: boolean;
    /** Records of the opened shards that are in memory. */
    kept: number;
  };
}

export interface OpenShard {
  readonly entry: ShardEntry;
  readonly startedAt: string;
  /** The first record that may lack its answer. */
  next: number;
  /** undefined: read again when it is its turn. */
  readonly kept: ShardRecords | undefined;
}

export interface ShardRecords {
  readonly ids: readonly string[];
  readonly records: readonly TextOf[];
}

const maxNamed = 100;

/**
 * adopted: the shard's vectors are there, and it is on the import queue or loaded. failed: they are, but for records that
 * failed in an earlier start of the run and are taken up again. new: not there, or not whole.
 */
export async function adoptShard(stage: Stage, entry: ShardEntry): Promise<'adopted' | 'failed' | 'new'> {
  const { plan, objects, progress, log } = stage;
  const { shard } = entry;
  const made = await getJson(objects, embeddedMarkerKey(plan.run, shard), embeddedSchema);
  if (made === undefined || made.of !== embeddedHash(plan, entry.checksum)) return 'new';
  if (made.queued !== plan.attempt) {
    if (made.failed > 0) return 'failed';
    try {
      const where = objects.locate(embeddedKey(plan.run, shard));
      const bytes = await objects.get(embeddedKey(plan.run, shard));
      if (bytes === undefined || verifyShard(bytes, where).checksum !== made.checksum) return 'new';
      releaseMemory(bytes);
    } catch (error) {
      if (!(error instanceof ShardDamaged)) throw error;
      log.warn('vectors of an earlier try are damaged and are made anew', { shard, reason: error.message });
      return 'new';
    }
    await announce(stage, made);
  }
  progress.addShard(made);
  return 'adopted';
}

/** Puts the shard on the import queue unless it is loaded, and notes that in its marker. */
async function announce({ plan, objects, queue }: Stage, made: Embedded): Promise<void> {
  const { run, attempt } = plan;
  const { shard } = made;
  if ((await objects.get(loadedKey(run, shard))) === undefined) {
    await objects.delete(failedKey(run, shard));
    await queue.send([{ version: messageVersion, run, shard, attempt, offset: 0 }]);
  }
  await putJson(objects, embeddedMarkerKey(run, shard), { ...made, queued: attempt } satisfies Embedded);
}

/**
 * Writes the vectors of a shard whose texts all have an answer, and queues it. What is there already and would be the same is
 * left, and so is what was loaded of it; else the shard is imported again, which writes every record of it anew.
 */
export async function writeEmbedded(
  stage: Stage,
  { shard, checksum }: ShardEntry,
  { ids, records, startedAt }: ShardRecords & { readonly startedAt: string },
): Promise<Embedded> {
  const { plan, objects, texts, embed, now } = stage;
  const { run } = plan;
  const { dimensions: dimension } = embed.model;
  const present = new Uint8Array(ids.length);
  const column: DenseColumn = { kind: 'dense', dimension, values: new Float32Array(ids.length * dimension), present };
  const wanted = records.flatMap((each, at) => (each.status === 'text' ? [[at, each.key] as const] : []));
  const refused = await texts.copyVectors(wanted, column);
  const statuses = records.map((each, at) => statusOf(each, refused.get(at)));
  for (const [at, { status }] of statuses.entries()) if (status === 'completed') present[at] = 1;
  const payloads = statuses.map((each) => (each.status === 'completed' ? completedPayload : JSON.stringify(each)));
  const isWhole = present.every((each) => each === 1);
  const vector = isWhole ? { kind: column.kind, dimension, values: column.values } : column;
  const bytes = await encodeShard(
    { count: ids.length, ids, vectors: new Map([[embed.vector, vector]]), payloads },
    metaOf(plan, shard),
  );
  releaseMemory(column.values);
  const count = (of: EmbeddedPayload['status']): number => statuses.filter(({ status }) => status === of).length;
  const made: Embedded = {
    shard,
    records: ids.length,
    completed: count('completed'),
    failed: count('failed'),
    withoutText: count('without text'),
    copied: count('copied'),
    failures: statuses
      .flatMap(({ status, reason = '' }, at) => (status === 'failed' ? [{ id: ids[at] ?? '', reason }] : []))
      .slice(0, maxNamed),
    checksum: shardHeader(bytes, shard).checksum,
    of: embeddedHash(plan, checksum),
    queued: 0,
    startedAt,
    at: now().toISOString(),
  };
  if (!(await isThere(stage, made))) {
    // What was loaded of another object of this name is not what is in this one.
    await objects.delete(loadedKey(run, shard));
    await objects.put(embeddedKey(run, shard), bytes, 'application/vnd.apache.parquet');
    await putJson(objects, embeddedMarkerKey(run, shard), made);
  }
  releaseMemory(bytes);
  await announce(stage, made);
  return made;
}

/** True where an earlier try has written the very same. */
async function isThere({ plan, objects }: Stage, { shard, of, checksum }: Embedded): Promise<boolean> {
  const earlier = await getJson(objects, embeddedMarkerKey(plan.run, shard), embeddedSchema);
  if (earlier?.of !== of || earlier.checksum !== checksum) return false;
  const bytes = await objects.get(embeddedKey(plan.run, shard));
  try {
    return bytes !== undefined && verifyShard(bytes, shard).checksum === checksum;
  } catch (error) {
    // It is written anew.
    if (error instanceof ShardDamaged) return false;
    throw error;
  }
}

function statusOf(record: TextOf, refused: string | undefined): EmbeddedPayload {
  if (record.status !== 'text') return record;
  return refused === undefined ? { status: 'completed' } : { status: 'failed', reason: refused };
}

function metaOf(plan: Plan, shard: string) {
  const schema = madeSchema(plan);
  const vectors = schema.vectors.filter(({ name }) => name === plan.embed?.vector);
  const all = { from: null, to: null };
  return { run: plan.run, shard, range: all, rest: null, schema: { ...schema, vectors } };
}
