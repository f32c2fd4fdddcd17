import type { Command } from 'commander';
import type { Work } from '../commands.ts';
import type { SafetyOptions } from './safety-commands.ts';

/** `vecferry migrate backup`, `backups` and `restore`. */

const load = () => import('./safety-commands.ts');

export function addSafetyCommands(
  migrate: Command,
  work: Work,
  { withFolder, seconds }: { withFolder(command: Command): Command; seconds(text: string): number },
): void {
  const withPrograms = (command: Command): Command =>
    withFolder(command)
      .option('--pg-bin <folder>', 'where pg_dump, pg_restore and psql are; left out: VECFERRY_PG_BIN, then the PATH')
      .option('--lock-wait <seconds>', 'how long to wait while somebody else migrates', seconds, 60);

  withPrograms(migrate.command('backup').description('keep what every store holds now, on this machine'))
    .option('--reason <text>', 'why, for the list', 'by hand')
    .action((options: SafetyOptions & { reason: string }) =>
      work(async (context) => (await load()).backupCommand(context, options)),
    );

  migrate
    .command('backups')
    .description('list the backups of this machine, the oldest first')
    .option('--keep <count>', 'delete all but the last so many')
    .option('--verify', 'work out the checksum of every file', false)
    .action(({ keep, verify }: { keep?: string; verify: boolean }) =>
      work(async (context) => {
        const { backupsCommand, keepCount } = await load();
        return await backupsCommand(context, { verify, ...(keep !== undefined && { keep: keepCount(keep) }) });
      }),
    );

  withPrograms(
    migrate
      .command('restore')
      .description('bring every store back to a backup, after making one of what is there now')
      .argument('<backup>', 'its id, as `backups` lists it'),
  )
    .option('--elsewhere', 'restore into another database or server than that of the backup', false)
    .option('--no-owner', 'without the owners and grants of the backup, whose roles another server may not have')
    .option('--drop-new', 'drop collections that were made since too; tables always go', false)
    .action((id: string, options: SafetyOptions & { elsewhere: boolean; owner: boolean; dropNew: boolean }) =>
      work(async (context) => (await load()).restoreCommand(context, id, options)),
    );
}
