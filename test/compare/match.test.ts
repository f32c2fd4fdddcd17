import { describe, expect, test } from '@jest/globals';
import { matchCollections } from '../../lib/compare/match.ts';
import { parseEvent } from '../../lib/event.ts';
import type { CollectionSchema, VectorSpec } from '../../lib/schema.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Capabilities, StoreKind } from '../../lib/stores/port.ts';
import { makeSchema } from '../make.ts';

const dense: VectorSpec = { name: 'embedding', kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' };
const named = (name: string, more: Partial<VectorSpec> = {}): VectorSpec => ({ ...dense, name, ...more });

function makeKind(capabilities: Partial<Capabilities> = {}): StoreKind {
  return { ...memory, title: 'Other', capabilities: { ...memory.capabilities, ...capabilities } };
}

interface Parts {
  readonly source?: Partial<CollectionSchema>;
  readonly target?: Partial<CollectionSchema>;
  readonly sourceKind?: StoreKind;
  readonly targetKind?: StoreKind;
  readonly mapping?: object;
  readonly withoutVector?: Record<string, number>;
}

function match({ source, target, sourceKind, targetKind, mapping = {}, withoutVector = {} }: Parts) {
  return matchCollections({
    source: { schema: makeSchema(source), count: 10, payloadBytes: 1, withoutVector },
    target: { schema: makeSchema(target), count: 10, payloadBytes: 1 },
    sourceKind: sourceKind ?? makeKind(),
    targetKind: targetKind ?? makeKind(),
    event: parseEvent({
      source: { store: 'memory', collection: 'a' },
      target: { store: 'memory', collection: 'b' },
      mode: 'validate',
      mapping,
    }),
  });
}

describe('vectors of which the target has the first floats', () => {
  const mapping = { vectors: { embedding: { dimensions: 2 } } };
  const target = { vectors: [named('', { dimension: 2 })] };

  test('are held against it as they are truncated, where their model allows it', () => {
    const model = { name: 'ours', isMatryoshka: true };
    const found = match({ source: { vectors: [named('embedding', { model })] }, target, mapping });
    expect(found.mapping).toMatchObject({ vectors: { embedding: '' }, truncate: { '': 2 } });
    expect(found.notes.join()).toMatch(/first 2 of 4 floats/);
  });

  test('are refused where nothing says that the model does', () => {
    expect(() => match({ source: { vectors: [named('embedding')] }, target, mapping })).toThrow(/Matryoshka/);
  });
});

describe('vectors are held against each other', () => {
  const two = [named('title'), named('body')];
  test.each<[string, Parts, Record<string, string>]>([
    ['by their names', { source: { vectors: two }, target: { vectors: two } }, { title: 'title', body: 'body' }],
    [
      'as the event names them',
      {
        source: { vectors: two },
        target: { vectors: [named('a'), named('b')] },
        mapping: { vectors: { title: { to: 'b' }, body: { to: 'a' } } },
      },
      { title: 'b', body: 'a' },
    ],
    [
      'where each stands alone',
      { source: { vectors: [named('embedding')] }, target: { vectors: [named('')] } },
      { embedding: '' },
    ],
    [
      'but for those that the event leaves out',
      { source: { vectors: two }, target: { vectors: [named('')] }, mapping: { vectors: { body: null } } },
      { title: '' },
    ],
  ])('%s', (_, parts, expected) => {
    expect(match(parts).mapping.vectors).toEqual(expected);
  });

  test('and one that only the target has is said, because it is not compared', () => {
    const { notes } = match({ source: { vectors: [named('title')] }, target: { vectors: two } });
    expect(notes).toEqual([expect.stringMatching(/'body' of the target: nothing in the source/)]);
  });
});

describe('what cannot be held against each other is refused, all of it at once, with what to do', () => {
  test.each<[string, Parts, RegExp]>([
    [
      'dimensions',
      { target: { vectors: [named('embedding', { dimension: 8 })] } },
      /4 dimensions.* 8 .*"to": NAME.*null/,
    ],
    ['kinds', { target: { vectors: [{ name: 'embedding', kind: 'sparse', precision: 'float32' }] } }, /dense.*sparse/],
    [
      'a vector without a counterpart',
      { source: { vectors: [named('title'), named('body')] }, target: { vectors: [named('title'), named('text')] } },
      /'body' has no counterpart in the target, which has 'title', 'text'.*"to": NAME/,
    ],
    [
      'a counterpart that is not there',
      { mapping: { vectors: { embedding: { to: 'other' } } } },
      /no counterpart 'other' in the target, which has 'embedding'/,
    ],
    [
      'two vectors with one counterpart',
      {
        source: { vectors: [named('title'), named('body')] },
        target: { vectors: [named('title')] },
        mapping: { vectors: { body: { to: 'title' } } },
      },
      /'title' and 'body' would both be held against 'title'/,
    ],
    ['a vector that the source does not have', { mapping: { vectors: { titel: null } } }, /'titel'.*has 'embedding'/],
    [
      'a field that neither declares',
      {
        source: { fields: [{ name: 'title', type: 'text', nullable: true }] },
        target: { fields: [{ name: 'year', type: 'integer', nullable: true }] },
        mapping: { payload: { titel: null } },
      },
      /'titel', but the collections have title, year/,
    ],
  ])('%s', (_, parts, message) => {
    expect(() => match(parts)).toThrow(expect.objectContaining({ name: 'Incompatible' }));
    expect(() => match(parts)).toThrow(message);
  });

  test('several', () => {
    const parts = {
      source: { vectors: [named('title'), named('body', { dimension: 8 })] },
      target: { vectors: [named('body'), named('other')] },
    };
    expect(() => match(parts)).toThrow(expect.objectContaining({ ids: ['title', 'body'] }));
  });
});

describe('what only differs is measured, and said in a note', () => {
  test('another distance', () => {
    const target = { vectors: [named('embedding', { distance: 'dot' as const })] };
    expect(match({ target }).notes).toEqual([
      expect.stringMatching(/by cosine in the source and by dot in the target/),
    ]);
    expect(match({ target }).target.vectors[0]?.distance).toBe('dot');
    const asked = match({ target, mapping: { vectors: { embedding: { distance: 'euclid' } } } });
    expect(asked.notes[0]).toMatch(/neighbours by euclid, as the event says/);
  });

  test('another precision', () => {
    const { notes } = match({ target: { vectors: [named('embedding', { precision: 'float16' })] } });
    expect(notes).toEqual([expect.stringMatching(/float32 in the source and as float16/)]);
  });

  test('lengths that the source does not keep', () => {
    const { notes } = match({ sourceKind: makeKind({ normalisesCosine: true }) });
    expect(notes).toEqual([expect.stringMatching(/at length 1 in the source/)]);
    const both = makeKind({ normalisesCosine: true });
    expect(match({ sourceKind: both, targetKind: both }).notes).toEqual([]);
  });

  test('ids that the target cannot hold, which are looked for as their UUIDs', () => {
    const ids = { integer: { min: '0', max: '100' }, uuid: true, string: false, composite: false } as const;
    const targetKind = makeKind({ ids });
    expect(match({ targetKind }).notes).toEqual([]);
    const { notes, mapping } = match({ targetKind, source: { idType: 'string' } });
    expect(mapping.ids).toBe('uuid5');
    expect(notes).toEqual([expect.stringMatching(/type string.*UUIDv5.*'original_id'/)]);
  });

  test('records without a vector', () => {
    expect(match({ withoutVector: { embedding: 3 } }).notes).toEqual([expect.stringMatching(/^3 of 10.*lack it/)]);
    expect(match({ withoutVector: { embedding: 3 }, mapping: { missingVectors: 'skip' } }).notes).toEqual([
      expect.stringMatching(/not looked for/),
    ]);
  });
});

test('the target is taken as it is: nothing is made to fit', () => {
  const target = makeSchema({ vectors: [named('embedding', { precision: 'uint8', index: { kind: 'none' } })] });
  expect(match({ target }).target).toEqual(target);
});

test.each([{ pointer: 'articles' }, { flag: 'articles' }])(
  'an event that validates and cuts over by %j is refused',
  (cutover) => {
    const event = {
      source: { store: 'memory', collection: 'a' },
      target: { store: 'memory', collection: 'b' },
      mode: 'validate',
    };
    expect(() => parseEvent({ ...event, cutover })).toThrow(
      /cutover names a pointer or a flag.*"validate" cuts nothing over/,
    );
    for (const harmless of [null, {}, { approval: 'none' }])
      expect(parseEvent({ ...event, cutover: harmless }).mode).toBe('validate');
  },
);
