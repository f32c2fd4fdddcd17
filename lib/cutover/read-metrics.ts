import type { ReadsSeen } from './cutover-files.ts';

/** What the client's metrics say of the reads of one side: read from CloudWatch, or from files on one machine. */
export interface ReadMetrics {
  lastReads(options: LastReads): Promise<ReadsSeen>;
  /**
   * Ids that applications said wait for repair, which the place lacks: of each the last word, in the last three minutes. A client
   * repeats it every half minute at least while there are any. CloudWatch knows the most that any of them said.
   */
  repairsWaiting(options: RepairsOfPlace): Promise<number>;
}

export interface RepairsOfPlace extends Pick<LastReads, 'flag' | 'place' | 'now'> {}

/** How far back a client's word on its repairs counts; one that is gone says no more, and must not stand in the way for ever. */
export const repairsMs = 180_000;

export interface LastReads {
  /** The routing flag's name. */
  readonly flag: string;
  /** The side, as the flag names it: `store:collection`. */
  readonly place: string;
  /** Reads that began before it do not count. */
  readonly since: Date;
  readonly now: Date;
  /** How many of the last reads, and of the last shadow reads, are looked at; all of a period where it is read by periods. */
  readonly requests: number;
}
