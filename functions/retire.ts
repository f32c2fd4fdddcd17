import { retire } from '../lib/cutover/retire.ts';
import { readPlan } from '../lib/plan.ts';
import { retireInput, retireOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * No state: called by hand, from the console or by `vecferry retire`, with {"run": ID}: says what would be dropped; with that
 * name as "confirm" drops it for good. docs/cutover.md.
 * @throws InvalidEvent while readers, writers or another run still use what would be dropped.
 * @throws ValidationFailed when the run has not passed, or the target holds fewer records by now.
 */
export const handler = makeHandler({
  input: retireInput,
  output: retireOutput,
  run: async ({ run, confirm }, { services }) => {
    const { objects, flags } = services;
    const plan = await readPlan(objects, run);
    const openSource = () => services.openSource(plan);
    const openTarget = () => services.openTarget(plan);
    return await retire({ plan, objects, flags, openSource, openTarget, confirm, now: () => new Date() });
  },
});
