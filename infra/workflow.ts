import { Duration } from 'aws-cdk-lib';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import * as sfn from 'aws-cdk-lib/aws-stepfunctions';
import { LambdaInvoke, type LambdaInvokeProps } from 'aws-cdk-lib/aws-stepfunctions-tasks';
import type { Construct } from 'constructs';
import { errorNames } from '../lib/errors.ts';
import { runKeys } from '../lib/keys.ts';
import type { FunctionName, Functions } from './functions.ts';
import { firstWaitSeconds, retries } from './retries.ts';

/**
 * A run, in order:
 *  1. Plan the run            its output is the state from here on: keys and tallies, never lists
 *  2. Dry run?                then it ends here
 *  3. Prepare the target
 *  4. Export every range      map over ranges.json: "Export a range" until done; importers run beside it, fed by the queue
 *  5. Seal the manifest
 *  6. Await the import        again and again until done
 *  7. Build the index
 *  8. Watch the index         again and again until done
 *  9. Choose the queries
 * 10. Check every shard       map over shards.json: "Compare a shard" until done, "Find its neighbours" until done
 * 11. Measure recall
 * 12. Write the report
 * 13. Passed?                 if not, the run fails with the report: nothing is cut over, the source is untouched
 * 14. Cut over?               not where the event's cutover is null
 * 15. Cut over
 * Whatever fails goes to "Report the failure" and ends the execution under the error's own name and message.
 */
export interface WorkflowProps {
  readonly functions: Functions;
  /** Holds the lists that the maps read, and takes what their children return. */
  readonly runs: IBucket;
}

export function runWorkflow(scope: Construct, { functions, runs }: WorkflowProps): sfn.IChainable {
  const { stringAt, numberAt, DISCARD } = sfn.JsonPath;
  const failed = reportFailure(scope, functions['report-failure']);
  const runOnly = sfn.TaskInput.fromObject({ run: stringAt('$.run') });

  const call = (name: string, fn: FunctionName, props: CallProps = {}): sfn.TaskStateBase =>
    task(scope, name, functions[fn], { payload: runOnly, resultPath: DISCARD, ...props }).addCatch(failed);

  /** Goes to `exit` when the condition holds, else on. */
  const leaveIf = (name: string, condition: sfn.Condition, exit: sfn.IChainable): sfn.Chain => {
    const choice = new sfn.Choice(scope, name).when(condition, exit);
    return on(choice, choice, (next) => choice.otherwise(next));
  };

  /** Calls `look` until its result at `$.look` says done, and waits longer each time: retries.ts works it out. */
  const untilDone = (look: sfn.TaskStateBase, done: string): sfn.Chain => {
    const time = sfn.WaitTime.secondsPath('$.wait.seconds');
    const longer = { seconds: sfn.JsonPath.mathAdd(numberAt('$.wait.seconds'), firstWaitSeconds) };
    const again = new sfn.Wait(scope, `Wait: ${look.id}`, { time })
      .next(new sfn.Pass(scope, `Wait longer: ${look.id}`, { parameters: longer, resultPath: '$.wait' }))
      .next(look);
    const choice = new sfn.Choice(scope, done).otherwise(again);
    look.next(choice);
    return on(look, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.look.done', true), next));
  };
  const startWaiting = { resultSelector: { seconds: firstWaitSeconds }, resultPath: '$.wait' };

  const mapOver = (name: string, listPath: string, item: string, child: sfn.IChainable): sfn.DistributedMap =>
    new sfn.DistributedMap(scope, name, {
      label: name.replaceAll(' ', ''),
      itemReader: new sfn.S3JsonItemReader({ bucket: runs, key: stringAt(listPath) }),
      itemSelector: { run: stringAt('$.run'), [item]: stringAt('$$.Map.Item.Value') },
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
      .addCatch(failed);

  const exportRange = untilHandedBackNothing(scope, 'Export a range', functions['export-range'], 'range', 'next');
  const compareShard = untilHandedBackNothing(scope, 'Compare a shard', functions['compare-shard'], 'shard', 'offset');
  const findNeighbours = untilHandedBackNothing(
    scope,
    'Find its neighbours',
    functions['find-neighbours'],
    'shard',
    'offset',
  );
  const invalid = new sfn.Pass(scope, 'Validation failed', {
    parameters: { Error: errorNames.validationFailed, Cause: stringAt('$.report.summary') },
  }).next(failed);
  const { booleanEquals } = sfn.Condition;

  return call('Plan the run', 'plan', {
    payload: sfn.TaskInput.fromObject({
      execution: stringAt('$$.Execution.Name'),
      event: sfn.JsonPath.objectAt('$$.Execution.Input'),
    }),
    resultPath: '$',
  })
    .next(leaveIf('Dry run?', booleanEquals('$.dryRun', true), new sfn.Succeed(scope, 'Planned, nothing moved')))
    .next(call('Prepare the target', 'prepare'))
    .next(mapOver('Export every range', '$.rangesKey', 'range', exportRange.next(done(scope, 'Range exported'))))
    .next(call('Seal the manifest', 'seal', startWaiting))
    .next(untilDone(call('Await the import', 'await-import', { resultPath: '$.look' }), 'Everything imported?'))
    .next(call('Build the index', 'build-index', startWaiting))
    .next(untilDone(call('Watch the index', 'watch-index', { resultPath: '$.look' }), 'Index built?'))
    .next(call('Choose the queries', 'choose-queries'))
    .next(
      mapOver(
        'Check every shard',
        '$.shardListKey',
        'shard',
        compareShard.next(findNeighbours).next(done(scope, 'Shard checked')),
      ),
    )
    .next(call('Measure recall', 'measure-recall'))
    .next(call('Write the report', 'write-report', { resultPath: '$.report' }))
    .next(leaveIf('Passed?', booleanEquals('$.report.passed', false), invalid))
    .next(
      leaveIf('Cut over?', booleanEquals('$.cutover', false), new sfn.Succeed(scope, 'Validated, readers stay put')),
    )
    .next(call('Cut over', 'cut-over'))
    .next(done(scope, 'Readers use the target'));
}

type CallProps = Partial<Pick<LambdaInvokeProps, 'payload' | 'resultPath' | 'resultSelector'>>;

/** A timed and retried call of a function; Step Functions' own limit lies a minute past the function's, which ends first. */
function task(scope: Construct, name: string, fn: Functions[FunctionName], props: CallProps): LambdaInvoke {
  const timeout = (fn.timeout ?? Duration.seconds(3)).plus(Duration.minutes(1));
  const made = new LambdaInvoke(scope, name, {
    lambdaFunction: fn,
    payloadResponseOnly: true,
    retryOnServiceExceptions: false,
    taskTimeout: sfn.Timeout.duration(timeout),
    ...props,
  });
  for (const retry of retries) made.addRetry(retry);
  return made;
}

/** In a map's child: calls the function with run and item, and again with the cursor that it hands back at its deadline. */
function untilHandedBackNothing(
  scope: Construct,
  name: string,
  fn: Functions[FunctionName],
  item: string,
  cursor: string,
): sfn.Chain {
  const { stringAt, objectAt } = sfn.JsonPath;
  const own = { run: stringAt('$.run'), [item]: objectAt(`$.${item}`) };
  const begin = new sfn.Pass(scope, `Begin: ${name}`, { parameters: own });
  const made = task(scope, name, fn, { resultPath: '$.result' });
  const goOn = new sfn.Pass(scope, `Go on: ${name}`, {
    parameters: { ...own, [cursor]: objectAt(`$.result.${cursor}`) },
  }).next(made);
  const choice = new sfn.Choice(scope, `Done: ${name}?`).otherwise(goOn);
  begin.next(made).next(choice);
  return on(begin, choice, (next) => choice.when(sfn.Condition.booleanEquals('$.result.done', true), next));
}

/** The error as Step Functions hands it over is the whole input here, so that an input which is no object is reported too. */
function reportFailure(scope: Construct, fn: Functions[FunctionName]): sfn.IChainable {
  const { stringAt, objectAt } = sfn.JsonPath;
  const report = task(scope, 'Report the failure', fn, {
    payload: sfn.TaskInput.fromObject({
      execution: stringAt('$$.Execution.Name'),
      event: objectAt('$$.Execution.Input'),
      failure: objectAt('$'),
    }),
    resultPath: '$.report',
  });
  report.addCatch(new sfn.Fail(scope, 'Failed, unreported', { errorPath: '$.Error', causePath: '$.Cause' }), {
    resultPath: '$.unreported',
  });
  return report.next(
    new sfn.Fail(scope, 'The run failed', { errorPath: '$.report.error', causePath: '$.report.message' }),
  );
}

function done(scope: Construct, name: string): sfn.Succeed {
  return new sfn.Succeed(scope, name);
}

/** A chain that begins with `start` and goes on from `choice` by the branch that `next` sets. */
function on(start: sfn.State, choice: sfn.Choice, next: (state: sfn.IChainable) => unknown): sfn.Chain {
  const goOn = (state: sfn.IChainable): sfn.Chain => {
    next(state);
    return sfn.Chain.start(state);
  };
  return sfn.Chain.custom(start, [{ next: goOn }], choice);
}
