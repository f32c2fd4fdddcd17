import { z } from 'zod';
import { errorNames } from '../../../lib/errors.ts';
import { runKeys } from '../../../lib/keys.ts';
import { getJson, type ObjectStore } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { type Plan, planSchema } from '../../../lib/run-files.ts';
import { noRun } from '../../../lib/status.ts';
import type { Machine } from '../asl.ts';
import type { Deployment } from '../deployment.ts';
import { type Engine, startEngine } from '../engine.ts';
import type { Outcome } from '../execution.ts';
import { withRunLock } from '../run-lock.ts';
import { loadDeployment } from '../synthesize.ts';
import { moveLine, planLines } from './describe.ts';
import type { GivenEvent } from './event-input.ts';
import { exitCodes, failureFrom, failureOf } from './exit-codes.ts';
import { tellIndex } from './index-line.ts';
import type { Output } from './output.ts';
import { followRun } from './progress.ts';
import { shownCommand } from './shown-command.ts';

/** The commands that run something on this machine. Each returns the exit code. */

export interface CommandContext {
  readonly directory: string;
  readonly output: Output;
  readonly isTerminal: boolean;
  readonly verbose: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Runs a command, and turns what it throws into one message and an exit code. */
export type Work = (command: (context: CommandContext) => Promise<number>) => Promise<void>;

/** Opens the engine for `work`, and closes it whatever happens. */
export async function withEngine<T>(
  { directory, output, verbose }: CommandContext,
  work: (engine: Engine, deployment: Deployment) => Promise<T>,
): Promise<T> {
  const deployment = await loadDeployment(directory, () => {
    output.line('making   the state machine that cdk deploy installs; it is kept until its sources change');
  });
  const engine = await startEngine({
    directory,
    deployment,
    verbose,
    onFailure: (error) => {
      const { error: name, message } = failureFrom(error);
      output.event({ type: 'warning', message: `${name}: ${message}` });
      if (verbose) output.line(`tried again: ${name}: ${message}`);
    },
  });
  try {
    return await work(engine, deployment);
  } finally {
    await engine.close();
  }
}

/** `vecferry run EVENT` */
export async function runCommand(
  context: CommandContext,
  run: string,
  event: GivenEvent,
  again: string,
): Promise<number> {
  const { raw } = event;
  return await execute(context, run, { ...raw, run }, { again });
}

/**
 * The definition, with a plan that asks a store that is away three times instead of for half a minute: on one machine
 * somebody waits for the answer, and a wrong address is likelier than a restart. What comes later stays as patient as on AWS.
 */
export function briefPlan(definition: Machine): Machine {
  const plan = definition.States['Plan the run'];
  if (plan?.Retry === undefined) return definition;
  const away = errorNames.storeUnavailable;
  const retriers = plan.Retry.flatMap((retrier) => {
    if (!retrier.ErrorEquals.includes(away)) return [retrier];
    const others = retrier.ErrorEquals.filter((name) => name !== away);
    const brief = { ...retrier, ErrorEquals: [away], MaxAttempts: 2 };
    return others.length === 0 ? [brief] : [brief, { ...retrier, ErrorEquals: others }];
  });
  return { ...definition, States: { ...definition.States, 'Plan the run': { ...plan, Retry: retriers } } };
}

interface ExecuteOptions {
  /** The command that goes on where this one stopped. */
  readonly again: string;
  /** A part of the state machine in place of the whole. */
  readonly part?: (definition: Machine) => Machine;
  /** What comes first, once no other process has the run. */
  readonly begin?: () => Promise<void>;
}

/** Runs the state machine, or a part of it, to its end, and says how it went. */
export async function execute(
  context: CommandContext,
  run: string,
  input: unknown,
  options: ExecuteOptions,
): Promise<number> {
  const { directory, output } = context;
  return await withRunLock(directory, run, async () => {
    await options.begin?.();
    output.event({ type: 'started', run, where: openFileObjects(directory).locate(runKeys(run).prefix) });
    output.line(`run ${run}`);
    return await withEngine(context, async (engine, { definition }) => {
      const progress = followRun({
        objects: engine.objects,
        run,
        output,
        isTerminal: context.isTerminal,
        intervalMs: context.isTerminal ? 200 : 500,
        place: { directory },
      });
      const outcome = await engine.run({
        run,
        event: input,
        definition: briefPlan(options.part?.(definition) ?? definition),
        signal: context.signal,
        onState: ({ type, state, error }) => {
          output.event({ type: 'state', run, state, status: type, ...(error !== undefined && { error }) });
        },
      });
      const status = await progress.stop();
      return await tellOutcome(context, engine.objects, run, outcome, status, options.again);
    });
  });
}

async function tellOutcome(
  { directory, output }: CommandContext,
  objects: ObjectStore,
  run: string,
  outcome: Outcome,
  status: Awaited<ReturnType<ReturnType<typeof followRun>['stop']>>,
  again: string,
): Promise<number> {
  // A run that failed before its plan has a report too, and no status.
  const { report, reportPage } = runKeys(run);
  const written = new Set(await objects.list(report.slice(0, -'.json'.length)));
  const locate = (key: string): string | null => (written.has(key) ? objects.locate(key) : null);
  const reports = { report: locate(report), reportPage: locate(reportPage) };
  if (outcome.status === 'FAILED') {
    const failure = failureOf(outcome.error, outcome.cause);
    output.event({ type: 'result', run, status: 'failed', output: null, ...reports });
    output.fail(failure);
    await tellIndex(output, objects, run, { isMoved: status?.lastMove?.action === 'cutover' });
    if (reports.reportPage !== null) output.line(`report   ${reports.reportPage}`);
    if (failure.exitCode === exitCodes.readers && status?.lastMove !== undefined)
      output.line(`readers  ${moveLine(status.lastMove)}`);
    if (failure.exitCode === exitCodes.failed || failure.exitCode === exitCodes.readers)
      output.line(`go on    ${again}`);
    return failure.exitCode;
  }
  const isDone = outcome.status === 'SUCCEEDED';
  const result = isDone ? outcome.output : null;
  output.event({ type: 'result', run, status: isDone ? 'succeeded' : 'interrupted', output: result, ...reports });
  if (!isDone) {
    if (status?.lastMove?.action === 'step') {
      const back = shownCommand({ directory }, `rollback ${run}`);
      output.line(
        `readers  ${moveLine(status.lastMove)}; nobody watches them until the run goes on; ${back} takes them back`,
      );
    }
    output.line(`stopped; nothing is lost. Go on with: ${again}`);
    return exitCodes.interrupted;
  }
  output.line(`done     ${summaryOf(result)}`);
  const refused = refusalIn(result);
  await tellIndex(output, objects, run, { isMoved: refused === undefined && status?.lastMove?.action === 'cutover' });
  if (refused !== undefined) {
    output.line(`readers  stay where they are: ${refused}`);
    if (reports.reportPage !== null) output.line(`report   ${reports.reportPage}`);
    output.line(`go on    ${again}`);
    return exitCodes.readers;
  }
  if (status?.lastMove !== undefined) output.line(`readers  ${moveLine(status.lastMove)}`);
  if (reports.reportPage !== null) output.line(`report   ${reports.reportPage}`);
  return exitCodes.ok;
}

const summarySchema = z.object({ report: z.object({ summary: z.string() }) });

/** The report's one sentence; a run that stopped before it has none. */
function summaryOf(result: unknown): string {
  const parsed = summarySchema.safeParse(result);
  return parsed.success ? parsed.data.report.summary : 'as the event asks';
}

const refusalSchema = z.object({
  answer: z.object({ approved: z.literal(false), by: z.string(), reason: z.string() }),
});

/** Why a run that has ended well moved no readers: who did not approve. undefined where nobody was asked, or approved. */
export function refusalIn(result: unknown): string | undefined {
  const parsed = refusalSchema.safeParse(result);
  if (!parsed.success) return undefined;
  const { by, reason } = parsed.data.answer;
  if (by === '') return reason;
  return `rejected by ${by}${reason === '' ? '' : `: ${reason}`}`;
}

/** `vecferry plan EVENT`: the run's first state and nothing else; the target is not touched. */
export async function planCommand(context: CommandContext, run: string, event: GivenEvent): Promise<number> {
  const { output } = context;
  return await withEngine(context, async (engine, { definition }) => {
    const input = { ...event.raw, run, dryRun: true };
    const outcome = await engine.run({ run, event: input, definition: briefPlan(definition), signal: context.signal });
    if (outcome.status === 'ABORTED') return exitCodes.interrupted;
    if (outcome.status === 'FAILED') {
      const failure = failureOf(outcome.error, outcome.cause);
      output.fail(failure);
      return failure.exitCode;
    }
    const plan = await planOf(engine.objects, run);
    output.event({ type: 'plan', ...plan });
    for (const line of planLines(plan)) output.line(line);
    return exitCodes.ok;
  });
}

export async function planOf(objects: ObjectStore, run: string): Promise<Plan> {
  const plan = await getJson(objects, runKeys(run).plan, planSchema);
  if (plan === undefined) throw await noRun(objects, run);
  return plan;
}
