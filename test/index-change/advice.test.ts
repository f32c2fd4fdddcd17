import { describe, expect, test } from '@jest/globals';
import { type AskedIndex, adviseIndex } from '../../lib/index-change/advice.ts';

const of = (asked: AskedIndex, { records = 100_000, dimension = 384, k = 10, store = 'pgvector' } = {}) => {
  const { index, advice } = adviseIndex({ store, asked, records, dimension, k });
  return { index, why: Object.fromEntries(advice.map(({ setting, value, why }) => [setting, { value, why }])) };
};

describe('the settings of an index that an event leaves out', () => {
  test.each([
    [100, 1, 1],
    [1_000, 1, 1],
    [10_000, 10, 3],
    [1_000_000, 1000, 32],
    [4_000_000, 2000, 45],
    [100_000_000, 10_000, 100],
    [4_000_000_000, 32_768, 181],
  ])('of %d rows in IVFFlat are %d lists and %d probes, as pgvector’s README says', (records, lists, probes) => {
    const { index, why } = of({ kind: 'ivfflat' }, { records });
    expect(index).toEqual({ kind: 'ivfflat', lists });
    expect(why).toMatchObject({ lists: { why: expect.stringMatching(/README/) }, probes: { value: probes } });
  });

  test.each([
    ['pgvector', {}, 16, 64],
    ['qdrant', {}, 16, 100],
    ['pgvector', { dimension: 8 }, 8, 64],
    ['pgvector', { records: 1_000 }, 16, 64],
    ['pgvector', { dimension: 1536, records: 100_000_000 }, 24, 96],
    ['pgvector', { dimension: 768, records: 5_000_000 }, 24, 96],
    ['qdrant', { dimension: 768, records: 5_000_000 }, 24, 150],
  ])('of HNSW in %s with %j are m %d and efConstruction %d', (store, size, m, efConstruction) => {
    expect(of({ kind: 'hnsw' }, { store, ...size }).index).toEqual({ kind: 'hnsw', m, efConstruction });
  });

  test('go along with those that it gives: efConstruction is at least twice m, which pgvector asks for', () => {
    expect(of({ kind: 'hnsw', m: 64 }).index).toEqual({ kind: 'hnsw', m: 64, efConstruction: 256 });
    expect(of({ kind: 'hnsw', efConstruction: 20 }).index).toEqual({ kind: 'hnsw', m: 10, efConstruction: 20 });
    const { index, why } = of({ kind: 'hnsw', m: 20, efConstruction: 50 });
    expect(index).toEqual({ kind: 'hnsw', m: 20, efConstruction: 50 });
    expect(Object.keys(why)).toEqual(['efSearch']);
  });

  test('a search is no narrower than what it asks for, up to what pgvector takes', () => {
    expect(of({ kind: 'hnsw' }).why['efSearch']?.value).toBe(40);
    expect(of({ kind: 'hnsw' }, { k: 100 }).why['efSearch']).toMatchObject({
      value: 100,
      why: expect.stringContaining('k 100'),
    });
    expect(of({ kind: 'hnsw' }, { k: 5000 }).why['efSearch']?.value).toBe(1000);
  });

  test('Qdrant searches as wide as it builds where a search says nothing, and knows nothing of pgvector’s bounds', () => {
    const { why } = of({ kind: 'hnsw', m: 32 }, { store: 'qdrant' });
    expect(why['efSearch']).toMatchObject({ value: 200, why: expect.stringContaining('which is efConstruction') });
    expect(why['efConstruction']).toMatchObject({ value: 200, why: expect.not.stringContaining('pgvector') });
    expect(of({ kind: 'hnsw' }, { store: 'qdrant', k: 5000 }).why['efSearch']?.value).toBe(5000);
  });
});
