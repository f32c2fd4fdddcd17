import type { ReadsSeen } from './run-files.ts';

/** What the client's metrics say of the reads of one side: read from CloudWatch, or from files on one machine. */
export interface ReadMetrics {
  lastReads(options: LastReads): Promise<ReadsSeen>;
}

export interface LastReads {
  /** The routing flag's name. */
  readonly flag: string;
  /** The side, as the flag names it: `store:collection`. */
  readonly place: string;
  /** Reads before it do not count. */
  readonly since: Date;
  readonly now: Date;
  /** How many of the last reads, and of the last shadow reads, are looked at; all of a period where it is read by periods. */
  readonly requests: number;
}
