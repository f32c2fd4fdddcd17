import { askApproval } from '../lib/cutover/approval.ts';
import { readPlan } from '../lib/plan.ts';
import { approvalInput, repeatOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Ask for approval": writes the question down and tells people of it. The state waits for its token, not for what
 * this returns; where the run has its approval already, that is answered with at once.
 */
export const handler = makeHandler({
  input: approvalInput,
  output: repeatOutput,
  run: async ({ run, token }, { services }) => {
    const plan = await readPlan(services.objects, run);
    await askApproval({ plan, token, services, now: new Date() });
    return { done: true };
  },
});
