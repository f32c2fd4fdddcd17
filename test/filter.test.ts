import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parse } from 'lossless-json';
import { conditionsOf, type Filter, fieldsMeet, fieldsOf, filterSchema, meets } from '../lib/filter.ts';

const isMet = (filter: unknown, payload: string): boolean => meets(conditionsOf(filterSchema.parse(filter)), payload);

describe('a condition', () => {
  test.each<[unknown, string, boolean]>([
    [{ a: 1 }, '{"a":1}', true],
    [{ a: 1 }, '{"a":1.0}', true],
    [{ a: 1 }, '{"a":10e-1}', true],
    [{ a: 0 }, '{"a":-0}', true],
    [{ a: 1 }, '{"a":"1"}', false],
    [{ a: '1' }, '{"a":1}', false],
    [{ a: true }, '{"a":1}', false],
    [{ a: true }, '{"a":"true"}', false],
    [{ a: false }, '{"a":null}', false],
    [{ a: '' }, '{"a":null}', false],
    [{ a: '' }, '{}', false],
    [{ a: 'é' }, '{"a":"\\u00e9"}', true],
    [{ a: 'é' }, '{"a":"e\\u0301"}', false],
    [{ a: { in: ['x', 2] } }, '{"a":2}', true],
    [{ a: { in: ['x', 2] } }, '{"a":"2"}', false],
    [{ a: { gt: 1 } }, '{"a":1}', false],
    [{ a: { gte: 1 } }, '{"a":1.0}', true],
    [{ a: { lt: 1 } }, '{"a":"0"}', false],
    [{ a: { lt: 1 } }, '{"a":false}', false],
    [{ a: { gt: 0, lte: 2 } }, '{"a":2}', true],
    // Of an open and a closed end the tighter one holds, and where they are the same, the open one.
    [{ a: { gt: 1, gte: 1 } }, '{"a":1}', false],
    [{ a: { gt: 0, gte: 1 } }, '{"a":0.5}', false],
    [{ a: { lt: 3, lte: 2 } }, '{"a":2.5}', false],
    [{ a: 1, b: 2 }, '{"a":1,"b":3}', false],
    [{ a: 1, b: 2 }, '{"b":2,"a":1}', true],
    [{ a: 1 }, '{"a":2,"a":1}', true],
    // Names are names: no path leads into an object.
    [{ 'a.b': 1 }, '{"a":{"b":1}}', false],
    [{ 'a.b': 1 }, '{"a.b":1}', true],
  ])('%j on %s: %j', (filter, payload, expected) => {
    expect(isMet(filter, payload)).toBe(expected);
  });

  test.each<[unknown, string, boolean]>([
    [{ a: 2 }, '{"a":[1,2.0]}', true],
    [{ a: 2 }, '{"a":["2",[2],{"a":2},null]}', false],
    [{ a: 2 }, '{"a":[]}', false],
    [{ a: { gt: 5 } }, '{"a":[1,"9",6]}', true],
    // 1 is below and 9 is above, but neither lies between.
    [{ a: { gt: 4, lt: 6 } }, '{"a":[1,9]}', false],
    [{ a: 2 }, '{"a":{"0":2}}', false],
    [{ '0': 2 }, '[2]', false],
  ])('is met by a list when one element meets it: %j on %s: %j', (filter, payload, expected) => {
    expect(isMet(filter, payload)).toBe(expected);
  });

  test('on a name that every object inherits is met only by a payload that has it', () => {
    for (const name of ['toString', 'constructor', 'hasOwnProperty', 'length']) {
      expect(isMet({ [name]: 'x' }, '{}')).toBe(false);
      expect(isMet({ [name]: 'x' }, `{"${name}":"x"}`)).toBe(true);
    }
  });
});

describe('integers beyond 2^53, which JSON readers round', () => {
  test('are never equal to a number that a filter may hold, though the nearest doubles run together', () => {
    for (const text of ['9007199254740992', '9007199254740993', '-9007199254740993', '18446744073709551615']) {
      expect(isMet({ a: Number.MAX_SAFE_INTEGER }, `{"a":${text}}`)).toBe(false);
      expect(isMet({ a: Number.MIN_SAFE_INTEGER }, `{"a":${text}}`)).toBe(false);
    }
    expect(isMet({ a: Number.MAX_SAFE_INTEGER }, '{"a":9007199254740991}')).toBe(true);
  });

  test('meet ranges as their digits say: comparing as doubles or as 64-bit integers is the same for bounds up to 2^53', () => {
    const near = fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n });
    const bound = fc.oneof(fc.maxSafeInteger(), fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER));
    fc.assert(
      fc.property(near, bound, (value, limit) => {
        expect(isMet({ a: { gt: limit } }, `{"a":${value}}`)).toBe(value > BigInt(limit));
        expect(isMet({ a: { lte: limit } }, `{"a":${value}}`)).toBe(value <= BigInt(limit));
        expect(isMet({ a: limit }, `{"a":${value}}`)).toBe(value === BigInt(limit));
      }),
      { seed: 4, numRuns: 500 },
    );
  });
});

describe('a filter is refused', () => {
  test.each<[string, unknown, string]>([
    ['without fields', {}, 'no field'],
    ['without bounds', { a: {} }, ''],
    ['with a number beyond 2^53 - 1, which was rounded before we saw it', { a: 9007199254740992 }, '2^53'],
    ['with such a bound', { a: { lt: 1e300 } }, '2^53'],
    ['with null, which no record meets', { a: null }, ''],
    ['with a list in place of {in}', { a: [1] }, ''],
    ['with an empty {in}', { a: { in: [] } }, ''],
    ['with a misspelt bound', { a: { gtt: 1 } }, ''],
    ['with half a surrogate pair, which no store can be asked for', { a: '\ud800' }, 'surrogate'],
    [
      'on __proto__, which would be dropped and let every record through',
      JSON.parse('{"__proto__":1,"a":2}'),
      '__proto__',
    ],
  ])('%s', (_, filter, words) => {
    const { error } = filterSchema.safeParse(filter);
    expect(error).toBeDefined();
    expect(JSON.stringify(error?.issues)).toContain(words);
  });
});

const scalars = fc.oneof(
  fc.constantFrom(0, 1, 2, -1, 0.5, 1.5, '', 'a', '1', true, false),
  fc.integer({ min: -3, max: 3 }),
);
const values = fc.oneof(scalars, fc.constant(null), fc.array(fc.oneof(scalars, fc.constant(null)), { maxLength: 3 }));
const payloads = fc.dictionary(fc.constantFrom('a', 'b', 'toString'), values).map((each) => JSON.stringify(each));
const numbers = fc.constantFrom(-1, 0, 0.5, 1, 1.5, 2);
const filters: fc.Arbitrary<Filter> = fc.dictionary(
  fc.constantFrom('a', 'b', 'toString'),
  fc.oneof(
    scalars,
    fc.record({ in: fc.array(scalars, { minLength: 1, maxLength: 3 }) }),
    fc.record({ gt: numbers, lte: numbers }, { requiredKeys: ['gt'] }),
    fc.record({ gte: numbers, lt: numbers }, { requiredKeys: ['lt'] }),
  ),
  { minKeys: 1 },
);

test('means what it says in so many words, for any filter and payload', () => {
  fc.assert(
    fc.property(filters, payloads, (filter, payload) => {
      expect(meets(conditionsOf(filter), payload)).toBe(inWords(filter, payload));
    }),
    { seed: 7, numRuns: 3000 },
  );
});

test('a payload parsed once can be held against any number of filters', () => {
  fc.assert(
    fc.property(fc.array(filters, { maxLength: 4 }), payloads, (asked, payload) => {
      const fields = fieldsOf(payload);
      for (const conditions of [[], ...asked.map(conditionsOf)])
        expect(fieldsMeet(conditions, fields)).toBe(meets(conditions, payload));
    }),
    { seed: 9, numRuns: 500 },
  );
});

/** The definition again, written another way: over all values of a field, with numbers that keep their digits. */
function inWords(filter: Filter, payload: string): boolean {
  const fields = new Map(Object.entries(Object(parse(payload, undefined, { parseNumber: Number }))));
  for (const [name, wanted] of Object.entries(filter)) {
    const found = fields.get(name);
    const elements = Array.isArray(found) ? found : [found];
    const asked = typeof wanted === 'object' ? wanted : { in: [wanted] };
    const fits = elements.filter((element) => {
      if ('in' in asked) return asked.in.filter((each) => Object.is(each, element)).length > 0;
      if (typeof element !== 'number') return false;
      const { gt, gte, lt, lte } = asked;
      if (gt !== undefined && !(element > gt)) return false;
      if (gte !== undefined && element < gte) return false;
      if (lt !== undefined && !(element < lt)) return false;
      return !(lte !== undefined && element > lte);
    });
    if (fits.length === 0) return false;
  }
  return true;
}
