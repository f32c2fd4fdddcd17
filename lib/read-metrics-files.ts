import type { ReadMetrics } from './read-metrics.ts';

/** The metrics that applications on this machine append to files under `directory`. */
export function fileReads(_directory: string): ReadMetrics {
  return {
    lastReads: async () => {
      throw new Error('under construction');
    },
  };
}
