import { ImportFailed, Incompatible, TakenBack, ValidationFailed } from '../../../../lib/errors.ts';
import { parseEvent } from '../../../../lib/event.ts';
import { type CommandContext, runCommand } from '../commands.ts';
import { moveCommand } from '../cutover-commands.ts';
import { exitCodes } from '../exit-codes.ts';

/** What a collection cannot be changed to in place is copied by the main job: its plan, its validation, its cutover and its rollback. */

const failures: Readonly<Record<number, new (message: string, details: { ids: readonly string[] }) => Error>> = {
  [exitCodes.refused]: Incompatible,
  [exitCodes.validation]: ValidationFailed,
  [exitCodes.readers]: TakenBack,
};

/** Runs the job to its end, under an id by which the next try goes on with it. @throws what it ended with; its own words are told before */
export async function copyBy(context: CommandContext, event: unknown, run: string): Promise<void> {
  const parsed = parseEvent(event);
  const code = await runCommand(context, run, { raw: { ...Object(event) }, parsed }, 'vecferry migrate up');
  if (code === exitCodes.ok) return;
  const Failure = failures[code] ?? ImportFailed;
  const text = `the copy, run ${run}, did not come to its end (exit code ${code}): what it said stands above, and in vecferry status ${run}`;
  throw new Failure(`${text}; vecferry migrate up goes on with it`, { ids: [run] });
}

/** Takes the readers of a copy back, as `vecferry rollback` does. */
export async function rollBackBy(context: CommandContext, run: string): Promise<void> {
  const code = await moveCommand(context, 'roll-back', { run, reason: 'vecferry migrate down' });
  if (code !== exitCodes.ok)
    throw new TakenBack(`the readers of run ${run} were not taken back (exit code ${code})`, { ids: [run] });
}
