import { createHash } from 'node:crypto';
import { readFile, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { Incompatible, InvalidEvent, NotFound, RunMismatch } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import { openFileObjects } from '../objects-files.ts';
import { shardFormat } from '../shard/footer.ts';
import { releaseMemory } from '../shard/parquet-wasm.ts';
import { type UpgradeMark, upgradeMark } from '../stores/files/upgraded.ts';
import { type FolderFile, filesBelow } from './folder.ts';
import { leftAside, type Made, makeFile } from './upgrade-file.ts';

/**
 * Brings a folder of shards up into another folder: a file at a time, each noted, written beside its place and renamed.
 * A call that was cut off goes on: what is as its note says is not made again. The folder itself is only read.
 */

export interface UpgradeInput {
  /** The folder with older shards, at any depth. */
  readonly folder: string;
  /** Where the new ones go: absent, empty, or of an earlier call with the same folder and rules. */
  readonly out: string;
  /** Of which names and mapping are applied; undefined: nothing but the format changes. */
  readonly rules: RunEvent | undefined;
  readonly signal: AbortSignal;
  /** After each file. */
  readonly onFile?: (file: UpgradedFile, done: number, total: number) => void;
}

export interface UpgradedFile extends Made {
  /** Its path in the folder. */
  readonly file: string;
  /** True: an earlier call has made it, and it is as it was left. */
  readonly wasThere: boolean;
}

export interface Upgraded {
  readonly out: string;
  readonly files: readonly UpgradedFile[];
  /** Files that are no data, and links that lead to none: they stay where they are. */
  readonly aside: readonly string[];
  /** True: stopped by the signal; the same call goes on. */
  readonly isStopped: boolean;
}

/** What the new folder keeps of the upgrade; readers pass by what begins with _. */
export const notesPrefix = '_upgrade/';
const begunKey = `${notesPrefix}upgrade.json`;
const noteKey = (file: string): string => `${notesPrefix}files/${file}.json`;

const begunSchema = z.strictObject({
  format: z.literal(1),
  from: z.string(),
  shardFormat: z.int(),
  /** SHA-256 of names and mapping; null where none are applied. */
  rules: z.string().nullable(),
});
type Begun = z.infer<typeof begunSchema>;

const noteSchema = z.strictObject({
  /** SHA-256 of the file that it was made of, and of what was made. */
  of: z.string(),
  checksum: z.string(),
  to: z.string(),
  how: z.enum(['upgraded', 'rewritten', 'copied']),
  format: z.int().optional(),
  records: z.int().optional(),
  left: z.int().optional(),
  what: z.string().optional(),
});

/**
 * @throws NotFound when there is no such folder; InvalidEvent when `out` lies in it or is it; Incompatible when `out` holds
 * something else; RunMismatch when it holds an upgrade of another folder, or by other rules.
 */
export async function checkFolders({
  folder,
  out,
  rules,
}: Pick<UpgradeInput, 'folder' | 'out' | 'rules'>): Promise<void> {
  const from = await folderAt(folder);
  const into = await placeAt(out);
  if (into === from || isWithin(into, from))
    throw new InvalidEvent(`--out ${out} lies in ${folder}, which stays as it is; name a folder outside of it`, {
      ids: ['--out'],
    });
  const objects = openFileObjects(into);
  const isFile = await stat(into).then(
    (found) => !found.isDirectory(),
    () => false,
  );
  const begun = isFile ? undefined : await getJson(objects, begunKey, begunSchema);
  if (begun === undefined) {
    const other = isFile ? out : (await objects.list('')).find((key) => !key.startsWith(notesPrefix));
    if (other === undefined) return;
    throw new Incompatible(
      `${out} is there and holds ${isFile ? 'no folder' : `'${other}'`}, which no upgrade wrote; name an empty folder with --out`,
      { ids: ['--out'] },
    );
  }
  const wanted = begunOf(from, rules);
  if (begun.from === wanted.from && begun.rules === wanted.rules && begun.shardFormat === wanted.shardFormat) return;
  const what = begun.from === wanted.from ? 'by other names, another mapping or another release' : `of ${begun.from}`;
  throw new RunMismatch(`${out} holds an upgrade ${what}; name another folder with --out`, { ids: ['--out'] });
}

/** @throws as checkFolders; whatever writing throws: a disk that is full. A file that cannot be brought up is named in the result instead. */
export async function upgradeFolder(input: UpgradeInput): Promise<Upgraded> {
  await checkFolders(input);
  const { folder, out, rules, signal, onFile } = input;
  const from = await folderAt(folder);
  const into = await placeAt(out);
  const objects = openFileObjects(into);
  await putJson(objects, begunKey, begunOf(from, rules));
  await clearHalves(into);
  const { files, odd } = await filesBelow(from);
  const aside = [...odd, ...files.flatMap(({ name }) => (leftAside(name) ? [name] : []))];
  const data = files.filter(({ name }) => !leftAside(name));
  const names = shardNames(data);
  const mark = async (isDone: boolean, left: readonly string[]): Promise<void> => {
    for (const place of placesOf(data.filter(({ name }) => !isOdd(name)))) {
      const below = left.filter((file) => file.startsWith(place)).slice(0, 1000);
      const said: UpgradeMark = { format: 1, from, done: isDone, left: below };
      await putJson(objects, place + upgradeMark, said);
    }
  };
  await mark(false, []);
  const done: UpgradedFile[] = [];
  for (const file of data) {
    if (signal.aborted) return { out, files: done, aside, isStopped: true };
    const made = await upgradeOne(objects, file, names.get(file.name) ?? file.name, rules);
    done.push(made);
    onFile?.(made, done.length, data.length);
  }
  const left = done.flatMap(({ file, how }) => (how === 'failed' ? [file] : []));
  await mark(true, left);
  return { out, files: done, aside, isStopped: false };
}

/** No key of an object: on Windows it would be a folder. */
const isOdd = (name: string): boolean => name.includes('\\');

/** Every folder that holds data, at any depth, with a / at its end, and the top one as ''. */
function placesOf(files: readonly FolderFile[]): ReadonlySet<string> {
  const above = files.flatMap(({ name }) => [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index + 1)));
  return new Set(['', ...above]);
}

async function upgradeOne(
  objects: ObjectStore,
  file: FolderFile,
  shardName: string,
  rules: RunEvent | undefined,
): Promise<UpgradedFile> {
  if (isOdd(file.name)) {
    const reason = `${file.path} has a backslash in its name; give it another one`;
    return { file: file.name, how: 'failed', error: 'InvalidEvent', reason, wasThere: false };
  }
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file.path);
  } catch (error) {
    // One file that the disk does not give keeps no other from being brought up.
    const reason = error instanceof Error ? error.message : String(error);
    return { file: file.name, how: 'failed', error: 'Unreadable', reason, wasThere: false };
  }
  const of = sha256(bytes);
  const note = await getJson(objects, noteKey(file.name), noteSchema);
  if (note?.of === of && (await isWhole(objects, note.to, note.checksum))) {
    const { of: _, checksum: __, ...made } = note;
    return { file: file.name, ...made, wasThere: true };
  }
  const { body, ...made } = await makeFile({ bytes, name: file.name, where: file.path, rules });
  const to = made.format === undefined ? file.name : shardName;
  if (body !== undefined && made.how !== 'failed' && made.how !== 'left out') {
    const { how, format, records, left, what } = made;
    await putJson(objects, noteKey(file.name), {
      of,
      checksum: sha256(body),
      to,
      how,
      ...(format !== undefined && { format }),
      ...(records !== undefined && { records }),
      ...(left !== undefined && { left }),
      ...(what !== undefined && { what }),
    });
    // After its note, which holds of the very bytes or of none: whenever the process dies, no file is made twice.
    await objects.put(to, body, 'application/octet-stream');
    if (body !== bytes) releaseMemory(body);
  }
  releaseMemory(bytes);
  return { file: file.name, ...made, ...(body !== undefined && { to }), wasThere: false };
}

async function isWhole(objects: ObjectStore, key: string, checksum: string): Promise<boolean> {
  const bytes = await objects.get(key);
  return bytes !== undefined && sha256(bytes) === checksum;
}

/** What the files are called as shards of the current format: JSON lines become Parquet. Where that name is taken the old one stays in it. */
function shardNames(files: readonly FolderFile[]): ReadonlyMap<string, string> {
  const taken = new Set(files.map(({ name }) => name));
  return new Map(
    files.map(({ name }) => {
      const plain = name.replace(/\.(jsonl|ndjson)$/i, '.parquet');
      const made = plain === name || !taken.has(plain) ? plain : `${name}.parquet`;
      taken.add(made);
      return [name, made];
    }),
  );
}

/** What a killed process had begun to write. */
async function clearHalves(into: string): Promise<void> {
  const { files } = await filesBelow(into);
  for (const { name, path } of files) if (/\.[0-9a-f-]{36}\.tmp$/.test(name)) await rm(path, { force: true });
}

function begunOf(from: string, rules: RunEvent | undefined): Begun {
  const applied = rules && { names: rules.names, mapping: rules.mapping };
  return { format: 1, from, shardFormat, rules: applied ? sha256(Buffer.from(JSON.stringify(applied))) : null };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** @throws NotFound, InvalidEvent */
async function folderAt(folder: string): Promise<string> {
  const found = await stat(folder).catch(() => undefined);
  if (found === undefined) throw new NotFound(`there is no folder '${folder}'`, { ids: [folder] });
  if (!found.isDirectory())
    throw new InvalidEvent(`'${folder}' is a file; name the folder that it lies in`, { ids: [folder] });
  return await realpath(folder);
}

/** Where a folder is, or will be, once links above it are followed. */
async function placeAt(path: string): Promise<string> {
  const whole = resolve(path);
  const there = await realpath(whole).catch(() => undefined);
  if (there !== undefined || dirname(whole) === whole) return there ?? whole;
  return join(await placeAt(dirname(whole)), basename(whole));
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !way.startsWith('/');
}
