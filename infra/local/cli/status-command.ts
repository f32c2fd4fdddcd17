import { parseRunId } from '../../../lib/event.ts';
import type { ObjectStore } from '../../../lib/objects.ts';
import { listRuns, type RunSummary } from '../../../lib/runs.ts';
import { runStatus } from '../../../lib/status.ts';
import { statusLines } from './describe.ts';
import { exitCodes } from './exit-codes.ts';
import { failedCommand } from './failed-command.ts';
import type { Output } from './output.ts';
import type { Place } from './shown-command.ts';

export interface StatusInput {
  readonly output: Output;
  readonly objects: ObjectStore;
  readonly place: Place;
  /** Left out: every run. */
  readonly run?: string | undefined;
  readonly failed: boolean;
}

/** `vecferry status`: every run, or how far one is. */
export async function statusCommand({ output, objects, place, run: given, failed }: StatusInput): Promise<number> {
  if (given === undefined) {
    const runs = await listRuns(objects);
    for (const run of runs) output.event({ type: 'run', ...run });
    for (const line of runLines(runs)) output.line(line);
    if (runs.length === 0) output.line(`no run in ${objects.locate('runs/')}`);
    return exitCodes.ok;
  }
  const run = parseRunId(given);
  if (failed) return await failedCommand(output, objects, run);
  const status = await runStatus({ objects, run });
  output.event({ type: 'status', ...status });
  for (const line of statusLines(status, place)) output.line(line);
  return exitCodes.ok;
}

/** A line a run: its id, when it was started (UTC), how it ended, where its readers are, and what it moves. */
function runLines(runs: readonly RunSummary[]): readonly string[] {
  const rows = runs.map((run) => [
    run.run,
    run.createdAt?.slice(0, 16).replace('T', ' ') ?? '-',
    run.ended ?? 'not ended',
    readersText(run),
    run.problem ?? (run.source === null ? '' : `${run.source} -> ${run.target}`),
  ]);
  const widths = [0, 1, 2, 3].map((at) => Math.max(0, ...rows.map((row) => row[at]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function readersText({ readers, percent }: RunSummary): string {
  if (readers === null) return '';
  const texts = {
    source: 'readers on the source',
    share: `${percent} % of reads on the target`,
    target: 'readers on the target',
    finished: 'finished',
    retired: 'retired',
  };
  return texts[readers];
}
