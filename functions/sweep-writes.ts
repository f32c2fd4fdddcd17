import { sweepWrites } from '../lib/live/sweep.ts';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Sweep the live writes": holds what is in no shard against the source, mends what lags; called again until done. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects, flags } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const [source, target] = await Promise.all([services.openSource(plan), services.openTarget(plan)]);
    return await sweepWrites({ plan, manifest, objects, flags, source: source.store, target: target.store, deadline });
  },
});
