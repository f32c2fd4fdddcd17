import type { Condition, Scalar } from '../../filter.ts';
import type { Column, Layout } from './catalog.ts';
import {
  anyOf,
  booleansIn,
  isStorable,
  jsonbCondition,
  jsonCondition,
  numbersIn,
  payloadCondition,
  textsIn,
} from './filter-json.ts';
import { quoteName, quoteText } from './names.ts';
import { leastInteger } from './rounding.ts';
import { dateText, parseDate, parseTimestamp, timestampText } from './time.ts';
import { float32Text, isShortDecimal } from './types.ts';

/**
 * Conditions as SQL that finds the very records whose payload, as read.ts reads it, meets them: the column's value is
 * compared as the JSON that it becomes. Ordinary columns are compared as they are, so that an index on one serves.
 */

/** One SQL condition a field; `false` where no record can meet it. */
export function filterSql(layout: Layout, conditions: readonly Condition[]): readonly string[] {
  return conditions.map((condition) => {
    const { field } = condition;
    if (layout.payload !== undefined) return payloadCondition(layout.payload, condition);
    const column = layout.fields.find(({ name }) => name === field);
    // A field without a column is in no payload; neither are the key and the vectors.
    return column === undefined ? 'false' : columnCondition(column, condition);
  });
}

function columnCondition(column: Column, condition: Condition): string {
  if (column.isArray) return arrayCondition(column, condition);
  const name = quoteName(column.name);
  const { base } = column;
  if (base === 'json') return jsonCondition(name, condition);
  if (base === 'jsonb') return jsonbCondition(name, condition);
  const integers = integerLimits[base];
  if (integers !== undefined) return integerCondition(name, integers, condition);
  if (base === 'float4') return floatCondition(name, float4, condition);
  if (base === 'float8') return floatCondition(name, float8, condition);
  if (base === 'numeric' && isShortDecimal(column)) return decimalCondition(name, condition);
  // What is left is no number in JSON, and only numbers lie between bounds.
  if (condition.kind === 'range') return 'false';
  if (base === 'bool') {
    const wanted = booleansIn(condition.values);
    return wanted.length === 0 ? 'false' : `${name} IN (${wanted.join(', ')})`;
  }
  const texts = textsIn(condition.values).filter(isStorable);
  if (base === 'text' || base === 'varchar') return textCondition(column, texts);
  const compare = textForms[base] ?? ((value: string) => sameText(name, value));
  return anyOf(texts.map((value) => compare(value, name)).filter((sql) => sql !== undefined));
}

const list = (texts: readonly string[]): string => texts.map(quoteText).join(', ');

function textCondition(column: Column, texts: readonly string[]): string {
  if (texts.length === 0) return 'false';
  const name = quoteName(column.name);
  const plain = `${name} IN (${list(texts)})`;
  // A collation may call texts equal that are not the same, such as 'a' and 'A'.
  return column.isDeterministic ? plain : `(${plain} AND ${name} COLLATE "C" IN (${list(texts)}))`;
}

const sameText = (name: string, value: string): string => `${name}::text COLLATE "C" = ${quoteText(value)}`;

/** undefined: no value of the type has this text. */
type TextForm = (value: string, name: string) => string | undefined;

/** A text that the type reads, and prints back as it is only when it is the same. */
const withText =
  (type: string, form: RegExp): TextForm =>
  (value, name) =>
    form.test(value) ? `(${name} = ${quoteText(value)}::${type} AND ${sameText(name, value)})` : sameText(name, value);

/** Types whose text in JSON is another than PostgreSQL's own, or that an index serves. */
const textForms: Readonly<Record<string, TextForm>> = {
  // Trailing blanks are insignificant to the operator, and in the payload.
  bpchar: (value, name) =>
    `(${name} = ${quoteText(value)}::bpchar AND octet_length(${name}) = ${Buffer.byteLength(value)} AND ${name} COLLATE "C" = ${quoteText(value)}::bpchar)`,
  uuid: (value, name) =>
    /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value) ? `${name} = ${quoteText(value)}::uuid` : undefined,
  // Longer ones than a numeric may have are left to the comparison of texts.
  numeric: withText('numeric', /^-?\d{1,500}(\.\d{1,500})?$/),
  time: withText('time', /^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?$/),
  timestamp: (value, name) => timestampForm(value, name, 'timestamp'),
  timestamptz: (value, name) => timestampForm(value, name, 'timestamptz'),
  date: (value, name) => {
    const days = parseDate(value);
    if (days === undefined || days < firstDay || days >= endDay || dateText(days) !== value) return undefined;
    return `${name} = ${quoteText(serverDate(value, ''))}::date`;
  },
  bytea: (value, name) => {
    const bytes = Buffer.from(value, 'base64');
    return bytes.toString('base64') === value ? `${name} = '\\x${bytes.toString('hex')}'::bytea` : undefined;
  },
};

/** What the types hold, from 2000-01-01 on (src/include/datatype/timestamp.h: MIN_TIMESTAMP, END_TIMESTAMP and of dates the Julian days). */
const [firstMicros, endMicros] = [-211_813_488_000_000_000n, 9_223_371_331_200_000_000n];
const [firstDay, endDay] = [-2_451_545, 2_145_031_949];

function timestampForm(value: string, name: string, type: string): string | undefined {
  const micros = parseTimestamp(value);
  if (micros === undefined || micros < firstMicros || micros >= endMicros) return undefined;
  if (timestampText(micros) !== value) return undefined;
  const [date = '', time = ''] = value.split('T');
  return `${name} = ${quoteText(serverDate(date, ` ${time.replace('Z', '+00')}`))}::${type}`;
}

/** ISO's year 0 is PostgreSQL's 1 BC, and its years have no sign. */
function serverDate(iso: string, time: string): string {
  const [, year = '', rest = ''] = /^([+-]?\d+)(-.*)$/.exec(iso) ?? [];
  const number = Number(year);
  return number > 0
    ? `${String(number).padStart(4, '0')}${rest}${time}`
    : `${String(1 - number).padStart(4, '0')}${rest}${time} BC`;
}

interface Limits {
  readonly min: bigint;
  readonly max: bigint;
}
const limitsOf = (bits: bigint): Limits => ({ min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n });
const integerLimits: Readonly<Record<string, Limits>> = {
  int2: limitsOf(16n),
  int4: limitsOf(32n),
  int8: limitsOf(64n),
};

/** Beyond 2^53 several integers are one double, and each of them meets the condition. */
function integerCondition(name: string, limits: Limits, condition: Condition): string {
  const between = (isFirst: (double: number) => boolean, isPast: (double: number) => boolean): string | undefined => {
    const first = leastInteger(limits, isFirst);
    const past = leastInteger(limits, isPast);
    const last = past === undefined ? limits.max : past - 1n;
    if (first === undefined || last < first) return undefined;
    const literal = (value: bigint): string => `'${value}'::int8`;
    return first === last ? `${name} = ${literal(first)}` : `${name} BETWEEN ${literal(first)} AND ${literal(last)}`;
  };
  if (condition.kind === 'in') {
    const ranges = numbersIn(condition.values).map((value) =>
      between(
        (double) => double >= value,
        (double) => double > value,
      ),
    );
    return anyOf(ranges.filter((sql) => sql !== undefined));
  }
  const { from, to } = condition;
  return (
    between(
      (double) => from === undefined || (from.isOpen ? double > from.value : double >= from.value),
      (double) => to !== undefined && (to.isOpen ? double >= to.value : double > to.value),
    ) ?? 'false'
  );
}

interface Floats {
  readonly type: string;
  /** The nearest value of the type. */
  readonly round: (value: number) => number;
  /** What the payload says of such a value. */
  readonly told: (rounded: number) => number;
}
const float8: Floats = { type: 'float8', round: (value) => value, told: (value) => value };
const float4: Floats = {
  type: 'float4',
  round: Math.fround,
  told: (value) => (Number.isFinite(value) ? Number(float32Text(value)) : value),
};

/**
 * A value's text in the payload is nearer to it than to any other value of the type, so that only the one which a bound is
 * rounded to has to be looked at by its text; those above and below it lie above and below the bound.
 */
function floatCondition(name: string, { type, round, told }: Floats, condition: Condition): string {
  const literal = (value: number): string => `'${value}'::${type}`;
  if (condition.kind === 'in') {
    const found = numbersIn(condition.values).filter((value) => told(round(value)) === value);
    return found.length === 0 ? 'false' : `${name} IN (${found.map((value) => literal(round(value))).join(', ')})`;
  }
  const { from, to } = condition;
  const low = (): string => {
    // Infinity and NaN, which PostgreSQL orders above it, are in no payload.
    if (from === undefined) return `${name} > '-Infinity'::${type}`;
    const rounded = round(from.value);
    const isIn = from.isOpen ? told(rounded) > from.value : told(rounded) >= from.value;
    return `${name} ${isIn ? '>=' : '>'} ${literal(rounded)}`;
  };
  const high = (): string => {
    if (to === undefined) return `${name} < 'Infinity'::${type}`;
    const rounded = round(to.value);
    const isIn = to.isOpen ? told(rounded) < to.value : told(rounded) <= to.value;
    return `${name} ${isIn ? '<=' : '<'} ${literal(rounded)}`;
  };
  return `(${low()} AND ${high()})`;
}

/**
 * Decimals of up to 15 digits are doubles one to one and in the same order (DBL_DIG), so they compare with a bound as with
 * its shortest text.
 */
function decimalCondition(name: string, condition: Condition): string {
  const literal = (value: number): string => `'${value}'::numeric`;
  if (condition.kind === 'in') {
    const wanted = numbersIn(condition.values);
    return wanted.length === 0 ? 'false' : `${name} IN (${wanted.map(literal).join(', ')})`;
  }
  const { from, to } = condition;
  const low = from === undefined ? [] : [`${name} ${from.isOpen ? '>' : '>='} ${literal(from.value)}`];
  // PostgreSQL orders NaN, which is in no payload, above all numbers.
  const high = to === undefined ? `${name} < 'NaN'::numeric` : `${name} ${to.isOpen ? '<' : '<='} ${literal(to.value)}`;
  return `(${[...low, high].join(' AND ')})`;
}

/** A list in the payload. Elements of these types can be asked for with the operator that a GIN index serves. */
function arrayCondition(column: Column, condition: Condition): string {
  const name = quoteName(column.name);
  const elements =
    condition.kind === 'in' && column.isDeterministic ? elementsOf(column.base, condition.values) : undefined;
  if (elements === undefined) {
    // jsonb has no place for some of what json holds.
    return column.base === '_json'
      ? jsonCondition(`to_json(${name})`, condition)
      : jsonbCondition(`to_jsonb(${name})`, condition);
  }
  if (elements.length === 0) return 'false';
  // The elements of a list of lists are lists.
  return `(${name} && ARRAY[${list(elements)}]::${column.type} AND array_ndims(${name}) = 1)`;
}

/** The values that elements of the type can have, as texts; undefined: ask in JSON. */
function elementsOf(base: string, values: readonly Scalar[]): readonly string[] | undefined {
  if (base === '_text' || base === '_varchar') return textsIn(values).filter(isStorable);
  const limits = integerLimits[base.slice(1)];
  if (limits === undefined || !base.startsWith('_')) return undefined;
  const whole = numbersIn(values).filter(Number.isInteger);
  if (!whole.every(Number.isSafeInteger)) return undefined;
  return whole.filter((value) => value >= limits.min && value <= limits.max).map((value) => String(BigInt(value)));
}
