import { describe, expect, test } from '@jest/globals';
import { flagNameOf } from '../../lib/cutover/flag.ts';
import { NotFound } from '../../lib/errors.ts';
import { parseEvent } from '../../lib/event.ts';
import { noFiles } from '../../lib/recall/query-file.ts';
import { readGivenQueries } from '../../lib/recall/query-sets.ts';
import { firstThere, sourceOfRun, sourceToPlan } from '../../lib/schema/named-source.ts';
import { collectionsOf, isNamedCollection, stableSchema } from '../../lib/schema/names.ts';
import { stableEvent } from '../../lib/schema/stable-event.ts';
import type { FieldSpec, FieldType } from '../../lib/schema.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makePlan } from '../make-plan.ts';

const endpoints = {
  source: { store: 'pgvector', connection: { path: 'a' }, collection: 'public.articles' },
  target: { store: 'lancedb', connection: { path: 'b' }, collection: 'articles_v2' },
};
const eventWith = (more: object) => parseEvent({ ...endpoints, ...more });
const field = (name: string, type: FieldType = 'text'): FieldSpec => ({ name, type, nullable: true });
const names = {
  collection: 'articles',
  aliases: ['posts', 'posts_v1'],
  fields: { title: ['headline', 'name'] },
  vectors: { embedding: ['emb'] },
};
const parsed = eventWith({ names }).names;

describe('names of an event', () => {
  test.each([
    [
      'an alias that is another stable name',
      { fields: { title: ['name'], name: ['label'] } },
      /names\.fields\.title hold 'name', which is a stable name of its own/,
    ],
    [
      'one that is claimed twice',
      { fields: { title: ['name'], label: ['name'] } },
      /names\.fields\.label hold 'name', which 'title' claims already/,
    ],
    ['one that is given twice', { vectors: { embedding: ['emb', 'emb'] } }, /names\.vectors\.embedding hold 'emb'/],
    [
      'one that is the stable name itself',
      { collection: 'a', aliases: ['a'] },
      /names\.aliases hold 'a', which is the stable name itself/,
    ],
    ['old names of no collection', { aliases: ['posts'] }, /names\.aliases are old names of a collection/],
  ])('refuse %s: a record would not say which it means', (_, given, message) => {
    expect(() => eventWith({ names: given })).toThrow(
      expect.objectContaining({ name: 'InvalidEvent', message: expect.stringMatching(message) }),
    );
  });

  test('of fields do not go with a live run, whose application writes by the names that the source has', () => {
    expect(() => eventWith({ names, live: true })).toThrow(/names has old names.*live/s);
    expect(eventWith({ names: { collection: 'articles', aliases: ['posts'] }, live: true }).names?.strict).toBe(true);
  });

  test('the routing flag keeps the stable name, whatever the target of this run is called', () => {
    expect(flagNameOf(eventWith({}))).toBe('articles_v2');
    expect(flagNameOf(eventWith({ names }))).toBe('articles');
    expect(flagNameOf(eventWith({ names, cutover: { flag: 'own' } }))).toBe('own');
  });
});

describe('a collection with old names', () => {
  test.each([
    ['public.articles', ['public.articles', 'public.posts', 'public.posts_v1']],
    ['exports/posts', ['exports/posts', 'exports/articles', 'exports/posts_v1']],
    ['articles', ['articles', 'posts', 'posts_v1']],
    ['something', ['something']],
    ['my_articles', ['my_articles']],
  ])('%s may be found as %j', (collection, expected) => {
    expect(collectionsOf(collection, parsed)).toEqual(expected);
  });

  test('shards of it are told by its names, with or without what stands before them', () => {
    const known = ['public.posts', 'articles', 'exports/posts_v1', undefined];
    expect(known.map((each) => isNamedCollection(each, parsed))).toEqual([true, true, true, true]);
    expect(['public.other', 'my_posts'].map((each) => isNamedCollection(each, parsed))).toEqual([false, false]);
    expect(isNamedCollection('other', undefined)).toBe(true);
  });
});

test('rules, filters and templates that say an old name mean the stable one; what names the target stays', () => {
  const { mapping, validate, embed } = stableEvent(
    eventWith({
      names,
      mapping: {
        payload: { headline: 'string', 'name.short': null },
        vectors: { emb: { to: 'emb' } },
        add: { line: { template: '{{{headline}}}: {body}' }, all: { join: ['name', 'body'] } },
        records: [{ name: 'drafts', drop: { headline: 'draft' } }],
        columns: { name: { type: 'text' } },
        schema: { accept: true, defaults: { name: 'none' } },
      },
      embed: { text: 'headline', vector: 'emb', model: { provider: 'local', name: 'any' } },
      validate: { recall: { sets: [{ name: 's', vector: 'emb', filter: { headline: 'x' } }] } },
    }),
  );
  expect(mapping).toMatchObject({
    payload: { title: 'string', 'title.short': null },
    vectors: { embedding: { to: 'emb' } },
    add: { line: { template: '{{{title}}}: {body}' }, all: { join: ['title', 'body'] } },
    records: [{ drop: { title: 'draft' } }],
    columns: { name: { type: 'text' } },
    schema: { defaults: { title: 'none' } },
  });
  expect(embed).toMatchObject({ text: 'title', vector: 'embedding' });
  expect(validate.recall?.sets).toMatchObject([{ vector: 'embedding', filter: { title: 'x' } }]);
  expect(() => stableEvent(eventWith({ names, mapping: { payload: { headline: null, title: 'string' } } }))).toThrow(
    /mapping\.payload has 'title' twice/,
  );
});

test('a schema gets stable names, and what hangs on a renamed column goes with it: its default, not its definition of an index', () => {
  const schema = makeSchema({
    fields: [field('headline'), field('rank', 'integer')],
    payloadIndexes: [{ field: 'headline', type: 'btree', native: { using: 'USING btree (headline)' } }],
    native: { defaults: { headline: "''::text", rank: '0' }, other: 'headline' },
  });
  const found = stableSchema(schema, parsed, 'it');
  expect(found.fields?.map(({ name }) => name)).toEqual(['title', 'rank']);
  expect(found.payloadIndexes).toEqual([{ field: 'title', type: 'btree' }]);
  expect(found.native).toEqual({ defaults: { title: "''::text", rank: '0' }, other: 'headline' });
  expect(stableSchema(makeSchema(), parsed, 'it')).toEqual(makeSchema());
  const two = makeSchema({ fields: [field('title'), field('headline', 'integer')] });
  expect(() => stableSchema(two, parsed, 'the source')).toThrow(
    /the source has 'title' \(text\) and 'headline' \(integer\)/,
  );
});

const inSpace = async (path: string, collection: string): Promise<Store> =>
  await memory.open({ connection: { path }, collection, options: {} });
const position = { run: 'seed', shard: '00000-000', offset: 0 };

test('a filter by a field with old names is refused where nothing declares which name a record has: the source would find some alone', async () => {
  const sets = { validate: { recall: { sets: [{ name: 's', sample: 5, atLeast: null, filter: { title: 'a' } }] } } };
  const plan = { ...makePlan({ names, ...sets }), source: makeSchema() };
  await expect(readGivenQueries(plan, noFiles)).rejects.toThrow(
    /filters by 'title', which each record of the source may hold/,
  );
  const declared = { ...plan, source: makeSchema({ fields: [field('title')] }) };
  await expect(readGivenQueries(declared, noFiles)).resolves.toBeDefined();
});

describe('a source with old names', () => {
  const vectors = [{ name: 'emb', kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' }] as const;
  const seeded = async (path: string): Promise<Store> => {
    const store = await inSpace(path, 'posts');
    await store.prepare(makeSchema({ vectors: [...vectors], fields: [field('headline'), field('extra')] }));
    const payloads = ['a', 'b', 'c'].map((title) => JSON.stringify({ headline: title, extra: 1 }));
    await store.write(makeBatch({ vectors, payloads, missing: [2] }), { position, mode: 'upsert' });
    return store;
  };

  test('is described, read and searched by the stable ones', async () => {
    const raw = await seeded('names-1');
    const source = sourceToPlan(raw, eventWith({ names }));
    const { schema, withoutVector } = await source.describe();
    expect(schema.vectors.map(({ name }) => name)).toEqual(['embedding']);
    expect(schema.fields?.map(({ name }) => name)).toEqual(['title', 'extra']);
    expect(withoutVector).toEqual({ embedding: 1 });
    const batch = await source.fetch(['2']);
    expect(batch.payloads).toEqual(['{"title":"b","extra":1}']);
    const query = batch.vectors.get('embedding')?.values ?? new Float32Array();
    const filter = [{ kind: 'in', field: 'title', values: ['a', 'b'] }] as const;
    const hits = await source.search({ vector: 'embedding', query, k: 3, filter });
    expect(hits.map(({ id }) => id).sort()).toEqual(['1', '2']);
    expect(hits[0]?.id).toBe('2');
  });

  test('hands out records of the run’s schema once there is a plan: what came since is no difference', async () => {
    const raw = await seeded('names-2');
    const planned = makeSchema({ fields: [field('title')] });
    const plan = { ...makePlan({ names, mapping: { schema: { accept: true } } }), source: planned };
    const lax = { ...plan, event: { ...plan.event, names: parsed && { ...parsed, strict: false } } };
    const carried = { ...lax, mapping: { ...lax.mapping, vectors: { embedding: 'embedding' } } };
    const source = sourceOfRun(raw, carried);
    expect((await source.fetch(['1'])).payloads).toEqual(['{"title":"a"}']);
    const read: string[] = [];
    for await (const { batch } of source.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1e6 }))
      read.push(...batch.payloads);
    expect(read).toEqual(['{"title":"a"}', '{"title":"b"}', '{"title":"c"}']);
  });

  test('of a plain run is the store itself: nothing stands between', async () => {
    const raw = await seeded('names-3');
    expect(sourceOfRun(raw, makePlan())).toBe(raw);
    expect(sourceToPlan(raw, makePlan().event)).toBe(raw);
  });

  test('is found under the name that it has at the moment, and not there under none of them', async () => {
    await seeded('names-4');
    const collections = ['articles', 'posts'] as const;
    const [first, second] = [await inSpace('names-4', 'articles'), await inSpace('names-4', 'posts')];
    const found = firstThere([first, second], collections);
    expect(await found.count()).toBe(3);
    await first.prepare(makeSchema());
    await second.drop?.();
    expect(await found.count()).toBe(0);
    await first.drop?.();
    await expect(found.count()).rejects.toThrow(NotFound);
    await expect(found.describe()).rejects.toThrow(/'articles', 'posts'/);
  });
});
