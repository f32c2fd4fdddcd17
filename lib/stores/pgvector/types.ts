import type { FieldSpec, FieldType } from '../../schema.ts';
import type { Column } from './catalog.ts';
import { quoteName } from './names.ts';
import { dateText, timestampText } from './time.ts';

/**
 * PostgreSQL's column types: which FieldType each is, and how a value leaves the server as JSON text. Types with a simple
 * binary form are taken as they are and printed here, which spares the server the work; all others are cast to text there.
 */

/** A value that JSON cannot hold; the reader names record and column. */
export class UnreadableValue extends Error {}

export interface FieldReader {
  /** What is selected for the column. */
  readonly select: string;
  /** JSON text of the value in `bytes` from `at`, `length` bytes long. @throws UnreadableValue */
  decode(bytes: Buffer, at: number, length: number): string;
}

const fieldTypes: Readonly<Record<string, FieldType>> = {
  bool: 'boolean',
  int2: 'integer',
  int4: 'integer',
  int8: 'integer',
  float4: 'float',
  float8: 'float',
  numeric: 'decimal',
  text: 'text',
  varchar: 'text',
  bpchar: 'text',
  uuid: 'uuid',
  timestamp: 'timestamp',
  timestamptz: 'timestamp',
  date: 'date',
  time: 'time',
  bytea: 'bytes',
  json: 'json',
  jsonb: 'json',
};

/** The type a field gets where no PostgreSQL type is known for it. */
export const nativeOf: Readonly<Record<FieldType, string>> = {
  boolean: 'boolean',
  integer: 'bigint',
  float: 'double precision',
  decimal: 'numeric',
  text: 'text',
  uuid: 'uuid',
  timestamp: 'timestamp with time zone',
  date: 'date',
  time: 'time without time zone',
  bytes: 'bytea',
  json: 'jsonb',
  list: 'jsonb',
};

export function fieldOf(column: Column): FieldSpec {
  const type = column.isArray ? 'list' : (fieldTypes[column.base] ?? 'text');
  return { name: column.name, type, nullable: !column.notNull, native: column.native };
}

/** Digits that a double holds exactly (DBL_DIG): decimals of more are strings. */
const doubleDigits = 15;

export function readerOf(column: Column): FieldReader {
  const name = quoteName(column.name);
  if (column.isArray) return { select: `to_json(${name})::text`, decode: utf8 };
  const decode = decoders[column.base];
  if (decode !== undefined) return { select: name, decode };
  if (column.base === 'numeric')
    return { select: `${name}::text`, decode: isShortDecimal(column) ? decimalNumber : quoted };
  return { select: `${name}::text`, decode: quoted };
}

/** How a key column's canonical text is selected and decoded: as a payload's, but never quoted. */
export function keyReaderOf(column: Column): FieldReader {
  const name = quoteName(column.name);
  const decode = keyDecoders[column.base];
  return decode === undefined ? { select: `${name}::text`, decode: utf8 } : { select: name, decode };
}

/** True where a numeric is a number in JSON. numeric(p, s): the modifier is ((p << 16) | s) + 4 (src/backend/utils/adt/numeric.c, make_numeric_typmod). */
export function isShortDecimal({ modifier }: Column): boolean {
  if (modifier < 4) return false;
  const precision = ((modifier - 4) >>> 16) & 0xffff;
  return precision <= doubleDigits;
}

const utf8 = (bytes: Buffer, at: number, length: number): string => bytes.toString('utf8', at, at + length);
const quoted = (bytes: Buffer, at: number, length: number): string => JSON.stringify(utf8(bytes, at, length));

function decimalNumber(bytes: Buffer, at: number, length: number): string {
  const text = bytes.toString('latin1', at, at + length);
  if (/^-?\d/.test(text)) return text;
  throw new UnreadableValue(`is ${text}, which JSON has no number for`);
}

function float(value: number, text: string): string {
  if (!Number.isFinite(value)) throw new UnreadableValue(`is ${value}, which JSON has no number for`);
  return Object.is(value, -0) ? '-0' : text;
}

/** The shortest text that is the same float32 again: nine significant digits always are (FLT_DECIMAL_DIG). */
export function float32Text(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

function uuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** int64 as decimal text, without a BigInt where a double is exact. */
function int64(bytes: Buffer, at: number): string {
  const high = bytes.readInt32BE(at);
  if (high >= -0x1f_ffff && high <= 0x1f_ffff) return String(high * 4_294_967_296 + bytes.readUInt32BE(at + 4));
  return String(bytes.readBigInt64BE(at));
}

/** Infinite timestamps and dates are the type's outermost values. */
const infiniteTimestamps = new Map([
  [0x7fff_ffff_ffff_ffffn, 'infinity'],
  [-0x8000_0000_0000_0000n, '-infinity'],
]);
const infiniteDates = new Map([
  [0x7fff_ffff, 'infinity'],
  [-0x8000_0000, '-infinity'],
]);

function timestamp(bytes: Buffer, at: number): string {
  const micros = bytes.readBigInt64BE(at);
  const infinite = infiniteTimestamps.get(micros);
  if (infinite !== undefined) throw new UnreadableValue(`is ${infinite}, which ISO 8601 has no timestamp for`);
  return `"${timestampText(micros)}"`;
}

function date(bytes: Buffer, at: number): string {
  const days = bytes.readInt32BE(at);
  const infinite = infiniteDates.get(days);
  if (infinite !== undefined) throw new UnreadableValue(`is ${infinite}, which ISO 8601 has no date for`);
  return `"${dateText(days)}"`;
}

type Decode = FieldReader['decode'];

const decoders: Readonly<Record<string, Decode>> = {
  bool: (bytes, at) => (bytes[at] === 1 ? 'true' : 'false'),
  int2: (bytes, at) => String(bytes.readInt16BE(at)),
  int4: (bytes, at) => String(bytes.readInt32BE(at)),
  int8: int64,
  float4: (bytes, at) => {
    const value = bytes.readFloatBE(at);
    return float(value, float32Text(value));
  },
  float8: (bytes, at) => {
    const value = bytes.readDoubleBE(at);
    return float(value, String(value));
  },
  text: quoted,
  varchar: quoted,
  bpchar: quoted,
  uuid: (bytes, at) => `"${uuid(bytes, at)}"`,
  timestamp,
  timestamptz: timestamp,
  date,
  bytea: (bytes, at, length) => `"${bytes.toString('base64', at, at + length)}"`,
  json: utf8,
  // One byte of version, then the text (jsonb_send).
  jsonb: (bytes, at, length) => bytes.toString('utf8', at + 1, at + length),
};

const keyDecoders: Readonly<Record<string, Decode>> = {
  int2: (bytes, at) => String(bytes.readInt16BE(at)),
  int4: (bytes, at) => String(bytes.readInt32BE(at)),
  int8: int64,
  text: utf8,
  varchar: utf8,
  uuid,
};
