import { readFile } from 'node:fs/promises';
import { Command, CommanderError, Option } from 'commander';
import { InvalidEvent } from '../../../lib/errors.ts';
import { parseRunId } from '../../../lib/event.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { addFileCommands } from './cli-files.ts';
import type { CommandContext } from './commands.ts';
import { newRunId, onlyOf, readEvent, shownEvent } from './event-input.ts';
import { exitCodes, failureFrom } from './exit-codes.ts';
import { addMigrateCommands } from './migrate/cli-migrate.ts';
import { makeOutput, type Streams } from './output.ts';
import { shownCommand, usualDirectory } from './shown-command.ts';

/** Each command loads what it needs when it runs: the engine and the AWS clients take a second, which a mistyped event should not cost. */
const load = {
  commands: () => import('./commands.ts'),
  cutover: () => import('./cutover-commands.ts'),
  deployed: () => import('./deployed.ts'),
  describe: () => import('./describe.ts'),
  shadow: () => import('./shadow-command.ts'),
  status: () => import('./status-command.ts'),
  stores: () => import('../../../lib/stores/registry.ts'),
  tune: () => import('./tune-command.ts'),
  validate: () => import('./validate-command.ts'),
};

const help = `
EVENT is a file, - for standard input, or JSON itself. events/ holds one a use.

Exit codes: 0 done; 1 unexpected; 2 the event, a name or an argument is wrong; 3 the plan refuses;
4 the run failed, and the same command goes on; 5 validation failed; 6 readers were not moved, or were taken back;
130 stopped by Ctrl-C, and the same command goes on.
`;

interface GlobalOptions {
  readonly dir: string;
  readonly json: boolean;
  readonly verbose: boolean;
}

/** What the commands take that answer a run or move its readers. */
interface MoveOptions {
  readonly by?: string;
  readonly reason?: string;
  readonly stack?: string;
}

/**
 * The command line `vecferry`: runs the command that the arguments name, in this process.
 * @returns the exit code
 */
export async function main(args: readonly string[], streams: Streams): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const program = new Command('vecferry')
    .description('Moves vector collections between vector stores, and proves that nothing was lost.')
    .version(await version())
    .option('--dir <directory>', 'where runs, flags and locks are kept on this machine', usualDirectory)
    .option('--json', 'print one JSON object a line', false)
    .option('--verbose', 'show what the functions log, and where an error came from', false)
    .addHelpText('after', help)
    .configureOutput({ writeOut: (text) => streams.stdout.write(text), writeErr: () => undefined })
    .exitOverride();
  const stack = new Option('--stack <name>', 'talk to this deployed stack instead of running on this machine');

  program
    .command('plan')
    .description('say what a run would do, with estimates; writes nothing to the target')
    .argument('<event>')
    .action((argument: string) =>
      work(async (context) => {
        const event = await readEvent(argument);
        const { planCommand } = await load.commands();
        return await planCommand(context, event.parsed.run ?? newRunId(), event);
      }),
    );

  program
    .command('run')
    .description('plan, export, import, build the index, validate and cut over')
    .argument('<event>')
    .option('--run <id>', "the run's id; that of an earlier run goes on with it")
    .option('--only <what>', 'failed: take up the records whose text could not be embedded, and nothing else')
    .addOption(stack)
    .action((argument: string, options: { run?: string; only?: string; stack?: string }) =>
      work(async (context) => {
        const event = onlyOf(await readEvent(argument), options.only);
        const run = options.run === undefined ? (event.parsed.run ?? newRunId()) : parseRunId(options.run);
        if (options.stack !== undefined)
          return await (await load.deployed()).deployedRun(context, options.stack, run, event);
        const { runCommand } = await load.commands();
        const again = shownCommand(context, `run ${shownEvent(argument)} --run ${run}`);
        return await runCommand(context, run, event, again);
      }),
    );

  program
    .command('status')
    .description('how far a run is, from its objects; without one: every run, newest first')
    .argument('[run]')
    .option('--failed', 'list every record whose text could not be embedded, and why', false)
    .addOption(stack)
    .action((run: string | undefined, options: { failed: boolean; stack?: string }) =>
      work(async (context) => {
        const { output, directory } = context;
        const { failed } = options;
        if (failed && run === undefined) throw new InvalidEvent('--failed lists the records of one run: name it');
        if (options.stack !== undefined)
          return await (await load.deployed()).deployedStatus(context, options.stack, run, failed);
        const { statusCommand } = await load.status();
        return await statusCommand({ output, objects: openFileObjects(directory), place: { directory }, run, failed });
      }),
    );

  program
    .command('validate')
    .description(
      'hold two collections against each other, or those of a run again; changes neither, but mends those of a live run',
    )
    .argument('<run or event>')
    .option('--run <id>', "with an event: the run's id; that of an earlier run goes on with it")
    .option('--search <json>', 'with a run: how the application searches the target by now, {"efSearch": 120}')
    .addOption(stack)
    .action((argument: string, options: { run?: string; stack?: string; search?: string }) =>
      work(async (context) => (await load.validate()).validateCommand(context, { argument, ...options })),
    );

  program
    .command('tune')
    .description("raise the target's search settings until a validated run's recall goal holds, at the lowest latency")
    .argument('<run>')
    .option('--at-least <recall>', "from 0 to 1, in place of the event's goal")
    .option('--max-p95 <ms>', 'take no setting whose 95th percentile is slower')
    .action((run: string, options: { atLeast?: string; maxP95?: string }) =>
      work(async (context) => (await load.tune()).tuneCommand(context, run, options)),
    );

  const reason = new Option('--reason <text>', 'why, for the log');

  const answers = [
    ['approve', 'approved', 'let a run that waits move its readers'],
    ['reject', 'rejected', 'end a run that waits; readers stay where they are'],
  ] as const;
  for (const [name, answer, description] of answers) {
    program
      .command(name)
      .description(description)
      .argument('<run>')
      .option('--by <name>', 'who answers; left out: who is logged in')
      .addOption(reason)
      .addOption(stack)
      .action((run: string, options: MoveOptions) =>
        work(async (context) => (await load.cutover()).answerCommand(context, answer, { run, ...options })),
      );
  }

  program
    .command('cutover')
    .description('make readers use the target of a run that passed')
    .argument('<run>')
    .addOption(stack)
    .action((run: string, options: MoveOptions) =>
      work(async (context) => (await load.cutover()).moveCommand(context, 'cut-over', { run, ...options })),
    );

  program
    .command('rollback')
    .description('make readers use again what they used before, also while the run is moving them')
    .argument('<run>')
    .addOption(reason)
    .addOption(stack)
    .action((run: string, options: MoveOptions) =>
      work(async (context) => (await load.cutover()).moveCommand(context, 'roll-back', { run, ...options })),
    );

  program
    .command('finish')
    .description('end the double writes: reads and writes go to where readers are')
    .argument('<run>')
    .addOption(stack)
    .action((run: string, options: MoveOptions) =>
      work(async (context) => (await load.cutover()).moveCommand(context, 'finish', { run, ...options })),
    );

  program
    .command('retire')
    .description(
      'drop for good what a run has replaced, once nobody reads or writes it; without --confirm only says what',
    )
    .argument('<run>')
    .option('--confirm <name>', 'the name of what is dropped, as the command says it without this')
    .addOption(stack)
    .action((run: string, options: { confirm?: string; stack?: string }) =>
      work(async (context) => (await load.cutover()).retireCommand(context, { run, ...options })),
    );

  program
    .command('shadow')
    .description('say how alike both sides of a flag answer, from the shadow reads that its clients recorded')
    .argument('<flag, run or files...>')
    .option('--goal <overlap>', 'count the queries whose overlap@k is below it, from 0 to 1', '0.9')
    .option('--since <time>', 'leave out what was recorded before, 2026-01-31T03:00:00Z')
    .action((given: string[], options: { goal: string; since?: string }) =>
      work(async (context) => (await load.shadow()).shadowCommand(context, given, options)),
    );

  program
    .command('stores')
    .description('list the stores and what they hold')
    .action(() =>
      work(async ({ output }) => {
        const [{ storeKind, storeNames }, { storeLine }] = await Promise.all([load.stores(), load.describe()]);
        for (const kind of await Promise.all(storeNames.map(storeKind))) {
          output.event({ type: 'store', name: kind.name, title: kind.title, capabilities: kind.capabilities });
          output.line(storeLine(kind));
        }
        return exitCodes.ok;
      }),
    );

  addFileCommands(program, work);
  addMigrateCommands(program, work);

  /** Runs a command's work, and turns what it throws into one message and an exit code. */
  async function work(command: (context: CommandContext) => Promise<number>): Promise<void> {
    const { dir, json, verbose } = program.opts<GlobalOptions>();
    const output = makeOutput(json, streams);
    const stopping = new AbortController();
    const stop = (): void => {
      // The second Ctrl-C does not wait: every object is whole or absent, so the run goes on all the same.
      if (stopping.signal.aborted) process.exit(exitCodes.interrupted);
      streams.stderr.write('\nstopping: what is in flight is brought to an end; Ctrl-C again to stop at once\n');
      stopping.abort();
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
    try {
      exitCode = await command({
        directory: dir,
        output,
        isTerminal: streams.stderr.isTTY === true && !json,
        verbose,
        signal: stopping.signal,
      });
    } catch (error) {
      const failure = failureFrom(error);
      output.fail(failure);
      if (verbose && error instanceof Error) streams.stderr.write(`${error.stack}\n`);
      exitCode = failure.exitCode;
    } finally {
      process.off('SIGINT', stop).off('SIGTERM', stop);
    }
  }

  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version end this way too, having printed all they have to say.
    if (error.exitCode !== 0) {
      const message = error.message.replace(/^error: /, '');
      const text =
        message === '(outputHelp)'
          ? 'name a command; vecferry --help lists them'
          : `${message}; vecferry --help lists what there is`;
      makeOutput(args.includes('--json'), streams).fail(failureFrom(new InvalidEvent(text)));
      exitCode = exitCodes.usage;
    }
  }
  return exitCode;
}

async function version(): Promise<string> {
  const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
  return String(JSON.parse(text).version);
}
