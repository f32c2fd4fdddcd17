import { parse, stringify } from 'lossless-json';
import { stringOf } from '../json-members.ts';
import type { Column } from './catalog.ts';
import type { CopyWriter } from './copy.ts';
import { encodeNumeric } from './numeric.ts';
import { parseDate, parseRecent, parseTimestamp } from './time.ts';

/**
 * Payload values as PostgreSQL's binary fields. A value comes as its own JSON text, so no digit is lost. Types without an
 * encoder here are written as text into a staging column and cast by the server.
 */

/** A value that its column cannot take; the writer names record and column. */
export class UnwritableValue extends Error {}

export type Encode = (raw: string, writer: CopyWriter) => void;

/** undefined: the type goes through a staging column of text. */
export function encoderOf(column: Column): Encode | undefined {
  if (column.isArray) return undefined;
  const encode = encoders[column.base];
  if (encode === undefined) return undefined;
  const isJson = column.base === 'json' || column.base === 'jsonb';
  return (raw, writer) => {
    // Where NULL is not allowed a JSON null can only be JSON's own.
    if (raw === 'null' && !(isJson && column.notNull)) writer.none();
    else encode(raw, writer);
  };
}

/** The text that the server casts to the column's type. */
export function encodeForCast(column: Column): Encode {
  return (raw, writer) => {
    if (raw === 'null') writer.none();
    else if (column.isArray) writer.text(checkedText(arrayLiteral(parse(raw))));
    else writer.text(raw.startsWith('"') ? checkedText(stringOf(raw)) : raw);
  };
}

/** A key's value, as canonical text. */
export function keyEncoderOf(column: Column): (text: string, writer: CopyWriter) => void {
  if (column.base === 'text' || column.base === 'varchar') return (text, writer) => writer.text(checkedText(text));
  const encode = encoders[column.base];
  if (encode === undefined || column.isArray) return (text, writer) => writer.text(checkedText(text));
  const isNumber = integerSizes[column.base] !== undefined || column.base === 'numeric';
  return (text, writer) => encode(isNumber ? text : JSON.stringify(text), writer);
}

/** True when the column's values are written as they are, without staging. */
export function isDirect(column: Column): boolean {
  return !column.isArray && encoders[column.base] !== undefined;
}

/** PostgreSQL's text has no NUL, and UTF-8 no half of a surrogate pair: Node would write U+FFFD for it in silence. */
export function checkedText(text: string): string {
  if (text.includes('\0')) throw new UnwritableValue('holds the character U+0000, which PostgreSQL has no place for');
  if (!text.isWellFormed()) throw new UnwritableValue('holds half of a surrogate pair, which UTF-8 has no place for');
  return text;
}

/** JSON text for a json or jsonb column. */
export function checkedJson(raw: string): string {
  // Only a backslash that is not itself escaped begins an escape.
  if (raw.includes('\\u0000') && /(?<!\\)(?:\\\\)*\\u0000/.test(raw))
    throw new UnwritableValue('holds the character U+0000, which PostgreSQL has no place for');
  if (!raw.isWellFormed()) throw new UnwritableValue('holds half of a surrogate pair, which UTF-8 has no place for');
  return raw;
}

const jsonbVersion = Uint8Array.of(1);

export function writeJsonb(raw: string, writer: CopyWriter): void {
  writer.text(checkedJson(raw), jsonbVersion);
}

const integerSizes: Readonly<Record<string, number>> = { int2: 2, int4: 4, int8: 8 };

function shortened(raw: string): string {
  return raw.length <= 60 ? raw : `${raw.slice(0, 60)}…`;
}

function refuse(raw: string, wanted: string): never {
  throw new UnwritableValue(`is ${shortened(raw)}, which is no ${wanted}`);
}

function textOf(raw: string, wanted: string): string {
  return raw.startsWith('"') ? checkedText(stringOf(raw)) : refuse(raw, wanted);
}

/** A number, or a number in a string: stores without wide integers carry them so. */
function numberOf(raw: string): string {
  return raw.startsWith('"') ? stringOf(raw) : raw;
}

function integer(size: number): Encode {
  const limit = 2 ** (size * 8 - 1);
  return (raw, writer) => {
    const text = numberOf(raw);
    // Fifteen digits fit a double: most integers need no BigInt.
    if (size === 8 && text.length <= 15 && /^-?\d+$/.test(text)) {
      writeInt64(Number(text), writer);
      return;
    }
    const isWhole = /^-?\d+$/.test(text);
    if (!isWhole && !(text !== '' && Number.isSafeInteger(Number(text)))) refuse(raw, 'integer');
    if (size === 8) {
      const value = BigInt(isWhole ? text : Number(text));
      if (BigInt.asIntN(64, value) !== value) refuse(raw, 'integer of 64 bits');
      writer.fixed(8, (bytes, at) => bytes.writeBigInt64BE(value, at));
      return;
    }
    const value = Number(text);
    if (value < -limit || value >= limit) refuse(raw, `integer of ${size * 8} bits`);
    writer.fixed(size, (bytes, at) => bytes.writeIntBE(value, at, size));
  };
}

/** @param value an integer that a double holds exactly */
function writeInt64(value: number, writer: CopyWriter): void {
  writer.fixed(8, (bytes, at) => {
    const high = Math.floor(value / 4_294_967_296);
    bytes.writeInt32BE(high, at);
    bytes.writeUInt32BE(value - high * 4_294_967_296, at + 4);
  });
}

function float(size: 4 | 8): Encode {
  return (raw, writer) => {
    const text = numberOf(raw);
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value)) refuse(raw, 'number');
    const overflows = size === 4 && !Number.isFinite(Math.fround(value));
    if (overflows) refuse(raw, 'number of 32 bits');
    writer.fixed(size, (bytes, at) => {
      if (size === 8) bytes.writeDoubleBE(value, at);
      else bytes.writeFloatBE(value, at);
    });
  };
}

const timestamp: Encode = (raw, writer) => {
  const recent = parseRecent(raw);
  if (recent !== undefined) {
    writeInt64(recent, writer);
    return;
  }
  const micros = raw.startsWith('"') ? parseTimestamp(stringOf(raw)) : undefined;
  if (micros === undefined) refuse(raw, 'ISO 8601 timestamp of microseconds');
  writer.fixed(8, (bytes, at) => bytes.writeBigInt64BE(micros, at));
};

const text: Encode = (raw, writer) => writer.text(textOf(raw, 'text'));

const encoders: Readonly<Record<string, Encode>> = {
  bool: (raw, writer) => {
    if (raw !== 'true' && raw !== 'false') refuse(raw, 'boolean');
    writer.field(Uint8Array.of(raw === 'true' ? 1 : 0));
  },
  int2: integer(2),
  int4: integer(4),
  int8: integer(8),
  float4: float(4),
  float8: float(8),
  numeric: (raw, writer) => writer.field(encodeNumeric(numberOf(raw)) ?? refuse(raw, 'number')),
  text,
  varchar: text,
  bpchar: text,
  uuid: (raw, writer) => {
    const hex = textOf(raw, 'UUID').replaceAll('-', '');
    if (!/^[0-9a-f]{32}$/i.test(hex)) refuse(raw, 'UUID');
    writer.field(Buffer.from(hex, 'hex'));
  },
  timestamp,
  timestamptz: timestamp,
  date: (raw, writer) => {
    const days = raw.startsWith('"') ? parseDate(stringOf(raw)) : undefined;
    if (days === undefined) refuse(raw, 'ISO 8601 date');
    writer.fixed(4, (bytes, at) => bytes.writeInt32BE(days, at));
  },
  bytea: (raw, writer) => {
    const base64 = textOf(raw, 'base64');
    const bytes = Buffer.from(base64, 'base64');
    if (bytes.toString('base64').replace(/=+$/, '') !== base64.replace(/=+$/, '')) refuse(raw, 'base64');
    writer.field(bytes);
  },
  json: (raw, writer) => writer.text(checkedJson(raw)),
  jsonb: writeJsonb,
};

/** `{1,"a\"b",NULL,{...}}` (manual, "Array Value Input"). Objects become the JSON text of a json element. */
function arrayLiteral(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (Array.isArray(value)) return `{${value.map(arrayLiteral).join(',')}}`;
  const plain = typeof value === 'object' && !('isLosslessNumber' in value) ? (stringify(value) ?? '') : String(value);
  return `"${plain.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
