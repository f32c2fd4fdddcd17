import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Incompatible, InvalidEvent, NotFound, RunMismatch } from '../../../../lib/errors.ts';
import { assuming, baselineLines, mustStand } from '../../../../lib/migrate/baseline.ts';
import { isTimestamp, type MigrationFolder, readMigrationFiles } from '../../../../lib/migrate/files.ts';
import type { HistoryEntry, Step } from '../../../../lib/migrate/port.ts';
import type { Problem } from '../../../../lib/migrate/problems.ts';
import { repair } from '../../../../lib/migrate/repair.ts';
import {
  beforeTheLock,
  carryOut,
  type Goal,
  type Migrator,
  type Move,
  movesTo,
  mustBeSound,
  type Overview,
  overviewOf,
  planMove,
} from '../../../../lib/migrate/runner.ts';
import { unsoundFiles } from '../../../../lib/migrate/unsound.ts';
import type { CommandContext } from '../commands.ts';
import { exitCodes } from '../exit-codes.ts';
import { appliedLine, pendingLine, stepLines } from './migrate-lines.ts';
import { type MigrateOptions, type MoveOptions, withMigrator } from './migrator.ts';

/** `vecferry migrate status`, `up`, `down`, `to` and `new`. Each returns the exit code. */

const load = {
  lint: () => import('./migrate-lint.ts'),
  safety: () => import('./safety-commands.ts'),
  unfinished: () => import('../../../../lib/migrate/backup/unfinished.ts'),
};

/** A restore that did not end, as a problem like the others. */
async function withRestore({ directory }: CommandContext, problems: readonly Problem[]): Promise<readonly Problem[]> {
  const { unfinishedMessage, unfinishedRestore } = await load.unfinished();
  const found = await unfinishedRestore(directory);
  return found === undefined
    ? problems
    : [{ kind: 'restore', message: unfinishedMessage(found, directory) }, ...problems];
}

/** `vecferry migrate status` */
export async function statusCommand(
  context: CommandContext,
  options: MigrateOptions & { readonly exitCode: boolean },
): Promise<number> {
  return await withMigrator(context, options, async (migrator) => {
    const { output } = context;
    const { history } = migrator;
    const overview = await overviewOf(migrator);
    const { applied, pending } = overview;
    // What `up` refuses before its first step is no more ready than what does not fit.
    const problems = [...(await withRestore(context, overview.problems)), ...(await unsoundFiles(migrator, overview))];
    const inOrder = applied.toReversed();
    const names = pending.map(({ number, name, path, kind }) => ({ number, name, path, kind }));
    output.event({ type: 'migrations', history: history.where, applied: inOrder, pending: names, problems });
    for (const entry of inOrder) output.line(appliedLine(entry));
    for (const file of pending) output.line(pendingLine(file));
    for (const { message } of problems) output.line(`problem  ${message}`);
    output.line(
      `history  ${history.where}: ${applied.length} applied, ${pending.length} pending, ${problems.length} problems`,
    );
    return options.exitCode && pending.length + problems.length > 0 ? exitCodes.refused : exitCodes.ok;
  });
}

interface Aim {
  readonly goal: Goal;
  /** Up to this number all is applied already, by whatever was there before vecferry. */
  readonly baseline?: number | undefined;
}

/** `vecferry migrate up`, `down` and `to` */
export async function moveCommand(context: CommandContext, aim: Aim, options: MoveOptions): Promise<number> {
  const { goal, baseline } = aim;
  return await withMigrator(context, options, async (migrator) => {
    await (await load.unfinished()).refuseUnfinished(context.directory);
    const movesNow = (overview: Overview): readonly Move[] => {
      const inTheWay = overview.problems.filter(({ kind }) => kind !== 'order' || options.outOfOrder !== true);
      const moves = movesTo(goal, { ...overview, problems: inTheWay }, migrator.folder);
      const isPast = 'upTo' in goal && overview.applied.some(({ number }) => number > goal.upTo);
      if (isPast && options.outOfOrder !== true)
        throw new RunMismatch(`later ones than ${goal.upTo} are applied; vecferry migrate to takes them back`);
      return moves;
    };
    const assumed = await withBaseline(migrator, baseline);
    if (options.dryRun) {
      await tellBaseline(migrator, baseline, { ...options, write: async () => undefined });
      const moves = movesNow(await overviewOf(assumed));
      // What the real one refuses before its first step is refused here too.
      await mustBeSound(assumed, moves);
      return await tellPlan(context, assumed, moves);
    }
    const wanted = movesNow(beforeTheLock(await overviewOf(assumed)));
    await mustBeSound(migrator, wanted);
    if (options.lint !== undefined)
      await (await load.lint()).lintMoves(context, migrator, wanted, { isLaw: options.lint });
    const done = await migrator.history.locked(
      async () => {
        // A restore may have begun, and died, while the lock was waited for.
        await (await load.unfinished()).refuseUnfinished(context.directory, { alsoUnderWay: true });
        await tellBaseline(migrator, baseline, { ...options, write: (line) => migrator.history.append(line) });
        // Whoever had the lock before may have done all or some of it.
        const moves = movesNow(await overviewOf(migrator));
        const [first] = moves;
        if (first !== undefined && (options.backup ?? migrator.settings.backup)) {
          const reason = `before ${first.direction} ${moves.map(({ number }) => number).join(', ')}`;
          await (await load.safety()).backUp(context, migrator, { reason, pgBin: options.pgBin });
        }
        const made = await carryOut(migrator, moves, context.signal);
        return { made, left: moves.length - made };
      },
      { waitMs: options.lockWait * 1000, by: migrator.by },
    );
    return await tellEnd(context, migrator, { ...done, others: wanted.length - done.made }, options);
  });
}

interface Done {
  readonly made: number;
  /** Not begun, since somebody ended the command. */
  readonly left: number;
  /** That were to be done when it began, and were done by somebody else. */
  readonly others: number;
}

async function tellEnd(
  context: CommandContext,
  migrator: Migrator,
  { made, left, others }: Done,
  { check }: MoveOptions,
): Promise<number> {
  const { output } = context;
  if (left > 0) {
    output.line(`stopped; ${made} done, ${left} not begun. The same command goes on`);
    return exitCodes.interrupted;
  }
  if (made > 0) output.line(`done     ${made} ${made === 1 ? 'migration' : 'migrations'}`);
  else output.line(others > 0 ? 'done     another process did it meanwhile' : 'done     there is nothing to do');
  if (made === 0 || !check) return exitCodes.ok;
  const { tally } = await (await load.safety()).lookAtStores(context, migrator);
  if (tally.wrong === 0) return exitCodes.ok;
  output.line('wrong    the migrations stand all the same; vecferry migrate check looks again');
  return exitCodes.validation;
}

const linesOf = async (migrator: Migrator, baseline: number | undefined): Promise<readonly HistoryEntry[]> =>
  baseline === undefined ? [] : await baselineLines(migrator, baseline);

const withBaseline = async (migrator: Migrator, baseline: number | undefined): Promise<Migrator> =>
  assuming(migrator, await linesOf(migrator, baseline));

/** Looks whether it is so, then writes the lines that say it. */
async function tellBaseline(
  migrator: Migrator,
  baseline: number | undefined,
  { check, write }: { readonly check: boolean; write(line: HistoryEntry): Promise<void> },
): Promise<void> {
  const lines = await linesOf(migrator, baseline);
  if (lines.length > 0 && check) await mustStand(migrator, lines);
  for (const line of lines) {
    await write(line);
    migrator.tell({ kind: 'baseline', number: line.number, name: line.name });
  }
}

async function tellPlan({ output }: CommandContext, migrator: Migrator, moves: readonly Move[]): Promise<number> {
  const entries = await migrator.history.entries();
  for (const [at, move] of moves.entries()) {
    const { direction, number } = move;
    const { name } = move.applied ?? move.file;
    const { lines, isTransactional } = await planOne(migrator, move, at > 0, entries);
    output.event({ type: 'migration', state: 'planned', number, name, direction, isTransactional, lines });
    for (const line of stepLines({ name, direction, lines })) output.line(line);
  }
  output.line(`planned  ${moves.length} ${moves.length === 1 ? 'migration' : 'migrations'}; nothing was changed`);
  return exitCodes.ok;
}

/** A collection file is worked out from what is there, and what is there for a later one is made by those before it. */
async function planOne(
  migrator: Migrator,
  move: Move,
  isLater: boolean,
  entries: readonly HistoryEntry[],
): Promise<Pick<Step, 'lines' | 'isTransactional'>> {
  try {
    return await planMove(migrator, move, entries);
  } catch (error) {
    const isTheirs = error instanceof InvalidEvent || error instanceof Incompatible || error instanceof NotFound;
    if (!isTheirs || !isLater || move.file.kind === 'sql') throw error;
    const lines = [`worked out once those before it are done; as it is now: ${error.message}`];
    return { lines, isTransactional: false };
  }
}

export interface RepairOptions extends MigrateOptions, Pick<MoveOptions, 'lockWait'> {
  readonly as?: 'applied' | 'pending' | 'forgotten';
  readonly from?: number;
  readonly reason: string;
}

/** `vecferry migrate repair [NUMBER]`; without a number it says what can be repaired. */
export async function repairCommand(
  context: CommandContext,
  what: number | 'history' | undefined,
  { as, from, reason, ...options }: RepairOptions,
): Promise<number> {
  const { output } = context;
  return await withMigrator(context, options, async (migrator) => {
    if (what === undefined) {
      const { problems } = await overviewOf(migrator);
      output.event({ type: 'repaired', number: null, lines: [], problems });
      for (const { message } of problems) output.line(`problem  ${message}`);
      if (problems.length === 0) output.line('done     there is nothing to repair');
      return problems.length === 0 ? exitCodes.ok : exitCodes.refused;
    }
    const { number, lines } = await migrator.history.locked(() => repair(migrator, { what, as, from, reason }), {
      waitMs: options.lockWait * 1000,
      by: migrator.by,
    });
    output.event({ type: 'repaired', number, lines, problems: (await overviewOf(migrator)).problems });
    for (const line of lines) output.line(`repaired ${line}`);
    return exitCodes.ok;
  });
}

/** `vecferry migrate check` */
export async function checkCommand(
  context: CommandContext,
  options: MigrateOptions & { readonly timeout?: number },
): Promise<number> {
  const { output } = context;
  return await withMigrator(context, options, async (migrator) => {
    const { applied, pending, problems: found } = await overviewOf(migrator);
    const problems = await withRestore(context, found);
    output.event({
      type: 'check',
      history: migrator.history.where,
      applied: applied.length,
      pending: pending.length,
      problems,
    });
    for (const { message } of problems) output.line(`problem  ${message}`);
    if (problems.length > 0) return exitCodes.refused;
    output.line(
      `ok       ${applied.length} applied as their files are, ${pending.length} pending, the history is as it was written`,
    );
    const { passed } = await (await load.safety()).lookAtStores(context, migrator, options);
    return passed ? exitCodes.ok : exitCodes.validation;
  });
}

/** `vecferry migrate new NAME` */
export async function newCommand(
  { output }: CommandContext,
  given: string,
  { migrations, collection }: MigrateOptions & { readonly collection: boolean },
): Promise<number> {
  const name = given
    .trim()
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replaceAll(/^_+|_+$/g, '');
  if (name === '') throw new InvalidEvent(`'${given}' makes no file name; say what it does: add_rank_to_articles`);
  await mkdir(migrations, { recursive: true });
  const number = nextNumber(await readMigrationFiles(migrations), new Date());
  const path = join(migrations, `${number}_${name}.${collection ? 'yaml' : 'sql'}`);
  // Two people who do so at once get two files, and the second is told of the number that is there twice.
  await writeFile(path, collection ? collectionTemplate(name) : sqlTemplate, { flag: 'wx' });
  output.event({ type: 'written', path });
  output.line(`written  ${path}`);
  return exitCodes.ok;
}

/** As the folder numbers: one more than the last, in as many digits, or the time. */
function nextNumber({ files }: MigrationFolder, now: Date): string {
  const last = files.at(-1);
  if (last === undefined) return '001';
  if (isTimestamp(last.number)) return now.toISOString().replace(/\D/g, '').slice(0, 14);
  const digits = /^\d+/.exec(last.name)?.[0].length ?? 3;
  return String(last.number + 1).padStart(digits, '0');
}

const sqlTemplate = `-- migrate:up


-- migrate:down
-- what takes it back, from the last statement to the first; nothing here: nothing is to be taken back

`;

const collectionTemplate = (name: string): string => `# docs/migrations.md says what may stand here.
store: search
collection: ${name}
`;
