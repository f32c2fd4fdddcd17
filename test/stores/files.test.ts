import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { files } from '../../lib/stores/files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { storeContract } from './contract.ts';

const path = await mkdtemp(join(tmpdir(), 'vecferry-'));

for (const format of ['parquet', 'jsonl']) {
  storeContract(
    `files (${format})`,
    (collection) => files.open({ connection: { path: join(path, format) }, collection, options: { format } }),
    {
      kind: files,
    },
  );
}

describe('dropping a folder', () => {
  const open = (collection: string) => files.open({ connection: { path }, collection, options: {} });
  const put = async (name: string) => {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), '{"id":"1","vector":[1,2]}\n');
  };
  const filled = async (collection: string): Promise<Store> => {
    const store = await open(collection);
    await store.prepare(makeSchema({ store: 'files' }));
    const position = { run: 'r1', shard: '00000-000', offset: 0 };
    await store.write(makeBatch({ ids: ['1', '2'] }), { position, mode: 'upsert' });
    return store;
  };

  test('of others is refused: vecferry deletes what it wrote and nothing else', async () => {
    await put('others/words.jsonl');
    const refusal = { name: 'Incompatible', message: expect.stringMatching(/did not write/) };
    await put('loose.jsonl');
    for (const collection of ['others', 'others/words.jsonl', '.', 'loose.jsonl']) {
      const store = await open(collection);
      await expect(store.drop?.({ dryRun: true })).rejects.toMatchObject(refusal);
      await expect(store.drop?.()).rejects.toMatchObject(refusal);
    }
    expect(await readdir(join(path, 'others'))).toEqual(['words.jsonl']);
  });

  test('leaves the files that others put beside its own, and folders in it, and says so', async () => {
    const store = await filled('mixed');
    const within = await filled('mixed/within');
    for (const name of ['mixed/extra.jsonl', 'mixed/notes.txt', 'mixed/r9.00000-000.000000000.jsonl']) await put(name);
    expect(await store.drop?.()).toMatchObject({
      what: expect.stringMatching(/^3 files in .*mixed; the 3 files that others put there stay$/),
    });
    expect((await readdir(join(path, 'mixed'))).filter((name) => name !== '_runs').sort()).toEqual([
      'extra.jsonl',
      'notes.txt',
      'r9.00000-000.000000000.jsonl',
      'within',
    ]);
    expect(await within.count()).toBe(2);
  });

  test('that was cut off is finished by the next call', async () => {
    const store = await filled('cut');
    await rm(join(path, 'cut', 'r1.00000-000.000000000.parquet'));
    await rm(join(path, 'cut', '_runs'), { recursive: true });
    expect(await store.drop?.()).toMatchObject({ isThere: true });
    expect(await store.drop?.()).toMatchObject({ isThere: false });
  });
});

test('a search of files that name no distance is by the one that it asks for, and of those that name one by theirs', async () => {
  const lines = '{"id":"1","vector":[2.5,0.5]}\n{"id":"2","vector":[1.25,1.5]}\n';
  await mkdir(join(path, 'near'), { recursive: true });
  await writeFile(join(path, 'near', 'words.jsonl'), lines);
  const nearest = async (options: object, more: object): Promise<unknown> => {
    const store = await files.open({ connection: { path }, collection: 'near/words.jsonl', options });
    return (await store.search({ vector: 'vector', query: Float32Array.of(1.2, 0.3), k: 1, ...more }))[0]?.id;
  };
  expect(await nearest({}, { distance: 'cosine' })).toBe('1');
  expect(await nearest({}, { distance: 'euclid' })).toBe('2');
  expect(await nearest({ distance: 'cosine' }, { distance: 'euclid' })).toBe('1');
});
