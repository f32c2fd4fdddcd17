import { beginLive } from '../lib/live/live.ts';
import { readPlan } from '../lib/plan.ts';
import { indexOutput, waitInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Begin the live writes": makes the application write to both sides; called again after a wait until every copy of
 * it has had the time to see that.
 * @throws RunMismatch when another run is moving the flag; InvalidEvent when readers use neither side; not retried.
 */
export const handler = makeHandler({
  input: waitInput,
  output: indexOutput,
  run: async ({ run }, { services: { objects, flags } }) =>
    await beginLive({ plan: await readPlan(objects, run), objects, flags, now: () => new Date() }),
});
