import { isWrittenToBoth } from '../cutover/cutover-flag.ts';
import { InvalidEvent, RecordRefused, VecferryError } from '../errors.ts';
import { parseAs } from '../event.ts';
import type { Log } from '../log.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';
import { type RepairMessage, repairMessage } from '../states.ts';
import { bothSides, mirrorIds } from './both-sides.ts';

export interface MendOptions {
  /** The message's body: repairMessage in states.ts. */
  readonly body: string;
  readonly services: MendServices;
  readonly log: Log;
}

type MendServices = Pick<Services, 'objects' | 'flags' | 'openSource' | 'openTarget'>;

/**
 * Makes the target hold of a repair message's ids what the source holds now, while the run's flag says that writes go to
 * both. Once it says that they do not there is nothing to mend, and after a run was finished on its target the source is
 * old: its values must not come back.
 * @returns false when the message has to be delivered again, since a store or the flag is away.
 * @throws InvalidEvent when the body is not ours, NotFound when there is no such run, RecordRefused naming what a side will
 * never take, after the others were mended. The message is delivered until it is among the dead letters, where it is seen.
 */
export async function mendRecords({ body, services, log }: MendOptions): Promise<boolean> {
  try {
    await mend(parseBody(body), services, log);
    return true;
  } catch (error) {
    // Powertools drops a field of the name `message`.
    const fields = { error: error instanceof Error ? error.name : 'Error', reason: String(error), body };
    if (error instanceof VecferryError && error.retryable) {
      log.warn('records are not mended yet: the message is delivered again', fields);
      return false;
    }
    log.warn('records cannot be mended: the message goes to the dead letters', fields);
    throw error;
  }
}

async function mend({ run, ids }: RepairMessage, services: MendServices, log: Log): Promise<void> {
  const plan = await readPlan(services.objects, run);
  if (!(await isWrittenToBoth(plan, services.flags))) {
    log.info('the flag names no second place for writes: there is nothing to mend', { run, ids: ids.length });
    return;
  }
  const [source, target] = await Promise.all([services.openSource(plan), services.openTarget(plan)]);
  const sides = await bothSides({ plan, source: source.store, target: target.store });
  const refused = await mirrorIds(sides, ids);
  const [first] = refused;
  if (first === undefined) {
    log.info('mended records', { run, ids: ids.length });
    return;
  }
  const text = `${refused.size} of ${ids.length} records cannot be mended; ${first[0]}: ${first[1]}`;
  throw new RecordRefused(text, { ids: [...refused.keys()] });
}

function parseBody(body: string): RepairMessage {
  const what = 'the message on the repair queue';
  try {
    return parseAs(repairMessage, JSON.parse(body), what, InvalidEvent);
  } catch (cause) {
    if (cause instanceof InvalidEvent) throw cause;
    throw new InvalidEvent(`${what} is not JSON: ${body.slice(0, 80)}`, { cause });
  }
}
