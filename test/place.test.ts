import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parseEvent, wayOf } from '../lib/event.ts';
import { inPlaceOf, placeGuarantee, refusePlace, unthrottled } from '../lib/place.ts';
import { memory } from '../lib/stores/memory.ts';
import { pgvector } from '../lib/stores/pgvector.ts';

const source = {
  store: 'pgvector',
  connection: { secret: 'docs' },
  collection: 'public.docs',
  options: { key: ['id'] },
};
const embed = { text: '{title}: {body}', model: { provider: 'local', name: 'any' } };
const inPlace = { source, target: { into: 'place' }, embed };

describe('an event in place', () => {
  test('need not say the target twice: it is the source, with its options and those of its own', () => {
    const event = parseEvent({ ...inPlace, target: { into: 'place', options: { rowsPerSecond: 500 } } });
    expect(event.target).toEqual({ ...source, into: 'place', options: { key: ['id'], rowsPerSecond: 500 } });
    expect(wayOf(event)).toMatchObject({ inPlace: true, cutover: true, canary: false });
    // As it stands in a plan it is the same again.
    expect(parseEvent(JSON.parse(JSON.stringify(event)))).toEqual(event);
  });

  test('may be slowed down when it is started again', () => {
    const [slow, fast] = [100, 5000].map((rowsPerSecond) =>
      parseEvent({ ...inPlace, target: { into: 'place', options: { rowsPerSecond } } }),
    );
    expect(slow && fast && unthrottled(slow.target)).toEqual(fast && unthrottled(fast.target));
    const other = parseEvent({ source, target: { ...source, collection: 'b', options: { rowsPerSecond: 100 } } });
    expect(unthrottled(other.target)).toBe(other.target);
  });

  test('that fills what is missing cuts nothing over', () => {
    const fill = { ...inPlace, embed: { ...embed, records: 'missing' } };
    expect(wayOf(parseEvent(fill)).cutover).toBe(false);
    expect(() => parseEvent({ ...fill, cutover: {} })).toThrow(/cutover has nothing to switch/);
    expect(placeGuarantee(parseEvent(fill))).toMatch(/none is replaced/);
  });

  test.each([
    [
      'a canary, since a column is for all readers',
      { cutover: { canary: {} } },
      /renames columns or indexes, all at once/,
    ],
    ['a flag', { cutover: { flag: 'docs' } }, /renames columns or indexes, all at once/],
    ['no embedding, since nothing would be made', { embed: undefined }, /say with embed how the vector is made/],
    ['live writes, which have no vector of the new model', { live: true }, /live does not go with embed/],
  ])('does not take %s', (_, change, words) => {
    expect(() => parseEvent({ ...inPlace, ...change })).toThrow(words);
  });

  test.each([
    ['another collection', { target: { ...source, collection: 'public.others', into: 'place' } }, /another collection/],
    [
      'a rule of a field',
      { mapping: { payload: { title: { to: 'name' } } } },
      /mapping\.payload\.title.*changes nothing/,
    ],
    [
      'a vector of another name',
      { mapping: { vectors: { embedding: { to: 'e' } } } },
      /mapping\.vectors\.embedding\.to/,
    ],
    ['a text that is left out', { mapping: { payload: { title: null } } }, /what embed\.text is made of/],
    ['rules for records', { mapping: { records: [{ name: 'old', drop: { year: 1 } }] } }, /mapping\.records/],
  ])('is refused with %s', (_, change, words) => {
    expect(() => refusePlace(parseEvent({ ...inPlace, ...change }), pgvector)).toThrow(words);
  });

  test('may leave fields unread, and say of the vector how it is kept', () => {
    const mapping = {
      payload: { huge: null },
      vectors: { embedding: { precision: 'float16', index: { kind: 'hnsw', m: 8 } } },
    };
    expect(() => refusePlace(parseEvent({ ...inPlace, mapping }), pgvector)).not.toThrow();
  });

  test('is refused by a store that cannot, naming what to do', () => {
    const event = parseEvent({ ...inPlace, source: { store: 'memory', collection: 'a' } });
    expect(() => refusePlace(event, memory)).toThrow(
      /In-memory|memory.*cannot give a collection a new vector.*another target/i,
    );
  });

  test('opens each side for what it reads', () => {
    const sideOf = (text: string) =>
      inPlaceOf({ run: 'r', event: parseEvent({ ...inPlace, embed: { ...embed, text } }) }, 'target');
    expect(sideOf('{title}: {body}')).toMatchObject({
      side: 'target',
      run: 'r',
      fields: ['title', 'body'],
    });
    expect(sideOf('body')?.fields).toEqual(['body']);
    const shortest = parseEvent({ source, target: { ...source, collection: 'b' } });
    expect(inPlaceOf({ run: 'r', event: shortest }, 'source')).toBeUndefined();
  });

  test('stands in events/ for a change of dimension and for a backfill', () => {
    const read = (name: string) => parseEvent(JSON.parse(readFileSync(`events/${name}.json`, 'utf8')));
    expect(wayOf(read('dimension-change'))).toMatchObject({ inPlace: true, cutover: true, approval: true });
    expect(wayOf(read('backfill'))).toMatchObject({ inPlace: true, cutover: false });
    for (const name of ['dimension-change', 'backfill']) expect(() => refusePlace(read(name), pgvector)).not.toThrow();
  });
});
