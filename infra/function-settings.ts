/** What a function needs to be called with, and may do: the whole of its role besides its own logs and traces. */
export interface FunctionSettings {
  /** A vCPU comes with every 1,769 MiB: docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html */
  readonly memoryMiB: number;
  readonly minutes: number;
  readonly may: readonly Permission[];
}

export type Permission =
  | 'read the run'
  | 'write the run'
  | 'delete of the run'
  | 'open stores'
  | 'read query files'
  | 'queue shards'
  | 'bury shards'
  | 'look at dead letters'
  | 'count repairs'
  | 'read flags'
  | 'write flags'
  | 'send notices'
  | 'answer states'
  | 'read metrics'
  | 'embed texts'
  | 'drop collections';

/**
 * Time: those that hand back a cursor take all that Lambda gives, 15 minutes, since each call costs a start; the others
 * have a few times what they were seen to need on 1,000,000 records.
 * Memory: a function that holds a shard holds it up to four times (object, Arrow, batch, the client's buffers), 256 MiB is
 * the largest shard an event may ask for and 32 MiB the usual, and 1,769 MiB give it a whole processor.
 */
export const functionSettings = {
  /** Both sides are described, the source is sampled and cut, on a large table for minutes. */
  plan: {
    memoryMiB: 1024,
    minutes: 10,
    may: ['read the run', 'write the run', 'delete of the run', 'open stores', 'read flags'],
  },
  prepare: { memoryMiB: 512, minutes: 5, may: ['read the run', 'open stores'] },
  'export-range': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'delete of the run', 'open stores', 'queue shards'],
  },
  /** Lists every shard of the run in memory: some 300 bytes each. */
  seal: { memoryMiB: 1024, minutes: 5, may: ['read the run', 'write the run'] },
  'import-shard': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'delete of the run', 'open stores', 'queue shards', 'bury shards'],
  },
  /** One at a time, whatever the number of shards: the rate limits are the account's, and no text is asked for twice. */
  'embed-texts': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'delete of the run', 'queue shards', 'embed texts'],
  },
  'catch-up': { memoryMiB: 1024, minutes: 15, may: ['read the run', 'write the run', 'open stores', 'embed texts'] },
  'await-import': { memoryMiB: 512, minutes: 5, may: ['read the run', 'look at dead letters'] },
  'build-index': { memoryMiB: 512, minutes: 5, may: ['read the run', 'open stores'] },
  'watch-index': { memoryMiB: 512, minutes: 5, may: ['read the run', 'write the run', 'open stores'] },
  'choose-queries': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'read query files', 'embed texts'],
  },
  'compare-shard': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'open stores', 'read flags'],
  },
  'find-neighbours': { memoryMiB: 1769, minutes: 15, may: ['read the run', 'write the run'] },
  /** Up to 10,000 queries on each side, one after another, so that their latency is the store's own. */
  'measure-recall': { memoryMiB: 1024, minutes: 15, may: ['read the run', 'write the run', 'open stores'] },
  /** As many searches again for each setting that is tried; what is left at its deadline is done by the next call. */
  'tune-search': { memoryMiB: 1024, minutes: 15, may: ['read the run', 'write the run', 'open stores'] },
  'search-before': {
    memoryMiB: 1769,
    minutes: 15,
    may: ['read the run', 'write the run', 'open stores'],
  },
  'measure-drift': { memoryMiB: 1024, minutes: 15, may: ['read the run', 'write the run', 'open stores'] },
  'find-causes': { memoryMiB: 1024, minutes: 10, may: ['read the run', 'write the run', 'open stores'] },
  'write-report': { memoryMiB: 1024, minutes: 10, may: ['read the run', 'write the run', 'open stores'] },
  'begin-live': { memoryMiB: 512, minutes: 5, may: ['read the run', 'write the run', 'read flags', 'write flags'] },
  'apply-tombstones': {
    memoryMiB: 1024,
    minutes: 15,
    may: ['read the run', 'write the run', 'open stores', 'read flags'],
  },
  /** Reads both sides from end to end; holds the ids of the run, 16 bytes each. */
  'sweep-writes': { memoryMiB: 1769, minutes: 15, may: ['read the run', 'write the run', 'open stores', 'read flags'] },
  'ask-approval': {
    memoryMiB: 512,
    minutes: 5,
    may: ['read the run', 'write the run', 'send notices', 'answer states'],
  },
  /** Called by hand, not by the state machine: docs/cutover.md. */
  'answer-approval': { memoryMiB: 512, minutes: 5, may: ['read the run', 'write the run', 'answer states'] },
  'tell-readers-stay': { memoryMiB: 512, minutes: 5, may: ['read the run', 'send notices'] },
  'step-canary': {
    memoryMiB: 512,
    minutes: 5,
    may: ['read the run', 'write the run', 'read flags', 'write flags', 'read metrics', 'send notices'],
  },
  /** Called by hand, not by the state machine: docs/cutover.md. */
  finish: {
    memoryMiB: 512,
    minutes: 5,
    may: ['read the run', 'write the run', 'read flags', 'write flags', 'count repairs', 'read metrics'],
  },
  /** Fed by the repair queue. */
  'mend-records': { memoryMiB: 1024, minutes: 5, may: ['read the run', 'open stores', 'read flags'] },
  /** Of a run in place it embeds what was written right before, which may be called for by hand long after the run. */
  'cut-over': {
    memoryMiB: 1024,
    minutes: 15,
    may: ['read the run', 'write the run', 'open stores', 'read flags', 'write flags', 'embed texts'],
  },
  /** Called by hand, not by the state machine: docs/runbook.md. */
  'roll-back': {
    memoryMiB: 512,
    minutes: 5,
    may: ['read the run', 'write the run', 'open stores', 'read flags', 'write flags', 'send notices'],
  },
  /** Called by hand, not by the state machine: docs/cutover.md. */
  retire: {
    memoryMiB: 512,
    minutes: 5,
    may: ['read the run', 'write the run', 'open stores', 'drop collections', 'read flags'],
  },
  'report-failure': { memoryMiB: 512, minutes: 5, may: ['read the run', 'write the run'] },
} as const satisfies Record<string, FunctionSettings>;

export type FunctionName = keyof typeof functionSettings;

export const functionNames: readonly FunctionName[] = Object.keys(functionSettings).filter(isFunctionName);

/** The functions with this permission, by name. */
export function functionsThatMay(permission: Permission): readonly FunctionName[] {
  return Object.entries(functionSettings).flatMap(([name, { may }]) =>
    may.some((each) => each === permission) && isFunctionName(name) ? [name] : [],
  );
}

function isFunctionName(name: string): name is FunctionName {
  return name in functionSettings;
}
