import { isLosslessNumber, parse } from 'lossless-json';
import { drawPositions } from '../../lib/sample.ts';

/** Faults that a migration, or whoever writes to a target after it, leaves behind: made from a record, by seed. */

/** A record as it stands in the target. */
export interface Planted {
  readonly id: string;
  readonly vector: Float32Array;
  /** JSON text, so that every digit and both forms of a number can be planted. */
  readonly payload: string;
}

/** How a record has to be named. */
export interface Expected {
  readonly id: string;
  readonly verdict: 'different' | 'missing' | 'extra';
  readonly reason: RegExp;
}

export interface Fault {
  readonly kind: string;
  /** Ids and what stands there now: null takes the record away, several are copies under one id. */
  readonly changes: ReadonlyMap<string, readonly Planted[]>;
  readonly expected: readonly Expected[];
}

interface Site {
  /** The record, and another one of the same round. */
  readonly one: Planted;
  readonly other: Planted;
  /** An id that no record has, and the one that is off by one. */
  readonly freeId: string;
  readonly nextId: string;
  readonly random: () => number;
}

type MakeFault = (site: Site) => Omit<Fault, 'kind'>;

const id = (text: string): string => text;
const missing = (record: Planted): Expected => ({
  id: id(record.id),
  verdict: 'missing',
  reason: /is not in the target/,
});
const different = (record: Planted, reason: RegExp): Expected => ({ id: record.id, verdict: 'different', reason });
const extra = (at: string): Expected => ({ id: at, verdict: 'extra', reason: /^$/ });
const changed = (record: Planted, change: Partial<Planted>, reason: RegExp): Omit<Fault, 'kind'> => ({
  changes: new Map([[record.id, [{ ...record, ...change }]]]),
  expected: [different(record, reason)],
});
/** The record with its payload's text altered. @throws Error when the text is not there: then nothing would be planted. */
const edited = (record: Planted, from: string | RegExp, to: string, reason: RegExp): Omit<Fault, 'kind'> => {
  const payload = record.payload.replace(from, to);
  if (payload === record.payload) throw new Error(`nothing to edit: no ${from} in ${record.payload}`);
  return changed(record, { payload }, reason);
};
const pick = <T>(all: readonly T[], random: () => number): T => all[Math.floor(random() * all.length)] ?? all[0]!;

/** What every store can express. The reasons are those that fit the fault and no other. */
export const faults: Readonly<Record<string, MakeFault>> = {
  'a record is lost': ({ one }) => ({ changes: new Map([[one.id, []]]), expected: [missing(one)] }),
  'a record is added': ({ one, freeId }) => ({
    changes: new Map([[freeId, [{ ...one, id: freeId }]]]),
    expected: [extra(freeId)],
  }),
  'one float is off by 1e-5': ({ one, random }) => {
    const vector = one.vector.slice();
    // The first float makes up nearly the whole length: a store that scales to length 1 takes a change of it back.
    const at = 1 + Math.floor(random() * (vector.length - 1));
    vector[at] = (vector[at] ?? 0) + (random() < 0.5 ? 1e-5 : -1e-5);
    // Scaled to length 1 again, all floats move a little with the one that was changed.
    return changed(one, { vector }, /vector.*, float \d+: expected /);
  },
  'two payloads are swapped': ({ one, other }) => ({
    changes: new Map([
      [one.id, [{ ...one, payload: other.payload }]],
      [other.id, [{ ...other, payload: one.payload }]],
    ]),
    expected: [different(one, /^payload field /), different(other, /^payload field /)],
  }),
  'two vectors are swapped': ({ one, other }) => ({
    changes: new Map([
      [one.id, [{ ...one, vector: other.vector }]],
      [other.id, [{ ...other, vector: one.vector }]],
    ]),
    expected: [different(one, /vector.*, float \d+: /), different(other, /vector.*, float \d+: /)],
  }),
  'null stands for missing': ({ one }) =>
    edited(one, /^\{/, '{"never":null,', /^payload field never: expected nothing, found null$/),
  'missing stands for null': ({ one }) =>
    edited(one, '"note":null,', '', /^payload field note: expected null, found nothing$/),
  'a nested value is changed': ({ one }) =>
    edited(one, /"depth":(\d)/, '"depth":9$1', /^payload field meta\.at\.depth: expected \d, found 9\d$/),
  'a nested key is changed': ({ one }) =>
    edited(one, '"lang":', '"Lang":', /^payload field meta\.(lang|Lang): (expected nothing|.*found nothing)/),
  'a record is stale': ({ one }) => {
    const older = one.payload.replace(/"revision":\d+/, '"revision":1');
    const vector = one.vector.map((value, at) => (at % 2 === 0 ? value : -value));
    const before = changed(one, { payload: older, vector }, /vector.*, float 1: /);
    return before;
  },
  'a record is stale in its payload alone': ({ one }) =>
    edited(one, /"revision":\d+/, '"revision":1', /^payload field revision: expected \d+, found 1$/),
  'a number became text': ({ one }) =>
    edited(one, /"rank":(\d+)/, '"rank":"$1"', /^payload field rank: expected \d+, found "\d+"$/),
  'text became a number': ({ one }) =>
    edited(one, /"code":"(\d+)"/, '"code":$1', /^payload field code: expected "\d+", found \d+$/),
  'true became 1': ({ one }) => edited(one, '"flag":true', '"flag":1', /^payload field flag: expected true, found 1$/),
  'a list is reordered': ({ one }) =>
    edited(one, /"tags":\["(\w+)","(\w+)"/, '"tags":["$2","$1"', /^payload field tags\[0\]: expected /),
  'a list lost its last element': ({ one }) =>
    edited(one, ',"last"]', ']', /^payload field tags\[2\]: expected "last", found nothing$/),
  'text is normalised': ({ one }) =>
    edited(one, 'caf\u00e9', 'cafe\u0301', /^payload field title: expected "caf\u00e9.*", found "cafe\u0301/),
  'the last digit of a long integer is lost': ({ one }) =>
    edited(one, /"big":(\d+)1/, '"big":$12', /^payload field big: expected \d{17}, found \d{17}$/),
  'an id is off by one': ({ one, nextId }) => ({
    changes: new Map([
      [one.id, []],
      [nextId, [{ ...one, id: nextId }]],
    ]),
    expected: [missing(one), extra(nextId)],
  }),
  'two faults in one': ({ one, other, random }) => {
    const at = Math.floor(random() * one.vector.length);
    const vector = one.vector.slice();
    vector[at] = -(vector[at] ?? 0) - 0.01;
    return changed(one, { vector, payload: other.payload }, /vector.*, float \d+: /);
  },
};

/**
 * What only a store that holds an id more than once can express. LanceDB hands over both records, which is a difference; of
 * files the first is taken, and the other is extra.
 */
export const doubledFaults = (store: 'lancedb' | 'files'): Readonly<Record<string, MakeFault>> => {
  const named = (record: Planted): Expected =>
    store === 'files' ? extra(record.id) : different(record, /^there is more than one record with id \d+$/);
  return {
    'a record is there twice, alike': ({ one }) => ({
      changes: new Map([[one.id, [one, one]]]),
      expected: [named(one)],
    }),
    'an older copy of a record is there too': ({ one }) => {
      const older = { ...one, payload: one.payload.replace(/"revision":\d+/, '"revision":1') };
      return { changes: new Map([[one.id, [one, older]]]), expected: [named(one)] };
    },
  };
};

/** The same JSON value spelled another way: keys in random order, integers as 5.0, 5e0 or 50e-1. */
export function respelled(payload: string, random: () => number): string {
  const spell = (value: unknown): string => {
    if (isLosslessNumber(value)) return respelledNumber(value.value, random);
    if (Array.isArray(value)) return `[${value.map(spell).join(' , ')}]`;
    if (typeof value !== 'object' || value === null) return JSON.stringify(value);
    const fields = Object.entries(value).map(([key, each]) => ({ key, each, place: random() }));
    const shuffled = fields.toSorted((a, b) => a.place - b.place);
    return `{${shuffled.map(({ key, each }) => `${JSON.stringify(key)}: ${spell(each)}`).join(',')}}`;
  };
  return spell(parse(payload));
}

/** A number that a double does not hold stays as it is: stores parse one with a point as a double, which would change it. */
function respelledNumber(text: string, random: () => number): string {
  if (text.includes('.')) return pick([text, `${text}0`, `${text}e0`], random);
  if (!Number.isSafeInteger(Number(text))) return text;
  return pick([text, `${text}.0`, `${text}e0`, `${text}.00`, `${text}.0e0`], random);
}

export interface RoundOptions {
  readonly records: ReadonlyMap<string, Planted>;
  readonly kinds: Readonly<Record<string, MakeFault>>;
  /** Number of the first fault: kinds take turns. */
  readonly first: number;
  readonly count: number;
  readonly seed: number;
  readonly random: () => number;
}

/** `count` faults at once, each in records of its own. */
export function plantRound({ records, kinds, first, count, seed, random }: RoundOptions): Fault[] {
  const all = [...records.values()];
  const drawn = drawPositions(all.length, 2 * count, seed);
  const makers = Object.entries(kinds);
  return Array.from({ length: count }, (_, i): Fault => {
    const [one, other] = [all[drawn[2 * i] ?? 0], all[drawn[2 * i + 1] ?? 0]];
    const [kind, make] = makers[(first + i) % makers.length] ?? [];
    if (one === undefined || other === undefined || kind === undefined || make === undefined)
      throw new Error(`a round of ${count} faults needs ${2 * count} records`);
    const nextId = String(Number(one.id) + pick([1, -1], random));
    return { kind, ...make({ one, other, nextId, freeId: String(1_000_000 + seed * 1000 + i), random }) };
  });
}
