import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { IndexForm } from '../../lib/stores/index-port.ts';
import { indexStands } from '../../lib/stores/place-stands.ts';
import type { Store } from '../../lib/stores/port.ts';
import { changeBody } from '../../lib/stores/qdrant/index-change.ts';
import { infoSchema } from '../../lib/stores/qdrant/settings.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch } from '../make.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { fill, records, schema, weakGraph } from './qdrant-recipes.ts';

/** Another graph or quantization of one vector, in its own collection. */

const scalar = { scalar: { type: 'int8', quantile: 0.99 } };
const binary = { binary: { always_ram: true } };
const form = (m: number, efConstruction: number, quantization?: IndexForm['quantization']): IndexForm => ({
  index: { kind: 'hnsw', m, efConstruction },
  ...(quantization !== undefined && { quantization }),
});

interface Parts {
  readonly vectors?: Record<string, unknown>;
  readonly quantization?: unknown;
}

/** As GET /collections/{name} answers. */
const info = ({ vectors = { size: 4, distance: 'Cosine' }, quantization = null }: Parts = {}) =>
  infoSchema.parse({
    status: 'green',
    optimizer_status: 'ok',
    segments_count: 1,
    config: {
      params: { vectors },
      hnsw_config: { m: 16, ef_construct: 100, full_scan_threshold: 10_000, on_disk: false },
      optimizer_config: { indexing_threshold: 10_000 },
      quantization_config: quantization,
    },
    payload_schema: {},
  });
const body = (parts: Parts, wanted: IndexForm, vector = ''): unknown => changeBody(info(parts), vector, wanted, 'c');
const named = (own: Record<string, unknown> = {}) => ({
  vectors: { title: { size: 4, distance: 'Dot', ...own }, text: { size: 4, distance: 'Dot' } },
});

describe('what PATCH is given', () => {
  test('is nothing where the vector is as it is wanted, whatever nulls the server answers', () => {
    expect(body({}, form(16, 100, null))).toBeUndefined();
    const answered = { scalar: { ...scalar.scalar, always_ram: null } };
    expect(body({ quantization: answered }, form(16, 100, scalar))).toBeUndefined();
  });

  test('changes the collection where it has one vector and the settings stand there', () => {
    expect(body({}, form(32, 200, scalar))).toEqual({
      hnsw_config: { m: 32, ef_construct: 200 },
      quantization_config: scalar,
    });
    expect(body({ quantization: scalar }, form(16, 100, null))).toEqual({ quantization_config: 'Disabled' });
  });

  test('changes the vector where the settings stand at it, and the collection’s too where they would show through', () => {
    const own = { size: 4, distance: 'Cosine', hnsw_config: { m: 8 }, quantization_config: binary };
    expect(body({ vectors: own }, form(32, 200, scalar))).toEqual({
      vectors: { '': { hnsw_config: { m: 32, ef_construct: 200 }, quantization_config: scalar } },
    });
    expect(body({ vectors: own, quantization: scalar }, form(8, 100, null))).toEqual({
      quantization_config: 'Disabled',
      vectors: { '': { quantization_config: 'Disabled' } },
    });
  });

  test('leaves the other vectors of a collection as they are', () => {
    expect(body(named(), form(32, 200, scalar), 'title')).toEqual({
      vectors: { title: { hnsw_config: { m: 32, ef_construct: 200 }, quantization_config: scalar } },
    });
    // What the vector had of its own goes, and the collection's is what is wanted: the way back of a rollback.
    const changed = { ...named({ quantization_config: binary }), quantization: scalar };
    expect(body(changed, form(16, 100, scalar), 'title')).toEqual({
      vectors: { title: { quantization_config: 'Disabled' } },
    });
  });

  test('takes no quantization off one vector that others share: Qdrant has no word for it', () => {
    expect(() => body({ ...named(), quantization: scalar }, form(16, 100, null), 'title')).toThrow(
      /which its other vectors share/,
    );
  });
});

const made: Store[] = [];
let count = 0;
afterAll(async () => {
  for (const store of made) await store.close();
});

async function openSide(
  collection: string,
  index: { to?: IndexForm; from?: IndexForm; vector?: string } = {},
  side: 'source' | 'target' = 'target',
): Promise<Store> {
  const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const { to, from, vector } = index;
  const store = await qdrant.open({
    connection,
    collection,
    options: {},
    index: { side, run: 'r1', vector, to, from },
  });
  made.push(store);
  return store;
}

/** Waits until the store says that it is built. @returns how often it said that it is not */
async function built(store: Store): Promise<number> {
  for (let looks = 0; ; looks++) {
    if ((await store.indexProgress(schema)).done) return looks;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function settingsOf(collection: string): Promise<Record<string, Record<string, never>>> {
  const answer = await fetch(`${await qdrantUrl()}/collections/${collection}`);
  return ((await answer.json()) as { result: { config: Record<string, Record<string, never>> } }).result.config;
}

describe('a collection in the server', () => {
  let collection = '';
  beforeAll(async () => {
    collection = `index_change_${process.pid}_${++count}`;
    const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
    const store = await qdrant.open({ connection, collection, options: weakGraph });
    await fill(store, records(2000));
    await store.close();
  });

  test('says what its vector has, is changed, seen at work until it is done, and back again', async () => {
    const from = form(6, 24, null);
    const to = form(24, 96, scalar);
    const store = await openSide(collection, { to, from });
    expect(await store.indexes?.now()).toEqual({
      vector: '',
      records: 2000,
      dimension: 64,
      distance: 'cosine',
      index: { kind: 'hnsw', m: 6, efConstruction: 24 },
      quantization: null,
    });
    expect((await store.indexes?.check(to, { isNew: true }))?.notes.join(' ')).toMatch(/readers use it from then on/);
    expect(await store.indexes?.used?.({})).toBe('old');
    expect(await store.indexProgress(schema)).toMatchObject({ done: false, isStalled: true });

    // Looked at from before it begins: a busy test may come back to it when the server has ended.
    const seen: string[] = [];
    let isOver = false;
    const looking = (async () => {
      for (; !isOver; await new Promise((resolve) => setTimeout(resolve, 20)))
        seen.push((await store.indexProgress(schema)).detail ?? '');
    })();
    await store.buildIndex(schema);
    await built(store);
    isOver = true;
    await looking;
    expect(seen.join()).toMatch(/left to rebuild/);
    expect(await store.indexes?.used?.({})).toBe('new');
    expect(await store.pointer?.read('')).toBe(indexStands.made('r1'));
    // Nothing is left to do by a second start.
    await store.buildIndex(schema);
    expect(await built(store)).toBe(0);

    const source = await openSide(collection, { to, from }, 'source');
    await store.pointer?.move('', indexStands.old);
    expect(await built(source)).toBeGreaterThan(0);
    expect(await settingsOf(collection)).toMatchObject({
      hnsw_config: { m: 6, ef_construct: 24, full_scan_threshold: 10 },
      quantization_config: null,
    });
    expect(await store.drop?.({ dryRun: true })).toMatchObject({ isThere: false });
  });

  test('refuses what it cannot do, with every reason', async () => {
    const store = await openSide(collection);
    const odd = { index: { kind: 'ivfflat', lists: 10 }, quantization: { product: { compression: 'x5' } } } as const;
    await expect(store.indexes?.check(odd, { isNew: true })).rejects.toThrow(/no ivfflat index.*x4, x8, x16/);
    const other = await openSide(collection, { vector: 'nothing' });
    await expect(other.indexes?.now()).rejects.toThrow(/no dense vector 'nothing'/);
  });

  test('of several vectors has one of them changed, and the others as they were', async () => {
    const vectors = ['title', 'text'].map((name) => ({
      name,
      kind: 'dense' as const,
      dimension: 64,
      distance: 'cosine' as const,
      precision: 'float32' as const,
    }));
    const both = `${collection}_both`;
    const connection = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
    const store = await qdrant.open({ connection, collection: both, options: weakGraph });
    const batch = makeBatch({ ids: Array.from({ length: 1500 }, (_, at) => String(at)), vectors });
    await store.prepare({ ...schema, vectors });
    await store.write(batch, { position: { run: 'r', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    await store.buildIndex({ ...schema, vectors });
    await built(store);
    await expect((await openSide(both)).indexes?.now()).rejects.toThrow(/'title', 'text'; say in index.vector which/);
    const side = await openSide(both, { vector: 'text', from: form(6, 24, null), to: form(16, 100, binary) });
    await side.buildIndex(schema);
    await built(side);
    const { params, hnsw_config } = await settingsOf(both);
    expect(params).toMatchObject({
      vectors: { text: { hnsw_config: { m: 16, ef_construct: 100 }, quantization_config: binary } },
    });
    expect(params).not.toMatchObject({ vectors: { title: { hnsw_config: expect.anything() } } });
    expect(hnsw_config).toMatchObject({ m: 6, ef_construct: 24 });
    await store.close();
  });
});
