import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Batch } from '../../lib/batch.ts';
import type { DataPath } from '../../lib/stores/qdrant/data.ts';
import { compareIds, cutRanges, idTypeOf } from '../../lib/stores/qdrant/ids.ts';
import { endOfValue, pathAt } from '../../lib/stores/qdrant/json.ts';
import { lossOf } from '../../lib/stores/qdrant/payload.ts';
import { planRanges } from '../../lib/stores/qdrant/read.ts';
import { decodeRestHits, decodeRestPoints, encodeRestUpsert } from '../../lib/stores/qdrant/rest.ts';
import { ProtoReader, ProtoWriter } from '../../lib/stores/qdrant/wire.ts';
import { makeBatch } from '../make.ts';
import { allKinds, batches, expectSameBatch, id, jsonText, one, positionsOf, roomy } from './qdrant-arbitraries.ts';

describe('records as JSON', () => {
  test.each([
    ['dense', '[1,null,3,4]'],
    ['multi', '[[1,2,3,4],[1,2,null,4]]'],
    ['sparse', '{"indices":[1],"values":[null]}'],
  ] as const)('NaN, which JSON has no word for, is refused by record and not read as 0: %s', (kind, vector) => {
    const spec = { name: 'v', kind, dimension: 4, distance: 'dot', precision: 'float32' } as const;
    const answer = `{"result":{"points":[{"id":5,"payload":{},"vector":{"v":${vector}}}],"next_page_offset":null}}`;
    expect(() => decodeRestPoints(answer, [spec])).toThrow(/vector 'v' of record '5' holds NaN or infinity/);
  });

  test.each([
    ['one unnamed vector', one],
    ['every kind of vector', allKinds],
  ])('come back bit for bit: %s', (_, vectors) => {
    fc.assert(
      fc.property(batches(vectors), (batch) => {
        const { body, taken } = encodeRestUpsert(batch, positionsOf(batch), roomy);
        expect(taken).toBe(batch.count);
        const answer = `{"result":${body.slice(0, -1)},"next_page_offset":null},"status":"ok","time":0.1}`;
        const decoded = decodeRestPoints(answer, vectors);
        expectSameBatch(decoded.batch, batch);
        for (const [at, payload] of decoded.batch.payloads.entries()) expect(payload).toBe(batch.payloads[at]);
      }),
      { numRuns: 200 },
    );
  });

  test('nine digits hold every float32 exactly', () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 3, maxLength: 3 }), (values) => {
        const batch: Batch = {
          count: 1,
          ids: ['1'],
          payloads: ['{}'],
          vectors: new Map([['', { kind: 'dense', dimension: 3, values }]]),
        };
        const { points } = JSON.parse(encodeRestUpsert(batch, [0], roomy).body);
        const bits = (floats: Float32Array) => [...new Uint32Array(floats.buffer)].map((each) => each % 2 ** 31);
        expect(bits(Float32Array.from(points[0].vector))).toEqual(bits(values));
      }),
    );
  });

  test('a body is cut at its limits in bytes and in records', () => {
    const batch = makeBatch({ vectors: [...one] });
    expect(encodeRestUpsert(batch, [0, 1, 2], { ...roomy, maxRecords: 2 }).taken).toBe(2);
    expect(encodeRestUpsert(batch, [0, 1, 2], { ...roomy, maxBytes: 1 }).taken).toBe(1);
    expect(JSON.parse(encodeRestUpsert(batch, [0], { ...roomy, insertOnly: true }).body).update_mode).toBe(
      'insert_only',
    );
  });

  test('ids above 2^53 keep their digits in pages, offsets and hits', () => {
    const text =
      '{"time":0,"result":{"next_page_offset":18446744073709551615,"points":[{"id":9007199254740993,"payload":null}]}}';
    const { batch, next } = decodeRestPoints(text, []);
    expect([batch.ids, batch.payloads, next]).toEqual([['9007199254740993'], ['{}'], '18446744073709551615']);
    expect(decodeRestHits('{"result":{"points":[{"id":9007199254740993,"version":1,"score":-0.5}]}}')).toEqual([
      { id: '9007199254740993', score: -0.5 },
    ]);
  });
});

describe('the small parts', () => {
  test.each(['0.1', '29703278375603.562', '1e300', '1.50', '5e-324', '0.0', '-123456.789'])(
    'the number %s is kept by a double',
    (digits) => expect(lossOf(digits)).toBeUndefined(),
  );

  test.each(['9007199254740993.0', '0.10000000000000001', '0.1000000000000000055', '1e999', '123456789.1234567891'])(
    'the number %s is not',
    (digits) => expect(lossOf(digits)).toBeDefined(),
  );

  test('any 64-bit integer goes through a varint', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        const writer = new ProtoWriter(1);
        writer.varint64(value);
        if (value >= 0n && value <= 2n ** 53n) writer.varint(Number(value));
        const reader = new ProtoReader(Buffer.from(writer.written()));
        expect(reader.integer(value < 0n)).toBe(String(value));
        if (value >= 0n && value <= 2n ** 53n) expect(reader.integer(false)).toBe(String(value));
        expect(reader.at).toBe(writer.length);
      }),
    );
  });

  test('a field of any length gets its length in front, and text of any script its bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), fc.nat(40_000), (text, size) => {
        const writer = new ProtoWriter(1);
        const start = writer.open(3);
        writer.text(1, text);
        writer.text(2, 'x'.repeat(size));
        writer.close(start);
        const reader = new ProtoReader(Buffer.from(writer.written()));
        reader.varint();
        expect(reader.end()).toBe(writer.length);
        reader.varint();
        expect(reader.text()).toBe(text);
        reader.varint();
        expect(reader.text().length).toBe(size);
      }),
    );
  });

  test('the scanner finds the end of any JSON value, with brackets and quotes within strings', () => {
    fc.assert(fc.property(jsonText, (text) => expect(endOfValue(`${text},`, 0)).toBe(text.length)));
  });

  test('a path names the field of an offset', () => {
    const text = '{"a.b":1,"c":[{"d":"x]"},[2,30]]}';
    expect(pathAt(text, text.indexOf('30'))).toBe('c.1.1');
    expect(pathAt(text, text.indexOf('1'))).toBe('a.b');
  });
});

describe('ranges', () => {
  const numbers = (count: number): string[] => Array.from({ length: count }, (_, at) => String(at * 3));

  test('cut the ids evenly, and cover them without gap or overlap, whatever their order and kind', () => {
    fc.assert(
      fc.property(fc.uniqueArray(id, { maxLength: 60 }), fc.integer({ min: 1, max: 20 }), (ids, perRange) => {
        const ranges = cutRanges(ids, ids.length, perRange);
        expect([ranges[0]?.from, ranges.at(-1)?.to]).toEqual([null, null]);
        for (const [at, { from, to }] of ranges.entries()) {
          if (at > 0) expect(from).toBe(ranges[at - 1]?.to);
          const inside = ids.filter(
            (each) => (from === null || compareIds(each, from) >= 0) && (to === null || compareIds(each, to) < 0),
          );
          expect(inside.length).toBeLessThanOrEqual(perRange + 1);
          if (ids.length > 0) expect(inside.length).toBeGreaterThan(0);
        }
      }),
    );
  });

  test('of a large collection come from a sample, since listing all ids would take longer than the plan may', async () => {
    const asked: number[] = [];
    const sampled: Pick<DataPath, 'sample' | 'scrollIds'> = {
      sample: async (limit) => {
        asked.push(limit);
        return numbers(limit).reverse();
      },
      scrollIds: async () => {
        throw new Error('a large collection is not listed');
      },
    };
    const ranges = await planRanges(sampled, 1_000_000, 100_000);
    expect(ranges).toHaveLength(10);
    expect(asked).toEqual([500]);
    expect(ranges[1]).toEqual({ from: '150', to: '300', records: 100_000 });
    expect(await planRanges(sampled, 5000, 5000)).toEqual([{ from: null, to: null, records: 5000 }]);
  });

  test('integers come before UUIDs, by their value and not by their text', () => {
    const uuid = '00000000-0000-4000-8000-000000000000';
    const sorted = ['2', '10', '9007199254740992', '9007199254740993', '18446744073709551615', uuid];
    expect([...sorted].reverse().sort(compareIds)).toEqual(sorted);
    expect(idTypeOf(undefined, undefined)).toBe('mixed');
    expect(idTypeOf('1', undefined)).toBe('integer');
    expect(idTypeOf('1', uuid)).toBe('mixed');
    expect(idTypeOf(uuid, uuid)).toBe('uuid');
  });
});
