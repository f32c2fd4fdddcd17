import { describe, expect, test } from '@jest/globals';
import { mirror } from '../../lib/client/mirror.ts';
import { isSame } from '../../lib/client/same.ts';
import { memorySide } from './sides.ts';

describe('mirror', () => {
  test('makes the target hold what the source does, deletes included, and may be repeated', async () => {
    const [from, to] = [memorySide({ 1: 1, 2: 2 }), memorySide({ 2: 20, 3: 3, 4: 4 })];
    for (let times = 0; times < 2; times++) await mirror({ ids: ['1', '2', '3', '3'], from, to });
    expect(Object.fromEntries(to.docs)).toEqual({ 1: 1, 2: 2, 4: 4 });
  });

  test('goes on with what changed while it wrote, so an old value never stays', async () => {
    let changes = 3;
    const from = memorySide({ 1: 1 });
    const to = memorySide({}, { before: () => void (changes-- > 0 && from.docs.set('1', 10 + changes)) });
    await mirror({ ids: ['1', '2'], from, to });
    expect(to.docs.get('1')).toBe(10);
  });

  test('gives up on a source that never rests, and says which ids', async () => {
    let value = 0;
    const from = memorySide({ 2: 2 }, { before: () => void from.docs.set('1', value++) });
    const to = memorySide();
    const given = mirror({ ids: ['1', '2'], from, to, maxRounds: 4 });
    await expect(given).rejects.toMatchObject({ name: 'StoreUnavailable', retryable: true, ids: ['1'] });
    await expect(given).rejects.toThrow(/changed each time that they were read, 4 times over; mirror them again/);
  });

  test('takes 1,000 ids and refuses more, and none are no call at all', async () => {
    const [from, to] = [memorySide(), memorySide()];
    await mirror({ ids: [], from, to });
    expect([from.calls, to.calls]).toEqual([[], []]);
    const ids = Array.from({ length: 1001 }, (_, at) => String(at));
    await expect(mirror({ ids, from, to })).rejects.toThrow(/1001 ids are too many .* 1000 at most/);
    await mirror({ ids: ids.slice(1), from, to });
  });
});

describe('two reads of a record are the same', () => {
  const same: readonly [string, unknown, unknown][] = [
    ['a vector in an array and in a typed one', [0.1, 0.2], new Float32Array([0.1, 0.2])],
    ['a vector as a store prints it', [0.123456789012], [0.12345679]],
    ['the order of fields', { a: 1, b: { c: [1, 'x', null] } }, { b: { c: [1, 'x', null] }, a: 1 }],
    ['a field that is undefined and none', { a: 1, b: undefined }, { a: 1 }],
    ['dates', { at: new Date(5) }, { at: new Date(5) }],
    ['NaN', [Number.NaN], [Number.NaN]],
  ];
  test.each(same)('%s', (_, one, other) => {
    expect([isSame(one, other), isSame(other, one)]).toEqual([true, true]);
  });

  const different: readonly [string, unknown, unknown][] = [
    ['a float beyond float32’s last digit', [0.1], [0.1000001]],
    ['a number of the payload, in its last digit', { price: 0.1 }, { price: 0.10000000000000002 }],
    ['large whole numbers of a list, which float32 cannot tell apart', [16_777_216], [16_777_217]],
    ['a large number', { n: 16_777_216 }, { n: 16_777_217 }],
    ['null and no field', { a: null }, {}],
    ['a text and a number', { a: '1' }, { a: 1 }],
    ['one more element', [1, 2], [1, 2, 3]],
    ['an array and an object', [], {}],
    ['other dates', { at: new Date(5) }, { at: new Date(6) }],
    ['a field more, deep down', { a: { b: {} } }, { a: { b: { c: 1 } } }],
  ];
  test.each(different)('not where they differ in %s', (_, one, other) => {
    expect([isSame(one, other), isSame(other, one)]).toEqual([false, false]);
  });
});
