/**
 * A line of the client's metrics: one JSON object in CloudWatch's embedded metric format, for one flag and one place, over at
 * most a second. Besides the metrics it carries each read, so that lines in files can be judged exactly.
 */
export interface MetricLine {
  readonly _aws: {
    /** Milliseconds since 1970, when the line was written: what it says happened in the second before. */
    readonly Timestamp: number;
    readonly CloudWatchMetrics: readonly {
      readonly Namespace: typeof metricNamespace;
      readonly Dimensions: readonly (readonly string[])[];
      readonly Metrics: readonly { readonly Name: string; readonly Unit: string; readonly StorageResolution: 1 }[];
    }[];
  };
  /**
   * Milliseconds since 1970: no read or shadow read of the line began before. A canary's step judges none that did, and a slow
   * one of before ends within the step.
   */
  readonly begunAt: number;
  /** The routing flag's name. */
  readonly flag: string;
  /** The side that the line is about, `store:collection`. */
  readonly place: string;
  /** Every read that this place was sent, in order of time: milliseconds, and whether it was answered. */
  readonly reads: readonly (readonly [ms: number, ok: boolean])[];
  /** Comparisons of both sides' answers, in order of time. They stand in the target's lines, whichever side the caller's answer came from. */
  readonly shadowReads: readonly ShadowRead[];
  readonly Reads?: number;
  readonly ReadErrors?: number;
  readonly ReadLatency?: readonly number[];
  readonly ShadowReads?: number;
  readonly ShadowErrors?: number;
  readonly ShadowsDropped?: number;
  readonly ShadowOverlap?: readonly number[];
  readonly Writes?: number;
  readonly WriteErrors?: number;
  readonly SecondWriteErrors?: number;
  readonly RepairsWaiting?: number;
}

export interface ShadowRead {
  /** Hits of the longer answer; 0 when both sides found nothing, which is an overlap of 1. */
  readonly k: number;
  /** Ids that both answers hold, divided by k. */
  readonly overlap: number;
  /** What the flag's active place took, and what the other did. */
  readonly activeMs: number;
  readonly otherMs: number;
}

export const metricNamespace = 'vecferry/client';
/** CloudWatch takes at most 100 values of a metric in one line: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html */
export const maxValues = 100;

/** Where lines go: standard output (stdout-metrics.ts), a file (file-metrics.ts). */
export interface MetricSink {
  write(lines: readonly MetricLine[]): void | Promise<void>;
  close?(): Promise<void>;
}
