import { zstdDecompressSync } from 'node:zlib';
import {
  Data,
  DataType,
  type Field,
  type FixedSizeList,
  type List,
  type Map_,
  type Struct,
  Vector,
} from 'apache-arrow';
import { lz4Decode } from '../../shard/lz4.ts';
import type { FlatTable } from './flatbuffer.ts';

/**
 * The columns of an Arrow message. apache-arrow 18 reads neither compressed buffers nor large lists nor views, which pyarrow
 * and Polars write, so their buffers are brought into the form of the types that it has.
 * https://arrow.apache.org/docs/format/Columnar.html
 */

/** Numbers of the union Type in https://github.com/apache/arrow/blob/main/format/Schema.fbs */
const typeIds = {
  integer: 2,
  binary: 4,
  utf8: 5,
  list: 12,
  union: 14,
  largeList: 21,
  runEnds: 22,
  binaryView: 23,
  utf8View: 24,
};
const listViews = [25, 26];

/** As which type apache-arrow takes it. */
const readAs: ReadonlyMap<number, number> = new Map([
  [typeIds.largeList, typeIds.list],
  [typeIds.binaryView, typeIds.binary],
  [typeIds.utf8View, typeIds.utf8],
]);

/** A field as the file has it: its type's number, and what is below it. */
export interface Shape {
  readonly type: number;
  readonly children: readonly Shape[];
  /** Where the field is a dictionary's: its number. */
  readonly dictionary: number | undefined;
}

/**
 * The shapes of a schema's fields, as shapesOf. @param isNote true where the columns themselves are Parquet's, and Arrow's types are
 * noted beside them @throws RangeError as shapesOf, and for metadata that does not fit
 */
export function schemaShapes(bytes: Buffer, schema: FlatTable | undefined, isNote = false): readonly Shape[] {
  if (schema === undefined) return [];
  holdMetadata(schema, 2);
  return shapesOf(bytes, schema.tables(1), isNote);
}

/** apache-arrow goes through as many entries as an altered length says, were it billions. @throws RangeError when they do not fit */
function holdMetadata(table: FlatTable, field: number): void {
  table.tables(field);
}

/** The shapes of a schema's fields; their types are changed in `bytes` to those that apache-arrow has. @throws RangeError naming a type that is not read */
function shapesOf(bytes: Buffer, fields: readonly FlatTable[], isNote: boolean): readonly Shape[] {
  return fields.map((field): Shape => {
    const type = field.byte(2);
    const place = field.placeOf(2);
    refuseType(field, type, isNote);
    if (isNote && listViews.includes(type) && place !== undefined) bytes.writeUInt8(typeIds.list, place);
    const plain = readAs.get(type);
    if (plain !== undefined && place !== undefined) bytes.writeUInt8(plain, place);
    holdMetadata(field, 6);
    const dictionary = field.table(4)?.long(0);
    return { type, children: shapesOf(bytes, field.tables(5), isNote), dictionary };
  });
}

/** @throws RangeError naming the column */
function refuseType(field: FlatTable, type: number, isNote: boolean): void {
  const name = field.text(0) ?? '';
  // Field 0 of Int is bitWidth. parquet-wasm ends in a trap for more than 64, and apache-arrow has no such type either.
  const bits = type === typeIds.integer ? (field.table(3)?.int(0) ?? 0) : 0;
  if (bits > 64)
    throw new RangeError(
      `its column '${name}' is an integer of ${bits} bits, which is not read: cast it to int64, uint64 or text (Polars: pl.col('${name}').cast(pl.String))`,
    );
  const what =
    type === typeIds.union
      ? 'a union'
      : type === typeIds.runEnds
        ? 'run-end encoded'
        : listViews.includes(type) && !isNote
          ? 'a list view'
          : undefined;
  if (what !== undefined)
    throw new RangeError(`its column '${name}' is ${what}, which is not read: cast it before writing`);
}

/** Dictionaries by number, each in the parts that it came in. */
export type Dictionaries = Map<number, readonly Data[]>;

export interface Message {
  /** The message's table RecordBatch. */
  readonly batch: FlatTable;
  readonly body: Buffer;
}

/** The columns of a record batch. @throws RangeError when its buffers are not those of its fields */
export function loadColumns(
  { batch, body }: Message,
  fields: readonly Field[],
  shapes: readonly Shape[],
  dictionaries: Dictionaries,
): readonly Data[] {
  const nodes = batch.longs(1, 2);
  const places = batch.longs(2, 2);
  const views = batch.longs(4, 1);
  const compression = batch.table(3);
  let [node, buffer, view] = [0, 0, 0];

  const nextBytes = (): Buffer => {
    const [offset, length] = [places[buffer * 2], places[buffer * 2 + 1]];
    buffer++;
    if (offset === undefined || length === undefined || offset + length > body.length)
      throw new RangeError('a batch lacks buffers, or they lie outside of it: it is cut short or altered');
    const bytes = body.subarray(offset, offset + length);
    return aligned(compression === undefined ? bytes : unpacked(bytes, compression.byte(0)));
  };

  const load = (type: DataType, shape: Shape): Data => {
    const [length, nullCount] = [nodes[node * 2], nodes[node * 2 + 1]];
    node++;
    if (length === undefined || nullCount === undefined)
      throw new RangeError('a batch has fewer columns than its schema');
    if (DataType.isNull(type)) return new Data(type, 0, length, length);
    const nulls = validity(nextBytes(), nullCount);
    const column = { type, length, nullCount };
    if (DataType.isDictionary(type)) {
      const parts = dictionaries.get(shape.dictionary ?? -1) ?? [];
      return made(column, { 1: typed(type.indices, nextBytes()), ...nulls }, [], new Vector([...parts]));
    }
    if (shape.type === typeIds.utf8View || shape.type === typeIds.binaryView) {
      const [refs, count] = [nextBytes(), views[view++] ?? 0];
      return made(column, { ...joinViews(refs, Array.from({ length: count }, nextBytes), length), ...nulls });
    }
    const offsets = hasOffsets(type) ? offsetsOf(type, shape, nextBytes(), length) : {};
    const children = hasChildren(type) ? loadAll(type.children, shape.children) : [];
    const values = hasChildren(type) ? {} : { 1: typed(type, nextBytes()) };
    return made(column, { ...offsets, ...values, ...nulls }, children);
  };
  const loadAll = (children: readonly Field[], below: readonly Shape[]): Data[] =>
    children.map((field, at) => {
      const shape = below[at];
      if (shape === undefined) throw new RangeError(`there is no field '${field.name}' in the schema`);
      return load(field.type, shape);
    });
  const columns = loadAll(fields, shapes);
  if (columns.some(({ length }) => length !== batch.long(0)))
    throw new RangeError('the columns of a batch are of several lengths: it is altered');
  return columns;
}

/** The values of a dictionary batch. */
export function loadDictionary(message: Message, field: Field, shape: Shape, dictionaries: Dictionaries): Data {
  const plain = { ...shape, dictionary: undefined };
  const type: DataType = DataType.isDictionary(field.type) ? field.type.dictionary : field.type;
  const [data] = loadColumns(message, [field.clone({ type })], [plain], dictionaries);
  if (data === undefined) throw new RangeError(`the dictionary of column '${field.name}' holds no values`);
  return data;
}

/** A compressed buffer begins with its length, -1 where it is kept as it is. format/Message.fbs, BodyCompression */
function unpacked(bytes: Buffer, codec: number): Buffer {
  if (bytes.length === 0) return bytes;
  const length = Number(bytes.readBigInt64LE(0));
  const packed = bytes.subarray(8);
  if (length === -1) return packed;
  if (codec === 0) return lz4Decode(packed, length);
  const out = zstdDecompressSync(packed, { maxOutputLength: Math.max(1, length) });
  if (out.length !== length) throw new RangeError(`a buffer holds ${out.length} bytes, not ${length}`);
  return out;
}

/** Typed arrays begin at a multiple of their element's size. */
function aligned(bytes: Buffer): Buffer {
  if (bytes.byteOffset % 8 === 0) return bytes;
  const copy = Buffer.from(new ArrayBuffer(bytes.length));
  bytes.copy(copy);
  return copy;
}

/** apache-arrow's buffers of a column by number: offsets, values, validity. */
interface Parts {
  readonly 0?: Int32Array | BigInt64Array;
  readonly 1?: ArrayBufferView;
  readonly 2?: Uint8Array;
}

interface Column {
  readonly type: DataType;
  readonly length: number;
  readonly nullCount: number;
}

/** @throws RangeError when there is less of a column than its length says */
function made({ type, length, nullCount }: Column, parts: Parts, children: Data[] = [], dictionary?: Vector): Data {
  const perRow = DataType.isFixedSizeList(type) ? type.listSize : DataType.isStruct(type) ? 1 : 0;
  const isShort = children.some((child) => child.length < length * perRow);
  const held = hasOffsets(type) || parts[1] === undefined ? Number.MAX_SAFE_INTEGER : elementsIn(type, parts[1]);
  if (isShort || held < length)
    throw new RangeError('a column holds fewer values than its batch: it is cut short or altered');
  if (hasOffsets(type)) holdOffsets(parts[0], children[0]?.length ?? parts[1]?.byteLength ?? 0);
  return new Data(type, 0, length, nullCount, parts, children, dictionary);
}

/** Altered offsets would have a row of billions of values. @throws RangeError when they do not ascend from 0 to at most `held` */
function holdOffsets(offsets: Parts[0], held: number): void {
  if (offsets === undefined) return;
  let last: number | bigint = 0;
  for (const offset of offsets) {
    if (offset < last) throw new RangeError('the offsets of a column do not ascend: it is altered');
    last = offset;
  }
  if (last > held) throw new RangeError('a column has offsets beyond its values: it is cut short or altered');
}

function elementsIn(type: DataType, values: ArrayBufferView): number {
  if (DataType.isBool(type)) return values.byteLength * 8;
  if (DataType.isFixedSizeBinary(type)) return values.byteLength / type.byteWidth;
  if (DataType.isDecimal(type)) return values.byteLength / (type.bitWidth / 8);
  if (DataType.isDictionary(type)) return values.byteLength / type.indices.ArrayType.BYTES_PER_ELEMENT;
  return values.byteLength / type.ArrayType.BYTES_PER_ELEMENT;
}

const hasChildren = (type: DataType): type is List | FixedSizeList | Struct | Map_ =>
  DataType.isList(type) || DataType.isFixedSizeList(type) || DataType.isStruct(type) || DataType.isMap(type);

const isLong = (type: DataType): boolean => DataType.isLargeUtf8(type) || DataType.isLargeBinary(type);

const hasOffsets = (type: DataType): boolean =>
  isLong(type) || DataType.isUtf8(type) || DataType.isBinary(type) || DataType.isList(type) || DataType.isMap(type);

function offsetsOf(type: DataType, shape: Shape, bytes: Buffer, length: number): Parts {
  if (isLong(type)) return { 0: int64(bytes, length) };
  if (shape.type === typeIds.largeList) return { 0: Int32Array.from(int64(bytes, length), int32Of) };
  return { 0: int32(bytes, length) };
}

function validity(bytes: Buffer, nullCount: number): { readonly 2?: Uint8Array } {
  return nullCount === 0 || bytes.length === 0 ? {} : { 2: new Uint8Array(bytes) };
}

function typed({ ArrayType }: DataType, { buffer, byteOffset, byteLength }: Buffer): ArrayBufferView {
  return new ArrayType(buffer, byteOffset, Math.floor(byteLength / ArrayType.BYTES_PER_ELEMENT));
}

/** No list at all may come without offsets. */
function int32({ buffer, byteOffset, byteLength }: Buffer, length: number): Int32Array {
  if (byteLength < (length + 1) * 4 && length > 0)
    throw new RangeError('a column lacks offsets: it is cut short or altered');
  return length === 0 ? new Int32Array(1) : new Int32Array(buffer, byteOffset, length + 1);
}

function int64({ buffer, byteOffset, byteLength }: Buffer, length: number): BigInt64Array {
  if (byteLength < (length + 1) * 8 && length > 0)
    throw new RangeError('a column lacks offsets: it is cut short or altered');
  return length === 0 ? new BigInt64Array(1) : new BigInt64Array(buffer, byteOffset, length + 1);
}

function int32Of(value: bigint): number {
  if (value > 0x7fffffffn)
    throw new RangeError('a batch holds lists of more than 2^31 elements: write smaller batches');
  return Number(value);
}

/** A view is 16 bytes: length, then up to 12 bytes of text, or 4 of it, the number of a buffer and where it begins in there. */
function joinViews(refs: Buffer, buffers: readonly Buffer[], length: number): Parts {
  const offsets = new Int32Array(length + 1);
  const parts: Buffer[] = [];
  for (let row = 0; row < length; row++) {
    const at = row * 16;
    const size = refs.readInt32LE(at);
    const [buffer, start] =
      size <= 12 ? [refs, at + 4] : [buffers[refs.readInt32LE(at + 8)], refs.readInt32LE(at + 12)];
    const part = buffer?.subarray(start, start + size);
    if (part?.length !== size) throw new RangeError('a view refers to text that is not there');
    parts.push(part);
    offsets[row + 1] = (offsets[row] ?? 0) + size;
  }
  return { 0: offsets, 1: new Uint8Array(Buffer.concat(parts)) };
}
