import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Batch } from '../../../lib/batch.ts';
import { rollBackRun } from '../../../lib/cutover/roll-back.ts';
import { collectionUp } from '../../../lib/migrate/collection/collection.ts';
import type { MigrateConfig } from '../../../lib/migrate/port.ts';
import type { VectorSpec } from '../../../lib/schema.ts';
import { services } from '../../../lib/services.ts';
import { makeBatch } from '../../make.ts';
import { type RunInput, type Runs, startRuns } from '../../runs/world.ts';
import { makeDatabase } from '../../servers/database.ts';
import { frontUrl } from '../../servers/urls.ts';
import { askQdrant, dropAll } from './qdrant-state.ts';
import { down, makeConfig, makeFile, up } from './world.ts';

/** What cannot be changed in place is copied by the main job: the real state machine, and a real store. */

let runs: Runs;
let config: MigrateConfig;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  url = await frontUrl();
  config = makeConfig({ store: 'qdrant', connection: { url }, options: { transport: 'rest' } });
});
afterAll(async () => {
  for (const name of names) await dropAll(url, name);
  await runs.close();
});

const names: string[] = [];
const unique = (): string => {
  const name = runs.unique('mig_articles');
  names.push(name);
  return name;
};

const ask = (method: string, path: string) => askQdrant(url, method, path);

const aliasesOf = async (prefix: string): Promise<Record<string, string>> => {
  const { aliases } = await ask('GET', '/aliases');
  const own = aliases.filter((each: { alias_name: string }) => each.alias_name.startsWith(prefix));
  return Object.fromEntries(own.map((each: Record<string, string>) => [each['alias_name'], each['collection_name']]));
};

const begun: string[] = [];
const parts = () => ({
  config,
  copy: async (event: unknown, run: string) => {
    begun.push(run);
    const { outcome, report } = await runs.run({ ...(event as RunInput), run });
    if (outcome.status !== 'SUCCEEDED')
      throw new Error(`${JSON.stringify(outcome)} ${JSON.stringify(report?.findings)}`);
  },
  rollBack: async (run: string) => {
    await rollBackRun({ run, services: services(), reason: 'migrate down', now: () => new Date() });
  },
});

const count = 300;
function records(): Batch {
  const ids = Array.from({ length: count }, (_, at) => String(at + 1));
  const vectors: VectorSpec[] = [{ name: 'text', kind: 'dense', dimension: 8, precision: 'float32' }];
  return makeBatch({ ids, vectors });
}

async function makeCollection(name: string, change: object): Promise<void> {
  const vectors = { text: { size: 8, distance: 'cosine' } };
  await up(
    makeFile(1, { store: 'search', collection: name, vectors, payloadIndexes: { n: 'integer' }, ...change }),
    parts(),
  );
  const endpoint = { store: 'qdrant', connection: { url }, collection: name, options: { transport: 'rest' } };
  const store = await runs.open(endpoint);
  await store.write(records(), { mode: 'upsert' });
}

test('another distance is a copy whose readers move with their alias, and down takes them back', async () => {
  const name = unique();
  await makeCollection(name, { aliases: [`${name}_live`, `${name}_other`] });
  const file = makeFile(9, {
    store: 'search',
    collection: name,
    vectors: { text: { distance: 'euclid', quantization: { binary: {} } } },
    hnsw: { m: 24 },
    payloadIndexes: { title: 'text' },
    seed: [{ id: 5000, vector: [1, 0, 0, 0, 0, 0, 0, 0] }],
  });
  const applied = await up(file, parts());
  const copy = `${name}__009`;
  expect(applied.step.lines[0]).toContain(`run migrate-${copy}: copy ${name} to ${copy}`);
  expect(await aliasesOf(name)).toEqual({ [`${name}_live`]: copy, [`${name}_other`]: copy });
  const info = await ask('GET', `/collections/${name}_live`);
  expect(info.config.params.vectors.text).toMatchObject({ distance: 'Euclid', quantization_config: { binary: {} } });
  expect(info.config.hnsw_config.m).toBe(24);
  expect(Object.keys(info.payload_schema).sort()).toEqual(['n', 'title']);
  expect(info.points_count).toBe(count + 1);
  expect((await up(file, parts())).step.lines).toContain('search: nothing to do, all of it is there');

  await down(applied.entry, file, parts());
  expect(await aliasesOf(name)).toEqual({ [`${name}_live`]: name, [`${name}_other`]: name });
  expect((await ask('GET', `/collections/${name}`)).points_count).toBe(count);

  // Up again is another copy: the first one has what was written to it while readers were there.
  await up(file, parts());
  expect(await aliasesOf(name)).toEqual({ [`${name}_live`]: `${copy}_2`, [`${name}_other`]: `${copy}_2` });
});

test('a collection whose name is an alias is copied under the next name', async () => {
  const name = unique();
  await makeCollection(name, { aliases: [name] });
  expect(await aliasesOf(name)).toEqual({ [name]: `${name}__001` });
  const file = makeFile(2, { store: 'search', collection: name, vectors: { text: { precision: 'float16' } } });
  await up(file, parts());
  expect(await aliasesOf(name)).toEqual({ [name]: `${name}__002` });
  expect((await ask('GET', `/collections/${name}`)).config.params.vectors.text.datatype).toBe('float16');
});

test('a copy that dies goes on with its own run, and is taken back whole', async () => {
  const name = unique();
  await makeCollection(name, { aliases: [`${name}_live`] });
  const file = makeFile(3, {
    store: 'search',
    collection: name,
    vectors: { text: { distance: 'dot' } },
    optimizers: { deletedThreshold: 0.5 },
  });
  const dying = { ...parts(), copy: async () => Promise.reject(new Error('killed')) };
  await expect(up(file, dying)).rejects.toThrow('killed');
  const step = await collectionUp({ file, ...parts() });
  begun.length = 0;
  const applied = await up(file, { ...parts(), begun: [step.rollback ?? ''] });
  expect(begun).toEqual([`migrate-${name}__003`]);
  // Dead between the cutover and what comes after it: the next try finds readers at the copy.
  const late = await up(file, { ...parts(), begun: [step.rollback ?? ''] });
  expect(late.step.lines).toContain('search: nothing to do, all of it is there');
  await down(late.entry, file, parts());
  expect(await aliasesOf(name)).toEqual({ [`${name}_live`]: name });
  expect(applied.entry.rollback).toBeDefined();
});

test('fewer floats need a Matryoshka model or another model, and readers of the own name need an alias first: nothing is begun', async () => {
  const name = unique();
  await makeCollection(name, {});
  const size = (more: object): ReturnType<typeof makeFile> =>
    makeFile(4, { store: 'search', collection: name, vectors: { text: { size: 4, ...more } } });
  await expect(up(size({}), parts())).rejects.toThrow(
    /needs a copy of .* readers use its own name.*First a migration with "aliases/,
  );
  await up(makeFile(5, { store: 'search', collection: name, aliases: [`${name}_live`] }), parts());
  await expect(up(size({}), parts())).rejects.toThrow(
    /vector 'text' has 8 floats, and 4 are wanted: say under copy.embed .*"matryoshka: true" keeps the first 4/,
  );
  await up(size({ matryoshka: true }), parts());
  expect((await ask('GET', `/collections/${name}_live`)).config.params.vectors.text.size).toBe(4);
});

test('a table of pgvector is copied too, and its view takes the readers there and back', async () => {
  const database = await makeDatabase('mig_copy');
  try {
    const connection = { url: database.url };
    const tables = { ...parts(), config: makeConfig({ store: 'pgvector', connection }) };
    const vectors = { text: { size: 8, distance: 'cosine', hnsw: {} } };
    const aliases = ['articles_live', 'articles_too'];
    await up(makeFile(1, { store: 'search', collection: 'articles', vectors, aliases }), tables);
    const store = await runs.open({ store: 'pgvector', connection, collection: 'articles' });
    await store.write(records(), { mode: 'upsert' });
    const change = { store: 'search', collection: 'articles', vectors: { text: { precision: 'float16' } } };
    await expect(up(makeFile(2, change), tables)).rejects.toThrow(/takes over under a view: first a migration with/);
    const file = makeFile(2, { ...change, aliases });
    const applied = await up(file, tables);
    const live = async (): Promise<readonly unknown[]> =>
      await Promise.all(aliases.map(async (view) => await store.pointer?.read(view)));
    expect(await live()).toEqual(['articles__002', 'articles__002']);
    const copy = await runs.open({ store: 'pgvector', connection, collection: 'articles__002' });
    const { schema, count: copied } = await copy.describe();
    expect([schema.vectors[0]?.precision, schema.vectors[0]?.index?.kind, copied]).toEqual(['float16', 'hnsw', count]);
    expect((await up(file, tables)).step.lines).toContain('search: nothing to do, all of it is there');
    await down(applied.entry, file, tables);
    expect(await live()).toEqual(['articles', 'articles']);
  } finally {
    await services().close();
    await database.drop();
  }
});
