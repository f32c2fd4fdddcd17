import {
  Binary,
  Bool,
  type Data,
  type DataType,
  DateDay,
  Float64,
  Int64,
  makeData,
  TimestampMicrosecond,
  TimeUnit,
  DataType as Type,
  Utf8,
} from 'apache-arrow';
import { RecordRefused } from '../errors.ts';
import { dayText, parseTimestamp, timestampText } from './arrow-cells.ts';
import { fitsDouble, isNumber, stringOf } from './json-members.ts';

/** JSON values into typed Arrow columns: only those that the column gives back exactly. */

const int64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

export interface ColumnWriter {
  /** Stores the JSON value, if the column gives it back exactly; false if not. */
  put(at: number, raw: string): boolean;
  finish(): Data;
}

/** A writer for a column of `count` cells of the table's type; one that takes nothing for types that are only read. */
export function columnWriter(type: DataType | undefined, count: number): ColumnWriter {
  if (Type.isBool(type)) return boolWriter(count);
  if (Type.isInt(type) && type.bitWidth === 64 && type.isSigned) return bigintWriter(count, new Int64(), parseInteger);
  if (Type.isFloat(type) && type.precision === 2) return doubleWriter(count);
  if (Type.isTimestamp(type) && type.unit === TimeUnit.MICROSECOND && type.timezone === 'UTC')
    return bigintWriter(count, new TimestampMicrosecond('UTC'), parseInstant);
  if (Type.isDate(type) && type.unit === 0) return dayWriter(count);
  if (Type.isBinary(type)) return bytesWriter(count, new Binary(), base64Bytes);
  if (Type.isUtf8(type)) return bytesWriter(count, new Utf8(), utf8Bytes);
  // Any other type of a table that was not made here.
  return { put: () => false, finish: () => makeNulls(type, count) };
}

function makeNulls(type: DataType | undefined, count: number): Data {
  throw new RecordRefused(
    `columns of type ${type} are read, not written; ${count} records were to be written. Write to a table that vecferry makes`,
  );
}

function boolWriter(count: number): ColumnWriter {
  const values = new Uint8Array(Math.ceil(count / 8));
  const there = new Uint8Array(count);
  return {
    put(at, raw) {
      if (raw !== 'true' && raw !== 'false') return false;
      if (raw === 'true') values[at >> 3] = (values[at >> 3] ?? 0) | (1 << (at & 7));
      there[at] = 1;
      return true;
    },
    finish: () => makeData({ type: new Bool(), length: count, ...validity(there), data: values }),
  };
}

function bigintWriter(
  count: number,
  type: Int64 | TimestampMicrosecond,
  parse: (raw: string) => bigint | undefined,
): ColumnWriter {
  const values = new BigInt64Array(count);
  const there = new Uint8Array(count);
  return {
    put(at, raw) {
      const value = parse(raw);
      if (value === undefined) return false;
      values[at] = value;
      there[at] = 1;
      return true;
    },
    finish: () =>
      type instanceof Int64
        ? makeData({ type, length: count, ...validity(there), data: values })
        : makeData({ type, length: count, ...validity(there), data: values }),
  };
}

function parseInteger(raw: string): bigint | undefined {
  return isInt64(raw) ? BigInt(raw) : undefined;
}

function parseInstant(raw: string): bigint | undefined {
  if (!raw.startsWith('"')) return undefined;
  const text = stringOf(raw);
  const value = parseTimestamp(text);
  return value !== undefined && `${timestampText(value, TimeUnit.MICROSECOND)}Z` === text ? value : undefined;
}

function doubleWriter(count: number): ColumnWriter {
  const values = new Float64Array(count);
  const there = new Uint8Array(count);
  return {
    put(at, raw) {
      if (!isNumber(raw) || !fitsDouble(raw)) return false;
      values[at] = Number(raw);
      there[at] = 1;
      return true;
    },
    finish: () => makeData({ type: new Float64(), length: count, ...validity(there), data: values }),
  };
}

function dayWriter(count: number): ColumnWriter {
  const values = new Int32Array(count);
  const there = new Uint8Array(count);
  return {
    put(at, raw) {
      if (!/^"\d{4}-\d\d-\d\d"$/.test(raw)) return false;
      const days = Date.parse(`${stringOf(raw)}T00:00:00Z`) / 86_400_000;
      if (!Number.isInteger(days) || dayText(days) !== stringOf(raw)) return false;
      values[at] = days;
      there[at] = 1;
      return true;
    },
    finish: () => makeData({ type: new DateDay(), length: count, ...validity(there), data: values }),
  };
}

function bytesWriter(count: number, type: Binary | Utf8, parse: (text: string) => Buffer | undefined): ColumnWriter {
  const values: (Buffer | undefined)[] = new Array(count);
  return {
    put(at, raw) {
      if (!raw.startsWith('"')) return false;
      values[at] = parse(stringOf(raw));
      return values[at] !== undefined;
    },
    finish: () => bytesData(values, type),
  };
}

function base64Bytes(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

function utf8Bytes(text: string): Buffer | undefined {
  return text.isWellFormed() ? Buffer.from(text) : undefined;
}

export function textData(texts: readonly (string | null)[]): Data {
  return bytesData(
    texts.map((text) => (text === null ? undefined : Buffer.from(text))),
    new Utf8(),
  );
}

function bytesData(values: readonly (Buffer | undefined)[], type: Binary | Utf8): Data {
  const valueOffsets = new Int32Array(values.length + 1);
  const there = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    valueOffsets[at + 1] = (valueOffsets[at] ?? 0) + (value?.length ?? 0);
    if (value !== undefined) there[at] = 1;
  }
  const data = Buffer.concat(values.filter((value) => value !== undefined));
  const common = { length: values.length, ...validity(there), valueOffsets, data };
  return type instanceof Utf8 ? makeData({ type, ...common }) : makeData({ type, ...common });
}

function validity(there: Uint8Array): { readonly nullCount: number; readonly nullBitmap: Uint8Array } {
  return {
    nullCount: there.reduce((sum, each) => sum + 1 - each, 0),
    nullBitmap: bitmap(there.length, (at) => there[at] === 1),
  };
}

/** Arrow's validity bitmap. */
export function bitmap(count: number, isSet: (at: number) => boolean): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (let at = 0; at < count; at++) if (isSet(at)) bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  return bits;
}

export function isInt64(text: string): boolean {
  if (!/^-?\d+$/.test(text)) return false;
  const value = BigInt(text);
  return value >= int64.min && value <= int64.max;
}
