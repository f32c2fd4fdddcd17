import type { Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { byBytes } from '../objects-files.ts';
import type { ByteRanges } from '../shard/parquet-file.ts';

/** Every file below a folder of this machine, links to files included: what upgrade and inspect go through. */

export interface FolderFile {
  /** Its path below the folder, with /. */
  readonly name: string;
  readonly path: string;
  readonly size: number;
}

/** In the order of their names' bytes. Links that lead to a folder or nowhere are in `odd`, to be named. */
export async function filesBelow(
  folder: string,
): Promise<{ readonly files: readonly FolderFile[]; readonly odd: readonly string[] }> {
  const files: FolderFile[] = [];
  const odd: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(folder.length + 1).replaceAll(sep, '/');
    if (entry.isDirectory()) continue;
    const found = entry.isFile() || entry.isSymbolicLink() ? await stat(path).catch(gone) : undefined;
    if (found?.isFile() === true) files.push({ name, path, size: found.size });
    else odd.push(name);
  }
  return { files: files.sort((a, b) => byBytes(a.name, b.name)), odd: odd.sort(byBytes) };
}

function gone(error: NodeJS.ErrnoException): Stats | undefined {
  if (error.code === 'ENOENT' || error.code === 'ELOOP') return undefined;
  throw error;
}

/** Opens the file for `work` and closes it. */
export async function withBytes<T>({ path, size }: FolderFile, work: (bytes: ByteRanges) => Promise<T>): Promise<T> {
  const file = await open(path);
  try {
    const range = async (from: number, to: number): Promise<Uint8Array> => {
      const bytes = Buffer.allocUnsafeSlow(to - from);
      const { bytesRead } = await file.read(bytes, 0, to - from, from);
      if (bytesRead !== to - from) throw new Error(`${path} was written or cut while it was read; start again`);
      return bytes;
    };
    return await work({ size, range });
  } finally {
    await file.close();
  }
}
