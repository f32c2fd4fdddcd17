import { Duration } from 'aws-cdk-lib';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import { LambdaInvoke, type LambdaInvokeProps } from 'aws-cdk-lib/aws-stepfunctions-tasks';
import type { Construct } from 'constructs';
import { errorNames } from '../lib/errors.ts';
import { runKeys } from '../lib/keys.ts';
import { canaryFailedWith, notPassed } from '../lib/states.ts';
import type { FunctionName, Functions } from './functions.ts';
import { firstWaitSeconds, lambdaFaults, retries, storeBusy } from './retries.ts';

export interface WorkflowProps {
  readonly functions: Functions;
  /** Holds the lists that the maps read, and takes what their children return. */
  readonly runs: IBucket;
}

/** What the workflow's states are made of. */
export interface WorkflowParts {
  /** A state that calls a function with `{run}`: timed, retried, and reported when it fails for good. */
  call(name: string, fn: FunctionName, props?: CallProps): sfn.TaskStateBase;
  /** Calls a function that looks at something until it says done, waiting longer each time: retries.ts works it out. */
  lookUntilDone(name: string, fn: FunctionName): sfn.Chain;
  /** Calls a function that works up to its deadline, and again at once until it says done: its objects say how far it is. */
  repeatUntilDone(name: string, fn: FunctionName): sfn.Chain;
  /** Asks a person, and waits for the answer as long as the event says; without a yes it says so and goes to `exit`. */
  askUntilAnswered(exit: sfn.IChainable): sfn.Chain;
  /** Moves readers step by step, with a look at each wait's end; whatever fails there takes them back first. */
  stepUntilDone(): sfn.Chain;
  /** Takes a new index away that readers use, or may use, already, and goes on to `next`; nothing to put back is no failure. */
  takeChangeBack(next: sfn.State): sfn.TaskStateBase;
  /** In a map's child: calls a function with run and item, and again with the cursor that it hands back at its deadline. */
  callUntilDone(name: string, fn: FunctionName, item: ItemLoop): sfn.Chain;
  /** A Distributed Map over the list whose key stands at `list`; none of its children may fail. */
  mapOver(
    name: string,
    options: { readonly list: string; readonly item: string; readonly child: sfn.IChainable },
  ): sfn.DistributedMap;
  /** Goes to `exit` when the condition holds, else on. */
  leaveIf(name: string, condition: sfn.Condition, exit: sfn.IChainable): sfn.Chain;
  /** Goes on past `skipped` when the condition holds, else through it. */
  skipIf(name: string, condition: sfn.Condition, skipped: sfn.Chain): sfn.Chain;
  /** Where every failure of the run ends. */
  readonly failed: sfn.IChainable;
  /** The payload of a function that asks since when the execution runs. */
  readonly sinceStart: sfn.TaskInput;
}

export interface ItemLoop {
  /** `range` or `shard`, as lib/states.ts names it. */
  readonly item: string;
  /** The field by which the function goes on where it stopped. */
  readonly cursor: string;
}

export type CallProps = Partial<Pick<LambdaInvokeProps, 'payload' | 'resultPath' | 'resultSelector'>>;

const { stringAt, numberAt, objectAt, DISCARD } = sfn.JsonPath;

export function workflowParts(scope: Construct, { functions, runs }: WorkflowProps): WorkflowParts {
  /** Step Functions' own limit lies a minute past the function's, which ends first. */
  const task = (name: string, fn: FunctionName, props: CallProps): LambdaInvoke => {
    const timeout = (functions[fn].timeout ?? Duration.seconds(3)).plus(Duration.minutes(1));
    const made = new LambdaInvoke(scope, name, {
      lambdaFunction: functions[fn],
      payloadResponseOnly: true,
      retryOnServiceExceptions: false,
      taskTimeout: sfn.Timeout.duration(timeout),
      ...props,
    });
    for (const retry of retries) made.addRetry(retry);
    return made;
  };

  /** Reports the error at `error`, then fails under the name and message that the report gives it. */
  const reportThenFail = (
    what: string,
    name: string,
    payload: Record<string, unknown>,
    error: string,
  ): sfn.IChainable => {
    const report = task(name, 'report-failure', { payload: sfn.TaskInput.fromObject(payload), resultPath: '$.report' });
    const unreported = new sfn.Fail(scope, `The ${what} failed, unreported`, {
      errorPath: `${error}.Error`,
      causePath: `${error}.Cause`,
    });
    return report
      .addCatch(unreported, { resultPath: '$.unreported' })
      .next(new sfn.Fail(scope, `The ${what} failed`, { errorPath: '$.report.error', causePath: '$.report.message' }));
  };

  // The error is the whole state then, so that an input which is no object is reported too.
  const failed = reportThenFail(
    'run',
    'Report the failure',
    { execution: stringAt('$$.Execution.Name'), event: objectAt('$$.Execution.Input'), failure: objectAt('$') },
    '$',
  );

  // A map whose child failed fails with a count; why, only the child knows, so it reports by itself.
  const childFailed = new Map(
    ['range', 'shard'].map((item) => [
      item,
      reportThenFail(
        item,
        `Report the failed ${item}`,
        { execution: stringAt('$.run'), event: {}, failure: objectAt('$.failure') },
        '$.failure',
      ),
    ]),
  );

  const runOnly = sfn.TaskInput.fromObject({ run: stringAt('$.run') });
  const sinceStart = sfn.TaskInput.fromObject({ run: stringAt('$.run'), since: stringAt('$$.Execution.StartTime') });

  return {
    failed,
    sinceStart,

    call: (name, fn, props = {}) =>
      task(name, fn, { payload: runOnly, resultPath: DISCARD, ...props }).addCatch(failed),

    lookUntilDone: (name, fn) => {
      const look = task(name, fn, { payload: sinceStart, resultPath: '$.look' }).addCatch(failed);
      const longer = { seconds: sfn.JsonPath.mathAdd(numberAt('$.wait.seconds'), firstWaitSeconds) };
      const again = new sfn.Wait(scope, `Wait: ${name}`, { time: sfn.WaitTime.secondsPath('$.wait.seconds') })
        .next(new sfn.Pass(scope, `Wait longer: ${name}`, { parameters: longer, resultPath: '$.wait' }))
        .next(look);
      const choice = new sfn.Choice(scope, `Done: ${name}?`).otherwise(again);
      look.next(choice);
      return goesOn(look, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.look.done', true), next));
    },

    repeatUntilDone: (name, fn) => {
      const work = task(name, fn, { payload: runOnly, resultPath: '$.look' }).addCatch(failed);
      const choice = new sfn.Choice(scope, `Done: ${name}?`).otherwise(work);
      work.next(choice);
      return goesOn(work, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.look.done', true), next));
    },

    askUntilAnswered: (exit) => {
      const stay = task('Tell that readers stay', 'tell-readers-stay', {
        payload: sfn.TaskInput.fromObject({
          run: stringAt('$.run'),
          by: stringAt('$.answer.by'),
          reason: stringAt('$.answer.reason'),
        }),
        resultPath: DISCARD,
      });
      stay.addCatch(failed).next(exit);
      const noAnswer = new sfn.Pass(scope, 'Nobody answered', {
        parameters: { approved: false, by: '', reason: 'nobody answered in time' },
        resultPath: '$.answer',
      }).next(stay);
      const ask = new LambdaInvoke(scope, 'Ask for approval', {
        lambdaFunction: functions['ask-approval'],
        integrationPattern: sfn.IntegrationPattern.WAIT_FOR_TASK_TOKEN,
        payload: sfn.TaskInput.fromObject({ run: stringAt('$.run'), token: sfn.JsonPath.taskToken }),
        retryOnServiceExceptions: false,
        taskTimeout: sfn.Timeout.at('$.approvalSeconds'),
        resultPath: '$.answer',
      });
      // Not those of a lost call: the time that ends here is the person's.
      for (const retry of [lambdaFaults, storeBusy]) ask.addRetry(retry);
      ask.addCatch(noAnswer, { errors: ['States.Timeout'], resultPath: '$.unanswered' }).addCatch(failed);
      const choice = new sfn.Choice(scope, 'Approved?').otherwise(stay);
      ask.next(choice);
      return goesOn(ask, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.answer.approved', true), next));
    },

    stepUntilDone: () => {
      const takeBack = task('Take readers back', 'roll-back', {
        payload: sfn.TaskInput.fromObject({
          run: stringAt('$.run'),
          // Not the cause: Step Functions leaves it out where it has none, and a path to nothing would end the run here.
          reason: sfn.JsonPath.format(canaryFailedWith, stringAt('$.failure.Error')),
        }),
        resultPath: DISCARD,
      });
      const tell = new sfn.Pass(scope, 'Readers are on the source', { outputPath: '$.failure' }).next(failed);
      // No reader was moved yet: what is told is why the canary failed.
      takeBack
        .addCatch(tell, { errors: [errorNames.notFound], resultPath: DISCARD })
        .addCatch(failed)
        .next(tell);
      const step = task('Step the canary', 'step-canary', { payload: sinceStart, resultPath: '$.look' });
      step.addCatch(takeBack, { resultPath: '$.failure' });
      const again = new sfn.Wait(scope, 'Watch', { time: sfn.WaitTime.secondsPath('$.look.seconds') }).next(step);
      const choice = new sfn.Choice(scope, 'All readers moved?').otherwise(again);
      step.next(choice);
      return goesOn(step, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.look.done', true), next));
    },

    takeChangeBack: (next) => {
      const payload = { run: stringAt('$.run'), reason: notPassed };
      const take = task('Take the change back', 'roll-back', {
        payload: sfn.TaskInput.fromObject(payload),
        resultPath: DISCARD,
      });
      take
        .addCatch(next, { errors: [errorNames.notFound], resultPath: DISCARD })
        .addCatch(failed)
        .next(next);
      return take;
    },

    callUntilDone: (name, fn, { item, cursor }) => {
      const own = { run: stringAt('$.run'), [item]: objectAt(`$.${item}`) };
      const onward = { ...own, [cursor]: objectAt(`$.result.${cursor}`) };
      const begin = new sfn.Pass(scope, `Begin: ${name}`, { parameters: own });
      const made = task(name, fn, { resultPath: '$.result' });
      const tell = childFailed.get(item);
      if (tell !== undefined) made.addCatch(tell, { resultPath: '$.failure' });
      const choice = new sfn.Choice(scope, `Done: ${name}?`);
      choice.otherwise(new sfn.Pass(scope, `Go on: ${name}`, { parameters: onward }).next(made));
      begin.next(made).next(choice);
      return goesOn(begin, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.result.done', true), next));
    },

    mapOver: (name, { list, item, child }) =>
      new sfn.DistributedMap(scope, name, {
        label: name.replaceAll(' ', ''),
        itemReader: new sfn.S3JsonItemReader({ bucket: runs, key: stringAt(list) }),
        itemSelector: {
          run: stringAt('$.run'),
          [item]: objectAt('$$.Map.Item.Value'),
        },
        maxConcurrencyPath: '$.exporters',
        // Children's outputs would grow with the collection, past the 256 KiB that a state may hold.
        resultWriterV2: new sfn.ResultWriterV2({
          bucket: runs,
          prefix: sfn.JsonPath.format(`${runKeys('{}').prefix}map-runs`, stringAt('$.run')),
          writerConfig: new sfn.WriterConfig({
            transformation: sfn.Transformation.NONE,
            outputType: sfn.OutputType.JSON,
          }),
        }),
        resultPath: DISCARD,
      })
        .itemProcessor(child)
        .addCatch(failed),

    leaveIf: (name, condition, exit) => {
      const choice = new sfn.Choice(scope, name).when(condition, exit);
      return goesOn(choice, choice, (next) => choice.otherwise(next));
    },

    skipIf: (name, condition, skipped) => {
      const choice = new sfn.Choice(scope, name).otherwise(skipped);
      return goesOn(choice, choice, (next) => {
        choice.when(condition, next);
        skipped.next(next);
      });
    },
  };
}

/** A chain that begins with `start` and goes on from `choice` by the branch that `next` sets. */
function goesOn(start: sfn.State, choice: sfn.Choice, next: (state: sfn.IChainable) => unknown): sfn.Chain {
  const follow = (state: sfn.IChainable): sfn.Chain => {
    next(state);
    return sfn.Chain.start(state);
  };
  return sfn.Chain.custom(start, [{ next: follow }], choice);
}
