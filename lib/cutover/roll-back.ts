import { InvalidEvent, NotFound } from '../errors.ts';
import type { Log } from '../log.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';
import { rollBack } from './cutover.ts';
import type { Move } from './cutover-files.ts';
import { takenBackNotice } from './notices.ts';
import { pointerOf } from './pointer.ts';

/** Takes readers back for whoever asks: a person, the state machine, or an alarm. Others are told of it. */

export interface RollBackOptions {
  readonly services: Pick<Services, 'objects' | 'flags' | 'notices' | 'openTarget' | 'stack'>;
  readonly reason: string | undefined;
  readonly now: () => Date;
}

/** @throws NotFound when the run has moved no reader. @throws InvalidEvent when it was finished. */
export async function rollBackRun(options: RollBackOptions & { readonly run: string }): Promise<Move> {
  const { run, services, reason, now } = options;
  const { objects, flags, notices, stack } = services;
  const plan = await readPlan(objects, run);
  const pointer = await pointerOf({ plan, flags, openTarget: () => services.openTarget(plan) });
  const { move, isNew } = await rollBack({ plan, objects, flags, pointer, reason, now });
  if (isNew) await notices.send(takenBackNotice({ plan, objects, stack, move, at: now() }));
  return move;
}

/**
 * For an alarm, which knows a flag and no run, and rings whether or not readers were moved: then there is nothing to take
 * back, which is logged and answered. What keeps readers from being taken back is thrown, so that it is tried again.
 */
export async function rollBackFlag(
  options: RollBackOptions & { readonly flag: string; readonly log: Log },
): Promise<Move | { readonly nothing: string }> {
  const { flag, services, log } = options;
  const run = (await services.flags.read(flag))?.run;
  const nothing = (why: string): { readonly nothing: string } => {
    log.warn('an alarm asked to take readers back, and there is nothing to take back', { flag, why });
    return { nothing: why };
  };
  if (run === undefined) return nothing(`no run is moving the readers of the flag '${flag}'`);
  try {
    return await rollBackRun({ ...options, run });
  } catch (error) {
    if (error instanceof NotFound || error instanceof InvalidEvent) return nothing(error.message);
    throw error;
  }
}
