import { searchBefore } from '../lib/index-change/search-before.ts';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Search before the change", called again until it says done: what the old index finds, where the new one replaces it
 * as it is built.
 */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const { store: source } = await services.openSource(plan);
    return await searchBefore({ plan, manifest, objects, source, deadline });
  },
});
