import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalNumber, jsonDifference, jsonEqual } from '../../lib/compare/json-equal.ts';

/** Rewrites a value as other JSON text of the same value: keys shuffled, white space, other spellings of numbers. */
function respell(value: unknown): string {
  if (Array.isArray(value)) return `[ ${value.map(respell).join(' ,\n')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).toReversed();
    return `{\t${fields.map(([key, each]) => `${escaped(key)} : ${respell(each)}`).join(' , ')}}`;
  }
  if (typeof value === 'number')
    return Number.isInteger(value) && Math.abs(value) < 1e15 ? `${value}.00e+0` : `${value}`;
  return typeof value === 'string' ? escaped(value) : JSON.stringify(value);
}

function escaped(text: string): string {
  return `"${[...Array(text.length).keys()].map((i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`;
}

/** Every JSON value with one leaf or key changed. */
function mutate(value: unknown, pick: number): unknown {
  if (Array.isArray(value) && value.length > 0) {
    const at = pick % value.length;
    return value.map((each, i) => (i === at ? mutate(each, pick >> 2) : each));
  }
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    const entries = Object.entries(value);
    const at = pick % entries.length;
    return Object.fromEntries(
      entries.map(([key, each], i) => (i === at ? [key, mutate(each, pick >> 2)] : [key, each])),
    );
  }
  return value === 'changed' ? 'changed again' : 'changed';
}

describe('JSON values', () => {
  test('are equal however they are spelt, because stores print keys and numbers each in their own way', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        expect(jsonDifference(JSON.stringify(value), respell(value))).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  test('are different when any one leaf is, and the path leads to it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), (value, pick) => {
        const difference = jsonDifference(JSON.stringify(value), JSON.stringify(mutate(value, pick)));
        expect(difference).toBeDefined();
      }),
      { numRuns: 2000 },
    );
  });

  test('compare numbers by value with every digit, because a double would round them', () => {
    const equal = [
      ['1', '1.0'],
      ['1e3', '1000'],
      ['0.1', '1e-1'],
      ['0', '-0.0'],
      ['12300', '1.23E+4'],
      ['9007199254740993', '9007199254740993.0'],
      ['1e400', '10e399'],
    ] as const;
    for (const [one, other] of equal) expect([one, jsonEqual(`[${one}]`, `[${other}]`)]).toEqual([one, true]);
    const different = [
      ['9007199254740993', '9007199254740992'],
      ['0.1', '0.1000000000000000055511151231257827'],
      ['1', '-1'],
      ['1', '10'],
      ['1e400', '1e401'],
      ['1', '"1"'],
      ['1', 'true'],
    ] as const;
    for (const [one, other] of different) expect([one, jsonEqual(`[${one}]`, `[${other}]`)]).toEqual([one, false]);
  });

  test('give one canonical form to all spellings of an integer and its scaled forms', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.nat({ max: 30 }), (value, zeros) => {
        expect(canonicalNumber(`${value}.${'0'.repeat(zeros)}0`)).toBe(canonicalNumber(`${value}`));
        expect(canonicalNumber(`${value}${'0'.repeat(zeros)}`)).toBe(canonicalNumber(`${value}e${zeros}`));
        expect(canonicalNumber(`${value}`)).not.toBe(canonicalNumber(`${value + 1n}`));
      }),
    );
  });

  test('are near where a store reads doubles a unit beside, while integers and the fourteenth digit still count', () => {
    const near = (one: string, other: string) =>
      jsonDifference(`{"a":[${one}]}`, `{"a":[${other}]}`, { nearNumbers: 0 }) === undefined;
    expect(near('0.46379464253972724', '0.4637946425397272')).toBe(true);
    expect(jsonEqual('0.46379464253972724', '0.4637946425397272')).toBe(false);
    expect(near('1.2345678901234567e-320', '1.2346e-320')).toBe(true);
    expect(near('-1.2345678901234567e300', '-1.2345678901234565e300')).toBe(true);
    expect(near('0.4637946425397', '0.4637946425398')).toBe(false);
    expect(near('0.5', '-0.5')).toBe(false);
    expect(near('0.5', '0')).toBe(false);
    expect(near('9007199254740993', '9007199254740992')).toBe(false);
    expect(near('9007199254740992', '9007199254740993.0')).toBe(false);
    // Spelled as a double, and too great to be counted by one: seconds and nanoseconds of PostgreSQL's double precision.
    expect(near('1.7000000000000123e+18', '1.7000000000000125e+18')).toBe(true);
    expect(near('1.7000000000000123e+18', '1.7000000000001e+18')).toBe(false);
    expect(near('1700000000000012300', '1700000000000012301')).toBe(false);
    expect(near('1.234567890123456e15', '1234567890123457')).toBe(false);
    expect(near('1e999', '2e999')).toBe(false);
    expect(near('0.5', '"0.5"')).toBe(false);
  });

  test('that are near are counted, since a proof that allows something in silence is none', () => {
    const near = { nearNumbers: 0 };
    const [one, other] = ['0.46379464253972724', '0.4637946425397272'];
    expect(jsonDifference(`{"a":[${one},1.0,${one}]}`, `{"a":[${other},1,${other}]}`, near)).toBeUndefined();
    expect(near.nearNumbers).toBe(2);
  });

  test('tell null from an absent field, and name where it is', () => {
    expect(jsonDifference('{"a":{"b.c":[1,null]}}', '{"a":{"b.c":[1]}}')).toEqual({
      path: 'a["b.c"][1]',
      expected: 'null',
      found: 'nothing',
    });
    expect(jsonDifference('{"price":1}', '{"price":1,"x":null}')).toEqual({
      path: 'x',
      expected: 'nothing',
      found: 'null',
    });
  });

  test('see a field called __proto__ or constructor like any other', () => {
    expect(jsonEqual('{"__proto__":{"a":1}}', '{"__proto__":{"a":2}}')).toBe(false);
    expect(jsonEqual('{"__proto__":1}', '{}')).toBe(false);
    expect(jsonEqual('{"constructor":null}', '{}')).toBe(false);
  });

  test('shorten what they quote, so that a report stays readable with 1 MB of text in a field', () => {
    const difference = jsonDifference(JSON.stringify({ text: 'x'.repeat(1_000_000) }), '{"text":""}');
    expect(difference?.expected.length).toBeLessThan(100);
  });
});
