import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { measureDrift } from '../lib/recall/drift.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Measure the drift", called again until it says done: what another model finds, beside what the old one does. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const [source, target] = await Promise.all([services.openSource(plan), services.openTarget(plan)]);
    return await measureDrift({ plan, manifest, objects, source: source.store, target: target.store, deadline });
  },
});
