import { Incompatible, NotFound } from '../../errors.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import type { ResolvedConnection } from '../../stores/port.ts';
import { postgresHistory } from '../history-postgres.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore } from '../port.ts';
import { historyNumber } from '../standing.ts';
import {
  type Backup,
  type BackupPart,
  pathOfPart,
  readBackup,
  readBackups,
  verifyBackup,
  writeBackup,
} from './folder.ts';
import { dumpDatabase, type PgPlace } from './pg-backup.ts';
import { type HeldDatabase, holdDatabase } from './pg-restore.ts';

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
}

/**
 * Keeps what every store holds, as it is now: each store at one moment of its own.
 *
 * @throws NotFound when pg_dump is not there, saying how to get it; Incompatible where a store has no backups: nothing is migrated then;
 * StoreUnavailable when the disk has no room. Nothing of a backup that failed is left.
 */
export async function makeBackup({ config, directory, reason, seq, pgBin }: BackupInput): Promise<Backup> {
  const stores = [...config.stores.values()];
  for (const store of stores) requireKind(store);
  return await writeBackup(directory, { reason, seq }, async (folder) => {
    const parts: BackupPart[] = [];
    for (const store of stores) parts.push(...(await partsOf(store, folder, pgBin)));
    return parts;
  });
}

/** Oldest first. */
export async function listBackups(directory: string): Promise<readonly Backup[]> {
  return await readBackups(directory);
}

export interface RestoreInput extends Omit<BackupInput, 'reason'> {
  readonly id: string;
  /** Who, for the history. */
  readonly by: string;
  /** Restores into another database or server than the backup's. */
  readonly elsewhere?: boolean;
  /** Writes the line of the history where that is no table of a database that is restored. */
  readonly append: (entry: Omit<HistoryEntry, 'seq'>) => Promise<void>;
}

/**
 * Brings everything back to what a backup holds, after it has made one of what is there now. Databases come last, each in one transaction
 * with the history's line, so that the history tells the truth whenever this ends. Started again, it does all of it again.
 *
 * @returns the backup that it made first
 * @throws NotFound or Incompatible before anything is touched: there is no such backup, a file of it was altered, it is another place's
 */
export async function restoreBackup(input: RestoreInput): Promise<Backup> {
  const { config, directory, id, pgBin, elsewhere = false } = input;
  const started = Date.now();
  const backup = await readBackup(directory, id);
  await verifyBackup(directory, backup);
  const stores = new Map(backup.parts.map((part) => [part.store, storeOf(config, part)]));
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

  const held: { part: BackupPart; database: HeldDatabase }[] = [];
  const restore = async (): Promise<Backup> => {
    const first = await makeBackup({ config, directory, pgBin, seq: input.seq, reason: `before restoring ${id}` });
    // The history's own database is the last: what it says is true of all that came before.
    held.sort((a, b) => Number(a.part.store === config.history) - Number(b.part.store === config.history));
    for (const { part, database } of held) {
      await database.replace(pathOfPart(directory, backup, part), part, async (session) => {
        if (part.store !== config.history) return;
        const history = postgresHistory(session, part.store);
        const entries = await history.entries();
        await history.append({ seq: (entries.at(-1)?.seq ?? 0) + 1, ...line() });
      });
    }
    if (!dumps.some(({ store }) => store === config.history)) await input.append(line());
    return first;
  };
  /** Holds one database after the other, then restores. */
  const hold = async ([part, ...others]: readonly BackupPart[]): Promise<Backup> => {
    if (part === undefined) return await restore();
    const place = await placeOf(stores.get(part.store), pgBin);
    return await holdDatabase(place, part, { elsewhere }, async (database) => {
      held.push({ part, database });
      return await hold(others);
    });
  };
  return await hold(dumps);
}

const kinds: Readonly<Record<string, BackupPart['kind']>> = { pgvector: 'pg_dump' };

function requireKind({ name, store, connection }: MigratedStore): void {
  if (kinds[store] === undefined)
    throw new Incompatible(
      `store '${name}' is ${store}, which has no backup that we know: back it up by its own means, and migrate with --no-backup`,
      { ids: [name] },
    );
  if (store === 'pgvector' && 'path' in connection)
    throw new Incompatible(`store '${name}' is an embedded PGlite, which pg_dump cannot read: copy its folder`, {
      ids: [name],
    });
}

async function partsOf(
  store: MigratedStore,
  folder: string,
  pgBin: string | undefined,
): Promise<readonly BackupPart[]> {
  return [await dumpDatabase(await placeOf(store, pgBin), folder)];
}

function storeOf(config: MigrateConfig, part: BackupPart): MigratedStore {
  const store = config.stores.get(part.store);
  if (store === undefined)
    throw new NotFound(
      `the backup holds store '${part.store}', which vecferry.yaml does not name any more; nothing was changed: name it again`,
      { ids: [part.store] },
    );
  if (kinds[store.store] !== part.kind)
    throw new Incompatible(
      `the backup holds a ${part.kind} of '${part.store}', which is ${store.store} by now; nothing was changed`,
      { ids: [part.store] },
    );
  return store;
}

async function placeOf(store: MigratedStore | undefined, pgBin: string | undefined): Promise<PgPlace> {
  if (store === undefined) throw new NotFound('the backup names no store');
  return { name: store.name, connection: await resolved(store), pgBin };
}

const resolved = async ({ connection }: MigratedStore): Promise<ResolvedConnection> =>
  await resolveConnection(connection, secretsOf.environment);
