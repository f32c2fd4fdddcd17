import { InvalidEvent, RunMismatch, ShardDamaged } from '../errors.ts';
import type { Plan } from '../run-files.ts';
import { type Flag, type FlagStore, flagNameOf, placeOf } from './flag.ts';

/**
 * What the routing flag of a run says at each stage. From the first of them on writes go to both sides, the source first,
 * and they do so until `finish`: so the source has every write that counts, and rollback loses none.
 */

/** A run, planned or about to be. */
export type Mover = Pick<Plan, 'run' | 'event'>;

interface Sides {
  readonly source: string;
  readonly target: string;
}

function sidesOf({ event }: Pick<Mover, 'event'>): Sides {
  return { source: placeOf(event.source), target: placeOf(event.target) };
}

/** Readers are on the source, but for a share of them. */
export function flagOnSource(plan: Plan, { weight = 0, shadow = 0 } = {}): Flag {
  const { source, target } = sidesOf(plan);
  return { active: source, candidate: target, weight, shadow, writes: [source, target], run: plan.run };
}

/** Every reader is on the target. */
export function flagOnTarget(plan: Plan): Flag {
  const { source, target } = sidesOf(plan);
  return { active: target, candidate: source, weight: 0, shadow: 0, writes: [source, target], run: plan.run };
}

/** Reads and writes go to one place. */
export function flagFinished(place: string): Flag {
  return { active: place, candidate: place, weight: 0, shadow: 0 };
}

/**
 * The flag as it is, for a run that is about to move it. undefined when it was never set.
 * @throws RunMismatch when another run is moving it. @throws InvalidEvent when readers use neither side of this run.
 */
export async function flagToMove(plan: Mover, flags: FlagStore): Promise<Flag | undefined> {
  const name = flagNameOf(plan.event);
  const flag = await flags.read(name);
  if (flag === undefined) return undefined;
  refuseIfOthers(plan, flags, flag);
  const { source, target } = sidesOf(plan);
  if (flag.active === source || flag.active === target) return flag;
  const text = `the flag ${flags.locate(name)} says that readers use ${flag.active}, which is neither ${source} nor ${target}`;
  throw new InvalidEvent(`${text}; name the flag that they follow in cutover.flag, or set it right`, { ids: [name] });
}

/**
 * The same for a run that takes readers back, which a flag that was damaged must not keep from it.
 * @throws RunMismatch when the flag is another run's by now.
 */
export async function refuseOthersFlag(plan: Mover, flags: FlagStore): Promise<void> {
  const flag = await flags.read(flagNameOf(plan.event)).catch((error: unknown) => {
    if (error instanceof ShardDamaged) return undefined;
    throw error;
  });
  if (flag?.writes === undefined || flag.run === undefined || flag.run === plan.run) return;
  const name = flagNameOf(plan.event);
  const text = `the flag ${flags.locate(name)} was taken up by run '${flag.run}' since`;
  throw new RunMismatch(`${text}; roll that back instead: vecferry rollback ${flag.run}`, { ids: [name] });
}

function refuseIfOthers(plan: Mover, flags: FlagStore, { active, writes, run }: Flag): void {
  if (writes === undefined || run === undefined || run === plan.run) return;
  const { source, target } = sidesOf(plan);
  // An earlier run of the same two, as of a schedule, is over once its readers are on the target: this one takes the flag up.
  if (active === target && writes[0] === source && writes[1] === target) return;
  const name = flagNameOf(plan.event);
  const next = `end that with vecferry finish ${run}, or name another flag in cutover.flag`;
  throw new RunMismatch(`the flag ${flags.locate(name)} is moved by run '${run}'; ${next}`, { ids: [name] });
}

/** True while the application writes to both sides of the run, the source first: only then is the source never the older one. */
export async function isWrittenToBoth(
  { event }: Pick<Mover, 'event'>,
  flags: Pick<FlagStore, 'read'>,
): Promise<boolean> {
  const { source, target } = sidesOf({ event });
  const [first, second] = (await flags.read(flagNameOf(event)))?.writes ?? [];
  return first === source && second === target;
}

/**
 * For whoever copies from the source to the target what differs.
 * @throws InvalidEvent when the application does not write to both any more: what differs may be newer in the target.
 */
export async function refuseUnlessBoth(plan: Mover, flags: FlagStore): Promise<void> {
  if (await isWrittenToBoth(plan, flags)) return;
  const { source, target } = sidesOf(plan);
  const name = flagNameOf(plan.event);
  const text = `the flag ${flags.locate(name)} says that writes do not go to ${source} and ${target} any more, so what differs may be newer in ${target}, and run '${plan.run}' mends nothing`;
  const next = 'vecferry validate EVENT holds the two against each other and changes neither';
  throw new InvalidEvent(`${text}; ${next}`, { ids: [name] });
}

/** True where the flag says that the target alone is read and written: the source is old, so readers must not go back to it. */
export function isFinishedOnTarget(plan: Mover, flag: Flag | undefined): boolean {
  const { target } = sidesOf(plan);
  return flag?.active === target && flag.writes === undefined;
}
