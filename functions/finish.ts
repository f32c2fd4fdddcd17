import { finish } from '../lib/cutover/cutover.ts';
import { moveSchema } from '../lib/cutover/cutover-files.ts';
import { readPlan } from '../lib/plan.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * No state: called by hand, from the console or by `vecferry finish`, with {"run": ID}. Ends the double writes.
 * @throws NotFound when the run has moved no flag. @throws InvalidEvent while readers are being moved, or
 * while repairs wait that the target, which readers use, would never get.
 */
export const handler = makeHandler({
  input: runInput,
  output: moveSchema,
  run: async ({ run }, { services }) => {
    const { objects, flags, repairs, reads } = services;
    const plan = await readPlan(objects, run);
    return await finish({ plan, objects, flags, repairs, reads, now: () => new Date() });
  },
});
