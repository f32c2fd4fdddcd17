import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MetricLine, ShadowRead } from '../lib/client/metric-line.ts';

/** Lines as the client writes them, of reads that a test makes up. */

export interface LineParts {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Default: as `at`. */
  readonly begunAt?: number;
  readonly place?: string;
  readonly flag?: string;
  readonly reads?: readonly (readonly [ms: number, ok: boolean])[];
  readonly shadowReads?: readonly ShadowRead[];
  readonly waiting?: number;
}

export function makeLine({
  at,
  begunAt = at,
  place = 'memory:articles2',
  flag = 'articles2',
  reads = [],
  shadowReads = [],
  waiting,
}: LineParts): MetricLine {
  const ok = reads.filter(([, isOk]) => isOk);
  return {
    _aws: { Timestamp: at, CloudWatchMetrics: [] },
    begunAt,
    flag,
    place,
    reads,
    shadowReads,
    Reads: reads.length,
    ReadErrors: reads.length - ok.length,
    ReadLatency: ok.map(([ms]) => ms),
    ShadowReads: shadowReads.length,
    ShadowOverlap: shadowReads.map(({ overlap }) => overlap),
    ...(waiting === undefined ? {} : { RepairsWaiting: waiting }),
  };
}

/** Appends lines to the file of one client, as lib/client/file-metrics.ts names it. */
export function appendLines(directory: string, client: string, lines: readonly MetricLine[]): void {
  for (const line of lines) {
    const folder = join(directory, line.flag);
    mkdirSync(folder, { recursive: true });
    const hour = new Date(line._aws.Timestamp).toISOString().slice(0, 13);
    appendFileSync(join(folder, `${hour}-${client}.jsonl`), `${JSON.stringify(line)}\n`);
  }
}
