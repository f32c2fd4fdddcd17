import type { Move } from './cutover-files.ts';
import { flagFinished, flagOnSource, flagOnTarget } from './cutover-flag.ts';
import { Incompatible } from './errors.ts';
import { type FlagStore, flagNameOf, placeOf } from './flag.ts';
import type { Plan } from './run-files.ts';
import type { StoreKind, Target } from './stores/port.ts';

/** What readers follow: the store's own pointer when the event names one, else the routing flag. */
export interface NamedPointer {
  readonly kind: Move['kind'];
  readonly name: string;
  /** What it stands for after the cutover. */
  readonly to: string;
  /** What it stands for now. */
  read(): Promise<string | null>;
  /** Moves it to the target. */
  advance(): Promise<void>;
  /** Moves so many percent of its readers to the target; only a flag can. */
  share(percent: number): Promise<void>;
  /** Moves it to where it was. */
  takeBack(to: string | null): Promise<void>;
  /** Lets reads and writes go to one place alone; only a flag can, and one that another run has taken up since stays. */
  finish(place: string): Promise<void>;
}

export interface PointerInput {
  readonly plan: Plan;
  readonly flags: FlagStore;
  /** Called only where the event names a pointer of the store: a flag is moved back while the target is down, too. */
  readonly openTarget: () => Promise<{ readonly store: Target; readonly kind: StoreKind }>;
}

/** @throws Incompatible when the event names a pointer and the store has none. */
export async function pointerOf({ plan, flags, openTarget }: PointerInput): Promise<NamedPointer> {
  const { cutover, target: endpoint } = plan.event;
  const name = cutover?.pointer;
  if (name === undefined) return flagPointer(plan, flags);
  const { store, kind: storeKind } = await openTarget();
  const { pointer } = store;
  const kind = storeKind.capabilities.pointer;
  if (pointer === undefined || kind === false) {
    throw new Incompatible(
      `${storeKind.title} has no aliases or views, so cutover.pointer '${name}' cannot be moved; leave it out to use the routing flag`,
      { ids: [name] },
    );
  }
  return {
    kind,
    name,
    to: endpoint.collection,
    read: async () => (await pointer.read(name)) ?? null,
    advance: () => pointer.move(name, endpoint.collection),
    share: async () => {
      throw new Incompatible(`the ${kind} '${name}' stands for one collection, so its readers are moved at once`);
    },
    takeBack: (to) => pointer.move(name, to ?? undefined),
    finish: async () => {
      throw new Incompatible(`the ${kind} '${name}' knows nothing of writes, so there is nothing to finish`);
    },
  };
}

/** The routing flag of a run. */
export function flagPointer(plan: Plan, flags: FlagStore): NamedPointer {
  const name = flagNameOf(plan.event);
  const { source, target, cutover } = plan.event;
  const shadow = cutover?.canary?.shadowPercent ?? 0;
  return {
    kind: 'flag',
    name,
    to: placeOf(target),
    // A flag that was never set means what it meant before vecferry: the source.
    read: async () => (await flags.read(name))?.active ?? placeOf(source),
    advance: () => flags.write(name, flagOnTarget(plan)),
    share: (weight) => flags.write(name, flagOnSource(plan, { weight, shadow })),
    takeBack: () => flags.write(name, flagOnSource(plan)),
    finish: async (place) => {
      if ((await flags.read(name))?.run === plan.run) await flags.write(name, flagFinished(place));
    },
  };
}
