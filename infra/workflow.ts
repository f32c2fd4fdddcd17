import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { Chain, Condition, type IChainable, JsonPath, Pass, Succeed, TaskInput } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import { errorNames } from '../lib/errors.ts';
import type { Functions } from './functions.ts';
import { firstWaitSeconds } from './retries.ts';
import { workflowParts } from './workflow-parts.ts';

/**
 * A run, in order:
 *  1. Plan the run            its output is the state from here on: keys and tallies, never lists
 *  2. Dry run?                then it ends here
 *  3. Validate only?          then there is no target to prepare: on with 5
 *  4. Prepare the target
 *  5. Export every range      map over ranges.json: "Export a range" until done; importers run beside it, fed by the queue
 *  6. Seal the manifest
 *  7. Nothing to import?      where the run only validates: on with 11
 *  8. Await the import        again and again until done
 *  9. Build the index
 * 10. Watch the index         again and again until done
 * 11. Choose the queries
 * 12. Check every shard       map over shards.json: "Compare a shard" until done, "Find its neighbours" until done
 * 13. Measure recall          again and again until done
 * 14. Tune the search         where the event asks for it and the goal was missed; until done
 * 15. Find the causes         of what failed
 * 16. Write the report
 * 17. Passed?                 if not, the run fails with the report: nothing is cut over, the source is untouched
 * 18. Cut over?               not where the event's cutover is null, or the run only validates
 * 19. Cut over
 * Whatever fails goes to "Report the failure" and ends the execution under the error's own name and message.
 */
export interface WorkflowProps {
  readonly functions: Functions;
  /** Holds the lists that the maps read, and takes what their children return. */
  readonly runs: IBucket;
}

export function runWorkflow(scope: Construct, props: WorkflowProps): IChainable {
  const { call, repeatUntilDone, callUntilDone, lookUntilDone, mapOver, leaveIf, skipIf, failed } = workflowParts(
    scope,
    props,
  );
  const { stringAt, objectAt } = JsonPath;
  const { booleanEquals } = Condition;
  const end = (name: string): Succeed => new Succeed(scope, name);

  const executionAndEvent = {
    payload: TaskInput.fromObject({
      execution: stringAt('$$.Execution.Name'),
      event: objectAt('$$.Execution.Input'),
    }),
    resultPath: '$',
  };
  const startWaiting = { resultSelector: { seconds: firstWaitSeconds }, resultPath: '$.wait' };
  const invalid = new Pass(scope, 'Validation failed', {
    parameters: { Error: errorNames.validationFailed, Cause: stringAt('$.report.summary') },
  }).next(failed);

  const exportOneRange = callUntilDone('Export a range', 'export-range', { item: 'range', cursor: 'next' });
  const checkOneShard = callUntilDone('Compare a shard', 'compare-shard', { item: 'shard', cursor: 'offset' }).next(
    callUntilDone('Find its neighbours', 'find-neighbours', { item: 'shard', cursor: 'offset' }),
  );

  const validateOnly = booleanEquals('$.validateOnly', true);
  const loadTarget = lookUntilDone('Await the import', 'await-import')
    .next(call('Build the index', 'build-index', startWaiting))
    .next(lookUntilDone('Watch the index', 'watch-index'));

  return call('Plan the run', 'plan', executionAndEvent)
    .next(leaveIf('Dry run?', booleanEquals('$.dryRun', true), end('Planned, nothing moved')))
    .next(skipIf('Validate only?', validateOnly, Chain.start(call('Prepare the target', 'prepare'))))
    .next(
      mapOver('Export every range', {
        list: '$.rangesKey',
        item: 'range',
        child: exportOneRange.next(end('Range exported')),
      }),
    )
    .next(call('Seal the manifest', 'seal', startWaiting))
    .next(skipIf('Nothing to import?', validateOnly, loadTarget))
    .next(call('Choose the queries', 'choose-queries'))
    .next(
      mapOver('Check every shard', {
        list: '$.shardListKey',
        item: 'shard',
        child: checkOneShard.next(end('Shard checked')),
      }),
    )
    .next(repeatUntilDone('Measure recall', 'measure-recall'))
    .next(repeatUntilDone('Tune the search', 'tune-search'))
    .next(call('Find the causes', 'find-causes'))
    .next(call('Write the report', 'write-report', { resultPath: '$.report' }))
    .next(leaveIf('Passed?', booleanEquals('$.report.passed', false), invalid))
    .next(leaveIf('Cut over?', booleanEquals('$.cutover', false), end('Validated, readers stay put')))
    .next(call('Cut over', 'cut-over'))
    .next(end('Readers use the target'));
}
