import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parse } from 'lossless-json';
import { canHoldId, idNamespace, mapBatch, mapId } from '../../lib/mapping/mapping.ts';
import type { MappingPlan } from '../../lib/mapping/mapping-files.ts';
import type { Capabilities } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch } from '../make.ts';

const unsignedOrUuid: Capabilities['ids'] = {
  integer: { min: '0', max: '18446744073709551615' },
  uuid: true,
  string: false,
  composite: false,
};

function makeMapping(overrides: Partial<MappingPlan> = {}): MappingPlan {
  return {
    vectors: { embedding: '' },
    dropFields: [],
    castFields: {},
    ids: 'uuid5',
    originalId: 'original_id',
    missingVectors: 'keep',
    ...overrides,
  };
}

describe('an id that the target cannot hold', () => {
  test.each([
    ['7', '7'],
    ['18446744073709551615', '18446744073709551615'],
    ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001'],
  ])('%s stays as it is where the target can hold it', (id, kept) => {
    expect(mapId(unsignedOrUuid, id)).toBe(kept);
  });

  test.each(['007', '-1', '18446744073709551616', 'doc-1', '', 'ABCDEF00-0000-4000-8000-000000000001', '["a",1]'])(
    '%s becomes the UUIDv5 of its text',
    (id) => {
      expect(canHoldId(unsignedOrUuid, id)).toBe(false);
      expect(mapId(unsignedOrUuid, id)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-/);
    },
  );

  test('the namespace never changes, since applications work the ids out for themselves', () => {
    expect(idNamespace).toBe('bbada3e7-23d4-5350-af54-67cc01d8ddea');
  });

  test('no two ids become one ("7" and "007"), whatever they are', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.oneof(
            fc.string(),
            fc.nat().map(String),
            fc.nat().map((n) => `0${n}`),
            fc.uuid(),
            fc.uuid().map((id) => id.toUpperCase()),
          ),
        ),
        (ids) => {
          expect(new Set(ids.map((id) => mapId(unsignedOrUuid, id))).size).toBe(ids.length);
        },
      ),
    );
  });

  test('keeps the original in the payload, in front of what is there', () => {
    const batch = makeBatch({ ids: ['a', '7'], payloads: ['{"n":9007199254740993}', '{}'] });
    const { batch: mapped, sourceIds } = mapBatch(batch, makeMapping(), unsignedOrUuid);
    expect(mapped.payloads).toEqual(['{"original_id":"a","n":9007199254740993}', '{}']);
    expect(sourceIds).toEqual(['a', '7']);
    expect(mapped.ids[1]).toBe('7');
    expect([...mapped.vectors.keys()]).toEqual(['']);
  });

  test('is refused where the payload already has that field, since one of the two would be lost', () => {
    const batch = makeBatch({ ids: ['a'], payloads: ['{"original_id":"b"}'] });
    expect(() => mapBatch(batch, makeMapping(), unsignedOrUuid)).toThrow(
      expect.objectContaining({ name: 'RecordRefused', ids: ['a'] }),
    );
    expect(mapBatch(batch, makeMapping({ originalId: 'key' }), unsignedOrUuid).batch.payloads[0]).toBe(
      '{"key":"a","original_id":"b"}',
    );
  });

  test("is refused where its UUID is already another record's id", () => {
    const batch = makeBatch({ ids: ['a', mapId(unsignedOrUuid, 'a')] });
    expect(() => mapBatch(batch, makeMapping(), unsignedOrUuid)).toThrow(/both become/);
  });
});

describe('the payload', () => {
  test('is not parsed where nothing changes, so every digit stays', () => {
    const text = '{ "x" : 1.10000000000000000000001, "n": 1E400 }';
    expect(mapBatch(makeBatch({ ids: ['1'], payloads: [text] }), makeMapping(), unsignedOrUuid).batch.payloads[0]).toBe(
      text,
    );
  });

  test('loses the fields that the mapping drops, and no digit of the others', () => {
    const batch = makeBatch({ ids: ['1'], payloads: ['{"secret":1,"n":9007199254740993,"a.b":{"secret":2}}'] });
    const [payload = ''] = mapBatch(batch, makeMapping({ dropFields: ['secret'] }), unsignedOrUuid).batch.payloads;
    expect(canonicalJson(payload)).toBe('{"a.b":{"secret":2},"n":9007199254740993}');
  });

  test('carries a decimal as the nearest double, or a number as text, when the event says so', () => {
    const batch = makeBatch({ ids: ['1'], payloads: ['{"price":"12.50","big":123456789012345678901}'] });
    const [payload = ''] = mapBatch(
      batch,
      makeMapping({ castFields: { price: 'number', big: 'string' } }),
      unsignedOrUuid,
    ).batch.payloads;
    expect(parse(payload, null, Number)).toEqual({ price: 12.5, big: '123456789012345678901' });
  });

  test('names the record whose text is no number', () => {
    const batch = makeBatch({ ids: ['9'], payloads: ['{"price":"a lot"}'] });
    expect(() => mapBatch(batch, makeMapping({ castFields: { price: 'number' } }), unsignedOrUuid)).toThrow(
      /'price' of record '9' is 'a lot'/,
    );
  });
});

test('a record that lacks a vector is left out by name when the event says so, and moved otherwise', () => {
  const batch = makeBatch({ ids: ['1', '2', '3'], missing: [1] });
  expect(mapBatch(batch, makeMapping(), unsignedOrUuid).skipped).toEqual([]);
  const { batch: left, skipped } = mapBatch(batch, makeMapping({ missingVectors: 'skip' }), unsignedOrUuid);
  expect(skipped).toEqual(['2']);
  expect(left.ids).toEqual(['1', '3']);
});
