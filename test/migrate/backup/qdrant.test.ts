import { copyFile, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { knownServer, makeBackup, restoreBackup } from '../../../lib/migrate/backup/backup.ts';
import { collectionsFilled } from '../../../lib/migrate/backup/filling.ts';
import { putJson } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { makePlan } from '../../make-plan.ts';
import { type RunningServer, startServer } from '../../servers/start.ts';
import { changePart, makeWorld, type World } from './world.ts';

let server: RunningServer;
let world: World;
let url: string;
/** A server of its own: a backup is of all its collections, and other tests have theirs on the shared one. */
const apiKey = 'key-of-the-backup-test';
beforeAll(async () => {
  server = await startServer('qdrant', { apiKey });
  url = server.addresses.QDRANT_URL ?? '';
  process.env['VECFERRY_SECRET_BACKUP_QDRANT'] = JSON.stringify({ url, apiKey });
  world = await makeWorld('backup_qdrant', [
    { name: 'search', store: 'qdrant', connection: { secret: 'backup/qdrant' }, options: {} },
  ]);
});
afterAll(async () => {
  delete process.env['VECFERRY_SECRET_BACKUP_QDRANT'];
  await world?.close();
  await server?.stop();
});

const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
  const headers = { 'content-type': 'application/json', 'api-key': apiKey };
  const answer = await fetch(`${url}${path}`, {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const said = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${said}`);
  return Reflect.get(Object(JSON.parse(said)), 'result');
};
const upsert = async (collection: string, from: number, to: number, size: number) =>
  await call('PUT', `/collections/${collection}/points?wait=true`, {
    points: Array.from({ length: to - from }, (_, at) => ({
      id: from + at,
      vector: Array.from({ length: size }, (_, i) => Math.sin((from + at) * (i + 1))),
      payload: { rank: from + at },
    })),
  });
const count = async (collection: string) =>
  await call('POST', `/collections/${collection}/points/count`, { exact: true });
const version = async (): Promise<string> => {
  const answer: unknown = await (await fetch(url, { headers: { 'api-key': apiKey } })).json();
  return String(Reflect.get(Object(answer), 'version'));
};
const aliases = async () => await call('GET', '/aliases');
const backup = async () =>
  await makeBackup({ config: world.config, directory: world.directory, pgBin: world.pgBin, reason: 'by hand', seq: 0 });

describe('a backup of Qdrant', () => {
  test('brings collections and aliases back: records that were changed, a collection of another size, one that was dropped', async () => {
    for (const [name, size] of [
      ['words', 4],
      ['glosses', 3],
      ['gone', 2],
    ] as const) {
      await call('PUT', `/collections/${name}`, { vectors: { size, distance: 'Cosine' } });
      await upsert(name, 0, 50, size);
    }
    await call('PUT', '/collections/words/index?wait=true', { field_name: 'rank', field_schema: 'integer' });
    await call('POST', '/collections/aliases', {
      actions: [{ create_alias: { alias_name: 'current', collection_name: 'words' } }],
    });
    const made = await backup();
    expect(made.parts.map(({ kind, what, counts }) => [kind, what, counts])).toEqual([
      ['pg_dump', expect.stringContaining('database backup_qdrant'), expect.anything()],
      ['qdrant snapshot', 'collection glosses', { glosses: 50 }],
      ['qdrant snapshot', 'collection gone', { gone: 50 }],
      ['qdrant snapshot', 'collection words', { words: 50 }],
      ['qdrant collections', 'aliases and settings of 3 collections', {}],
    ]);
    // The server's disk is not filled with snapshots that nobody asked for.
    expect(await call('GET', '/collections/words/snapshots')).toEqual([]);

    await upsert('words', 40, 90, 4);
    await call('POST', '/collections/words/points/delete?wait=true', { points: [1, 2, 3] });
    await call('DELETE', '/collections/glosses');
    await call('PUT', '/collections/glosses', { vectors: { size: 8, distance: 'Dot' } });
    await call('DELETE', '/collections/gone');
    await call('PUT', '/collections/newer', { vectors: { size: 2, distance: 'Dot' } });
    await call('POST', '/collections/aliases', {
      actions: [
        { delete_alias: { alias_name: 'current' } },
        { create_alias: { alias_name: 'current', collection_name: 'newer' } },
        // A name that a collection of the backup has.
        { create_alias: { alias_name: 'gone', collection_name: 'words' } },
      ],
    });
    await world.record({ number: 1 });
    const { left, first } = await world.restore(made.id, { seq: 1 });

    // Nor with what was uploaded, which Qdrant keeps among the collection's snapshots.
    for (const name of ['words', 'glosses', 'gone'])
      expect([name, await call('GET', `/collections/${name}/snapshots`)]).toEqual([name, []]);
    expect(await count('words')).toEqual({ count: 50 });
    expect(await count('glosses')).toEqual({ count: 50 });
    expect(await count('gone')).toEqual({ count: 50 });
    const described = await call('GET', '/collections/glosses');
    expect(described).toMatchObject({ config: { params: { vectors: { size: 3, distance: 'Cosine' } } } });
    expect(await call('GET', '/collections/words')).toMatchObject({
      payload_schema: { rank: { data_type: 'integer' } },
    });
    expect(await aliases()).toEqual({ aliases: [{ alias_name: 'current', collection_name: 'words' }] });
    expect(left).toEqual(['collection newer of search, made since the backup; --drop-new drops such']);

    await world.restore(made.id, { seq: 2, dropNew: true });
    await expect(call('GET', '/collections/newer')).rejects.toThrow('404');

    // And back to what was there before the first restore.
    await expect(world.restore(first.id, { seq: 3 })).rejects.toThrow(/collections gone of search were made since/);
    expect(await count('words')).toEqual({ count: 50 });
    await world.restore(first.id, { seq: 3, dropNew: true });
    expect(await count('words')).toEqual({ count: 87 });
    expect(await aliases()).toEqual({
      aliases: [
        { alias_name: 'current', collection_name: 'newer' },
        { alias_name: 'gone', collection_name: 'words' },
      ],
    });
  }, 240_000);

  test('is refused after a snapshot that brought other contents with as many records, naming what differs', async () => {
    await call('PUT', '/collections/proof', { vectors: { size: 4, distance: 'Dot' } });
    await upsert('proof', 0, 40, 4);
    const made = await backup();
    const part = made.parts.find(({ what }) => what === 'collection proof');
    expect(part).toMatchObject({ counts: { proof: 40 }, contents: { records: 40, unproven: 0 } });
    await call('POST', '/collections/proof/points/payload?wait=true', { payload: { rank: 700 }, points: [7] });
    const other = await backup();
    const otherPart = other.parts.find(({ what }) => what === 'collection proof');
    // As if Qdrant had kept or brought back something else: the checksums of all files fit.
    const otherFile = join(world.directory, 'backups', other.id, otherPart?.where ?? '');
    await changePart(world.directory, made.id, part?.where ?? '', async (path) => await copyFile(otherFile, path));
    await expect(world.restore(made.id, { seq: 4, dropNew: true })).rejects.toThrow(
      /collection proof does not hold what the backup holds after its restore: payload of up to \d+ records? differ \(among 7\b.*nobody wrote to it between two looks/,
    );
    expect(await count('proof')).toEqual({ count: 40 });
    await call('DELETE', '/collections/proof');
  }, 240_000);

  test('is refused by a server that restores no snapshots of its version, before anything is dropped', async () => {
    await call('PUT', '/collections/aged', { vectors: { size: 4, distance: 'Dot' } });
    const made = await backup();
    const [, major, minor] = /^(\d+)\.(\d+)/.exec(await version()) ?? [];
    const restored = async (minors: number): Promise<unknown> => {
      await changePart(world.directory, made.id, 'search/collections.json', async (path) => {
        const manifest = JSON.parse(await readFile(path, 'utf8'));
        await writeFile(path, JSON.stringify({ ...manifest, version: `${major}.${Number(minor) + minors}.3` }));
      });
      return await world.restore(made.id, { seq: 5, dropNew: true });
    };
    // Set up otherwise by now: a restore would drop it.
    await call('DELETE', '/collections/aged');
    await call('PUT', '/collections/aged', { vectors: { size: 5, distance: 'Dot' } });
    for (const minors of [-2, 1])
      await expect(restored(minors)).rejects.toThrow(/snapshots are of Qdrant .* nothing was changed/);
    expect(await call('GET', '/collections/aged')).toMatchObject({ config: { params: { vectors: { size: 5 } } } });
    await restored(-1);
    expect(await call('GET', '/collections/aged')).toMatchObject({ config: { params: { vectors: { size: 4 } } } });
    await call('DELETE', '/collections/aged');
  }, 240_000);

  test('is made of a collection that is written to, and says of which records it proves nothing', async () => {
    await call('PUT', '/collections/busy', { vectors: { size: 4, distance: 'Dot' } });
    await upsert('busy', 0, 200, 4);
    // Asks for a snapshot, and writes before it has its answer: between the two reads of the contents.
    const proxy = createServer((request, answer) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', async () => {
        const headers = { 'api-key': apiKey, 'content-type': request.headers['content-type'] ?? 'application/json' };
        const body = chunks.length === 0 ? {} : { body: Buffer.concat(chunks) };
        const there = await fetch(`${url}${request.url}`, { method: request.method ?? 'GET', headers, ...body });
        if (request.method === 'POST' && request.url?.startsWith('/collections/busy/snapshots?') === true)
          await call('POST', '/collections/busy/points/payload?wait=true', { payload: { rank: -1 }, points: [3, 4] });
        answer
          .writeHead(there.status, { 'content-type': 'application/json' })
          .end(Buffer.from(await there.arrayBuffer()));
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const address = proxy.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    try {
      const store = { name: 'search', store: 'qdrant', options: { transport: 'rest' } } as const;
      const secret = { url: `http://127.0.0.1:${address.port}`, apiKey };
      process.env['VECFERRY_SECRET_BUSY_QDRANT'] = JSON.stringify(secret);
      const stores = new Map([['search', { ...store, connection: { secret: 'busy/qdrant' } }]]);
      const config = { directory: 'migrations', stores, sql: 'search', history: 'search' };
      const made = await makeBackup({ config, directory: world.directory, reason: 'busy', seq: 0 });
      const part = made.parts.find(({ what }) => what === 'collection busy');
      expect(part).toMatchObject({
        counts: {},
        contents: { records: 200, doubt: expect.stringMatching(/was written to/) },
      });
      // Two records, and those that share their buckets.
      expect(part?.contents?.unproven).toBeGreaterThanOrEqual(2);
      expect(part?.contents?.unproven).toBeLessThan(40);
    } finally {
      proxy.close();
      delete process.env['VECFERRY_SECRET_BUSY_QDRANT'];
      await call('DELETE', '/collections/busy');
    }
  }, 240_000);

  test('of the collections that the settings name takes those alone, by name or alias, and its restore touches no other', async () => {
    const scoped = (...collections: readonly string[]) => {
      const store = { name: 'search', store: 'qdrant', connection: { secret: 'backup/qdrant' }, options: {} };
      const stores = new Map([['search', { ...store, backup: { collections } }]]);
      return { ...world.config, stores, history: 'files', sql: undefined };
    };
    const said: string[] = [];
    const more = { directory: world.directory, seq: 0, tell: (line: string) => said.push(line) };
    const restore = async (id: string, collections: readonly string[]) => {
      const append = async () => undefined;
      return await restoreBackup({ ...more, config: scoped(...collections), id, by: 'ada', append, dropNew: true });
    };
    for (const name of ['own__001', 'notes', 'theirs']) {
      await call('PUT', `/collections/${name}`, { vectors: { size: 4, distance: 'Dot' } });
      await upsert(name, 0, 20, 4);
    }
    const alias = (name: string, to: string) => ({ create_alias: { alias_name: name, collection_name: to } });
    const before = await aliases();
    await call('POST', '/collections/aliases', { actions: [alias('own', 'own__001'), alias('their', 'theirs')] });
    const made = await makeBackup({ ...more, config: scoped('own', 'notes', 'later'), reason: 'some' });
    expect(made.parts.map(({ what }) => what)).toEqual([
      'collection notes',
      'collection own__001',
      'aliases and settings of 2 collections',
    ]);
    expect(said.join()).toContain("no collection or alias 'later', which its backup.collections names");

    // A copy takes the alias over, what was named is made, and others go on with theirs.
    for (const name of ['own__002', 'later', 'theirs_too'])
      await call('PUT', `/collections/${name}`, { vectors: { size: 4, distance: 'Dot' } });
    await upsert('own__002', 0, 30, 4);
    await call('POST', '/collections/aliases', {
      actions: [alias('own', 'own__002'), alias('their_too', 'theirs_too')],
    });
    await upsert('theirs', 20, 25, 4);
    await upsert('own__001', 20, 25, 4);
    // The settings name less by now: what the restore replaces is in its first backup all the same.
    const { first } = await restore(made.id, ['notes']);
    const names = async () => {
      const answer = await call('GET', '/collections');
      return Reflect.get(Object(answer), 'collections').map(({ name }: { name: string }) => name);
    };
    expect(await names()).toEqual(expect.arrayContaining(['own__001', 'notes', 'theirs', 'theirs_too']));
    for (const gone of ['own__002', 'later']) expect(await names()).not.toContain(gone);
    expect([await count('own__001'), await count('theirs')]).toEqual([{ count: 20 }, { count: 25 }]);
    expect(JSON.stringify(await aliases())).toMatch(/"their_too"/);
    expect(await aliases()).toEqual({
      aliases: expect.arrayContaining([
        { alias_name: 'own', collection_name: 'own__001' },
        { alias_name: 'their', collection_name: 'theirs' },
      ]),
    });
    await restore(first.id, ['notes']);
    expect([await count('own__001'), await count('own__002')]).toEqual([{ count: 25 }, { count: 30 }]);
    expect(await names()).toContain('later');
    for (const name of ['own__001', 'own__002', 'notes', 'theirs', 'theirs_too', 'later'])
      await call('DELETE', `/collections/${name}`);
    expect(await aliases()).toEqual(before);
  }, 240_000);

  test('names the run that fills a collection of it, until that has ended', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'backup-filling-'));
    const objects = openFileObjects(directory);
    const target = { store: 'qdrant', connection: { secret: 'backup/qdrant' }, collection: 'words_v2' };
    const plan = { ...makePlan({ target }), run: 'r1' };
    await putJson(objects, 'runs/r1/plan.json', plan);
    const filled = async (collections?: readonly string[]) => {
      const { connection, options } = { connection: { url }, options: {} };
      const store = {
        name: 'search',
        store: 'qdrant',
        connection,
        options,
        ...(collections && { backup: { collections } }),
      };
      return await collectionsFilled({ stores: new Map([['search', store]]) }, objects, knownServer);
    };
    expect(await filled()).toEqual([
      expect.stringContaining('collection words_v2 of search is filled by run r1, which has not ended'),
    ]);
    expect(await filled(['words'])).toEqual([]);
    expect(await filled(['words_v2'])).toHaveLength(1);
    await putJson(objects, 'runs/r1/report.json', { verdict: 'validated', createdAt: '2999-01-01T00:00:00.000Z' });
    expect(await filled()).toEqual([]);
  });

  test('is refused for another server, and keeps no key in its files', async () => {
    const made = await backup();
    const folder = join(world.directory, 'backups', made.id);
    const texts = await Promise.all(
      ['backup.json', 'search/collections.json'].map((name) => readFile(join(folder, name), 'utf8')),
    );
    expect(texts.join()).not.toContain(apiKey);
    const other = await startServer('qdrant', { apiKey });
    process.env['VECFERRY_SECRET_BACKUP_QDRANT'] = JSON.stringify({ url: other.addresses.QDRANT_URL, apiKey });
    await expect(world.restore(made.id)).rejects.toThrow(/--elsewhere restores it there/);
    process.env['VECFERRY_SECRET_BACKUP_QDRANT'] = JSON.stringify({ url, apiKey: 'wrong' });
    await expect(backup()).rejects.toMatchObject({ name: 'AccessDenied' });
    process.env['VECFERRY_SECRET_BACKUP_QDRANT'] = JSON.stringify({ url, apiKey });
    await other.stop();
    expect((await readdir(join(world.directory, 'backups'))).filter((name) => name.endsWith('.part'))).toEqual([]);
  });
});
