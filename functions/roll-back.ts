import { rollBack } from '../lib/cutover.ts';
import { readPlan } from '../lib/plan.ts';
import { cutoverEntrySchema } from '../lib/run-files.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * No state: called by hand, from the console or by `vecferry rollback`, with {"run": ID}. Needs nothing but the run's log.
 * @throws NotFound when the run was never cut over.
 */
export const handler = makeHandler({
  input: runInput,
  output: cutoverEntrySchema,
  run: async ({ run }, { services }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const { store, kind } = await services.openTarget(plan);
    return await rollBack({ plan, objects, flags, target: store, targetKind: kind, now: () => new Date() });
  },
});
