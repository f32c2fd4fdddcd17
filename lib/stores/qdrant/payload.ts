import { canonicalNumber } from '../../compare/json-equal.ts';
import { RecordRefused } from '../../errors.ts';
import { afterSpace, endOfScalar, endOfString, expect, pathAt, stringAt } from './json.ts';
import { type ProtoReader, type ProtoWriter, tagOf } from './wire.ts';

/**
 * A payload between JSON text and Qdrant's protobuf `Value` (json_with_int.proto), without a JavaScript object between:
 * the spelling of a number says whether it is an integer or a double, and its digits are kept or refused, never rounded.
 */

const value = { null: 1, double: 2, integer: 3, string: 4, bool: 5, struct: 6, list: 7 } as const;
const entry = { key: 1, value: 2 } as const;

const maxInt64 = 9_223_372_036_854_775_807n;
const minInt64 = -9_223_372_036_854_775_808n;
const maxUint64 = 18_446_744_073_709_551_615n;

/** prost, which decodes for Qdrant, follows 100 nested messages, and a JSON level takes three (Value, Struct, its entry). */
const maxWireDepth = 30;
/** serde_json, which parses Qdrant's REST, follows 128 levels; the request itself takes a few. */
const maxDepth = 120;

/** A value that gRPC cannot hold but REST can: an integer between 2^63 and 2^64, or very deep nesting. */
class NeedsRest extends Error {}

class Refusal extends Error {
  readonly offset: number;
  constructor(reason: string, offset: number) {
    super(reason);
    this.offset = offset;
  }
}

/**
 * Writes the payload `text` as map entries in field `field`; false when it can only be carried over REST.
 * @throws RecordRefused naming record and field when Qdrant would change a value.
 */
export function writePayload(writer: ProtoWriter, field: number, text: string, id: string): boolean {
  return refusing(text, id, () => {
    try {
      const end = writeEntries(writer, field, text, afterSpace(text, 0), 0);
      if (afterSpace(text, end) < text.length) throw new SyntaxError('there is more behind its end');
      return true;
    } catch (error) {
      if (error instanceof NeedsRest) return false;
      throw error;
    }
  });
}

/** @throws RecordRefused when REST would change a value: integers beyond 64 bits, digits that a double cannot hold. */
export function checkRestPayload(text: string, id: string): void {
  const scan = (at: number, depth: number): number => {
    const code = text[at];
    if (code === '"') return checkedString(text, at);
    if (code !== '{' && code !== '[') return checkedScalar(text, at);
    if (depth > maxDepth) throw new Refusal(`is nested deeper than ${maxDepth} levels`, at);
    let next = afterSpace(text, at + 1);
    if (text[next] === '}' || text[next] === ']') return next + 1;
    for (;;) {
      if (code === '{') next = afterSpace(text, expect(text, checkedString(text, next), ':'));
      next = afterSpace(text, scan(next, depth + 1));
      if (text[next] === '}' || text[next] === ']') return next + 1;
      next = afterSpace(text, expect(text, next, ','));
    }
  };
  refusing(text, id, () => scan(afterSpace(text, 0), 0));
}

/** Why a payload's number cannot be kept as a double, or undefined when it comes back from one as the same value. */
export function lossOf(digits: string): string | undefined {
  const double = Number(digits);
  if (!Number.isFinite(double)) return `${digits} is beyond a double, which Qdrant keeps numbers in`;
  if (canonicalNumber(String(double)) === canonicalNumber(digits)) return;
  const choices = 'map the field to a string or, where rounding does no harm, to a number in mapping.payload';
  return `${digits} would become ${double} in Qdrant; ${choices}`;
}

function refusing<T>(text: string, id: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Refusal) {
      const field = pathAt(text, error.offset);
      throw new RecordRefused(`field '${field}' of record '${id}' ${error.message}`, { ids: [id] });
    }
    if (!(error instanceof SyntaxError)) throw error;
    throw new RecordRefused(`the payload of record '${id}' is not a JSON object: ${error.message}`, {
      ids: [id],
      cause: error,
    });
  }
}

function writeEntries(writer: ProtoWriter, field: number, text: string, at: number, depth: number): number {
  let next = afterSpace(text, expect(text, at, '{'));
  if (text[next] === '}') return next + 1;
  for (;;) {
    const keyEnd = checkedString(text, next);
    const pair = writer.open(field);
    writer.text(entry.key, stringAt(text, next, keyEnd));
    const held = writer.open(entry.value);
    next = afterSpace(text, writeValue(writer, text, afterSpace(text, expect(text, keyEnd, ':')), depth + 1));
    writer.close(held);
    writer.close(pair);
    if (text[next] === '}') return next + 1;
    next = afterSpace(text, expect(text, next, ','));
  }
}

function writeValue(writer: ProtoWriter, text: string, at: number, depth: number): number {
  if (depth > maxWireDepth) throw new NeedsRest();
  const mark = text[at];
  if (mark === '"') {
    const end = checkedString(text, at);
    writer.text(value.string, stringAt(text, at, end));
    return end;
  }
  if (mark === '{') {
    const start = writer.open(value.struct);
    const end = writeEntries(writer, 1, text, at, depth);
    writer.close(start);
    return end;
  }
  if (mark === '[') {
    const start = writer.open(value.list);
    const end = writeItems(writer, text, at, depth);
    writer.close(start);
    return end;
  }
  const end = endOfScalar(text, at);
  writeScalar(writer, text.slice(at, end), at);
  return end;
}

function writeItems(writer: ProtoWriter, text: string, at: number, depth: number): number {
  let next = afterSpace(text, at + 1);
  if (text[next] === ']') return next + 1;
  for (;;) {
    const item = writer.open(1);
    next = afterSpace(text, writeValue(writer, text, next, depth + 1));
    writer.close(item);
    if (text[next] === ']') return next + 1;
    next = afterSpace(text, expect(text, next, ','));
  }
}

function writeScalar(writer: ProtoWriter, word: string, at: number): void {
  if (word === 'true' || word === 'false') {
    writer.varint(tagOf(value.bool, 'varint'));
    writer.varint(word === 'true' ? 1 : 0);
  } else if (word === 'null') {
    writer.varint(tagOf(value.null, 'varint'));
    writer.varint(0);
  } else if (isInteger(word, at)) {
    writeInteger(writer, word, at);
  } else {
    refuseLoss(word, at);
    writer.varint(tagOf(value.double, 'fixed64'));
    writer.double(Number(word));
  }
}

/** An integer beyond 64 bits that a double holds to its last digit, such as 1e300 as PostgreSQL's jsonb spells it. */
function writeDouble(writer: ProtoWriter, word: string, at: number): void {
  if (lossOf(word) !== undefined) throw new Refusal(tooBig(word), at);
  writer.varint(tagOf(value.double, 'fixed64'));
  writer.double(Number(word));
}

function writeInteger(writer: ProtoWriter, word: string, at: number): void {
  if (word.length < 16 && word.charCodeAt(0) !== 45) {
    writer.varint(tagOf(value.integer, 'varint'));
    writer.varint(Number(word));
    return;
  }
  const integer = BigInt(word);
  if (integer > maxUint64 || integer < minInt64) {
    writeDouble(writer, word, at);
    return;
  }
  if (integer > maxInt64) throw new NeedsRest();
  writer.varint(tagOf(value.integer, 'varint'));
  writer.varint64(integer);
}

/** True for an integer's spelling, -0 excepted, which only a double holds. @throws Refusal when the word is no number. */
function isInteger(word: string, at: number): boolean {
  if (/^-?(?:0|[1-9][0-9]*)$/.test(word)) return word !== '-0';
  if (/^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(word)) return false;
  throw new SyntaxError(`'${word}' at ${at} is no JSON value`);
}

function checkedScalar(text: string, at: number): number {
  const end = endOfScalar(text, at);
  const word = text.slice(at, end);
  if (word === 'true' || word === 'false' || word === 'null') return end;
  if (!isInteger(word, at)) refuseLoss(word, at);
  else if (word.length > 18 && (BigInt(word) > maxUint64 || BigInt(word) < minInt64)) {
    if (lossOf(word) !== undefined) throw new Refusal(tooBig(word), at);
  }
  return end;
}

/** @throws Refusal for half of a surrogate pair, which UTF-8 has no bytes for: the store would get another character. */
function checkedString(text: string, at: number): number {
  const end = endOfString(text, at);
  if (!stringAt(text, at, end).isWellFormed()) throw new Refusal('holds half of a surrogate pair', at);
  return end;
}

function refuseLoss(word: string, at: number): void {
  const loss = lossOf(word);
  if (loss !== undefined) throw new Refusal(`cannot be kept as it is: ${loss}`, at);
}

function tooBig(word: string): string {
  return `is ${word}, and Qdrant keeps integers of 64 bits; map the field to a string in mapping.payload`;
}

/** What `readEntry` found besides text: doubles that may stand for an integer that only REST tells exactly. */
export interface PayloadDoubts {
  /** True once a double between 2^63 and 2^64 was read: Qdrant sends integers of that size rounded over gRPC. */
  rounded: boolean;
}

/** Reads one map entry at the reader, up to `end`, as `"key":value`. */
export function readEntry(reader: ProtoReader, end: number, doubts: PayloadDoubts): string {
  let key = '""';
  let held = 'null';
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(entry.key, 'bytes')) key = quotedText(reader);
    else if (tag === tagOf(entry.value, 'bytes')) held = readValue(reader, reader.end(), doubts);
    else reader.skip(tag);
  }
  return `${key}:${held}`;
}

function readValue(reader: ProtoReader, end: number, doubts: PayloadDoubts): string {
  let text = 'null';
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(value.string, 'bytes')) text = quotedText(reader);
    else if (tag === tagOf(value.integer, 'varint')) text = reader.integer(true);
    else if (tag === tagOf(value.double, 'fixed64')) text = doubleText(reader.double(), doubts);
    else if (tag === tagOf(value.bool, 'varint')) text = reader.varint() === 0 ? 'false' : 'true';
    else if (tag === tagOf(value.struct, 'bytes')) text = readStruct(reader, reader.end(), doubts);
    else if (tag === tagOf(value.list, 'bytes')) text = readList(reader, reader.end(), doubts);
    else reader.skip(tag);
  }
  return text;
}

function readStruct(reader: ProtoReader, end: number, doubts: PayloadDoubts): string {
  const entries: string[] = [];
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) entries.push(readEntry(reader, reader.end(), doubts));
    else reader.skip(tag);
  }
  return `{${entries.join(',')}}`;
}

function readList(reader: ProtoReader, end: number, doubts: PayloadDoubts): string {
  const items: string[] = [];
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === tagOf(1, 'bytes')) items.push(readValue(reader, reader.end(), doubts));
    else reader.skip(tag);
  }
  return `[${items.join(',')}]`;
}

/** A string field as a JSON string. */
function quotedText(reader: ProtoReader): string {
  const { bytes } = reader;
  const end = reader.end();
  const start = reader.at;
  reader.at = end;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    // Control characters, quote, backslash, anything beyond ASCII
    if (byte < 0x20 || byte === 0x22 || byte === 0x5c || byte >= 0x7f)
      return JSON.stringify(bytes.toString('utf8', start, end));
  }
  return `"${bytes.toString('latin1', start, end)}"`;
}

/** A double's shortest spelling that is not an integer's, so that it is a double again when it is written. */
function doubleText(double: number, doubts: PayloadDoubts): string {
  if (double >= 2 ** 63 && double <= 2 ** 64) doubts.rounded = true;
  if (Object.is(double, -0)) return '-0.0';
  const text = String(double);
  return Number.isInteger(double) && !text.includes('e') ? `${text}.0` : text;
}
