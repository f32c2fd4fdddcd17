import { stepCanary } from '../lib/cutover/canary.ts';
import { readPlan } from '../lib/plan.ts';
import { canaryOutput, waitInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Step the canary": moves a share of the readers, or looks at how they fare; called again after a wait until all
 * have moved and were watched.
 * @throws TakenBack when a bound was breached, or somebody rolled back: readers are on the source; not retried.
 */
export const handler = makeHandler({
  input: waitInput,
  output: canaryOutput,
  run: async ({ run, since }, { services, log }) => {
    const plan = await readPlan(services.objects, run);
    return await stepCanary({ plan, since, services, log, now: () => new Date() });
  },
});
