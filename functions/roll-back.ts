import { moveSchema } from '../lib/cutover/cutover-files.ts';
import { rollBackFlag, rollBackRun } from '../lib/cutover/roll-back.ts';
import { nothingTakenBack, rollBackInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Take readers back", where the canary failed; also called by hand, from the console or by `vecferry rollback`, with
 * {"run": ID}, and by an alarm with {"flag": NAME}. Needs nothing but the run's log. An alarm may ring when nothing was moved:
 * that is an answer, {"nothing": WHY}, and no error, which would ring in turn.
 * @throws NotFound when the run has moved no reader. @throws InvalidEvent when it was finished.
 */
export const handler = makeHandler({
  input: rollBackInput,
  output: moveSchema.or(nothingTakenBack),
  run: async (input, { services, log }) => {
    const { reason } = input;
    const now = (): Date => new Date();
    if ('run' in input) return await rollBackRun({ run: input.run, services, reason, now });
    return await rollBackFlag({ flag: input.flag, services, reason, now, log });
  },
});
