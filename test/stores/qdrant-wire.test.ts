import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import {
  DeletePointsSchema,
  GetPointsSchema,
  type PointStruct,
  QueryPointsSchema,
  QueryResponseSchema,
  ScrollPointsSchema,
  ScrollResponseSchema,
  UpdateMode,
  UpsertPointsSchema,
  type Value,
  type Vector,
} from '@qdrant/js-client-grpc';
import fc from 'fast-check';
import { column } from '../../lib/batch.ts';
import { decodeGet, decodeHits, decodeScroll, isCompleted } from '../../lib/stores/qdrant/answers.ts';
import { checkRestPayload } from '../../lib/stores/qdrant/payload.ts';
import {
  encodeDelete,
  encodeGet,
  encodeSample,
  encodeScroll,
  encodeSearch,
  encodeUpsert,
} from '../../lib/stores/qdrant/points.ts';
import { encodeRestUpsert } from '../../lib/stores/qdrant/rest.ts';
import { canonicalJson, makeBatch } from '../make.ts';
import { allKinds, batches, caught, expectSameBatch, one, positionsOf, roomy } from './qdrant-arbitraries.ts';

describe('an upsert in our protobuf', () => {
  test.each([
    ['one unnamed vector', one],
    ['every kind of vector, named and unnamed', allKinds],
  ])("is what Qdrant's own classes read, and their answer is what we read: %s", (_, vectors) => {
    fc.assert(
      fc.property(batches(vectors), (batch) => {
        const { message, positions, taken } = encodeUpsert(batch, positionsOf(batch), roomy);
        expect(taken).toBe(batch.count);
        expect(positions).toHaveLength(batch.count);
        const sent = fromBinary(UpsertPointsSchema, message);
        expect(sent.collectionName).toBe('c');
        expect(sent.wait).toBe(true);
        expect(sent.updateMode).toBeUndefined();
        expect(sent.points.map(idOf)).toEqual(batch.ids);
        for (const [at, point] of sent.points.entries())
          expect(canonicalJson(textOfMap(point.payload))).toBe(canonicalJson(batch.payloads[at] ?? ''));
        const answer = decodeScroll(Buffer.from(answerWith(sent.points)), vectors);
        expectSameBatch(answer.batch, batch);
      }),
      { numRuns: 200 },
    );
  });

  test('names the update mode that only inserts, since a default would overwrite newer values', () => {
    const batch = makeBatch({ vectors: [...one] });
    const { message } = encodeUpsert(batch, [0, 2], { ...roomy, insertOnly: true });
    const sent = fromBinary(UpsertPointsSchema, message);
    expect(sent.updateMode).toBe(UpdateMode.InsertOnly);
    expect(sent.points.map(idOf)).toEqual(['1', '3']);
  });

  test('is cut where the next record would pass the limit, and holds one record at least', () => {
    const batch = makeBatch({ vectors: [...one], ids: ['1', '2', '3', '4', '5'] });
    const all = encodeUpsert(batch, positionsOf(batch), roomy);
    const cut = encodeUpsert(batch, positionsOf(batch), { ...roomy, maxBytes: all.message.length - 1 });
    expect(cut.taken).toBe(4);
    expect(cut.message.length).toBeLessThan(all.message.length);
    expect(encodeUpsert(batch, positionsOf(batch), { ...roomy, maxBytes: 1 }).taken).toBe(1);
    expect(encodeUpsert(batch, positionsOf(batch), { ...roomy, maxRecords: 2 }).taken).toBe(2);
  });

  test('leaves to REST what only REST holds: integers up to 2^64-1 and very deep nesting', () => {
    const deep = `{"a":${'['.repeat(60)}${']'.repeat(60)}}`;
    const payloads = ['{"n":18446744073709551615}', '{"n":1}', deep];
    const batch = makeBatch({ vectors: [...one], payloads });
    const { restOnly, positions, taken } = encodeUpsert(batch, [0, 1, 2], roomy);
    expect({ restOnly, positions, taken }).toEqual({ restOnly: [0, 2], positions: [1], taken: 3 });
    expect(() => encodeRestUpsert(batch, [0, 1, 2], roomy)).not.toThrow();
  });

  test.each([
    ['{"a":{"b":[0,18446744073709551616]}}', "field 'a.b.1' of record '1' is 18446744073709551616"],
    ['{"n":-9223372036854775809}', "field 'n' of record '1' is -9223372036854775809"],
    ['{"x":1e400}', 'beyond a double'],
    ['{"x":0.1234567890123456789}', 'would become'],
    ['{"x":12345678901234567.8}', 'would become'],
    ['{"x":1234567890123456.78}', 'would become'],
    ['{"x":1e-400}', 'would become 0'],
    ['{"s":"\\ud800"}', 'half of a surrogate pair'],
    ['{"\\udc00":1}', 'half of a surrogate pair'],
    ['{"s":"\ud800"}', 'half of a surrogate pair'],
    ['{"x":NaN}', 'not a JSON object'],
    ['{"x":01}', 'not a JSON object'],
    ['{"x":}', 'not a JSON object'],
    ['{"x":1', 'not a JSON object'],
    ['[1]', 'not a JSON object'],
    ['{"x":1}{', 'not a JSON object'],
  ])('refuses the payload %s by record and field, since Qdrant would keep another value', (payload, words) => {
    const batch = makeBatch({ vectors: [...one], ids: ['1'], payloads: [payload] });
    const refusal = { name: 'RecordRefused', ids: ['1'], message: expect.stringContaining(words) };
    expect(caught(() => encodeUpsert(batch, [0], roomy))).toMatchObject(refusal);
    if (payload !== '[1]' && payload !== '{"x":1}{')
      expect(caught(() => checkRestPayload(payload, '1'))).toMatchObject(refusal);
  });

  test.each(['-1', '007', '18446744073709551616', 'abc', '', '550E8400-E29B-41D4-A716-446655440000'])(
    'refuses the id %j, which Qdrant has no place for or would change',
    (each) => {
      const batch = makeBatch({ vectors: [...one], ids: [each] });
      const refusal = { name: 'RecordRefused', ids: [each] };
      expect(caught(() => encodeUpsert(batch, [0], roomy))).toMatchObject(refusal);
      expect(caught(() => encodeRestUpsert(batch, [0], roomy))).toMatchObject(refusal);
    },
  );
});

describe('answers', () => {
  test('vectors in the form of servers before 1.16 are read too, since the collection may be on one', () => {
    const old = create(ScrollResponseSchema, {
      result: [
        {
          id: { pointIdOptions: { case: 'num', value: 7n } },
          vectors: {
            vectorsOptions: {
              case: 'vectors',
              value: {
                vectors: {
                  '': { data: [1, 2, 3] },
                  título: { data: [4, 5] },
                  terms: { data: [0.5, 0.25], indices: { data: [300, 2] } },
                  late: { data: [1, 2, 3, 4], vectorsCount: 2 },
                },
              },
            },
          },
        },
      ],
    });
    const { batch, next } = decodeScroll(Buffer.from(toBinary(ScrollResponseSchema, old)), allKinds);
    expect(next).toBeNull();
    expect(batch.payloads).toEqual(['{}']);
    expect([...column(batch, '').values]).toEqual([1, 2, 3]);
    expect(column(batch, 'terms')).toMatchObject({
      indices: Uint32Array.of(2, 300),
      values: Float32Array.of(0.25, 0.5),
    });
    expect(column(batch, 'late')).toMatchObject({ offsets: Uint32Array.of(0, 2), values: Float32Array.of(1, 2, 3, 4) });
  });

  test('a double where a 64-bit unsigned integer may have been makes the record doubtful', () => {
    const message = (value: number) => {
      const n = { kind: { case: 'doubleValue' as const, value } };
      const result = [{ id: { pointIdOptions: { case: 'num' as const, value: 1n } }, payload: { n } }];
      return Buffer.from(toBinary(ScrollResponseSchema, create(ScrollResponseSchema, { result })));
    };
    expect(decodeScroll(message(2 ** 63), []).doubtful).toEqual(['1']);
    expect(decodeScroll(message(1.5), []).doubtful).toEqual([]);
    expect(decodeScroll(message(1e20), []).batch.payloads).toEqual(['{"n":100000000000000000000.0}']);
  });

  test('a vector that the collection did not have is refused by name, and is not dropped', () => {
    const batch = makeBatch({ vectors: [...allKinds], ids: ['5'] });
    const { points } = fromBinary(UpsertPointsSchema, encodeUpsert(batch, [0], roomy).message);
    expect(caught(() => decodeScroll(Buffer.from(answerWith(points)), one))).toMatchObject({
      name: 'RecordRefused',
      ids: ['5'],
    });
  });

  test('an answer that is cut short throws, at whatever byte', () => {
    const batch = makeBatch({ vectors: [...allKinds] });
    const { points } = fromBinary(UpsertPointsSchema, encodeUpsert(batch, positionsOf(batch), roomy).message);
    const whole = Buffer.from(answerWith(points));
    let thrown = 0;
    for (let length = 1; length < whole.length; length++) {
      try {
        expect(decodeScroll(whole.subarray(0, length), allKinds).batch.count).toBeLessThan(3);
      } catch {
        thrown++;
      }
    }
    expect(thrown).toBeGreaterThan(whole.length / 2);
  });

  test('an upsert is done only when the server says completed: acknowledged is not applied', () => {
    // PointsOperationResponse { result = 1: UpdateResult { operation_id = 1, status = 2 } }
    expect(isCompleted(Buffer.from([0x0a, 4, 0x08, 9, 0x10, 2]))).toBe(true);
    expect(isCompleted(Buffer.from([0x0a, 4, 0x08, 9, 0x10, 1]))).toBe(false);
    expect(isCompleted(Buffer.alloc(0))).toBe(false);
  });
});

describe('requests for records', () => {
  const wanted = { payload: true, vectors: false };

  test('a delete names its ids, integers above 2^53 and UUIDs alike, and waits until it is applied', () => {
    const ids = ['7', '18446744073709551615', '0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0'];
    const sent = fromBinary(DeletePointsSchema, encodeDelete('c', ids));
    expect(sent).toMatchObject({ collectionName: 'c', wait: true });
    const selector = sent.points?.pointsSelectorOneOf;
    if (selector?.case !== 'points') throw new Error('the ids are missing: a filter would delete other records');
    expect(selector.value.ids.map((id) => String(id.pointIdOptions.value))).toEqual(ids);
  });

  test('a scroll names its offset, limit and what it wants', () => {
    const sent = fromBinary(ScrollPointsSchema, encodeScroll('c', '18446744073709551615', 500, wanted));
    expect(sent).toMatchObject({
      collectionName: 'c',
      limit: 500,
      offset: { pointIdOptions: { case: 'num', value: 18446744073709551615n } },
      withPayload: { selectorOptions: { case: 'enable', value: true } },
      withVectors: { selectorOptions: { case: 'enable', value: false } },
    });
    expect(fromBinary(ScrollPointsSchema, encodeScroll('c', null, 1, wanted)).offset).toBeUndefined();
  });

  test('a get names its ids', () => {
    const ids = ['3', '00000000-0000-4000-8000-000000000001'];
    const sent = fromBinary(GetPointsSchema, encodeGet('c', ids, wanted));
    expect(sent.ids.map((each) => String(each.pointIdOptions.value))).toEqual(ids);
  });

  test('a search and a sample are queries without payload and vectors', () => {
    const values = Float32Array.of(1, 2.5);
    const search = fromBinary(
      QueryPointsSchema,
      encodeSearch('c', { vector: 'v', values, k: 10, must: [], params: { exact: true } }),
    );
    expect(search).toMatchObject({ using: 'v', limit: 10n, params: { exact: true } });
    expect(search.query?.variant).toMatchObject({
      case: 'nearest',
      value: { variant: { case: 'dense', value: { data: [1, 2.5] } } },
    });
    const plain = fromBinary(QueryPointsSchema, encodeSearch('c', { vector: '', values, k: 10, must: [], params: {} }));
    expect([plain.using, plain.params]).toEqual([undefined, undefined]);
    const sample = fromBinary(QueryPointsSchema, encodeSample('c', 50));
    expect(sample).toMatchObject({ limit: 50n, query: { variant: { case: 'sample', value: 0 } } });
  });

  test('hits come in order with id and score', () => {
    const answer = create(QueryResponseSchema, {
      result: [
        { id: { pointIdOptions: { case: 'num', value: 0n } }, score: 0.5 },
        { id: { pointIdOptions: { case: 'uuid', value: '00000000-0000-4000-8000-000000000001' } }, score: -1 },
      ],
    });
    expect(decodeHits(Buffer.from(toBinary(QueryResponseSchema, answer)))).toEqual([
      { id: '0', score: 0.5 },
      { id: '00000000-0000-4000-8000-000000000001', score: -1 },
    ]);
    const empty = decodeGet(Buffer.alloc(0), one);
    expect(empty.batch.count).toBe(0);
  });
});

const idOf = ({ id: found }: PointStruct): string => String(found?.pointIdOptions.value);

/** Qdrant's payload, read with its own classes, as JSON text. */
function textOfMap(fields: Readonly<Record<string, Value>>): string {
  return `{${Object.entries(fields)
    .map(([key, value]) => `${JSON.stringify(key)}:${textOf(value)}`)
    .join(',')}}`;
}

function textOf({ kind }: Value): string {
  if (kind.case === 'structValue') return textOfMap(kind.value.fields);
  if (kind.case === 'listValue') return `[${kind.value.values.map(textOf).join(',')}]`;
  if (kind.case === 'integerValue') return String(kind.value);
  if (kind.case === 'doubleValue') return Object.is(kind.value, -0) ? '-0' : String(kind.value);
  if (kind.case === 'nullValue') return 'null';
  return JSON.stringify(kind.value);
}

/** A scroll's answer that holds the points, made with Qdrant's own classes. */
function answerWith(points: readonly PointStruct[]): Uint8Array {
  const output = ({ vector }: Vector) =>
    vector.case === 'dense' || vector.case === 'sparse' || vector.case === 'multiDense' ? { vector } : {};
  return toBinary(
    ScrollResponseSchema,
    create(ScrollResponseSchema, {
      result: points.map(({ id: found, payload, vectors }) => {
        const { vectorsOptions: held } = vectors ?? { vectorsOptions: { case: undefined } };
        const named =
          held.case === 'vectors'
            ? {
                case: 'vectors' as const,
                value: {
                  vectors: Object.fromEntries(Object.entries(held.value.vectors).map(([k, v]) => [k, output(v)])),
                },
              }
            : { case: 'vector' as const, value: held.case === 'vector' ? output(held.value) : {} };
        return { ...(found === undefined ? {} : { id: found }), payload, vectors: { vectorsOptions: named } };
      }),
    }),
  );
}
