import { cutOver } from '../lib/cutover.ts';
import { moveSchema } from '../lib/cutover-files.ts';
import { hasPassed } from '../lib/passed.ts';
import { readPlan } from '../lib/plan.ts';
import { pointerOf } from '../lib/pointer.ts';
import { cutOverInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Cut over", the last; also called by hand, with {"run": ID}: where the event's cutover is null, or after a rollback.
 * @throws ValidationFailed when the run's report has not passed: nothing was moved; not retried.
 * @throws TakenBack when somebody rolled back since the execution began; not retried.
 */
export const handler = makeHandler({
  input: cutOverInput,
  output: moveSchema,
  run: async ({ run, since }, { services }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const passed = await hasPassed(objects, run);
    const pointer = await pointerOf({ plan, flags, openTarget: () => services.openTarget(plan) });
    return await cutOver({ plan, objects, flags, pointer, passed, since, now: () => new Date() });
  },
});
