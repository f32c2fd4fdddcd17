import type { RepairQueue, WaitingRepair } from './repairs.ts';

export const defaultRepairCapacity = 100_000;

/** Repairs in memory: they end with the process. Ids only, so 100,000 of them take some ten megabytes. */
export function memoryRepairs({ capacity = defaultRepairCapacity } = {}): RepairQueue {
  const waiting = makeWaiting();
  return {
    kind: 'queue',
    capacity,
    isDurable: false,
    get size() {
      return waiting.size;
    },
    add: async (ids, place) => {
      waiting.add(ids, place);
    },
    peek: waiting.peek,
    done: async (repairs) => {
      waiting.done(repairs);
    },
    postpone: waiting.postpone,
    close: async () => {},
  };
}

/** The ids that wait, in the order in which they came. */
export interface Waiting {
  readonly size: number;
  add(ids: readonly string[], place: string): void;
  peek(count: number): readonly WaitingRepair[];
  /** Gives the ids that do not wait any more. */
  done(repairs: readonly Pick<WaitingRepair, 'id' | 'turn'>[]): readonly string[];
  drop(ids: readonly string[]): void;
  postpone(repairs: readonly WaitingRepair[]): void;
}

interface Turn {
  readonly place: string;
  readonly turn: number;
}

export function makeWaiting(): Waiting {
  /** One turn stands for all ids of a place that came between two looks: an id costs a slot of the map and its text. */
  const turns = new Map<string, Turn>();
  let latest: Turn | undefined;
  let next = 0;
  return {
    get size() {
      return turns.size;
    },
    add: (ids, place) => {
      if (latest?.place !== place) latest = { place, turn: next++ };
      for (const id of ids) turns.set(id, latest);
    },
    peek: (count) => {
      const found: WaitingRepair[] = [];
      // What comes from now on has come after this look.
      latest = undefined;
      for (const [id, { place, turn }] of turns) {
        if (found.length >= count) break;
        found.push({ id, place, turn });
      }
      return found;
    },
    done: (repairs) => {
      const gone = repairs.filter(({ id, turn }) => turns.get(id)?.turn === turn).map(({ id }) => id);
      for (const id of gone) turns.delete(id);
      return gone;
    },
    drop: (ids) => {
      for (const id of ids) turns.delete(id);
    },
    postpone: (repairs) => {
      for (const { id } of repairs) {
        const turn = turns.get(id);
        if (turn === undefined) continue;
        turns.delete(id);
        turns.set(id, turn);
      }
    },
  };
}
