import { beforeAll, describe, expect, test } from '@jest/globals';
import { asCompared } from '../../lib/compare/match.ts';
import { checkMapping } from '../../lib/mapping/check.ts';
import { unreadFields } from '../../lib/mapping/names.ts';
import type { FieldSpec, FieldType } from '../../lib/schema.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makePlan } from '../make-plan.ts';
import { fitOf } from './world.ts';

const field = (name: string, type: FieldType, more: Partial<FieldSpec> = {}): FieldSpec => ({
  name,
  type,
  nullable: true,
  ...more,
});
const declared = [
  field('id2', 'integer', { nullable: false, native: 'integer' }),
  field('status', 'text', { native: 'character varying(20)' }),
  field('name', 'text'),
  field('meta', 'json'),
];

describe('what could never work is refused by the plan, all of it at once', () => {
  test.each<[string, object, RegExp]>([
    [
      'a field that the source lacks',
      { payload: { statsu: { to: 'x' } } },
      /names 'statsu', but the source has id2, status/,
    ],
    [
      'a path into what holds nothing',
      { payload: { 'status.x': { to: 'x' } } },
      /'status' is of type text.*nothing within/,
    ],
    [
      'a template of a field that the source lacks',
      { add: { slug: { template: '{naem}' } } },
      /mapping\.add\.slug names 'naem'/,
    ],
    [
      'a condition on a field that the source lacks',
      { records: [{ name: 'r', drop: { x: 1 } }] },
      /mapping\.records 'r' names 'x'/,
    ],
    [
      'two rules that write one field',
      { payload: { status: { to: 'x' }, name: { to: 'x' } } },
      /'status' and .*'name' write the field 'x'/,
    ],
    [
      'one rule that writes within what another writes',
      { payload: { status: { to: 'x' }, name: { to: 'x.y' } } },
      /one within the other/,
    ],
    [
      'a rule that writes what stays',
      { payload: { status: { to: 'name' } } },
      /writes 'name', and the source's field of that name stays/,
    ],
    ['an addition that writes what stays', { add: { name: { value: 'x' } } }, /mapping\.add 'name' writes 'name'/],
    [
      'a path through what stays and is no object',
      { payload: { status: { to: 'name.x' } } },
      /'name' is of type text, which has nothing within/,
    ],
    [
      'a rule for an object and one within it',
      { payload: { meta: { to: 'm' }, 'meta.x': { to: 'x' } } },
      /both would carry the value/,
    ],
    [
      'a pattern that hides others',
      {
        payload: {
          status: {
            patterns: [
              { like: '%', to: 'a' },
              { like: 'b%', to: 'b' },
            ],
          },
        },
      },
      /put it last/,
    ],
    [
      'a value that its column does not allow',
      { payload: { status: { values: { A: 'a' } } }, columns: { status: { values: ['b'] } } },
      /makes 'a'.*the values b/,
    ],
    ['a column that no field is', { columns: { x: { maxLength: 3 } } }, /mapping\.columns names 'x'/],
    [
      'a default of another type',
      { payload: { id2: { default: 'none' } } },
      /default "none", and 'id2' is of type integer/,
    ],
  ])('%s', (_, mapping, message) => {
    expect(() => fitOf(mapping, { fields: declared })).toThrow(
      expect.objectContaining({ name: 'Incompatible', message: expect.stringMatching(message) }),
    );
  });

  test.each<[string, object, RegExp]>([
    ['otherwise without values', { status: { otherwise: 'keep' } }, /otherwise/],
    ['a unit without a time', { status: { cast: 'string', unit: 's' } }, /unit/],
    ['a split with a cast', { name: { split: { by: ' ' }, cast: 'string' } }, /split/],
    ['an expression that is none', { name: { split: { by: '/(/' } } }, /expression/],
    ['an expression with flags', { name: { split: { by: '/,/g' } } }, /flags/],
    ['a path with a step that is empty', { name: { to: 'a..b' } }, /path/],
    ['a field that parsers drop', JSON.parse('{"__proto__": null}'), /mapping\.payload\.__proto__/],
    ['a default that was rounded', { name: { default: { n: [2 ** 64] } } }, /2\^53/],
    ['a value that was rounded', { name: { values: { x: 2 ** 64 } } }, /2\^53/],
  ])('%s is no event', (_, payload, message) => {
    expect(() => fitOf({ payload })).toThrow(
      expect.objectContaining({ name: 'InvalidEvent', message: expect.stringMatching(message) }),
    );
  });
});

test('an added value that was rounded when the event was read is no event', () => {
  expect(() => fitOf({ add: { n: { value: 2 ** 64 } } })).toThrow(/add\.n.*2\^53/);
});

test('a template with a brace without its counterpart is no event', () => {
  expect(() => fitOf({ add: { slug: { template: '{name' } } })).toThrow(/brace/);
});

describe('declared fields of the target', () => {
  test('stay where they were, renamed, retyped, left out and added', () => {
    const mapping = {
      payload: {
        id2: { cast: 'string' },
        status: { to: 'state', values: { A: 'a' } },
        name: { split: { by: ' ', to: ['first', 'meta.last'] } },
        'meta.year': { to: 'year' },
      },
      add: { n: { value: 1 }, slug: { template: '{name}' } },
      columns: { state: { enum: 'states', values: ['a'] }, year: { type: 'integer' }, first: { maxLength: 9 } },
    };
    expect(fitOf(mapping, { fields: declared }).target.fields).toEqual([
      { name: 'id2', type: 'text', nullable: false },
      { name: 'state', type: 'text', nullable: true, values: ['a'], enum: 'states' },
      { name: 'first', type: 'text', nullable: true, native: 'varchar(9)' },
      { name: 'meta', type: 'json', nullable: true },
      { name: 'year', type: 'integer', nullable: true },
      { name: 'n', type: 'integer', nullable: true },
      { name: 'slug', type: 'text', nullable: true },
    ]);
  });

  test('are made for a source without any where every field is named', () => {
    const mapping = { others: 'drop', payload: { a: {}, b: { cast: 'date' } }, columns: { a: { type: 'text' } } };
    expect(fitOf(mapping).target.fields?.map(({ name, type }) => [name, type])).toEqual([
      ['a', 'text'],
      ['b', 'date'],
    ]);
    const kept = fitOf({ columns: { a: { type: 'text' } } });
    expect(kept.target.fields).toBeUndefined();
    expect(kept.notes.join()).toMatch(/set others to "drop" to have columns/);
  });

  test('keep a renamed column its own type, default and index, in the same store', () => {
    const { target, notes } = fitOf(
      { payload: { status: { to: 'state' }, name: { cast: 'json' } } },
      {
        fields: declared,
        payloadIndexes: [
          { field: 'status', type: 'btree', native: { isUnique: false, using: 'USING btree (status)' } },
          { field: 'id2', type: 'btree', native: { isUnique: true, using: 'USING btree (id2, "status" DESC)' } },
          { field: 'name', type: 'gin', native: { isUnique: false, using: 'USING gin (name gin_trgm_ops)' } },
          { field: 'meta', type: 'gin', native: { isUnique: false, using: 'USING gin (meta)' } },
        ],
        native: { defaults: { status: "'PENDING'::text", name: "'x'::text", id2: '7' } },
      },
    );
    expect(target.fields?.find(({ name }) => name === 'state')?.native).toBe('character varying(20)');
    expect(target.native).toEqual({ defaults: { state: "'PENDING'::text", id2: '7' } });
    expect(target.payloadIndexes).toEqual([
      { field: 'state', type: 'btree', native: { isUnique: false, using: 'USING btree ("state")' } },
      { field: 'meta', type: 'gin', native: { isUnique: false, using: 'USING gin (meta)' } },
    ]);
    expect(notes.join()).toMatch(/indexes on 'id2', 'name' are not made/);
  });
});

describe('the plan tries the rules on records that are there', () => {
  let source: Store;
  const records = 20_000;
  beforeAll(async () => {
    source = await memory.open({ connection: { path: 'mapping-plan' }, collection: 'records', options: {} });
    await source.prepare(makeSchema());
    const ids = Array.from({ length: records }, (_, at) => String(100_000 + at));
    const payloads = ids.map((_, at) =>
      JSON.stringify({
        status: at === 11_111 ? 'ODD' : ['PENDING', 'DONE', 'void'][at % 3],
        price: at % 1000 === 5 ? 'n/a' : `${at}.5`,
        big: '12345678901234567890',
        title: 'x'.repeat(at % 10),
        ...(at % 2 === 0 && { secret: 'x' }),
      }),
    );
    await source.write(makeBatch({ ids, payloads }), { mode: 'upsert' });
  });
  const check = async (mapping: object, sampled = false, fields?: readonly FieldSpec[]) => {
    const { values: _, ...store } = source;
    return await checkMapping({ mapping: fitOf(mapping).mapping, source: sampled ? store : source, records, fields });
  };
  const status = { values: { PENDING: 'p', DONE: 'd' } };

  test('a value that one record in twenty thousand has is found where the store can count', async () => {
    const found = await check({ payload: { status } });
    expect(found?.counted).toEqual(['status']);
    expect(found?.findings.map(({ kind, what, isWhole }) => [kind, what, isWhole])).toEqual([
      [
        'refused',
        expect.stringMatching(
          /^'status': 6,666 of all 20,000 records hold a value that no value and no pattern takes: 'void' \(6,665 records, first ids 100002, .*\), 'ODD' \(1 record, first ids 111111\); add it/,
        ),
        true,
      ],
    ]);
  });

  test('elsewhere a sample is read that is spread over the collection', async () => {
    const found = await check({ payload: { status } }, true);
    expect(found).toMatchObject({ looked: 5000, records, counted: [] });
    const [refused] = found?.findings ?? [];
    expect(refused).toMatchObject({ kind: 'refused', isWhole: false });
    expect(refused?.records).toBeGreaterThan(1600);
    expect(refused?.what).toMatch(/of 5,000 sampled records.*'void'/);
  });

  test('casts that do not fit, texts that are too long, and what is lost, each with its records', async () => {
    const found = await check({
      payload: { price: { cast: 'number' }, big: 'number', secret: null, title: { cut: 8 } },
      columns: { title: { maxLength: 7 } },
      records: [{ name: 'void ones', drop: { status: 'void' } }],
    });
    const whats = found?.findings.map(({ kind, what }) => `${kind}: ${what}`).join('\n') ?? '';
    expect(whats).toMatch(
      /refused: 'price': \d+ of 5,000 sampled records hold a value that its cast does not take: 'n\/a'/,
    );
    expect(whats).toMatch(/refused: 'title': .* get a value that mapping\.columns does not allow: 'xxxxxxxx'/);
    expect(whats).toMatch(/lost: values of 'big' are rounded to a double, and lose digits/);
    expect(whats).toMatch(/lost: values of 'title' are longer than "cut" allows/);
    expect(whats).toMatch(/lost: values of 'secret' are left out: 1,6\d\d of 5,000/);
    expect(whats).toMatch(/dropped: rule 'void ones' leaves out 1,6\d\d of 5,000 sampled records; first ids 100002/);
  });

  test('a mapping without rules reads nothing where the source says which fields it has', async () => {
    expect(await check({ payload: { secret: null } }, false, [field('secret', 'text')])).toBeUndefined();
  });

  test('a field that no record has is named, since of a source without columns nothing else would show the slip', async () => {
    const found = await check({
      payload: { secrte: null, 'meta.internal': null, lang: { default: 'en' } },
      add: { slug: { template: '{titel}-{id}' } },
    });
    const unmet = found?.findings.filter(({ kind }) => kind === 'unmet') ?? [];
    expect(unmet.map((each) => each.field)).toEqual(['secrte', 'meta.internal', 'titel']);
    expect(unmet[0]?.what).toMatch(/^none of 5,000 sampled records has the field 'secrte'/);
    expect((await check({ payload: { secret: null } }))?.findings.map(({ kind }) => kind)).toEqual(['lost']);
  });
});

describe('fields that are left out', () => {
  test('are not even read where the source can leave them, unless a rule reads them', () => {
    const { mapping } = fitOf(
      { others: 'drop', payload: { name: {} }, add: { slug: { template: '{meta.year}' } } },
      { fields: declared },
    );
    expect(unreadFields(mapping)).toEqual(['id2', 'status']);
    expect(unreadFields(mapping, ['status'])).toEqual(['id2']);
    expect(unreadFields(fitOf({ payload: { name: null }, add: { n: { join: ['name'] } } }).mapping)).toEqual([]);
  });

  test('do not take a field from the target of a comparison that another one was renamed to', async () => {
    const target = await memory.open({ connection: { path: 'mapping-match' }, collection: 'there', options: {} });
    await target.prepare(makeSchema());
    await target.write(makeBatch({ ids: ['1'], payloads: ['{"title":"x","own":1}'] }), { mode: 'upsert' });
    const mapping = { payload: { title: null, own: null, headline: { to: 'title' } } };
    const plan = { ...makePlan({ mode: 'validate', mapping }), mapping: { ...fitOf(mapping).mapping } };
    const found = await asCompared(target, plan, memory.capabilities).fetch(['1']);
    expect(found.payloads).toEqual(['{"title":"x"}']);
  });
});
