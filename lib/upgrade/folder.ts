import type { Stats } from 'node:fs';
import { open, readdir, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { InvalidEvent, NotFound } from '../errors.ts';
import { byBytes, type ListedObject, type ListingObjectStore, openFileObjects, temporary } from '../objects-files.ts';
import { openS3Objects, parseS3 } from '../objects-s3.ts';
import type { ByteRanges } from '../shard/parquet-file.ts';

/** A folder that upgrade and inspect go through, of this machine or in S3: every file below it, and objects to be put there. */

export interface FolderFile {
  /** Its path below the folder, with /. */
  readonly name: string;
  /** For people: a path, or s3://BUCKET/KEY. */
  readonly path: string;
  readonly size: number;
}

export interface FilesBelow {
  /** In the order of their names' bytes. */
  readonly files: readonly FolderFile[];
  /** Links that lead to a folder or nowhere, to be named. */
  readonly odd: readonly string[];
}

export interface UpgradePlace {
  /** The whole path with links followed, or s3://BUCKET/PREFIX: one name for one folder. */
  readonly where: string;
  /** What is there: a file (an object of that very key), a folder (something below it), or nothing. */
  what(): Promise<'file' | 'folder' | 'none'>;
  /** Every file below it, links to files included. */
  files(): Promise<FilesBelow>;
  /** The one file that it is. @throws NotFound when there is none */
  file(): Promise<FolderFile>;
  /** A file below it by its name, without a look at all others. */
  find(name: string): Promise<FolderFile | undefined>;
  /** Opens a file that was listed or found for `work`, and closes it. */
  withBytes<T>(file: FolderFile, work: (bytes: WatchedBytes) => Promise<T>): Promise<T>;
  /** Objects below it, by names below it. */
  readonly objects: ListingObjectStore;
  /** Takes away what a killed process had begun to write: of this machine alone, S3 shows whole objects or none. */
  clearHalves(): Promise<void>;
  close(): void;
}

/** Bytes whose reader can tell what kept them from being read from what they are. */
export interface WatchedBytes extends ByteRanges {
  /** True for what a `range` has thrown: no finding about the bytes. */
  isUnread(error: unknown): boolean;
}

export function watched({ size, range }: ByteRanges): WatchedBytes {
  const thrown = new Set<unknown>();
  return {
    size,
    range: async (from, to) => {
      try {
        return await range(from, to);
      } catch (error) {
        thrown.add(error);
        throw error;
      }
    },
    isUnread: (error) => thrown.has(error),
  };
}

export const isS3 = (place: string): boolean => place.startsWith('s3://');

/** @param place a path, or s3://BUCKET/PREFIX; it need not be there @throws InvalidEvent when it names no bucket */
export async function openPlace(place: string): Promise<UpgradePlace> {
  return isS3(place) ? openS3Place(place) : openLocalPlace(await wholePath(resolve(place)));
}

/** True where `inner` lies below `outer`; both as an UpgradePlace says `where` it is. */
export function liesWithin(inner: string, outer: string): boolean {
  if (isS3(inner) || isS3(outer)) return isS3(outer) && inner.startsWith(`${outer}/`);
  const way = relative(outer, inner);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !way.startsWith('/');
}

/** The folder beside it with this at the end of its name. @throws InvalidEvent for a bucket, which has nothing beside it */
export function besideOf(place: string, ending: string): string {
  if (!isS3(place)) return resolve(place) + ending;
  const { bucket, prefix } = s3Parts(place);
  if (prefix === '')
    throw new InvalidEvent(`${place} is a whole bucket, with no folder beside it; say --out s3://BUCKET/PREFIX`, {
      ids: ['--out'],
    });
  return `s3://${bucket}/${prefix.slice(0, -1)}${ending}`;
}

function openLocalPlace(folder: string): UpgradePlace {
  return {
    where: folder,
    what: async () => {
      const found = await stat(folder).catch(gone);
      if (found === undefined) return 'none';
      return found.isDirectory() ? 'folder' : 'file';
    },
    files: () => filesBelow(folder),
    file: async () => {
      const found = await stat(folder).catch(gone);
      if (found === undefined) throw new NotFound(`there is no file '${folder}'`, { ids: [folder] });
      return { name: basename(folder), path: folder, size: found.size };
    },
    find: async (name) => {
      const path = join(folder, name);
      const found = await stat(path).catch(gone);
      return found?.isFile() === true ? { name, path, size: found.size } : undefined;
    },
    withBytes: withLocalBytes,
    objects: openFileObjects(folder),
    clearHalves: async () => {
      const { files } = await filesBelow(folder);
      for (const { name, path } of files) if (temporary.test(name)) await rm(path, { force: true });
    },
    close: () => {},
  };
}

async function filesBelow(folder: string): Promise<FilesBelow> {
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
  if (error.code === 'ENOENT' || error.code === 'ELOOP' || error.code === 'ENOTDIR') return undefined;
  throw error;
}

async function withLocalBytes<T>({ path, size }: FolderFile, work: (bytes: WatchedBytes) => Promise<T>): Promise<T> {
  const file = await open(path);
  try {
    const range = async (from: number, to: number): Promise<Uint8Array> => {
      const bytes = Buffer.allocUnsafeSlow(to - from);
      const { bytesRead } = await file.read(bytes, 0, to - from, from);
      if (bytesRead !== to - from) throw new Error(`${path} was written or cut while it was read; start again`);
      return bytes;
    };
    return await work(watched({ size, range }));
  } finally {
    await file.close();
  }
}

/** Where a folder is, or will be, once links above it are followed. */
async function wholePath(path: string): Promise<string> {
  const there = await realpath(path).catch(() => undefined);
  if (there !== undefined || dirname(path) === path) return there ?? path;
  return join(await wholePath(dirname(path)), basename(path));
}

/** `prefix` ends with a slash where it is not ''. @throws InvalidEvent */
function s3Parts(place: string): { readonly bucket: string; readonly prefix: string } {
  const found = parseS3(place);
  if (found === undefined)
    throw new InvalidEvent(`'${place}' names no bucket; write s3://BUCKET/PREFIX`, { ids: [place] });
  const { bucket, key: prefix } = found;
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}

function openS3Place(place: string): UpgradePlace {
  const { bucket, prefix } = s3Parts(place);
  const client = new S3Client({});
  const all = openS3Objects(bucket, client);
  const key = prefix.slice(0, -1);
  const tags = new Map<string, ListedObject>();
  const fileOf = (object: ListedObject, name: string): FolderFile => {
    const path = all.locate(object.key);
    tags.set(path, object);
    return { name, path, size: object.size };
  };
  const objectOf = async (whole: string): Promise<ListedObject | undefined> =>
    (await all.entries(whole)).find((each) => each.key === whole);
  const own = async (): Promise<ListedObject | undefined> => (key === '' ? undefined : await objectOf(key));
  const below = async (): Promise<readonly ListedObject[]> =>
    // Consoles make an empty object of the folder's own name.
    (await all.entries(prefix)).filter((each) => !(each.key.endsWith('/') && each.size === 0));
  return {
    where: `s3://${bucket}${key === '' ? '' : `/${key}`}`,
    what: async () => {
      if ((await below()).length > 0) return 'folder';
      return (await own()) === undefined ? 'none' : 'file';
    },
    files: async () => ({
      files: (await below()).map((each) => fileOf(each, each.key.slice(prefix.length))),
      odd: [],
    }),
    file: async () => {
      const found = await own();
      if (found === undefined) throw new NotFound(`there is no object '${place}'`, { ids: [place] });
      return fileOf(found, key.slice(key.lastIndexOf('/') + 1));
    },
    find: async (name) => {
      const found = await objectOf(prefix + name);
      return found && fileOf(found, name);
    },
    withBytes: async (file, work) => {
      const object = tags.get(file.path);
      if (object === undefined) throw new RangeError(`${file.path} was not listed`);
      const range = async (from: number, to: number): Promise<Uint8Array> =>
        from === to ? new Uint8Array() : await all.range(object, from, to);
      return await work(watched({ size: file.size, range }));
    },
    objects: prefixed(all, prefix),
    clearHalves: async () => {},
    close: () => client.destroy(),
  };
}

/** The objects below a prefix, by what follows it. */
function prefixed(objects: ListingObjectStore, prefix: string): ListingObjectStore {
  const plain = (key: string): string => key.slice(prefix.length);
  return {
    get: (key) => objects.get(prefix + key),
    put: (key, ...body) => objects.put(prefix + key, ...body),
    putParts: (key, ...body) => objects.putParts(prefix + key, ...body),
    create: (key, ...body) => objects.create(prefix + key, ...body),
    list: async (start) => (await objects.list(prefix + start)).map(plain),
    folders: async (start) => (await objects.folders(prefix + start)).map(plain),
    entries: async (start) =>
      (await objects.entries(prefix + start)).map((each) => ({ ...each, key: plain(each.key) })),
    range: (object, from, to) => objects.range({ ...object, key: prefix + object.key }, from, to),
    delete: (key) => objects.delete(prefix + key),
    locate: (key) => objects.locate(prefix + key),
  };
}
