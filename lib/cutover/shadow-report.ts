import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { NotFound } from '../errors.ts';
import { latencyOf } from '../recall/recall-summary.ts';
import { linesOf, parseLine, type ReadsLine } from './read-metrics-files.ts';

/**
 * How alike both sides of a flag answer, from recorded shadow reads alone: nothing is asked anew. Overlap@k is the number of
 * ids in both answers by the length of the longer one: where both are full it is the recall@k of each against the other.
 */
export interface ShadowReport {
  readonly goal: number;
  /** ISO 8601: of the first and the last line with shadow reads; null where nothing was recorded. */
  readonly from: string | null;
  readonly to: string | null;
  /** The side that lines name: the target, which is held against the source. */
  readonly places: readonly string[];
  /** Searches that were sent to both sides and answered by both. */
  readonly queries: number;
  /** null where nothing was recorded, here and below. */
  readonly overlap: Overlaps | null;
  /** The same by k, the length of the longer answer, ascending. */
  readonly depths: readonly ({ readonly k: number; readonly queries: number } & Overlaps)[];
  /** Milliseconds of each side, and of a query's other side less its active one: above 0 the other is slower. */
  readonly latency: { readonly active: Millis; readonly other: Millis; readonly difference: Millis } | null;
  /** Lines of a file that are none of the client's. */
  readonly otherLines: number;
}

interface Overlaps {
  readonly mean: number;
  readonly lowest: number;
  /** Queries whose overlap is below the goal. */
  readonly belowGoal: number;
}

interface Millis {
  readonly mean: number;
  readonly p50: number;
  readonly p95: number;
}

export interface ShadowLines {
  readonly lines: AsyncIterable<ReadsLine>;
  /** Lines that were left out so far. */
  otherLines(): number;
}

/** The lines that clients of this machine wrote for a flag. @param folder `metrics/FLAG` @param since milliseconds since 1970 */
export function flagLines(folder: string, since: number): ShadowLines {
  return { lines: linesOf(folder, since), otherLines: () => 0 };
}

/**
 * The lines in files, as a log keeps them: other lines may stand between them, and a time before each. A last line that is
 * still being written is left out.
 * @throws NotFound when a file is not there. @throws ShardDamaged when one of the client's lines was altered
 */
export function fileLines(paths: readonly string[], since: number): ShadowLines {
  let others = 0;
  async function* read(): AsyncGenerator<ReadsLine, void> {
    for (const path of paths) {
      for await (const { text, isLast } of textsOf(path)) {
        const at = text.indexOf('{"_aws"');
        if (at === -1 || (isLast && !text.endsWith('}'))) {
          others += 1;
          continue;
        }
        const line = parseLine(text.slice(at), path);
        if (line._aws.Timestamp >= since) yield line;
      }
    }
  }
  return { lines: read(), otherLines: () => others };
}

/** The lines of a file that hold anything. */
async function* textsOf(path: string): AsyncGenerator<{ readonly text: string; readonly isLast: boolean }, void> {
  const input = createReadStream(path);
  let held: string | undefined;
  try {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (text === '') continue;
      if (held !== undefined) yield { text: held, isLast: false };
      held = text;
    }
    if (held !== undefined) yield { text: held, isLast: true };
  } catch (cause) {
    if (Object(cause).code !== 'ENOENT') throw cause;
    throw new NotFound(`there is no file '${path}'`, { cause, ids: [path] });
  } finally {
    input.destroy();
  }
}

/** @param goal overlap, from 0 to 1, below which a query is counted @throws ShardDamaged when a line was altered */
export async function shadowReport({ lines, otherLines }: ShadowLines, goal: number): Promise<ShadowReport> {
  const all = makeTally(goal);
  const depths = new Map<number, ReturnType<typeof makeTally>>();
  const places = new Set<string>();
  const [active, other, difference]: [number[], number[], number[]] = [[], [], []];
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for await (const { _aws, place, shadowReads } of lines) {
    if (shadowReads.length === 0) continue;
    places.add(place);
    from = Math.min(from, _aws.Timestamp);
    to = Math.max(to, _aws.Timestamp);
    for (const { k, overlap, activeMs, otherMs } of shadowReads) {
      all.add(overlap);
      const depth = depths.get(k) ?? makeTally(goal);
      depth.add(overlap);
      depths.set(k, depth);
      active.push(activeMs);
      other.push(otherMs);
      difference.push(otherMs - activeMs);
    }
  }
  const { queries, ...overlap } = all.sum();
  const isThere = queries > 0;
  return {
    goal,
    from: isThere ? new Date(from).toISOString() : null,
    to: isThere ? new Date(to).toISOString() : null,
    places: [...places].sort(),
    queries,
    overlap: isThere ? overlap : null,
    depths: [...depths].sort(([a], [b]) => a - b).map(([k, depth]) => ({ k, ...depth.sum() })),
    latency: isThere ? { active: millisOf(active), other: millisOf(other), difference: millisOf(difference) } : null,
    otherLines: otherLines(),
  };
}

function makeTally(goal: number) {
  let [queries, sum, lowest, belowGoal] = [0, 0, 1, 0];
  return {
    add: (overlap: number): void => {
      queries += 1;
      sum += overlap;
      if (overlap < lowest) lowest = overlap;
      if (overlap < goal) belowGoal += 1;
    },
    sum: () => ({ queries, mean: sum / Math.max(1, queries), lowest, belowGoal }),
  };
}

function millisOf(millis: readonly number[]): Millis {
  const { mean, p50, p95 } = latencyOf(millis);
  return { mean, p50, p95 };
}
