import { cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { NotFound } from '../../errors.ts';
import { type BackupPart, requireRoom, sumOf } from './folder.ts';

/** A store that is a folder (LanceDB, files) by a copy of it. Nobody may write to it meanwhile: LanceDB's own writers keep no lock. */

export async function copyFolder(name: string, path: string, folder: string): Promise<BackupPart> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  if (!isThere) throw new NotFound(`store '${name}' has no folder ${path} yet; make it, or migrate without --backup`);
  const before = await sumOf(path);
  await requireRoom(folder, before.bytes, `a copy of ${path}`);
  await cp(path, join(folder, name), { recursive: true, preserveTimestamps: true });
  const sum = await sumOf(join(folder, name));
  const what = `folder ${basename(path)}`;
  return { store: name, kind: 'directory', what, where: name, ...sum, place: resolve(path), counts: {} };
}

/** Puts the copy in place of what is there: beside it first, then by two renames. */
export async function restoreFolder(from: string, path: string): Promise<void> {
  const target = resolve(path);
  const fresh = `${target}.restored`;
  const old = `${target}.replaced`;
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
