import type { Flag } from '../cutover/flag.ts';
import type { Clock } from './clock.ts';
import type { FlagReader } from './flag-reader.ts';
import type { Ledger } from './ledger.ts';
import type { MetricSink } from './metric-line.ts';
import type { Repairs } from './repairs.ts';
import type { ClientSide, Identified } from './side.ts';

export interface ClientOptions<R extends Identified, Q, H extends Identified> {
  readonly flag: FlagReader;
  /** The collections of this application, by the places that the flag names: `store:collection`. */
  readonly sides: Readonly<Record<string, ClientSide<R, Q, H>>>;
  /** The place to use while the flag was never set, or could not be read since the start. Left out: the first of `sides` where it is the only one. */
  readonly source?: string;
  /** Where ids wait whose second write failed. Left out: 100,000 of them in memory. */
  readonly repairs?: Repairs;
  /** Takes the tombstones of deletes while a run is under way; deletes are refused without it then. */
  readonly ledger?: Ledger;
  /** Left out: lines on standard output, which CloudWatch turns into metrics on Lambda. */
  readonly metrics?: MetricSink;
  /** Milliseconds that a read of the target may take before the source is asked; default 1,000. */
  readonly timeoutMs?: number;
  /** Milliseconds that a second write may take before it counts as failed; default 10,000. */
  readonly secondWriteTimeoutMs?: number;
  /** Shadow reads under way at most; default 4. */
  readonly maxShadows?: number;
  /** Milliseconds after which the flag is read again, and after which a write does not trust it any more; default 5,000 and 10,000. */
  readonly refreshMs?: number;
  readonly leaseMs?: number;
  /** True when `held`, as a side gives it back, is `written`. Left out: equal as values, vectors as float32s (same.ts). */
  readonly same?: (written: R, held: R) => boolean;
  /** What failed in the background. Left out: process warnings, at most one a second. */
  readonly onError?: (error: Error) => void;
  /** For tests. */
  readonly clock?: Clock;
  /** For tests: [0, 1). */
  readonly random?: () => number;
}

export interface ReadOptions {
  /** Whose read it is, a user's id say: one key stays on one side. Left out: each read is routed by itself. */
  readonly key?: string;
}

export interface Client<R extends Identified, Q, H extends Identified> {
  /** The nearest records, from the side that the flag and the key say. @throws what the side throws. */
  search(query: Q, options?: ReadOptions): Promise<readonly H[]>;
  /** Records by id, routed alike; those that are not there are left out. */
  fetch(ids: readonly string[], options?: ReadOptions): Promise<readonly R[]>;
  /**
   * Writes to every place that the flag names; acknowledged once the first has it and the second has it or is noted for repair.
   * @throws RepairQueueFull when there is no room to note it: nothing is written then. @throws what the first place throws.
   */
  upsert(records: readonly R[]): Promise<void>;
  /** As upsert. @throws what the ledger throws: nothing is deleted then. */
  delete(ids: readonly string[]): Promise<void>;
  /** Waits for shadow reads and checks under way, one round of repairs, and the metrics: a Lambda function calls it before it returns. */
  flush(): Promise<ClientStatus>;
  /** Flushes and ends. @throws StoreUnavailable when repairs wait in memory still, which end with the process. */
  close(): Promise<void>;
  status(): ClientStatus;
}

export interface ClientStatus {
  /** The flag's last known value; undefined when none is known or it was never set. */
  readonly flag: Flag | undefined;
  /** Milliseconds since it was read; undefined when it never could be. */
  readonly flagAgeMs: number | undefined;
  /** Ids that wait for repair, and written ids that are still to be held against the source: while double writes begin, for leaseMs. */
  readonly repairsWaiting: number;
  readonly checksWaiting: number;
  readonly shadowsUnderWay: number;
}
