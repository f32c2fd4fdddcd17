import type { Batch } from '../../batch.ts';
import type { VectorSpec } from '../../schema.ts';
import type { Hit } from '../port.ts';
import { type BatchBuilder, makeBatchBuilder } from './columns.ts';
import { type PayloadDoubts, readEntry } from './payload.ts';
import { ProtoReader, tagOf } from './wire.ts';

/**
 * Answers of Qdrant's gRPC service `qdrant.Points`, read into the columns of a batch. Field numbers are those of
 * points.proto.
 */

const vectorsField = { vector: 1, vectors: 2 } as const;
const mapEntry = { key: 1, value: 2 } as const;
/** VectorOutput: the typed fields since 1.16, `data` and `indices` from older servers. */
const vectorField = { data: 1, indices: 2, dense: 101, sparse: 102, multi: 103 } as const;
/** UpdateStatus.Completed: applied, not only written to the log. */
const completed = 2;

/** True when the answer to an upsert says that every record was applied. */
export function isCompleted(message: Buffer): boolean {
  const reader = new ProtoReader(message);
  let status = 0;
  while (reader.at < message.length) {
    const tag = reader.varint();
    if (tag !== tagOf(1, 'bytes')) {
      reader.skip(tag);
      continue;
    }
    const end = reader.end();
    while (reader.at < end) {
      const inner = reader.varint();
      if (inner === tagOf(2, 'varint')) status = reader.varint();
      else reader.skip(inner);
    }
  }
  return status === completed;
}

export interface DecodedPoints {
  readonly batch: Batch;
  /** Where a scroll goes on; null at its end. */
  readonly next: string | null;
  /** Ids of records whose payload has a number that gRPC may have rounded. */
  readonly doubtful: readonly string[];
}

/** The answer to a scroll. */
export function decodeScroll(message: Buffer, vectors: readonly VectorSpec[]): DecodedPoints {
  return decodePoints(message, vectors, { points: 2, next: 1 });
}

/** The answer to a get by ids. */
export function decodeGet(message: Buffer, vectors: readonly VectorSpec[]): DecodedPoints {
  return decodePoints(message, vectors, { points: 1, next: 0 });
}

/** The answer to a search or a sample. */
export function decodeHits(message: Buffer): Hit[] {
  const hits: Hit[] = [];
  const reader = new ProtoReader(message);
  while (reader.at < message.length) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) hits.push(readHit(reader, reader.end()));
    else reader.skip(tag);
  }
  return hits;
}

function readHit(reader: ProtoReader, end: number): Hit {
  let id = '';
  let score = 0;
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) id = readId(reader, reader.end());
    else if (tag === tagOf(3, 'fixed32')) score = reader.float();
    else reader.skip(tag);
  }
  return { id, score };
}

function decodePoints(
  message: Buffer,
  vectors: readonly VectorSpec[],
  fields: { readonly points: number; readonly next: number },
): DecodedPoints {
  const spots: number[] = [];
  let next: string | null = null;
  const reader = new ProtoReader(message);
  while (reader.at < message.length) {
    const tag = reader.varint();
    if (tag === tagOf(fields.points, 'bytes')) {
      const end = reader.end();
      spots.push(reader.at, end);
      reader.at = end;
    } else if (tag === tagOf(fields.next, 'bytes')) {
      next = readId(reader, reader.end());
    } else {
      reader.skip(tag);
    }
  }
  const builder = makeBatchBuilder(vectors, spots.length / 2);
  const doubtful: string[] = [];
  for (let at = 0; at < spots.length; at += 2) {
    reader.at = spots[at] ?? 0;
    readPoint(reader, spots[at + 1] ?? 0, builder, doubtful);
  }
  return { batch: builder.finish(), next, doubtful };
}

/** RetrievedPoint: id 1, payload 2, vectors 4. The vectors are read last: a builder wants the record begun first. */
function readPoint(reader: ProtoReader, end: number, builder: BatchBuilder, doubtful: string[]): void {
  let id = '';
  let vectorsAt = -1;
  const entries: string[] = [];
  const doubts: PayloadDoubts = { rounded: false };
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) id = readId(reader, reader.end());
    else if (tag === tagOf(2, 'bytes')) entries.push(readEntry(reader, reader.end(), doubts));
    else {
      if (tag === tagOf(4, 'bytes')) vectorsAt = reader.at;
      reader.skip(tag);
    }
  }
  builder.record(id, `{${entries.join(',')}}`);
  if (doubts.rounded) doubtful.push(id);
  if (vectorsAt === -1) return;
  reader.at = vectorsAt;
  readVectors(reader, reader.end(), builder);
}

/** A PointId as canonical text; Qdrant sends UUIDs in lower case with dashes. */
function readId(reader: ProtoReader, end: number): string {
  let id = '';
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'varint')) id = reader.integer(false);
    else if (tag === tagOf(2, 'bytes')) id = reader.text();
    else reader.skip(tag);
  }
  return id;
}

function readVectors(reader: ProtoReader, end: number, builder: BatchBuilder): void {
  while (reader.at < end) {
    const tag = reader.varint();
    const inner = reader.end();
    if (tag === tagOf(vectorsField.vector, 'bytes')) readVector(reader, inner, '', builder);
    else if (tag === tagOf(vectorsField.vectors, 'bytes')) readNamed(reader, inner, builder);
    else reader.at = inner;
  }
}

function readNamed(reader: ProtoReader, end: number, builder: BatchBuilder): void {
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag !== tagOf(1, 'bytes')) {
      reader.skip(tag);
      continue;
    }
    const entryEnd = reader.end();
    let name = '';
    let vectorAt = -1;
    while (reader.at < entryEnd) {
      const field = reader.varint();
      if (field === tagOf(mapEntry.key, 'bytes')) name = reader.text();
      else {
        if (field === tagOf(mapEntry.value, 'bytes')) vectorAt = reader.at;
        reader.skip(field);
      }
    }
    if (vectorAt === -1) continue;
    reader.at = vectorAt;
    readVector(reader, reader.end(), name, builder);
    reader.at = entryEnd;
  }
}

/** A multivector of an older server is `data` as it stands: its vectors one after the other. */
function readVector(reader: ProtoReader, end: number, name: string, builder: BatchBuilder): void {
  let values = reader.bytes.subarray(0, 0);
  let indices = new Uint32Array(0);
  while (reader.at < end) {
    const tag = reader.varint();
    const stop = tag % 8 === 2 ? reader.end() : reader.at;
    if (tag === tagOf(vectorField.data, 'bytes')) values = slice(reader, stop);
    else if (tag === tagOf(vectorField.indices, 'bytes')) indices = readIndices(reader, stop, 1);
    else if (tag === tagOf(vectorField.dense, 'bytes')) values = readValues(reader, stop);
    else if (tag === tagOf(vectorField.multi, 'bytes')) values = readMulti(reader, stop);
    else if (tag === tagOf(vectorField.sparse, 'bytes')) {
      const start = reader.at;
      values = readValues(reader, stop);
      reader.at = start;
      indices = readIndices(reader, stop, 2);
    } else if (tag % 8 === 2) reader.at = stop;
    else reader.skip(tag);
  }
  if (builder.spec(name).kind === 'sparse') builder.sparse(name, indices, floatsOf(values));
  else builder.floats(name, values);
}

function slice(reader: ProtoReader, end: number): Buffer {
  const bytes = reader.bytes.subarray(reader.at, end);
  reader.at = end;
  return bytes;
}

/** Field 1 of DenseVector and SparseVector: packed floats. */
function readValues(reader: ProtoReader, end: number): Buffer {
  let values = reader.bytes.subarray(0, 0);
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) values = slice(reader, reader.end());
    else reader.skip(tag);
  }
  return values;
}

function readMulti(reader: ProtoReader, end: number): Buffer {
  const parts: Buffer[] = [];
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) parts.push(readValues(reader, reader.end()));
    else reader.skip(tag);
  }
  return Buffer.concat(parts);
}

/** The packed indices in `field` of SparseVector or SparseIndices. */
function readIndices(reader: ProtoReader, end: number, field: number): Uint32Array<ArrayBuffer> {
  const indices: number[] = [];
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag !== tagOf(field, 'bytes')) {
      reader.skip(tag);
      continue;
    }
    const stop = reader.end();
    while (reader.at < stop) indices.push(reader.varint());
  }
  return Uint32Array.from(indices);
}

/** The bytes as floats, copied: within a message they are not aligned. */
function floatsOf(bytes: Buffer): Float32Array {
  const values = new Float32Array(bytes.length / 4);
  new Uint8Array(values.buffer).set(bytes);
  return values;
}
