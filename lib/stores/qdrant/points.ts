import { type Batch, hasVector, type VectorColumn } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import { writeFilter } from './filter.ts';
import { isInteger, isUuid } from './ids.ts';
import { writePayload } from './payload.ts';
import type { QdrantSearch, SearchParams } from './search.ts';
import { fieldSize, ProtoWriter, tagOf, varintSize } from './wire.ts';

/**
 * Requests to Qdrant's gRPC service `qdrant.Points`, written from the columns of a batch. Field numbers are those of
 * points.proto; `Vector.dense` and its siblings exist since 1.13.
 */

const pointId = { num: 1, uuid: 2 } as const;
const pointStruct = { id: 1, payload: 3, vectors: 4 } as const;
const vectorsField = { vector: 1, vectors: 2 } as const;
const mapEntry = { key: 1, value: 2 } as const;
const vectorField = { dense: 101, sparse: 102, multi: 103 } as const;
const upsert = { collection: 1, wait: 2, points: 3, updateMode: 8 } as const;
const remove = { collection: 1, wait: 2, selector: 3 } as const;
const scroll = { collection: 1, offset: 3, limit: 4, payload: 6, vectors: 7 } as const;
const get = { collection: 1, ids: 2, payload: 4, vectors: 5 } as const;
const query = { collection: 1, query: 3, using: 4, filter: 5, params: 6, limit: 8, vectors: 10, payload: 11 } as const;
const searchParams = { efSearch: 1, exact: 2, quantization: 3 } as const;
const quantizationParams = { rescore: 2, oversampling: 3 } as const;
/** UpdateMode.InsertOnly, since 1.17. */
const insertOnly = 1;

export interface UpsertOptions {
  readonly collection: string;
  readonly insertOnly: boolean;
  /** Bytes and records at which a request is full; a single record may be larger. */
  readonly maxBytes: number;
  readonly maxRecords: number;
}

export interface UpsertRequest {
  readonly message: Buffer;
  /** Positions in the batch of the records in the message. */
  readonly positions: readonly number[];
  /** Positions of records that gRPC cannot hold and REST can. */
  readonly restOnly: readonly number[];
  /** How many of the given positions are done. */
  readonly taken: number;
}

/** The next request for the records at `positions`, as many as fit. @throws RecordRefused for an id or a value that Qdrant cannot keep. */
export function encodeUpsert(batch: Batch, positions: readonly number[], options: UpsertOptions): UpsertRequest {
  const columns = columnViews(batch);
  const writer = new ProtoWriter();
  const payload = new ProtoWriter();
  writer.text(upsert.collection, options.collection);
  writer.varint(tagOf(upsert.wait, 'varint'));
  writer.varint(1);
  if (options.insertOnly) {
    writer.varint(tagOf(upsert.updateMode, 'varint'));
    writer.varint(insertOnly);
  }
  const held: number[] = [];
  const restOnly: number[] = [];
  let taken = 0;
  for (const at of positions) {
    const id = batch.ids[at] ?? '';
    payload.length = 0;
    const fits = writePayload(payload, pointStruct.payload, batch.payloads[at] ?? '{}', id);
    const vectors = vectorsSize(columns, at);
    const size = fieldSize(pointStruct.id, idSize(id)) + payload.length + fieldSize(pointStruct.vectors, vectors);
    const end = writer.length + fieldSize(upsert.points, size);
    if (taken === 0) writer.reserve(Math.min(options.maxBytes, (size + 16) * positions.length));
    if (held.length > 0 && (end > options.maxBytes || held.length >= options.maxRecords)) break;
    taken++;
    if (!fits) {
      restOnly.push(at);
      continue;
    }
    held.push(at);
    writer.reserve(size + 16);
    writer.varint(tagOf(upsert.points, 'bytes'));
    writer.varint(size);
    writeId(writer, pointStruct.id, id);
    writer.copy(payload.written(), 0, payload.length);
    writer.varint(tagOf(pointStruct.vectors, 'bytes'));
    writer.varint(vectors);
    writeVectors(writer, columns, at);
  }
  return { message: writer.written(), positions: held, restOnly, taken };
}

export interface Wanted {
  readonly payload: boolean;
  readonly vectors: boolean;
}

export function encodeScroll(collection: string, from: string | null, limit: number, wanted: Wanted): Buffer {
  const writer = new ProtoWriter(256);
  writer.text(scroll.collection, collection);
  if (from !== null) writeId(writer, scroll.offset, from);
  writer.varint(tagOf(scroll.limit, 'varint'));
  writer.varint(limit);
  writeFlag(writer, scroll.payload, wanted.payload);
  writeFlag(writer, scroll.vectors, wanted.vectors);
  return writer.written();
}

export function encodeGet(collection: string, ids: readonly string[], wanted: Wanted): Buffer {
  const writer = new ProtoWriter();
  writer.text(get.collection, collection);
  for (const id of ids) writeId(writer, get.ids, id);
  writeFlag(writer, get.payload, wanted.payload);
  writeFlag(writer, get.vectors, wanted.vectors);
  return writer.written();
}

/** A delete by ids that is answered once it is applied. */
export function encodeDelete(collection: string, ids: readonly string[]): Buffer {
  const writer = new ProtoWriter();
  writer.text(remove.collection, collection);
  writer.varint(tagOf(remove.wait, 'varint'));
  writer.varint(1);
  // PointsSelector.points = 1, PointsIdsList.ids = 1
  const selector = writer.open(remove.selector);
  const list = writer.open(1);
  for (const id of ids) writeId(writer, 1, id);
  writer.close(list);
  writer.close(selector);
  return writer.written();
}

/** A nearest-neighbour search by a dense vector, ids and scores only. */
export function encodeSearch(collection: string, { vector, values, k, must, params }: QdrantSearch): Buffer {
  const writer = new ProtoWriter();
  writer.text(query.collection, collection);
  const nearest = writer.open(query.query);
  const input = writer.open(1);
  const dense = writer.open(2);
  writeFloats(writer, 1, bytesOf(values), 0, values.byteLength);
  writer.close(dense);
  writer.close(input);
  writer.close(nearest);
  if (vector !== '') writer.text(query.using, vector);
  if (must.length > 0) writeFilter(writer, query.filter, must);
  if (Object.keys(params).length > 0) writeParams(writer, params);
  writeQueryTail(writer, k);
  return writer.written();
}

function writeParams(writer: ProtoWriter, { hnsw_ef: ef, exact, quantization }: SearchParams): void {
  const start = writer.open(query.params);
  if (ef !== undefined) {
    writer.varint(tagOf(searchParams.efSearch, 'varint'));
    writer.varint(ef);
  }
  if (exact === true) {
    writer.varint(tagOf(searchParams.exact, 'varint'));
    writer.varint(1);
  }
  if (quantization !== undefined) {
    const inner = writer.open(searchParams.quantization);
    const { rescore, oversampling } = quantization;
    if (rescore !== undefined) {
      writer.varint(tagOf(quantizationParams.rescore, 'varint'));
      writer.varint(rescore ? 1 : 0);
    }
    if (oversampling !== undefined) {
      writer.varint(tagOf(quantizationParams.oversampling, 'fixed64'));
      writer.double(oversampling);
    }
    writer.close(inner);
  }
  writer.close(start);
}

/** Up to `limit` records drawn at random, ids only. */
export function encodeSample(collection: string, limit: number): Buffer {
  const writer = new ProtoWriter(256);
  writer.text(query.collection, collection);
  // Query.sample = 7, Sample.Random = 0
  const sample = writer.open(query.query);
  writer.varint(tagOf(7, 'varint'));
  writer.varint(0);
  writer.close(sample);
  writeQueryTail(writer, limit);
  return writer.written();
}

function writeQueryTail(writer: ProtoWriter, limit: number): void {
  writer.varint(tagOf(query.limit, 'varint'));
  writer.varint(limit);
  writeFlag(writer, query.vectors, false);
  writeFlag(writer, query.payload, false);
}

/** A message whose one field is a flag: the selectors of payload and vectors. */
function writeFlag(writer: ProtoWriter, field: number, on: boolean): void {
  const start = writer.open(field);
  writer.varint(tagOf(1, 'varint'));
  writer.varint(on ? 1 : 0);
  writer.close(start);
}

/** @throws RecordRefused for an id that is neither an unsigned 64-bit integer nor a canonical UUID. */
function idSize(id: string): number {
  if (isUuid(id)) return fieldSize(pointId.uuid, id.length);
  if (!isInteger(id))
    throw new RecordRefused(`Qdrant cannot hold the id '${id}'; it takes integers from 0 to 2^64-1 and UUIDs`, {
      ids: [id],
    });
  return 1 + (id.length < 16 ? varintSize(Number(id)) : Math.max(1, Math.ceil(BigInt(id).toString(2).length / 7)));
}

function writeId(writer: ProtoWriter, field: number, id: string): void {
  writer.varint(tagOf(field, 'bytes'));
  writer.varint(idSize(id));
  if (isUuid(id)) {
    writer.text(pointId.uuid, id);
    return;
  }
  writer.varint(tagOf(pointId.num, 'varint'));
  if (id.length < 16) writer.varint(Number(id));
  else writer.varint64(BigInt(id));
}

/** A vector column with its floats seen as bytes. */
interface ColumnView {
  readonly name: string;
  readonly nameSize: number;
  readonly column: VectorColumn;
  readonly bytes: Buffer;
}

function columnViews(batch: Batch): readonly ColumnView[] {
  return [...batch.vectors].map(([name, column]) => ({
    name,
    nameSize: fieldSize(mapEntry.key, Buffer.byteLength(name)),
    column,
    bytes: bytesOf(column.values),
  }));
}

function bytesOf(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

/** One unnamed vector that is there goes as it is; everything else by name, where '' is the unnamed one's. */
function standsAlone(columns: readonly ColumnView[], at: number): ColumnView | undefined {
  const [first, ...rest] = columns;
  return first !== undefined && rest.length === 0 && first.name === '' && hasVector(first.column, at)
    ? first
    : undefined;
}

/** Bytes of a record's `Vectors` message. */
function vectorsSize(columns: readonly ColumnView[], at: number): number {
  const alone = standsAlone(columns, at);
  if (alone !== undefined) return fieldSize(vectorsField.vector, vectorSize(alone.column, at));
  return fieldSize(vectorsField.vectors, namedSize(columns, at));
}

function namedSize(columns: readonly ColumnView[], at: number): number {
  let size = 0;
  for (const each of columns) {
    if (hasVector(each.column, at)) size += fieldSize(1, each.nameSize + entryValueSize(each, at));
  }
  return size;
}

function entryValueSize({ column }: ColumnView, at: number): number {
  return fieldSize(mapEntry.value, vectorSize(column, at));
}

function writeVectors(writer: ProtoWriter, columns: readonly ColumnView[], at: number): void {
  const alone = standsAlone(columns, at);
  if (alone !== undefined) {
    writeVector(writer, vectorsField.vector, alone, at);
    return;
  }
  writer.varint(tagOf(vectorsField.vectors, 'bytes'));
  writer.varint(namedSize(columns, at));
  for (const each of columns) {
    if (!hasVector(each.column, at)) continue;
    writer.varint(tagOf(1, 'bytes'));
    writer.varint(each.nameSize + entryValueSize(each, at));
    writer.text(mapEntry.key, each.name);
    writeVector(writer, mapEntry.value, each, at);
  }
}

/** Bytes of a record's `Vector` message in one column. */
function vectorSize(column: VectorColumn, at: number): number {
  return fieldSize(vectorField[column.kind], contentSize(column, at));
}

/** Bytes of the DenseVector, SparseVector or MultiDenseVector. */
function contentSize(column: VectorColumn, at: number): number {
  if (column.kind === 'dense') return fieldSize(1, column.dimension * 4);
  const from = column.offsets[at] ?? 0;
  const to = column.offsets[at + 1] ?? from;
  if (column.kind === 'multi') return (to - from) * fieldSize(1, fieldSize(1, column.dimension * 4));
  return fieldSize(1, (to - from) * 4) + fieldSize(2, indicesSize(column.indices, from, to));
}

function indicesSize(indices: Uint32Array, from: number, to: number): number {
  let size = 0;
  for (let at = from; at < to; at++) size += varintSize(indices[at] ?? 0);
  return size;
}

function writeVector(writer: ProtoWriter, field: number, { column, bytes }: ColumnView, at: number): void {
  writer.varint(tagOf(field, 'bytes'));
  writer.varint(vectorSize(column, at));
  writer.varint(tagOf(vectorField[column.kind], 'bytes'));
  writer.varint(contentSize(column, at));
  if (column.kind === 'dense') {
    const size = column.dimension * 4;
    writeFloats(writer, 1, bytes, at * size, (at + 1) * size);
    return;
  }
  const from = column.offsets[at] ?? 0;
  const to = column.offsets[at + 1] ?? from;
  if (column.kind === 'sparse') {
    writeFloats(writer, 1, bytes, from * 4, to * 4);
    writer.varint(tagOf(2, 'bytes'));
    writer.varint(indicesSize(column.indices, from, to));
    for (let each = from; each < to; each++) writer.varint(column.indices[each] ?? 0);
    return;
  }
  const size = column.dimension * 4;
  for (let each = from; each < to; each++) {
    writer.varint(tagOf(1, 'bytes'));
    writer.varint(fieldSize(1, size));
    writeFloats(writer, 1, bytes, each * size, (each + 1) * size);
  }
}

/** A packed float field from bytes of a column. */
function writeFloats(writer: ProtoWriter, field: number, bytes: Buffer, from: number, to: number): void {
  writer.varint(tagOf(field, 'bytes'));
  writer.varint(to - from);
  writer.copy(bytes, from, to);
}
