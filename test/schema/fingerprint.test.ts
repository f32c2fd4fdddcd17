import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { fingerprintOf } from '../../lib/schema/fingerprint.ts';
import { type CollectionSchema, fieldTypeSchema } from '../../lib/schema.ts';
import { makeSchema } from '../make.ts';

const schema = makeSchema({
  vectors: [
    { name: 'title', kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' },
    { name: 'words', kind: 'sparse', precision: 'float32' },
  ],
  fields: [
    { name: 'title', type: 'text', nullable: true },
    { name: 'rank', type: 'integer', nullable: false },
  ],
});

describe('a fingerprint', () => {
  test('is what it was in every release before: shards that lie in buckets carry it', () => {
    expect(fingerprintOf(schema)).toBe('61c46da52171150886e5c6ef8a494b8a1dea9b4440e69d5fa4e9af24e9cddce8');
    expect(fingerprintOf(makeSchema())).toBe('950a2f8f322323ca3330ab7c40ac3f85a0d8256d9558e1ae00a0f3eed77110d8');
  });

  test('does not hang on order, indexes, distances, what may be null, or the words of a store: records are read alike', () => {
    const other: CollectionSchema = {
      ...schema,
      store: 'pgvector',
      origin: 'qdrant',
      native: { defaults: { rank: '1' } },
      key: [{ name: 'id', type: 'integer', nullable: false }],
      payloadIndexes: [{ field: 'rank', type: 'btree' }],
      vectors: [
        { name: 'words', kind: 'sparse', precision: 'float32', index: { kind: 'none' } },
        { name: 'title', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float16', nullable: false },
      ],
      fields: [
        { name: 'rank', type: 'integer', nullable: true, native: 'smallint' },
        { name: 'title', type: 'text', nullable: false },
      ],
    };
    expect(fingerprintOf(other)).toBe(fingerprintOf(schema));
  });

  const [title, words] = schema.vectors;
  const changes: [string, Partial<CollectionSchema>][] = [
    ['the type of ids', { idType: 'string' }],
    ['the types of a composite key', { idType: 'composite', key: [{ name: 'a', type: 'integer', nullable: false }] }],
    ['a vector that is gone', { vectors: title === undefined ? [] : [title] }],
    ['a dimension', { vectors: title && words ? [{ ...title, dimension: 5 }, words] : [] }],
    ['a kind', { vectors: title && words ? [{ ...title, kind: 'multi' }, words] : [] }],
    ['a model', { vectors: title && words ? [{ ...title, model: { name: 'titan' } }, words] : [] }],
    ['a name', { fields: [{ name: 'headline', type: 'text', nullable: true }, ...(schema.fields ?? []).slice(1)] }],
    ['a type', { fields: [{ name: 'title', type: 'json', nullable: true }, ...(schema.fields ?? []).slice(1)] }],
    ['no fields', { fields: [] }],
  ];
  test.each(changes)('tells %s', (_, change) => {
    expect(fingerprintOf({ ...schema, ...change })).not.toBe(fingerprintOf(schema));
  });

  test('tells fields that are not declared from a table without any', () => {
    const { fields: _, ...undeclared } = schema;
    expect(fingerprintOf(undeclared)).not.toBe(fingerprintOf({ ...schema, fields: [] }));
  });

  test('is one for every order of fields', () => {
    const fields = fc.uniqueArray(
      fc.record({ name: fc.string(), type: fc.constantFrom(...fieldTypeSchema.options), nullable: fc.boolean() }),
      { selector: ({ name }) => name, maxLength: 8 },
    );
    fc.assert(
      fc.property(fields, fc.nat(), (declared, by) => {
        const turned = [
          ...declared.slice(by % (declared.length + 1)),
          ...declared.slice(0, by % (declared.length + 1)),
        ];
        expect(fingerprintOf({ ...schema, fields: turned })).toBe(fingerprintOf({ ...schema, fields: declared }));
      }),
    );
  });
});
