import { describe, expect, test } from '@jest/globals';
import type { DenseColumn } from '../../lib/batch.ts';
import { mapBatch } from '../../lib/mapping/mapping.ts';
import type { MappingPlan } from '../../lib/mapping/mapping-files.ts';
import { asTruncated } from '../../lib/mapping/truncate.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeBatch } from '../make.ts';

const mapping: MappingPlan = {
  vectors: { embedding: 'small', other: 'other' },
  truncate: { small: 3 },
  dropFields: [],
  castFields: {},
  ids: 'keep',
  originalId: 'original_id',
  missingVectors: 'keep',
};
const vectorOf = (name: string, dimension: number) =>
  ({ name, kind: 'dense', dimension, distance: 'cosine', precision: 'float32' }) as const;
const vectors = [vectorOf('embedding', 8), vectorOf('other', 4)];
const ids = Array.from({ length: 200 }, (_, at) => `r${at}`);

const mapped = (batch = makeBatch({ ids, vectors })) => mapBatch(batch, mapping, memory.capabilities.ids).batch;
const dense = (column: unknown): DenseColumn => column as DenseColumn;

describe('Matryoshka truncation', () => {
  test('keeps the first floats at length 1, to 1e-6, because the rest of the vector carried the rest of its length', () => {
    const source = makeBatch({ ids, vectors });
    const [whole, cut] = [dense(source.vectors.get('embedding')), dense(mapped(source).vectors.get('small'))];
    expect(cut).toMatchObject({ dimension: 3, values: { length: 600 } });
    for (const at of ids.keys()) {
      const first = [...whole.values.subarray(at * 8, at * 8 + 3)];
      const length = Math.hypot(...first);
      const kept = [...cut.values.subarray(at * 3, at * 3 + 3)];
      expect(Math.hypot(...kept)).toBeCloseTo(1, 6);
      for (const [i, each] of kept.entries()) expect(Math.abs(each - (first[i] ?? 0) / length)).toBeLessThan(1e-6);
    }
  });

  test('leaves other vectors and the source alone, because they are mapped by themselves and the batch is used again', () => {
    const source = makeBatch({ ids, vectors });
    const before = dense(source.vectors.get('embedding')).values.slice();
    expect(mapped(source).vectors.get('other')).toBe(source.vectors.get('other'));
    expect(dense(source.vectors.get('embedding')).values).toEqual(before);
  });

  test('gives a record without the vector none, because zeros would be a vector of no direction', () => {
    const column = dense(mapped(makeBatch({ ids, vectors, missing: [1] })).vectors.get('small'));
    expect(column.present?.slice(0, 3)).toEqual(Uint8Array.from([1, 0, 1]));
    expect(column.values.slice(3, 6)).toEqual(new Float32Array(3));
  });

  test('refuses by id a vector whose first floats are zeros, because they cannot be scaled', () => {
    const source = makeBatch({ ids: ['a', 'b', 'c'], vectors });
    dense(source.vectors.get('embedding')).values.fill(0, 8, 11);
    expect(() => mapped(source)).toThrow(
      expect.objectContaining({
        name: 'RecordRefused',
        ids: ['b'],
        message: expect.stringMatching(/'b' are all zeros/),
      }),
    );
  });

  test('truncates what queries are drawn from under the name of the source, and gives the target the same floats', () => {
    const source = makeBatch({ ids, vectors });
    const drawn = asTruncated(source, mapping);
    expect([...drawn.vectors.keys()]).toEqual(['embedding', 'other']);
    expect(drawn.vectors.get('embedding')).toEqual(mapped(source).vectors.get('small'));
  });

  test('takes a vector that is left out for none of those truncated, though the truncated one has no name', () => {
    const unnamed = { ...mapping, vectors: { other: '' }, truncate: { '': 3 } };
    const source = makeBatch({ ids, vectors });
    expect(asTruncated(source, unnamed).vectors.get('embedding')).toBe(source.vectors.get('embedding'));
    expect(dense(asTruncated(source, unnamed).vectors.get('other')).dimension).toBe(3);
  });
});
