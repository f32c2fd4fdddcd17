import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { z } from 'zod';
import { Incompatible, NotFound, StoreUnavailable, type VecferryError } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { isAlive, thisProcess } from '../../process-owner.ts';

/**
 * Backups on this machine's disk: `DIR/backups/ID/backup.json` beside the files of its parts. It is written as `ID.part` and renamed once
 * every file is on the disk and was read back, so a folder without that ending is a whole backup.
 */

const partSchema = z.strictObject({
  /** The store, by the name that the team's files call it. */
  store: z.string(),
  kind: z.enum(['pg_dump', 'qdrant snapshot', 'qdrant collections', 'records', 'directory']),
  /** `database articles`, `collection words`. */
  what: z.string(),
  /** A file or folder below the backup's own. */
  where: z.string().refine((path) => !path.startsWith('/') && !path.split(/[\\/]/).includes('..'), 'leaves the backup'),
  bytes: z.int().nonnegative(),
  /** SHA-256, hex; of a folder over its files' names and sums. */
  checksum: z.string(),
  /** Server and database, without credentials: a backup of one place is not restored into another. */
  place: z.string(),
  /** What is counted again after a restore. */
  counts: z.record(z.string(), z.int().nonnegative()),
  /** Of a server of which not every collection is kept: the names that are, aliases among them. A restore leaves all others alone. */
  only: z.array(z.string()).exactOptional(),
  /** Of a Qdrant snapshot: what the restored collection is held against, which stands in the part `qdrant collections`. */
  contents: z
    .strictObject({
      /** SHA-256, hex, of the sums over all records. */
      hash: z.string(),
      records: z.int().nonnegative(),
      /** Records of these that are held by the snapshot's checksum alone. */
      unproven: z.int().nonnegative(),
      /** Why, for people. */
      doubt: z.string().optional(),
    })
    .optional(),
});
export type BackupPart = z.infer<typeof partSchema>;

export const backupSchema = z.strictObject({
  format: z.literal(1),
  id: z.string(),
  at: z.string(),
  reason: z.string(),
  seq: z.int().nonnegative(),
  parts: z.array(partSchema),
  /** SHA-256, hex, of the JSON of all that stands before it: checksumOf. */
  checksum: z.string(),
});
/** A backup of the stores that migrations change: pg_dump of PostgreSQL, a snapshot a collection of Qdrant, a copy of a folder. */
export type Backup = z.infer<typeof backupSchema>;

const unfinished = '.part';
export const backupsIn = (directory: string): string => join(resolve(directory), 'backups');

/**
 * All that were finished, oldest first.
 * @param onDamaged told of each whose backup.json cannot be read or was altered; left out: the first of them is thrown
 * @throws Incompatible, NotFound
 */
export async function readBackups(
  directory: string,
  onDamaged: (id: string, error: VecferryError) => void = (_, error) => {
    throw error;
  },
): Promise<readonly Backup[]> {
  const root = backupsIn(directory);
  const names = await readdir(root, { withFileTypes: true }).catch(absent);
  const ids = (names ?? []).flatMap((each) => (each.isDirectory() && !each.name.endsWith(unfinished) ? each.name : []));
  const backups: Backup[] = [];
  for (const id of ids.sort()) {
    try {
      backups.push(await readBackup(directory, id));
    } catch (error) {
      // NotFound: a folder without its backup.json.
      if (!(error instanceof Incompatible || error instanceof NotFound)) throw error;
      onDamaged(id, error);
    }
  }
  return backups.sort((a, b) => (a.at < b.at ? -1 : 1));
}

/** @throws NotFound when there is no such backup, naming those there are. */
export async function readBackup(directory: string, id: string): Promise<Backup> {
  const root = backupsIn(directory);
  const isName = /^[\w.-]+$/.test(id) && !id.startsWith('.') && !id.endsWith(unfinished);
  const text = isName ? await readFile(join(root, id, 'backup.json'), 'utf8').catch(absent) : undefined;
  if (text === undefined) {
    const there = ((await readdir(root).catch(absent)) ?? [])
      .filter((name) => !/\.(part|json|half)$/.test(name))
      .sort();
    const list = there.length === 0 ? 'there are none' : `there are ${there.slice(-10).join(', ')}`;
    throw new NotFound(`there is no backup '${id}' in ${root}; ${list}`, { ids: [id] });
  }
  const json = parseJson(text, id);
  const backup = parseAs(backupSchema, json, `backup ${id}: its backup.json`, Incompatible);
  if (backup.id === id && backup.checksum === checksumOf(json)) return backup;
  throw new Incompatible(
    `backup ${id}: its backup.json was altered, or its folder renamed from ${backup.id}: its checksum is another; nothing was restored`,
    { ids: [id] },
  );
}

/** Of what its JSON says, whatever the spaces: what every other checksum of the backup hangs on. */
function checksumOf(backup: unknown): string {
  const { checksum: _, ...others } = Object(backup);
  return createHash('sha256').update(JSON.stringify(others)).digest('hex');
}

function parseJson(text: string, id: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Incompatible(`backup ${id}: its backup.json is no JSON; it was altered, and is not restored`, { cause });
  }
}

/**
 * Holds every file of a backup against its size and sum.
 * @throws Incompatible naming the first that differs; nothing may be restored then.
 */
export async function verifyBackup(directory: string, backup: Backup): Promise<void> {
  for (const part of backup.parts) {
    const found = await sumOf(pathOfPart(directory, backup, part)).catch((cause: unknown) => {
      throw new Incompatible(`backup ${backup.id}: ${part.where} cannot be read; nothing was restored`, { cause });
    });
    if (found.bytes !== part.bytes || found.checksum !== part.checksum)
      throw new Incompatible(
        `backup ${backup.id}: ${part.where} was altered: it has ${found.bytes} bytes with SHA-256 ${found.checksum}, and was written with ${part.bytes} and ${part.checksum}; nothing was restored, take another backup`,
      );
  }
}

export function pathOfPart(directory: string, { id }: Backup, { where }: BackupPart): string {
  return join(backupsIn(directory), id, where);
}

export async function deleteBackup(directory: string, { id }: Backup): Promise<void> {
  const folder = join(backupsIn(directory), id);
  // Renamed first: one that is half deleted must not count as a backup.
  await rename(folder, `${folder}${unfinished}`);
  await rm(`${folder}${unfinished}`, { recursive: true, force: true });
}

export const sizeOf = ({ parts }: Backup): number => parts.reduce((sum, { bytes }) => sum + bytes, 0);

/** Writes a backup: `fill` makes its files in the folder it is given. What was half made is taken away. */
export async function writeBackup(
  directory: string,
  about: Pick<Backup, 'reason' | 'seq'>,
  fill: (folder: string) => Promise<readonly BackupPart[]>,
  tell: (line: string) => void = () => undefined,
): Promise<Backup> {
  const root = backupsIn(directory);
  await mkdir(root, { recursive: true, mode: 0o700 });
  for (const name of await deadIn(root)) {
    await rm(join(root, name), { recursive: true, force: true });
    tell(`${name}, which a process that was killed had begun, is deleted`);
  }
  const at = new Date();
  const { id, folder } = await claim(root, at, about.reason);
  try {
    const parts = await fill(folder);
    const said = { format: 1 as const, id, at: at.toISOString(), ...about, parts: [...parts] };
    const backup: Backup = { ...said, checksum: checksumOf(said) };
    await writeFile(join(folder, 'backup.json'), `${JSON.stringify(backup, null, 2)}\n`);
    await syncAll(folder);
    await rm(join(folder, ownerFile));
    await rename(folder, join(root, id));
    await syncFolder(root);
    return backup;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw roomError(error);
  }
}

const ownerFile = 'owner';

async function claim(root: string, at: Date, reason: string): Promise<{ id: string; folder: string }> {
  const time = at.toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
  const words = reason
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 24)
    .replace(/-$/, '');
  for (let more = 1; ; more++) {
    const id = `${time}-${words}${more === 1 ? '' : `-${more}`}`;
    const folder = join(root, `${id}${unfinished}`);
    const isTaken = await stat(join(root, id)).then(
      () => true,
      () => false,
    );
    if (!isTaken && (await tryMake(folder))) {
      await writeFile(join(folder, ownerFile), thisProcess);
      return { id, folder };
    }
  }
}

async function tryMake(folder: string): Promise<boolean> {
  try {
    // What is in a backup is as secret as the database.
    await mkdir(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    if (Object(error).code === 'EEXIST') return false;
    throw error;
  }
}

/** What killed processes left, by its name: as large as a database, and of no use. The next backup takes it away. */
export async function unfinishedBackups(directory: string): Promise<readonly string[]> {
  const root = backupsIn(directory);
  return (await stat(root).catch(absent)) === undefined ? [] : await deadIn(root);
}

async function deadIn(root: string): Promise<readonly string[]> {
  const dead: string[] = [];
  for (const name of (await readdir(root)).sort()) {
    if (!name.endsWith(unfinished)) continue;
    const owner = await readFile(join(root, name, ownerFile), 'utf8').catch(absent);
    // Without one it was made a moment ago, or its end was near when it was killed.
    if (owner === undefined ? await isOld(join(root, name)) : !isAlive(owner)) dead.push(name);
  }
  return dead;
}

async function isOld(path: string): Promise<boolean> {
  const found = await stat(path).catch(absent);
  return found !== undefined && Date.now() - found.mtimeMs > 60_000;
}

/** @throws StoreUnavailable when the disk has less room than `bytes`. */
export async function requireRoom(folder: string, bytes: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new StoreUnavailable(
    `${what} may take ${megabytes(bytes)}, and the disk of ${folder} has ${megabytes(free)} free; nothing was begun: make room, or keep backups elsewhere with --dir`,
  );
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/** Size and SHA-256 of a file, or of a folder: over a line `sum  name` for each of its files, by name. */
export async function sumOf(path: string): Promise<{ readonly bytes: number; readonly checksum: string }> {
  if (!(await stat(path)).isDirectory()) return await sumOfFile(path);
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name))
    .sort();
  const hash = createHash('sha256');
  let bytes = 0;
  for (const file of files) {
    const sum = await sumOfFile(file);
    bytes += sum.bytes;
    hash.update(`${sum.checksum}  ${file.slice(path.length + 1).replaceAll(sep, '/')}\n`);
  }
  return { bytes, checksum: hash.digest('hex') };
}

async function sumOfFile(path: string): Promise<{ readonly bytes: number; readonly checksum: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, checksum: hash.digest('hex') };
}

async function syncAll(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const each of entries) if (each.isFile()) await syncFolder(join(each.parentPath, each.name));
  await syncFolder(folder);
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function roomError(error: unknown): unknown {
  if (Object(error).code !== 'ENOSPC') return error;
  return new StoreUnavailable('the disk became full while the backup was written; what was written is taken away', {
    cause: error,
  });
}

function absent(error: unknown): undefined {
  if (Object(error).code === 'ENOENT') return undefined;
  throw error;
}
