import { isUtf8 } from 'node:buffer';
import { type Data, DataType, DateUnit, TimeUnit } from 'apache-arrow';
import { joinObject, stringOf } from './json-members.ts';

/**
 * One value of an Arrow column as JSON text. Values are taken from the buffers, because Arrow's own getters turn
 * timestamps into milliseconds and decimals into words.
 */

/** The JSON text of value `index`; null where it is null. @throws RangeError for what JSON or this file has no form for. */
export function cellJson(data: Data, index: number): string | null {
  if (!isValid(data, index)) return null;
  const { type } = data;
  if (DataType.isDictionary(type)) {
    const at = Number(rawValue(data, index));
    return data.dictionary === undefined ? null : chunkedJson(data.dictionary.data, at);
  }
  if (DataType.isBool(type)) {
    const at = data.offset + index;
    return ((data.values[at >> 3] >> (at & 7)) & 1) === 1 ? 'true' : 'false';
  }
  if (DataType.isInt(type)) return String(rawValue(data, index));
  if (DataType.isFloat(type))
    return floatJson(type.precision === 0 ? halfToFloat(data, index) : Number(rawValue(data, index)));
  if (DataType.isDecimal(type)) return decimalJson(data, index, type.scale, type.precision, type.bitWidth);
  return stringJson(data, index) ?? nestedJson(data, index);
}

/** Of the types that stand as a JSON string; undefined for others. */
function stringJson(data: Data, index: number): string | undefined {
  const { type } = data;
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) return JSON.stringify(textOf(data, index));
  if (DataType.isBinary(type) || DataType.isLargeBinary(type))
    return JSON.stringify(bytesOf(data, index).toString('base64'));
  if (DataType.isFixedSizeBinary(type)) {
    const start = (data.offset + index) * type.byteWidth;
    return JSON.stringify(Buffer.from(data.values.subarray(start, start + type.byteWidth)).toString('base64'));
  }
  if (DataType.isTimestamp(type)) {
    const zone = type.timezone === null || type.timezone === undefined ? '' : 'Z';
    return JSON.stringify(`${timestampText(BigInt(rawValue(data, index)), type.unit)}${zone}`);
  }
  if (DataType.isDate(type)) return JSON.stringify(dateText(data, index, type.unit));
  if (DataType.isTime(type)) return JSON.stringify(timeText(BigInt(rawValue(data, index)), type.unit));
  if (DataType.isDuration(type)) return JSON.stringify(durationText(BigInt(rawValue(data, index)), type.unit));
  return undefined;
}

/** One Buffer a column: one a value took longer than the values. */
const buffers = new WeakMap<Data, Buffer>();

function textOf(data: Data, index: number): string {
  let bytes = buffers.get(data);
  if (bytes === undefined) {
    const values: Uint8Array = data.values;
    bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    buffers.set(data, bytes);
  }
  const text = bytes.toString('utf8', Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
  return text.includes('\ufffd') ? utf8Of(bytesOf(data, index)) : text;
}

/** @throws RangeError for bytes that are no UTF-8: what they mean is lost once they are read as such */
export function utf8Of(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  // What stands for bytes that are none may also be a character of the text, which is rare enough to look again.
  if (text.includes('\ufffd') && !isUtf8(bytes)) throw new RangeError('its text is no UTF-8');
  return text;
}

/** Arrow's validity: no bitmap means that all are there. */
export function isValid(data: Data, index: number): boolean {
  if (DataType.isNull(data.type)) return false;
  if (data.nullCount === 0 || data.nullBitmap === undefined || data.nullBitmap.length === 0) return true;
  const at = data.offset + index;
  return (((data.nullBitmap[at >> 3] ?? 0) >> (at & 7)) & 1) === 1;
}

/** The microseconds since 1970 of an ISO 8601 text with a zone, finer digits cut off; undefined for any other text. */
export function parseTimestamp(text: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (match === null) return undefined;
  const seconds = Date.parse(`${match[1]}T${match[2]}${match[4]}`) / 1000;
  if (!Number.isFinite(seconds)) return undefined;
  return BigInt(seconds) * 1_000_000n + BigInt((match[3] ?? '').slice(0, 6).padEnd(6, '0'));
}

/** A timestamp without its zone, with all decimals of its unit unless they are zeros: as our PostgreSQL store prints it. */
export function timestampText(value: bigint, unit: TimeUnit): string {
  const digits = decimalsOf(unit);
  const [seconds, fraction] = floorDivide(value, 10n ** BigInt(digits));
  const iso = new Date(Number(seconds) * 1000).toISOString().slice(0, -5);
  return iso + fractionText(fraction, digits);
}

export function dayText(days: number): string {
  return new Date(days * 86_400_000).toISOString().slice(0, -14);
}

function nestedJson(data: Data, index: number): string {
  const { type } = data;
  if (DataType.isList(type))
    return listJson(data, Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
  if (DataType.isFixedSizeList(type)) {
    const at = (data.offset + index) * type.listSize;
    return listJson(data, at, at + type.listSize);
  }
  if (DataType.isStruct(type)) {
    return joinObject(
      type.children.map((field, at) => [field.name, cellJson(child(data, at), data.offset + index) ?? 'null']),
    );
  }
  if (DataType.isMap(type))
    return mapJson(data, Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
  throw new RangeError(`a value of Arrow type ${type} has no form in JSON; write the column as text`);
}

/** An object, whose names are the keys. @throws RangeError for a key that is there twice, or is neither text nor a number */
function mapJson(data: Data, from: number, to: number): string {
  const entries = child(data, 0);
  const members = new Map<string, string>();
  for (let at = from; at < to; at++) {
    const key = cellJson(child(entries, 0), at) ?? 'null';
    if (/^[[{n]/.test(key)) throw new RangeError(`a map with the key ${key} has no form in JSON`);
    const name = key.startsWith('"') ? stringOf(key) : key;
    if (members.has(name)) throw new RangeError(`a map holds the key ${key} twice, which JSON has no form for`);
    members.set(name, cellJson(child(entries, 1), at) ?? 'null');
  }
  return joinObject(members);
}

function listJson(data: Data, from: number, to: number): string {
  const items: string[] = [];
  for (let at = from; at < to; at++) items.push(cellJson(child(data, 0), at) ?? 'null');
  return `[${items.join(',')}]`;
}

function child(data: Data, at: number): Data {
  const found = data.children[at];
  if (found === undefined) throw new RangeError(`Arrow type ${data.type} lacks child ${at}`);
  return found;
}

function chunkedJson(chunks: readonly Data[], index: number): string | null {
  let at = index;
  for (const chunk of chunks) {
    if (at < chunk.length) return cellJson(chunk, at);
    at -= chunk.length;
  }
  return null;
}

/** The number as it lies in the buffer; Arrow's slices of a buffer already begin at the offset. */
function rawValue(data: Data, index: number): number | bigint {
  return data.values[index];
}

function floatJson(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is no JSON number`);
  // JSON.stringify leaves out the sign of a zero, and -0 without a point is an integer to Python, which has none.
  return Object.is(value, -0) ? '-0.0' : JSON.stringify(value);
}

function halfToFloat(data: Data, index: number): number {
  return new Float16Array(data.values.buffer, data.values.byteOffset, data.values.length)[index] ?? 0;
}

function bytesOf(data: Data, index: number): Buffer {
  const bytes: Uint8Array = data.values;
  const start = Number(data.valueOffsets[index]);
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, Number(data.valueOffsets[index + 1]) - start);
}

function decimalJson(data: Data, index: number, scale: number, precision: number, bitWidth: number): string {
  const words: Uint32Array = data.values;
  const stride = bitWidth / 32;
  let value = 0n;
  for (let word = stride - 1; word >= 0; word--) value = (value << 32n) | BigInt(words[index * stride + word] ?? 0);
  const signed = BigInt.asIntN(bitWidth, value);
  const digits = String(signed < 0n ? -signed : signed).padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  const text = `${signed < 0n ? '-' : ''}${whole}${scale > 0 ? `.${digits.slice(digits.length - scale)}` : ''}`;
  // Up to 15 digits a double holds any decimal exactly; FieldType's documentation draws the line there.
  return precision <= 15 ? text : JSON.stringify(text);
}

/** ISO 8601, in seconds alone: a duration of Arrow knows no days, which are not all of 24 hours. PT-1.5S is a second and a half back. */
function durationText(value: bigint, unit: TimeUnit): string {
  const digits = decimalsOf(unit);
  const scale = 10n ** BigInt(digits);
  const size = value < 0n ? -value : value;
  const fraction = fractionText(size % scale, digits).replace(/0+$/, '');
  return `PT${value < 0n ? '-' : ''}${size / scale}${fraction}S`;
}

function dateText(data: Data, index: number, unit: DateUnit): string {
  const value = Number(rawValue(data, index));
  return dayText(unit === DateUnit.DAY ? value : Math.floor(value / 86_400_000));
}

function timeText(value: bigint, unit: TimeUnit): string {
  return timestampText(value, unit).slice('1970-01-01T'.length);
}

function decimalsOf(unit: TimeUnit): number {
  if (unit === TimeUnit.SECOND) return 0;
  if (unit === TimeUnit.MILLISECOND) return 3;
  return unit === TimeUnit.MICROSECOND ? 6 : 9;
}

function floorDivide(value: bigint, by: bigint): readonly [bigint, bigint] {
  const rest = ((value % by) + by) % by;
  return [(value - rest) / by, rest];
}

function fractionText(fraction: bigint, digits: number): string {
  return fraction === 0n ? '' : `.${String(fraction).padStart(digits, '0')}`;
}
