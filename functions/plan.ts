import { parseEvent, parseRunId, wayOf } from '../lib/event.ts';
import { asksOldFirst } from '../lib/index-change/index-change.ts';
import { runKeys } from '../lib/keys.ts';
import { planRun } from '../lib/plan.ts';
import { modelOfQueries } from '../lib/plan-checks.ts';
import { hasOtherVectors } from '../lib/recall/drift.ts';
import { sidesOf } from '../lib/services.ts';
import { planInput, planOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Plan the run", the first. Called with the execution's name and input.
 * @throws InvalidEvent, Incompatible, TargetNotEmpty, NotFound, RunMismatch, BudgetExceeded: nothing was written; not retried.
 */
export const handler = makeHandler({
  input: planInput,
  output: planOutput,
  run: async ({ execution, event: input }, { services }) => {
    const event = parseEvent(input);
    const run = event.run ?? parseRunId(execution);
    const source = await services.openPlanned(event, sidesOf({ run, event }, 'source'));
    const target = await services.open(event.target, sidesOf({ run, event }, 'target'));
    const asked = modelOfQueries(event);
    const plan = await planRun({
      run,
      event,
      source: source.store,
      sourceKind: source.kind,
      target: target.store,
      targetKind: target.kind,
      objects: services.objects,
      flags: services.flags,
      queryFiles: services.queryFiles,
      embedder: event.embed && (await services.openModel(event.embed.model, event.embed.limits)),
      sourceModel: asked && (await services.openModel(asked)),
      now: new Date(),
    });
    const { ranges, shardList } = runKeys(run);
    return {
      run,
      dryRun: event.dryRun,
      records: plan.records,
      exporters: event.parallel.exporters,
      ...wayOf(plan.event),
      embeds: plan.embed !== undefined,
      drifts: hasOtherVectors(plan),
      asksOldFirst: asksOldFirst(plan),
      validateOnly: event.mode === 'validate',
      rangesKey: ranges,
      shardListKey: shardList,
    };
  },
});
