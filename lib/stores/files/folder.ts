import { S3Client } from '@aws-sdk/client-s3';
import { z } from 'zod';
import { InvalidEvent } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { byBytes, type ListedObject, type ListingObjectStore, openFileObjects } from '../../objects-files.ts';
import { openS3Objects, parseS3 } from '../../objects-s3.ts';
import { collectionsOf } from '../../schema/names.ts';
import { distanceSchema, idTypeSchema } from '../../schema.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import type { ResolvedEndpoint } from '../port.ts';
import { goesWith, isData, kindOf } from './kinds.ts';

/** The files of one collection: a folder below the connection's, or one file. */
export interface Folder {
  /** Where its files lie below it, each with a / at its end: '' alone, or a folder for the stable name and each old one, in the order of names. */
  readonly parts: readonly string[];
  /** The data files, in the order of their names. Names with a part that begins with _ or . are not data, as Hive has it. */
  list(): Promise<readonly ListedObject[]>;
  /** Names of files that are neither data, nor hidden by a part that begins with _ or ., nor said of the folder by ourselves. */
  passedOver(): Promise<readonly string[]>;
  bytesOf(file: ListedObject): ByteRanges;
  get(name: string): Promise<Uint8Array | undefined>;
  put(name: string, body: Uint8Array | string, contentType: string): Promise<void>;
  /** Everything in it whose name begins so, data or not. */
  under(prefix: string): Promise<readonly ListedObject[]>;
  delete(name: string): Promise<void>;
  /** For people. */
  locate(name: string): string;
  close(): void;
}

/** What a target can write. */
export const fileFormatSchema = z.enum(['parquet', 'jsonl', 'arrow', 'numpy']);

export const filesOptions = z.strictObject({
  /** What a target writes. */
  format: fileFormatSchema.default('parquet'),
  /** Of Parquet: our own shards, with a checksum; or a column a payload field, for people who use pandas or DuckDB. Arrow has columns. */
  layout: z.enum(['shard', 'columns']).default('shard'),
  /** How columns hold vectors: as lists, which every reader has, or as lists of a fixed size. */
  lists: z.enum(['list', 'fixed']).default('list'),
  /** The column or field that holds the id, in files that vecferry did not write. */
  id: z.string().min(1).default('id'),
  /** What ids are, where the first records do not tell. */
  idType: idTypeSchema.optional(),
  /** The columns or fields that are vectors; left out: all lists of floats of one length. */
  vectors: z.array(z.string()).optional(),
  /** The column whose members are the payload: a struct, a map or JSON text; left out: every other column is a field of it. */
  payload: z.string().min(1).optional(),
  /** Files do not say how their vectors are compared; left out: the mapping or the target's default decides. */
  distance: distanceSchema.optional(),
  /** The file whose schema is the collection's, where files have several; left out: the first by name. */
  schemaOf: z.string().min(1).optional(),
});
export type FilesOptions = z.infer<typeof filesOptions>;

/** @throws InvalidEvent when the connection is neither {"path"} nor {"url": "s3://…"}, or the collection leads out of it. */
export function openFolder({ connection, collection, names }: ResolvedEndpoint): Folder {
  const collections = collectionsOf(collection, names);
  if (collections.length === 1) return openOne({ connection, collection });
  return joinFolders(
    collections.map((each) => ({ part: `${each}/`, folder: openOne({ connection, collection: each }) })),
  );
}

function openOne({ connection, collection }: Pick<ResolvedEndpoint, 'connection' | 'collection'>): Folder {
  const parts = collection.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..'))
    throw new InvalidEvent(`collection '${collection}' leads out of its folder`, { ids: [collection] });
  if (connection.path !== undefined)
    return folderOf(openFileObjects(connection.path), parts, connection.path, () => {});
  const place = connection.url === undefined ? undefined : parseS3(connection.url);
  if (place === undefined) {
    throw new InvalidEvent('the files store needs connection {"path": FOLDER} or {"url": "s3://BUCKET/PREFIX"}');
  }
  const { bucket, key } = place;
  const prefix = key.split('/').filter((part) => part !== '');
  const client = new S3Client({});
  const root = `s3://${bucket}`;
  return folderOf(openS3Objects(bucket, client), [...prefix, ...parts], root, () => client.destroy());
}

/** The options of an event. @throws InvalidEvent */
export function parseFilesOptions(options: unknown): FilesOptions {
  return parseAs(filesOptions, options ?? {}, "the options object of store 'files'", InvalidEvent);
}

/** @param root what the folder of no parts is called */
function folderOf(objects: ListingObjectStore, parts: readonly string[], root: string, close: () => void): Folder {
  const last = parts.at(-1);
  const only = last !== undefined && kindOf(last) !== undefined ? last : undefined;
  const prefix = (only === undefined ? parts : parts.slice(0, -1)).map((part) => `${part}/`).join('');
  const isHidden = (name: string): boolean => name.split('/').some((part) => /^[_.]/.test(part));
  const isOurs = (name: string): boolean => isData(name) && !isHidden(name);
  return {
    parts: [''],
    list: async () => {
      const found = await objects.entries(prefix);
      const named = found.map((each) => ({ ...each, key: each.key.slice(prefix.length) }));
      if (only === undefined) return named.filter(({ key }) => isOurs(key));
      const file = named.filter(({ key }) => key === only || goesWith(only, key));
      // A folder may be named as a file is: Spark and pandas write `words.parquet/part-0.parquet`.
      return file.some(({ key }) => key === only)
        ? file
        : named.filter(({ key }) => key.startsWith(`${only}/`) && isOurs(key));
    },
    passedOver: async () => {
      if (only !== undefined) return [];
      const names = (await objects.entries(prefix)).map(({ key }) => key.slice(prefix.length));
      return names.filter((name) => !isData(name) && !isHidden(name) && !/(^|\/)(collection\.json|)$/.test(name));
    },
    bytesOf: (file) => {
      const object = { ...file, key: prefix + file.key };
      return {
        size: file.size,
        range: async (from, to) => (from === to ? new Uint8Array() : await objects.range(object, from, to)),
      };
    },
    get: (name) => objects.get(prefix + name),
    put: (name, body, contentType) => objects.put(prefix + name, body, contentType),
    under: async (start) =>
      (await objects.entries(prefix + start)).map((each) => ({ ...each, key: each.key.slice(prefix.length) })),
    delete: (name) => objects.delete(prefix + name),
    locate: (name) => (prefix + name === '' ? root : objects.locate(prefix + name)),
    close,
  };
}

interface Part {
  readonly part: string;
  readonly folder: Folder;
}

/** One collection that was written under several names. What is no name of a file below one of them is the first folder's. */
function joinFolders(parts: readonly Part[]): Folder {
  const [first] = parts;
  if (first === undefined) throw new InvalidEvent('the files store needs a folder');
  const at = (name: string): Part & { readonly rest: string } => {
    const found = parts.find(({ part }) => name.startsWith(part));
    return found === undefined ? { ...first, rest: name } : { ...found, rest: name.slice(found.part.length) };
  };
  const listed = async (list: (folder: Folder) => Promise<readonly ListedObject[]>): Promise<ListedObject[]> => {
    const all = await Promise.all(
      parts.map(async ({ part, folder }) => (await list(folder)).map((each) => ({ ...each, key: part + each.key }))),
    );
    return all.flat().sort((a, b) => byBytes(a.key, b.key));
  };
  return {
    parts: parts.map(({ part }) => part),
    list: async () => await listed((folder) => folder.list()),
    passedOver: async () =>
      (
        await Promise.all(parts.map(async ({ part, folder }) => (await folder.passedOver()).map((name) => part + name)))
      ).flat(),
    bytesOf: (file) => {
      const { folder, rest } = at(file.key);
      return folder.bytesOf({ ...file, key: rest });
    },
    get: (name) => at(name).folder.get(at(name).rest),
    put: (name, ...body) => at(name).folder.put(at(name).rest, ...body),
    under: async (start) => await at(start).folder.under(at(start).rest),
    delete: (name) => at(name).folder.delete(at(name).rest),
    locate: (name) => at(name).folder.locate(at(name).rest),
    close: () => {
      for (const { folder } of parts) folder.close();
    },
  };
}
