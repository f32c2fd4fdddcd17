import { describe, expect, test } from '@jest/globals';
import type { Batch } from '../../../lib/batch.ts';
import { Throttled } from '../../../lib/errors.ts';
import {
  canonicalPayload,
  contentsDifference,
  keepContents,
  readContents,
  unprovenIn,
} from '../../../lib/migrate/backup/qdrant-contents.ts';
import { isSetUpAs } from '../../../lib/migrate/backup/qdrant-describe.ts';
import { settingsAdded, settingsLost } from '../../../lib/migrate/backup/qdrant-settings.ts';
import type { Store } from '../../../lib/stores/port.ts';

interface Row {
  readonly id: string;
  readonly title: readonly number[] | null;
  readonly words: readonly (readonly [number, number])[];
  readonly payload: string;
}

const rows = (count: number): Row[] =>
  Array.from({ length: count }, (_, at) => ({
    id: String(at),
    title: at % 5 === 4 ? null : [at, at + 0.5, -1],
    words: [
      [1, at],
      [7, 0.25],
    ],
    payload: `{"rank":${at},"tags":["a","b"]}`,
  }));

const batchOf = (some: readonly Row[]): Batch => ({
  count: some.length,
  ids: some.map(({ id }) => id),
  payloads: some.map(({ payload }) => payload),
  vectors: new Map([
    [
      'title',
      {
        kind: 'dense',
        dimension: 3,
        values: Float32Array.from(some.flatMap(({ title }) => title ?? [0, 0, 0])),
        present: Uint8Array.from(some, ({ title }) => (title === null ? 0 : 1)),
      },
    ],
    [
      'words',
      {
        kind: 'sparse',
        offsets: Uint32Array.from([0, ...some.map((_, at) => some.slice(0, at + 1).flatMap((r) => r.words).length)]),
        indices: Uint32Array.from(some.flatMap(({ words }) => words.map(([index]) => index))),
        values: Float32Array.from(some.flatMap(({ words }) => words.map(([, value]) => value))),
      },
    ],
  ]),
});

const reader = (some: readonly Row[], size = 100): Pick<Store, 'read'> => ({
  async *read() {
    for (let at = 0; at < some.length; at += size) yield { batch: batchOf(some.slice(at, at + size)), rest: null };
  },
});
const contents = async (some: readonly Row[], size?: number) => await readContents(reader(some, size));
/** What a restore says that brought `found`, of a backup of `held` that nobody wrote to meanwhile. */
const difference = async (held: readonly Row[], found: readonly Row[]): Promise<string | undefined> => {
  const before = await contents(held);
  return contentsDifference(keepContents(before, before), await contents(found))?.text;
};
const changed = (at: number, change: Partial<Row>): readonly Row[] =>
  rows(300).map((row, each) => (each === at ? { ...row, ...change } : row));

describe('what a collection holds', () => {
  test('is the same in any order and any pages, since a server with several shards promises neither', async () => {
    expect(await difference(rows(300), [...rows(300)].reverse())).toBeUndefined();
    const [one, other] = [await contents(rows(300), 7), await contents(rows(300), 300)];
    expect(keepContents(one, one)).toEqual(keepContents(other, other));
  });

  test.each([
    ['a float of a vector by its last bit', { title: [17, 17.500001907348633, -1] }, "vector 'title' of up to"],
    ['the sign of a zero', { title: [17, 17.5, -0] }, "vector 'title' of up to"],
    ['a vector that is gone', { title: null }, "vector 'title' of up to"],
    [
      'the index of a sparse value',
      {
        words: [
          [1, 17],
          [8, 0.25],
        ] as const,
      },
      "vector 'words' of up to",
    ],
    ['a payload field', { payload: '{"rank":18,"tags":["a","b"]}' }, 'payload of up to'],
    [
      'a field that is null and was not there',
      { payload: '{"rank":17,"tags":["a","b"],"x":null}' },
      'payload of up to',
    ],
    ['an integer beyond 2^53', { payload: '{"rank":9007199254740993,"tags":["a","b"]}' }, 'payload of up to'],
    ['an integer that became a double', { payload: '{"rank":17.0,"tags":["a","b"]}' }, 'payload of up to'],
    ['the order of a list', { payload: '{"rank":17,"tags":["b","a"]}' }, 'payload of up to'],
    ['an id', { id: '100017' }, '1 record fewer; 1 record more'],
  ] as const)('shows %s', async (_, change, said) => {
    // A vector of zeros in the third place, so that its sign can change.
    const held =
      'title' in change && Object.is(change.title?.[2], -0) ? changed(17, { title: [17, 17.5, 0] }) : rows(300);
    expect(await difference(held, changed(17, change))).toContain(said);
  });

  test('shows two records whose payloads changed places, and records that are gone or came', async () => {
    const swapped = rows(300).map((row, at, all) => (at < 2 ? { ...row, payload: all[1 - at]?.payload ?? '' } : row));
    expect(await difference(rows(300), swapped)).toContain('payload of up to');
    expect(await difference(rows(300), rows(297))).toBe('3 records fewer');
    expect(await difference(rows(297), rows(300))).toBe('3 records more');
    expect(await difference(rows(3), [])).toBe('3 records fewer');
  });

  test('is not proven where it was written to meanwhile, and is where it was not', async () => {
    const [before, after] = [await contents(rows(300)), await contents(changed(17, { payload: '{}' }))];
    const kept = keepContents(before, after);
    expect(kept.changed).toHaveLength(1);
    // Of 300 records in 1,024 buckets few share one.
    expect(unprovenIn(kept)).toBeGreaterThanOrEqual(1);
    expect(unprovenIn(kept)).toBeLessThan(10);
    // The snapshot may hold either.
    expect(contentsDifference(kept, before)).toBeUndefined();
    expect(contentsDifference(kept, after)).toBeUndefined();
    const far = rows(300).map((row) => (row.id === '200' ? { ...row, payload: '{}' } : row));
    expect(contentsDifference(kept, await contents(far))?.text).toContain('payload of up to');
  });

  test('is the same where doubles drift in their last digits, as Qdrant reads them back, and not where one is another', async () => {
    const scored = (of: (at: number) => number): Row[] =>
      rows(3000).map((row, at) => ({ ...row, payload: `{"a":${of(at)},"b":[${of(at + 0.5)},{"c":1e300}]}` }));
    const score = (at: number): number => Math.sin(at + 1) * 10 ** ((at % 24) - 12);
    const drifted = (at: number): number => score(at) * (1 + (at % 3 === 0 ? 2 ** -52 : 0));
    expect(drifted(3)).not.toBe(score(3));
    expect(await difference(scored(score), scored(drifted))).toBeUndefined();
    for (const wrong of [
      (at: number) => (at === 17 ? score(17) * (1 + 1e-7) : score(at)),
      (at: number) => (at === 17 ? score(19) : at === 19 ? score(17) : score(at)),
      (at: number) => (at === 17 ? -score(17) : score(at)),
      (at: number) => (at === 17 ? 0.1 : score(at)),
    ])
      expect(await difference(scored(score), scored(wrong))).toContain('payload of up to');
  });

  test('is read on where it was when a server is busy, as strict mode makes it by the page, and given up when it stays so', async () => {
    const all = rows(300);
    let asked = 0;
    const busy: Pick<Store, 'read'> = {
      async *read({ from }) {
        // A page, and then no other in this read.
        asked++;
        const at = from === null ? 0 : Number(from);
        const next = at + 100;
        yield { batch: batchOf(all.slice(at, next)), rest: next < 300 ? { from: String(next), to: null } : null };
        if (next < 300) throw new Throttled('busy', { retryAfterMs: 1 });
      },
    };
    const [one, other] = [await readContents(busy), await contents(all)];
    expect(asked).toBe(3);
    expect(keepContents(one, one)).toEqual(keepContents(other, other));
    const never: Pick<Store, 'read'> = {
      // biome-ignore lint/correctness/useYield: it never comes to that
      async *read() {
        throw new Throttled('busy', { retryAfterMs: 1 });
      },
    };
    await expect(readContents(never)).rejects.toMatchObject({ name: 'Throttled' });
  });

  test('names records to look at', async () => {
    const held = await contents(rows(300));
    const found = changed(17, { payload: '{}' });
    const wrong = contentsDifference(keepContents(held, held), await contents(found));
    expect((await readContents(reader(found), wrong?.buckets)).suspected).toContain('17');
  });

  test('takes the same bytes however many records there are', async () => {
    const size = async (count: number): Promise<number> => {
      const found = await contents(rows(count), 1000);
      return JSON.stringify(keepContents(found, found)).length;
    };
    expect(await size(5000)).toBeLessThan((await size(10)) + 100);
  });
});

describe('a payload in one spelling', () => {
  test.each([
    ['{"b":1,"a":{"d":2,"c":3}}', '{ "a" : { "c":3, "d":2 }, "b":1 }'],
    ['{"x":1e300}', '{"x":1e+300}'],
    ['{"x":"\\u00e9\\n"}', '{"x":"é\\u000a"}'],
  ])('%s is %s', (one, other) => {
    expect(canonicalPayload(one)).toEqual(canonicalPayload(other));
  });

  test.each([
    ['{"x":1}', '{"x":1.0}'],
    ['{"x":"1"}', '{"x":1}'],
    ['{"x":null}', '{}'],
    ['{"x":-0.0}', '{"x":0.0}'],
    ['{"x":[]}', '{"x":{}}'],
    ['{"x":1.5}', '{"x":-1.5}'],
    ['{"x":18446744073709551615}', '{"x":18446744073709551614}'],
  ])('%s is not %s', (one, other) => {
    expect(canonicalPayload(one)).not.toEqual(canonicalPayload(other));
  });
});

describe('how a collection was set up', () => {
  test('is the same in any order of its members: a collection that is as it was is restored in place, and goes on answering', () => {
    const setUp = { config: { m: 16, ef: 100 }, fields: { rank: 'integer', word: { type: 'keyword', on_disk: true } } };
    const again = { config: { ef: 100, m: 16 }, fields: { word: { on_disk: true, type: 'keyword' }, rank: 'integer' } };
    expect(isSetUpAs(again, setUp)).toBe(true);
    expect(isSetUpAs({ ...again, fields: { rank: 'integer' } }, setUp)).toBe(false);
  });

  const held = {
    config: { hnsw: { m: 16, payload_m: null }, list: [1, 2], quantization: null },
    fields: { rank: 'integer' },
  };
  test('is lost where a value is another, is gone, or was said to be none', () => {
    expect(settingsLost(held, held)).toEqual([]);
    const found = { config: { hnsw: { m: 8, payload_m: 4 }, list: [2, 1], quantization: { scalar: {} } }, fields: {} };
    expect(settingsLost(held, found)).toEqual([
      'config.hnsw.m is 8 and was 16',
      'config.hnsw.payload_m is 4 and was null',
      'config.list is [2,1] and was [1,2]',
      'config.quantization is {"scalar":{}} and was null',
      'fields.rank is null and was "integer"',
    ]);
  });
  test('is added to where another version of the server has a word that the old one had not', () => {
    const found = { ...held, config: { ...held.config, newer: { on: true } } };
    expect(settingsLost(held, found)).toEqual([]);
    expect(settingsAdded(held, found)).toEqual(['config.newer is {"on":true}']);
  });
});
