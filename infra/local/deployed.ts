import { setTimeout as sleep } from 'node:timers/promises';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { InvalidEvent, NotFound, RunMismatch } from '../../lib/errors.ts';
import type { ObjectStore } from '../../lib/objects.ts';
import { openS3Objects } from '../../lib/objects-s3.ts';
import { moveSchema } from '../../lib/run-files.ts';
import { runStatus } from '../../lib/status.ts';
import type { CommandContext } from './commands.ts';
import { moveLine, statusLines } from './describe.ts';
import type { GivenEvent } from './event-input.ts';
import { exitCodes, failureOf } from './exit-codes.ts';
import { StateFailure } from './limits.ts';
import { followRun } from './progress.ts';

/**
 * The same commands against a deployed stack: the state machine runs on AWS, and progress is read from the run's objects.
 * Ctrl-C ends the watching, not the run. Credentials and region come from the environment, as for the AWS CLI.
 */

/** What infra/stack.ts prints as outputs, and this reads. */
export interface StackOutputs {
  readonly StateMachineArn: string;
  readonly RunsBucket: string;
  readonly RollBackFunction: string;
}

/** Seconds between two looks at an execution: DescribeExecution allows some ten a second an account. */
const lookSeconds = 3;

export async function deployedRun(
  context: CommandContext,
  stack: string,
  run: string,
  event: GivenEvent,
): Promise<number> {
  const { output, signal } = context;
  const outputs = await readOutputs(stack);
  const objects = openS3Objects(outputs.RunsBucket, new S3Client({}));
  const client = new SFNClient({});
  const executionArn = await start(client, outputs, run, { ...event.raw, run });
  output.event({ type: 'started', run, where: executionArn });
  output.line(`run ${run}: ${executionArn}`);
  const progress = followRun({ objects, run, output, isTerminal: context.isTerminal, intervalMs: lookSeconds * 1000 });
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
  output.event({ type: 'result', run, status: 'succeeded', output: JSON.parse(ended.output ?? 'null'), ...reports });
  output.line(`done     report ${reports.reportPage ?? 'not written: the event asks for a plan only'}`);
  return exitCodes.ok;
}

export async function deployedStatus(context: CommandContext, stack: string, run: string): Promise<number> {
  const { output } = context;
  const status = await runStatus({ objects: await deployedObjects(stack), run });
  output.event({ type: 'status', ...status });
  for (const line of statusLines(status)) output.line(line);
  return exitCodes.ok;
}

export async function deployedRollback(context: CommandContext, stack: string, run: string): Promise<number> {
  const { RollBackFunction } = await readOutputs(stack);
  const request = new InvokeCommand({ FunctionName: RollBackFunction, Payload: JSON.stringify({ run }) });
  const { FunctionError, Payload } = await new LambdaClient({}).send(request);
  const answer: unknown = JSON.parse(new TextDecoder().decode(Payload));
  if (FunctionError !== undefined) {
    const error =
      typeof answer === 'object' && answer !== null && 'errorType' in answer ? String(answer.errorType) : FunctionError;
    throw new StateFailure(error, JSON.stringify(answer));
  }
  const moved = moveSchema.parse(answer);
  context.output.event({ ...moved, type: 'moved', run });
  context.output.line(moveLine(moved));
  return exitCodes.ok;
}

async function deployedObjects(stack: string): Promise<ObjectStore> {
  const { RunsBucket } = await readOutputs(stack);
  return openS3Objects(RunsBucket, new S3Client({}));
}

/** @throws NotFound when there is no such stack. @throws InvalidEvent when it is not a vecferry of this release. */
async function readOutputs(stack: string): Promise<StackOutputs> {
  const found = await new CloudFormationClient({})
    .send(new DescribeStacksCommand({ StackName: stack }))
    .catch((cause: unknown) => {
      const isAbsent = cause instanceof Error && cause.name === 'ValidationError';
      if (!isAbsent) throw cause;
      const text = `there is no stack '${stack}' in this account and region; deploy it with npx cdk deploy, or set AWS_PROFILE and AWS_REGION`;
      throw new NotFound(text, { ids: [stack], cause });
    });
  const outputs = new Map(found.Stacks?.[0]?.Outputs?.map(({ OutputKey, OutputValue }) => [OutputKey, OutputValue]));
  const read = (name: keyof StackOutputs): string => {
    const value = outputs.get(name);
    if (value !== undefined) return value;
    throw new InvalidEvent(
      `the stack '${stack}' has no output ${name}: it is no vecferry of this release; deploy it again`,
      { ids: [stack] },
    );
  };
  return {
    StateMachineArn: read('StateMachineArn'),
    RunsBucket: read('RunsBucket'),
    RollBackFunction: read('RollBackFunction'),
  };
}

/**
 * Starts the execution under the run's id, or joins the one that is under way with the same input. Names of executions
 * cannot be used again for 90 days, so going on with a run that has ended takes another name; the event holds the run's id.
 */
async function start(
  client: SFNClient,
  { StateMachineArn }: StackOutputs,
  run: string,
  event: unknown,
): Promise<string> {
  const input = JSON.stringify(event);
  const send = async (name: string): Promise<string> => {
    const { executionArn } = await client.send(
      new StartExecutionCommand({ stateMachineArn: StateMachineArn, name, input }),
    );
    if (executionArn === undefined) throw new Error('Step Functions gave the execution no ARN');
    return executionArn;
  };
  try {
    return await send(run);
  } catch (error) {
    if (!(error instanceof ExecutionAlreadyExists)) throw error;
  }
  const earlier = `${StateMachineArn.replace(':stateMachine:', ':execution:')}:${run}`;
  if ((await statusOf(client, earlier)) === 'RUNNING') {
    throw new RunMismatch(`run '${run}' is under way with another event; wait for it, or stop ${earlier}`, {
      ids: [run],
    });
  }
  return await send(`${run.slice(0, 60)}-again-${Date.now().toString(36)}`);
}

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
