import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Batch, denseVector } from '../../lib/batch.ts';
import { distanceBetween } from '../../lib/distance.ts';
import { type Condition, conditionsOf, type Filter, filterSchema, meets, type Scalar } from '../../lib/filter.ts';
import { seededRandom } from '../../lib/sample.ts';
import { type FieldSpec, type SearchSettings, searchSettingNames, type VectorSpec } from '../../lib/schema.ts';
import type { SearchRequest, Store, StoreKind } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';

/** The part of the contract that is about searching: filters, settings, what a search depends on, and what can be kept. */

/**
 * True for a condition that the store cannot answer for some record of the collection, and so refuses as Incompatible:
 * what it cannot do is written out here, and everything else it has to answer as `meets` does.
 */
export type Refuses = (condition: Condition, payloads: readonly string[]) => boolean;

export interface SearchContract {
  readonly kind: StoreKind;
  readonly vector: VectorSpec;
  readonly makeId: (index: number) => string;
  /** Prepares the collection with these fields declared, writes the batch and builds the index. */
  readonly filled: (collection: string, batch: Batch, fields: readonly FieldSpec[] | undefined) => Promise<Store>;
  readonly refuses?: Refuses | undefined;
  /** For stores that filter on declared fields alone. Left out: nothing is declared. */
  readonly fields?: readonly FieldSpec[] | undefined;
}

/** Values that filters have been wrong about, by field. */
const columns: Readonly<Record<string, readonly string[]>> = {
  whole: ['0', '1', '2', '-3', '7', 'null', '9007199254740993', '1'],
  real: ['-0.0', '0.5', '1.5', '-0.5', '1.0', '2', '-1.5', 'null', '1e2', '0.1'],
  text: [
    '"a"',
    '"A"',
    '"é"',
    '"e\u0301"',
    '"it\'s"',
    '"\\"q\\""',
    '"50%"',
    '"a_b"',
    '""',
    'null',
    '"🦜"',
    '"1"',
    '"back\\\\slash"',
  ],
  flag: ['true', 'false', 'null'],
  tags: ['["a","b"]', '["b"]', '[]', '["it\'s","🦜"]', 'null', '["ab"]'],
  counts: ['[1,2]', '[2,30]', '[1.5]', '[-1,9]', '[]'],
  any: ['1', '"1"', 'true', '["1"]', '[1,2]', 'null', '1.5', '{"any":1}', '["a",1,null,true]', '"true"'],
  "it's": ['1', '"x"'],
  'a.b': ['1', '2'],
  a: ['{"b":2}', '{"b":1}'],
  'q"uo`ted': ['"x"', '"y"'],
  'two words': ['true', 'false'],
  '🦜': ['"x"', '"y"'],
  toString: ['"x"', '"y"'],
};

const count = 120;
const payloads = drawPayloads(seededRandom(5));

/** Each field's value is drawn apart from the others', one time in as many as there are values it is missing. */
function drawPayloads(random: () => number): readonly string[] {
  return Array.from({ length: count }, () => {
    const members = Object.entries(columns).flatMap(([name, values]) => {
      const raw = values[Math.floor(random() * (values.length + 1))];
      return raw === undefined ? [] : [`${JSON.stringify(name)}:${raw}`];
    });
    return `{${members.join(',')}}`;
  });
}

const scalars: readonly Scalar[] = [
  ...[0, 1, 2, -3, 7, 0.5, 1.5, -0.5, -1.5, 100, 0.1, 30, Number.MAX_SAFE_INTEGER],
  ...[
    'a',
    'A',
    'é',
    'e\u0301',
    "it's",
    '"q"',
    '50%',
    'a_b',
    '',
    '🦜',
    '1',
    'b',
    'x',
    'true',
    'back\\slash',
    "' OR 1=1 --",
    '5_%',
  ],
  ...[true, false],
];
const numbers = scalars.filter((value) => typeof value === 'number');
const conditions = fc.oneof(
  fc.constantFrom(...scalars),
  fc.record({ in: fc.uniqueArray(fc.constantFrom(...scalars), { minLength: 1, maxLength: 4 }) }),
  fc
    .record(
      {
        gt: fc.constantFrom(...numbers),
        gte: fc.constantFrom(...numbers),
        lt: fc.constantFrom(...numbers),
        lte: fc.constantFrom(...numbers),
      },
      { requiredKeys: [] },
    )
    .filter((bounds) => Object.keys(bounds).length > 0),
);
const filters: fc.Arbitrary<Filter> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...Object.keys(columns), 'nowhere'), conditions)
      .map(([name, each]) => ({ [name]: each })),
  },
  {
    weight: 1,
    arbitrary: fc.dictionary(fc.constantFrom(...Object.keys(columns)), conditions, { minKeys: 2, maxKeys: 3 }),
  },
);

/** What has to work everywhere, whatever the seed draws. */
const everyday: readonly Filter[] = [
  { text: 'a' },
  { whole: 1 },
  { real: { gte: 0.5, lt: 1.5 } },
  { whole: { gt: -3, lte: 2 } },
  { flag: true },
  { text: { in: ['a', "it's", '🦜'] } },
  { flag: false, whole: { gte: 0 } },
];

export function searchContract({ kind, vector, makeId, filled, refuses = () => false, fields }: SearchContract): void {
  const { name } = vector;
  const batch = makeBatch({ ids: payloads.map((_, i) => makeId(i)), vectors: [vector], payloads, seed: 11 });
  const query = new Float32Array([0.3, -0.7, 0.2, 0.6]);
  const { capabilities } = kind;

  describe('searching', () => {
    let store: Store;
    beforeAll(async () => {
      store = await filled('contract_search', batch, fields);
    });
    const ask = async (request: Partial<SearchRequest>): Promise<readonly string[]> =>
      (await store.search({ vector: name, query, k: count, ...request })).map(({ id }) => id);

    test.each(everyday)('with %j finds the records that meet it, nearest first', async (filter) => {
      const asked = conditionsOf(filterSchema.parse(filter));
      const expected = nearest(batch, vector, query, asked);
      expect(expected.length).toBeGreaterThan(0);
      expect(await ask({ filter: asked, exact: true })).toEqual(expected);
      expect(await ask({ filter: asked, exact: true, k: 3 })).toEqual(expected.slice(0, 3));
      // Without `exact` some may be missed; none may be found that does not meet it.
      const near = await ask({ filter: asked });
      expect(near.filter((id) => !expected.includes(id))).toEqual([]);
      expect(near.length).toBeGreaterThan(0);
    });

    test('with any filter finds just the records that meet it, or says that it cannot tell', async () => {
      await fc.assert(
        fc.asyncProperty(filters, async (filter) => {
          const asked = conditionsOf(filterSchema.parse(filter));
          if (asked.some((each) => refuses(each, payloads))) {
            await expect(ask({ filter: asked, exact: true })).rejects.toMatchObject({ name: 'Incompatible' });
            return;
          }
          const found = await ask({ filter: asked, exact: true });
          expect([...found].sort()).toEqual([...nearest(batch, vector, query, asked)].sort());
        }),
        { seed: 2026, numRuns: 250 },
      );
    });

    test('with an empty filter finds what it finds without one', async () => {
      expect(await ask({ filter: [], exact: true })).toEqual(nearest(batch, vector, query, []));
    });

    test('finds what was written since the last search, and no longer what was replaced', async () => {
      const few = makeBatch({
        ids: [makeId(0), makeId(1)],
        vectors: [vector],
        payloads: ['{"text":"a"}', '{"text":"b"}'],
      });
      const later = await filled('contract_search_later', few, fields);
      const request = { vector: name, query, k: 10, exact: true, filter: conditionsOf({ text: 'a' }) };
      expect((await later.search(request)).map(({ id }) => id)).toEqual([makeId(0)]);
      const changed = makeBatch({ ids: few.ids, vectors: [vector], payloads: ['{"text":"c"}', '{"text":"a"}'] });
      await later.write(changed, { position: { run: 'r2', shard: '00000-000', offset: 0 }, mode: 'upsert' });
      expect((await later.search(request)).map(({ id }) => id)).toEqual([makeId(1)]);
    });

    test.each(searchSettingNames)(
      'with the setting %s is carried out, or refused where the store does not heed it',
      async (setting) => {
        const settings = settingsOf(setting, 32);
        if (capabilities.searchSettings.includes(setting)) expect((await ask({ settings, k: 5 })).length).toBe(5);
        else {
          await expect(ask({ settings, k: 5 })).rejects.toMatchObject({
            name: 'InvalidEvent',
            message: expect.stringContaining(setting),
          });
        }
      },
    );

    test('says what it depends on, within what the store can heed at all', async () => {
      const { current, heeds, isQuantized } = await store.tuning(name);
      expect(isQuantized).toBe(false);
      const most = new Map(Object.entries(heeds));
      for (const [setting, value] of Object.entries(current)) {
        expect(capabilities.searchSettings).toContain(setting);
        const limit = most.get(setting);
        if (typeof limit === 'number') expect(Number(value)).toBeLessThanOrEqual(limit);
      }
      // Whatever it says it heeds can be asked for, up to the limit that it names.
      for (const setting of searchSettingNames.filter((each) => most.has(each))) {
        expect(capabilities.searchSettings).toContain(setting);
        const limit = most.get(setting);
        const value = typeof limit === 'number' ? Math.min(limit, 64) : 64;
        expect(value).toBeGreaterThanOrEqual(1);
        expect(await ask({ settings: settingsOf(setting, value), k: 3 })).toHaveLength(3);
      }
    });

    test('keeps settings so that they are in effect, or changes nothing and says what the application has to do', async () => {
      const before = await store.tuning(name);
      const settings: SearchSettings = { efSearch: 77 };
      const told = await store.keepSearch(name, settings, { dryRun: true });
      expect([told.kept, await store.tuning(name)]).toEqual([false, before]);
      const { kept, how } = await store.keepSearch(name, settings);
      const after = await store.tuning(name);
      expect(how.length).toBeGreaterThan(10);
      if (kept) expect(capabilities.keepsSearch).toBe(true);
      if (kept) expect(after.current).toMatchObject(settings);
      else {
        expect(after).toEqual(before);
        if (capabilities.searchSettings.includes('efSearch')) expect(how).toContain('77');
      }
      expect(await ask({ k: 5 })).toHaveLength(5);
    });
  });
}

function settingsOf(setting: keyof SearchSettings, value: number): SearchSettings {
  return setting === 'rescore' || setting === 'iterativeScan' ? { [setting]: true } : { [setting]: value };
}

/** Ids of the records that meet the filter by lib/filter.ts, nearest first. */
function nearest(
  batch: Batch,
  { name, distance }: VectorSpec,
  query: Float32Array,
  asked: readonly Condition[],
): readonly string[] {
  const found = batch.vectors.get(name);
  if (found?.kind !== 'dense' || distance === undefined) throw new Error(`no dense vector '${name}' with a distance`);
  const between = distanceBetween[distance];
  return batch.ids
    .map((id, at) => ({ id, far: between(query, denseVector(found, at)), payload: batch.payloads[at] ?? '' }))
    .filter(({ payload }) => meets(asked, payload))
    .sort((one, other) => one.far - other.far)
    .map(({ id }) => id);
}
