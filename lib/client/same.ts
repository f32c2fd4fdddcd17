import { isDeepStrictEqual } from 'node:util';

/** From here on a float32 skips integers: 2^24. */
const largestExactInteger = 16_777_216;

/**
 * True when two records are the same value: what a store gives back is held against what it was given. Vectors are equal
 * as float32s, in a typed array or in a list, since stores keep them so; a list's numbers beyond 2^24 and all other numbers
 * must be equal in every digit. A field that is undefined is as good as none. A store that alters what it is given (scales
 * vectors to length 1, say) never gives back the same: then a write is mended once too often, which harms nothing.
 */
export function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (isList(one) && isList(other)) return areSameLists(one, other);
  if (isPlain(one) && isPlain(other)) return areSameObjects(one, other);
  return isDeepStrictEqual(one, other);
}

type List = ArrayLike<unknown>;

function isList(value: unknown): value is List {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function areSameLists(one: List, other: List): boolean {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at++) {
    const [a, b] = [one[at], other[at]];
    if (typeof a === 'number' && typeof b === 'number' ? !areSameFloats(a, b) : !isSame(a, b)) return false;
  }
  return true;
}

function areSameFloats(a: number, b: number): boolean {
  if (a === b || Object.is(a, b)) return true;
  return Math.abs(a) < largestExactInteger && Math.fround(a) === Math.fround(b);
}

type Plain = Readonly<Record<string, unknown>>;

function isPlain(value: unknown): value is Plain {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (a test runner's, a worker's) have an Object.prototype of their own.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function areSameObjects(one: Plain, other: Plain): boolean {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  for (const key of keys) if (!isSame(one[key], other[key])) return false;
  return true;
}
