import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Batch } from '../../lib/batch.ts';
import { mapBatch } from '../../lib/mapping/mapping.ts';
import type { Plan } from '../../lib/run-files.ts';
import { conform, refuseDefaults } from '../../lib/schema/conform.ts';
import { fingerprintOf } from '../../lib/schema/fingerprint.ts';
import type { CollectionSchema, FieldSpec, FieldType } from '../../lib/schema.ts';
import { lancedb } from '../../lib/stores/lancedb.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { makePlan } from '../make-plan.ts';

const field = (name: string, type: FieldType = 'text', nullable = true): FieldSpec => ({ name, type, nullable });
const withFields = (...fields: FieldSpec[]): CollectionSchema => makeSchema({ fields });

const planOf = (source: CollectionSchema, event: Record<string, unknown> = {}): Plan => {
  const plan = makePlan(event);
  const vectors = Object.fromEntries(source.vectors.map(({ name }) => [name, name]));
  return { ...plan, source, mapping: { ...plan.mapping, vectors } };
};
const read = (schema: CollectionSchema) => ({ where: 'shard 00000-000', schema, fingerprint: fingerprintOf(schema) });
const accepting = (more: object = {}) => ({ mapping: { schema: { accept: true, ...more } } });
const batchOf = (...payloads: object[]): Batch =>
  makeBatch({ ids: payloads.map((_, at) => String(at + 1)), payloads: payloads.map((each) => JSON.stringify(each)) });
const payloadsIn = ({ payloads }: Batch): unknown[] => payloads.map((each): unknown => JSON.parse(each));

const planned = withFields(field('title'), field('rank', 'integer'));

describe('records of the run’s own schema', () => {
  test('are handed on as they are, without a look at one of them', () => {
    const batch = makeBatch({ payloads: ['no JSON at all', '', '{'] });
    expect(conform(batch, read(planned), planOf(planned)).batch).toBe(batch);
    const turned = withFields(field('rank', 'integer', false), field('title'));
    expect(conform(batch, read(turned), planOf(planned)).batch).toBe(batch);
  });

  test('are so too where the plan saw an empty table, which does not say how long its vectors are', () => {
    const [vector] = planned.vectors;
    const { dimension: _, ...unknown } = vector ?? { name: '', kind: 'dense', precision: 'float32' };
    const batch = batchOf({ title: 'a', rank: 1 });
    expect(conform(batch, read(planned), planOf({ ...planned, vectors: [unknown] })).batch).toBe(batch);
  });

  test('a shard without records is taken whatever it was read under: it says nothing', () => {
    const empty = makeBatch({ ids: [] });
    expect(conform(empty, read(withFields(field('other'))), planOf(planned)).batch).toBe(empty);
  });
});

describe('records of another schema', () => {
  const added = withFields(...(planned.fields ?? []), field('lang'));
  const removed = withFields(field('title'));

  test.each([
    ['a field that came', added, /shard 00000-000 was read.*field added: 'lang' \(text\).*"accept": true/s],
    ['one that went', removed, /field removed: 'rank' \(integer\).*mapping\.schema\.defaults/s],
    ['one of another type', withFields(field('title'), field('rank')), /field retyped: 'rank' is text, and integer/],
    ['ids of another type', { ...planned, idType: 'string' as const }, /ids retyped: string, and integer/],
    ['fields that nobody declared', makeSchema(), /fields undeclared/],
  ])('are refused by name for %s', (_, schema, message) => {
    const act = () => conform(batchOf({ title: 'a' }), read(schema), planOf(planned));
    expect(act).toThrow(expect.objectContaining({ name: 'SchemaMismatch', message: expect.stringMatching(message) }));
  });

  test('with the flag lose what the run does not know, and take defaults or null, each counted by its records', () => {
    const batch = batchOf({ title: 'a', lang: 'en' }, { title: 'b' }, { title: 'c', lang: null });
    const other = withFields(field('title'), field('lang'));
    const plan = planOf(
      withFields(field('title'), field('rank', 'integer'), field('note')),
      accepting({ defaults: { rank: 7 } }),
    );
    const { batch: found, ...counts } = conform(batch, read(other), plan);
    expect(payloadsIn(found)).toEqual([
      { title: 'a', rank: 7, note: null },
      { title: 'b', rank: 7, note: null },
      { title: 'c', rank: 7, note: null },
    ]);
    expect(counts).toEqual({ defaulted: { rank: 3, note: 3 }, removed: { lang: 2 }, renamed: {} });
  });

  test('keep digits that a double would round', () => {
    const big = '{"title":"a","rank":9007199254740993,"lang":"x"}';
    const found = conform(makeBatch({ ids: ['1'], payloads: [big] }), read(added), planOf(planned, accepting()));
    expect(found.batch.payloads).toEqual(['{"title":"a","rank":9007199254740993}']);
  });

  test('a field that may not be null is refused without a default, since no store would take it', () => {
    const strict = withFields(field('title'), field('rank', 'integer', false));
    const act = (defaults: object) =>
      conform(batchOf({ title: 'a' }), read(removed), planOf(strict, accepting({ defaults })));
    expect(() => act({})).toThrow(/'rank' may not be null: write mapping\.schema\.defaults \{"rank"/);
    expect(payloadsIn(act({ rank: 0 }).batch)).toEqual([{ title: 'a', rank: 0 }]);
  });

  test('a field of another type is taken while its values read as the run’s, and refused with the record where one does not', () => {
    const float = withFields(field('title'), field('rank', 'float'));
    const asInteger = (rank: unknown) =>
      conform(batchOf({ title: 'a', rank: 1 }, { title: 'b', rank }), read(float), planOf(planned, accepting()));
    expect(payloadsIn(asInteger(2).batch)[1]).toEqual({ title: 'b', rank: 2 });
    expect(payloadsIn(asInteger(null).batch)[1]).toEqual({ title: 'b', rank: null });
    expect(() => asInteger(2.5)).toThrow(
      expect.objectContaining({
        name: 'SchemaMismatch',
        ids: ['2'],
        message: expect.stringMatching(/'rank' of record '2' is 2\.5.*integer/),
      }),
    );
  });

  test('ids of another type are taken while they read as the run’s', () => {
    const texts = { ...planned, idType: 'string' as const };
    const act = (id: string) =>
      conform(makeBatch({ ids: [id], payloads: ['{}'] }), read(texts), planOf(planned, accepting()));
    expect(act('12').batch.ids).toEqual(['12']);
    expect(() => act('twelve')).toThrow(/'twelve'/);
  });

  test.each([
    [
      'dimension',
      { dimension: 8 },
      /vector 'embedding' is dense, 8 dimensions, of model one, and dense, 4 dimensions.*No rule accepts/s,
    ],
    ['kind', { kind: 'multi' as const }, /is multi, 4 dimensions, of model one, and dense/],
    ['model', { model: { name: 'other' } }, /of model other/],
  ])('a vector of another %s is refused in spite of the flag: its floats mean something else', (_, change, message) => {
    const known = makeSchema({
      ...planned,
      vectors: planned.vectors.map((each) => ({ ...each, model: { name: 'one' } })),
    });
    const other = makeSchema({ ...known, vectors: known.vectors.map((each) => ({ ...each, ...change })) });
    const act = () => conform(batchOf({}), read(other), planOf(known, accepting()));
    expect(act).toThrow(message);
  });

  test('a vector that is left out of the target may be of any shape', () => {
    const other = makeSchema({ ...planned, vectors: planned.vectors.map((each) => ({ ...each, dimension: 8 })) });
    const plan = planOf(planned);
    const batch = batchOf({});
    expect(conform(batch, read(other), { ...plan, mapping: { ...plan.mapping, vectors: {} } }).batch).toBe(batch);
  });

  test('a vector that came later is absent in older records, and counted', () => {
    const two = makeSchema({
      ...planned,
      vectors: [...planned.vectors, { name: 'image', kind: 'dense', dimension: 2, precision: 'float32' }],
    });
    const { batch, defaulted } = conform(batchOf({}, {}), read(planned), planOf(two, accepting()));
    expect(batch.vectors.get('image')).toEqual({
      kind: 'dense',
      dimension: 2,
      values: new Float32Array(4),
      present: new Uint8Array(2),
    });
    expect(defaulted).toEqual({ "vector 'image'": 2 });
  });
});

describe('old names', () => {
  const names = { fields: { title: ['headline', 'name'] }, vectors: { embedding: ['emb'] } };
  const [vector] = planned.vectors;
  const old = makeSchema({
    fields: [field('headline'), field('rank', 'integer')],
    vectors: vector === undefined ? [] : [{ ...vector, name: 'emb' }],
  });

  test('are read as the stable ones, of fields and vectors, without the flag', () => {
    const batch = makeBatch({ ids: ['1'], vectors: old.vectors, payloads: ['{"headline":"a","rank":1}'] });
    const found = conform(batch, read(old), planOf(planned, { names }));
    expect(payloadsIn(found.batch)).toEqual([{ title: 'a', rank: 1 }]);
    expect(found.batch.vectors.get('embedding')).toBe(batch.vectors.get('emb'));
    expect(found.renamed).toEqual({ headline: 1, "vector 'emb'": 1 });
  });

  test('are found in records of a store that declares no fields', () => {
    const plan = planOf(makeSchema(), { names });
    const found = conform(batchOf({ name: 'a' }, { title: 'b' }), read(makeSchema()), plan);
    expect(payloadsIn(found.batch)).toEqual([{ title: 'a' }, { title: 'b' }]);
  });

  test('beside the stable one are refused where the two differ, naming the record, and one where they are equal', () => {
    const both = withFields(field('title'), field('headline'), field('rank', 'integer'));
    const act = (title: unknown) =>
      conform(batchOf({ title: 'x', headline: 'x' }, { title, headline: 'a' }), read(both), planOf(planned, { names }));
    expect(payloadsIn(act('a').batch)).toEqual([{ title: 'x' }, { title: 'a' }]);
    expect(() => act('b')).toThrow(expect.objectContaining({ name: 'RecordRefused', ids: ['2'] }));
    expect(() => act(null)).toThrow(/record '2'.*'title' by its stable and an old name/);
  });

  test('a vector by both names must be the same too', () => {
    const both = makeSchema({ fields: planned.fields, vectors: [...planned.vectors, ...old.vectors] });
    const batch = makeBatch({ ids: ['1', '2'], vectors: both.vectors, payloads: ['{}', '{}'] });
    const column = batch.vectors.get('embedding');
    const same = { ...batch, vectors: new Map([...batch.vectors, ...(column ? [['emb', column] as const] : [])]) };
    expect(conform(same, read(both), planOf(planned, { names })).batch.vectors.get('embedding')).toEqual(column);
    expect(() => conform(batch, read(both), planOf(planned, { names }))).toThrow(/record '1'.*vector 'embedding'/);
  });

  test('in strict mode a name that is neither is refused even with the flag; else it is skipped and counted, without it', () => {
    const other = withFields(...(planned.fields ?? []), field('lang'));
    const batch = batchOf({ title: 'a', lang: 'en' });
    const strict = planOf(planned, { names, ...accepting() });
    expect(() => conform(batch, read(other), strict)).toThrow(
      /field added: 'lang'.*names\.fields \{"STABLE": \["lang"\]\}.*names\.strict false/s,
    );
    const lax = conform(batch, read(other), planOf(planned, { names: { ...names, strict: false } }));
    expect(payloadsIn(lax.batch)).toEqual([{ title: 'a' }]);
    expect(lax.removed).toEqual({ lang: 1 });
  });
});

describe('defaults', () => {
  test.each([
    [
      { accept: true, defaults: { lang: 'en' } },
      /names 'lang', which the source does not have; its fields are title, rank/,
    ],
    [{ accept: true, defaults: { rank: 'one' } }, /defaults\.rank is "one", and the field is integer/],
    [{ defaults: { rank: 1 } }, /write "accept": true/],
  ])('%j are refused by the plan', (schema, message) => {
    expect(() => refuseDefaults(planOf(planned, { mapping: { schema } }).event, planned)).toThrow(message);
  });
});

describe('conform, then mapBatch', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const shapes = fc.record({
    renamed: fc.subarray(names),
    dropped: fc.subarray(names),
    added: fc.subarray(['x', 'y', 'z']),
    records: fc.array(fc.array(fc.oneof(fc.string(), fc.constant(null)), { minLength: 5, maxLength: 5 }), {
      minLength: 1,
      maxLength: 5,
    }),
    left: fc.subarray(names),
    defaults: fc.dictionary(fc.constantFrom(...names), fc.string()),
  });

  test('makes of older records what mapBatch makes of records that had the run’s schema from the start', () => {
    fc.assert(
      fc.property(shapes, ({ renamed, dropped, added, records, left, defaults }) => {
        const oldName = (name: string): string => (renamed.includes(name) ? `old ${name}` : name);
        const kept = names.filter((name) => !dropped.includes(name));
        const schema = withFields(...[...kept.map(oldName), ...added].map((name) => field(name)));
        const source = withFields(...names.map((name) => field(name)));
        const aliases = Object.fromEntries(renamed.map((name) => [name, [`old ${name}`]]));
        const event = { names: { fields: aliases, strict: false }, ...accepting({ defaults }) };
        const plan = planOf(source, event);
        const mapping = { ...plan.mapping, dropFields: left };
        const older = records.map((values) =>
          Object.fromEntries([
            ...kept.map((name) => [oldName(name), values[names.indexOf(name)]]),
            ...added.map((name) => [name, `${name} of an older day`]),
          ]),
        );
        const fresh = records.map((values) =>
          Object.fromEntries(
            names.map((name, at) => [name, kept.includes(name) ? values[at] : (defaults[name] ?? null)]),
          ),
        );
        const { batch, ...counts } = conform(batchOf(...older), read(schema), plan);
        const { ids } = lancedb.capabilities;
        const [found, expected] = [batch, batchOf(...fresh)].map((each) => mapBatch(each, mapping, ids).batch);
        expect(found?.payloads.map(canonicalJson)).toEqual(expected?.payloads.map(canonicalJson));
        expect(found?.vectors).toEqual(expected?.vectors);
        const each = (all: string[]) => Object.fromEntries(all.map((name) => [name, records.length]));
        expect(counts).toEqual({
          defaulted: each(dropped),
          removed: each(added),
          renamed: each(kept.filter((name) => renamed.includes(name)).map(oldName)),
        });
      }),
    );
  });
});
