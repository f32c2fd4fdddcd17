import { catchUp } from '../lib/embed/stage/catch-up.ts';
import { askedModel } from '../lib/embed/stage/made.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Catch up with the table", of a run in place, called again until it says done: what was written meanwhile. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline, log }) => {
    const { objects } = services;
    const plan = await readPlan(objects, run);
    const { store: target } = await services.openTarget(plan);
    const embedder = await services.openModel(...askedModel(plan));
    return await catchUp({ plan, objects, target, embedder, deadline, log });
  },
});
