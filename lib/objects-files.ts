import { randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { InvalidEvent, StoreUnavailable } from './errors.ts';
import type { ObjectStore } from './objects.ts';

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  /** Another one once the object was written again. */
  readonly tag: string;
}

export interface ListingObjectStore extends ObjectStore {
  /** What `list` gives, with sizes and tags. */
  entries(prefix: string): Promise<readonly ListedObject[]>;
  /**
   * Bytes `from` (inclusive) to `to` (exclusive, within the object).
   * @throws StoreUnavailable when the object is no longer the one that was listed.
   */
  range(object: ListedObject, from: number, to: number): Promise<Uint8Array>;
  /**
   * As put, for an object of any size: its bytes come in parts, one of which is in memory. What `parts` throws is thrown, and
   * nothing is written. @param size of all parts, in bytes
   */
  putParts(key: string, size: number, parts: AsyncIterable<Uint8Array>): Promise<void>;
}

/** Names of files that are being written: never listed, and left behind only by a process that was killed. */
export const temporary = /\.[0-9a-f-]{36}\.tmp$/;

/**
 * Objects as files under `directory`, which is made when the first one is written. Keys are paths with `/`. A killed
 * process leaves each object whole or absent: it is written beside its place, flushed to the disk, then renamed.
 */
export function openFileObjects(directory: string): ListingObjectStore {
  const root = resolve(directory);

  const keysUnder = async (prefix: string): Promise<readonly string[]> => {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const start = folder === '' ? root : pathOf(root, folder);
    const found = (await readdir(start, { recursive: true, withFileTypes: true }).catch(absent)) ?? [];
    return found
      .filter((entry) => entry.isFile() && !temporary.test(entry.name))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(root.length + 1)
          .replaceAll(sep, '/'),
      )
      .filter((key) => key.startsWith(prefix))
      .sort(byBytes);
  };

  /** Writes the object beside its place, and lets `settle` bring it there. */
  const write = async (
    key: string,
    body: Uint8Array | string | AsyncIterable<Uint8Array>,
    settle: (half: string, path: string) => Promise<boolean>,
  ): Promise<boolean> => {
    const path = pathOf(root, key);
    const folder = dirname(path);
    await mkdir(folder, { recursive: true });
    const half = `${path}.${randomUUID()}.tmp`;
    try {
      await writeDurably(half, body);
      return await settle(half, path);
    } finally {
      await rm(half, { force: true });
      await syncFolder(folder);
    }
  };

  return {
    async get(key) {
      return await readFile(pathOf(root, key)).catch(absent);
    },

    async put(key, body) {
      await write(key, body, async (half, path) => {
        await rename(half, path);
        return true;
      });
    },

    async putParts(key, _size, parts) {
      await write(key, parts, async (half, path) => {
        await rename(half, path);
        return true;
      });
    },

    async create(key, body) {
      return await write(key, body, async (half, path) => {
        try {
          await link(half, path);
          return true;
        } catch (error) {
          if (Object(error).code === 'EEXIST') return false;
          throw error;
        }
      });
    },

    list: keysUnder,

    async folders(prefix) {
      const found = (await readdir(pathOf(root, prefix), { withFileTypes: true }).catch(absent)) ?? [];
      const names = found.filter((entry) => entry.isDirectory()).map(({ name }) => `${prefix}${name}/`);
      return names.sort(byBytes);
    },

    async entries(prefix) {
      const keys = await keysUnder(prefix);
      const found = await Promise.all(
        keys.map(async (key) => ({ key, stats: await stat(pathOf(root, key), { bigint: true }).catch(absent) })),
      );
      return found.flatMap(({ key, stats }) =>
        stats === undefined ? [] : [{ key, size: Number(stats.size), tag: tagOf(stats) }],
      );
    },

    async range(object, from, to) {
      const path = pathOf(root, object.key);
      const file = await open(path).catch(absent);
      if (file === undefined) throw changedWhileRead(path);
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(to - from), 0, to - from, from);
        if (bytesRead !== to - from || tagOf(await file.stat({ bigint: true })) !== object.tag)
          throw changedWhileRead(path);
        return buffer;
      } finally {
        await file.close();
      }
    },

    async delete(key) {
      await rm(pathOf(root, key), { force: true });
    },

    locate: (key) => pathOf(root, key),
  };
}

/** Some other process writes what we read. */
export function changedWhileRead(where: string): StoreUnavailable {
  return new StoreUnavailable(`${where} was written or deleted while it was read; start again once its writer is done`);
}

function tagOf({ mtimeNs, ino, size }: BigIntStats): string {
  return `${mtimeNs}-${ino}-${size}`;
}

/** The file of a key. @throws InvalidEvent when the key would lead out of the directory or names none. */
function pathOf(root: string, key: string): string {
  const parts = key.replace(/\/$/, '').split('/');
  if (key.includes('\0') || key.includes('\\') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new InvalidEvent(`'${key}' is not an object key: it is parts joined by /, none of them empty, . or ..`, {
      ids: [key],
    });
  }
  return join(root, ...parts);
}

async function writeDurably(path: string, body: Uint8Array | string | AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(body);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename is durable only once its folder is; Windows cannot open a folder, and journals renames itself. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** S3 lists keys in the order of their UTF-8 bytes; JavaScript's own order differs beyond U+FFFF. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** undefined where there is no file, whatever the reason for its absence: no folder, or a file in its place. */
function absent(cause: NodeJS.ErrnoException): undefined {
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR' || cause.code === 'EISDIR') return undefined;
  throw cause;
}
