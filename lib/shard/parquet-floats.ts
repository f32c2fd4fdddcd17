import { readThriftAt, type ThriftStruct, type ThriftValue } from './thrift.ts';

/**
 * Lists of float32, all of one length, taken from the pages of a column chunk as they lie there: one copy. A decoder in
 * general looks at two levels a float, which is most of what reading a shard took. Whatever is not exactly as we write it
 * (a null, an empty list, a dictionary, compression, another length) is answered by undefined: parquet-wasm reads that.
 * https://parquet.apache.org/docs/file-format/data-pages/encodings/
 */

/** Field numbers and values of parquet.thrift. */
const inElement = { type: 1, repetition: 3, children: 5 } as const;
const inColumn = { type: 1, codec: 4, values: 5 } as const;
const inPage = { type: 1, bytes: 2, compressedBytes: 3, data: 5 } as const;
const inData = { values: 1, encoding: 2, definitions: 3, repetitions: 4 } as const;
const ofType = { float: 4, uncompressed: 0, dataPage: 0, plain: 0, rle: 3 } as const;
const repetition = { required: 0, optional: 1, repeated: 2 } as const;

export interface FloatLists {
  /** The column's part of the schema, depth first. */
  readonly schema: readonly ThriftStruct[];
  /** The chunk's metadata, and its pages. */
  readonly column: ThriftStruct;
  readonly pages: Buffer;
  readonly records: number;
  /** Floats a list. */
  readonly dimension: number;
}

/** records * dimension floats, or undefined when the chunk holds anything else than that. */
export function readFloatLists({ schema, column, pages, records, dimension }: FloatLists): Float32Array | undefined {
  const total = records * dimension;
  const isPlain =
    dimension > 0 &&
    isOptionalList(schema) &&
    integer(column, inColumn.type) === ofType.float &&
    integer(column, inColumn.codec) === ofType.uncompressed &&
    integer(column, inColumn.values) === total;
  // Four bytes a float at least: no room is made for more than the pages can hold.
  if (!isPlain || total * 4 > pages.length) return undefined;
  const floats = new Float32Array(total);
  const bytes = Buffer.from(floats.buffer);
  let done = 0;
  for (let at = 0; at < pages.length; ) {
    const page = pageAt(pages, at);
    if (page === undefined || page.values > total - done) return undefined;
    const start = valuesStart(page, dimension, done % dimension);
    if (start === undefined || page.body.length - start !== page.values * 4) return undefined;
    bytes.set(page.body.subarray(start), done * 4);
    done += page.values;
    at = page.end;
  }
  return done === total ? floats : undefined;
}

/** `optional group x (LIST) { repeated group list { required float element } }` */
function isOptionalList(schema: readonly ThriftStruct[]): boolean {
  const [outer, list, element] = schema;
  if (outer === undefined || list === undefined || element === undefined || schema.length !== 3) return false;
  return (
    integer(outer, inElement.repetition) === repetition.optional &&
    integer(outer, inElement.children) === 1 &&
    integer(list, inElement.repetition) === repetition.repeated &&
    integer(list, inElement.children) === 1 &&
    integer(element, inElement.repetition) === repetition.required &&
    integer(element, inElement.type) === ofType.float
  );
}

interface Page {
  readonly values: number;
  readonly body: Buffer;
  /** Where the next page begins. */
  readonly end: number;
}

/** A data page of version 1 with plain values; undefined for any other. */
function pageAt(pages: Buffer, at: number): Page | undefined {
  const { value: header, end: start } = readThriftAt(pages, at);
  const data = header.fields.get(inPage.data);
  const bytes = integer(header, inPage.bytes) ?? -1;
  if (data?.kind !== 'struct' || integer(header, inPage.type) !== ofType.dataPage) return undefined;
  const values = integer(data, inData.values) ?? -1;
  const isPlain =
    integer(header, inPage.compressedBytes) === bytes &&
    integer(data, inData.encoding) === ofType.plain &&
    integer(data, inData.definitions) === ofType.rle &&
    integer(data, inData.repetitions) === ofType.rle;
  const end = start + bytes;
  if (!isPlain || bytes < 0 || values < 0 || end > pages.length) return undefined;
  return { values, body: pages.subarray(start, end), end };
}

/**
 * Where the page's floats begin, once its levels are found to be those of lists of `dimension` floats: a repetition level
 * of 0 where a list begins and 1 in it, a definition level of 2 (list there, float there) throughout.
 * @param phase floats of a list that an earlier page began
 */
function valuesStart({ values, body }: Page, dimension: number, phase: number): number | undefined {
  let inList = phase;
  const repetitions = levelsAt(body, 0);
  if (repetitions === undefined) return undefined;
  const isListed = everyRun(repetitions, 1, values, (level, length) => {
    if (level !== (inList === 0 ? 0 : 1)) return false;
    if (level === 0 && length > 1 && dimension > 1) return false;
    if (inList + length > dimension && dimension > 1) return false;
    inList = dimension === 1 ? 0 : (inList + length) % dimension;
    return true;
  });
  const definitions = levelsAt(body, 4 + repetitions.length);
  if (!isListed || definitions === undefined) return undefined;
  const isWhole = everyRun(definitions, 2, values, (level) => level === 2);
  return isWhole ? 8 + repetitions.length + definitions.length : undefined;
}

/** Levels stand behind their length in bytes. */
function levelsAt(body: Buffer, at: number): Buffer | undefined {
  if (at + 4 > body.length) return undefined;
  const end = at + 4 + body.readUInt32LE(at);
  return end > body.length ? undefined : body.subarray(at + 4, end);
}

/**
 * Whether `accept` takes every run of the first `count` levels, in Parquet's mix of runs and bit-packed groups of eight;
 * false when there are not that many. @param width bits a level, at most 2
 */
function everyRun(
  levels: Buffer,
  width: 1 | 2,
  count: number,
  accept: (level: number, length: number) => boolean,
): boolean {
  let left = count;
  let at = 0;
  while (left > 0) {
    const head = varintAt(levels, at);
    if (head === undefined) return false;
    const size = Math.floor(head.value / 2);
    const isPacked = head.value % 2 === 1;
    const end = head.end + (isPacked ? size * width : 1);
    if (size === 0 || end > levels.length) return false;
    if (isPacked) {
      // The last group is filled up to eight levels that mean nothing.
      const length = Math.min(left, size * 8);
      if (!everyPacked(levels, head.end, width, length, accept)) return false;
      left -= length;
    } else {
      if (size > left || !accept(levels[head.end] ?? 0, size)) return false;
      left -= size;
    }
    at = end;
  }
  return true;
}

function everyPacked(
  levels: Buffer,
  start: number,
  width: 1 | 2,
  count: number,
  accept: (level: number, length: number) => boolean,
): boolean {
  const mask = (1 << width) - 1;
  for (let i = 0; i < count; i++) {
    const bit = i * width;
    const level = ((levels[start + (bit >> 3)] ?? 0) >> (bit & 7)) & mask;
    if (!accept(level, 1)) return false;
  }
  return true;
}

/** An unsigned integer of at most 32 bits, and where it ends. */
function varintAt(bytes: Buffer, start: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) return { value, end: start + i + 1 };
  }
  return undefined;
}

function integer({ fields }: ThriftStruct, id: number): number | undefined {
  const value: ThriftValue | undefined = fields.get(id);
  return value?.kind === 'integer' ? Number(value.value) : undefined;
}
