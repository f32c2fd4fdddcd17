/** A part of a run as people follow it: lib/status.ts works it out from the run's objects. */
export type StageName =
  | 'export'
  | 'embed'
  | 'import'
  | 'catch up'
  | 'index'
  | 'compare'
  | 'live'
  | 'recall'
  | 'drift'
  | 'cutover';

export interface Stage {
  readonly name: StageName;
  /** ended: over without being done; `detail` says why. */
  readonly state: 'waiting' | 'running' | 'done' | 'skipped' | 'ended';
  /** Done so far, in `unit`. */
  readonly done: number;
  /** Expected in all; an estimate until the manifest is sealed. 0 for an empty collection. */
  readonly total: number;
  readonly unit: 'records' | 'shards' | 'steps';
  /** What embedding took so far, what the target says of its index, how far tuning is, what a live run's writes and its cutover are at. */
  readonly detail?: string;
}
