import { readPlan } from '../lib/plan.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Prepare the target": creates the collection as the plan says, with index building off.
 * @throws Incompatible when the collection is there with other vectors; not retried.
 */
export const handler = makeHandler({
  input: runInput,
  output: runInput,
  run: async ({ run }, { services }) => {
    const plan = await readPlan(services.objects, run);
    const { store } = await services.openTarget(plan);
    await store.prepare(plan.target);
    return { run };
  },
});
