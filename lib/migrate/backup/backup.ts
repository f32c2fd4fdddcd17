import { Incompatible, InvalidEvent, NotFound } from '../../errors.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import { openApi } from '../../stores/chroma.ts';
import type { ResolvedConnection } from '../../stores/port.ts';
import { addressesOf } from '../../stores/qdrant.ts';
import { postgresHistory } from '../history-postgres.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore } from '../port.ts';
import { historyNumber, nextSeq } from '../standing.ts';
import { type ChromaPlace, exportChroma, restoreChroma } from './chroma-backup.ts';
import { type Backup, type BackupPart, pathOfPart, readBackup, verifyBackup, writeBackup } from './folder.ts';
import { copyFolder, exists, restoreFolder, settleFolder } from './folder-backup.ts';
import { dumpDatabase, type PgPlace } from './pg-backup.ts';
import { type HeldDatabase, holdDatabase } from './pg-restore.ts';
import { restoreServer, snapshotServer } from './qdrant-backup.ts';
import type { QdrantPlace } from './qdrant-requests.ts';
import { widened } from './scope.ts';
import { endRestore, noteRestore } from './unfinished.ts';

/** The safety net of ordered migrations: what is there now, kept on this machine's disk, and brought back by command. docs/migrations.md. */

export type { Backup } from './folder.ts';

export interface BackupInput {
  readonly config: MigrateConfig;
  /** Where runs are kept on this machine (--dir); backups are below it, in `backups/`. */
  readonly directory: string;
  /** Why: `before up to 009`, `by hand`. */
  readonly reason: string;
  /** The last line of the history; 0: there is none. */
  readonly seq: number;
  /** The folder of pg_dump, pg_restore and psql; left out: VECFERRY_PG_BIN, then the PATH. */
  readonly pgBin?: string | undefined;
  /** What was found of commands that were killed, and put right, a line each. */
  readonly tell?: (line: string) => void;
}

/**
 * Keeps what every store holds, as it is now: each store at one moment of its own.
 *
 * @throws NotFound when pg_dump is not there, saying how to get it; Incompatible where a store has no backups: nothing is migrated then;
 * StoreUnavailable when the disk has no room. Nothing of a backup that failed is left.
 */
export async function makeBackup(input: BackupInput): Promise<Backup> {
  return await backupOf(input);
}

/** @param before the backup that is to be restored after this one: a folder that is lost is no reason to refuse, it is what one restores for */
async function backupOf(
  { config, directory, reason, seq, pgBin, tell = () => undefined }: BackupInput,
  before?: Backup,
): Promise<Backup> {
  const stores = [...config.stores.values()];
  for (const store of stores) requireWay(store);
  const fill = async (folder: string): Promise<readonly BackupPart[]> => {
    const parts: BackupPart[] = [];
    for (const store of stores) parts.push(...(await partsOf(store, { folder, pgBin, tell, before })));
    return parts;
  };
  return await writeBackup(directory, { reason, seq }, fill, tell);
}

export interface RestoreInput extends Omit<BackupInput, 'reason'> {
  readonly id: string;
  /** Who, for the history. */
  readonly by: string;
  /** Restores into another database or server than the backup's. */
  readonly elsewhere?: boolean;
  /** Leaves out who owns what and who may do what: the roles of another server. Whoever restores owns all of it then. */
  readonly noOwner?: boolean;
  /** Drops collections that were made since the backup, too; tables always go. */
  readonly dropNew?: boolean;
  /** Writes the line of the history where that is no table of a database that is restored. */
  readonly append: (entry: Omit<HistoryEntry, 'seq'>) => Promise<void>;
}

export interface Restored {
  /** The backup that was made first, of what was there. */
  readonly first: Backup;
  /** What was made since and is left, a line each. */
  readonly left: readonly string[];
}

/**
 * Brings everything back to what a backup holds, after it has made one of what is there now. Databases come last, each in one transaction
 * with the history's line, so that the history tells the truth whenever this ends. Started again, it does all of it again.
 *
 * @throws NotFound or Incompatible before anything is touched: there is no such backup, a file of it was altered, it is another place's
 */
export async function restoreBackup(input: RestoreInput): Promise<Restored> {
  const {
    config,
    directory,
    id,
    pgBin,
    elsewhere = false,
    noOwner = false,
    dropNew = false,
    tell = () => undefined,
  } = input;
  const started = Date.now();
  const backup = await readBackup(directory, id);
  await verifyBackup(directory, backup);
  const stores = new Map(backup.parts.map((part) => [part.store, storeOf(config, part)]));
  for (const [name, store] of stores) await requirePlace(store, partsIn(backup, name), elsewhere);
  const names = [...stores.keys()];
  const dumps = backup.parts.filter(({ kind }) => kind === 'pg_dump');
  const line = (): Omit<HistoryEntry, 'seq'> => ({
    number: historyNumber,
    name: backup.id,
    checksum: '',
    action: 'restored',
    at: new Date().toISOString(),
    by: input.by,
    milliseconds: Date.now() - started,
    detail: `backup ${backup.id}`,
    standsAt: backup.seq,
  });

  const held: { readonly part: BackupPart; readonly database: HeldDatabase }[] = [];
  const restore = async (): Promise<Restored> => {
    tell('a backup of what is there now is made first');
    const reason = `before restoring ${id}`;
    const first = await backupOf({ config, directory, pgBin, seq: input.seq, reason, tell }, backup);
    // Known from here on, also to whoever comes after a process that is killed.
    tell(`what is there now is backup ${first.id}`);
    // One database alone is one transaction: it is restored, or as it was.
    if (stores.size > 1 || dumps.length === 0)
      await noteRestore(directory, { id, first: first.id, by: input.by, at: new Date().toISOString(), stores: names });
    const left: string[] = [];
    for (const store of stores.values()) {
      const parts = partsIn(backup, store.name).map((part) => ({ part, path: pathOfPart(directory, backup, part) }));
      left.push(...(await restoreStore(store, parts, { dropNew, tell })));
    }
    // The history's own database is the last: what it says is true of all that came before.
    held.sort((a, b) => Number(a.part.store === config.history) - Number(b.part.store === config.history));
    for (const { part, database } of held) {
      await database.replace(pathOfPart(directory, backup, part), async (session) => {
        if (part.store !== config.history) return;
        const history = postgresHistory(session, part.store, config.historySchema);
        await history.append({ seq: nextSeq(await history.entries()), ...line() });
      });
      tell(`restored ${part.what}`);
    }
    if (!dumps.some(({ store }) => store === config.history)) await input.append(line());
    await endRestore(directory, names);
    return { first, left };
  };
  /** Holds one database after the other, then restores. */
  const hold = async ([part, ...others]: readonly BackupPart[]): Promise<Restored> => {
    const store = part === undefined ? undefined : stores.get(part.store);
    if (part === undefined || store === undefined) return await restore();
    return await holdDatabase(await databaseOf(store, pgBin), part, { elsewhere, noOwner }, async (database) => {
      held.push({ part, database });
      return await hold(others);
    });
  };
  return await hold(dumps);
}

const partsIn = ({ parts }: Backup, name: string): readonly BackupPart[] => parts.filter(({ store }) => store === name);

/** How each kind of store is kept. */
const ways: Readonly<Record<string, readonly BackupPart['kind'][]>> = {
  pgvector: ['pg_dump'],
  qdrant: ['qdrant snapshot', 'qdrant collections'],
  chroma: ['records'],
  lancedb: ['directory'],
  files: ['directory'],
};

function requireWay({ name, store, connection }: MigratedStore): void {
  const mend = 'back it up by its own means, and migrate without --backup';
  if (ways[store] === undefined)
    throw new Incompatible(`store '${name}' is ${store}, which gives no backups: ${mend}`, { ids: [name] });
  if (store === 'pgvector' && 'path' in connection)
    throw new Incompatible(
      `store '${name}' is an embedded PGlite, which no pg_dump can reach, and its folder is whole only while no process has it open: stop the application, copy ${connection.path}, and migrate without --backup`,
      { ids: [name] },
    );
}

interface KeepInput {
  readonly folder: string;
  readonly pgBin: string | undefined;
  readonly before: Backup | undefined;
  readonly tell: (line: string) => void;
}

async function partsOf(
  store: MigratedStore,
  { folder, pgBin, before, tell }: KeepInput,
): Promise<readonly BackupPart[]> {
  if (store.store === 'pgvector') return [await dumpDatabase(await databaseOf(store, pgBin), folder)];
  const own = store.backup?.collections;
  const scope = before === undefined ? own : widened(own, partsIn(before, store.name));
  if (store.store === 'qdrant') return await snapshotServer(await serverOf(store), { folder, scope, tell });
  if (store.store === 'chroma') return [await exportChroma(await chromaOf(store), { folder, scope, tell })];
  const path = folderOf(await resolved(store), store.name);
  await settleFolder(path, tell);
  if (before !== undefined && !(await exists(path))) {
    tell(`store '${store.name}' has no folder ${path}, so nothing of it is kept`);
    return [];
  }
  return [await copyFolder(store.name, path, folder)];
}

/** All but databases, which are held first. @returns what was made since and is left, a line each */
async function restoreStore(
  store: MigratedStore,
  parts: readonly { readonly part: BackupPart; readonly path: string }[],
  { dropNew, tell }: { readonly dropNew: boolean; readonly tell: (line: string) => void },
): Promise<readonly string[]> {
  if (store.store === 'pgvector') return [];
  if (store.store === 'qdrant') return await restoreServer({ place: await serverOf(store), parts, dropNew, tell });
  const left: string[] = [];
  for (const { part, path } of parts) {
    if (store.store === 'chroma')
      left.push(...(await restoreChroma({ place: await chromaOf(store), path, scope: part.only, dropNew, tell })));
    else await restoreFolder(path, folderOf(await resolved(store), store.name));
  }
  return left;
}

function storeOf(config: MigrateConfig, part: BackupPart): MigratedStore {
  const store = config.stores.get(part.store);
  if (store === undefined)
    throw new NotFound(
      `the backup holds store '${part.store}', which vecferry.yaml does not name any more; nothing was changed: name it again`,
      { ids: [part.store] },
    );
  if (ways[store.store]?.includes(part.kind) !== true)
    throw new Incompatible(
      `the backup holds a ${part.kind} of '${part.store}', which is ${store.store} by now; nothing was changed`,
      { ids: [part.store] },
    );
  return store;
}

/** A backup of one stage restored into another is a mishap, unless it is asked for. Databases say themselves which they are. */
async function requirePlace(store: MigratedStore, parts: readonly BackupPart[], elsewhere: boolean): Promise<void> {
  if (elsewhere || store.store === 'pgvector') return;
  const here = await serverName(store);
  const [part] = parts;
  if (here !== undefined && part !== undefined && here !== part.place)
    throw new Incompatible(
      `the backup is of ${part.place}, and store '${store.name}' is ${here}; nothing was changed: --elsewhere restores it there all the same`,
      { ids: [store.name] },
    );
}

async function databaseOf(store: MigratedStore, pgBin: string | undefined): Promise<PgPlace> {
  return { name: store.name, connection: await resolved(store), pgBin };
}

/** The same, of a store that may be anybody's: undefined also where its secret is not here. */
export async function knownServer(store: MigratedStore): Promise<string | undefined> {
  return await serverName(store).catch((error: unknown) => {
    if (error instanceof NotFound || error instanceof InvalidEvent) return undefined;
    throw error;
  });
}

/** Of stores that are servers; a folder may be moved. */
async function serverName(store: MigratedStore): Promise<string | undefined> {
  if (store.store === 'qdrant') return (await serverOf(store)).url;
  return store.store === 'chroma' ? openApi(await chromaOf(store)).place : undefined;
}

async function chromaOf(store: MigratedStore): Promise<ChromaPlace> {
  return { name: store.name, connection: await resolved(store), options: store.options };
}

async function serverOf(store: MigratedStore): Promise<QdrantPlace> {
  const connection = await resolved(store);
  const { url, apiKey } = addressesOf(connection);
  const { transport } = store.options;
  return { name: store.name, url, apiKey, connection, transport };
}

function folderOf({ path }: ResolvedConnection, name: string): string {
  if (path !== undefined) return path;
  throw new Incompatible(
    `store '${name}' lies in no folder of this machine, and a backup of it is a copy of its folder: back it up by its own means`,
    { ids: [name] },
  );
}

const resolved = async ({ connection }: MigratedStore): Promise<ResolvedConnection> =>
  await resolveConnection(connection, secretsOf.environment);
