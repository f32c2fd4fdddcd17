import { describe, expect, test } from '@jest/globals';
import { StoreUnavailable } from '../lib/errors.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { readSettings } from '../lib/settings-table.ts';
import type { Reader, SearchTuning } from '../lib/stores/port.ts';
import { makeBatch, makeSchema } from './make.ts';
import { makeWorld, plan, type World } from './world.ts';

/** A side that tells of itself what a test says, and is a real store otherwise. */
function side(store: Reader, schema: CollectionSchema, current: SearchTuning['current'] = {}): Reader {
  return {
    ...store,
    describe: async () => ({ ...(await store.describe()), schema }),
    tuning: async () => ({ current, heeds: {}, isQuantized: false, perSearch: true }),
  };
}

const vector = makeSchema().vectors[0]!;
const hnsw = { kind: 'hnsw', m: 16, efConstruction: 64 } as const;

async function planned(): Promise<{ world: World; plan: Awaited<ReturnType<typeof plan>> }> {
  const world = await makeWorld();
  return { world, plan: await plan(world) };
}

describe('the settings of both collections', () => {
  test('stand side by side, and those that differ are marked', async () => {
    const { world, plan: made } = await planned();
    const source = makeSchema({
      vectors: [{ ...vector, index: hnsw }],
      payloadIndexes: [{ field: 'topic', type: 'keyword' }],
    });
    const target = makeSchema({ vectors: [{ ...vector, distance: 'dot', index: { ...hnsw, efConstruction: 100 } }] });
    const { rows, unread } = await readSettings({
      plan: made,
      source: side(world.source, source, { efSearch: 40 }),
      target: side(world.target, target, { efSearch: 128 }),
    });
    expect(unread).toEqual([]);
    const of = (setting: string) => rows.find((row) => row.setting === setting);
    expect(of('distance')).toEqual({
      group: 'vector embedding',
      setting: 'distance',
      source: 'cosine',
      target: 'dot',
      differs: true,
    });
    expect(of('m')).toMatchObject({ source: '16', target: '16', differs: false });
    expect(of('efConstruction')).toMatchObject({ source: '64', target: '100', differs: true });
    expect(of('efSearch')).toMatchObject({ source: '40', target: '128', differs: true });
    expect(of('topic')).toMatchObject({ group: 'payload indexes', source: 'keyword', target: null, differs: true });
  });

  test("of the same store are held against each other by the store's own words; those of two stores are not", async () => {
    const { world, plan: made } = await planned();
    const native = { optimizers: { threshold: 5, deep: { list: [1, 2] } } };
    const tables = async (store: string) => {
      const target = makeSchema({ store, native: { optimizers: { threshold: 9 } } });
      const sides = { source: side(world.source, makeSchema({ native })), target: side(world.target, target) };
      const { rows } = await readSettings({ plan: made, ...sides });
      return rows.filter(({ group }) => group === "the store's own");
    };
    expect(await tables('memory')).toMatchObject([
      { setting: 'optimizers.threshold', source: '5', target: '9', differs: true },
      { setting: 'optimizers.deep.list', source: '[1,2]', target: null, differs: true },
    ]);
    expect((await tables('qdrant')).map(({ differs }) => differs)).toEqual([false, false]);
  });

  test('follow a vector that is renamed, and say which one is left out', async () => {
    const two = makeSchema({ vectors: [vector, { ...vector, name: 'title' }] });
    const world = await makeWorld({
      schema: two,
      records: makeBatch({ vectors: two.vectors }),
      event: { mapping: { vectors: { embedding: { to: 'body' }, title: null } } },
    });
    const made = await plan(world);
    const { rows } = await readSettings({ ...world, plan: made });
    expect([...new Set(rows.map(({ group }) => group))]).toEqual([
      'collection',
      'vector embedding, in the target vector body',
      'vector title',
    ]);
    expect(rows.find(({ setting }) => setting === 'moved')).toMatchObject({ target: 'left out, as the mapping says' });
  });

  test('say where a collection is searched exactly, whatever index it is to have one day', async () => {
    const { world, plan: made } = await planned();
    const schema = makeSchema({ vectors: [{ ...vector, index: hnsw }] });
    const { rows } = await readSettings({
      plan: made,
      source: {
        ...side(world.source, schema),
        tuning: async () => ({ current: {}, heeds: { efSearch: 1000 }, isQuantized: false }),
      },
      target: side(world.target, schema),
    });
    expect(rows.find(({ setting }) => setting === 'index')).toMatchObject({ target: 'hnsw', differs: false });
    expect(rows.find(({ setting }) => setting === 'searched')).toMatchObject({
      source: null,
      target: 'exactly, without an index',
      differs: true,
    });
  });

  test('are as planned where a store is away, and say so, since the report must not be lost for them', async () => {
    const { world, plan: made } = await planned();
    const away = async (): Promise<never> => {
      throw new StoreUnavailable('http://qdrant:6333 does not answer');
    };
    const target: Reader = { ...world.target, describe: away, tuning: away };
    const { rows, unread } = await readSettings({ plan: made, source: world.source, target });
    expect(rows.find(({ setting }) => setting === 'dimension')).toMatchObject({ target: '4', differs: false });
    expect(unread).toEqual([
      'the settings of the target could not be read: http://qdrant:6333 does not answer',
      'the search settings of vector embedding of the target could not be read: http://qdrant:6333 does not answer',
    ]);
  });

  test('do not hide a fault of our own behind a store that is away', async () => {
    const { world, plan: made } = await planned();
    const target: Reader = { ...world.target, describe: async () => Promise.reject(new TypeError('x is undefined')) };
    await expect(readSettings({ plan: made, source: world.source, target })).rejects.toThrow('x is undefined');
  });
});
