import type { StateMachine } from 'aws-local-stepfunctions';
import type { FileTasks } from '../../lib/cutover/task-tokens.ts';
import type { ObjectStore } from '../../lib/objects.ts';
import type { Machine } from './asl.ts';
import type { Pace } from './bridge.ts';

/** What an execution of the state machine is given, tells and comes to. */

/** Calls a function by its name. @throws StateFailure named as the function's error. */
export type Invoke = (functionName: string, payload: unknown) => Promise<unknown>;

export interface MachineOptions {
  readonly definition: Machine;
  readonly input: unknown;
  /** The execution's name: what $$.Execution.Name is. */
  readonly execution: string;
  readonly invoke: Invoke;
  /** Where Distributed Maps find their items. */
  readonly objects: ObjectStore;
  /** Children of a Distributed Map that run at once, at most, whatever the definition allows. */
  readonly maxConcurrency: number;
  /** Ends the execution: nothing new starts, what is in flight is waited for. */
  readonly signal: AbortSignal;
  readonly pace?: Pace;
  /** The token of the execution's one state that waits for somebody. Left out: one that nobody else has. */
  readonly token?: string;
  /** Where answers to it are handed in. */
  readonly tasks?: Pick<FileTasks, 'open' | 'look' | 'close'>;
  readonly onState?: (event: StateEvent) => void;
}

export interface StateEvent {
  readonly type: 'entered' | 'exited' | 'failed' | 'retried' | 'caught';
  readonly state: string;
  /** Name of the error, where the state failed. */
  readonly error?: string;
}

export type Outcome =
  | { readonly status: 'SUCCEEDED'; readonly output: unknown }
  | { readonly status: 'FAILED'; readonly error: string; readonly cause: string }
  | { readonly status: 'ABORTED' };

/** The library's types, which it does not export. */
export type Json = Parameters<StateMachine['run']>[0];
