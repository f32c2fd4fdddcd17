import { ImportFailed, StoreUnavailable } from './errors.ts';

/**
 * How long a run waits for its target before it fails, counted from the execution's start. The state machine itself ends
 * after 14 days (infra/retries.ts), without a word about what it waited for, so these come first.
 */
export const patienceDays = { import: 7, index: 13 } as const;

const dayMs = 24 * 60 * 60 * 1000;

export interface Waiting {
  readonly run: string;
  /** What is waited for, and how far it is: `3 of 7 shards are loaded`. */
  readonly state: string;
  /** When the execution began, ISO 8601. */
  readonly since: string;
  readonly now: Date;
}

/** @throws ImportFailed when the import has gone on for longer than a run waits. */
export function expectImport({ run, state, since, now }: Waiting): void {
  if (now.getTime() - Date.parse(since) <= patienceDays.import * dayMs) return;
  const next =
    'see what holds up the importers (alarm ImportStalled), then start the run again: what is loaded stays loaded';
  throw new ImportFailed(`the import has not ended within ${patienceDays.import} days: ${state}; ${next}`, {
    ids: [run],
  });
}

/** @throws StoreUnavailable when the index has been under way for longer than a run waits. */
export function expectIndex({ run, state, since, now }: Waiting): void {
  if (now.getTime() - Date.parse(since) <= patienceDays.index * dayMs) return;
  const next = 'see what the target is doing, then start the run again: it goes on with this index';
  throw new StoreUnavailable(
    `run '${run}': the index was not built within ${patienceDays.index} days of the start: ${state}; ${next}`,
  );
}
