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
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}
