import { rollBack } from '../lib/cutover.ts';
import { NotFound } from '../lib/errors.ts';
import { readPlan } from '../lib/plan.ts';
import { pointerSide } from '../lib/pointer.ts';
import { moveSchema } from '../lib/run-files.ts';
import { rollBackInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Take readers back", where the canary failed; also called by hand, from the console or by `vecferry rollback`, with
 * {"run": ID}, and by an alarm with {"flag": NAME}. Needs nothing but the run's log.
 * @throws NotFound when the run has moved no reader. @throws InvalidEvent when it was finished.
 */
export const handler = makeHandler({
  input: rollBackInput,
  output: moveSchema,
  run: async (input, { services }) => {
    const { objects, flags } = services;
    const run = 'run' in input ? input.run : (await flags.read(input.flag))?.run;
    if (run === undefined) throw new NotFound(`no run is moving the flag that was named, so nothing is taken back`);
    const plan = await readPlan(objects, run);
    const side = await pointerSide(plan, services);
    const { reason } = input;
    return await rollBack({ plan, objects, flags, ...side, reason, now: () => new Date() });
  },
});
