import { describe, expect, test } from '@jest/globals';
import { fingerprintOf } from '../../lib/schema/fingerprint.ts';
import { schemaRead } from '../../lib/schema/schema-read.ts';
import { makeBatch, makeSchema } from '../make.ts';

const [vector = { name: 'embedding', kind: 'dense', precision: 'float32' }] = makeSchema().vectors;
const planned = makeSchema({ vectors: [{ ...vector, model: { name: 'titan', version: '2' } }] });

describe('the schema that a shard says', () => {
  test('is the plan’s own where the store found the same, or tells nothing: it is worked out once', () => {
    expect(schemaRead(planned, undefined, makeBatch(), undefined)).toBe(planned);
    expect(schemaRead(planned, { ...planned, native: { x: 1 } }, makeBatch(), undefined)).toBe(planned);
  });

  test('keeps the model that the plan knows of a vector, by its old name too: the store does not', () => {
    const found = schemaRead(planned, makeSchema(), makeBatch(), undefined);
    expect(fingerprintOf(found)).toBe(fingerprintOf(planned));
    const old = makeSchema({ vectors: [{ ...vector, name: 'emb' }] });
    const names = { aliases: [], fields: {}, vectors: { embedding: ['emb'] }, strict: true };
    const batch = makeBatch({ vectors: old.vectors });
    expect(schemaRead(planned, old, batch, names).vectors).toMatchObject([{ name: 'emb', model: { name: 'titan' } }]);
  });

  test('has the vectors that came, where the store declares none or the collection was made anew with others', () => {
    const vectors = [
      { ...vector, dimension: 8 },
      { name: 'words', kind: 'sparse', precision: 'float32' },
    ] as const;
    const found = schemaRead(planned, undefined, makeBatch({ vectors }), undefined);
    expect(found.vectors).toMatchObject([
      { name: 'embedding', kind: 'dense', dimension: 8 },
      { name: 'words', kind: 'sparse' },
    ]);
    expect(fingerprintOf(found)).not.toBe(fingerprintOf(planned));
    expect(schemaRead(planned, undefined, makeBatch({ ids: [], vectors }), undefined)).toBe(planned);
  });
});
