/**
 * Repairs that wait in this process, or in a file of it: ids of records that the second place may not hold as the first
 * does. The client mends them itself. memory-repairs.ts, file-repairs.ts.
 */
export interface RepairQueue {
  readonly kind: 'queue';
  /** Ids that it takes at most. */
  readonly capacity: number;
  /** Ids that wait. */
  readonly size: number;
  /** True when what waits is still there after a restart. */
  readonly isDurable: boolean;
  /** `place`: where their write went. An id that waits already is kept once. Kept, as durably as the queue is, when it returns. */
  add(ids: readonly string[], place: string): Promise<void>;
  /** The ids that have waited longest, at most `count`; they stay until `done`. */
  peek(count: number): readonly WaitingRepair[];
  /** Those given are mended, except where an id was added again after it was peeked at. */
  done(repairs: readonly WaitingRepair[]): Promise<void>;
  /** Those given go to the end. */
  postpone(repairs: readonly WaitingRepair[]): void;
  close(): Promise<void>;
}

export interface WaitingRepair {
  readonly id: string;
  /** The place that has the write. */
  readonly place: string;
  /** Another one each time that the id is added. */
  readonly turn: number;
}

/** Repairs that somebody else makes: the stack's repair queue (aws.ts). Needs a flag that names its run. */
export interface RepairSink {
  readonly kind: 'sink';
  /** At most 1,000 ids. Durable when it returns. */
  send(run: string, ids: readonly string[]): Promise<void>;
}

export type Repairs = RepairQueue | RepairSink;
