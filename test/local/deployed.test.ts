import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { GetObjectCommand, ListObjectsV2Command, NoSuchKey, S3Client } from '@aws-sdk/client-s3';
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import type { CommandContext } from '../../infra/local/commands.ts';
import { deployedRollback, deployedRun, deployedStatus } from '../../infra/local/deployed.ts';
import type { Failure } from '../../infra/local/exit-codes.ts';
import type { OutputEvent } from '../../infra/local/output.ts';
import { synthesize } from '../../infra/local/synthesize.ts';
import { validateCommand } from '../../infra/local/validate-command.ts';
import { parseEvent } from '../../lib/event.ts';

const cloudFormation = mockClient(CloudFormationClient);
const stepFunctions = mockClient(SFNClient);
const s3 = mockClient(S3Client);
const lambda = mockClient(LambdaClient);

const machine = 'arn:aws:states:eu-central-1:111122223333:stateMachine:Run';
const execution = 'arn:aws:states:eu-central-1:111122223333:execution:Run:r1';
const outputs = { StateMachineArn: machine, RunsBucket: 'runs', RollBackFunction: 'rb' };
const raw = { source: { store: 'qdrant', collection: 'a' }, target: { store: 'chroma', collection: 'b' } };
const event = { raw, parsed: parseEvent(raw) };

let events: OutputEvent[];
let failures: Failure[];
let context: CommandContext;
beforeEach(() => {
  for (const mock of [cloudFormation, stepFunctions, s3, lambda]) mock.reset();
  const Outputs = Object.entries(outputs).map(([OutputKey, OutputValue]) => ({ OutputKey, OutputValue }));
  const stack = { StackName: 'Vecferry', CreationTime: new Date(), StackStatus: 'CREATE_COMPLETE', Outputs } as const;
  cloudFormation.on(DescribeStacksCommand).resolves({ Stacks: [stack] });
  s3.on(GetObjectCommand).rejects(new NoSuchKey({ message: 'none', $metadata: {} }));
  s3.on(ListObjectsV2Command).resolves({});
  events = [];
  failures = [];
  context = {
    directory: '.',
    isTerminal: false,
    verbose: false,
    signal: new AbortController().signal,
    output: {
      json: true,
      event: (each) => void events.push(each),
      line: () => undefined,
      fail: (failure) => void failures.push(failure),
    },
  };
});

describe('vecferry --stack', () => {
  test('reads the outputs that the stack really has', async () => {
    const { Outputs } = await synthesize();
    expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(Object.keys(outputs)));
  });

  test("starts the execution under the run's id with the event, and tells how it ended", async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: '{"run":"r1"}' });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(0);
    const [call] = stepFunctions.commandCalls(StartExecutionCommand);
    expect(call?.args[0].input).toMatchObject({ stateMachineArn: machine, name: 'r1' });
    expect(JSON.parse(call?.args[0].input.input ?? '')).toEqual({ ...raw, run: 'r1' });
    expect(events.at(-1)).toMatchObject({ type: 'result', status: 'succeeded', output: { run: 'r1' } });
  });

  test('validate: starts it with the event as one that only validates, and cuts nothing over', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: '{"run":"r1"}' });
    const argument = JSON.stringify({ ...raw, cutover: { flag: 'articles' } });
    await expect(validateCommand(context, { argument, run: 'r1', stack: 'Vecferry' })).resolves.toBe(0);
    const [call] = stepFunctions.commandCalls(StartExecutionCommand);
    expect(JSON.parse(call?.args[0].input.input ?? '')).toEqual({ ...raw, run: 'r1', mode: 'validate', cutover: null });
    const ofRun = validateCommand(context, { argument: 'r1', stack: 'Vecferry' });
    await expect(ofRun).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/go with an event/),
    });
  });

  test('takes another name for an execution that goes on with a run which has ended, since names serve once', async () => {
    const taken = new ExecutionAlreadyExists({ message: 'taken', $metadata: {} });
    stepFunctions
      .on(StartExecutionCommand)
      .rejectsOnce(taken)
      .resolves({ executionArn: `${execution}-again` });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: '{}' });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(0);
    const [, second] = stepFunctions.commandCalls(StartExecutionCommand);
    expect(second?.args[0].input.name).toMatch(/^r1-again-/);
    expect(JSON.parse(second?.args[0].input.input ?? '')).toMatchObject({ run: 'r1' });
  });

  test('refuses a run that is under way with another event', async () => {
    stepFunctions.on(StartExecutionCommand).rejects(new ExecutionAlreadyExists({ message: 'taken', $metadata: {} }));
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'RUNNING' });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('gives the exit code of the error that the execution ended with', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'FAILED', error: 'Incompatible', cause: 'too wide' });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(3);
    expect(failures).toEqual([{ error: 'Incompatible', message: 'too wide', exitCode: 3 }]);
  });

  test('leaves the execution running when only the watching is stopped', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'RUNNING' });
    const watching = { ...context, signal: AbortSignal.timeout(50) };
    await expect(deployedRun(watching, 'Vecferry', 'r1', event)).resolves.toBe(130);
    expect(stepFunctions.calls().map(({ args }) => args[0].constructor.name)).not.toContain('StopExecutionCommand');
  });

  test('says that there is no such stack, and how to make one', async () => {
    const missing = Object.assign(new Error('Stack with id Nope does not exist'), { name: 'ValidationError' });
    cloudFormation.on(DescribeStacksCommand).rejects(missing);
    const looking = deployedStatus(context, 'Nope', 'r1');
    await expect(looking).rejects.toMatchObject({ name: 'NotFound', message: expect.stringContaining('cdk deploy') });
  });

  test('refuses a stack that is no vecferry', async () => {
    const stack = {
      StackName: 'Other',
      CreationTime: new Date(),
      StackStatus: 'CREATE_COMPLETE',
    } as const;
    cloudFormation.on(DescribeStacksCommand).resolves({ Stacks: [stack] });
    await expect(deployedStatus(context, 'Other', 'r1')).rejects.toMatchObject({ name: 'InvalidEvent' });
  });

  test('rolls back by the function of the stack, and fails under the name of its error', async () => {
    const answer = (value: unknown) => new TextEncoder().encode(JSON.stringify(value)) as never;
    const moved = { at: '2026-01-01T00:00:00.000Z', action: 'rollback', kind: 'alias', name: 'a', from: 'b', to: 'c' };
    lambda.on(InvokeCommand).resolvesOnce({ Payload: answer(moved) });
    await expect(deployedRollback(context, 'Vecferry', 'r1')).resolves.toBe(0);
    expect(lambda.commandCalls(InvokeCommand)[0]?.args[0].input).toMatchObject({
      FunctionName: 'rb',
      Payload: '{"run":"r1"}',
    });
    lambda.on(InvokeCommand).resolves({
      FunctionError: 'Unhandled',
      Payload: answer({ errorType: 'NotFound', errorMessage: 'never cut over' }),
    });
    await expect(deployedRollback(context, 'Vecferry', 'r1')).rejects.toMatchObject({ name: 'NotFound' });
  });
});
