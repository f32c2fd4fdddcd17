import { describe, expect, test } from '@jest/globals';
import { fieldInTarget } from '../../lib/mapping/names.ts';
import { likeExpression, splitText } from '../../lib/mapping/values.ts';
import { fitOf, mapPayloads, mapTexts } from './world.ts';

const one = (mapping: object, payload: unknown): unknown => mapPayloads(mapping, [payload]).payloads[0];

describe('a field', () => {
  test.each<[string, object, unknown, unknown]>([
    ['is renamed', { headline: { to: 'title' } }, { headline: 'x', n: 1 }, { title: 'x', n: 1 }],
    ['trades names with another', { a: { to: 'b' }, b: { to: 'a' } }, { a: 1, b: 2 }, { a: 2, b: 1 }],
    [
      'moves into an object that is made for it',
      { title: { to: 'meta.title' } },
      { title: 'x' },
      { meta: { title: 'x' } },
    ],
    [
      'moves into an object that is there',
      { title: { to: 'meta.title' } },
      { title: 'x', meta: { n: 1 } },
      { meta: { n: 1, title: 'x' } },
    ],
    [
      'moves into an object where null stands',
      { title: { to: 'meta.title' } },
      { title: 'x', meta: null },
      { meta: { title: 'x' } },
    ],
    [
      'moves out of an object',
      { 'meta.category': { to: 'category' } },
      { meta: { category: 'c', n: 1 } },
      { meta: { n: 1 }, category: 'c' },
    ],
    [
      'is changed within an object',
      { 'a.b.c': { cast: 'string' } },
      { a: { b: { c: 1, d: 2 } } },
      { a: { b: { c: '1', d: 2 } } },
    ],
    ['is left out of an object', { 'meta.secret': null }, { meta: { secret: 1, n: 2 } }, { meta: { n: 2 } }],
    ['of that very name wins over a path', { 'a.b': { to: 'c' } }, { 'a.b': 1, a: { b: 2 } }, { c: 1, a: { b: 2 } }],
    ['that is not there is not made', { headline: { to: 'title' } }, { n: 1 }, { n: 1 }],
    ['outlives the object that held it', { meta: null, 'meta.n': { to: 'n' } }, { meta: { n: 1, o: 2 } }, { n: 1 }],
    ['takes a default where it is not there', { lang: { default: 'en' } }, {}, { lang: 'en' }],
    ['takes a default where it is null', { lang: { default: ['en'] } }, { lang: null }, { lang: ['en'] }],
    ['keeps what it has before a default', { lang: { default: 'en' } }, { lang: '' }, { lang: '' }],
    ['is cut by characters, not by halves of them', { t: { cut: 2 } }, { t: '😀😀😀' }, { t: '😀😀' }],
    [
      'is split, and the last takes the rest',
      { n: { split: { by: ' ', to: ['a', 'b'] } } },
      { n: 'x y z' },
      { a: 'x', b: 'y z' },
    ],
    [
      'is split with null for a part that is not there',
      { n: { split: { by: ' ', to: ['a', 'b'] } } },
      { n: 'x' },
      { a: 'x', b: null },
    ],
    ['is split by an expression', { n: { split: { by: '/\\s*[;,]\\s*/' } } }, { n: 'a; b ,c' }, { n: ['a', 'b', 'c'] }],
    [
      'that is null splits into nulls',
      { n: { split: { by: ' ', to: ['a', 'b'] } } },
      { n: null },
      { a: null, b: null },
    ],
  ])('%s', (_, payload, before, after) => {
    expect(one({ payload }, before)).toEqual(after);
  });

  test('that no rule touches keeps every digit and character', () => {
    const text = '{"big": 12345678901234567890.10, "e":1E400, "t":"\\u00e9\\/", "a":1}';
    const [payload] = mapTexts({ payload: { a: { to: 'b' } } }, [text]).batch.payloads;
    expect(payload).toBe('{"big":12345678901234567890.10,"e":1E400,"t":"\\u00e9\\/","b":1}');
  });

  test('that goes where another stands is refused, since one of them would be lost', () => {
    expect(() => one({ payload: { headline: { to: 'title' } } }, { headline: 'x', title: 'y' })).toThrow(
      expect.objectContaining({
        name: 'RecordRefused',
        ids: ['1'],
        message: expect.stringMatching(/'headline' of record '1' goes to 'title'.*already/),
      }),
    );
    expect(() => one({ payload: { headline: { to: 'meta.title' } } }, { headline: 'x', meta: 'y' })).toThrow(
      /no object/,
    );
  });
});

describe('values', () => {
  const payload = {
    status: {
      values: { PENDING: 'pending', 1: 'one', true: 'yes', '': 'empty' },
      patterns: [
        { like: 'canc%', to: 'cancelled' },
        { like: '_one', to: 'x-one' },
      ],
    },
  };
  test.each<[unknown, unknown]>([
    ['PENDING', 'pending'],
    ['CANCELED by user', 'cancelled'],
    ['Done', 'x-one'],
    [1, 'one'],
    [true, 'yes'],
    ['', 'empty'],
    [null, null],
  ])('%j becomes %j', (before, after) => {
    expect(one({ payload }, { status: before })).toEqual({ status: after });
  });

  test('are found whatever escapes the text is written with', () => {
    expect(mapTexts({ payload }, ['{"status":"P\\u0045NDING"}']).batch.payloads).toEqual(['{"status":"pending"}']);
  });

  test.each<[unknown, unknown]>([
    ['keep', 'odd'],
    [{ value: 'other' }, 'other'],
    [{ value: null }, null],
  ])('that none takes: %j makes %j', (otherwise, after) => {
    expect(one({ payload: { status: { ...payload.status, otherwise } } }, { status: 'odd' })).toEqual({
      status: after,
    });
  });

  test('that none takes are refused by name, with what to write', () => {
    expect(() => one({ payload }, { status: 'pending' })).toThrow(
      /field 'status' of record '1' is 'pending', which no value and no pattern takes; add it to mapping\.payload "status" "values".*"drop"/,
    );
    expect(() => one({ payload }, { status: ['PENDING'] })).toThrow(/is \["PENDING"\]/);
  });

  test('that none takes leave the record out, counted by the rule, where the event says so', () => {
    const mapping = { payload: { status: { ...payload.status, otherwise: 'drop' } } };
    const { payloads, batch, sourceIds, skipped, dropped } = mapPayloads(mapping, [
      { status: 'odd' },
      { status: 'PENDING' },
      { status: 'odder' },
    ]);
    expect(payloads).toEqual([{ status: 'pending' }]);
    expect([batch.ids, sourceIds, batch.count]).toEqual([['2'], ['2'], 1]);
    expect(skipped).toEqual(['1', '3']);
    expect([...dropped]).toEqual([['payload.status', ['1', '3']]]);
  });

  test.each([
    ['100\\%', '100%', true],
    ['100\\%', '100x', false],
    ['a_c', 'aXc', true],
    ['a_c', 'a😀c', true],
    ['%.x', 'AB.X', true],
    ['%.x', 'ABxX', false],
    ['a%', 'a\nb', true],
    ['[a]', 'a', false],
  ])('like %j holds for %j: %p', (like, text, holds) => {
    expect(likeExpression(like).test(text)).toBe(holds);
  });
});

test('a separator that matches nothing parts characters instead of going on for ever', () => {
  expect(splitText('abc', /x*/u, 2)).toEqual(['a', 'bc']);
  expect(splitText('abc', /x*/u)).toEqual(['a', 'b', 'c']);
  expect(splitText('a::b', ':', 3)).toEqual(['a', '', 'b']);
});

test('a text is parted alike into fields and into a list, and what an expression remembers is no part', () => {
  expect(splitText('oneTwoThree', /(?=[A-Z])/u)).toEqual(['one', 'Two', 'Three']);
  expect(splitText('oneTwoThree', /(?=[A-Z])/u, 2)).toEqual(['one', 'TwoThree']);
  expect(splitText('1,2;3', /(,|;)/u)).toEqual(['1', '2', '3']);
  expect(splitText('1,2;3', /(,|;)/u, 2)).toEqual(['1', '2;3']);
  expect(splitText('a,b,c', ',', 2)).toEqual(['a', 'b,c']);
});

test('what columns allows is held for a field within an object too', () => {
  const mapping = {
    payload: { s: { to: 'meta.s' } },
    columns: { 'meta.s': { values: ['x'] }, 'meta.n': { maxLength: 2 } },
  };
  expect(one(mapping, { s: 'x', meta: { n: 'ab' } })).toEqual({ meta: { s: 'x', n: 'ab' } });
  expect(() => one(mapping, { s: 'y' })).toThrow(/'meta\.s' of record '1' becomes 'y'/);
  expect(() => one(mapping, { meta: { n: 'abc' } })).toThrow(/'meta\.n' of record '1' has 3 characters/);
});

test('an object in a template or join is its JSON, every digit included', () => {
  const add = { t: { template: '{o}' }, j: { join: ['o', 'l'], by: ' ' } };
  const { batch } = mapTexts({ add }, ['{"o":{"n":12345678901234567890,"d":1.50},"l":[{"x":1}]}']);
  const fields = JSON.parse(batch.payloads[0] ?? '');
  expect(fields).toMatchObject({
    t: '{"n":12345678901234567890,"d":1.50}',
    j: '{"n":12345678901234567890,"d":1.50} {"x":1}',
  });
});

describe('added fields', () => {
  test.each<[string, object, unknown, unknown]>([
    ['a value', { tenant: { value: { a: [1, null] } } }, {}, { tenant: { a: [1, null] } }],
    [
      "a template, in which id is the record's",
      { slug: { template: '{c}-{id}' } },
      { c: 'x' },
      { c: 'x', slug: 'x-1' },
    ],
    ['a template of a field called id', { slug: { template: '{id}!' } }, { id: 7 }, { id: 7, slug: '7!' }],
    ['a template of nothing is null', { slug: { template: '{c}!' } }, {}, { slug: null }],
    [
      'a template of a path and of every digit',
      { t: { template: '{m.n}' } },
      { m: { n: 1.5 } },
      { m: { n: 1.5 }, t: '1.5' },
    ],
    [
      'a join without what is empty',
      { full: { join: ['a', 'b', 'c'], by: '-' } },
      { a: 'x', b: null, c: 2 },
      { a: 'x', b: null, c: 2, full: 'x-2' },
    ],
    ['a join of nothing is null', { full: { join: ['a'] } }, {}, { full: null }],
    ['a place in an object', { 'meta.tenant': { value: 1 } }, { meta: { n: 2 } }, { meta: { n: 2, tenant: 1 } }],
  ])('%s', (_, add, before, after) => {
    expect(one({ add }, before)).toEqual(after);
  });

  test('read fields that the mapping leaves out: every rule reads the record as the source has it', () => {
    const mapping = { payload: { first: null, last: { to: 'name' } }, add: { full: { join: ['first', 'last'] } } };
    expect(one(mapping, { first: 'Ada', last: 'King' })).toEqual({ name: 'King', full: 'Ada King' });
  });

  test('are refused where the record has such a field, with the word for a default', () => {
    expect(() => one({ add: { lang: { value: 'en' } } }, { lang: 'de' })).toThrow(/'lang'.*already/);
  });
});

describe('other fields', () => {
  test('are left out where the event says so; those with a rule of nothing stay', () => {
    const mapping = { others: 'drop', payload: { a: {}, 'm.x': {}, b: { to: 'c' } }, add: { d: { value: 1 } } };
    expect(one(mapping, { a: 1, b: 2, e: 3, m: { x: 4, y: 5 } })).toEqual({ a: 1, m: { x: 4 }, c: 2, d: 1 });
  });
});

describe('records', () => {
  const records = [
    { name: 'archived', drop: { archived: true } },
    { name: 'old', drop: { year: { lt: 2000 }, 'meta.lang': { in: ['de', 'fr'] } } },
  ];
  test('that meet a rule are left out and counted by it, as the source has them', () => {
    const { payloads, dropped } = mapPayloads({ records, payload: { year: { cast: 'string' } } }, [
      { archived: true },
      { archived: false, year: 1999, meta: { lang: 'de' } },
      { year: 1999, meta: { lang: 'en' } },
      { archived: true, year: 1, meta: { lang: 'fr' } },
    ]);
    expect(payloads).toEqual([{ year: '1999', meta: { lang: 'en' } }]);
    expect(Object.fromEntries(dropped)).toEqual({ archived: ['1', '4'], old: ['2'] });
  });
});

describe('columns', () => {
  test('hold texts to their values and length in every store', () => {
    const columns = { state: { values: ['a', 'b'] }, t: { maxLength: 3 } };
    expect(one({ columns }, { state: 'a', t: '😀😀😀' })).toEqual({ state: 'a', t: '😀😀😀' });
    expect(() => one({ columns }, { state: 'c' })).toThrow(/'state'.*becomes 'c'.*values a, b/);
    expect(() => one({ columns }, { t: 'four' })).toThrow(/'t'.*4 characters.*3.*"cut": 3/);
  });
});

describe('a filter on a field', () => {
  const { mapping } = fitOf({
    payload: { a: { to: 'b' }, c: { cast: 'integer' }, d: { to: 'm.d' }, e: null, 'f.g': { to: 'g' } },
  });
  test.each([
    ['a', { name: 'b' }],
    ['c', { lost: 'mapping.payload gives other values' }],
    ['d', { lost: "mapping.payload moves to 'm.d', within an object" }],
    ['e', { lost: 'mapping.payload leaves out of the target' }],
    ['f', { lost: 'mapping.payload takes apart' }],
    ['other', { name: 'other' }],
  ])('%s is asked for as %j', (field, there) => {
    expect(fieldInTarget(mapping, field)).toEqual(there);
  });
});
