import { flagOnSource, flagToMove } from './cutover-flag.ts';
import { settleSecondsOf } from './event.ts';
import { type FlagStore, flagNameOf, placeOf } from './flag.ts';
import { runKeys } from './keys.ts';
import { logMove } from './moves.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type Live, liveSchema, type Plan } from './run-files.ts';

export interface LiveInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly now: Date;
}

/**
 * Makes the application write to both sides, and says whether every copy of it has had the time to see that. Repeatable:
 * a flag of this run that is there already stays, so a run that goes on leaves readers where they are.
 * @throws RunMismatch when another run is moving the flag. @throws InvalidEvent when readers use neither side.
 */
export async function beginLive({ plan, objects, flags, now }: LiveInput): Promise<{ done: boolean; detail: string }> {
  const name = flagNameOf(plan.event);
  const flag = await flagToMove(plan, flags);
  const earlier = await getJson(objects, runKeys(plan.run).live, liveSchema);
  const isOurs = flag?.run === plan.run && flag.writes?.length === 2;
  const live = earlier !== undefined && isOurs ? earlier : makeLive(plan, name, now);
  if (!isOurs) {
    const [source, target] = [placeOf(plan.event.source), placeOf(plan.event.target)];
    await logMove(objects, plan.run, {
      at: live.since,
      action: 'double',
      kind: 'flag',
      name,
      from: source,
      to: target,
    });
    await flags.write(name, flagOnSource(plan));
  }
  // After the flag: its time begins when the flag can be seen.
  if (live !== earlier) await putJson(objects, runKeys(plan.run).live, live);
  const done = now.toISOString() >= live.settledAt;
  return { done, detail: done ? '' : `writers have until ${live.settledAt} to see the flag` };
}

function makeLive({ event }: Plan, flag: string, now: Date): Live {
  const settledAt = new Date(now.getTime() + (settleSecondsOf(event) ?? 0) * 1000);
  return { flag, since: now.toISOString(), settledAt: settledAt.toISOString() };
}
