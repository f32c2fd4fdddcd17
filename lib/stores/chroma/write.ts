import { type Batch, column, hasVector, selectRecords, sliceBatch } from '../../batch.ts';
import { RecordRefused, StoreUnavailable } from '../../errors.ts';
import type { WriteOptions } from '../port.ts';
import { type ChromaCollection, getById } from './read.ts';
import { type ChromaPayload, toChroma } from './records.ts';

/** Writing to a Chroma collection: upserts that replace, in requests that the server takes. */

/** Bytes of one request: a Chroma server takes 40 MiB by default (its setting max_payload_size_bytes). */
const maxRequestBytes = 16 * 1024 * 1024;

/** @throws RecordRefused naming the records that Chroma does not take; the others are written. */
export async function write(
  collection: ChromaCollection,
  batch: Batch,
  options: WriteOptions,
): Promise<{ readonly written: number }> {
  const { maxBatchSize, takesBase64 } = await collection.api.limits();
  refuseMissing(collection, batch);
  const payloads = batch.payloads.map((payload) => toChroma(payload, collection.names));
  const refused: Refused[] = [];
  for (let at = 0; at < batch.count; ) {
    const end = chunkEnd(batch, at, maxBatchSize);
    const chunk = { batch: sliceBatch(batch, at, end), payloads: payloads.slice(at, end), takesBase64 };
    if (options.mode === 'insert') await sendChunk(collection, 'add', chunk, refused);
    else await upsertChunk(collection, chunk, refused);
    at = end;
  }
  if (refused.length > 0) throw refusalOf(refused);
  return { written: batch.count };
}

/** Ids that are not there are no error to Chroma. */
export async function deleteRecords({ api, id, name }: ChromaCollection, ids: readonly string[]): Promise<void> {
  const { maxBatchSize } = await api.limits();
  for (let at = 0; at < ids.length; at += maxBatchSize) {
    const some = ids.slice(at, at + maxBatchSize);
    const what = `deleting ${some.length} records of '${name}'`;
    await api.call(what, 'POST', `/collections/${id}/delete`, JSON.stringify({ ids: some }));
  }
}

interface Chunk {
  readonly batch: Batch;
  readonly payloads: readonly ChromaPayload[];
  readonly takesBase64: boolean;
}

function chunkEnd(batch: Batch, from: number, maxRecords: number): number {
  const vector = [...batch.vectors.values()][0];
  const vectorBytes = vector === undefined ? 0 : Math.ceil((vector.values.byteLength / batch.count) * (4 / 3));
  let bytes = 0;
  let end = from;
  while (end < batch.count && end - from < maxRecords) {
    bytes += vectorBytes + (batch.payloads[end]?.length ?? 0) + (batch.ids[end]?.length ?? 0);
    if (end > from && bytes > maxRequestBytes) break;
    end++;
  }
  return end;
}

function refuseMissing({ name, vector, dimension }: ChromaCollection, batch: Batch): void {
  if (batch.count === 0) return;
  const embeddings = column(batch, vector);
  if (embeddings.kind !== 'dense' || (dimension !== undefined && embeddings.dimension !== dimension))
    throw new RecordRefused(
      `collection '${name}' holds dense vectors of ${dimension ?? 'any'} dimensions; the batch has a ${embeddings.kind} one${embeddings.kind === 'dense' ? ` of ${embeddings.dimension}` : ''}`,
      { ids: batch.ids },
    );
  const missing = batch.ids.filter((_, at) => !hasVector(embeddings, at));
  if (missing.length > 0)
    throw new RecordRefused(
      `Chroma needs an embedding a record; ${missing.length} have none, the first is '${missing[0]}'`,
      {
        ids: missing,
      },
    );
  if (new Set(batch.ids).size !== batch.count)
    throw new RecordRefused(`a batch for collection '${name}' holds an id twice`, { ids: batch.ids });
}

/** Upserts of one chunk before others write its records too often. */
const maxRounds = 10;

/**
 * Chroma's upsert merges: metadata keys and documents that the new record lacks stay. So what is there is looked up first;
 * stale keys are sent as null, which takes them away, and a record with a stale document or URI, which null does not take
 * away, is deleted before it is written again. Then it is looked up once more: somebody may have written the record in
 * between (a run that inserts, another process), and its keys would stay.
 * @throws StoreUnavailable when others wrote the same records each time
 */
async function upsertChunk(collection: ChromaCollection, chunk: Chunk, refused: Refused[]): Promise<void> {
  const positions = new Map(chunk.batch.ids.map((id, at) => [id, at]));
  let left = chunk;
  for (let round = 0; round < maxRounds; round++) {
    const found = await findStale(collection, chunk, positions, left.batch.ids);
    if (round > 0) {
      if (found.all.length === 0) return;
      left = select(chunk, found.all);
    }
    // They are written again, without a document.
    await deleteRecords(collection, found.documents);
    await sendChunk(collection, 'upsert', left, refused);
    if (refused.length > 0) return;
  }
  throw new StoreUnavailable(
    `${left.batch.count} records of '${collection.name}' were written by others each of ${maxRounds} times that they were written here; write them again`,
    { ids: left.batch.ids },
  );
}

interface Stale {
  /** Positions in the chunk of the records that hold what the new ones lack. */
  readonly all: readonly number[];
  /** Ids of those with a document or URI that the new record lacks. */
  readonly documents: readonly string[];
}

/** Adds to the chunk's payloads the nulls that take stale keys away. */
async function findStale(
  collection: ChromaCollection,
  chunk: Chunk,
  positions: ReadonlyMap<string, number>,
  ids: readonly string[],
): Promise<Stale> {
  const there = await getById(collection, ids, ['metadatas', 'documents', 'uris']);
  const all: number[] = [];
  const documents: string[] = [];
  for (const [at, id] of there.ids.entries()) {
    const position = positions.get(id) ?? -1;
    const [old, made] = [there.payloads[at], chunk.payloads[position]];
    if (old === undefined || made === undefined) continue;
    const keys = [...old.metadata.keys()].filter((key) => (made.metadata.get(key) ?? 'null') === 'null');
    for (const key of keys) made.metadata.set(key, 'null');
    const isStale = (name: 'document' | 'uri'): boolean => old[name] !== undefined && made[name] === undefined;
    if (isStale('document') || isStale('uri')) documents.push(id);
    if (keys.length > 0 || documents.at(-1) === id) all.push(position);
  }
  return { all, documents };
}

function select({ batch, payloads, takesBase64 }: Chunk, positions: readonly number[]): Chunk {
  return {
    batch: selectRecords(batch, positions),
    payloads: positions.flatMap((at) => payloads[at] ?? []),
    takesBase64,
  };
}

/** A record that the server does not take, and what it says. */
interface Refused {
  readonly id: string;
  readonly cause: RecordRefused;
}

/** Refusals after which a write is given up: what is wrong is then the batch, not a record. */
const maxRefusals = 20;

/** Sends a chunk. A chunk that is refused is halved until the records at fault stand alone; all others are written. */
async function sendChunk(
  collection: ChromaCollection,
  operation: 'add' | 'upsert',
  chunk: Chunk,
  refused: Refused[],
): Promise<void> {
  const { batch } = chunk;
  const what = `writing ${batch.count} records to '${collection.name}'`;
  try {
    await collection.api.call(
      what,
      'POST',
      `/collections/${collection.id}/${operation}`,
      requestBody(collection, chunk),
    );
  } catch (cause) {
    if (!(cause instanceof RecordRefused)) throw cause;
    const [id = ''] = batch.ids;
    if (batch.count === 1) {
      refused.push({ id, cause });
      if (refused.length >= maxRefusals) throw refusalOf(refused);
      return;
    }
    const middle = batch.count >> 1;
    await sendChunk(collection, operation, part(chunk, 0, middle), refused);
    await sendChunk(collection, operation, part(chunk, middle, batch.count), refused);
  }
}

function refusalOf(refused: readonly Refused[]): RecordRefused {
  const [first] = refused;
  return new RecordRefused(
    `Chroma refused ${refused.length} records, the first is '${first?.id}': ${first?.cause.message}`,
    {
      ids: refused.map(({ id }) => id),
      cause: first?.cause,
    },
  );
}

function part({ batch, payloads, takesBase64 }: Chunk, from: number, to: number): Chunk {
  return { batch: sliceBatch(batch, from, to), payloads: payloads.slice(from, to), takesBase64 };
}

function requestBody({ vector }: ChromaCollection, { batch, payloads, takesBase64 }: Chunk): string {
  const { values } = column(batch, vector);
  const dimension = values.length / batch.count;
  const embeddings = payloads.map((_, at) => {
    const floats = values.subarray(at * dimension, (at + 1) * dimension);
    return takesBase64
      ? `"${Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength).toString('base64')}"`
      : `[${floats.join(',')}]`;
  });
  const metadatas = payloads.map(({ metadata }) =>
    metadata.size === 0 ? 'null' : `{${[...metadata].map(([key, raw]) => `${JSON.stringify(key)}:${raw}`).join(',')}}`,
  );
  return `{"ids":${JSON.stringify(batch.ids)},"embeddings":[${embeddings.join(',')}],"metadatas":[${metadatas.join(',')}],"documents":[${payloads.map(({ document }) => document ?? 'null').join(',')}],"uris":[${payloads.map(({ uri }) => uri ?? 'null').join(',')}]}`;
}
