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

/** Takes how many numbers were near and not the same. */
export interface NearNumbers {
  nearNumbers: number;
}

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
 * 9007199254740993 and 9007199254740992 are not; null is not the same as an absent field; the last of doubled keys counts.
 * @param near given: doubles that are near count as equal, and are added to it, also where something else differs
 * @throws SyntaxError when a text is not JSON.
 */
export function jsonDifference(expected: string, found: string, near?: NearNumbers): JsonDifference | undefined {
  if (expected === found) return undefined;
  return valueDifference(read(expected), read(found), '', near);
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
  near: NearNumbers | undefined,
): JsonDifference | undefined {
  if (isLosslessNumber(expected) && isLosslessNumber(found)) {
    return isSameNumber(expected.value, found.value, near) ? undefined : differ(path, expected, found);
  }
  if (Array.isArray(expected) && Array.isArray(found)) return arrayDifference(expected, found, path, near);
  if (isObject(expected) && isObject(found)) return objectDifference(expected, found, path, near);
  return expected === found ? undefined : differ(path, expected, found);
}

function isSameNumber(expected: string, found: string, near: NearNumbers | undefined): boolean {
  if (expected === found || canonicalNumber(expected) === canonicalNumber(found)) return true;
  if (near === undefined) return false;
  const [one, other] = [Number(expected), Number(found)];
  const isNear = isRounded(expected, one) && Math.abs(one - other) <= nearness * Math.abs(one);
  if (isNear) near.nearNumbers++;
  return isNear;
}

/**
 * False for integers, which are kept to the last digit: those that are spelled so up to 64 bits, and those up to 2^53 that
 * a double holds too, since they may be ids. 1.7e18 is a double, and nobody counts by one there.
 */
function isRounded(text: string, value: number): boolean {
  if (!Number.isFinite(value) || Number.isSafeInteger(value)) return false;
  return /[.eE]/.test(text) || value >= 2 ** 64 || value < -(2 ** 63);
}

function arrayDifference(
  expected: readonly unknown[],
  found: readonly unknown[],
  path: string,
  near: NearNumbers | undefined,
): JsonDifference | undefined {
  for (let at = 0; at < Math.max(expected.length, found.length); at++) {
    const one = at < expected.length ? expected[at] : absent;
    const other = at < found.length ? found[at] : absent;
    const difference = valueDifference(one, other, `${path}[${at}]`, near);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function objectDifference(
  expected: Readonly<Record<string, unknown>>,
  found: Readonly<Record<string, unknown>>,
  path: string,
  near: NearNumbers | undefined,
): JsonDifference | undefined {
  for (const key of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const one = Object.hasOwn(expected, key) ? expected[key] : absent;
    const other = Object.hasOwn(found, key) ? found[key] : absent;
    const difference = valueDifference(one, other, pathOf(path, key), near);
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
