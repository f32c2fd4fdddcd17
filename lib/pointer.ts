import { flagOnSource, flagOnTarget } from './cutover-flag.ts';
import { Incompatible } from './errors.ts';
import { type FlagStore, flagNameOf, placeOf } from './flag.ts';
import type { Move, Plan } from './run-files.ts';
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
  /** Moves it to where it was. */
  takeBack(to: string | null): Promise<void>;
}

export interface PointerInput {
  readonly plan: Plan;
  readonly flags: FlagStore;
  readonly target: Target;
  readonly targetKind: StoreKind;
}

/** @throws Incompatible when the event names a pointer and the store has none. */
export function pointerOf({ plan, flags, target, targetKind }: PointerInput): NamedPointer {
  const { cutover, source, target: endpoint } = plan.event;
  const name = cutover?.pointer;
  if (name === undefined) {
    const flag = flagNameOf(plan.event);
    return {
      kind: 'flag',
      name: flag,
      to: placeOf(endpoint),
      // A flag that was never set means what it meant before vecferry: the source.
      read: async () => (await flags.read(flag))?.active ?? placeOf(source),
      advance: () => flags.write(flag, flagOnTarget(plan)),
      takeBack: () => flags.write(flag, flagOnSource(plan)),
    };
  }
  const { pointer } = target;
  const kind = targetKind.capabilities.pointer;
  if (pointer === undefined || kind === false) {
    throw new Incompatible(
      `${targetKind.title} has no aliases or views, so cutover.pointer '${name}' cannot be moved; leave it out to use the routing flag`,
      { ids: [name] },
    );
  }
  return {
    kind,
    name,
    to: endpoint.collection,
    read: async () => (await pointer.read(name)) ?? null,
    advance: () => pointer.move(name, endpoint.collection),
    takeBack: (to) => pointer.move(name, to ?? undefined),
  };
}
