import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { jsonEqual } from '../../lib/compare/json-equal.ts';
import { fitsDouble, joinObject, splitArray, splitObject, stringOf } from '../../lib/stores/json-members.ts';

describe('an object taken apart into the texts of its members', () => {
  test('is the same value when put together again, whatever it holds and however it is spaced', () => {
    const spaced = fc.tuple(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 1, '\t'));
    fc.assert(
      fc.property(spaced, ([value, space]) => {
        const text = JSON.stringify(value, undefined, space);
        expect(jsonEqual(joinObject(splitObject(text)), text)).toBe(true);
      }),
    );
  });

  test('has each value as JSON.parse finds it', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ depthSize: 'medium' })), (value) => {
        const text = JSON.stringify(value);
        const parsed: Record<string, unknown> = JSON.parse(text);
        const members = splitObject(text);
        expect([...members.keys()].sort()).toEqual(Object.keys(parsed).sort());
        for (const [name, raw] of members) expect(JSON.parse(raw)).toEqual(parsed[name]);
      }),
    );
  });

  test('keeps digits that a double would lose', () => {
    expect(splitObject('{"n": 9007199254740993 ,"d":0.1234567890123456789}')).toEqual(
      new Map([
        ['n', '9007199254740993'],
        ['d', '0.1234567890123456789'],
      ]),
    );
  });

  test('is not fooled by quotes, braces and backslashes inside strings', () => {
    const value = { 'a"}': '\\', b: '{"x":[1,"]"]}', c: ['\\"', { d: '}' }] };
    const members = splitObject(JSON.stringify(value));
    expect([...members].map(([name, raw]) => [name, JSON.parse(raw)])).toEqual(Object.entries(value));
    expect(stringOf(members.get('a"}') ?? '')).toBe('\\');
  });

  test.each(['', '[]', '{', '{"a"}', '{"a":1', '{"a":"b}', '{"a":[1}', '{"a":,}', 'null'])(
    'a text that is no object, %s, is a SyntaxError and never half an answer',
    (text) => {
      expect(() => splitObject(text)).toThrow(SyntaxError);
    },
  );
});

test('a list that begins with a number ends where it ends, whatever else is in it: vectors are passed over without a look at each digit', () => {
  const values = {
    vector: [0.5, -1e-7, 3],
    multi: [[-1, 2], [3]],
    odd: [1, 'a ] b', [2], { x: [3, { y: ']' }] }],
    text: [-1, '[', ']'],
    object: [7, {}],
    none: [],
    last: 'x',
  };
  for (const space of [0, 1]) {
    const members = splitObject(JSON.stringify(values, undefined, space));
    expect([...members].map(([name, raw]) => [name, JSON.parse(raw)])).toEqual(Object.entries(values));
  }
  expect(() => splitObject('{"a":[1,2')).toThrow('without an end');
});

test('a record of many vectors takes as long as its text: each list is looked at once, not back to the first', () => {
  const row = `[${Array.from({ length: 128 }, (_, at) => at / 7).join(',')}]`;
  const text = `{"id":1,"tokens":[${Array.from({ length: 2000 }, () => row).join(',')}]}`;
  const fastestOf = (work: () => unknown): number =>
    Math.min(
      ...[1, 2, 3].map(() => {
        const start = performance.now();
        work();
        return performance.now() - start;
      }),
    );
  // 0.05 of it, and 100 times as long where every list is held against all before it.
  expect(fastestOf(() => splitObject(text))).toBeLessThan(10 * fastestOf(() => JSON.parse(text)));
});

test('an array is cut between its elements only', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (value) => {
      expect(splitArray(JSON.stringify(value)).map((raw) => JSON.parse(raw))).toEqual(
        JSON.parse(JSON.stringify(value)),
      );
    }),
  );
});

test.each([
  ['0.1', true],
  ['1e3', true],
  ['-0.30000000000000004', true],
  ['1.7976931348623157e308', true],
  ['9007199254740993', false],
  ['0.12345678901234567890', false],
  ['1e400', false],
])('%s survives a double: %s', (raw, fits) => {
  expect(fitsDouble(raw)).toBe(fits);
});
