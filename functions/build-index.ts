import { readPlan } from '../lib/plan.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Build the index": starts it and returns, since it may outlast any function; "Watch the index" follows it. */
export const handler = makeHandler({
  input: runInput,
  output: runInput,
  run: async ({ run }, { services }) => {
    const plan = await readPlan(services.objects, run);
    const { store } = await services.openTarget(plan);
    await store.buildIndex(plan.target);
    return { run };
  },
});
