import { noteFailedBuild, noteFailure, noteIndex } from '../lib/index-change/note-index.ts';
import { expectIndex } from '../lib/patience.ts';
import { readPlan } from '../lib/plan.ts';
import { indexOutput, waitInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Watch the index": called again after a wait until the store says that it is built. */
export const handler = makeHandler({
  input: waitInput,
  output: indexOutput,
  run: async ({ run, since }, { services }) => {
    const plan = await readPlan(services.objects, run);
    const { store } = await services.openTarget(plan);
    const {
      done,
      detail = '',
      isStalled,
    } = await store.indexProgress(plan.target).catch(async (error: unknown) => {
      if (plan.index !== undefined) await noteFailure(services.objects, plan, error);
      throw error;
    });
    if (isStalled === true) {
      if (plan.index !== undefined) await noteFailedBuild(services.objects, plan);
      await store.buildIndex(plan.target);
    }
    await noteIndex(services.objects, plan, { done, detail });
    if (!done) expectIndex({ run, state: detail, since, now: new Date() });
    return { done, detail };
  },
});
