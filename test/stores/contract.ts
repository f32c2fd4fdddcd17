/** Over 400 lines: the one suite that every store passes. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Batch, column, concatBatches, denseVector, hasVector } from '../../lib/batch.ts';
import { recordDifference, treatmentsOf } from '../../lib/compare/record-equal.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { CollectionSchema, FieldSpec, VectorSpec } from '../../lib/schema.ts';
import type { Store, StoreKind } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { until } from '../until.ts';
import { deleteContract } from './contract-delete.ts';
import { dropContract } from './contract-drop.ts';
import { insertContract } from './contract-insert.ts';
import { type Refuses, searchContract } from './contract-search.ts';

/**
 * The one suite that every store passes. A store's test file is a factory and its flags; what a store cannot do is
 * written out there, and the suite then expects the refusal.
 */

/** Opens a handle on the collection called `name`; handles on the same name see the same records. */
export type MakeStore = (name: string) => Promise<Store>;

export interface ContractFlags {
  readonly kind: StoreKind;
  /** Makes the i-th id of a kind the store holds. Ids ascend in the store's key order, so ranges can be checked. */
  readonly makeId?: (index: number) => string;
  /** Name of the one dense vector. */
  readonly vectorName?: string;
  /** True when a read of a range comes in key order; false: any order within the range. */
  readonly readsInKeyOrder?: boolean;
  /** Filters that the store refuses, for records of the contract's own; left out: it answers all. */
  readonly refuses?: Refuses;
  /** Fields of the filtered collection that are declared; left out: none. */
  readonly fields?: readonly FieldSpec[];
}

/** Payloads that have broken tools like this one, as JSON text. All stores take all of them, and give back equal values. */
export const awkwardPayloads: Readonly<Record<string, string>> = {
  empty: '{}',
  'an integer above 2^53': '{"n":9007199254740993,"low":-9007199254740993}',
  'a float with all its digits': '{"x":0.1,"y":1.7976931348623157e308,"z":-2.5}',
  'a decimal as text': '{"price":"123456789012345678901234567890.123456789"}',
  'a timestamp with zone': '{"at":"2026-03-29T02:30:00.123456+02:00"}',
  'nested objects': '{"a":{"b":[1,{"c":null},[true,false]],"d":{}},"list":[]}',
  'null against missing': '{"here":null}',
  'empty strings': '{"s":"","":"an empty key"}',
  emoji: '{"🦜":"👩‍👩‍👧‍👦 café ﷽"}',
  'keys with dots': '{"a.b":1,"a":{"b":2},"$set":{"x.y":3}}',
  'quotes, backslashes and control characters': '{"q":"\\"\\\\ \\n\\t\\u0001 </script>"}',
  '1 MB of text': JSON.stringify({ text: 'vec ferry '.repeat(104_858) }),
};

export function storeContract(name: string, make: MakeStore, flags: ContractFlags): void {
  const {
    kind,
    makeId = (i: number) => String(i + 1),
    vectorName = kind.capabilities.defaultVectorName ?? 'embedding',
  } = flags;
  const vector: VectorSpec = {
    name: vectorName,
    kind: 'dense',
    dimension: 4,
    distance: kind.capabilities.distances[0] ?? 'cosine',
    precision: 'float32',
  };
  const schema = schemaOf(kind, makeId(0), [vector]);
  const records = (count: number, first = 0): Batch =>
    makeBatch({ ids: Array.from({ length: count }, (_, i) => makeId(first + i)), vectors: [vector] });
  const opened: Store[] = [];
  const open = async (collection: string): Promise<Store> => {
    const store = await make(collection);
    opened.push(store);
    return store;
  };
  const filled = async (collection: string, batch: Batch, prepared = schema): Promise<Store> => {
    const store = await open(collection);
    await store.prepare(prepared);
    if (batch.count > 0)
      await store.write(batch, { position: { run: 'r1', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    await buildIndex(store, prepared);
    return store;
  };

  describe(`${name} keeps the store contract`, () => {
    afterAll(async () => {
      await Promise.all(opened.map((store) => store.close()));
    });

    test('a collection that is not there is NotFound, not empty', async () => {
      const store = await open('contract_none');
      await expect(store.describe()).rejects.toMatchObject({ name: 'NotFound' });
    });

    describe('with 250 records', () => {
      let store: Store;
      const batch = records(250);
      beforeAll(async () => {
        store = await filled('contract_250', batch);
      });

      test('describes the vectors as they were prepared, and counts exactly', async () => {
        const described = await store.describe();
        expect(described.count).toBe(250);
        expect(await store.count()).toBe(250);
        expect(described.schema.store).toBe(kind.name);
        expect(described.schema.vectors).toMatchObject([
          { name: vectorName, kind: 'dense', dimension: 4, distance: vector.distance },
        ]);
        expect(described.payloadBytes).toBeGreaterThan(5);
      });

      test('fetches by id what was written, and leaves out ids that are not there', async () => {
        const ids = [3, 99, 249].map((i) => makeId(i));
        const found = await store.fetch([...ids, makeId(5000)]);
        expect([...found.ids].sort()).toEqual([...ids].sort());
        expectSameRecords(found, batch, kind, vector);
      });

      test.each([1, 7, 100, 1000])(
        'ranges of %i records cover every record once, without gap or overlap',
        async (perRange) => {
          const ranges = await store.ranges({ records: perRange });
          expect(ranges[0]?.from).toBeNull();
          expect(ranges.at(-1)?.to).toBeNull();
          for (const [at, range] of ranges.entries()) if (at > 0) expect(range.from).toBe(ranges[at - 1]?.to);
          const ids: string[] = [];
          for (const range of ranges) {
            for await (const { batch: piece } of store.read(range, { maxRecords: 64, maxBytes: 1 << 20 }))
              ids.push(...piece.ids);
          }
          expect([...ids].sort()).toEqual([...batch.ids].sort());
        },
      );

      test('reads every record whole, in batches that keep to the limit', async () => {
        const pieces: Batch[] = [];
        for await (const { batch: piece } of store.read(
          { from: null, to: null },
          { maxRecords: 64, maxBytes: 1 << 20 },
        )) {
          expect(piece.count).toBeLessThanOrEqual(64);
          expect(piece.count).toBeGreaterThan(0);
          pieces.push(piece);
        }
        expectSameRecords(concatBatches(pieces), batch, kind, vector);
      });

      test('batches keep to the limit in bytes', async () => {
        let count = 0;
        for await (const { batch: piece } of store.read(
          { from: null, to: null },
          { maxRecords: 1000, maxBytes: 1000 },
        )) {
          expect(piece.count).toBeLessThan(100);
          count += piece.count;
        }
        expect(count).toBe(250);
      });

      test('the rest of a range begins right after its piece, so a read that was cut off goes on', async () => {
        const first: string[] = [];
        let rest: { from: string | null; to: string | null } | null = null;
        for await (const piece of store.read({ from: null, to: null }, { maxRecords: 60, maxBytes: 1 << 20 })) {
          first.push(...piece.batch.ids);
          rest = piece.rest;
          break;
        }
        expect(rest).not.toBeNull();
        const others: string[] = [];
        for await (const piece of store.read(rest ?? { from: null, to: null }, { maxRecords: 60, maxBytes: 1 << 20 })) {
          others.push(...piece.batch.ids);
          rest = piece.rest;
        }
        expect(rest).toBeNull();
        expect([...first, ...others].sort()).toEqual([...batch.ids].sort());
      });

      test('searches find the nearest record first', async () => {
        const query = denseVector(dense(batch, vectorName), 42);
        const hits = await store.search({ vector: vectorName, query, k: 5 });
        expect(hits).toHaveLength(5);
        expect(hits[0]?.id).toBe(vector.distance === 'dot' ? hits[0]?.id : makeId(42));
        const exact = await store.search({ vector: vectorName, query, k: 5, exact: true });
        expect(exact.map(({ id }) => id)).toContain(hits[0]?.id);
      });

      test('preparing it again changes nothing, and another shape is refused', async () => {
        await store.prepare(schema);
        expect(await store.count()).toBe(250);
        const other = { ...schema, vectors: [{ ...vector, dimension: 5 }] };
        await expect(store.prepare(other)).rejects.toMatchObject({ name: 'Incompatible' });
      });
    });

    searchContract({
      kind,
      vector,
      makeId,
      filled: (collection, batch, fields) =>
        filled(collection, batch, fields === undefined ? schema : { ...schema, fields: [...fields] }),
      refuses: flags.refuses,
      fields: flags.fields,
    });

    test('the same write twice leaves the same records, since a message may be delivered twice', async () => {
      const store = await filled('contract_twice', records(20));
      const again = await store.write(records(20), {
        position: { run: 'r1', shard: '00000-000', offset: 0 },
        mode: 'upsert',
      });
      expect(again.written).toBe(20);
      expect(await store.count()).toBe(20);
    });

    test('two writers of the same batch at once leave each record once', async () => {
      const store = await filled('contract_race', records(0));
      const position = { run: 'r1', shard: '00000-000', offset: 0 };
      const other = await open('contract_race');
      const tallies = await Promise.all(
        [store, other].map((each) => each.write(records(40), { position, mode: 'upsert' })),
      );
      expect(tallies.map(({ written }) => written)).toEqual([40, 40]);
      expect(await store.count()).toBe(40);
    });

    test('an upsert under another position replaces the record', async () => {
      const store = await filled('contract_upsert', records(3));
      const changed = makeBatch({ ids: [makeId(1)], vectors: [vector], payloads: ['{"changed":true}'] });
      await store.write(changed, { position: { run: 'r2', shard: '00000-000', offset: 0 }, mode: 'upsert' });
      expect(await store.count()).toBe(3);
      expect(canonicalJson((await store.fetch([makeId(1)])).payloads[0] ?? '')).toBe('{"changed":true}');
    });

    deleteContract({
      kind,
      vector,
      open,
      filled,
      records,
      makeId,
      sameRecords: (found, written) => expectSameRecords(found, written, kind, vector),
    });

    dropContract({
      kind,
      open,
      filled,
      records,
      makeId,
      sameRecords: (found, written) => expectSameRecords(found, written, kind, vector),
    });

    if (kind.capabilities.insertOnly)
      insertContract({
        open,
        filled,
        records,
        makeId,
        sameRecords: (found, written) => expectSameRecords(found, written, kind, vector),
      });

    test('an empty collection is described, counted, cut into ranges and read as nothing', async () => {
      const store = await filled('contract_empty', records(0));
      expect((await store.describe()).count).toBe(0);
      const ranges = await store.ranges({ records: 100 });
      expect(ranges.length).toBeGreaterThanOrEqual(1);
      for (const range of ranges) {
        for await (const { batch } of store.read(range, { maxRecords: 10, maxBytes: 1000 }))
          expect(batch.count).toBe(0);
      }
      expect((await store.fetch([makeId(0)])).count).toBe(0);
      expect(await store.search({ vector: vectorName, query: new Float32Array([1, 0, 0, 0]), k: 3 })).toEqual([]);
    });

    test('one record is moved like many', async () => {
      const store = await filled('contract_one', records(1));
      const read: string[] = [];
      for await (const { batch, rest } of store.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1000 })) {
        read.push(...batch.ids);
        expect(rest).toBeNull();
      }
      expect(read).toEqual([makeId(0)]);
    });

    test('numbers with a fraction come back as the capabilities say, because validation allows for no more than that', async () => {
      const random = seededRandom(9);
      const sizes = [1, 1e6, 1e-9];
      const scores = Array.from({ length: 600 }, (_, at) => random() * (sizes[at % sizes.length] ?? 1));
      const payloads = scores.map((score) => JSON.stringify({ score, whole: 9_007_199_254_740_991 }));
      const ids = scores.map((_, at) => makeId(at));
      const written = makeBatch({ ids, vectors: [vector], payloads });
      const store = await filled('contract_doubles', written);
      const found = await store.fetch(ids);
      const treatments = treatmentsOf({ vectors: [vector] }, kind.capabilities);
      const wrong = found.ids.flatMap(
        (id, at) => recordDifference(written, ids.indexOf(id), found, at, treatments) ?? [],
      );
      expect(found.count).toBe(600);
      expect(wrong).toEqual([]);
    });

    test.each(Object.entries(awkwardPayloads))('a payload with %s comes back equal as JSON', async (what, payload) => {
      const store = await filled(
        `contract_p_${what
          .replace(/[^a-z0-9]/gi, '')
          .slice(0, 20)
          .toLowerCase()}`,
        makeBatch({ ids: [makeId(0)], vectors: [vector], payloads: [payload] }),
      );
      expect(canonicalJson((await store.fetch([makeId(0)])).payloads[0] ?? '')).toBe(canonicalJson(payload));
      for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1 << 22 })) {
        expect(canonicalJson(batch.payloads[0] ?? '')).toBe(canonicalJson(payload));
      }
    });

    if (kind.capabilities.missingVectors) {
      test('a record without a vector keeps its payload, and is counted', async () => {
        const store = await filled(
          'contract_missing',
          makeBatch({ ids: [makeId(0), makeId(1)], vectors: [vector], missing: [1] }),
        );
        const found = await store.fetch([makeId(0), makeId(1)]);
        expect(found.count).toBe(2);
        for (const [at, id] of found.ids.entries())
          expect(hasVector(column(found, vectorName), at)).toBe(id === makeId(0));
      });
    }

    if (kind.capabilities.severalVectors) {
      test('several vectors a record, of every kind the store has, come back as they were', async () => {
        const vectors: VectorSpec[] = [
          { name: 'title', kind: 'dense', dimension: 4, distance: vector.distance, precision: 'float32' },
          { name: 'body', kind: 'dense', dimension: 3, distance: vector.distance, precision: 'float32' },
        ];
        // The size of a sparse index space matters only to stores that fix one.
        if (kind.capabilities.vectorKinds.includes('sparse'))
          vectors.push({ name: 'terms', kind: 'sparse', dimension: 1000, distance: 'dot', precision: 'float32' });
        if (kind.capabilities.vectorKinds.includes('multi'))
          vectors.push({ name: 'late', kind: 'multi', dimension: 2, distance: vector.distance, precision: 'float32' });
        const batch = makeBatch({ ids: Array.from({ length: 12 }, (_, i) => makeId(i)), vectors });
        const store = await open('contract_several');
        await store.prepare(schemaOf(kind, makeId(0), vectors));
        await store.write(batch, { position: { run: 'r1', shard: '00000-000', offset: 0 }, mode: 'upsert' });
        const found = await store.fetch(batch.ids);
        expect(found.count).toBe(12);
        for (const spec of vectors) expectSameRecords(found, batch, kind, spec);
      });
    }

    if (kind.capabilities.pointer !== false) {
      test('the pointer is read, moved in one step, moved back, and taken away', async () => {
        const store = await filled('contract_point_a', records(2));
        await filled('contract_point_b', records(3));
        const pointer = store.pointer;
        if (pointer === undefined) throw new Error('capabilities.pointer is set, but the store has none');
        expect(await pointer.read('contract_live')).toBeUndefined();
        await pointer.move('contract_live', 'contract_point_a');
        expect(await pointer.read('contract_live')).toContain('contract_point_a');
        await pointer.move('contract_live', 'contract_point_b');
        await pointer.move('contract_live', 'contract_point_b');
        expect(await pointer.read('contract_live')).toContain('contract_point_b');
        await pointer.move('contract_live', undefined);
        expect(await pointer.read('contract_live')).toBeUndefined();
        await expect(pointer.move('contract_live', 'contract_nowhere')).rejects.toMatchObject({ name: 'NotFound' });
      });
    }
  });
}

function schemaOf(kind: StoreKind, id: string, vectors: VectorSpec[]): CollectionSchema {
  const idType = /^\d+$/.test(id) ? 'integer' : /^[0-9a-f-]{36}$/.test(id) ? 'uuid' : 'string';
  return makeSchema({
    store: kind.name,
    idType: kind.capabilities.ids.string !== false && kind.capabilities.ids.integer === false ? 'string' : idType,
    vectors,
  });
}

async function buildIndex(store: Store, schema: CollectionSchema): Promise<void> {
  await store.buildIndex(schema);
  await until(async () => (await store.indexProgress(schema)).done, 'the index');
}

function dense(batch: Batch, name: string) {
  const found = column(batch, name);
  if (found.kind !== 'dense') throw new Error(`${name} is ${found.kind}`);
  return found;
}

/** Every record of `found` is as in `written`, as far as the store promises. */
function expectSameRecords(found: Batch, written: Batch, kind: StoreKind, spec: VectorSpec): void {
  const positions = new Map(written.ids.map((id, at) => [id, at]));
  for (const [at, id] of found.ids.entries()) {
    const from = positions.get(id);
    if (from === undefined) throw new Error(`record ${id} was never written`);
    expect(canonicalJson(found.payloads[at] ?? '')).toBe(canonicalJson(written.payloads[from] ?? ''));
    const normalised = kind.capabilities.normalisesCosine && spec.distance === 'cosine' && spec.kind !== 'sparse';
    const expected = floatsOf(written, spec.name, from, normalised);
    const actual = floatsOf(found, spec.name, at, false);
    expect(actual.length).toBe(expected.length);
    for (const [i, value] of expected.entries())
      expect(Math.abs((actual[i] ?? Number.NaN) - value)).toBeLessThanOrEqual(1e-6);
  }
}

/** Sparse: indices, then values. */
function floatsOf(batch: Batch, name: string, at: number, normalise: boolean): number[] {
  const found = column(batch, name);
  if (!hasVector(found, at)) return [];
  if (found.kind === 'dense') return scaled([...denseVector(found, at)], normalise);
  const [from, to] = [found.offsets[at] ?? 0, found.offsets[at + 1] ?? 0];
  if (found.kind === 'sparse') return [...found.indices.subarray(from, to), ...found.values.subarray(from, to)];
  const rows = Array.from({ length: to - from }, (_, row) => [
    ...found.values.subarray((from + row) * found.dimension, (from + row + 1) * found.dimension),
  ]);
  return rows.flatMap((row) => scaled(row, normalise));
}

function scaled(values: number[], normalise: boolean): number[] {
  const norm = normalise ? Math.hypot(...values) : 1;
  return values.map((value) => value / (norm || 1));
}
