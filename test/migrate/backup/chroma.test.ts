import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeBackup, restoreBackup } from '../../../lib/migrate/backup/backup.ts';
import { readBackups } from '../../../lib/migrate/backup/folder.ts';
import type { MigrateConfig, MigratedStore } from '../../../lib/migrate/port.ts';
import { type RunningServer, startServer } from '../../servers/start.ts';

/** A server of its own: a backup is of all its collections. */
let server: RunningServer;
let root: string;
let directory: string;
let config: MigrateConfig;
beforeAll(async () => {
  server = await startServer('chroma', { own: true });
  const url = server.addresses.CHROMA_URL ?? '';
  root = `${url}/api/v2/tenants/default_tenant/databases/default_database/collections`;
  directory = await mkdtemp(join(tmpdir(), 'backup-chroma-'));
  const store: MigratedStore = { name: 'notes', store: 'chroma', connection: { url }, options: {} };
  config = { directory, stores: new Map([['notes', store]]), sql: undefined, history: 'files' };
});
afterAll(() => server?.stop());

const call = async (method: string, path: string, body?: unknown) => {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${root}${path}`, {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
};
const idOf = async (name: string): Promise<string> => (await call('GET', `/${name}`)).id;
/** All that a collection is, as Chroma itself says it. */
const stateOf = async (name: string) => {
  const { id, metadata, configuration_json } = await call('GET', `/${name}`);
  const settings = { metadata, configuration_json };
  const answer = await call('POST', `/${id}/get`, { include: ['embeddings', 'metadatas', 'documents', 'uris'] });
  const records = answer.ids.map((each: string, at: number) => [
    each,
    answer.embeddings[at],
    answer.metadatas[at],
    answer.documents[at],
    answer.uris[at],
  ]);
  return { settings, records: records.sort((a: [string], b: [string]) => (a[0] < b[0] ? -1 : 1)) };
};
const backup = async () => await makeBackup({ config, directory, reason: 'by hand', seq: 2 });
const restore = async (id: string, dropNew = false) =>
  await restoreBackup({ config, directory, id, by: 'ada', seq: 3, dropNew, append: async () => undefined });
const fill = async (name: string, from: number, to: number, size: number) => {
  const ids = Array.from({ length: to - from }, (_, at) => `r${from + at}`);
  await call('POST', `/${await idOf(name)}/upsert`, {
    ids,
    embeddings: ids.map((_, at) => Array.from({ length: size }, (__, i) => Math.sin((from + at + 1) * (i + 1)))),
    metadatas: ids.map((_, at) => (at % 3 === 0 ? null : { n: from + at, f: 1.5, live: true, lang: 'en' })),
    documents: ids.map((_, at) => (at % 2 === 0 ? null : `text ${from + at}`)),
    uris: ids.map(() => null),
  });
};

describe('a backup of Chroma', () => {
  test('brings every collection back record by record: changed, deleted, added, dropped, and one that was made otherwise', async () => {
    const hnsw = { space: 'cosine', ef_construction: 50, max_neighbors: 8 };
    await call('POST', '', { name: 'words', metadata: { team: 'search', n: 1 }, configuration: { hnsw } });
    await call('POST', '', { name: 'glosses', configuration: { hnsw: { space: 'l2' } } });
    await call('POST', '', { name: 'gone', configuration: { hnsw: { space: 'ip' } } });
    await call('POST', '', { name: 'empty', configuration: { hnsw: { space: 'l2' } } });
    await fill('words', 0, 1500, 8);
    await fill('glosses', 0, 40, 4);
    await fill('gone', 0, 30, 2);
    const names = ['words', 'glosses', 'gone', 'empty'];
    const before = await Promise.all(names.map(stateOf));
    const wordsId = await idOf('words');
    const made = await backup();
    expect(made.parts).toMatchObject([
      { store: 'notes', kind: 'records', counts: { words: 1500, glosses: 40, gone: 30, empty: 0 } },
    ]);

    await fill('words', 1490, 1600, 8);
    await call('POST', `/${wordsId}/update`, { ids: ['r1'], documents: ['changed'], metadatas: [{ more: 1 }] });
    await call('POST', `/${wordsId}/delete`, { ids: ['r3', 'r4'] });
    await call('DELETE', '/glosses');
    await call('POST', '', { name: 'glosses', configuration: { hnsw: { space: 'cosine' } } });
    await fill('glosses', 0, 5, 7);
    await call('DELETE', '/gone');
    await fill('empty', 0, 3, 2);
    await call('POST', '', { name: 'newer', configuration: { hnsw: { space: 'l2' } } });
    const { first, left } = await restore(made.id);

    expect((await stateOf('words')).records).toHaveLength(1500);
    for (const [at, name] of names.entries()) {
      const { settings, records } = await stateOf(name);
      const withoutVectors = (each: readonly unknown[][]) => each.map(([id, , ...others]) => [id, ...others]);
      expect(withoutVectors(records)).toEqual(withoutVectors(before[at]?.records));
      const floats = (each: readonly number[][][]): number[] => each.flatMap(([, vector = []]) => vector);
      const old = floats(before[at]?.records);
      // With cosine the server itself scales what it gives, by what its graph holds or not yet: within 2e-7.
      expect(Math.max(0, ...floats(records).map((value, i) => Math.abs(value - (old[i] ?? 9))))).toBeLessThan(1e-6);
      expect(settings).toEqual(before[at]?.settings);
    }
    // One that was set up as before goes on answering under its id, which clients keep.
    expect(await idOf('words')).toBe(wordsId);
    expect(left).toEqual(['collection newer of notes, made since the backup; --drop-new drops such']);
    await restore(made.id, true);
    await expect(call('GET', '/newer')).rejects.toThrow('404');
    await restore(first.id);
    expect((await stateOf('words')).records).toHaveLength(1598);
  }, 240_000);

  test('refuses an altered shard before anything is touched, and is refused itself where a record changes under it', async () => {
    const made = await backup();
    const folder = join(directory, 'backups', made.id, 'notes');
    const number = JSON.parse(await readFile(join(folder, 'collections.json'), 'utf8')).find(
      (each: { name: string }) => each.name === 'words',
    ).folder;
    const [shard = ''] = await readdir(join(folder, number));
    const path = join(folder, number, shard);
    const bytes = await readFile(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expect(restore(made.id)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining('notes was altered'),
    });

    const kept = (await readBackups(directory)).length;
    let isStopped = false;
    const id = await idOf('words');
    const writing = (async () => {
      for (let n = 0; !isStopped; n++)
        await call('POST', `/${id}/update`, {
          ids: [`r${n % 1400}`, `r${(n + 700) % 1400}`],
          metadatas: [{ n }, { n }],
        });
    })();
    const results: PromiseSettledResult<unknown>[] = [];
    // Until a change falls between the read of a record and the second look at it, which is in the first round but for luck.
    while (results.length < 60 && results.every(({ status }) => status === 'fulfilled'))
      results.push(...(await Promise.allSettled([backup(), backup(), backup()])));
    isStopped = true;
    await writing;
    // Whatever could be proven was kept; the others say why not, and leave nothing.
    const refused = results.flatMap((each) => (each.status === 'rejected' ? [String(each.reason.message)] : []));
    expect(refused).not.toEqual([]);
    for (const message of refused)
      expect(message).toMatch(/collection words is written to while its backup is made .*stop its writers/);
    expect((await readBackups(directory)).length).toBe(kept + results.length - refused.length);
  }, 240_000);

  test('of the collections that the settings name leaves every other one as it is', async () => {
    for (const name of ['named', 'theirs']) {
      await call('POST', '', { name, configuration: { hnsw: { space: 'l2' } } });
      await fill(name, 0, 5, 2);
    }
    const [[, store] = []] = config.stores;
    if (store === undefined) throw new Error('the settings name no store');
    const only = { ...store, backup: { collections: ['named', 'later'] } };
    const scoped = { ...config, stores: new Map([['notes', only]]) };
    const said: string[] = [];
    const more = { config: scoped, directory, seq: 0, tell: (line: string) => said.push(line) };
    const made = await makeBackup({ ...more, reason: 'some' });
    expect(made.parts).toMatchObject([{ counts: { named: 5 }, only: ['named', 'later'] }]);
    expect(said.join()).toContain("no collection or alias 'later'");
    for (const name of ['named', 'theirs']) await fill(name, 5, 9, 2);
    const restoring = 'theirs--vecferry-restored';
    for (const name of ['later', 'theirs_too', restoring]) await call('POST', '', { name });
    const append = async () => undefined;
    const { first } = await restoreBackup({ ...more, id: made.id, by: 'ada', dropNew: true, append });
    const counts = async () =>
      await Promise.all(['named', 'theirs'].map(async (name) => (await stateOf(name)).records.length));
    expect(await counts()).toEqual([5, 9]);
    await expect(call('GET', '/later')).rejects.toThrow('404');
    for (const name of ['theirs_too', restoring]) await call('GET', `/${name}`);
    await restoreBackup({ ...more, id: first.id, by: 'ada', append });
    expect(await counts()).toEqual([9, 9]);
    await call('GET', '/later');
  }, 240_000);
});
