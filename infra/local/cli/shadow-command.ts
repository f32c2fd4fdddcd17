import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { flagNameOf } from '../../../lib/cutover/flag.ts';
import {
  fileLines,
  flagLines,
  type ShadowLines,
  type ShadowReport,
  shadowReport,
} from '../../../lib/cutover/shadow-report.ts';
import { InvalidEvent, NotFound } from '../../../lib/errors.ts';
import { parseAs } from '../../../lib/event.ts';
import { runKeys } from '../../../lib/keys.ts';
import { getJson } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { planSchema } from '../../../lib/run-files.ts';
import { count, milliseconds, percent, plural } from '../../../lib/words.ts';
import type { CommandContext } from './commands.ts';
import { exitCodes } from './exit-codes.ts';

/** `vecferry shadow FLAG|RUN|FILE…`: how alike both sides answered, from recorded reads alone. */

export interface ShadowArguments {
  readonly goal: string;
  readonly since?: string | undefined;
}

export async function shadowCommand(
  { directory, output }: CommandContext,
  given: readonly string[],
  args: ShadowArguments,
): Promise<number> {
  const goal = goalOf(args.goal);
  const since = args.since === undefined ? undefined : sinceOf(args.since);
  const { lines, where } = await find(directory, given, since);
  const report = await shadowReport(lines, goal);
  output.event({ type: 'shadow', where, ...report });
  for (const line of reportLines(report, where)) output.line(line);
  return exitCodes.ok;
}

function goalOf(text: string): number {
  // Number('') is 0, which asks for nothing.
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return parseAs(z.number().min(0).max(1), value, `--goal '${text}'`, InvalidEvent);
}

function sinceOf(text: string): number {
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new InvalidEvent(`--since '${text}' is no time; one looks like 2026-01-31T03:00:00Z`);
  return at;
}

/** Files as they are; else a run of this machine, whose flag and begin it knows; else a flag. @throws NotFound */
async function find(
  directory: string,
  given: readonly string[],
  since: number | undefined,
): Promise<{ readonly lines: ShadowLines; readonly where: string }> {
  const [name = ''] = given;
  if (given.length > 1 || (await isFile(name))) {
    return { lines: fileLines(given, since ?? 0), where: given.join(', ') };
  }
  const plan = /^[\w-]+$/.test(name)
    ? await getJson(openFileObjects(directory), runKeys(name).plan, planSchema)
    : undefined;
  const flag = plan === undefined ? name : flagNameOf(plan.event);
  const folder = join(directory, 'metrics', flag);
  const from = since ?? (plan === undefined ? 0 : Date.parse(plan.createdAt));
  if (plan !== undefined || (await isThere(folder))) return { lines: flagLines(folder, from), where: folder };
  const text = `'${name}' is no file, no run of ${directory} and no flag with metrics in ${join(directory, 'metrics')}`;
  throw new NotFound(`${text}; on AWS the client's lines are in the application's log, so save that to a file`, {
    ids: [name],
  });
}

const isThere = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );
const isFile = async (path: string): Promise<boolean> =>
  await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

function reportLines(report: ShadowReport, where: string): readonly string[] {
  const { goal, from, to, places, queries, overlap, depths, latency, otherLines } = report;
  const others = otherLines === 0 ? [] : [`${plural(otherLines, 'line')} left out that the client did not write`];
  if (overlap === null || latency === null) {
    return [`no shadow read was recorded in ${where}: nothing can be said of how alike both sides answer`, ...others];
  }
  const { active, other, difference } = latency;
  const shareOf = (below: number, all: number): string => `${count(below)} (${percent(below / all)})`;
  const millis = [
    ['active', active],
    ['other', other],
    ['difference', difference],
  ] as const;
  return [
    `${plural(queries, 'query')} answered by both sides, ${from} to ${to}: ${places.join(', ')} against the other side`,
    `overlap     mean ${percent(overlap.mean)}, lowest ${percent(overlap.lowest)}`,
    `below goal  ${shareOf(overlap.belowGoal, queries)} below an overlap of ${percent(goal)}`,
    ...millis.map(
      ([name, { mean, p50, p95 }]) => `${name.padEnd(11)} mean ${signed(mean)}, p50 ${signed(p50)}, p95 ${signed(p95)}`,
    ),
    ...(depths.length < 2
      ? []
      : depths.map(
          ({ k, queries: all, mean, lowest, belowGoal }) =>
            `overlap@${k} of ${plural(all, 'query')}: mean ${percent(mean)}, lowest ${percent(lowest)}, ${count(belowGoal)} below`,
        )),
    ...others,
  ];
}

function signed(value: number): string {
  return value < 0 ? `-${milliseconds(-value)}` : milliseconds(value);
}
