import { Incompatible, InvalidEvent, StoreUnavailable } from '../errors.ts';
import { isIndexChange } from '../index-change/index-change.ts';
import { usedIndex, usedWords } from '../index-change/used-index.ts';
import { isBackfill, isInPlace } from '../place.ts';
import type { Plan } from '../run-files.ts';
import type { FillLacking } from '../stores/place-port.ts';
import { indexStands, placeStands } from '../stores/place-stands.ts';
import type { StoreKind, Target } from '../stores/port.ts';
import { plural } from '../words.ts';
import type { Move } from './cutover-files.ts';
import { flagFinished, flagOnSource, flagOnTarget } from './cutover-flag.ts';
import { type FlagStore, flagNameOf, placeOf } from './flag.ts';

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
  /** What a person should know of taking it back now: of a run in place how many records have no old vector. */
  readonly noteOfReturn?: () => Promise<string | undefined>;
  /** What a person should know of moving it now: of a run that builds an index beside the old one which of them searches use. */
  readonly noteOfAdvance?: () => Promise<string | undefined>;
  /** Of a run that builds an index beside the old one: whether it is there, whole or not. Readers may use it before any move. */
  readonly isBeside?: () => Promise<boolean>;
  /** Lets reads and writes go to one place alone; only a flag can, and one that another run has taken up since stays. */
  finish(place: string): Promise<void>;
}

export interface PointerInput {
  readonly plan: Plan;
  readonly flags: FlagStore;
  /** Called only where the event names a pointer of the store: a flag is moved back while the target is down, too. */
  readonly openTarget: () => Promise<{ readonly store: Target; readonly kind: StoreKind }>;
  /** Of a run in place: makes the vectors that records lack by now. Left out: it is not switched while any do. */
  readonly catchUp?: () => Promise<void>;
  /** Of the same: makes ready what makes the last few while writers wait, for a table that is written all the time. */
  readonly openVectors?: () => Promise<FillLacking>;
}

/** @throws Incompatible when the event names a pointer and the store has none. */
export async function pointerOf(input: PointerInput): Promise<NamedPointer> {
  const { plan, flags, openTarget } = input;
  const { cutover, target: endpoint } = plan.event;
  if (isIndexChange(plan.event)) return await indexPointer(input);
  if (isInPlace(plan.event)) return await columnPointer(input);
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

/** Tries of the switch: between the last look for records that lack their vector and the lock an application may write one. */
const maxSwitches = 50;
/** Tries after which writers are made to wait for the last few. */
const freeSwitches = 5;

/** The name of the vector's column. @throws InvalidEvent where the run only fills it */
async function columnPointer({ plan, openTarget, catchUp, openVectors }: PointerInput): Promise<NamedPointer> {
  const { run, event, embed } = plan;
  if (isBackfill(event) || embed === undefined) {
    const text = `run '${run}' fills what was missing in the column that readers use`;
    throw new InvalidEvent(`${text}, so there is nothing to cut over or to take back`, { ids: [run] });
  }
  const { store, kind } = await openTarget();
  const { pointer } = store;
  const { vector: name } = embed;
  if (pointer === undefined || !kind.capabilities.inPlace)
    throw new Incompatible(`${kind.title} has no columns to switch`, { ids: [name] });
  const to = placeStands.made(run);
  const never = async (): Promise<never> => {
    throw new Incompatible(`the column '${name}' is switched at once, for reads and writes`, { ids: [name] });
  };
  return {
    kind: 'column',
    name,
    to,
    read: async () => (await pointer.read(name)) ?? null,
    advance: async () => {
      for (let tried = 1; ; tried++) {
        try {
          if (tried <= freeSwitches || pointer.moveFilled === undefined || openVectors === undefined)
            return await pointer.move(name, to);
          return await pointer.moveFilled(name, to, await openVectors());
        } catch (error) {
          // Records lack their vector: they were written since.
          if (!(error instanceof StoreUnavailable) || error.ids.length === 0) throw error;
          if (catchUp === undefined || tried === maxSwitches) throw error;
          await catchUp();
        }
      }
    },
    share: never,
    takeBack: (before) => pointer.move(name, before ?? placeStands.old),
    noteOfReturn: async () => {
      const lost = (await pointer.lost?.(name)) ?? 0;
      if (lost === 0) return undefined;
      const which = `${plural(lost, 'record')} with a vector of the new model ${lost === 1 ? 'has' : 'have'} none of the old one`;
      return `${which}: they were added, or their text changed, while the run went on or since the switch; the application, or a backfill, has to make ${lost === 1 ? 'it' : 'them'}`;
    },
    finish: never,
  };
}

const wayBack =
  'the store has its old settings again and rebuilds the old index with them, which takes about as long as the change did; searches are answered meanwhile, by the new index until its part is rebuilt';

/** The index that the searches of a vector go through. */
async function indexPointer({ plan: { run, index, event }, openTarget }: PointerInput): Promise<NamedPointer> {
  const { store, kind } = await openTarget();
  const { pointer } = store;
  const name = index?.vector ?? event.index?.vector ?? '';
  if (pointer === undefined || kind.capabilities.changesIndex === false)
    throw new Incompatible(`${kind.title} has no indexes to switch`, { ids: [name] });
  const never = async (): Promise<never> => {
    throw new Incompatible(`the index of vector '${name}' is switched at once`, { ids: [name] });
  };
  return {
    kind: 'index',
    name,
    to: indexStands.made(run),
    read: async () => (await pointer.read(name)) ?? null,
    advance: () => pointer.move(name, indexStands.made(run)),
    share: never,
    takeBack: (before) => pointer.move(name, before ?? indexStands.old),
    noteOfAdvance: async () => {
      if (index?.how !== 'beside' || index.from.index.kind === 'none') return undefined;
      const used = await usedIndex(store.indexes, event.validate.recall?.search ?? {});
      const which = used === undefined ? 'searches as the application makes them use neither' : usedWords[used];
      return `both are there until the run is retired, and ${which}, which the store decides: vecferry retire ${run} makes it the new one for certain, vecferry rollback ${run} the old one`;
    },
    isBeside: async () => index?.how === 'beside' && (await store.indexes?.sizes())?.new !== undefined,
    ...(index?.how === 'instead' && { noteOfReturn: async () => wayBack }),
    finish: never,
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
