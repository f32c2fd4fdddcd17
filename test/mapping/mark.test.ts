import { describe, expect, test } from '@jest/globals';
import { mapBatch } from '../../lib/mapping/mapping.ts';
import type { MappingPlan } from '../../lib/mapping/mapping-files.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeBatch } from '../make.ts';

const mapping = (mark: Partial<NonNullable<MappingPlan['mark']>> = {}): MappingPlan => ({
  vectors: { embedding: 'made' },
  dropFields: [],
  castFields: {},
  ids: 'keep',
  originalId: 'original_id',
  missingVectors: 'keep',
  mark: { vector: 'made', fields: { by: 'm "1"', of: '2' }, isDeclared: false, ...mark },
});
const mapped = (payloads: readonly string[], own = mapping(), missing: readonly number[] = []): readonly string[] => {
  const ids = payloads.map((_, at) => `r${at}`);
  return mapBatch(makeBatch({ ids, payloads, missing }), own, memory.capabilities.ids).batch.payloads;
};

describe('the mark of a model', () => {
  test('stands in front of the other fields, which are not touched: not one digit is lost', () => {
    const [first, empty] = mapped(['{"price":12345678901234567890.10,"a":{"by":1}}', ' { } ']);
    expect(first).toBe('{"by":"m \\"1\\"","of":"2","price":12345678901234567890.10,"a":{"by":1}}');
    expect(JSON.parse(empty ?? '')).toEqual({ by: 'm "1"', of: '2' });
  });

  test('takes the place of an earlier one, and leaves all other digits as they are', () => {
    expect(mapped(['{"of":"1","n":9007199254740993,"by":"old"}'])).toEqual([
      '{"by":"m \\"1\\"","of":"2","n":9007199254740993}',
    ]);
  });

  test('is not there where a record has no vector, since no model made any: nor is an earlier one', () => {
    const payloads = ['{"a":1}', '{"by":"old","a":1}'];
    expect(mapped(payloads, mapping(), [0, 1])).toEqual(['{"a":1}', '{"a":1}']);
  });

  test('stays what a record says where vectors are copied by the word of a sample, since it may be another there', () => {
    const payloads = ['{"by":"other","of":null,"a":1}', '{"by":null,"a":1}', '{"a":1}'];
    const [other, ...others] = mapped(payloads, mapping({ isKept: true }));
    expect(other).toBe(payloads[0]);
    expect(others).toEqual(new Array(2).fill('{"by":"m \\"1\\"","of":"2","a":1}'));
  });

  test('is null there where the target declares its fields, because that is what it reads back', () => {
    expect(mapped(['{"a":1}'], mapping({ isDeclared: true }), [0])).toEqual(['{"by":null,"of":null,"a":1}']);
  });

  test('stays beside an id that the target cannot hold', () => {
    const ids = { ...memory.capabilities.ids, string: false } as const;
    const { batch } = mapBatch(makeBatch({ ids: ['x'], payloads: ['{}'] }), { ...mapping(), ids: 'uuid5' }, ids);
    expect(JSON.parse(batch.payloads[0] ?? '')).toEqual({ original_id: 'x', by: 'm "1"', of: '2' });
  });
});
