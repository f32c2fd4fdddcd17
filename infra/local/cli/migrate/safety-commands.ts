import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Incompatible, InvalidEvent } from '../../../../lib/errors.ts';
import { type Backup, knownServer, makeBackup, restoreBackup } from '../../../../lib/migrate/backup/backup.ts';
import { collectionsFilled } from '../../../../lib/migrate/backup/filling.ts';
import {
  backupsIn,
  deleteBackup,
  readBackups,
  sizeOf,
  unfinishedBackups,
  verifyBackup,
} from '../../../../lib/migrate/backup/folder.ts';
import {
  type UnfinishedRestore,
  unfinishedMessage,
  unfinishedRestore,
} from '../../../../lib/migrate/backup/unfinished.ts';
import { type CheckReport, checkStores } from '../../../../lib/migrate/checks/check.ts';
import { checkPage } from '../../../../lib/migrate/checks/check-page.ts';
import type { Migrator } from '../../../../lib/migrate/runner.ts';
import { nextSeq } from '../../../../lib/migrate/standing.ts';
import { openFileObjects } from '../../../../lib/objects-files.ts';
import { plural } from '../../../../lib/words.ts';
import type { CommandContext } from '../commands.ts';
import { exitCodes } from '../exit-codes.ts';
import { type MigrateOptions, withMigrator } from './migrator.ts';

/** `vecferry migrate backup`, `backups` and `restore`, and the looks and backups that `up` and `down` take. */

export interface SafetyOptions extends MigrateOptions {
  readonly pgBin?: string;
  /** In seconds. */
  readonly lockWait?: number;
}

/** Makes a backup of every store, and says so. Whoever calls it has the lock. */
export async function backUp(
  { output, directory }: CommandContext,
  { settings, history }: Migrator,
  { reason, pgBin }: { readonly reason: string; readonly pgBin?: string | undefined },
): Promise<Backup> {
  const seq = (await history.entries()).at(-1)?.seq ?? 0;
  output.line('backup   is being made');
  const tell = (line: string): void => output.line(`note     ${line}`);
  for (const message of await collectionsFilled(settings, openFileObjects(directory), knownServer)) {
    output.event({ type: 'warning', message });
    output.line(`filling  ${message}`);
  }
  const backup = await makeBackup({ config: settings, directory, reason, seq, pgBin, tell });
  output.event({ type: 'backup', state: 'made', ...backup });
  output.line(`backup   ${backupLine(backup)}`);
  for (const { contents } of backup.parts) if (contents?.doubt !== undefined) output.line(`unproven ${contents.doubt}`);
  return backup;
}

const backupLine = (backup: Backup): string =>
  `${backup.id}  ${megabytes(sizeOf(backup))}  ${backup.reason}; ${backup.parts.length === 1 ? backup.parts[0]?.what : `${backup.parts.length} parts`}, history at line ${backup.seq}`;
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** `vecferry migrate backup` */
export async function backupCommand(
  context: CommandContext,
  { reason, ...options }: SafetyOptions & { readonly reason: string },
): Promise<number> {
  return await withMigrator(context, options, async (migrator) => {
    await migrator.history.locked(() => backUp(context, migrator, { reason, pgBin: options.pgBin }), {
      waitMs: (options.lockWait ?? 60) * 1000,
      by: migrator.by,
    });
    return exitCodes.ok;
  });
}

/**
 * `vecferry migrate backups`; with `keep` it deletes all but the last so many, with `verify` it works out every file's checksum. Ends
 * with 4 where one was altered: it is told, never deleted, hides nothing of the others, and is not among those that are kept, or
 * the last good one would go for its sake.
 */
export async function backupsCommand(
  { output, directory }: CommandContext,
  { keep, verify }: { readonly keep?: number; readonly verify: boolean },
): Promise<number> {
  let damaged = 0;
  const tellDamaged = (id: string, { message }: Error): void => {
    damaged++;
    output.event({ type: 'backup', state: 'damaged', id, message });
    output.line(`damaged  ${message}`);
  };
  const backups: Backup[] = [];
  for (const backup of await readBackups(directory, tellDamaged)) {
    try {
      if (verify) await verifyBackup(directory, backup);
      backups.push(backup);
    } catch (error) {
      if (!(error instanceof Incompatible)) throw error;
      tellDamaged(backup.id, error);
    }
  }
  const restore = await unfinishedRestore(directory);
  // What a restore is under way with, or is brought to its end with, or taken back with.
  const needed = await unfinishedRestore(directory, { alsoUnderWay: true });
  const isNeeded = ({ id }: Backup): boolean => id === needed?.id || id === needed?.first;
  const old = keep === undefined ? [] : backups.slice(0, Math.max(0, backups.length - keep));
  const gone = new Set(old.filter((backup) => !isNeeded(backup)));
  for (const backup of backups) {
    const state = gone.has(backup) ? 'deleted' : verify ? 'verified' : 'there';
    if (state === 'deleted') await deleteBackup(directory, backup);
    output.event({ type: 'backup', state, ...backup });
    output.line(`${state === 'there' ? 'backup' : state}`.padEnd(9) + backupLine(backup));
  }
  await tellUnfinished({ output, directory }, restore);
  output.line(`${plural(backups.length - gone.size, 'backup')} in ${backupsIn(directory)}`);
  return damaged === 0 ? exitCodes.ok : exitCodes.failed;
}

/** What killed processes left. */
async function tellUnfinished(
  { output, directory }: Pick<CommandContext, 'output' | 'directory'>,
  restore: UnfinishedRestore | undefined,
): Promise<void> {
  for (const name of await unfinishedBackups(directory)) {
    output.event({ type: 'backup', state: 'unfinished', id: name });
    output.line(`unfinished ${name}: a process was killed before its end; the next backup deletes it`);
  }
  if (restore !== undefined) {
    const message = unfinishedMessage(restore, directory);
    output.event({ type: 'warning', message });
    output.line(`problem  ${message}`);
  }
}

/** `vecferry migrate restore ID` */
export async function restoreCommand(
  context: CommandContext,
  id: string,
  options: SafetyOptions & { readonly elsewhere: boolean; readonly owner: boolean; readonly dropNew: boolean },
): Promise<number> {
  const { output, directory } = context;
  return await withMigrator(context, options, async ({ settings, history, by }) => {
    const waitMs = (options.lockWait ?? 60) * 1000;
    const { first, left } = await history.locked(
      async () => {
        const entries = await history.entries();
        return await restoreBackup({
          config: settings,
          directory,
          id,
          by,
          pgBin: options.pgBin,
          elsewhere: options.elsewhere,
          noOwner: !options.owner,
          dropNew: options.dropNew,
          seq: entries.at(-1)?.seq ?? 0,
          append: async (entry) => await history.append({ seq: nextSeq(await history.entries()), ...entry }),
          tell: (line) => output.line(line),
        });
      },
      { waitMs, by },
    );
    output.event({ type: 'restored', id, before: first.id, left });
    output.line(`restored ${id}; what was there before is ${first.id}`);
    for (const each of left) output.line(`left     ${each}`);
    output.line(`take it back with: vecferry migrate restore ${first.id}`);
    return exitCodes.ok;
  });
}

/** Looks at every store, tells what it finds, and keeps it as check.json and check.html. */
export async function lookAtStores(
  { output, directory }: CommandContext,
  { settings, folder, history }: Pick<Migrator, 'settings' | 'folder' | 'history'>,
  { timeout }: { readonly timeout?: number } = {},
): Promise<CheckReport> {
  const report = await checkStores({
    config: settings,
    files: folder.files,
    entries: await history.entries(),
    ...(timeout !== undefined && { timeoutMs: timeout * 1000 }),
  });
  const path = join(directory, 'check.json');
  await mkdir(directory, { recursive: true });
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  const page = join(directory, 'check.html');
  await writeFile(page, checkPage(report));
  output.event({ type: 'checked', path, page, ...report });
  for (const line of checkLines(report)) output.line(line);
  output.line(`report   ${page}`);
  return report;
}

/** What is not ok, a line each, and how much is. */
export function checkLines({ stores, tally }: CheckReport): readonly string[] {
  const lines = stores.flatMap(({ name, results }) =>
    results.flatMap(({ what, verdict, detail }) =>
      verdict === 'ok' ? [] : `${verdict === 'wrong' ? 'wrong    ' : 'unchecked'} ${name}: ${what}: ${detail}`,
    ),
  );
  return [...lines, `looked   ${tally.ok} ok, ${tally.wrong} wrong, ${tally.unchecked} unchecked`];
}

export function keepCount(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidEvent(`--keep is a number of backups, and '${text}' is none`);
  return Number(text);
}
