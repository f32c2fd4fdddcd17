/**
 * What an application imports as `vecferry/client`: the one list of exports here, since it is a package's face and no
 * short cut between rooms. It reaches no package but Node, which a test holds; `vecferry/client/aws` is aws.ts,
 * `vecferry/client/stores` is stores.ts.
 */

export type { Flag } from '../cutover/flag.ts';
export { bucketOf } from '../cutover/route.ts';
export { RepairQueueFull, StoreUnavailable, VecferryError } from '../errors.ts';
export { createClient } from './client.ts';
export { fileFlag } from './file-flag.ts';
export { fileLedger } from './file-ledger.ts';
export { fileMetrics } from './file-metrics.ts';
export { type FileRepairsOptions, fileRepairs } from './file-repairs.ts';
export type { FlagReader } from './flag-reader.ts';
export { parseFlagText } from './flag-text.ts';
export type { Ledger } from './ledger.ts';
export { memoryRepairs } from './memory-repairs.ts';
export type { MetricLine, MetricSink, ShadowRead } from './metric-line.ts';
export { type MirrorOptions, mirror } from './mirror.ts';
export type { Client, ClientOptions, ClientStatus, ReadOptions } from './options.ts';
export type { RepairQueue, RepairSink, Repairs, WaitingRepair } from './repairs.ts';
export { isSame } from './same.ts';
export type { ClientRecord, ClientSide, ClientVector, Identified } from './side.ts';
export { stdoutMetrics } from './stdout-metrics.ts';
