import { fromBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Condition as GrpcCondition, QueryPointsSchema } from '@qdrant/js-client-grpc';
import { QdrantClient } from '@qdrant/js-client-rest';
import fc from 'fast-check';
import { type Condition, conditionsOf, meets } from '../../lib/filter.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { encodeSearch } from '../../lib/stores/qdrant/points.ts';
import { encodeRestSearch } from '../../lib/stores/qdrant/rest.ts';
import { searchOf } from '../../lib/stores/qdrant/search.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';

const position = { run: 'r', shard: '00000-000', offset: 0 };
const opened: Store[] = [];
const made = new Set<string>();
let client: QdrantClient;

const open = async (collection: string, options: Record<string, unknown> = {}): Promise<Store> => {
  made.add(collection);
  const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const store = await qdrant.open({ connection, collection, options });
  opened.push(store);
  return store;
};

beforeAll(async () => {
  client = new QdrantClient({ url: await qdrantUrl(), checkCompatibility: false });
});
afterAll(async () => {
  for (const name of made) await client.deleteCollection(name);
  await Promise.all(opened.map((store) => store.close()));
});

describe('a filter finds exactly the records that `meets` accepts', () => {
  const vector: VectorSpec = { name: '', kind: 'dense', dimension: 2, distance: 'dot', precision: 'float32' };
  const schema = makeSchema({ store: 'qdrant', vectors: [vector] });
  /** Values as JSON text, for 1 and 1.0 are one value and two texts. */
  const scalars = ['1', '1.0', '10e-1', '-0', '0', '0.1', '-2.5', '1e300', '9007199254740992', '9007199254740993'];
  const others = ['true', 'false', '"1"', '"true"', '""', '"café"', '"e\\u0301"', '"a.b"', '"null"', '2', '3.5', '-7'];
  const pool = [...scalars, ...others];
  const nested = [
    'null',
    '[]',
    '{}',
    '[null]',
    '[[1],2]',
    '{"b":1}',
    '{"b":"1"}',
    '[1.0,"1"]',
    '[true,"x"]',
    '[0.1,-7]',
  ];
  /** Top-level names that a path of Qdrant's would read otherwise, were they not in quotes. */
  const fields = ['n', 'a', 'a.b', 'x[]', 'x[0]', 'a b', '1', 'été_-', '$set', '#', 'ⅷ', "it's", 'n.n[].n'];
  const value = fc.constantFrom(...pool, ...nested);
  const payload = fc
    .dictionary(fc.constantFrom(...fields), value, { maxKeys: 6 })
    .map((entries) => `{${Object.entries(entries).map(([key, text]) => `${JSON.stringify(key)}:${text}`)}}`);
  const scalar = fc.constantFrom(...pool).map((text): string | number | boolean => JSON.parse(text));
  const number = fc.constantFrom(...scalars, '2', '3.5', '-7').map(Number);
  const isOpen = fc.boolean();
  const bound = fc.option(fc.record({ value: number, isOpen }), { nil: undefined });
  const condition = fc.constantFrom(...fields).chain(
    (field): fc.Arbitrary<Condition> =>
      fc.oneof(
        fc.array(scalar, { maxLength: 5 }).map((values) => ({ kind: 'in' as const, field, values })),
        fc.record({ from: bound, to: bound }).map(({ from, to }) => ({
          kind: 'range' as const,
          field,
          ...(from && { from }),
          ...(to && { to }),
        })),
      ),
  );
  const filters = fc.array(condition, { minLength: 1, maxLength: 2 });
  const payloads = fc.sample(payload, { seed: 7, numRuns: 300 });
  const ids = payloads.map((_, at) => String(at));
  const query = Float32Array.of(1, 1);

  describe.each(['grpc', 'rest'])('over %s', (transport) => {
    test.each([
      ['without payload indexes', {}],
      // An integer index holds integers only, so it finds no 3.5: such a field needs a float index, and any server says so.
      ['with them', { n: 'float', a: 'keyword', '"a.b"': 'keyword', '"a b"': 'bool', été_: 'float', '1': 'float' }],
    ])('%s', async (title, payloadIndexes) => {
      const collection = `filter_${transport}_${title.replaceAll(' ', '_')}`;
      await client.deleteCollection(collection);
      const store = await open(collection, { transport, payloadIndexes });
      await store.prepare(schema);
      await store.write(makeBatch({ ids, vectors: [vector], payloads }), { position, mode: 'upsert' });
      await store.buildIndex(schema);
      const indexed = (await store.describe()).schema.payloadIndexes.map(({ field }) => field);
      expect(indexed.sort()).toEqual(Object.keys(payloadIndexes).sort());
      await fc.assert(
        fc.asyncProperty(filters, async (filter) => {
          const hits = await store.search({ vector: '', query, k: ids.length, filter });
          const accepted = ids.filter((_, at) => meets(filter, payloads[at] ?? ''));
          expect(hits.map(({ id }) => Number(id)).sort((a, b) => a - b)).toEqual(accepted.map(Number));
        }),
        { seed: 3, numRuns: 150 },
      );
    });
  });

  test('a field that no path can name is refused, since another field must not be taken for it', () => {
    for (const field of ['a"b', 'a\\b'])
      expect(() => searchOf({ vector: '', query, k: 1, filter: conditionsOf({ [field]: 1 }) })).toThrow(
        expect.objectContaining({ name: 'Incompatible', ids: [field] }),
      );
  });

  test("in our protobuf is what Qdrant's own classes read, and says what the JSON over REST says", () => {
    fc.assert(
      fc.property(filters, (filter) => {
        const asked = searchOf({ vector: '', query, k: 3, filter });
        const sent = fromBinary(QueryPointsSchema, encodeSearch('c', asked)).filter;
        const body: unknown = JSON.parse(encodeRestSearch(asked));
        expect({ must: sent?.must.map(jsonOf) }).toEqual(Reflect.get(Object(body), 'filter'));
        expect([sent?.should, sent?.mustNot, sent?.minShould]).toEqual([[], [], undefined]);
      }),
      { numRuns: 300 },
    );
    const long = 'x'.repeat(200);
    const asked = searchOf({ vector: '', query, k: 1, filter: conditionsOf({ n: { in: [long, 'y'] } }) });
    const sent = fromBinary(QueryPointsSchema, encodeSearch('c', asked));
    expect(sent.filter?.must.map(jsonOf)).toEqual([{ key: 'n', match: { any: [long, 'y'] } }]);
    expect(fromBinary(QueryPointsSchema, encodeSearch('c', { ...asked, must: [] })).filter).toBeUndefined();
  });
});

/** A condition of Qdrant's classes in the JSON form of REST. */
function jsonOf({ conditionOneOf: one }: GrpcCondition): unknown {
  if (one.case === 'filter') return { should: one.value.should.map(jsonOf) };
  if (one.case !== 'field') throw new Error(`a condition is ${one.case}`);
  const { key, match, range } = one.value;
  if (range !== undefined) {
    const { lt, gt, gte, lte } = range;
    return JSON.parse(JSON.stringify({ key, range: { lt, gt, gte, lte } }));
  }
  const value = match?.matchValue;
  if (value?.case === 'keywords') return { key, match: { any: value.value.strings } };
  return { key, match: { value: value?.value } };
}
