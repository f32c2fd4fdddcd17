import {
  Chain,
  Choice,
  Condition,
  type IChainable,
  JsonPath,
  Pass,
  Succeed,
  TaskInput,
} from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import { errorNames } from '../lib/errors.ts';
import { firstWaitSeconds } from './retries.ts';
import { type WorkflowProps, workflowParts } from './workflow-parts.ts';

/**
 * A run, in order:
 *  1. Plan the run            its output is the state from here on: keys and tallies, never lists
 *  2. Dry run?                then it ends here
 *  3. Validate only?          then there is no target to prepare: on with 6
 *  4. Prepare the target
 *  5. Begin the live writes   of a live run: the application writes to both sides from here on; until all of it knows
 *  6. Export every range      map over ranges.json: "Export a range" until done; importers run beside it, fed by the queue
 *  7. Seal the manifest
 *  8. Nothing to import?      where the run only validates: on with 15
 *  9. Embed the texts         of another model: each shard is queued for the import once its vectors are made; until done
 * 10. Await the import        again and again until done
 * 11. Apply the tombstones    of a live run: what was deleted meanwhile, in case an old shard brought it back
 * 12. Catch up with the table of a run in place: what was written since its range was exported; until done
 * 13. Search before the change of a run whose old index cannot be searched beside the new one: its queries are chosen first, and the old index asked; until done
 * 14. Build the index
 * 15. Watch the index         again and again until done
 * 16. Choose the queries
 * 17. Check every shard       map over shards.json: "Compare a shard" until done, "Find its neighbours" until done
 * 18. Sweep the live writes   of a live run: what is in no shard is held against the source too; until done
 * 19. Measure recall          again and again until done
 * 20. Tune the search         where the event asks for it and the goal was missed; until done
 * 21. Measure the drift       of other vectors, made by another model or truncated: what they find beside what the source's do; until done
 * 22. Find the causes         of what failed
 * 23. Write the report
 * 24. Passed?                 if not, the run fails with the report: nothing is cut over, the source is untouched; a new index that
 *                             finds less than the old one is taken back first
 * 25. Cut over?               not where the event's cutover is null, or the run only validates
 * 26. Ask for approval        where the event wants a person's; without it "Tell that readers stay", and the run ends here
 * 27. Step the canary         where the event has one: a share of the readers moves, is watched, the next; until done
 * 28. Cut over
 * Whatever fails goes to "Report the failure" and ends the execution under the error's own name and message; from the canary
 * it goes through "Take readers back" first.
 */
export function runWorkflow(scope: Construct, props: WorkflowProps): IChainable {
  const parts = workflowParts(scope, props);
  const { call, repeatUntilDone, callUntilDone, lookUntilDone, mapOver, leaveIf, skipIf, failed } = parts;
  const { stringAt, objectAt } = JsonPath;
  const { and, booleanEquals } = Condition;
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
  });
  invalid.next(failed);
  const takeBack = parts.takeChangeBack(invalid);
  const notPassed = new Choice(scope, 'Index changed?')
    .when(and(booleanEquals('$.changesIndex', true), booleanEquals('$.report.keepsIndex', false)), takeBack)
    .otherwise(invalid);

  const exportOneRange = callUntilDone('Export a range', 'export-range', { item: 'range', cursor: 'next' });
  const checkOneShard = callUntilDone('Compare a shard', 'compare-shard', { item: 'shard', cursor: 'offset' }).next(
    callUntilDone('Find its neighbours', 'find-neighbours', { item: 'shard', cursor: 'offset' }),
  );

  const validateOnly = booleanEquals('$.validateOnly', true);
  const notLive = booleanEquals('$.live', false);
  const notEmbedded = booleanEquals('$.embeds', false);
  const notDrifting = booleanEquals('$.drifts', false);
  const notInPlace = booleanEquals('$.inPlace', false);
  const indexAlone = booleanEquals('$.changesIndex', true);
  const bothAtOnce = booleanEquals('$.asksOldFirst', false);
  const fillTarget = skipIf('Vectors as they are?', notEmbedded, repeatUntilDone('Embed the texts', 'embed-texts'))
    .next(lookUntilDone('Await the import', 'await-import'))
    .next(skipIf('No tombstones?', notLive, repeatUntilDone('Apply the tombstones', 'apply-tombstones')))
    .next(skipIf('A table of its own?', notInPlace, repeatUntilDone('Catch up with the table', 'catch-up')));
  const searchBefore = call('Choose the queries first', 'choose-queries').next(
    repeatUntilDone('Search before the change', 'search-before'),
  );
  const loadTarget = skipIf('Another index alone?', indexAlone, fillTarget)
    .next(skipIf('Both indexes at once?', bothAtOnce, searchBefore))
    .next(call('Build the index', 'build-index', startWaiting))
    .next(lookUntilDone('Watch the index', 'watch-index'));

  return call('Plan the run', 'plan', executionAndEvent)
    .next(leaveIf('Dry run?', booleanEquals('$.dryRun', true), end('Planned, nothing moved')))
    .next(skipIf('Validate only?', validateOnly, Chain.start(call('Prepare the target', 'prepare', startWaiting))))
    .next(skipIf('No live writes?', notLive, lookUntilDone('Begin the live writes', 'begin-live')))
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
    .next(skipIf('Nothing to sweep?', notLive, repeatUntilDone('Sweep the live writes', 'sweep-writes')))
    .next(repeatUntilDone('Measure recall', 'measure-recall'))
    .next(repeatUntilDone('Tune the search', 'tune-search'))
    .next(skipIf('The same vectors?', notDrifting, repeatUntilDone('Measure the drift', 'measure-drift')))
    .next(call('Find the causes', 'find-causes'))
    .next(call('Write the report', 'write-report', { resultPath: '$.report' }))
    .next(leaveIf('Passed?', booleanEquals('$.report.passed', false), notPassed))
    .next(leaveIf('Cut over?', booleanEquals('$.cutover', false), end('Validated, readers stay put')))
    .next(skipIf('Approval?', booleanEquals('$.approval', false), parts.askUntilAnswered(end('Readers stay put'))))
    .next(skipIf('At once?', booleanEquals('$.canary', false), parts.stepUntilDone()))
    .next(call('Cut over', 'cut-over', { payload: parts.sinceStart }))
    .next(end('Readers use the target'));
}
