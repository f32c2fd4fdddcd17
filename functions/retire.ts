import { readPlan } from '../lib/plan.ts';
import { retire } from '../lib/retire.ts';
import { retireInput, retireOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * Called by hand, with {"run": ID}: says what would be dropped; with that name as "confirm" drops it. docs/cutover.md.
 * @throws InvalidEvent while readers, or writers, still use what would be dropped.
 */
export const handler = makeHandler({
  input: retireInput,
  output: retireOutput,
  run: async ({ run, confirm }, { services }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    return await retire({
      plan,
      objects,
      flags,
      openSource: async () => (await services.openSource(plan)).store,
      openTarget: async () => (await services.openTarget(plan)).store,
      confirm,
      now: () => new Date(),
    });
  },
});
