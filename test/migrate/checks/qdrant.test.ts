import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { qdrantUrl } from '../../servers/urls.ts';
import { type CheckWorld, collectionFile, faultsOf, makeCheckWorld, resultsOf } from './world.ts';

let world: CheckWorld;
let url: string;
const name = `checks_words_${process.pid}`;
const alias = `checks_current_${process.pid}`;
const expectations = (more = '') => `
stores:
  db: {tables: {t: {rows: {atLeast: 1}}}}
  search:
    collections:
      ${name}:
        vectors: {'': {size: 4, distance: cosine}}
        payloadIndexes: [rank]
        count: {sameAs: {store: db, of: t}}
    aliases: {${alias}: ${name}}
${more}`;

const call = async (method: string, path: string, body?: unknown) => {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}${path}`, {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
};
const point = (id: number, rank: unknown = id) => ({
  id,
  vector: [1, 2, 3, 4].map((i) => Math.sin(id * i)),
  payload: { rank },
});

beforeAll(async () => {
  url = await qdrantUrl();
  world = await makeCheckWorld(
    'checks_qdrant',
    ['CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 40)'],
    [{ name: 'search', store: 'qdrant', connection: { url }, options: { transport: 'rest' } }],
  );
  await call('PUT', `/collections/${name}`, { vectors: { size: 4, distance: 'Cosine' } });
  await call('PUT', `/collections/${name}/index?wait=true`, { field_name: 'rank', field_schema: 'integer' });
  await call('PUT', `/collections/${name}/points?wait=true`, {
    points: Array.from({ length: 40 }, (_, at) => point(at + 1)),
  });
  await call('POST', '/collections/aliases', {
    actions: [{ create_alias: { alias_name: alias, collection_name: name } }],
  });
});
afterAll(async () => {
  await call('DELETE', `/collections/${name}`);
  await world.close();
});

describe('after migrating, Qdrant', () => {
  test('is as declared: collection, vectors, indexes, as many records as the table, the alias, a search', async () => {
    const report = await world.check({ expect: expectations() });
    expect(faultsOf(report)).toEqual([]);
    expect(resultsOf(report).map(({ what, detail }) => `${what}: ${detail}`)).toEqual(
      expect.arrayContaining([
        `collection ${name}: 40 records`,
        `collection ${name}: vector '': 4 floats, cosine`,
        `collection ${name}: its records: 40, as t of db`,
        `collection ${name}: payload index rank covers its records: 40 as integer`,
        `collection ${name}: its status: green`,
        `collection ${name}: a search by vector '': 10 hits, record 1 by its own vector`,
        `alias ${alias}: stands for ${name}`,
      ]),
    );
  });

  test('is as the collection files that stand have asked for, the later one over the earlier', async () => {
    const first = `store: search\ncollection: ${name}\nvectors: {size: 4, distance: cosine}\npayloadIndexes: {rank: integer, old: keyword}\naliases: [${alias}]\n`;
    const second = `store: search\ncollection: ${name}\ndrop: {payloadIndexes: [old]}\n`;
    const others = [collectionFile(2, first), collectionFile(3, second)];
    expect(faultsOf(await world.check({ others }))).toEqual([]);
    const third = collectionFile(
      4,
      `store: search\ncollection: ${name}\npayloadIndexes: {lang: keyword}\naliases: [${alias}_2]\n`,
    );
    expect(faultsOf(await world.check({ others: [...others, third] }))).toEqual([
      expect.stringContaining(
        `wrong collection ${name}: payload index lang: it is not there, and 004_collection made it`,
      ),
      expect.stringContaining(`wrong alias ${alias}_2: it is not there, and 004_collection says ${name}`),
    ]);
  });

  test('is unchecked where strict mode counts nothing exactly, and the rest is checked all the same', async () => {
    const strict = (search_allow_exact: boolean) =>
      call('PATCH', `/collections/${name}`, {
        strict_mode_config: { enabled: !search_allow_exact, search_allow_exact },
      });
    await strict(false);
    const results = resultsOf(await world.check({ expect: expectations() }));
    await strict(true);
    const indexed = results.find(({ what }) => what === `collection ${name}: payload index rank covers its records`);
    expect(indexed).toMatchObject({ verdict: 'unchecked', detail: expect.stringContaining('Exact search disabled') });
    expect(results.map(({ what, detail }) => `${what}: ${detail}`)).toContain(`collection ${name}: its status: green`);
  });

  test('names what is not: records that are missing, values that no index holds, an alias that was moved, what is not there', async () => {
    await call('PUT', `/collections/${name}/points?wait=true`, { points: [point(41, 'many'), point(42)] });
    await call('DELETE', `/collections/${name}/index/rank?wait=true`);
    await call('PUT', `/collections/${name}/index?wait=true`, { field_name: 'rank', field_schema: 'keyword' });
    await call('POST', '/collections/aliases', { actions: [{ delete_alias: { alias_name: alias } }] });
    const declared = expectations()
      .replace('size: 4', 'size: 8')
      .replace('[rank]', '[rank, lang]')
      .replace('aliases: {', 'aliases: {checks_none: nowhere, ');
    const faults = faultsOf(
      await world.check({ expect: declared.replace(`${name}:`, `absent_${name}: {}\n      ${name}:`) }),
    ).join('\n');
    expect(faults).toContain(`collection absent_${name}: it is not there, and expect.yaml made it`);
    expect(faults).toContain('it has 4 floats, and expect.yaml says 8');
    expect(faults).toContain('payload index lang: it is not there');
    expect(faults).toContain('there are 42, and t of db has 40');
    expect(faults).toContain(
      '42 records have the field, and the index holds 1: the values of the others are no keyword',
    );
    expect(faults).toContain(`alias ${alias}: it is not there, and expect.yaml says ${name}`);
  });
});
