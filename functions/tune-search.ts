import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { tuneSearch } from '../lib/tune.ts';
import { makeHandler } from './lambda.ts';

/** State "Tune the search", called again until it says done: at once where the event does not ask for it, or the goal holds. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const target = await services.openTarget(plan);
    return await tuneSearch({ plan, manifest, objects, target: target.store, deadline });
  },
});
