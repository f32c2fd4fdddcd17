import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { tuneSearch } from '../lib/recall/tune.ts';
import { repeatOutput, tuneInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Tune the search", called again until it says done: at once where the event does not ask for it, or the goal holds. */
export const handler = makeHandler({
  input: tuneInput,
  output: repeatOutput,
  run: async ({ run, goal }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const source = await services.openSource(plan);
    const target = await services.openTarget(plan);
    return await tuneSearch({ plan, manifest, objects, source: source.store, target: target.store, deadline, goal });
  },
});
