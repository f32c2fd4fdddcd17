import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseEvent } from '../../lib/event.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { encodeShard } from '../../lib/shard/shard.ts';
import { files } from '../../lib/stores/files.ts';
import type { Piece, Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** Folders whose files hold several schemas, or were written under several names of their collection. */

let path = '';
beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'vecferry-schemas-'));
});
afterAll(async () => {
  await rm(path, { recursive: true });
});

const endpoint = { store: 'files', connection: { path: 'x' }, collection: 'x' };
const namesOf = (names: object) =>
  parseEvent({ source: endpoint, target: { ...endpoint, collection: 'y' }, names }).names;
const open = async (collection: string, names?: object, options: object = {}): Promise<Store> => {
  const given = names === undefined ? undefined : namesOf(names);
  return await files.open({ connection: { path }, collection, options, ...(given && { names: given }) });
};
const put = async (name: string, body: string | Uint8Array): Promise<void> => {
  await mkdir(dirname(join(path, name)), { recursive: true });
  await writeFile(join(path, name), body);
};
const duck = async (sql: string, name: string): Promise<void> => {
  await mkdir(dirname(join(path, name)), { recursive: true });
  const connection = await (await DuckDBInstance.create()).connect();
  await connection.run(`copy (${sql}) to '${join(path, name)}' (format parquet)`);
  connection.closeSync();
};
const shard = async (
  name: string,
  collection: string,
  ids: string[],
  schema: CollectionSchema,
  payload: object,
): Promise<void> => {
  const batch = makeBatch({ ids, vectors: schema.vectors, payloads: ids.map(() => JSON.stringify(payload)) });
  const meta = { run: 'r', shard: '00000-000', range: { from: null, to: null }, rest: null, schema, collection };
  await put(name, await encodeShard(batch, meta));
};
const field = (name: string) => ({ name, type: 'text' as const, nullable: true });
const readAll = async (store: Store): Promise<Piece[]> => {
  const pieces: Piece[] = [];
  for await (const piece of store.read({ from: null, to: null }, { maxRecords: 100, maxBytes: 1 << 20 }))
    pieces.push(piece);
  return pieces;
};
const fieldsIn = (pieces: readonly Piece[]) => pieces.map(({ schema }) => schema?.fields?.map(({ name }) => name));

const titled = makeSchema({ fields: [field('title')] });
const longer = makeSchema({ fields: [field('title'), field('lang')] });

describe('a folder with several schemas', () => {
  test('says of each piece what it was read under, and in the plan which file speaks for the folder', async () => {
    await shard('mixed/a.parquet', 'x', ['1'], titled, { title: 'a' });
    await shard('mixed/b.parquet', 'x', ['2'], longer, { title: 'b', lang: 'en' });
    await shard('mixed/c.parquet', 'x', ['3'], longer, { title: 'c', lang: 'en' });
    const store = await open('mixed');
    const pieces = await readAll(store);
    expect(fieldsIn(pieces)).toEqual([['title'], ['title', 'lang'], ['title', 'lang']]);
    // One object a schema: whoever reads tells them apart at once.
    expect(pieces[1]?.schema).toBe(pieces[2]?.schema);
    const { schema, notes } = await store.describe();
    expect(schema.fields?.map(({ name }) => name)).toEqual(['title']);
    expect(notes).toEqual([
      expect.stringMatching(/^b\.parquet and 1 more files differ.*that of a\.parquet: field added: 'lang'/),
    ]);
    await expect(store.fetch(['1', '2'])).rejects.toMatchObject({ name: 'SchemaMismatch' });
    expect((await store.fetch(['2', '3'])).payloads).toHaveLength(2);
    expect((await store.fetchParts?.(['1', '2']))?.map(({ schema: of }) => of.fields?.length)).toEqual([1, 2]);
  });

  test('takes the schema of the file that the options name, and refuses one that is not there', async () => {
    const { schema } = await (await open('mixed', undefined, { schemaOf: 'b.parquet' })).describe();
    expect(schema.fields?.map(({ name }) => name)).toEqual(['title', 'lang']);
    await expect((await open('mixed', undefined, { schemaOf: 'z.parquet' })).describe()).rejects.toThrow(
      /'z\.parquet'.*no file of/,
    );
  });

  test('no column of a foreign file is left unread because the first file lacks it', async () => {
    await duck("select 1 as id, 'a' as title, [1::float, 2] as embedding", 'foreign/a.parquet');
    await duck("select 2 as id, 'b' as title, 7 as extra, [3::float, 4] as embedding", 'foreign/b.parquet');
    await duck("select 3 as id, 'c' as title, [5::float, 6] as embedding", 'foreign/c.parquet');
    const pieces = await readAll(await open('foreign'));
    expect(pieces.flatMap(({ batch }) => batch.payloads)).toEqual([
      '{"title":"a"}',
      '{"title":"b","extra":7}',
      '{"title":"c"}',
    ]);
    expect(fieldsIn(pieces)).toEqual([['title'], ['title', 'extra'], ['title']]);
    expect(pieces[2]?.schema).toBe(pieces[0]?.schema);
  });
});

describe('a collection that was renamed', () => {
  const names = {
    collection: 'articles',
    aliases: ['posts'],
    fields: { title: ['headline'] },
    vectors: { embedding: ['emb'] },
  };
  const old = makeSchema({
    fields: [field('headline')],
    vectors: titled.vectors.map((each) => ({ ...each, name: 'emb' })),
  });

  test('is one of both folders: the newer record stands, ranges cover each once, and a search by stable names finds all', async () => {
    await shard('articles/b.parquet', 'articles', ['2', '3'], titled, { title: 'new' });
    await shard('posts/a.parquet', 'public.posts', ['1', '2'], old, { headline: 'old' });
    const store = await open('articles', names);
    const { schema, count } = await store.describe();
    expect(schema.fields?.map(({ name }) => name)).toEqual(['title']);
    expect(count).toBe(3);
    const found = new Map<string, string>();
    for (const range of await store.ranges({ records: 1 }))
      for await (const { batch } of store.read(range, { maxRecords: 10, maxBytes: 1 << 20 }))
        for (const [at, id] of batch.ids.entries()) {
          expect(found.has(id)).toBe(false);
          found.set(id, batch.payloads[at] ?? '');
        }
    expect(Object.fromEntries(found)).toEqual({ 1: '{"headline":"old"}', 2: '{"title":"new"}', 3: '{"title":"new"}' });
    const search = { vector: 'embedding', query: new Float32Array([1, 0, 0, 0]), k: 5 };
    expect((await store.search(search)).map(({ id }) => id).sort()).toEqual(['1', '2', '3']);
    const filter = [{ kind: 'in', field: 'title', values: ['old'] }] as const;
    expect((await store.search({ ...search, filter })).map(({ id }) => id)).toEqual(['1']);
  });

  test('is found where only the old folder is there, JSON lines too, and nowhere without the names', async () => {
    await put('only/posts/a.jsonl', '{"id": 1, "emb": [1.5, 2.5], "headline": "x"}\n');
    const store = await open('only/articles', names);
    expect(await store.count()).toBe(1);
    expect((await store.describe()).schema.vectors.map(({ name }) => name)).toEqual(['emb']);
    await expect((await open('only/articles')).count()).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('a shard of a collection of another name is refused, and left out where names are not strict', async () => {
    await shard('both/articles/a.parquet', 'others', ['1'], longer, { title: 'x' });
    await shard('both/articles/b.parquet', 'articles', ['2'], titled, { title: 'y' });
    await expect((await open('both/articles', names)).count()).rejects.toMatchObject({
      name: 'SchemaMismatch',
      message: expect.stringMatching(/collection 'others'.*articles, posts/),
    });
    const store = await open('both/articles', { ...names, strict: false });
    const { schema, count, notes } = await store.describe();
    expect({ count, fields: schema.fields?.length }).toEqual({ count: 1, fields: 1 });
    expect(notes).toEqual([expect.stringMatching(/both|a\.parquet is a shard of another collection/)]);
    expect((await store.fetch(['1', '2'])).ids).toEqual(['2']);
  });
});
