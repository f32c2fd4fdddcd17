import { flagOnSource, flagToMove } from '../cutover/cutover-flag.ts';
import { type FlagStore, flagNameOf, placeOf } from '../cutover/flag.ts';
import { logMove } from '../cutover/moves.ts';
import { InvalidEvent } from '../errors.ts';
import { settleSecondsOf } from '../event.ts';
import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import { type Live, liveSchema } from './live-files.ts';

export interface LiveInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly now: () => Date;
}

/**
 * Makes the application write to both sides, and says whether every copy of it has had the time to see that. Repeatable:
 * a flag of this run that is there already stays, so a run that goes on leaves readers where they are.
 *
 * A kill between any two of its writes is made up for by the next call: without the flag the move is logged and made again,
 * without a word about it in live.json the time to see the flag begins anew.
 * @throws RunMismatch when another run is moving the flag. @throws InvalidEvent when readers use neither side, or the
 * target already: the source does not get what is written there, so it cannot be moved.
 */
export async function beginLive({ plan, objects, flags, now }: LiveInput): Promise<{ done: boolean; detail: string }> {
  const name = flagNameOf(plan.event);
  const [source, target] = [placeOf(plan.event.source), placeOf(plan.event.target)];
  const key = runKeys(plan.run).live;
  const flag = await flagToMove(plan, flags);
  const isOurs = flag?.run === plan.run && flag.writes?.length === 2;
  const earlier = isOurs ? await getJson(objects, key, liveSchema) : undefined;
  if (!isOurs) {
    if (flag?.active === target) {
      const text = `the flag ${flags.locate(name)} says that readers use ${target} already`;
      const next = `take them back to ${source} first, move in the other direction, or name another target`;
      throw new InvalidEvent(`${text}; ${next}`, { ids: [name] });
    }
    const at = now().toISOString();
    // Before the flag: from then on the target may hold records that the run did not write, and the plan has to know why.
    await putJson(objects, key, { flag: name, since: at, settledAt: null } satisfies Live);
    await logMove(objects, plan.run, { at, action: 'double', kind: 'flag', name, from: source, to: target });
    await flags.write(name, flagOnSource(plan));
  }
  let settledAt = earlier?.settledAt ?? null;
  if (settledAt === null) {
    // After the flag: its time begins when the flag can be seen.
    const since = now();
    settledAt = new Date(since.getTime() + (settleSecondsOf(plan.event) ?? 0) * 1000).toISOString();
    await putJson(objects, key, { flag: name, since: since.toISOString(), settledAt } satisfies Live);
  }
  const done = now().toISOString() >= settledAt;
  return { done, detail: done ? '' : `writers have until ${settledAt} to see the flag` };
}
