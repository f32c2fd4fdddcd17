import { answerApproval } from '../lib/cutover/approval.ts';
import { answerSchema } from '../lib/cutover/cutover-files.ts';
import { answerInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * No state: called by hand, from the console or by `vecferry approve` and `reject`, with {"run": ID, "answer": "approved"}.
 * @throws NotFound when the run asks nothing, or no longer. @throws InvalidEvent when it was answered otherwise.
 */
export const handler = makeHandler({
  input: answerInput,
  output: answerSchema,
  run: async (input, { services }) => await answerApproval({ ...input, services, now: new Date() }),
});
