import { type Command, Option } from 'commander';
import type { Work } from './commands.ts';
import type { ExportOptions, ImportOptions } from './files-command.ts';

/** The commands that work on files: shards of ours, and those of others. */

export function addFileCommands(program: Command, work: Work): void {
  program
    .command('inspect')
    .description('show what a shard, or every one below a folder, says of itself; old formats too')
    .argument('<file or folder>', 'a path, or s3://BUCKET/PREFIX')
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
    .argument('<folder>', 'a path, or s3://BUCKET/PREFIX; it is only read')
    .option('--out <folder>', 'where the new shards go; left out: beside the folder, FOLDER-format-N; S3 too')
    .option('--event <event>', "apply an event's names and mapping on the way")
    .option('--names <file>', 'apply these names: the part of an event')
    .option('--mapping <file>', 'apply this mapping: the part of an event')
    .action((folder: string, options: { out?: string; event?: string; names?: string; mapping?: string }) =>
      work(async (context) => (await import('./upgrade-command.ts')).upgradeCommand(context, folder, options)),
    );
  const formats = ['parquet', 'jsonl', 'arrow', 'numpy'];
  program
    .command('export')
    .description('write a collection into files that others read, and hold every record against its source')
    .argument('<collection or event>', '{"store", "connection", "collection"}, or an event: its source and mapping')
    .requiredOption('--to <folder>', 'a folder of its own')
    .addOption(new Option('--format <format>').choices(formats).default('parquet'))
    .addOption(
      new Option('--lists <kind>', 'how Parquet and Arrow hold a vector').choices(['list', 'fixed']).default('list'),
    )
    .option('--run <id>', "the run's id; that of an earlier run goes on with it")
    .action((argument: string, options: ExportOptions) =>
      work(async (context) => (await import('./files-command.ts')).exportCommand(context, argument, options)),
    );
  program
    .command('import')
    .description('read files of others into a collection: Parquet, JSON lines, Arrow IPC, NumPy; validated as a run is')
    .argument('<file or folder>')
    .argument('[collection or event]', '{"store", "connection", "collection"}, or an event: its target and mapping')
    .option('--into <collection or event>', 'the same as the second argument')
    .option('--id <column>', "the column with the id; left out: 'id'")
    .option('--id-type <type>', 'what ids are: integer, uuid or string')
    .option('--vectors <columns>', 'the columns that are vectors, with commas; left out: all lists of floats')
    .option('--payload <column>', 'the column whose members are the payload')
    .option('--distance <distance>', 'cosine, dot, euclid or manhattan: files do not say')
    .option('--existing', 'upsert into a collection that holds records', false)
    .option('--run <id>', "the run's id; that of an earlier run goes on with it")
    .action((path: string, target: string | undefined, options: ImportOptions) =>
      work(async (context) => (await import('./files-command.ts')).importCommand(context, path, target, options)),
    );
}
