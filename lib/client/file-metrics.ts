import { randomUUID } from 'node:crypto';
import { appendFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { MetricLine, MetricSink } from './metric-line.ts';

/**
 * Lines in files below the directory of metrics (VECFERRY_METRICS), where a run on this machine reads them:
 * `FLAG/2026-01-31T03-PID-UUID.jsonl`. One file a client and an hour: no two processes write to the same, and a reader skips
 * what is too old by the name.
 */
export function fileMetrics(directory: string): MetricSink {
  const own = `${process.pid}-${randomUUID()}`;
  let last: string | undefined;
  return {
    write: async (lines) => {
      for (const [path, text] of textsOf(directory, own, lines)) {
        if (path !== last) await mkdir(dirname(path), { recursive: true });
        last = path;
        await appendFile(path, text);
      }
    },
  };
}

function textsOf(directory: string, own: string, lines: readonly MetricLine[]): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const line of lines) {
    const path = join(directory, line.flag, `${hourOf(line)}-${own}.jsonl`);
    texts.set(path, `${texts.get(path) ?? ''}${JSON.stringify(line)}\n`);
  }
  return texts;
}

/** UTC, `2026-01-31T03`. */
function hourOf({ _aws: { Timestamp } }: MetricLine): string {
  return new Date(Timestamp).toISOString().slice(0, 13);
}
