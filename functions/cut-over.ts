import { cutOver } from '../lib/cutover/cutover.ts';
import { moveSchema } from '../lib/cutover/cutover-files.ts';
import { hasPassed } from '../lib/cutover/passed.ts';
import { pointerOf } from '../lib/cutover/pointer.ts';
import { catchUp, openVectors } from '../lib/embed/stage/catch-up.ts';
import { askedModel } from '../lib/embed/stage/made.ts';
import { isInPlace } from '../lib/place.ts';
import { readPlan } from '../lib/plan.ts';
import { cutOverInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Cut over", the last; also called by hand, with {"run": ID}: where the event's cutover is null, or after a rollback.
 * A run in place catches up with what was written right before.
 * @throws ValidationFailed when the run's report has not passed: nothing was moved; not retried.
 * @throws TakenBack when somebody rolled back since the execution began; not retried.
 */
export const handler = makeHandler({
  input: cutOverInput,
  output: moveSchema,
  run: async ({ run, since }, { services, deadline, log }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const passed = await hasPassed(objects, run);
    const openTarget = () => services.openTarget(plan);
    const catching = async () => {
      const embedder = await services.openModel(...askedModel(plan));
      return { plan, objects, target: (await openTarget()).store, embedder, deadline, log };
    };
    const catchUpNow = async (): Promise<void> => void (await catchUp(await catching()));
    const pointer = await pointerOf({
      plan,
      flags,
      openTarget,
      catchUp: catchUpNow,
      openVectors: async () => await openVectors(await catching()),
    });
    if (passed && plan.embed !== undefined && isInPlace(plan.event)) await catchUpNow();
    return await cutOver({ plan, objects, flags, pointer, passed, since, now: () => new Date() });
  },
});
