import type { MetricSink } from './metric-line.ts';

/** Lines on standard output: on Lambda CloudWatch makes metrics of them, elsewhere its agent or a Firelens container does. */
export function stdoutMetrics(): MetricSink {
  return {
    write: (lines) => {
      for (const line of lines) process.stdout.write(`${JSON.stringify(line)}\n`);
    },
  };
}
