import { pack, unpackStart } from './codecs.ts';
import { asStruct, inColumn, inElement, integer, integerOr, repetitions, startOf, text } from './parquet-meta.ts';
import { readThriftAt, type ThriftStruct, type ThriftValue, writeThrift } from './thrift.ts';

/** The pages of a column chunk, and the records in each: where a part of a row group can be cut out. */

/** Fields of PageHeader and of the headers in it, and values of parquet.thrift. */
const inPage = { type: 1, unpackedBytes: 2, bytes: 3, data: 5, dictionary: 7, dataV2: 8 } as const;
const inDictionary = { values: 1 } as const;
const inSizes = { textBytes: 1 } as const;
const inData = { values: 1, encoding: 2, definitions: 3, repetitions: 4 } as const;
const inDataV2 = { values: 1, records: 3 } as const;
const pageTypes = { data: 0, index: 1, dictionary: 2, dataV2: 3 } as const;
const encodings = { plain: 0, rle: 3 } as const;
const types = { boolean: 0, int32: 1, int64: 2, int96: 3, float: 4, double: 5, bytes: 6, fixedBytes: 7 } as const;

/** Of ByteRanges, what a part of a file needs. */
export interface FileBytes {
  /** Bytes `from` (inclusive) to `to` (exclusive). */
  range(from: number, to: number): Promise<Uint8Array>;
}

/** A column of Parquet: one of plain values, at the end of a path through the schema. */
export interface Leaf {
  /** The top-level field that it is of. */
  readonly field: string;
  readonly type: number;
  /** Bytes of a value of fixed length. */
  readonly typeLength: number;
  /** Levels from 0 to these, as Dremel has it. */
  readonly maxDefinition: number;
  readonly maxRepetition: number;
}

export interface DataPage {
  /** Where its header begins in the file, and where the page ends. */
  readonly from: number;
  readonly to: number;
  readonly unpackedBytes: number;
  /** What its values take in memory, or its bytes unpacked where that is more. */
  readonly memoryBytes: number;
  /** Values and nulls. */
  readonly values: number;
  /** Number of the first record that begins in it, and how many do. */
  readonly first: number;
  readonly records: number;
  /** True: its first values are of a record that an earlier page began. */
  readonly isContinued: boolean;
}

export interface LeafPages {
  readonly leaf: Leaf;
  /** The chunk's metadata. */
  readonly column: ThriftStruct;
  /** Bytes of the dictionary page, at the chunk's start; 0 without one. */
  readonly dictionaryBytes: number;
  readonly dictionaryUnpacked: number;
  readonly pages: readonly DataPage[];
}

/** The leaves of a schema, in the order of a row group's chunks. @param elements the schema, depth first, root included */
export function leavesOf(elements: readonly ThriftStruct[]): readonly Leaf[] {
  const leaves: Leaf[] = [];
  let at = 1;
  const walk = (top: string | undefined, definition: number, repetition: number): void => {
    const element = elements[at++];
    if (element === undefined) throw new RangeError('its schema ends early');
    const field = top ?? text(element, inElement.name);
    const kind = integerOr(element, inElement.repetition, repetitions.required);
    const maxDefinition = definition + (kind === repetitions.required ? 0 : 1);
    const maxRepetition = repetition + (kind === repetitions.repeated ? 1 : 0);
    const children = integerOr(element, inElement.children, 0);
    for (let i = 0; i < children; i++) walk(field, maxDefinition, maxRepetition);
    if (children > 0) return;
    const type = integer(element, inElement.type);
    const typeLength = integerOr(element, inElement.typeLength, 0);
    leaves.push({ field, type, typeLength, maxDefinition, maxRepetition });
  };
  while (at < elements.length) walk(undefined, 0, 0);
  return leaves;
}

/** What is read to see a page's header and its levels; and to look into each page, which their compression asks for. */
const peekBytes = 64 * 1024;
const readBytes = 4 * 1024 * 1024;

/** The pages of a chunk, found as far as they are asked for: a look into the first records reads no more than those. */
export interface PageScan extends LeafPages {
  /** Goes on until a page is known that begins behind `record`, or all are. @throws RangeError when the chunk is not as its metadata says; what `range` throws */
  reach(record: number): Promise<void>;
}

/** @param total records of the row group, which all pages together hold */
export function scanPages({ range }: FileBytes, leaf: Leaf, column: ThriftStruct, total: number): PageScan {
  const start = startOf(column);
  const end = start + integer(column, inColumn.bytes);
  const codec = integer(column, inColumn.codec);
  const ahead = leaf.maxRepetition > 0 && codec !== 0 ? readBytes : peekBytes;
  let held = { at: start, bytes: Buffer.alloc(0) };
  const bytesAt = async (at: number, length: number): Promise<Buffer> => {
    const to = Math.min(end, at + length);
    if (at < held.at || to > held.at + held.bytes.length)
      held = { at, bytes: Buffer.from(await range(at, Math.min(end, at + Math.max(length, ahead)))) };
    return held.bytes.subarray(at - held.at);
  };
  const pages: DataPage[] = [];
  let [at, dictionaryBytes, dictionaryUnpacked, records] = [start, 0, 0, 0];
  // Of texts: what one in the dictionary has, on average.
  let valueBytes = widthOf(leaf);
  const next = async (): Promise<void> => {
    const { header, length } = await headerAt(bytesAt, at, end);
    const [from, bytes] = [at, integer(header, inPage.bytes)];
    const to = at + length + bytes;
    if (bytes < 0 || to > end) throw new RangeError('a page goes on after its column: it is cut short or altered');
    const unpackedBytes = integer(header, inPage.unpackedBytes);
    const type = integer(header, inPage.type);
    if (type === pageTypes.dictionary && pages.length === 0) {
      dictionaryBytes = to - start;
      dictionaryUnpacked = unpackedBytes;
      const entries = integer(asStruct(header.fields.get(inPage.dictionary)), inDictionary.values);
      if (leaf.type === types.bytes) valueBytes += unpackedBytes / Math.max(1, entries);
    }
    if (type === pageTypes.data || type === pageTypes.dataV2) {
      const body = async (wanted: number): Promise<Buffer> =>
        codec === 0
          ? (await bytesAt(from + length, Math.min(bytes, wanted))).subarray(0, bytes)
          : unpackStart(codec, (await bytesAt(from + length, bytes)).subarray(0, bytes), unpackedBytes, wanted);
      const found = type === pageTypes.dataV2 ? ofV2(header) : await ofV1(header, leaf, body);
      const memoryBytes = Math.max(unpackedBytes, Math.ceil(found.values * valueBytes));
      pages.push({ from, to, unpackedBytes, memoryBytes, first: records, ...found });
      records += found.records;
    }
    at = to;
  };
  // One at a time: two readers of a file may ask at once.
  let turn: Promise<void> = Promise.resolve();
  const reach = async (record: number): Promise<void> => {
    while (at < end && (pages.at(-1)?.first ?? 0) <= record) await next();
    if (at < end) return;
    held = { at, bytes: Buffer.alloc(0) };
    if (records !== total)
      throw new RangeError(`column '${leaf.field}' has pages of ${records} records, its row group is of ${total}`);
  };
  return {
    leaf,
    column,
    pages,
    get dictionaryBytes() {
      return dictionaryBytes;
    },
    get dictionaryUnpacked() {
      return dictionaryUnpacked;
    },
    reach: (record) => {
      turn = turn.catch(() => {}).then(() => reach(record));
      return turn;
    },
  };
}

/** Arrow's own limit, kDefaultMaxPageHeaderSize of parquet/column_reader.h */
const maxHeaderBytes = 16 * 1024 * 1024;

/** Headers hold statistics, which may be long: more is read until the header is whole. */
async function headerAt(
  bytesAt: (at: number, length: number) => Promise<Buffer>,
  at: number,
  end: number,
): Promise<{ readonly header: ThriftStruct; readonly length: number }> {
  for (let wanted = 1024; ; wanted *= 8) {
    const bytes = await bytesAt(at, wanted);
    try {
      const { value: header, end: length } = readThriftAt(bytes, 0);
      return { header, length };
    } catch (error) {
      if (!(error instanceof RangeError) || at + wanted >= end || wanted >= maxHeaderBytes) throw error;
    }
  }
}

type Counts = Pick<DataPage, 'values' | 'records' | 'isContinued'>;

/** Pages of version 2 begin with a record, and say how many they hold. */
function ofV2(header: ThriftStruct): Counts {
  const data = asStruct(header.fields.get(inPage.dataV2));
  return { values: integer(data, inDataV2.values), records: integer(data, inDataV2.records), isContinued: false };
}

async function ofV1(
  header: ThriftStruct,
  { maxRepetition }: Leaf,
  body: (wanted: number) => Promise<Buffer>,
): Promise<Counts> {
  const data = asStruct(header.fields.get(inPage.data));
  const values = integer(data, inData.values);
  if (maxRepetition === 0) return { values, records: values, isContinued: false };
  if (integer(data, inData.repetitions) !== encodings.rle)
    throw new RangeError('its levels are in an encoding of 2013, which is not read here: write it again');
  const start = await body(4);
  const length = start.readUInt32LE(0);
  // Most codecs unpack a page as a whole.
  const levels = (start.length < 4 + length ? await body(4 + length) : start).subarray(4, 4 + length);
  return { values, ...countRecords(levels, maxRepetition, values) };
}

/** Records that begin in the first `count` repetition levels: those of 0. Runs and bit-packed groups of eight, least bit first. */
function countRecords(levels: Buffer, max: number, count: number): Pick<DataPage, 'records' | 'isContinued'> {
  const width = 32 - Math.clz32(max);
  let [at, left, records] = [0, count, 0];
  let first: number | undefined;
  const packed = (length: number): number => {
    let zeros = 0;
    for (let i = 0; i < length; i++) if (levelAt(levels, at, i, width) === 0) zeros++;
    return zeros;
  };
  const varint = (): number => {
    for (let [value, scale] = [0, 1]; scale < 2 ** 35; scale *= 128) {
      const byte = levels[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError('the levels of a page end early');
  };
  while (left > 0) {
    const head = varint();
    const size = Math.floor(head / 2);
    const end = at + (head % 2 === 1 ? size * width : Math.ceil(width / 8));
    if (size === 0 || end > levels.length) throw new RangeError('the levels of a page end early');
    const length = Math.min(left, head % 2 === 1 ? size * 8 : size);
    // A run's level stands where the first of a packed group does.
    const level = levelAt(levels, at, 0, width);
    first ??= level;
    if (head % 2 === 1) records += packed(length);
    else if (level === 0) records += length;
    left -= length;
    at = end;
  }
  return { records, isContinued: first !== undefined && first !== 0 };
}

function levelAt(levels: Buffer, at: number, index: number, width: number): number {
  let level = 0;
  for (let bit = 0, from = index * width; bit < width; bit++, from++)
    level |= (((levels[at + (from >> 3)] ?? 0) >> (from & 7)) & 1) << bit;
  return level;
}

/** A page of `records` that mean nothing: nulls, or zeros where there are none. For records that are skipped. */
export function blankPage(leaf: Leaf, codec: number, records: number) {
  const { maxDefinition, maxRepetition } = leaf;
  const run = (max: number): Buffer => {
    if (max === 0) return Buffer.alloc(0);
    const head: number[] = [];
    let left = records * 2;
    for (; left > 0x7f; left = Math.floor(left / 128)) head.push((left & 0x7f) | 0x80);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length + 2);
    return Buffer.concat([length, Buffer.from([...head, left, 0])]);
  };
  // Zeros are a value of every type.
  const values = Buffer.alloc(maxDefinition > 0 ? 0 : Math.ceil(records * widthOf(leaf)));
  const plain = Buffer.concat([run(maxRepetition), run(maxDefinition), values]);
  const packed = pack(codec, plain);
  const whole = (value: number): ThriftValue => ({ kind: 'integer', type: 5, value: BigInt(value) });
  const data: ThriftStruct = {
    kind: 'struct',
    fields: new Map([
      [inData.values, whole(records)],
      [inData.encoding, whole(encodings.plain)],
      [inData.definitions, whole(encodings.rle)],
      [inData.repetitions, whole(encodings.rle)],
    ]),
  };
  const header = writeThrift({
    kind: 'struct',
    fields: new Map<number, ThriftValue>([
      [inPage.type, whole(pageTypes.data)],
      [inPage.unpackedBytes, whole(plain.length)],
      [inPage.bytes, whole(packed.length)],
      [inPage.data, data],
    ]),
  });
  return { bytes: Buffer.concat([header, packed]), unpackedBytes: header.length + plain.length };
}

/** What the values of a column chunk take in memory, or its bytes unpacked where that is more: a dictionary or runs pack many into few. */
export function memoryOf(leaf: Leaf, column: ThriftStruct): number {
  const sizes = column.fields.get(inColumn.sizes);
  const texts = sizes?.kind === 'struct' ? integerOr(sizes, inSizes.textBytes, 0) : 0;
  const values = Math.ceil(integer(column, inColumn.values) * widthOf(leaf)) + texts;
  return Math.max(integer(column, inColumn.unpackedBytes), values);
}

/** Bytes of a value in its plain encoding; of texts, of their length alone. */
function widthOf({ type, typeLength }: Pick<Leaf, 'type' | 'typeLength'>): number {
  if (type === types.boolean) return 1 / 8;
  if (type === types.fixedBytes) return typeLength;
  if (type === types.int96) return 12;
  return type === types.int64 || type === types.double ? 8 : 4;
}
