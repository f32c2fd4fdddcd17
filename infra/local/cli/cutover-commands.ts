import { userInfo } from 'node:os';
import { type Answer, answerSchema, moveSchema } from '../../../lib/cutover/cutover-files.ts';
import { parseRunId } from '../../../lib/event.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { retireOutput } from '../../../lib/states.ts';
import { withRunLock } from '../run-lock.ts';
import { type CommandContext, planOf, withEngine } from './commands.ts';
import { answerLine, moveLine } from './describe.ts';
import { exitCodes } from './exit-codes.ts';
import { quoted, shownCommand } from './shown-command.ts';

/**
 * The commands that answer a run or move its readers: each calls one function by itself, on this machine or of a stack.
 */

/** Calls a function of vecferry by its name. @throws StateFailure named as the function's error. */
type CallFunction = (payload: unknown) => Promise<unknown>;

export type MovingFunction = 'cut-over' | 'roll-back' | 'finish';

export interface MoveArguments {
  readonly run: string;
  readonly reason?: string | undefined;
  readonly stack?: string | undefined;
}

/** `vecferry cutover`, `rollback` and `finish`. */
export async function moveCommand(
  context: CommandContext,
  name: MovingFunction,
  given: MoveArguments,
): Promise<number> {
  const run = parseRunId(given.run);
  const payload = { run, ...(given.reason !== undefined && { reason: given.reason }) };
  const moved = moveSchema.parse(await callFor(context, name, run, given.stack, (call) => call(payload)));
  context.output.event({ ...moved, type: 'moved', run });
  context.output.line(moveLine(moved));
  return exitCodes.ok;
}

export interface AnswerArguments {
  readonly run: string;
  readonly by?: string | undefined;
  readonly reason?: string | undefined;
  readonly stack?: string | undefined;
}

/** `vecferry approve` and `reject`. */
export async function answerCommand(
  context: CommandContext,
  answer: Answer['answer'],
  given: AnswerArguments,
): Promise<number> {
  const run = parseRunId(given.run);
  const payload = { run, answer, by: given.by ?? userInfo().username, reason: given.reason ?? '' };
  const told = answerSchema.parse(await callFor(context, 'answer-approval', run, given.stack, (call) => call(payload)));
  context.output.event({ ...told, type: 'answered', run });
  context.output.line(answerLine(told));
  return exitCodes.ok;
}

export interface RetireArguments {
  readonly run: string;
  /** The name of what is dropped; left out: it is only said. */
  readonly confirm?: string | undefined;
  readonly stack?: string | undefined;
}

/** `vecferry retire` */
export async function retireCommand(context: CommandContext, given: RetireArguments): Promise<number> {
  const run = parseRunId(given.run);
  const { confirm, stack } = given;
  const payload = { run, ...(confirm !== undefined && { confirm }) };
  const told = retireOutput.parse(await callFor(context, 'retire', run, stack, (call) => call(payload)));
  context.output.event({ ...told, type: 'retired', run });
  context.output.line(`${told.dropped ? 'retired ' : 'retire  '} ${told.what}`);
  if (!told.dropped) {
    const place = { directory: context.directory, stack };
    context.output.line(`drop     ${shownCommand(place, `retire ${run} --confirm ${quoted(told.name)}`)}`);
  }
  return exitCodes.ok;
}

/**
 * An answer and a rollback are for a run that is under way, so they take no lock: whoever moves readers looks into the log
 * of moves afterwards (lib/cutover/moves.ts). A cutover, the end of the double writes or a drop beside a run would undo what that run is doing.
 */
const besideItsRun: readonly string[] = ['answer-approval', 'roll-back'];

async function callFor(
  context: CommandContext,
  name: MovingFunction | 'answer-approval' | 'retire',
  run: string,
  stack: string | undefined,
  work: (call: CallFunction) => Promise<unknown>,
): Promise<unknown> {
  const isBeside = besideItsRun.includes(name);
  if (stack !== undefined) {
    const { openStack } = await import('./deployed.ts');
    const deployed = await openStack(stack);
    if (!isBeside) await deployed.refuseWhileRunning(run);
    return await work((payload) => deployed.call(name, payload));
  }
  const { directory } = context;
  await planOf(openFileObjects(directory), run);
  const here = (): Promise<unknown> => withEngine(context, (engine) => work((payload) => engine.invoke(name, payload)));
  return isBeside ? await here() : await withRunLock(directory, run, here);
}
