import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Incompatible, InvalidEvent, NotFound, RunMismatch, VecferryError } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import { getJson, putJson } from '../objects.ts';
import { changedWhileRead } from '../objects-files.ts';
import { shardFormat } from '../shard/footer.ts';
import type { ByteRanges } from '../shard/parquet-file.ts';
import { releaseMemory } from '../shard/parquet-wasm.ts';
import { type UpgradeMark, upgradeMark } from '../stores/files/upgraded.ts';
import { plural } from '../words.ts';
import { type FolderFile, isS3, liesWithin, openPlace, type UpgradePlace, type WatchedBytes } from './folder.ts';
import { leftAside, type Made, makeFile } from './upgrade-file.ts';

/**
 * Brings a folder of shards up into another folder, each of this machine or in S3: a file at a time, each noted, and whole or
 * absent. A call that was cut off goes on: what is as its note says is not made again. The folder itself is only read.
 */

export interface UpgradeInput {
  /** The folder with older shards, at any depth: a path, or s3://BUCKET/PREFIX. */
  readonly folder: string;
  /** Where the new ones go: absent, empty, or of an earlier call with the same folder and rules. A path or s3://BUCKET/PREFIX. */
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
  /** Where it failed: what an earlier call made of what the file was then, and what is still there. It may be the last whole copy. */
  readonly earlier?: string;
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
export async function checkFolders(input: Pick<UpgradeInput, 'folder' | 'out' | 'rules'>): Promise<void> {
  await withPlaces(input, async (from, into) => check(input, from, into));
}

type Given = Pick<UpgradeInput, 'folder' | 'out' | 'rules'>;

async function withPlaces<T>(
  { folder, out }: Given,
  work: (from: UpgradePlace, into: UpgradePlace) => Promise<T>,
): Promise<T> {
  const from = await openPlace(folder);
  const into = await openPlace(out);
  try {
    return await work(from, into);
  } finally {
    from.close();
    into.close();
  }
}

async function check({ folder, out, rules }: Given, from: UpgradePlace, into: UpgradePlace): Promise<void> {
  const what = await from.what();
  if (what === 'none') throw new NotFound(`there is no folder '${folder}'`, { ids: [folder] });
  if (what === 'file')
    throw new InvalidEvent(`'${folder}' is a file; name the folder that it lies in`, { ids: [folder] });
  if (into.where === from.where || liesWithin(into.where, from.where))
    throw new InvalidEvent(`--out ${out} lies in ${folder}, which stays as it is; name a folder outside of it`, {
      ids: ['--out'],
    });
  const isFile = (await into.what()) === 'file';
  const begun = isFile ? undefined : await getJson(into.objects, begunKey, begunSchema);
  if (begun === undefined) {
    const there = isFile ? [out] : await into.objects.list('');
    // Consoles make an empty object of a folder's own name.
    const other = there.find((key) => key !== '' && !key.startsWith(notesPrefix));
    if (other === undefined) return;
    throw new Incompatible(
      `${out} is there and holds ${isFile ? 'no folder' : `'${other}'`}, which no upgrade wrote; name an empty folder with --out`,
      { ids: ['--out'] },
    );
  }
  const wanted = begunOf(from.where, rules);
  if (begun.from === wanted.from && begun.rules === wanted.rules && begun.shardFormat === wanted.shardFormat) return;
  const other = begun.from === wanted.from ? 'by other names, another mapping or another release' : `of ${begun.from}`;
  throw new RunMismatch(`${out} holds an upgrade ${other}; name another folder with --out`, { ids: ['--out'] });
}

/** @throws as checkFolders; whatever writing throws: a disk that is full. A file that cannot be brought up is named in the result instead. */
export async function upgradeFolder(input: UpgradeInput): Promise<Upgraded> {
  return await withPlaces(input, async (from, into) => upgrade(input, from, into));
}

async function upgrade(input: UpgradeInput, from: UpgradePlace, into: UpgradePlace): Promise<Upgraded> {
  await check(input, from, into);
  const { out, rules, signal, onFile } = input;
  const { objects } = into;
  const { files, odd } = await from.files();
  const aside = [...odd, ...files.flatMap(({ name }) => (leftAside(name) ? [name] : []))];
  const data = files.filter(({ name }) => !leftAside(name));
  const names = shardNames(data);
  if (!isS3(into.where)) refuseFileAndFolder(data, names, from);
  await refuseLeftovers(data, names, from, into);
  await putJson(objects, begunKey, begunOf(from.where, rules));
  await into.clearHalves();
  const taken = new Set(data.map(({ name }) => names.get(name) ?? name));
  const mark = async (isDone: boolean, left: readonly string[]): Promise<void> => {
    for (const place of placesOf(data.filter(({ name }) => oddName(name) === undefined))) {
      const below = left.filter((file) => file.startsWith(place)).slice(0, 1000);
      const said: UpgradeMark = { format: 1, from: from.where, done: isDone, left: below };
      await putJson(objects, place + upgradeMark, said);
    }
  };
  await mark(false, []);
  const done: UpgradedFile[] = [];
  for (const file of data) {
    if (signal.aborted) return { out, files: done, aside, isStopped: true };
    const made = await withEarlier(
      into,
      await upgradeOne({ from, into, rules, taken }, file, names.get(file.name) ?? file.name),
    );
    done.push(made);
    onFile?.(made, done.length, data.length);
  }
  const left = done.flatMap(({ file, how, earlier }) =>
    how === 'failed' ? [earlier === undefined ? file : `${file} (${earlier} is of what it was before)`] : [],
  );
  await mark(true, left);
  return { out, files: done, aside, isStopped: false };
}

/** A file that failed, with what is told of an earlier shard of it: a run over the new folder would read that. */
async function withEarlier(into: UpgradePlace, made: UpgradedFile): Promise<UpgradedFile> {
  if (made.how !== 'failed' || oddName(made.file) !== undefined) return made;
  const note = await getJson(into.objects, noteKey(made.file), noteSchema);
  if (note === undefined || (await into.find(note.to)) === undefined) return made;
  const reason = `${made.reason}. ${note.to} in ${into.where} is of what the file was before, and stays: delete it there if it is not to be read`;
  return { ...made, reason, earlier: note.to };
}

/** S3 has keys `a` and `a/b` side by side; on a disk `a` is a file or a folder. @throws Incompatible before anything is written */
function refuseFileAndFolder(
  data: readonly FolderFile[],
  names: ReadonlyMap<string, string>,
  { where }: UpgradePlace,
): void {
  const made = data.filter(({ name }) => oddName(name) === undefined).map(({ name }) => names.get(name) ?? name);
  const folders = placesOf(made.map((name) => ({ name })));
  const both = made.filter((name) => folders.has(`${name}/`));
  if (both.length === 0) return;
  throw new Incompatible(
    `${where} holds ${namesOf(both)} both as an object and as a folder, which no disk can: name an --out in S3, or give the ${plural(both.length, 'object')} another key`,
    { ids: both },
  );
}

/**
 * What an earlier call made of a file that is gone since, or has another name now: left where it is, its records would be read once more,
 * or against somebody's will. @throws RunMismatch before anything is written
 */
async function refuseLeftovers(
  data: readonly FolderFile[],
  names: ReadonlyMap<string, string>,
  from: UpgradePlace,
  into: UpgradePlace,
): Promise<void> {
  const there = new Set(data.map(({ name }) => name));
  const claimed = new Set(data.flatMap(({ name }) => [names.get(name) ?? name]));
  const start = noteKey('').slice(0, -'.json'.length);
  const left: string[] = [];
  for (const key of (await into.what()) === 'folder' ? await into.objects.list(start) : []) {
    const file = key.slice(start.length, -'.json'.length);
    if (there.has(file)) continue;
    const note = await getJson(into.objects, key, noteSchema);
    // Deleted by hand, or to be made anew of another file.
    if (note === undefined || claimed.has(note.to) || (await into.find(note.to)) === undefined) continue;
    left.push(`${note.to} (of ${file})`);
  }
  if (left.length === 0) return;
  throw new RunMismatch(
    `${into.where} holds ${namesOf(left)}, made of what is no longer in ${from.where}: renamed there, its records would be here twice. Delete it in ${into.where}, put the file back, or name another folder with --out`,
    { ids: left },
  );
}

const namesOf = (names: readonly string[]): string =>
  names.slice(0, 10).join(', ') + (names.length > 10 ? `, … (${names.length})` : '');

/** Why a file of this name cannot stand in a folder of every kind, where it cannot: S3 has keys that are no paths. */
function oddName(name: string): string | undefined {
  if (name.includes('\\')) return 'has a backslash in its name';
  const isPath = name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  return isPath ? undefined : 'has a name with an empty part, . or .. between slashes';
}

/** Every folder that holds data, at any depth, with a / at its end, and the top one as ''. */
function placesOf(files: readonly Pick<FolderFile, 'name'>[]): ReadonlySet<string> {
  const above = files.flatMap(({ name }) => [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index + 1)));
  return new Set(['', ...above]);
}

interface Way {
  readonly from: UpgradePlace;
  readonly into: UpgradePlace;
  readonly rules: RunEvent | undefined;
  /** What shards are called in the new folder. */
  readonly taken: ReadonlySet<string>;
}

/** What is not larger is read once, and held; shards are of 64 MiB unless an event says otherwise. */
const maxHeldBytes = 128 * 1024 * 1024;

async function upgradeOne(way: Way, file: FolderFile, shardName: string): Promise<UpgradedFile> {
  const failed = (error: string, reason: string): UpgradedFile => ({
    file: file.name,
    how: 'failed',
    error,
    reason,
    wasThere: false,
  });
  const odd = oddName(file.name);
  if (odd !== undefined) return failed('InvalidEvent', `${file.path} ${odd}; give it another one`);
  let isRead = (_: unknown): boolean => false;
  try {
    return await way.from.withBytes(file, async (bytes) => {
      isRead = (error) => !bytes.isUnread(error);
      if (file.size > maxHeldBytes) return await bringOver(way, file, bytes, shardName);
      const held = await bytes.range(0, file.size);
      const range = async (from: number, to: number): Promise<Uint8Array> => held.subarray(from, to);
      const made = await bringOver(way, file, { ...bytes, range }, shardName);
      releaseMemory(held);
      return made;
    });
  } catch (error) {
    // One file that the disk or S3 does not open or give keeps no other from being brought up. What cannot be written ends the call.
    if (isRead(error)) throw error;
    const name = error instanceof VecferryError ? error.name : 'Unreadable';
    return failed(name, error instanceof Error ? error.message : String(error));
  }
}

async function bringOver(way: Way, file: FolderFile, bytes: WatchedBytes, shardName: string): Promise<UpgradedFile> {
  const { into, rules } = way;
  const { objects } = into;
  const of = await hashOf(bytes);
  const there = await madeBefore(way, file.name, of, shardName);
  if (there !== undefined) return { file: file.name, ...there, wasThere: true };
  const { body, ...made } = await makeFile({ bytes, name: file.name, where: file.path, rules });
  const to = made.format === undefined ? file.name : shardName;
  if (body !== undefined && made.how !== 'failed' && made.how !== 'left out') {
    const { how, format, records, left, what } = made;
    await putJson(objects, noteKey(file.name), {
      of,
      checksum: body === 'as it is' ? of : sha256(body),
      to,
      how,
      ...(format !== undefined && { format }),
      ...(records !== undefined && { records }),
      ...(left !== undefined && { left }),
      ...(what !== undefined && { what }),
    });
    // After its note, which holds of the very bytes or of none: whenever the process dies, no file is made twice.
    if (body === 'as it is') {
      if (bytes.size > maxHeldBytes) await objects.putParts(to, bytes.size, sameParts(bytes, of, file.path));
      else await objects.put(to, await bytes.range(0, bytes.size));
    } else {
      await objects.put(to, body, 'application/octet-stream');
      releaseMemory(body);
    }
  }
  return { file: file.name, ...made, ...(body !== undefined && { to }), wasThere: false };
}

/** What an earlier call made of the file with this hash, where it is as it was left, and no other file is to be put in its place. */
async function madeBefore(
  { into, taken }: Way,
  name: string,
  hash: string,
  shardName: string,
): Promise<Made | undefined> {
  const note = await getJson(into.objects, noteKey(name), noteSchema);
  if (note?.of !== hash) return undefined;
  // A file that came since may have the name under which this one was made.
  if (note.to !== shardName && note.to !== name && taken.has(note.to)) return undefined;
  const { of: _, checksum, ...made } = note;
  return (await isWhole(into, note.to, checksum)) ? made : undefined;
}

async function isWhole(into: UpgradePlace, name: string, checksum: string): Promise<boolean> {
  const file = await into.find(name);
  return file !== undefined && (await into.withBytes(file, hashOf)) === checksum;
}

const partBytes = 8 * 1024 * 1024;

async function* partsOf({ size, range }: ByteRanges): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; at += partBytes) yield await range(at, Math.min(size, at + partBytes));
}

/** @throws StoreUnavailable, after the last part and before the object is whole, when the file is no longer the one that the hash is of */
async function* sameParts(bytes: ByteRanges, hash: string, where: string): AsyncGenerator<Uint8Array> {
  const found = createHash('sha256');
  for await (const part of partsOf(bytes)) {
    found.update(part);
    yield part;
  }
  if (found.digest('hex') !== hash) throw changedWhileRead(where);
}

/** SHA-256, hex; a part of it is in memory. */
async function hashOf(bytes: ByteRanges): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of partsOf(bytes)) hash.update(part);
  return hash.digest('hex');
}

/** What the files are called as shards of the current format: JSON lines become Parquet. Where that name is taken the old one stays in it. */
function shardNames(files: readonly FolderFile[]): ReadonlyMap<string, string> {
  // A folder may be called as a file: Spark and pandas write words.parquet/part-0.parquet.
  const folders = [...placesOf(files)].map((place) => place.slice(0, -1));
  const taken = new Set([...files.map(({ name }) => name), ...folders]);
  return new Map(
    files.map(({ name }) => {
      const plain = name.replace(/\.(jsonl|ndjson)$/i, '.parquet');
      const made = plain === name || !taken.has(plain) ? plain : `${name}.parquet`;
      taken.add(made);
      return [name, made];
    }),
  );
}

function begunOf(from: string, rules: RunEvent | undefined): Begun {
  const applied = rules && { names: rules.names, mapping: rules.mapping };
  return { format: 1, from, shardFormat, rules: applied ? sha256(Buffer.from(JSON.stringify(applied))) : null };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
