import { readPlan } from '../lib/plan.ts';
import { indexOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Watch the index": called again after a wait until the store says that it is built. */
export const handler = makeHandler({
  input: runInput,
  output: indexOutput,
  run: async ({ run }, { services }) => {
    const plan = await readPlan(services.objects, run);
    const { store } = await services.open(plan.event.target);
    const { done, detail = '' } = await store.indexProgress(plan.target);
    return { done, detail };
  },
});
