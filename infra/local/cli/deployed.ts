import { setTimeout as sleep } from 'node:timers/promises';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  paginateListExecutions,
  SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { InvalidEvent, NotFound, RunMismatch } from '../../../lib/errors.ts';
import { openS3Objects } from '../../../lib/objects-s3.ts';
import { StateFailure } from '../limits.ts';
import { type CommandContext, refusalIn } from './commands.ts';
import { moveLine } from './describe.ts';
import type { GivenEvent } from './event-input.ts';
import { exitCodes, failureOf } from './exit-codes.ts';
import { followRun } from './progress.ts';
import { statusCommand } from './status-command.ts';

/**
 * The same commands against a deployed stack: the state machine runs on AWS, and progress is read from the run's objects.
 * Ctrl-C ends the watching, not the run. Credentials and region come from the environment, as for the AWS CLI.
 */

/** What infra/stack.ts prints as outputs, and this reads. */
export const stackOutputs = {
  machine: 'StateMachineArn',
  runs: 'RunsBucket',
  'cut-over': 'CutOverFunction',
  'roll-back': 'RollBackFunction',
  'answer-approval': 'AnswerApprovalFunction',
  finish: 'FinishFunction',
  retire: 'RetireFunction',
} as const;
type CalledFunction = 'cut-over' | 'roll-back' | 'answer-approval' | 'finish' | 'retire';

/** Seconds between two looks at an execution: DescribeExecution allows some ten a second an account. */
const lookSeconds = 3;

export async function deployedRun(
  context: CommandContext,
  stack: string,
  run: string,
  event: GivenEvent,
): Promise<number> {
  const { output, signal } = context;
  const deployed = await openStack(stack);
  const objects = openS3Objects(deployed.output('runs'), new S3Client({}));
  const client = new SFNClient({});
  const executionArn = await start(client, deployed.output('machine'), run, { ...event.raw, run });
  output.event({ type: 'started', run, where: executionArn });
  output.line(`run ${run}: ${executionArn}`);
  const progress = followRun({
    objects,
    run,
    output,
    isTerminal: context.isTerminal,
    intervalMs: lookSeconds * 1000,
    place: { directory: context.directory, stack },
  });
  const ended = await waitForEnd(client, executionArn, signal);
  const status = await progress.stop();
  if (ended === undefined) {
    output.line(`the run goes on; look again with: vecferry status ${run} --stack ${stack}`);
    return exitCodes.interrupted;
  }
  const reports = { report: status?.report ?? null, reportPage: status?.reportPage ?? null };
  if (ended.status !== 'SUCCEEDED') {
    const failure = failureOf(ended.error ?? ended.status, ended.cause ?? `the execution ended as ${ended.status}`);
    output.event({ type: 'result', run, status: 'failed', output: null, ...reports });
    output.fail(failure);
    if (reports.reportPage !== null) output.line(`report   ${reports.reportPage}`);
    return failure.exitCode;
  }
  const result: unknown = JSON.parse(ended.output ?? 'null');
  output.event({ type: 'result', run, status: 'succeeded', output: result, ...reports });
  const page = reports.reportPage ?? 'not written: the event asks for a plan only';
  const more = `vecferry status ${run} --stack ${stack} says more`;
  output.line(`done     ${status === undefined ? more : `report ${page}`}`);
  const refused = refusalIn(result);
  if (refused !== undefined) output.line(`readers  stay where they are: ${refused}`);
  else if (status?.lastMove !== undefined) output.line(`readers  ${moveLine(status.lastMove)}`);
  return refused === undefined ? exitCodes.ok : exitCodes.readers;
}

export async function deployedStatus(
  context: CommandContext,
  stack: string,
  run: string | undefined,
  failed = false,
): Promise<number> {
  const deployed = await openStack(stack);
  const objects = openS3Objects(deployed.output('runs'), new S3Client({}));
  return await statusCommand({ ...context, objects, place: { directory: context.directory, stack }, run, failed });
}

export interface DeployedStack {
  /** An output by what it stands for. @throws InvalidEvent when the stack has none, since it is no vecferry of this release. */
  output(name: keyof typeof stackOutputs): string;
  /** Calls a function and gives what it returns. @throws StateFailure named as the function's error. */
  call(name: CalledFunction, payload: unknown): Promise<unknown>;
  /** @throws RunMismatch when an execution of the run is under way. */
  refuseWhileRunning(run: string): Promise<void>;
}

/** @throws NotFound when there is no such stack. */
export async function openStack(stack: string): Promise<DeployedStack> {
  const outputs = await readOutputs(stack);
  const output: DeployedStack['output'] = (name) => {
    const value = outputs.get(stackOutputs[name]);
    if (value !== undefined) return value;
    const text = `the stack '${stack}' has no output ${stackOutputs[name]}: it is no vecferry of this release; deploy it again`;
    throw new InvalidEvent(text, { ids: [stack] });
  };
  return {
    output,
    call: async (name, payload) => await invoke(output(name), payload),
    refuseWhileRunning: async (run) => {
      const executions = await executionsUnderWay(new SFNClient({}), output('machine'));
      const one = executions.find((name) => name === run || name.startsWith(againName(run)));
      if (one === undefined) return;
      const text = `run '${run}' is under way as the execution ${one}; wait for it, or stop it first`;
      throw new RunMismatch(`${text}. vecferry rollback ${run} --stack ${stack} takes readers back at any time`, {
        ids: [run],
      });
    },
  };
}

async function invoke(functionName: string, payload: unknown): Promise<unknown> {
  const request = new InvokeCommand({ FunctionName: functionName, Payload: JSON.stringify(payload) });
  const { FunctionError, Payload } = await new LambdaClient({}).send(request);
  const answer: unknown = JSON.parse(new TextDecoder().decode(Payload));
  if (FunctionError === undefined) return answer;
  const error =
    typeof answer === 'object' && answer !== null && 'errorType' in answer ? String(answer.errorType) : FunctionError;
  throw new StateFailure(error, JSON.stringify(answer));
}

async function executionsUnderWay(client: SFNClient, stateMachineArn: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const page of paginateListExecutions({ client }, { stateMachineArn, statusFilter: 'RUNNING' })) {
    names.push(...(page.executions ?? []).flatMap(({ name }) => name ?? []));
  }
  return names;
}

/** @throws NotFound when there is no such stack. */
async function readOutputs(stack: string): Promise<ReadonlyMap<string | undefined, string | undefined>> {
  const found = await new CloudFormationClient({})
    .send(new DescribeStacksCommand({ StackName: stack }))
    .catch((cause: unknown) => {
      const isAbsent = cause instanceof Error && cause.name === 'ValidationError';
      if (!isAbsent) throw cause;
      const text = `there is no stack '${stack}' in this account and region; deploy it with npx cdk deploy, or set AWS_PROFILE and AWS_REGION`;
      throw new NotFound(text, { ids: [stack], cause });
    });
  return new Map(found.Stacks?.[0]?.Outputs?.map(({ OutputKey, OutputValue }) => [OutputKey, OutputValue]));
}

/**
 * Starts the execution under the run's id, or joins the one that is under way with the same input. Names of executions
 * cannot be used again for 90 days, so going on with a run that has ended takes another name; the event holds the run's id.
 */
async function start(client: SFNClient, stateMachineArn: string, run: string, event: unknown): Promise<string> {
  const input = JSON.stringify(event);
  const send = async (name: string): Promise<string> => {
    const { executionArn } = await client.send(new StartExecutionCommand({ stateMachineArn, name, input }));
    if (executionArn === undefined) throw new Error('Step Functions gave the execution no ARN');
    return executionArn;
  };
  try {
    return await send(run);
  } catch (error) {
    if (!(error instanceof ExecutionAlreadyExists)) throw error;
  }
  const earlier = `${stateMachineArn.replace(':stateMachine:', ':execution:')}:${run}`;
  if ((await statusOf(client, earlier)) === 'RUNNING') {
    throw new RunMismatch(`run '${run}' is under way with another event; wait for it, or stop ${earlier}`, {
      ids: [run],
    });
  }
  return await send(`${againName(run)}${Date.now().toString(36)}`);
}

/** How the names of the executions begin that go on with a run. */
const againName = (run: string): string => `${run.slice(0, 60)}-again-`;

async function statusOf(client: SFNClient, executionArn: string): Promise<string | undefined> {
  try {
    return (await client.send(new DescribeExecutionCommand({ executionArn }))).status;
  } catch (error) {
    if (error instanceof ExecutionDoesNotExist) return undefined;
    throw error;
  }
}

interface Ended {
  readonly status: string;
  readonly error: string | undefined;
  readonly cause: string | undefined;
  readonly output: string | undefined;
}

/** undefined when the watching was stopped first. */
async function waitForEnd(client: SFNClient, executionArn: string, signal: AbortSignal): Promise<Ended | undefined> {
  while (!signal.aborted) {
    const { status = '', error, cause, output } = await client.send(new DescribeExecutionCommand({ executionArn }));
    if (status !== 'RUNNING') return { status, error, cause, output };
    await sleep(lookSeconds * 1000, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}
