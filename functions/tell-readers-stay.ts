import { tellReadersStay } from '../lib/cutover/readers-stay.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, stayInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Tell that readers stay": sends a notice that the run was rejected, or that nobody answered, and moves nothing. */
export const handler = makeHandler({
  input: stayInput,
  output: repeatOutput,
  run: async ({ run, by, reason }, { services }) => {
    const plan = await readPlan(services.objects, run);
    await tellReadersStay({ plan, by, reason, services, now: new Date() });
    return { done: true };
  },
});
