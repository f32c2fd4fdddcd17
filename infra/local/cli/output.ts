import type { Notice } from '../../../lib/cutover/notices.ts';
import type { Stage } from '../../../lib/stage.ts';
import type { Failure } from './exit-codes.ts';

/**
 * What the command line says: lines for people, or one JSON object a line with --json. `type` tells the objects apart;
 * fields are only ever added.
 */
export type OutputEvent =
  /** A run is about to start, or to go on. */
  | { readonly type: 'started'; readonly run: string; readonly where: string }
  /** A state of the state machine began or ended. */
  | {
      readonly type: 'state';
      readonly run: string;
      readonly state: string;
      readonly status: string;
      readonly error?: string;
    }
  /** How far a stage is; at most one a second a stage. */
  | ({
      readonly type: 'progress';
      readonly run: string;
      readonly perSecond: number | null;
      readonly secondsLeft: number | null;
    } & Omit<Stage, 'name'> & { readonly stage: string })
  /** The run waits for a person: by when, and the commands that answer. */
  | {
      readonly type: 'approval';
      readonly run: string;
      readonly askedAt: string;
      readonly until: string;
      readonly approve: string;
      readonly reject: string;
    }
  /** What people were told: a question, an approval that was not given, readers that were taken back. */
  | ({ readonly type: 'notice' } & Notice)
  /** status --failed: a record whose text could not be embedded. */
  | { readonly type: 'failed'; readonly run: string; readonly id: string; readonly reason: string }
  /** The end of a command that runs something. */
  | {
      readonly type: 'result';
      readonly run: string;
      readonly status: 'succeeded' | 'failed' | 'interrupted';
      readonly output: unknown;
      readonly report: string | null;
      readonly reportPage: string | null;
    }
  /** The command's answer, where it only looks: a plan, a status, a run of the list, a shard or another file and what a folder holds, what became of a file and of a folder, a store, a move, the answer to a question, what is dropped; a setting that was tried, and what was chosen. */
  | {
      readonly type:
        | 'plan'
        | 'status'
        | 'run'
        | 'shard'
        | 'file'
        | 'inspected'
        | 'upgraded'
        | 'upgrade'
        | 'store'
        | 'moved'
        | 'answered'
        | 'retired'
        | 'tried'
        | 'tuned'
        | 'shadow';
      readonly [field: string]: unknown;
    }
  /** migrate: how migrations stand; one that is planned, begun or done; what a linter, a check, a repair or a backup says. */
  | {
      readonly type:
        | 'migrations'
        | 'migration'
        | 'lint'
        | 'check'
        | 'checked'
        | 'repaired'
        | 'backup'
        | 'restored'
        | 'written';
      readonly [field: string]: unknown;
    }
  /** Something went wrong and is tried again. */
  | { readonly type: 'warning'; readonly message: string }
  /** The command failed. */
  | ({ readonly type: 'error' } & Failure);

export interface Output {
  readonly json: boolean;
  /** With --json: the event, as a line. */
  event(event: OutputEvent): void;
  /** Without --json: a line for people. */
  line(text: string): void;
  /** The one message of a failed command: standard error for people, an event with --json. */
  fail(failure: Failure): void;
}

/** Where a command says it: a process has both, and so has a test. */
export interface Streams {
  readonly stdout: Pick<NodeJS.WritableStream, 'write' | 'on'>;
  readonly stderr: Pick<NodeJS.WritableStream, 'write'> & { readonly isTTY?: boolean };
}

export function makeOutput(json: boolean, { stdout, stderr }: Streams = process): Output {
  // Whoever reads may leave (`| head`); the run goes on without them.
  stdout.on('error', (error: Error & { readonly code?: string }) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return {
    json,
    event: (event) => {
      if (json) stdout.write(`${JSON.stringify(event)}\n`);
    },
    line: (text) => {
      if (!json) stdout.write(`${text}\n`);
    },
    fail: (failure) => {
      if (json) stdout.write(`${JSON.stringify({ type: 'error', ...failure })}\n`);
      else stderr.write(`${failure.error}: ${failure.message}\n`);
    },
  };
}
