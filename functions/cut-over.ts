import { cutOver } from '../lib/cutover.ts';
import { hasPassed } from '../lib/passed.ts';
import { readPlan } from '../lib/plan.ts';
import { pointerSide } from '../lib/pointer.ts';
import { moveSchema } from '../lib/run-files.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Cut over", the last; also called by hand where the event's cutover is null.
 * @throws ValidationFailed when the run's report has not passed: nothing was moved; not retried.
 */
export const handler = makeHandler({
  input: runInput,
  output: moveSchema,
  run: async ({ run }, { services }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const passed = await hasPassed(objects, run);
    const side = await pointerSide(plan, services);
    return await cutOver({ plan, objects, flags, ...side, passed, now: () => new Date() });
  },
});
