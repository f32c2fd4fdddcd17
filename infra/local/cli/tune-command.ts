import type { z } from 'zod';
import { InvalidEvent } from '../../../lib/errors.ts';
import { parseAs, parseRunId } from '../../../lib/event.ts';
import { runKeys } from '../../../lib/keys.ts';
import { getJson, type ObjectStore } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { settingsText } from '../../../lib/recall/search-steps.ts';
import { type Tuning, tuningSchema } from '../../../lib/run-files.ts';
import { repeatOutput, reportOutput, tuneGoal } from '../../../lib/states.ts';
import { milliseconds, percent } from '../../../lib/words.ts';
import { withRunLock } from '../run-lock.ts';
import { type CommandContext, planOf, withEngine } from './commands.ts';
import { exitCodes } from './exit-codes.ts';
import type { Output } from './output.ts';
import { shownCommand } from './shown-command.ts';

/** `vecferry tune RUN`: the functions of "Tune the search", "Find the causes" and "Write the report", for a run that was validated. */

export interface TuneArguments {
  readonly atLeast?: string | undefined;
  readonly maxP95?: string | undefined;
}

type TunedSet = Tuning['sets'][number];
type Goal = ReturnType<typeof goalOf>;

const pollMs = 500;

export async function tuneCommand(context: CommandContext, given: string, args: TuneArguments): Promise<number> {
  const run = parseRunId(given);
  const goal = goalOf(args);
  const { directory, output } = context;
  const objects = openFileObjects(directory);
  await planOf(objects, run);
  const keys = runKeys(run);
  if ((await objects.get(keys.recall)) === undefined) {
    const text = `recall of run '${run}' is not measured yet; validate it first: vecferry validate ${run}`;
    throw new InvalidEvent(text, { ids: [run] });
  }
  return await withRunLock(directory, run, () =>
    withEngine(context, async (engine) => {
      await forgetFinished(objects, run);
      const following = follow(objects, run, output, goal);
      try {
        for (let done = false; !done; ) {
          if (context.signal.aborted) {
            output.line(
              `stopped; nothing is lost. Go on with: ${shownCommand(context, `tune ${run}${argumentsText(args)}`)}`,
            );
            return exitCodes.interrupted;
          }
          ({ done } = repeatOutput.parse(await engine.invoke('tune-search', { run, goal }, context.signal)));
        }
      } finally {
        await following.stop();
      }
      await engine.invoke('find-causes', { run });
      const { passed, summary } = reportOutput.parse(await engine.invoke('write-report', { run }));
      const sets = (await getJson(objects, keys.tuning, tuningSchema))?.sets ?? [];
      const reportPage = objects.locate(keys.reportPage);
      output.event({ type: 'tuned', run, sets, passed, summary, reportPage });
      for (const line of outcomeLines(sets)) output.line(line);
      output.line(`${(passed ? 'done' : 'not yet').padEnd(8)} ${summary}`);
      output.line(`report   ${reportPage}`);
      // Found, though not yet in use, is what was asked for; nothing found is not.
      return sets.every(({ chosen }) => chosen !== null) ? exitCodes.ok : exitCodes.validation;
    }),
  );
}

/** @throws InvalidEvent when a figure is none, or out of its range. */
function goalOf({ atLeast, maxP95 }: TuneArguments) {
  return {
    ...(atLeast !== undefined && { atLeast: figure('--at-least', tuneGoal.shape.atLeast, atLeast) }),
    ...(maxP95 !== undefined && { maxP95Ms: figure('--max-p95', tuneGoal.shape.maxP95Ms, maxP95) }),
  };
}

function figure(option: string, schema: z.ZodType<number | undefined>, text: string): number | undefined {
  // Number('') is 0, which asks for nothing.
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return parseAs(schema, value, `${option} '${text}'`, InvalidEvent);
}

function argumentsText({ atLeast, maxP95 }: TuneArguments): string {
  return `${atLeast === undefined ? '' : ` --at-least ${atLeast}`}${maxP95 === undefined ? '' : ` --max-p95 ${maxP95}`}`;
}

/** A tuning that came to its end is done anew; one that was cut off goes on. */
async function forgetFinished(objects: ObjectStore, run: string): Promise<void> {
  const { tuning: key } = runKeys(run);
  const earlier = await getJson(objects, key, tuningSchema);
  if (earlier?.done === true) await objects.delete(key);
}

/** Prints each point of the curves as soon as it is there. */
function follow(
  objects: ObjectStore,
  run: string,
  output: Output,
  { maxP95Ms = Number.POSITIVE_INFINITY }: Goal,
): { stop(): Promise<void> } {
  const shown = new Map<string, number>();
  const show = async (): Promise<void> => {
    const tuning = await getJson(objects, runKeys(run).tuning, tuningSchema);
    for (const { set, targetVector, k, atLeast, curve } of tuning?.sets ?? []) {
      const key = `${set}\n${targetVector}`;
      const from = shown.get(key) ?? 0;
      if (from === 0 && curve.length > 0) {
        const name = targetVector === '' ? '' : `, vector ${targetVector}`;
        output.line(`set ${set}${name}: recall@${k}, at least ${percent(atLeast)} asked for`);
        output.line(row(['recall', '95% interval', 'p50', 'p95', 'settings (* holds)']));
      }
      for (const point of curve.slice(from)) {
        output.event({ type: 'tried', run, set, targetVector, ...point });
        const { mean, low, high, p50, p95, settings } = point;
        const interval = `${percent(low)} to ${percent(high)}`;
        const held = low >= atLeast && p95 <= maxP95Ms ? ' *' : '';
        output.line(
          row([percent(mean), interval, milliseconds(p50), milliseconds(p95), `${settingsText(settings)}${held}`]),
        );
      }
      shown.set(key, curve.length);
    }
  };
  let showing = Promise.resolve();
  const timer = setInterval(() => {
    showing = showing.then(show);
  }, pollMs);
  return {
    stop: async () => {
      clearInterval(timer);
      await showing;
      await show();
    },
  };
}

const widths = [8, 20, 10, 10];
const row = (cells: readonly string[]): string =>
  `  ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' ')}`;

function outcomeLines(sets: readonly TunedSet[]): readonly string[] {
  if (sets.length === 0) return ['nothing to tune: every set that can be searched holds its goal'];
  return sets.flatMap(({ set, chosen, kept, how }) => {
    if (chosen === null) return [`${set}: ${how}`];
    const where = kept ? `kept: ${how}` : `for the application to set: ${how}`;
    return [`${set}: ${settingsText(chosen)} holds the goal at the lowest latency; ${where}`];
  });
}
