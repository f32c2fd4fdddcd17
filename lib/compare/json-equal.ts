import { isLosslessNumber, parse } from 'lossless-json';

/** Where two JSON values part, for people: `price`, expected `1`, found `"1"`; `nothing` stands for an absent field. */
export interface JsonDifference {
  /** From the root: `tags[2].name`; a key with other characters stands as `["a.b"]`; '' is the root. */
  readonly path: string;
  readonly expected: string;
  readonly found: string;
}

/** near: a store that hands out doubles with other digits from the fifteenth on had them. */
export type Doubles = 'kept' | 'near';

/**
 * How far a double may be from what was written, relative to it. serde_json without `float_roundtrip` reads a tenth of all
 * doubles of 16 and 17 digits one or two units beside; Qdrant reads and writes a payload again whenever it rebuilds a segment.
 * Simulated (600,000 doubles of every size, up to 21 times): 4.0e-15 at most. Fourteen digits are always the same.
 */
const nearness = 1e-14;

/** What stands for a field or element that is not there; null is a value and differs from it. */
const absent = Symbol('absent');

/**
 * The first difference between two JSON texts, or undefined when they are equal as JSON values: order of keys and white
 * space do not count; numbers are compared by value with all their digits, so 1, 1.0, 1e0 and 10e-1 are equal while
 * 9007199254740993 and 9007199254740992 are not, `doubles` aside; null is not the same as an absent field; the last of doubled keys counts.
 * @throws SyntaxError when a text is not JSON.
 */
export function jsonDifference(expected: string, found: string, doubles: Doubles = 'kept'): JsonDifference | undefined {
  if (expected === found) return undefined;
  return valueDifference(read(expected), read(found), '', doubles);
}

/** True when two JSON texts are the same value, as `jsonDifference` says. @throws SyntaxError when a text is not JSON. */
export function jsonEqual(one: string, other: string): boolean {
  return jsonDifference(one, other) === undefined;
}

/**
 * A JSON number in a form that is the same for all spellings of its value: sign, digits without zeros at either end, and
 * the power of ten. Digits are never rounded; exponents may be of any size.
 */
export function canonicalNumber(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) return text;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length);
  return `${sign}${significant}e${power}`;
}

function read(text: string): unknown {
  return parse(text, undefined, { onDuplicateKey: ({ newValue }) => newValue });
}

function valueDifference(
  expected: unknown,
  found: unknown,
  path: string,
  doubles: Doubles,
): JsonDifference | undefined {
  if (isLosslessNumber(expected) && isLosslessNumber(found)) {
    return isSameNumber(expected.value, found.value, doubles) ? undefined : differ(path, expected, found);
  }
  if (Array.isArray(expected) && Array.isArray(found)) return arrayDifference(expected, found, path, doubles);
  if (isObject(expected) && isObject(found)) return objectDifference(expected, found, path, doubles);
  return expected === found ? undefined : differ(path, expected, found);
}

function isSameNumber(expected: string, found: string, doubles: Doubles): boolean {
  if (expected === found || canonicalNumber(expected) === canonicalNumber(found)) return true;
  if (doubles === 'kept') return false;
  const [one, other] = [Number(expected), Number(found)];
  // Integers are kept to the last digit, so they are never near. From 2^64 on even they are stored as doubles.
  const isDouble = !Number.isInteger(one) || Math.abs(one) >= 2 ** 64;
  return isDouble && Number.isFinite(one) && Math.abs(one - other) <= nearness * Math.abs(one);
}

function arrayDifference(
  expected: readonly unknown[],
  found: readonly unknown[],
  path: string,
  doubles: Doubles,
): JsonDifference | undefined {
  for (let at = 0; at < Math.max(expected.length, found.length); at++) {
    const one = at < expected.length ? expected[at] : absent;
    const other = at < found.length ? found[at] : absent;
    const difference = valueDifference(one, other, `${path}[${at}]`, doubles);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function objectDifference(
  expected: Readonly<Record<string, unknown>>,
  found: Readonly<Record<string, unknown>>,
  path: string,
  doubles: Doubles,
): JsonDifference | undefined {
  for (const key of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const one = Object.hasOwn(expected, key) ? expected[key] : absent;
    const other = Object.hasOwn(found, key) ? found[key] : absent;
    const difference = valueDifference(one, other, pathOf(path, key), doubles);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value);
}

function pathOf(path: string, key: string): string {
  if (!/^[\p{L}_$][\p{L}\p{N}_$-]*$/u.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === '' ? key : `${path}.${key}`;
}

function differ(path: string, expected: unknown, found: unknown): JsonDifference {
  return { path, expected: show(expected), found: show(found) };
}

/** A value as people read it, at most about 60 characters. */
function show(value: unknown): string {
  if (value === absent) return 'nothing';
  if (isLosslessNumber(value)) return shorten(value.value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isObject(value)) return `an object with ${shorten(Object.keys(value).join(', ')) || 'no fields'}`;
  return shorten(JSON.stringify(value));
}

/** At most 60 characters, with the number of those left out. */
export function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 45)}… (${text.length} characters)`;
}
