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
import { dayText, parseTimestamp, timestampText } from '../arrow-cells.ts';
import { fitsDouble, isNumber, stringOf } from '../json-members.ts';

/** JSON values into typed Arrow columns. */

const int64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

/**
 * exact: the column gives the value back as it is. near: filters find it, but its digits or its spelling stand in the
 * JSON column too. none: the column is null.
 */
export type Fit = 'exact' | 'near' | 'none';

export interface ColumnWriter {
  put(at: number, raw: string): Fit;
  finish(): Data;
}

/** A writer for a column of `count` cells; undefined for types of tables made elsewhere that are read, not written. */
export function columnWriter(type: DataType | undefined, count: number): ColumnWriter | undefined {
  if (Type.isBool(type)) return boolWriter(count);
  if (Type.isInt(type) && type.bitWidth === 64 && type.isSigned) return integerWriter(count);
  if (Type.isFloat(type) && type.precision === 2) return doubleWriter(count);
  if (Type.isTimestamp(type) && type.unit === TimeUnit.MICROSECOND && type.timezone === 'UTC')
    return instantWriter(count);
  if (Type.isDate(type) && type.unit === 0) return dayWriter(count);
  if (Type.isBinary(type)) return bytesWriter(count, new Binary(), base64Bytes);
  if (Type.isUtf8(type)) return bytesWriter(count, new Utf8(), utf8Bytes);
  return undefined;
}

interface Parsed<T> {
  readonly value: T;
  readonly isExact: boolean;
}

/** A writer that stores parsed values one by one and knows which are there. */
function writer<T>(
  count: number,
  parse: (raw: string) => Parsed<T> | undefined,
  store: (at: number, value: T) => void,
  finish: (cells: Cells) => Data,
): ColumnWriter {
  const there = new Uint8Array(count);
  return {
    put(at, raw) {
      const parsed = parse(raw);
      if (parsed === undefined) return 'none';
      store(at, parsed.value);
      there[at] = 1;
      return parsed.isExact ? 'exact' : 'near';
    },
    finish: () => finish({ length: count, ...validity(there) }),
  };
}

function boolWriter(count: number): ColumnWriter {
  const data = new Uint8Array(Math.ceil(count / 8));
  const store = (at: number, value: number): void => {
    data[at >> 3] = (data[at >> 3] ?? 0) | (value << (at & 7));
  };
  return writer(count, parseBoolean, store, (cells) => makeData({ type: new Bool(), ...cells, data }));
}

function integerWriter(count: number): ColumnWriter {
  const data = new BigInt64Array(count);
  const store = (at: number, value: bigint): void => {
    data[at] = value;
  };
  return writer(count, parseInteger, store, (cells) => makeData({ type: new Int64(), ...cells, data }));
}

function instantWriter(count: number): ColumnWriter {
  const data = new BigInt64Array(count);
  const type = new TimestampMicrosecond('UTC');
  const store = (at: number, value: bigint): void => {
    data[at] = value;
  };
  return writer(count, parseInstant, store, (cells) => makeData({ type, ...cells, data }));
}

function doubleWriter(count: number): ColumnWriter {
  const data = new Float64Array(count);
  const store = (at: number, value: number): void => {
    data[at] = value;
  };
  return writer(count, parseDouble, store, (cells) => makeData({ type: new Float64(), ...cells, data }));
}

function dayWriter(count: number): ColumnWriter {
  const data = new Int32Array(count);
  const store = (at: number, value: number): void => {
    data[at] = value;
  };
  return writer(count, parseDay, store, (cells) => makeData({ type: new DateDay(), ...cells, data }));
}

function bytesWriter(count: number, type: Binary | Utf8, parse: (text: string) => Buffer | undefined): ColumnWriter {
  const values: (Buffer | undefined)[] = new Array(count);
  return {
    put(at, raw) {
      if (!raw.startsWith('"')) return 'none';
      values[at] = parse(stringOf(raw));
      return values[at] === undefined ? 'none' : 'exact';
    },
    finish: () => bytesData(values, type),
  };
}

function parseBoolean(raw: string): Parsed<number> | undefined {
  return raw === 'true' || raw === 'false' ? { value: raw === 'true' ? 1 : 0, isExact: true } : undefined;
}

function parseInteger(raw: string): Parsed<bigint> | undefined {
  return isInt64(raw) ? { value: BigInt(raw), isExact: true } : undefined;
}

function parseInstant(raw: string): Parsed<bigint> | undefined {
  if (!raw.startsWith('"')) return undefined;
  const text = stringOf(raw);
  const value = parseTimestamp(text);
  if (value === undefined) return undefined;
  return { value, isExact: `${timestampText(value, TimeUnit.MICROSECOND)}Z` === text };
}

/** Numbers, and decimals that stand as text because a double cannot hold all their digits. */
function parseDouble(raw: string): Parsed<number> | undefined {
  const text = raw.startsWith('"') ? stringOf(raw) : raw;
  const value = Number(text);
  if (!isNumber(text) || !Number.isFinite(value)) return undefined;
  return { value, isExact: text === raw && fitsDouble(raw) };
}

function parseDay(raw: string): Parsed<number> | undefined {
  if (!/^"\d{4}-\d\d-\d\d"$/.test(raw)) return undefined;
  const value = Date.parse(`${stringOf(raw)}T00:00:00Z`) / 86_400_000;
  return Number.isInteger(value) && dayText(value) === stringOf(raw) ? { value, isExact: true } : undefined;
}

/** True when the column's value `there` is what `put` made of `raw`, so nobody has changed the column since. */
export function isNear(there: string, raw: string): boolean {
  const number = parseDouble(raw);
  if (number !== undefined) return Number(there) === number.value;
  const instant = parseInstant(raw);
  return instant !== undefined && parseInstant(there)?.value === instant.value;
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

interface Cells {
  readonly length: number;
  readonly nullCount: number;
  readonly nullBitmap: Uint8Array;
}

function validity(there: Uint8Array): Omit<Cells, 'length'> {
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

/** True for an id that a table of integer ids can have, in the one spelling that it is read back in: 7, never 007. */
export function isIntegerId(id: string): boolean {
  return /^(?:0|-?[1-9]\d*)$/.test(id) && isInt64(id);
}
