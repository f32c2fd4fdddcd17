import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import * as lancedb from '@lancedb/lancedb';
import { makeBackup, restoreBackup } from '../../../lib/migrate/backup/backup.ts';
import { backupsIn, readBackups } from '../../../lib/migrate/backup/folder.ts';
import { unfinishedRestore } from '../../../lib/migrate/backup/unfinished.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore } from '../../../lib/migrate/port.ts';

async function makeLance() {
  const directory = await mkdtemp(join(tmpdir(), 'backup-lance-'));
  const path = join(directory, 'lance');
  const database = await lancedb.connect(path);
  const table = await database.createTable('words', [
    { id: 1, vector: [1, 0] },
    { id: 2, vector: [0, 1] },
  ]);
  const store: MigratedStore = { name: 'notes', store: 'lancedb', connection: { path }, options: {} };
  const config: MigrateConfig = { directory, stores: new Map([['notes', store]]), sql: undefined, history: 'files' };
  return { directory, path, table, config };
}

const rowsIn = async (path: string) => await (await (await lancedb.connect(path)).openTable('words')).countRows();

test('a LanceDB folder is kept by a copy and put back as it was, and the history is told once it is', async () => {
  const { directory, path, table, config } = await makeLance();
  const made = await makeBackup({ config, directory, reason: 'by hand', seq: 3 });
  expect(made.parts).toMatchObject([{ store: 'notes', kind: 'directory', what: 'folder lance' }]);
  await table.add([{ id: 3, vector: [1, 1] }]);
  expect(await rowsIn(path)).toBe(3);
  const lines: Omit<HistoryEntry, 'seq'>[] = [];
  const { first } = await restoreBackup({
    config,
    directory,
    id: made.id,
    by: 'ada',
    seq: 4,
    append: async (entry) => {
      expect(await rowsIn(path)).toBe(2);
      lines.push(entry);
    },
  });
  expect(lines).toMatchObject([{ action: 'restored', name: made.id, standsAt: 3, by: 'ada' }]);
  expect(await readBackups(directory)).toEqual([made, first]);
  // Nothing is left beside the folder.
  expect((await readdir(directory)).sort()).toEqual(['backups', 'lance']);
});

test('a folder that is lost, or that a killed restore has left under another name, can be restored all the same', async () => {
  const { directory, path, config } = await makeLance();
  const made = await makeBackup({ config, directory, reason: 'by hand', seq: 0 });
  const said: string[] = [];
  const restore = async () =>
    await restoreBackup({
      config,
      directory,
      id: made.id,
      by: 'ada',
      seq: 0,
      append: async () => undefined,
      tell: (line) => said.push(line),
    });
  await rename(path, `${path}.replaced`);
  const { first } = await restore();
  expect(said.join()).toContain('has its name back');
  expect(first.parts).toHaveLength(1);
  await rm(path, { recursive: true });
  await restore();
  expect(said.join()).toContain("store 'notes' has no folder");
  expect(await rowsIn(path)).toBe(2);
});

test('a file that was added to a kept folder, or taken out of it, is an altered backup', async () => {
  const { directory, path, config } = await makeLance();
  const made = await makeBackup({ config, directory, reason: 'by hand', seq: 0 });
  const kept = join(backupsIn(directory), made.id, 'notes');
  const restore = async () =>
    await restoreBackup({ config, directory, id: made.id, by: 'ada', seq: 0, append: async () => undefined });
  await writeFile(join(kept, 'more'), '');
  await expect(restore()).rejects.toThrow(/notes was altered/);
  await rm(join(kept, 'more'));
  const list = join(backupsIn(directory), made.id, 'backup.json');
  const text = await readFile(list, 'utf8');
  await writeFile(list, text.replace('"where": "notes"', '"where": "../../lance"'));
  await expect(restore()).rejects.toMatchObject({ name: 'Incompatible' });
  await writeFile(list, text.replace('"format": 1', '"format": 9'));
  await expect(restore()).rejects.toMatchObject({ name: 'Incompatible' });
  // What every other checksum hangs on has one itself, also of what nothing else would find.
  await writeFile(list, text.replace('"by hand"', '"by Ada"'));
  await expect(restore()).rejects.toThrow(/backup.json was altered/);
  const damaged: string[] = [];
  expect(await readBackups(directory, (id) => damaged.push(id))).toEqual([]);
  expect(damaged).toEqual([made.id]);
  await writeFile(list, text);
  await restore();
  expect(await rowsIn(path)).toBe(2);
});

test('a restore that is begun again keeps the way back to what was there before the first one, and one of other stores ends nothing', async () => {
  const { directory, path, table, config } = await makeLance();
  const made = await makeBackup({ config, directory, reason: 'by hand', seq: 0 });
  await table.add([{ id: 3, vector: [1, 1] }]);
  const restore = async (id: string, isKilled: boolean, of = config) =>
    await restoreBackup({
      config: of,
      directory,
      id,
      by: 'ada',
      seq: 0,
      append: async () => {
        if (isKilled) throw new Error('killed');
      },
    }).catch(({ message }: Error) => expect(message).toBe('killed'));
  const other: MigratedStore = { name: 'other', store: 'files', connection: { path: `${path}-other` }, options: {} };
  await mkdir(`${path}-other`);
  const ofOther = { ...config, stores: new Map([['other', other]]) };
  const elsewhere = await makeBackup({ config: ofOther, directory, reason: 'other', seq: 0 });

  await restore(made.id, true);
  const first = (await unfinishedRestore(directory))?.first ?? '';
  expect(first).not.toBe('');
  // Its own first backup is of a store that may be half restored.
  await restore(made.id, true);
  expect(await unfinishedRestore(directory)).toMatchObject({ id: made.id, first });
  await restore(elsewhere.id, false, ofOther);
  expect(await unfinishedRestore(directory)).toMatchObject({ id: made.id, first });
  await restore(first, true);
  expect(await unfinishedRestore(directory)).toMatchObject({ id: first, first: made.id });
  await restore(first, false);
  expect(await unfinishedRestore(directory)).toBeUndefined();
  expect(await rowsIn(path)).toBe(3);
});
