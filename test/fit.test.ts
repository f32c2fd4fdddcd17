import { describe, expect, test } from '@jest/globals';
import { parseEvent } from '../lib/event.ts';
import { fitCollection } from '../lib/fit.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { memory } from '../lib/stores/memory.ts';
import type { Capabilities, StoreKind } from '../lib/stores/port.ts';
import { makeSchema } from './make.ts';

const dense = makeSchema().vectors[0]!;

function makeKind(capabilities: Partial<Capabilities> = {}, name = 'other'): StoreKind {
  return { ...memory, name, title: 'Other', capabilities: { ...memory.capabilities, ...capabilities } };
}

function fitted({
  schema = makeSchema({ store: 'src' }),
  kind = makeKind(),
  mapping = {},
  withoutVector = {},
}: {
  schema?: CollectionSchema;
  kind?: StoreKind;
  mapping?: object;
  withoutVector?: Record<string, number>;
} = {}) {
  const event = parseEvent({
    source: { store: 'memory', collection: 'a' },
    target: { store: 'memory', collection: 'b' },
    mapping,
  });
  return fitCollection({ source: { schema, count: 10, payloadBytes: 1, withoutVector }, target: kind, event });
}

describe('a vector of which the first floats are kept', () => {
  const long = (more: object = {}) =>
    makeSchema({
      store: 'src',
      vectors: [{ ...dense, dimension: 3072, model: { name: 'text-embedding-3-large', version: '3' }, ...more }],
    });
  const mapping = { vectors: { embedding: { dimensions: 1024 } } };
  const kind = makeKind({ maxDimension: 2000, maxIndexedDimension: { float32: 2000 }, indexes: ['hnsw'] });

  test('is held against the limits of the target by what is left of it, because that is what is stored', () => {
    const { target, mapping: planned, notes } = fitted({ schema: long({ index: { kind: 'hnsw' } }), kind, mapping });
    expect(target.vectors).toMatchObject([{ dimension: 1024, index: { kind: 'hnsw' } }]);
    expect(planned.truncate).toEqual({ embedding: 1024 });
    expect(notes.join()).toMatch(/first 1024 of 3072 floats/);
    expect(() => fitted({ schema: long(), kind })).toThrow(/3072 dimensions.*at most 2000/);
  });

  test('is known to be allowed by the name of its model, or by the word of the event', () => {
    const ours = { name: 'ours' };
    expect(() => fitted({ schema: long({ model: ours }), kind, mapping })).toThrow(/made by ours of unknown version/);
    expect(() => fitted({ schema: long({ model: undefined }), kind, mapping })).toThrow(/a model that is not known/);
    const said = fitted({ schema: long({ model: { ...ours, isMatryoshka: true } }), kind, mapping });
    expect(said.mapping.truncate).toEqual({ embedding: 1024 });
    const denied = { name: 'text-embedding-3-large', isMatryoshka: false };
    expect(() => fitted({ schema: long({ model: denied }), kind, mapping })).toThrow(/not known for it/);
  });

  test('loses its length, and a note says so where the distance goes by that', () => {
    expect(fitted({ schema: long({ distance: 'dot' }), kind, mapping }).notes.join()).toMatch(/lost to distance dot/);
    expect(fitted({ schema: long(), kind, mapping }).notes.join()).not.toMatch(/lost to/);
  });

  test('is dense and longer than that', () => {
    const asked = (dimensions: number) => ({ vectors: { embedding: { dimensions } } });
    expect(() => fitted({ schema: long(), kind, mapping: asked(4000) })).toThrow(/asks for 4000; a vector can only be/);
    expect(() => fitted({ schema: long({ kind: 'sparse' }), kind, mapping })).toThrow(
      /is sparse, and mapping\.vectors/,
    );
    expect(fitted({ schema: long({ dimension: 1024 }), kind, mapping }).mapping.truncate).toBeUndefined();
  });
});

describe('what does not fit is refused with the field, the value and the choices', () => {
  const two = makeSchema({
    store: 'src',
    vectors: [
      { ...dense, name: 'title' },
      { ...dense, name: 'body' },
    ],
  });
  test.each([
    [
      'a vector kind',
      {
        schema: makeSchema({ store: 'src', vectors: [dense, { name: 'terms', kind: 'sparse', precision: 'float32' }] }),
        kind: makeKind({ vectorKinds: ['dense'] }),
      },
      /'terms' is sparse.*dense.*mapping\.vectors \{"terms": null\}/,
    ],
    [
      'several vectors',
      { schema: two, kind: makeKind({ severalVectors: false }) },
      /one vector.*'title', 'body'.*null/,
    ],
    ['a dimension', { kind: makeKind({ maxDimension: 3 }) }, /'embedding' has 4 dimensions.*at most 3/],
    [
      'a distance',
      { kind: makeKind({ distances: ['dot', 'euclid'] }) },
      /'embedding' uses distance cosine.*dot, euclid.*distance/,
    ],
    [
      'missing vectors',
      { kind: makeKind({ missingVectors: false }), withoutVector: { embedding: 3 } },
      /3 of 10 records have no vector.*"missingVectors": "skip"/,
    ],
    [
      'a mapping of a vector that is not there',
      { mapping: { vectors: { titel: null } } },
      /names 'titel', but the source has 'embedding'/,
    ],
    [
      'a mapping of a field that is not there',
      {
        schema: makeSchema({ store: 'src', fields: [{ name: 'price', type: 'decimal', nullable: true }] }),
        mapping: { payload: { prise: null } },
      },
      /names 'prise', but the source has price/,
    ],
    [
      'two vectors of one name',
      { schema: two, mapping: { vectors: { title: { to: 'v' }, body: { to: 'v' } } } },
      /two vectors would be named 'v'/,
    ],
    ['no vector left', { mapping: { vectors: { embedding: null } } }, /no vector is left/],
    [
      'files whose lists are of whole numbers, with the option that takes them',
      { schema: makeSchema({ store: 'files', vectors: [] }) },
      /no vector is left.*--vectors COLUMN/,
    ],
    [
      'a precision',
      { kind: makeKind(), mapping: { vectors: { embedding: { precision: 'float16' } } } },
      /asked for as float16.*float32/,
    ],
    [
      'payload where there is no place for it',
      { kind: makeKind({ payload: { types: [], any: false } }) },
      /no place for a payload/,
    ],
  ] as const)('%s', (_, input, message) => {
    expect(() => fitted(input)).toThrow(
      expect.objectContaining({ name: 'Incompatible', message: expect.stringMatching(message) }),
    );
  });

  test('all at once, so that one try shows everything there is to mend', () => {
    const kind = makeKind({ maxDimension: 3, distances: ['dot'] });
    expect(() => fitted({ kind })).toThrow(/dimensions.*distance/);
  });
});

describe('what is carried in another form is a note', () => {
  test('a vector that stands alone takes the name an application of the target expects', () => {
    expect(fitted({ kind: makeKind({ defaultVectorName: '' }) })).toMatchObject({
      mapping: { vectors: { embedding: '' } },
      target: { vectors: [{ name: '' }] },
    });
    const unnamed = makeSchema({ store: 'src', vectors: [{ ...dense, name: '' }] });
    expect(fitted({ schema: unnamed }).mapping.vectors).toEqual({ '': 'embedding' });
  });

  test('within one store names, types, indexes and settings stay', () => {
    const schema = makeSchema({
      store: 'same',
      vectors: [{ ...dense, index: { kind: 'other', name: 'diskann' } }],
      fields: [{ name: 'price', type: 'decimal', nullable: false, native: 'numeric(12,4)' }],
      payloadIndexes: [{ field: 'price', type: 'btree' }],
      native: { optimizers: {} },
    });
    const { target, notes } = fitted({ schema, kind: makeKind({ defaultVectorName: 'v' }, 'same') });
    expect(target).toMatchObject({ ...schema, store: 'same' });
    expect(notes).toEqual([]);
  });

  test('settings of a vector follow it when it is renamed, and go with it when it is left out', () => {
    const vectors = [
      { ...dense, name: 'title' },
      { ...dense, name: 'body' },
    ];
    const schema = makeSchema({
      store: 'same',
      vectors,
      native: { vectors: { title: { on_disk: true }, body: { on_disk: false } }, params: { shard_number: 2 } },
    });
    const { target } = fitted({
      schema,
      kind: makeKind({}, 'same'),
      mapping: { vectors: { title: { to: 'headline' }, body: null } },
    });
    expect(target.native).toEqual({ vectors: { headline: { on_disk: true } }, params: { shard_number: 2 } });
  });

  test('between stores the types of one are not taken for those of the other, and the notes say what is dropped', () => {
    const schema = makeSchema({
      store: 'src',
      vectors: [{ ...dense, index: { kind: 'ivfflat', lists: 10 } }],
      fields: [{ name: 'price', type: 'decimal', nullable: false, native: 'numeric(12,4)' }],
      payloadIndexes: [{ field: 'price', type: 'btree' }],
      native: { optimizers: {} },
    });
    const { target, notes } = fitted({ schema, kind: makeKind({ payload: { types: ['text'], any: true } }) });
    expect(target).toMatchObject({ payloadIndexes: [], native: {}, fields: [{ name: 'price', type: 'decimal' }] });
    expect(target.fields?.[0]).not.toHaveProperty('native');
    expect(target.vectors[0]).not.toHaveProperty('index');
    expect(notes.join('\n')).toMatch(
      /ivfflat index has no counterpart[\s\S]*'price'[\s\S]*payload indexes on price[\s\S]*settings optimizers/,
    );
  });

  test("shards of PostgreSQL in a folder still make PostgreSQL's own columns", () => {
    const schema = makeSchema({
      store: 'files',
      origin: 'pgvector',
      fields: [{ name: 'at', type: 'timestamp', nullable: true, native: 'timestamp with time zone' }],
    });
    expect(fitted({ schema, kind: makeKind({}, 'pgvector') }).target.fields).toEqual(schema.fields);
    const toFiles = fitted({
      schema: { ...schema, store: 'pgvector', origin: undefined as never },
      kind: makeKind({}, 'files'),
    }).target;
    expect(toFiles).toMatchObject({ store: 'files', origin: 'pgvector', fields: schema.fields });
  });

  test('HNSW settings carry over where both sides have the notion', () => {
    const index = { kind: 'hnsw', m: 24, efConstruction: 99 } as const;
    const schema = makeSchema({ store: 'src', vectors: [{ ...dense, index }] });
    expect(fitted({ schema, kind: makeKind({ indexes: ['hnsw'] }) }).target.vectors[0]?.index).toEqual(index);
  });

  test('the event may ask for an index of its own, of a kind that the store has', () => {
    const index = { kind: 'hnsw', m: 32 } as const;
    const kind = makeKind({ indexes: ['hnsw'] });
    expect(fitted({ kind, mapping: { vectors: { embedding: { index } } } }).target.vectors[0]?.index).toEqual(index);
    expect(() => fitted({ kind, mapping: { vectors: { embedding: { index: { kind: 'ivfflat' } } } } })).toThrow(
      /asked for an index of kind ivfflat and the store has hnsw, none/,
    );
  });

  test('a dimension too large for an index is stored without one', () => {
    const { target, notes } = fitted({ kind: makeKind({ maxIndexedDimension: { float32: 3 } }) });
    expect(target.vectors[0]?.index).toEqual({ kind: 'none' });
    expect(notes[0]).toMatch(/searched exactly/);
  });

  test('a decimal that is cast is declared as what it becomes', () => {
    const schema = makeSchema({
      store: 'src',
      fields: [
        { name: 'price', type: 'decimal', nullable: true, native: 'numeric' },
        { name: 'secret', type: 'text', nullable: true },
      ],
    });
    const { target, mapping } = fitted({ schema, mapping: { payload: { price: 'number', secret: null } } });
    expect(target.fields).toEqual([{ name: 'price', type: 'float', nullable: true }]);
    expect(mapping).toMatchObject({ dropFields: ['secret'], castFields: { price: 'number' } });
  });

  test('string ids become UUIDs where the target holds no text, and the note names the field of the original', () => {
    const kind = makeKind({
      ids: { integer: { min: '0', max: '18446744073709551615' }, uuid: true, string: false, composite: false },
    });
    const { target, mapping, notes } = fitted({ schema: makeSchema({ store: 'src', idType: 'string' }), kind });
    expect(target.idType).toBe('mixed');
    expect(mapping.ids).toBe('uuid5');
    expect(notes.join()).toContain("'original_id'");
  });
});
