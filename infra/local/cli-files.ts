import type { Command } from 'commander';
import type { Work } from './commands.ts';

/** The commands that work on files: shards of ours, and those of others. */

export function addFileCommands(program: Command, work: Work): void {
  program
    .command('inspect')
    .description('show what a shard, or every one below a folder, says of itself; old formats too')
    .argument('<file or folder>')
    .option(
      '--verify',
      'work out every checksum and count the records; without it the ends of files are read alone',
      false,
    )
    .action((path: string, { verify }: { verify: boolean }) =>
      work(async (context) => (await import('./inspect-command.ts')).inspectCommand(context, path, verify)),
    );
  program
    .command('upgrade')
    .description(
      'bring a folder of older shards up to the current format, into another folder; goes on where it stopped',
    )
    .argument('<folder>')
    .option('--out <folder>', 'where the new shards go; left out: beside the folder, FOLDER-format-N')
    .option('--event <event>', "apply an event's names and mapping on the way")
    .option('--names <file>', 'apply these names: the part of an event')
    .option('--mapping <file>', 'apply this mapping: the part of an event')
    .action((folder: string, options: { out?: string; event?: string; names?: string; mapping?: string }) =>
      work(async (context) => (await import('./upgrade-command.ts')).upgradeCommand(context, folder, options)),
    );
}
