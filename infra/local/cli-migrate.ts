import type { Command } from 'commander';
import { Incompatible } from '../../lib/errors.ts';
import type { Work } from './commands.ts';

/** `vecferry migrate …`: ordered migrations. Each subcommand loads what it needs when it runs. */

export function addMigrateCommands(program: Command, work: Work): void {
  const migrate = program
    .command('migrate')
    .description('ordered migrations of a team: numbered SQL and collection files');
  migrate
    .command('status')
    .description('what is applied, what is not, and what does not fit')
    .action(() =>
      work(async () => {
        throw new Incompatible('migrate status is not there yet');
      }),
    );
}
