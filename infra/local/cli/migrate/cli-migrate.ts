import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Work } from '../commands.ts';
import { addSafetyCommands } from './cli-safety.ts';
import type { LintCommandOptions } from './lint-command.ts';
import type { RepairOptions } from './migrate-commands.ts';
import type { MigrateOptions, MoveOptions } from './migrator.ts';

/** `vecferry migrate …`: ordered migrations. Each subcommand loads what it needs when it runs. */

const load = { migrate: () => import('./migrate-commands.ts'), lint: () => import('./lint-command.ts') };

/** The options that every subcommand takes: where the files are, and who asks. */
export function withFolder(command: Command): Command {
  return command
    .option('--migrations <directory>', 'the folder of numbered files', 'migrations')
    .option('--config <file>', 'the stores, in place of vecferry.yaml in that folder')
    .option('--set <name=value>', 'a variable of the files, once each; vecferry.yaml declares it', collect, [])
    .option('--by <name>', 'who does it, for the history; left out: who is logged in, and where');
}

function withLimits(command: Command): Command {
  return command
    .option('--lock-wait <seconds>', 'how long to wait while somebody else migrates', seconds, 60)
    .option(
      '--lock-timeout <seconds>',
      'how long a statement may wait for a table, and keep others waiting',
      seconds,
      5,
    )
    .option('--lock-tries <times>', 'how often a transaction is tried that was not let in', count, 5)
    .option('--statement-timeout <seconds>', 'how long a statement may take; 0: as long as it does', seconds, 0);
}

function withMove(command: Command): Command {
  return withLimits(withFolder(command))
    .option('--dry-run', 'show the SQL and the requests, and change nothing', false)
    .option('--backup', 'make a backup before; `backup: true` in vecferry.yaml does so always')
    .option('--pg-bin <folder>', 'where pg_dump is, for the backup; left out: VECFERRY_PG_BIN, then the PATH')
    .addOption(new Option('--no-check', 'do not look at the stores afterwards'));
}

export function addMigrateCommands(program: Command, work: Work): void {
  const migrate = program
    .command('migrate')
    .description('ordered migrations of a team: numbered SQL and collection files (docs/migrations.md)');

  withFolder(migrate.command('status').description('what is applied, what is not, and what does not fit'))
    .option('--exit-code', 'end with 3 where something is pending or does not fit', false)
    .action((options: MigrateOptions & { exitCode: boolean }) =>
      work(async (context) => (await load.migrate()).statusCommand(context, options)),
    );

  withMove(migrate.command('up').description('apply what is pending, in order'))
    .argument('[count]', 'so many of them', count)
    .option('--to <number>', 'up to this one', number)
    .option('--no-lint', 'apply what the linter calls an error too')
    .option('--out-of-order', 'apply what comes before an applied one too, as after a merge of branches', false)
    .option('--baseline <number>', 'of a store that was there before: up to this one all is applied already', number)
    .action((up: number | undefined, options: MoveOptions & { to?: number; baseline?: number }) =>
      work(async (context) => {
        const goal = options.to === undefined ? { up } : { upTo: options.to };
        return (await load.migrate()).moveCommand(context, { goal, baseline: options.baseline }, options);
      }),
    );

  withMove(migrate.command('down').description('take back the last one, or so many'))
    .argument('[steps]', 'how many', count, 1)
    .action((down: number, options: MoveOptions) =>
      work(async (context) => (await load.migrate()).moveCommand(context, { goal: { down } }, options)),
    );

  withMove(migrate.command('to').description('go up or down to a number; 0 takes back everything'))
    .argument('<number>', 'the last one that is applied then', number)
    .option('--no-lint', 'apply what the linter calls an error too')
    .option('--out-of-order', 'apply what comes before an applied one too, as after a merge of branches', false)
    .action((to: number, options: MoveOptions) =>
      work(async (context) => (await load.migrate()).moveCommand(context, { goal: { to } }, options)),
    );

  withLimits(
    withFolder(migrate.command('repair').description('clear away what a dead step left, or say how things are')),
  )
    .argument(
      '[number]',
      'the migration; history: its lines are right as they stand; left out: what can be repaired, and how',
    )
    .addOption(new Option('--as <state>', 'say how it is').choices(['applied', 'pending', 'forgotten']))
    .option('--from <statement>', 'go on with this statement of it, from 1', count)
    .option('--reason <text>', 'why, for the history', '')
    .action((what: string | undefined, options: RepairOptions) =>
      work(async (context) =>
        (await load.migrate()).repairCommand(
          context,
          what === undefined || what === 'history' ? what : number(what),
          options,
        ),
      ),
    );

  withFolder(
    migrate.command('check').description('hold the files against the history, and look at the stores; changes nothing'),
  )
    .option('--timeout <seconds>', 'how long each look at a store may take', seconds, 30)
    .action((options: MigrateOptions & { timeout: number }) =>
      work(async (context) => (await load.migrate()).checkCommand(context, options)),
    );

  addSafetyCommands(migrate, work, { withFolder, seconds });

  migrate
    .command('lint')
    .description('warn of what locks, rewrites or loses, and say the safe steps; needs no server')
    .argument('[files...]', 'SQL files or folders; left out: the folder of numbered files')
    .option('--migrations <directory>', 'the folder of numbered files', 'migrations')
    .option('--config <file>', 'whose lint.ignore counts, in place of vecferry.yaml in that folder')
    .option('--set <name=value>', 'a variable of the files; left out: its name stands for it', collect, [])
    .option('--ignore <rules>', 'rules that are left out, with commas between', list, [])
    .option('--postgres <version>', "the server's major version, which the safe steps depend on", count, 18)
    .action((files: string[], options: LintCommandOptions) =>
      work(async (context) => (await load.lint()).lintCommand(context, files, options)),
    );

  withFolder(migrate.command('new').description('write the next file, to be filled in'))
    .argument('<name>', 'what it does: add_rank_to_articles')
    .option('--collection', 'a collection file instead of SQL', false)
    .action((name: string, options: MigrateOptions & { collection: boolean }) =>
      work(async (context) => (await load.migrate()).newCommand(context, name, options)),
    );
}

function number(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new InvalidArgumentError(`'${text}' is no number of a migration, which is 0 or more.`);
  return Number(text);
}

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError(`'${text}' is no count, which is 1 or more.`);
  return Number(text);
}

const collect = (text: string, before: readonly string[]): readonly string[] => [...before, text];
const list = (text: string): readonly string[] => text.split(',').map((part) => part.trim());

function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) > 86_400)
    throw new InvalidArgumentError(`'${text}' is no time in seconds from 0 to 86400.`);
  return Number(text);
}
