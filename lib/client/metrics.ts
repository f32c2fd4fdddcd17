import { StoreUnavailable } from '../errors.ts';
import { type MetricLine, type MetricSink, maxValues, metricNamespace, type ShadowRead } from './metric-line.ts';

export type Counter = 'ShadowErrors' | 'ShadowsDropped' | 'Writes' | 'WriteErrors' | 'SecondWriteErrors';

/** What happens, added up by place and written as lines: each second, or sooner when a line is full. */
export interface Metrics {
  read(place: string, ms: number, ok: boolean): void;
  shadow(place: string, read: ShadowRead): void;
  count(counter: Counter, place: string): void;
  /** A level and not a count: the last one of a line's time is written, and 0 once it has gone down. */
  repairsWaiting(place: string, ids: number): void;
  /** Hands over what there is, and waits until the sink has it. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface MetricsOptions {
  readonly flag: string;
  readonly sink: MetricSink;
  readonly onError: (error: Error) => void;
}

const flushMs = 1000;

interface Tally {
  /** When the earliest began, in ms since 1970. */
  begunAt: number;
  reads: [number, boolean][];
  shadowReads: ShadowRead[];
  counts: { [C in Counter]?: number };
  waiting: number | undefined;
}

export function makeMetrics({ flag, sink, onError }: MetricsOptions): Metrics {
  let tallies = new Map<string, Tally>();
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  /** Level last written, by place: a 0 is written once. */
  const levels = new Map<string, number>();

  const hand = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (tallies.size === 0) return;
    const now = Date.now();
    const lines = [...tallies].map(([place, tally]) => lineOf(flag, place, tally, now));
    tallies = new Map();
    // One after the other, so that lines keep their order of time.
    writing = writing.then(() => sink.write(lines)).catch((cause) => onError(unwritten(lines.length, cause)));
  };
  const tallyOf = (place: string): Tally => {
    const there = tallies.get(place);
    if (there !== undefined) return there;
    const tally: Tally = {
      begunAt: Date.now(),
      reads: [],
      shadowReads: [],
      counts: {},
      waiting: undefined,
    };
    tallies.set(place, tally);
    if (timer === undefined) {
      timer = setTimeout(hand, flushMs);
      timer.unref();
    }
    return tally;
  };
  const flush = async (): Promise<void> => {
    hand();
    await writing;
  };
  return {
    read: (place, ms, ok) => {
      const tally = tallyOf(place);
      began(tally, ms);
      tally.reads.push([round(ms), ok]);
      if (tally.reads.length >= maxValues) hand();
    },
    shadow: (place, { k, overlap, activeMs, otherMs }) => {
      const tally = tallyOf(place);
      // The other side is asked once the first has answered.
      began(tally, activeMs + otherMs);
      tally.shadowReads.push({ k, overlap: round(overlap), activeMs: round(activeMs), otherMs: round(otherMs) });
      if (tally.shadowReads.length >= maxValues) hand();
    },
    count: (counter, place) => {
      const { counts } = tallyOf(place);
      counts[counter] = (counts[counter] ?? 0) + 1;
    },
    repairsWaiting: (place, ids) => {
      if (ids === 0 && (levels.get(place) ?? 0) === 0) return;
      levels.set(place, ids);
      tallyOf(place).waiting = ids;
    },
    flush,
    close: async () => {
      await flush();
      await sink.close?.();
    },
  };
}

/** Of what took `ms` until now. */
function began(tally: Tally, ms: number): void {
  tally.begunAt = Math.min(tally.begunAt, Math.floor(Date.now() - ms));
}

/** Microseconds are enough of a millisecond, and shorter. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function lineOf(
  flag: string,
  place: string,
  { begunAt, reads, shadowReads, counts, waiting }: Tally,
  now: number,
): MetricLine {
  const answered = reads.filter(([, ok]) => ok);
  const values = {
    ...(reads.length === 0 ? {} : { Reads: reads.length, ReadErrors: reads.length - answered.length }),
    ...(answered.length === 0 ? {} : { ReadLatency: answered.map(([ms]) => ms) }),
    ...(shadowReads.length === 0
      ? {}
      : { ShadowReads: shadowReads.length, ShadowOverlap: shadowReads.map(({ overlap }) => overlap) }),
    ...counts,
    ...(waiting === undefined ? {} : { RepairsWaiting: waiting }),
  };
  const metrics = Object.keys(values).map((name) => ({
    Name: name,
    Unit: name === 'ReadLatency' ? 'Milliseconds' : name === 'ShadowOverlap' ? 'None' : 'Count',
    StorageResolution: 1 as const,
  }));
  return {
    _aws: {
      Timestamp: now,
      CloudWatchMetrics: [{ Namespace: metricNamespace, Dimensions: [['flag', 'place']], Metrics: metrics }],
    },
    begunAt,
    flag,
    place,
    ...values,
    reads,
    shadowReads,
  };
}

function unwritten(lines: number, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreUnavailable(
    `${lines} lines of metrics could not be written and are lost: ${reason}; see to the sink of createClient's metrics`,
    { cause },
  );
}
