import { type Batch, batchBytes, concatBatches, type DenseColumn, denseVector } from '../../batch.ts';
import { split } from '../../compare/fetch-records.ts';
import { ShardDamaged } from '../../errors.ts';
import { nameOfKey, runKeys, textsKey } from '../../keys.ts';
import type { Log } from '../../log.ts';
import { type ObjectStore, parseJsonObject } from '../../objects.ts';
import { patiently } from '../../patiently.ts';
import type { Plan } from '../../run-files.ts';
import type { CollectionSchema } from '../../schema.ts';
import { releaseMemory } from '../../shard/parquet-wasm.ts';
import { decodeShard, encodeShard, readShard, verifyShard } from '../../shard/shard.ts';
import type { EmbeddedText } from '../port.ts';
import { answerPayloadSchema } from './embed-files.ts';
import { makeTextIndex, type Place, type TextIndex } from './text-index.ts';

/**
 * What the model answered, by text: the objects texts/<n>.parquet of a run. An answer is there before anything else is done
 * with it, so no text is paid for twice, whatever a crash cuts off.
 *
 * Answers that arrive while an object is being written go into the next one together. Small objects are put together into
 * one of `mergedBytes`: it says by its range which numbers it stands for, so what a crash leaves of these is not counted
 * twice.
 */
export interface Texts {
  get(key: string): Place | undefined;
  /** Resolves once the answers are durable. */
  add(answers: readonly EmbeddedText[]): Promise<void>;
  /**
   * Copies the vectors of texts that have an answer into a column.
   * @param keys by their position in the column
   * @returns why there is none, by position @throws ShardDamaged when an object is not as it was any more
   */
  copyVectors(keys: Iterable<readonly [number, string]>, column: DenseColumn): Promise<ReadonlyMap<number, string>>;
  /** Tokens that were paid for in the whole run, those of answers that are being written among them, and texts with a vector. */
  readonly tokens: number;
  readonly texts: number;
  /** Resolves when all that was added is durable and put together. */
  settle(): Promise<void>;
}

const vector = 'vector';
/** Small answers are put together once they take so much, or are so many objects. */
const mergedBytes = 8 * 1024 * 1024;
const mergedObjects = 64;
/** Objects read before are kept up to this size: neighbouring shards have their texts in the same ones. */
const cachedBytes = 48 * 1024 * 1024;
/** Objects of 8 MiB each that are read at once at the start. */
const readsAtOnce = 4;

export interface TextsOptions {
  readonly plan: Plan;
  readonly dimensions: number;
  readonly objects: ObjectStore;
  readonly log: Log;
}

interface Kept {
  readonly object: number;
  readonly batch: Batch;
}

/** Reads which texts have an answer. An object that is damaged is left aside with a warning: its texts are asked for again. */
export async function openTexts({ plan, dimensions, objects, log }: TextsOptions): Promise<Texts> {
  const { run } = plan;
  const index = makeTextIndex();
  let tokens = 0;
  let texts = 0;

  const learn = (object: number, { ids, payloads }: Batch, from = 0): void => {
    for (const [at, key] of ids.entries()) {
      const answer = parseAnswer(payloads[at] ?? '');
      const failedIn = answer.failed === undefined ? undefined : (answer.attempt ?? 1);
      if (index.set(key, { object, position: from + at, failedIn }) && failedIn === undefined) texts += 1;
    }
  };

  let next = await readAnswers({ plan, objects, log }, (object, batch, from) => {
    for (const payload of batch.payloads) tokens += parseAnswer(payload).tokens;
    learn(object, batch, from);
  });
  let tail: Kept[] = [];
  let cache: Kept[] = [];

  /** @param standsFor numbers of the objects whose answers it holds; left out: it is new */
  const putObject = async (batch: Batch, standsFor?: Range): Promise<number> => {
    for (;;) {
      const object = next++;
      const key = textsKey(run, object);
      const { from, to } = standsFor ?? { from: object, to: object + 1 };
      const range = { from: String(from), to: String(to) };
      const schema = schemaOf(dimensions);
      const bytes = await encodeShard(batch, { run, shard: nameOfKey(key), range, rest: null, schema });
      // Not put: what another caller may have written under this number is paid for too.
      const isOurs = await patiently(() => objects.create(key, bytes, 'application/vnd.apache.parquet'));
      releaseMemory(bytes);
      if (isOurs) return object;
    }
  };

  const commit = async (answers: readonly EmbeddedText[]): Promise<void> => {
    const batch = batchOf(answers, dimensions, plan.attempt);
    const object = await putObject(batch);
    learn(object, batch);
    tail.push({ object, batch });
  };

  const merge = async (): Promise<void> => {
    const bytes = tail.reduce((sum, { batch }) => sum + batchBytes(batch), 0);
    if (bytes < mergedBytes && tail.length < mergedObjects) return;
    const parts = tail;
    tail = [];
    for (const part of parts) keep(part);
    const [from = 0, to = 0] = [parts[0]?.object, (parts.at(-1)?.object ?? 0) + 1];
    // Numbers between them that are not ours are another caller's.
    if (parts.length === 1 || to - from !== parts.length) return;
    const batch = concatBatches(parts.map((each) => each.batch));
    const object = await putObject(batch, { from, to });
    let position = 0;
    for (const part of parts) {
      for (const key of part.batch.ids) {
        if (index.get(key)?.object === part.object) index.move(key, { object, position });
        position += 1;
      }
    }
    keep({ object, batch });
    for (const part of parts) await patiently(() => objects.delete(textsKey(run, part.object)));
  };
  const tryToMerge = async (): Promise<void> => {
    await merge().catch((error: unknown) => {
      log.warn('answers stay in small objects', { reason: error instanceof Error ? error.message : String(error) });
    });
  };

  const keep = (kept: Kept): void => {
    cache = [kept, ...cache.filter(({ object }) => object !== kept.object)];
    let bytes = 0;
    cache = cache.filter(({ batch }) => {
      bytes += batchBytes(batch);
      return bytes <= cachedBytes;
    });
  };

  const read = async (object: number): Promise<Batch | undefined> => {
    const there = [...tail, ...cache].find((each) => each.object === object);
    if (there !== undefined) return there.batch;
    const bytes = await objects.get(textsKey(run, object));
    if (bytes === undefined) return undefined;
    const { batch } = await decodeShard(bytes, objects.locate(textsKey(run, object)));
    releaseMemory(bytes);
    keep({ object, batch });
    return batch;
  };

  let gathered: { readonly answers: EmbeddedText[]; readonly done: Promise<void> } | undefined;
  let last: Promise<void> = Promise.resolve();

  return {
    get: (key) => index.get(key),
    add: async (answers) => {
      for (const answer of answers) tokens += answer.tokens;
      if (gathered === undefined) {
        const mine: EmbeddedText[] = [];
        const done = last.then(async () => {
          gathered = undefined;
          await commit(mine);
        });
        gathered = { answers: mine, done };
        // Whoever added the answers hears of a failure; the next group is written all the same.
        last = done.then(tryToMerge, () => undefined);
      }
      const { done, answers: group } = gathered;
      group.push(...answers);
      await done;
    },
    copyVectors: async (keys, column) => {
      const reasons = new Map<number, string>();
      let left = [...keys];
      for (let [first] = left; first !== undefined; [first] = left) {
        const object = index.get(first[1])?.object ?? -1;
        const batch = await read(object);
        const isHere = ([, key]: readonly [number, string]): boolean => index.get(key)?.object === object;
        // Where none is left here they were put together with others meanwhile.
        if (batch !== undefined) copyAnswers(batch, left.filter(isHere), index, column, reasons);
        else if (left.some(isHere)) throw gone(objects.locate(textsKey(run, object)));
        left = left.filter((each) => !isHere(each));
      }
      return reasons;
    },
    settle: async () => {
      await gathered?.done.catch(() => undefined);
      await last;
    },
    get tokens() {
      return tokens;
    },
    get texts() {
      return texts;
    },
  };
}

/** Takes the answers of an object, from the one at `from` on. */
type Learn = (object: number, batch: Batch, from: number) => void;

interface Range {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

/**
 * Hands every object's answers over, the newest first, so that what an object stands for is known before it is read.
 * @returns the next number
 */
async function readAnswers(
  { plan, objects, log }: Pick<TextsOptions, 'plan' | 'objects' | 'log'>,
  learn: Learn,
): Promise<number> {
  const keys = await objects.list(runKeys(plan.run).texts);
  const numbers = keys.map((key) => Number(nameOfKey(key))).sort((a, b) => b - a);
  const replaced: Range[] = [];
  for (const part of split(numbers, readsAtOnce)) {
    const read = await Promise.all(part.map(async (number) => await objects.get(textsKey(plan.run, number))));
    for (const [i, number] of part.entries()) {
      const bytes = read[i];
      const key = textsKey(plan.run, number);
      if (replaced.some(({ from, to }) => number >= from && number < to)) {
        await objects.delete(key);
        continue;
      }
      if (bytes === undefined) continue;
      try {
        const range = await learnObject(bytes, number, objects.locate(key), learn);
        if (range !== undefined) replaced.push(range);
      } catch (error) {
        if (!(error instanceof ShardDamaged)) throw error;
        log.warn('answers that are damaged are left aside, and their texts asked for again', { reason: error.message });
      }
      releaseMemory(bytes);
    }
  }
  return (numbers[0] ?? -1) + 1;
}

/** @returns numbers of other objects that it stands for @throws ShardDamaged */
async function learnObject(bytes: Uint8Array, number: number, where: string, learn: Learn): Promise<Range | undefined> {
  const header = verifyShard(bytes, where);
  let at = 0;
  for await (const batch of readShard(bytes, where, { maxRecords: header.records, header, vectors: false })) {
    learn(number, batch, at);
    at += batch.count;
  }
  const range = { from: Number(header.range.from), to: Number(header.range.to) };
  return range.to <= number ? range : undefined;
}

function batchOf(answers: readonly EmbeddedText[], dimension: number, attempt: number): Batch {
  const values = new Float32Array(answers.length * dimension);
  const present = new Uint8Array(answers.length);
  const payloads = answers.map(({ answer, tokens }, at) => {
    if (!(answer instanceof Float32Array)) return JSON.stringify({ tokens, failed: answer.failed, attempt });
    if (answer.length !== dimension)
      throw new RangeError(`an answer has ${answer.length} floats, and the model's vectors have ${dimension}`);
    values.set(answer, at * dimension);
    present[at] = 1;
    return JSON.stringify({ tokens });
  });
  const isWhole = present.every((each) => each === 1);
  const column: DenseColumn = { kind: 'dense', dimension, values, ...(isWhole ? {} : { present }) };
  return { count: answers.length, ids: answers.map(({ key }) => key), vectors: new Map([[vector, column]]), payloads };
}

const parseAnswer = (payload: string) =>
  parseJsonObject(Buffer.from(payload), answerPayloadSchema, 'an answer of the model');

function copyAnswers(
  batch: Batch,
  keys: readonly (readonly [number, string])[],
  index: TextIndex,
  column: DenseColumn,
  reasons: Map<number, string>,
): void {
  const from = batch.vectors.get(vector);
  for (const [at, key] of keys) {
    const { position = 0, failedIn } = index.get(key) ?? {};
    if (failedIn !== undefined) reasons.set(at, parseAnswer(batch.payloads[position] ?? '').failed ?? '');
    else if (from?.kind === 'dense') column.values.set(denseVector(from, position), at * column.dimension);
  }
}

function schemaOf(dimension: number): CollectionSchema {
  const spec = { name: vector, kind: 'dense' as const, dimension, precision: 'float32' as const };
  return { store: 'vecferry', idType: 'string', key: [], vectors: [spec], payloadIndexes: [], native: {} };
}

function gone(where: string): ShardDamaged {
  return new ShardDamaged(
    `${where} is gone; start the run again: the texts whose answers it held are asked for again`,
    {
      ids: [where],
    },
  );
}
