import { cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { NotFound } from '../../errors.ts';
import { type BackupPart, requireRoom, sumOf } from './folder.ts';

/** A store that is a folder (LanceDB, files) by a copy of it. Nobody may write to it meanwhile: LanceDB's own writers keep no lock. */

export async function copyFolder(name: string, path: string, folder: string): Promise<BackupPart> {
  if (!(await exists(path)))
    throw new NotFound(`store '${name}' has no folder ${path} yet; make it, or migrate without --backup`);
  const before = await sumOf(path);
  await requireRoom(folder, before.bytes, `a copy of ${path}`);
  await cp(path, join(folder, name), { recursive: true, preserveTimestamps: true });
  const sum = await sumOf(join(folder, name));
  const what = `folder ${basename(path)}`;
  return { store: name, kind: 'directory', what, where: name, ...sum, place: resolve(path), counts: {} };
}

/**
 * Where a restore was killed between its two renames, what was there before gets its name back: else there would be no folder, and no
 * command that brings one.
 */
export async function settleFolder(path: string, tell: (line: string) => void): Promise<void> {
  const target = resolve(path);
  const old = oldOf(target);
  if ((await exists(target)) || !(await exists(old))) return;
  await rename(old, target);
  tell(`${target} has its name back, which a restore that was killed had taken from it`);
}

export const exists = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );

const oldOf = (target: string): string => `${target}.replaced`;

/** Puts the copy in place of what is there: beside it first, then by two renames. */
export async function restoreFolder(from: string, path: string): Promise<void> {
  const target = resolve(path);
  const fresh = `${target}.restored`;
  const old = oldOf(target);
  await rm(fresh, { recursive: true, force: true });
  await rm(old, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  await cp(from, fresh, { recursive: true, preserveTimestamps: true });
  await rename(target, old).catch((error: unknown) => {
    if (Object(error).code !== 'ENOENT') throw error;
  });
  await rename(fresh, target);
  await rm(old, { recursive: true, force: true });
}
