import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fileTasks } from '../../lib/cutover/task-tokens.ts';
import type { ObjectStore } from '../../lib/objects.ts';
import { services } from '../../lib/services.ts';
import type { Machine } from './asl.ts';
import type { Pace } from './bridge.ts';
import type { Deployment } from './deployment.ts';
import { startEventSource } from './event-source.ts';
import type { Outcome, StateEvent } from './execution.ts';
import { type Handler, localInvoke } from './invoke.ts';
import { runMachine } from './machine.ts';
import { type LocalQueue, startQueue } from './queue.ts';

/**
 * vecferry on one machine: the definition and the functions that `cdk deploy` installs, an SQS of its own, and objects as
 * files. What differs from AWS: waits and retry intervals are shorter (bridge.ts), a failed message comes back after a
 * second (event-source.ts), no more runs at once than the machine has room for, and a function cannot be killed.
 */
export interface Engine {
  readonly objects: ObjectStore;
  /** Runs the state machine, under the run's id as the execution's name. */
  run(options: RunOptions): Promise<Outcome>;
  /** Calls one function, as the state machine would; once the signal is aborted it has no time left. @throws StateFailure named as the function's error. */
  invoke(functionName: string, payload: unknown, signal?: AbortSignal): Promise<unknown>;
  close(): Promise<void>;
}

export interface RunOptions {
  readonly run: string;
  readonly event: unknown;
  readonly signal: AbortSignal;
  readonly onState?: (event: StateEvent) => void;
  /** Another machine than the deployment's: a part of it. */
  readonly definition?: Machine;
  /** How waits and retries are hurried; left out: as on any machine of a user. */
  readonly pace?: Pace;
}

export interface EngineOptions {
  /** Holds `runs/`, `flags/` and the lock files. */
  readonly directory: string;
  readonly deployment: Deployment;
  /** Tells of failed deliveries, which are repeated. */
  readonly onFailure?: (error: unknown) => void;
  /** Shows what the functions log, on standard output. */
  readonly verbose?: boolean;
}

/** Functions that run at once: each holds a batch or a shard in memory, and all share this process's one thread. */
const maxConcurrency = Math.max(2, availableParallelism());

/** @throws Error when no port can be listened on, or the directory cannot be made. */
export async function startEngine({ directory, deployment, onFailure, verbose }: EngineOptions): Promise<Engine> {
  // A place that cannot be is the command's fault, not that of the first function that writes there.
  await mkdir(join(directory, 'runs'), { recursive: true });
  const queue = await startQueue(deployment.queue);
  setEnvironment(resolve(directory), queue, verbose === true);
  const stopping = new AbortController();
  const invokeUntil = (signal: AbortSignal) =>
    localInvoke({
      settings: deployment.functions,
      load: loadHandler,
      signal: AbortSignal.any([signal, stopping.signal]),
    });
  return {
    objects: services().objects,
    invoke: (functionName, payload, signal = stopping.signal) => invokeUntil(signal)(functionName, payload),
    run: async ({ run, event, signal, onState, definition, pace }) => {
      const invoke = invokeUntil(signal);
      const source = startEventSource({
        client: queue.client,
        arrival: queue.arrival,
        queueUrl: queue.url,
        settings: deployment.importer,
        invoke,
        maxConcurrency,
        onFailure: (error) => onFailure?.(error),
      });
      try {
        return await runMachine({
          definition: definition ?? deployment.definition,
          input: event,
          execution: run,
          invoke,
          objects: services().objects,
          maxConcurrency,
          signal,
          tasks: fileTasks(join(resolve(directory), 'tasks')),
          ...(onState && { onState }),
          ...(pace && { pace }),
        });
      } finally {
        await source.stop();
      }
    },
    close: async () => {
      stopping.abort();
      await services().close();
      await queue.close();
    },
  };
}

/** What the stack gives to the functions as their environment, for one machine. lib/environment.ts reads it. */
function setEnvironment(directory: string, queue: LocalQueue, verbose: boolean): void {
  Object.assign(process.env, {
    VECFERRY_RUNS: pathToFileURL(directory).href,
    VECFERRY_FLAGS: `${pathToFileURL(join(directory, 'flags')).href}/`,
    VECFERRY_QUEUE_URL: queue.url,
    VECFERRY_DEAD_LETTER_URL: queue.deadLetterUrl,
    VECFERRY_SQS_ENDPOINT: queue.endpoint,
    VECFERRY_SECRETS: 'environment',
    VECFERRY_NOTICES: 'objects',
    VECFERRY_METRICS: `${pathToFileURL(join(directory, 'metrics')).href}/`,
    VECFERRY_TASKS: `${pathToFileURL(join(directory, 'tasks')).href}/`,
    // Powertools writes JSON lines for CloudWatch; here standard output belongs to the command line.
    POWERTOOLS_LOG_LEVEL: verbose ? 'INFO' : 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
    POWERTOOLS_TRACE_ENABLED: 'false',
  });
}

async function loadHandler(name: string): Promise<Handler> {
  const module: { handler: Handler } = await import(`../../functions/${name}.ts`);
  return module.handler;
}
