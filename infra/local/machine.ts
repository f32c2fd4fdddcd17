import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ExecutionAbortedError,
  ExecutionError,
  StateMachine,
  type StateMachineDefinition,
} from 'aws-local-stepfunctions';
import type { Machine, State } from './asl.ts';
import { bridge, localPace, waitForToken } from './bridge.ts';
import { runDistributedMap } from './distributed-map.ts';
import type { Json, MachineOptions, Outcome } from './execution.ts';
import { handOver, limits, StateFailure, utf8Bytes } from './limits.ts';

/** Runs a state machine's definition in this process, as Step Functions would. */

type Execution = ReturnType<StateMachine['run']>;

/**
 * Runs the definition to its end. A failed execution is an outcome, not an exception.
 * @throws StateFailure when the definition uses what the engine cannot do honestly.
 */
export async function runMachine(given: MachineOptions): Promise<Outcome> {
  const options = { ...given, token: given.token ?? randomUUID() };
  try {
    handOver(options.input, 'the input of the execution');
  } catch (error) {
    return failed(error);
  }
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const running = new Set<Promise<unknown>>();
  const { definition, maps, waits, growing } = bridge(options.definition, options.pace ?? localPace);
  const runTask = (name: string, state: State, input: unknown): Promise<unknown> => {
    const map = maps.get(name);
    if (map === undefined) return callFunction(name, state, input, { ...options, signal });
    const runChild: typeof runMachine = (child) =>
      runMachine({ ...child, execution: randomUUID(), token: randomUUID() });
    return runDistributedMap({
      name,
      map,
      input,
      context: contextOf(options),
      options: { ...options, signal },
      runChild,
    });
  };
  const handlerOf = (name: string, state: State) => async (input: Json) => {
    // After an abort the library skips the pause before a retry and calls the task again: nothing new may start then.
    if (signal.aborted) throw new StateFailure('States.Aborted', 'the execution was stopped', { terminal: true });
    const work = runTask(name, state, handOver(input, `the input of '${name}'`));
    running.add(work);
    try {
      return toJson(handOver(await work, `the result of '${name}'`));
    } finally {
      running.delete(work);
    }
  };

  const execution = new StateMachine(toLibrary(definition), {
    // The bridged definition holds fractions of seconds and a resource of ours; a test validates the synthesized one.
    validationOptions: { noValidate: true },
  }).run(toJson(options.input), {
    context: contextOf(options),
    overrides: {
      taskResourceLocalHandlers: Object.fromEntries(
        tasksOf(definition).map(([name, state]) => [name, handlerOf(name, state)]),
      ),
      waitTimeOverrides: waitTimes(waits, growing),
    },
  });
  const abort = (): void => execution.abort();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  const tooLarge = watch(execution, options.onState, () => stop.abort());
  try {
    const output: unknown = await execution.result;
    const refused = await tooLarge;
    return refused === undefined ? { status: 'SUCCEEDED', output } : failed(refused);
  } catch (error) {
    // Nothing may go on behind the caller's back.
    stop.abort();
    await Promise.allSettled([...running]);
    const refused = await tooLarge;
    if (refused !== undefined) return failed(refused);
    if (error instanceof ExecutionAbortedError) return { status: 'ABORTED' };
    return failed(error instanceof ExecutionError ? error.cause : error);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * Reads the execution's events to their end. Tasks are measured as they run; what Pass and ResultPath make of their
 * results is seen here alone, so a state whose output is too large stops the execution from here.
 */
async function watch(
  { eventLogs }: Execution,
  onState: MachineOptions['onState'],
  stop: () => void,
): Promise<StateFailure | undefined> {
  const kinds = {
    StateEntered: 'entered',
    StateExited: 'exited',
    StateFailed: 'failed',
    StateRetried: 'retried',
    StateCaught: 'caught',
  } as const;
  let refused: StateFailure | undefined;
  for await (const event of eventLogs) {
    if (!('state' in event)) continue;
    const error = event.type === 'StateFailed' ? { error: event.Error } : {};
    onState?.({ type: kinds[event.type], state: event.state.name, ...error });
    if (event.type !== 'StateExited' || refused !== undefined) continue;
    const bytes = utf8Bytes(JSON.stringify(event.state.output ?? null));
    if (bytes <= limits.stateBytes) continue;
    const cause = `the output of '${event.state.name}' has ${bytes} bytes; Step Functions takes at most ${limits.stateBytes}`;
    refused = new StateFailure('States.DataLimitExceeded', cause, { terminal: true });
    stop();
  }
  return refused;
}

/** The first wait of a state that waits longer each time, in milliseconds; each one after it is twice as long. */
const firstWaitMs = 15;

/** The library asks for a wait's time whenever it comes to it. What is waited for is mostly there after the first looks, where a run is small. */
function waitTimes(waits: Readonly<Record<string, number>>, growing: ReadonlySet<string>): Record<string, number> {
  const times = Object.entries(waits).map(([name, ms]) => {
    if (!growing.has(name)) return [name, { enumerable: true, value: ms }] as const;
    let next = firstWaitMs;
    const get = (): number => {
      const now = Math.min(next, ms);
      next *= 2;
      return now;
    };
    return [name, { enumerable: true, get }] as const;
  });
  return Object.defineProperties({}, Object.fromEntries(times));
}

const lambdaInvoke = 'arn:aws:states:::lambda:invoke';
/** Milliseconds between two looks for an answer. */
const lookMs = 200;

/**
 * Calls the function that asks, and waits until the execution's token is handed in. An answer that came before the time was
 * over counts, and none that comes later.
 * @throws StateFailure States.Timeout after so many seconds.
 */
async function answered(
  name: string,
  options: MachineOptions,
  seconds: number,
  ask: () => Promise<unknown>,
): Promise<unknown> {
  const { tasks, token = '', signal } = options;
  if (tasks === undefined) throw new StateFailure('States.Runtime', `nothing can answer '${name}'`, { terminal: true });
  const until = Date.now() + seconds * 1000;
  // First of all: the function may hand the answer in by itself. Where it fails the token stays open for its next try.
  await tasks.open(token);
  await ask();
  const lastLook = async (ended: StateFailure): Promise<unknown> => {
    const answer = await tasks.close(token);
    if (answer === undefined) throw ended;
    return answer;
  };
  while (!signal.aborted) {
    if ((await tasks.look(token)) !== undefined) return await tasks.close(token);
    const leftMs = until - Date.now();
    if (leftMs <= 0)
      return await lastLook(new StateFailure('States.Timeout', `'${name}' was not answered within ${seconds} s`));
    await sleep(Math.min(lookMs, leftMs), undefined, { signal }).catch(() => undefined);
  }
  // Whoever answers from here on is told that nothing waits.
  return await lastLook(new StateFailure('States.Aborted', 'the execution was stopped', { terminal: true }));
}

/** Both ways in which a definition calls a Lambda: by the service integration, or by the function's ARN. */
async function callFunction(name: string, state: State, input: unknown, options: MachineOptions): Promise<unknown> {
  const { invoke } = options;
  const resource = state.Resource ?? '';
  if (resource === `${lambdaInvoke}${waitForToken}` && isObject(input)) {
    const { FunctionName, Payload = {}, WaitSeconds } = input;
    const seconds = WaitSeconds === undefined ? Number.POSITIVE_INFINITY : Number(WaitSeconds);
    return await answered(name, options, seconds, () => invoke(functionName(String(FunctionName)), Payload));
  }
  if (resource === lambdaInvoke && isObject(input)) {
    const { FunctionName, Payload = {} } = input;
    const payload = await invoke(functionName(String(FunctionName)), Payload);
    return { ExecutedVersion: '$LATEST', StatusCode: 200, Payload: payload };
  }
  if (resource.includes(':function:')) return await invoke(functionName(resource), input);
  const cause = `the embedded engine cannot call ${resource}, which the state '${name}' uses`;
  throw new StateFailure('States.Runtime', cause, { terminal: true });
}

/** `arn:aws:lambda:region:account:function:plan:version` is `plan`; a bare name is itself. */
function functionName(arn: string): string {
  return /:function:([^:]+)/.exec(arn)?.[1] ?? arn;
}

/** Every Task of the machine, of its inline maps and its branches; names are unique within a machine. */
function tasksOf(machine: Machine): readonly (readonly [string, State])[] {
  return Object.entries(machine.States).flatMap(([name, state]) => {
    if (state.Type === 'Task') return [[name, state] as const];
    const inner = [...(state.Branches ?? []), ...(state.ItemProcessor === undefined ? [] : [state.ItemProcessor])];
    return inner.flatMap(tasksOf);
  });
}

function contextOf({
  execution,
  input,
  token,
}: MachineOptions): Record<string, unknown> & { Execution: Record<string, unknown> } {
  const machine = { Id: 'arn:aws:states:local:000000000000:stateMachine:vecferry', Name: 'vecferry' };
  const id = `arn:aws:states:local:000000000000:execution:vecferry:${execution}`;
  return {
    Execution: { Id: id, Name: execution, Input: input, StartTime: new Date().toISOString() },
    StateMachine: machine,
    Task: { Token: token },
  };
}

function failed(error: unknown): Outcome {
  return error instanceof Error
    ? { status: 'FAILED', error: error.name, cause: error.message }
    : { status: 'FAILED', error: 'States.Runtime', cause: String(error) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** handOver made it from JSON text. */
function toJson(value: unknown): Json {
  return value as Json;
}

/** Parsed with machineSchema, which is looser than the library's type. */
function toLibrary(definition: Machine): StateMachineDefinition {
  return definition as unknown as StateMachineDefinition;
}
