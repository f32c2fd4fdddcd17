import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { NotFound } from '../../lib/errors.ts';
import type { Work } from './commands.ts';
import { exitCodes } from './exit-codes.ts';

/** The commands that work on files: shards of ours, and those of others. */

export function addFileCommands(program: Command, work: Work): void {
  program
    .command('inspect')
    .description('show what a shard says of itself, once its checksum is found right')
    .argument('<file>')
    .action((file: string) =>
      work(async ({ output }) => {
        const bytes = await readFile(file).catch((cause: unknown) => {
          throw new NotFound(`there is no file '${file}'; shards lie in .vecferry/runs/RUN/shards/`, { cause });
        });
        const [{ verifyShard }, { shardLines }] = await Promise.all([
          import('../../lib/shard/shard.ts'),
          import('./describe.ts'),
        ]);
        const header = verifyShard(bytes, file);
        output.event({ type: 'shard', file, bytes: bytes.length, ...header });
        for (const line of shardLines(header, bytes.length)) output.line(line);
        return exitCodes.ok;
      }),
    );
}
