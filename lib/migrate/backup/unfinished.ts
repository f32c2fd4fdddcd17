import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { isAlive, thisProcess } from '../../process-owner.ts';
import { backupsIn } from './folder.ts';

/**
 * A restore that was begun and has not ended, as a file beside the backups. It is there from before the first store is touched until
 * after the last, so that whoever comes after a process that died knows that the stores may be of two moments.
 */

const fileName = 'restoring.json';

const schema = z.strictObject({
  /** The backup that is being brought back. */
  id: z.string(),
  /** The one of what was there before. */
  first: z.string(),
  /** That may hold some of both, by name. */
  stores: z.array(z.string()),
  by: z.string(),
  at: z.string(),
  /** process-owner.ts */
  owner: z.string(),
});
export type UnfinishedRestore = Omit<z.infer<typeof schema>, 'owner'>;

const pathIn = (directory: string): string => join(backupsIn(directory), fileName);

/**
 * Must be called with the lock of migrations. One that follows on another which did not end keeps that one's way back: the backup that
 * it has made itself is of the mixture. One that leaves out a store of that other one ends nothing of it.
 */
export async function noteRestore(directory: string, restore: UnfinishedRestore): Promise<void> {
  const before = await readNote(directory);
  if (before === undefined) return await write(directory, restore);
  const { id, stores } = restore;
  if (!before.stores.every((name) => stores.includes(name)))
    return await write(directory, { ...before, stores: [...new Set([...before.stores, ...stores])] });
  // Who takes it back, and is killed too, goes on or goes forward again.
  await write(directory, { ...restore, first: id === before.first ? before.id : before.first });
}

async function write(directory: string, restore: UnfinishedRestore): Promise<void> {
  await mkdir(backupsIn(directory), { recursive: true, mode: 0o700 });
  const half = `${pathIn(directory)}.half`;
  const text = `${JSON.stringify({ ...restore, owner: thisProcess }, null, 2)}\n`;
  await writeFile(half, text, { mode: 0o600, flush: true });
  await rename(half, pathIn(directory));
}

/** @param stores that are whole again: while another one may be half way, it stays noted */
export async function endRestore(directory: string, stores: readonly string[]): Promise<void> {
  const noted = await readNote(directory);
  if (noted === undefined) return;
  const left = noted.stores.filter((name) => !stores.includes(name));
  if (left.length === 0) await rm(pathIn(directory), { force: true });
  else await write(directory, { ...noted, stores: left });
}

async function readNote(directory: string): Promise<z.infer<typeof schema> | undefined> {
  const path = pathIn(directory);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (Object(error).code !== 'ENOENT') throw error;
    return undefined;
  });
  return text === undefined ? undefined : parseAs(schema, parsed(text), path, Incompatible);
}

/**
 * undefined: every restore has ended, or one is under way just now.
 * @param alsoUnderWay whoever has the lock of migrations knows that nobody restores, even where a process bears the dead one's number
 * @throws Incompatible where the file is none of ours
 */
export async function unfinishedRestore(
  directory: string,
  { alsoUnderWay = false } = {},
): Promise<UnfinishedRestore | undefined> {
  const noted = await readNote(directory);
  if (noted === undefined) return undefined;
  const { owner, ...restore } = noted;
  // A command that failed has let go of it as much as one that was killed; this process's own is told by what it throws.
  return alsoUnderWay || owner === thisProcess || !isAlive(owner) ? restore : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A sentence: what it may have left, and what to do. */
export function unfinishedMessage({ id, first, by, at }: UnfinishedRestore, directory: string): string {
  const what = `the restore of backup ${id}, begun ${at} by ${by}, did not end: the stores may hold some of that backup and some of what was there before, which is backup ${first}`;
  return `${what}; bring it to its end with vecferry migrate restore ${id}, or take it back with vecferry migrate restore ${first}; where both are gone and all is right as it stands, delete ${pathIn(directory)}`;
}

/** @throws Incompatible while a restore has not ended: what a migration finds would be of two moments */
export async function refuseUnfinished(directory: string, which = { alsoUnderWay: false }): Promise<void> {
  const unfinished = await unfinishedRestore(directory, which);
  if (unfinished === undefined) return;
  throw new Incompatible(unfinishedMessage(unfinished, directory), { ids: [unfinished.id] });
}
