import type { FlagReader } from '../../lib/client/flag-reader.ts';
import type { MetricLine, MetricSink } from '../../lib/client/metric-line.ts';
import type { ClientSide } from '../../lib/client/side.ts';
import type { Flag } from '../../lib/cutover/flag.ts';

/** What the tests' applications keep and look for. */
export interface Doc {
  readonly id: string;
  readonly value: number;
}
export interface Found {
  readonly id: string;
}

export interface MemorySide extends ClientSide<Doc, number, Found> {
  readonly docs: Map<string, number>;
  /** Every call, in the order in which they came. */
  readonly calls: string[];
}

export interface SideOptions {
  /** Called before a call is applied: waits, throws, or does nothing. */
  readonly before?: (call: string) => Promise<void> | void;
  /** The same after it was applied. */
  readonly after?: (call: string) => Promise<void> | void;
}

/** A collection in memory. A search gives the ids with values next to the query, three at most. */
export function memorySide(docs: Readonly<Record<string, number>> = {}, options: SideOptions = {}): MemorySide {
  const held = new Map(Object.entries(docs));
  const calls: string[] = [];
  const call = async <T>(name: string, work: () => T): Promise<T> => {
    calls.push(name);
    await options.before?.(name);
    const result = work();
    await options.after?.(name);
    return result;
  };
  return {
    docs: held,
    calls,
    search: (query) =>
      call('search', () =>
        [...held]
          .map(([id, value]) => ({ id, distance: Math.abs(value - query) }))
          .sort((a, b) => a.distance - b.distance || (a.id < b.id ? -1 : 1))
          .slice(0, 3)
          .map(({ id }) => ({ id })),
      ),
    fetch: (ids) =>
      call('fetch', () =>
        ids.flatMap((id) => {
          const value = held.get(id);
          return value === undefined ? [] : [{ id, value }];
        }),
      ),
    upsert: (records) =>
      call('upsert', () => {
        for (const { id, value } of records) held.set(id, value);
      }),
    delete: (ids) =>
      call('delete', () => {
        for (const id of ids) held.delete(id);
      }),
  };
}

/** A flag that the test sets, with a store that can be away. */
export interface TestFlag extends FlagReader {
  value: Partial<Flag> | undefined;
  isAway: boolean;
  reads: number;
  set(value: Partial<Flag> | undefined): void;
}

export function testFlag(value?: Partial<Flag>, name = 'words'): TestFlag {
  const flag: TestFlag = {
    name,
    value,
    isAway: false,
    reads: 0,
    set: (next) => {
      flag.value = next;
    },
    read: async () => {
      flag.reads += 1;
      if (flag.isAway) throw new Error('the flag store is away');
      return structuredClone(flag.value) as Flag | undefined;
    },
  };
  return flag;
}

export const bothSides: Flag = {
  active: 'a:words',
  candidate: 'b:words',
  weight: 0,
  shadow: 0,
  writes: ['a:words', 'b:words'],
  run: 'run-1',
};

/** Keeps the lines. */
export function keptLines(): MetricSink & { readonly lines: MetricLine[] } {
  const lines: MetricLine[] = [];
  return {
    lines,
    write: (more) => {
      lines.push(...more);
    },
  };
}

/** Keeps the tombstones' ids by run. */
export function memoryLedger() {
  const tombstones = new Map<string, Set<string>>();
  return {
    tombstones,
    addTombstones: async (run: string, ids: readonly string[]): Promise<void> => {
      const there = tombstones.get(run) ?? new Set();
      for (const id of ids) there.add(id);
      tombstones.set(run, there);
    },
  };
}

export function sum(lines: readonly MetricLine[], place: string, name: string): number {
  return lines
    .filter((line) => line.place === place)
    .map((line) => Number(Reflect.get(line, name) ?? 0))
    .reduce((total, value) => total + value, 0);
}

export const never = new Promise<never>(() => {});

/** What `work` gives, or 'late' where it waits for a timer, a file or a server: a promise kept by what is there is kept before. */
export const atOnce = <T>(work: Promise<T>): Promise<T | 'late'> =>
  Promise.race([work, new Promise<'late'>((resolve) => setImmediate(() => resolve('late')))]);

/** Waits below Jest's own limit for a test, which does not say what was waited for. */
export async function until(isTrue: () => boolean, what: string, ms = 50_000): Promise<void> {
  const from = performance.now();
  while (!isTrue()) {
    if (performance.now() - from > ms) throw new Error(`${what} did not come about within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
