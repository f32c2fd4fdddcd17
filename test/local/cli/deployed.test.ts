import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { GetObjectCommand, ListObjectsV2Command, NoSuchKey, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ListExecutionsCommand,
  SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import type { CommandContext } from '../../../infra/local/cli/commands.ts';
import { answerCommand, moveCommand, retireCommand } from '../../../infra/local/cli/cutover-commands.ts';
import { deployedRun, deployedStatus, stackOutputs } from '../../../infra/local/cli/deployed.ts';
import type { Failure } from '../../../infra/local/cli/exit-codes.ts';
import type { OutputEvent } from '../../../infra/local/cli/output.ts';
import { validateCommand } from '../../../infra/local/cli/validate-command.ts';
import { synthesize } from '../../../infra/local/synthesize.ts';
import { parseEvent } from '../../../lib/event.ts';

const cloudFormation = mockClient(CloudFormationClient);
const stepFunctions = mockClient(SFNClient);
const s3 = mockClient(S3Client);
const lambda = mockClient(LambdaClient);

const machine = 'arn:aws:states:eu-central-1:111122223333:stateMachine:Run';
const execution = 'arn:aws:states:eu-central-1:111122223333:execution:Run:r1';
const outputs = {
  StateMachineArn: machine,
  RunsBucket: 'runs',
  RollBackFunction: 'rb',
  CutOverFunction: 'co',
  AnswerApprovalFunction: 'aa',
  FinishFunction: 'fi',
  RetireFunction: 're',
};
const raw = { source: { store: 'qdrant', collection: 'a' }, target: { store: 'chroma', collection: 'b' } };
const event = { raw, parsed: parseEvent(raw) };

let events: OutputEvent[];
let failures: Failure[];
let lines: string[];
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
  lines = [];
  context = {
    directory: '.',
    isTerminal: false,
    verbose: false,
    signal: new AbortController().signal,
    output: {
      json: true,
      event: (each) => void events.push(each),
      line: (line) => void lines.push(line),
      fail: (failure) => void failures.push(failure),
    },
  };
});

describe('vecferry --stack', () => {
  test('reads the outputs that the stack really has', async () => {
    const { Outputs } = await synthesize();
    expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(Object.values(stackOutputs)));
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

  test('a run whose objects cannot be read as it ends has passed all the same, and nothing is said of its report', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: '{"run":"r1"}' });
    s3.on(GetObjectCommand).rejects(new S3ServiceException({ name: 'AccessDenied', $fault: 'client', $metadata: {} }));
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(0);
    expect(events).toContainEqual({ type: 'warning', message: expect.stringContaining('cannot be shown') });
    expect(lines.at(-1)).toBe('done     vecferry status r1 --stack Vecferry says more');
  });

  test('validate: starts it with the event as one that only validates, and cuts nothing over', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: '{"run":"r1"}' });
    const argument = JSON.stringify({ ...raw, cutover: { flag: 'articles' } });
    await expect(validateCommand(context, { argument, run: 'r1', stack: 'Vecferry' })).resolves.toBe(0);
    const [call] = stepFunctions.commandCalls(StartExecutionCommand);
    expect(JSON.parse(call?.args[0].input.input ?? '')).toEqual({
      ...raw,
      run: 'r1',
      mode: 'validate',
      cutover: null,
      live: false,
    });
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

  describe('calls the functions of the stack', () => {
    const answer = (value: unknown) => new TextEncoder().encode(JSON.stringify(value)) as never;
    const at = '2026-01-01T00:00:00.000Z';
    const called = () =>
      lambda.commandCalls(InvokeCommand).map(({ args: [{ input }] }) => [input.FunctionName, String(input.Payload)]);
    const moved = (action: string) => ({ at, action, kind: 'flag', name: 'a', from: 'b', to: 'c' });
    beforeEach(() => {
      stepFunctions.on(ListExecutionsCommand).resolves({ executions: [] });
    });

    test('to roll back, with the reason, also while the run is under way', async () => {
      stepFunctions.on(ListExecutionsCommand).resolves({ executions: [underWay('r1')] });
      lambda.on(InvokeCommand).resolves({ Payload: answer(moved('rollback')) });
      const given = { run: 'r1', reason: 'too slow', stack: 'Vecferry' };
      await expect(moveCommand(context, 'roll-back', given)).resolves.toBe(0);
      expect(called()).toEqual([['rb', '{"run":"r1","reason":"too slow"}']]);
      expect(events).toMatchObject([{ type: 'moved', run: 'r1', action: 'rollback' }]);
    });

    test('to approve and to reject, and says whether the run has the answer', async () => {
      const given = { answer: 'approved', by: 'ana', reason: '', at, askedAt: at, taken: true };
      lambda.on(InvokeCommand).resolves({ Payload: answer(given) });
      const approving = answerCommand(context, 'approved', { run: 'r1', by: 'ana', stack: 'Vecferry' });
      await expect(approving).resolves.toBe(0);
      expect(called()).toEqual([['aa', '{"run":"r1","answer":"approved","by":"ana","reason":""}']]);
      expect(events).toMatchObject([{ type: 'answered', run: 'r1', by: 'ana', taken: true }]);
    });

    test('to cut over and to finish, and not while an execution of the run is under way, whose work it would undo', async () => {
      lambda.on(InvokeCommand).resolvesOnce({ Payload: answer(moved('cutover')) });
      lambda.on(InvokeCommand).resolves({ Payload: answer(moved('finish')) });
      await expect(moveCommand(context, 'cut-over', { run: 'r1', stack: 'Vecferry' })).resolves.toBe(0);
      await expect(moveCommand(context, 'finish', { run: 'r1', stack: 'Vecferry' })).resolves.toBe(0);
      expect(called().map(([name]) => name)).toEqual(['co', 'fi']);
      for (const name of ['r1', 'r1-again-x']) {
        stepFunctions.on(ListExecutionsCommand).resolves({ executions: [underWay('other'), underWay(name)] });
        const refused = moveCommand(context, 'finish', { run: 'r1', stack: 'Vecferry' });
        await expect(refused).rejects.toMatchObject({ name: 'RunMismatch', message: expect.stringContaining(name) });
      }
      expect(called()).toHaveLength(2);
    });

    test('to say what would be dropped and to drop it, the name as it was given, and not while the run is under way', async () => {
      const told = { dropped: false, what: 'would drop it', name: "it's", records: 7, bytes: null };
      lambda.on(InvokeCommand).resolves({ Payload: answer(told) });
      await expect(retireCommand(context, { run: 'r1', stack: 'Vecferry' })).resolves.toBe(0);
      lambda.on(InvokeCommand).resolves({ Payload: answer({ ...told, dropped: true }) });
      await expect(retireCommand(context, { run: 'r1', confirm: "it's", stack: 'Vecferry' })).resolves.toBe(0);
      expect(called()).toEqual([
        ['re', '{"run":"r1"}'],
        ['re', '{"run":"r1","confirm":"it\'s"}'],
      ]);
      expect(events).toMatchObject([
        { type: 'retired', run: 'r1', dropped: false, name: "it's", records: 7, bytes: null },
        { type: 'retired', dropped: true },
      ]);
      expect(lines.join('\n')).toContain("vecferry retire r1 --confirm 'it'\\''s' --stack Vecferry");
      stepFunctions.on(ListExecutionsCommand).resolves({ executions: [underWay('r1')] });
      const refused = retireCommand(context, { run: 'r1', confirm: "it's", stack: 'Vecferry' });
      await expect(refused).rejects.toMatchObject({ name: 'RunMismatch' });
      expect(called()).toHaveLength(2);
    });

    test('and fails under the name of their error', async () => {
      lambda.on(InvokeCommand).resolves({
        FunctionError: 'Unhandled',
        Payload: answer({ errorType: 'NotFound', errorMessage: 'never cut over' }),
      });
      const refused = moveCommand(context, 'roll-back', { run: 'r1', stack: 'Vecferry' });
      await expect(refused).rejects.toMatchObject({ name: 'NotFound' });
    });
  });

  test('ends with a code of its own when nobody approved, or readers were taken back', async () => {
    stepFunctions.on(StartExecutionCommand).resolves({ executionArn: execution });
    const rejected = { answer: { approved: false, by: 'ana', reason: 'not today' } };
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'SUCCEEDED', output: JSON.stringify(rejected) });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(6);
    stepFunctions.on(DescribeExecutionCommand).resolves({ status: 'FAILED', error: 'TakenBack', cause: 'too slow' });
    await expect(deployedRun(context, 'Vecferry', 'r1', event)).resolves.toBe(6);
    expect(failures).toEqual([{ error: 'TakenBack', message: 'too slow', exitCode: 6 }]);
  });
});

const underWay = (name: string) => ({
  executionArn: `arn:${name}`,
  stateMachineArn: machine,
  name,
  status: 'RUNNING' as const,
  startDate: new Date(),
});
