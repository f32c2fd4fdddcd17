import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Measure recall", called again until it says done: searches both sides with every query and holds the answers against the exact neighbours. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const source = await services.openSource(plan);
    const target = await services.openTarget(plan);
    const outcome = await measureRecall({
      plan,
      manifest,
      objects,
      source: source.store,
      target: target.store,
      deadline,
    });
    return { done: outcome.done };
  },
});
