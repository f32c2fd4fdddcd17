/** One measured figure, beside what it is measured against in the same run on the same machine. */
export interface BenchRow {
  readonly name: string;
  readonly value: number;
  /** records/s, MB, ms, … */
  readonly unit: string;
  /** What `ratio` compares with: a ceiling, a peer. */
  readonly against?: string;
  /** value / the other's value. */
  readonly ratio?: number;
  /** As the project promises it: `ratio >= 0.5`, `< 700 MB`. */
  readonly goal?: string;
}

/** The median of `runs` timings of one action, in milliseconds; the first run warms up and does not count. */
export async function medianMs(runs: number, action: () => Promise<unknown> | unknown): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const start = performance.now();
    await action();
    if (run > 0) times.push(performance.now() - start);
  }
  return middleOf(times);
}

/** What is timed: all of it, or, where it says so itself, a part, so that its preparation does not count. */
export type Task = () => Promise<unknown> | unknown;

export class Taken {
  readonly milliseconds: number;
  /** @param since as performance.now() has it */
  constructor(since: number) {
    this.milliseconds = performance.now() - since;
  }
}

/** Medians of several tasks that take turns, in milliseconds: what else the machine does meets all alike. The first `warmUps` rounds do not count. */
export async function inTurns<K extends string>(
  tasks: Readonly<Partial<Record<K, Task>>>,
  { rounds, warmUps = 1 }: { readonly rounds: number; readonly warmUps?: number },
): Promise<(name: K) => number> {
  const times = new Map<string, number[]>();
  for (let round = 0; round < rounds + warmUps; round++) {
    for (const [name, task] of Object.entries<Task | undefined>(tasks)) {
      if (task === undefined) continue;
      const start = performance.now();
      const said = await task();
      const taken = said instanceof Taken ? said.milliseconds : performance.now() - start;
      if (round >= warmUps) times.set(name, [...(times.get(name) ?? []), taken]);
    }
  }
  return (name) => middleOf(times.get(name) ?? []);
}

function middleOf(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}
