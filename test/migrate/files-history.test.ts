import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { filesHistory } from '../../lib/migrate/history-files.ts';
import type { HistoryEntry } from '../../lib/migrate/port.ts';
import type { ObjectStore } from '../../lib/objects.ts';
import { openFileObjects } from '../../lib/objects-files.ts';
import { frontUrl } from '../servers/urls.ts';
import { askQdrant, dropAll } from './collection/qdrant-state.ts';
import { type MigrateWorld, makeMigrateWorld } from './world.ts';

/** A team without PostgreSQL: collection files alone, and their history in files. */

let world: MigrateWorld;
let qdrant: string;
const collection = `migrate_files_${process.pid}`;
beforeAll(async () => {
  qdrant = await frontUrl();
  const config = `stores:\n  search: {store: qdrant, connection: {url: '${qdrant}'}, options: {transport: rest}}\n`;
  world = await makeMigrateWorld('migrate_files', { config });
});
afterAll(async () => {
  await dropAll(qdrant, collection);
  await world.close();
});

const aliases = async (): Promise<readonly unknown[]> => {
  const { aliases: all } = await askQdrant(qdrant, 'GET', '/aliases');
  return all
    .filter(({ alias_name }: { alias_name: string }) => alias_name === collection)
    .map((each: { collection_name: string }) => each.collection_name);
};

test('collection files go up by two processes at once, a copy by the main job, and down again with its readers', async () => {
  const seed = Array.from(
    { length: 12 },
    (_, i) => `  - {id: ${i + 1}, vector: [${i + 1}, 1, ${i % 3}, 2], payload: {n: ${i}}}`,
  );
  await world.write(
    '001_search.yaml',
    [
      `store: search`,
      `collection: ${collection}`,
      `aliases: [${collection}]`,
      `vectors: {text: {size: 4, distance: cosine}}`,
      'seed:',
      ...seed,
      '',
    ].join('\n'),
  );
  const both = await Promise.all([world.migrate('up', '--by', 'ada'), world.migrate('up', '--by', 'bob')]);
  expect(both.map(({ code, err }) => [code, err])).toEqual([
    [0, ''],
    [0, ''],
  ]);
  expect(await aliases()).toEqual([`${collection}__001`]);

  await world.write(
    '002_euclid.yaml',
    `store: search\ncollection: ${collection}\nvectors: {text: {distance: euclid}}\n`,
  );
  expect((await world.done('up', '--dry-run')).out).toContain(`copy`);
  await world.done('up');
  expect(await aliases()).toEqual([`${collection}__002`]);
  expect((await world.done('status')).out).toContain('2 applied, 0 pending, 0 problems');

  await world.done('down');
  expect(await aliases()).toEqual([`${collection}__001`]);
  const status = (await world.done('status', '--json')).events();
  expect(status).toMatchObject([{ applied: [{ number: 1, action: 'up' }], pending: [{ number: 2 }], problems: [] }]);

  // What was recorded takes it back, whatever became of its file.
  await world.remove('001_search.yaml');
  await world.remove('002_euclid.yaml');
  await world.done('to', '0');
  expect(await aliases()).toEqual([]);
  expect(await askQdrant(qdrant, 'GET', `/collections/${collection}__001`)).toBeUndefined();
});

test('a SQL file without a PostgreSQL to run it on is refused, with what to write', async () => {
  await world.write('001_sql.sql', '-- migrate:up\nSELECT 1;\n-- migrate:down\n');
  const { code, err } = await world.migrate('up');
  expect(code).toBe(2);
  expect(err).toContain('has no PostgreSQL store to run it on');
  await world.remove('001_sql.sql');
});

const entry = (seq: number): HistoryEntry => ({
  seq,
  number: seq,
  name: `00${seq}_a`,
  checksum: 'c',
  action: 'up',
  at: '2026-11-21T00:00:00.000Z',
  by: 'ada',
  milliseconds: 1,
});

test('lines that were cut off its end are seen, also once others were written after them, and so is an end that was taken away', async () => {
  const directory = join(world.folder, '..', 'cut');
  const objects = openFileObjects(directory);
  const history = filesHistory(objects, 'here');
  for (const seq of [1, 2, 3, 4]) await history.append(entry(seq));
  const line = (seq: number): string => `migrations/history/00000${seq}.json`;
  const last = await objects.get(line(4));
  await objects.delete(line(4));
  await objects.delete(line(3));
  expect(await history.faults()).toEqual([
    'the history, here, ends with line 2, and lines 3 to 4 were written after it: it was cut off',
  ]);
  await history.append(entry(3));
  expect(await history.faults()).toEqual([expect.stringContaining('line 3 of the history')]);
  await history.append({ ...entry(4), number: 0, action: 'repaired' });
  expect(await history.faults()).toEqual([]);

  await objects.put(line(4), last ?? '');
  expect(await history.faults()).toContain(
    'line 4 of the history, here, is another one than was written: the end was cut off and replaced',
  );
  const head = await objects.get('migrations/head.json');
  await objects.delete('migrations/head.json');
  await history.append(entry(5));
  expect((await history.faults()).join()).toContain('what keeps it was taken away');
  expect(head).toBeDefined();
});

test('a process that dies between a line and the note of the end leaves no false alarm, and neither does a look meanwhile', async () => {
  const objects = openFileObjects(join(world.folder, '..', 'died'));
  const history = filesHistory(objects, 'here');
  const dying: ObjectStore = {
    ...objects,
    put: async (key, body) => {
      if (key === 'migrations/head.json') throw new Error('killed');
      await objects.put(key, body);
    },
  };
  await history.append(entry(1));
  await expect(filesHistory(dying, 'here').append(entry(2))).rejects.toThrow('killed');
  expect(await history.entries()).toHaveLength(2);
  expect(await history.faults()).toEqual([]);
  await history.append(entry(3));
  expect(await history.faults()).toEqual([]);

  const looks: (readonly string[])[] = [];
  let isDone = false;
  const looking = (async () => {
    while (!isDone) looks.push(await filesHistory(objects, 'here').faults());
  })();
  for (let seq = 4; seq < 60; seq++) await history.append(entry(seq));
  isDone = true;
  await looking;
  expect(looks.length).toBeGreaterThan(0);
  expect(looks.flat()).toEqual([]);
});

test('of two that write the same line one wins, a line that was changed is seen, and the lock of a dead process is taken over', async () => {
  const directory = join(world.folder, '..', 'lines');
  const objects = openFileObjects(directory);
  const [one, other] = [filesHistory(objects, 'here'), filesHistory(objects, 'here')];
  await one.append(entry(1));
  const settled = await Promise.allSettled([one.append(entry(2)), other.append(entry(2))]);
  expect(settled.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(await one.faults()).toEqual([]);
  const [first = ''] = await readdir(join(directory, 'migrations/history'));
  const text = new TextDecoder().decode(await objects.get(`migrations/history/${first}`));
  await objects.put(`migrations/history/${first}`, text.replace('ada', 'eve'));
  expect(await one.faults()).toEqual([expect.stringContaining('line 1')]);

  // No process has this number: its lock is a dead one's.
  const dead = {
    owner: '999999999 a',
    host: (await import('node:os')).hostname(),
    by: 'ada',
    at: '2026-11-21T00:00:00.000Z',
  };
  await objects.put('migrations/locks/000004.json', JSON.stringify(dead));
  let inside = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    expect(inside).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    inside -= 1;
  };
  await Promise.all(
    [one, other, filesHistory(objects, 'here')].map((each) => each.locked(work, { waitMs: 100_000, by: 'ada' })),
  );
  let end = (): void => undefined;
  let holding: Promise<void> | undefined;
  await new Promise<void>((begun) => {
    const work = (): Promise<void> =>
      new Promise((resolve) => {
        end = resolve;
        begun();
      });
    holding = one.locked(work, { waitMs: 0, by: 'bob of the night' });
  });
  await expect(other.locked(async () => undefined, { waitMs: 0, by: 'eve' })).rejects.toThrow('bob of the night');
  end();
  await holding;
});

test('who was held up between looking for the lock and taking it does not get a number that others have used meanwhile', async () => {
  const objects = openFileObjects(join(world.folder, '..', 'held-up'));
  const locked = (history = filesHistory(objects, 'here'), work = async (): Promise<void> => undefined) =>
    history.locked(work, { waitMs: 0, by: 'ada' });
  await locked();
  let end = (): void => undefined;
  let holding: Promise<void> | undefined;
  const heldUp: ObjectStore = {
    ...objects,
    list: async (prefix) => {
      const found = await objects.list(prefix);
      if (holding === undefined) {
        await locked();
        const held = new Promise<void>((resolve) => {
          end = resolve;
        });
        await new Promise<void>((begun) => {
          holding = locked(undefined, async () => {
            begun();
            await held;
          });
        });
      }
      return found;
    },
  };
  await expect(locked(filesHistory(heldUp, 'here'))).rejects.toThrow('somebody else is migrating');
  end();
  await holding;
  await locked();
});
