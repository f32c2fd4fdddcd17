import { findCauses } from '../lib/diagnose.ts';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { causesOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Find the causes": says why a check failed, where it can tell; where none did there is nothing to find. */
export const handler = makeHandler({
  input: runInput,
  output: causesOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const source = await services.openSource(plan);
    const target = await services.openTarget(plan);
    const { causes } = await findCauses({
      plan,
      manifest,
      objects,
      source: source.store,
      target: target.store,
      deadline,
    });
    return { causes: causes.length };
  },
});
