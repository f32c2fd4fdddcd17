import { applyTombstones } from '../lib/live/tombstones.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Apply the tombstones": makes the target hold of the deleted ids what the source holds; called again until done. */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const [source, target] = await Promise.all([services.openSource(plan), services.openTarget(plan)]);
    return await applyTombstones({ plan, objects, flags, source: source.store, target: target.store, deadline });
  },
});
