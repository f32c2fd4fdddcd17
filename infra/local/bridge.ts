import type { Machine, State } from './asl.ts';
import { StateFailure } from './limits.ts';

/**
 * What aws-local-stepfunctions 3.0.0 does otherwise than Step Functions, and how the engine makes it right. Each was
 * found by running it; test/local/machine.test.ts holds them. It has no JSONata, which the definition does not use.
 */

/** The resource of a Distributed Map once it is a task of the engine's own. */
export const distributedMap = 'vecferry:distributed-map';

/** Longest timer that Node holds, in seconds: a longer one fires at once. */
const maxTimerSeconds = 2_147_483;

/** Where the loops that wait for a store keep their time, which grows: infra/workflow-parts.ts. */
const growingPath = '$.wait.seconds';

/** How a resource ends whose state waits until somebody hands its token in. */
export const waitForToken = '.waitForTaskToken';

export interface Pace {
  /** Waits and retry intervals of the definition are divided by this on one machine, where nothing is far away. */
  readonly hurry: number;
  /** Longest wait, in milliseconds, after that. */
  readonly maxWaitMs: number;
}
/** A minute's wait takes a quarter of a second on one machine, and 35 minutes of retries half a minute. */
export const localPace: Pace = { hurry: 60, maxWaitMs: 250 };

export interface Bridged {
  readonly definition: Machine;
  /** Distributed Maps by state name, as they stood in the definition. */
  readonly maps: ReadonlyMap<string, State>;
  /** Milliseconds a Wait state takes, by its name. */
  readonly waits: Readonly<Record<string, number>>;
  /** Those of them that wait longer each time, on AWS too: until something is there. */
  readonly growing: ReadonlySet<string>;
}

/** The definition in a form that the library runs as AWS would. @throws StateFailure for what cannot be run honestly. */
export function bridge(definition: Machine, pace: Pace): Bridged {
  const maps = new Map<string, State>();
  const waits: Record<string, number> = {};
  const growing = new Set<string>();
  let waiting: string | undefined;

  const bridgeMachine = <T extends Machine>(machine: T): T => ({
    ...machine,
    ...capTimeout(machine.TimeoutSeconds),
    States: Object.fromEntries(
      Object.entries(machine.States).map(([name, state]) => [name, bridgeState(name, state)] as const),
    ),
  });

  const bridgeState = (name: string, state: State): State => {
    refuseUnknownContext(name, state);
    const { ResultPath: resultPath, ...rest } = state;
    const paced = {
      ...rest,
      // "$" is what it means to leave it out; the library would make a field of that name.
      ...(resultPath !== undefined && resultPath !== '$' && { ResultPath: resultPath }),
      ...(state.Retry && { Retry: state.Retry.map((retrier) => hurryRetrier(retrier, pace)) }),
    };
    switch (state.Type) {
      case 'Wait':
        // What SecondsPath will say is not known here; the longest wait is short enough.
        waits[name] = Math.min(((state.Seconds ?? Number.POSITIVE_INFINITY) * 1000) / pace.hurry, pace.maxWaitMs);
        if (state.SecondsPath === growingPath) growing.add(name);
        return paced;
      case 'Task':
        if (state.Resource?.endsWith(waitForToken)) {
          // An execution has one token here, and on AWS each of its waits has its own.
          if (waiting !== undefined)
            throw unsupported(name, `a second state that waits for an answer, besides '${waiting}'`);
          waiting = name;
          return ownTimeout(paced);
        }
        // The library ends a task without TimeoutSeconds after 60 s; Step Functions lets it run.
        return { ...paced, ...capTimeout(state.TimeoutSeconds ?? maxTimerSeconds) };
      case 'Parallel':
        return { ...paced, Branches: (state.Branches ?? []).map(bridgeMachine) };
      case 'Map':
        return isDistributed(state) ? asTask(name, state, paced) : inline(state, paced);
      default:
        return paced;
    }
  };

  const inline = (state: State, paced: State): State =>
    state.ItemProcessor === undefined ? paced : { ...paced, ItemProcessor: bridgeMachine(state.ItemProcessor) };

  // The library runs a Distributed Map as an inline one: it reads no objects, lets the first failure through under its own
  // name, knows no tolerated failures and shows the parent's execution to the children. So it becomes a task of ours.
  const asTask = (name: string, state: State, paced: State): State => {
    if (state.ItemBatcher !== undefined) throw unsupported(name, 'ItemBatcher');
    if (state.MaxConcurrencyPath !== undefined && !state.MaxConcurrencyPath.startsWith('$.')) {
      throw unsupported(name, `MaxConcurrencyPath ${state.MaxConcurrencyPath}`);
    }
    maps.set(name, state);
    const { Comment, InputPath, OutputPath, ResultPath, ResultSelector, Retry, Catch, Next, End } = paced;
    const kept = { Comment, InputPath, OutputPath, ResultPath, ResultSelector, Retry, Catch, Next, End };
    const given = Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
    return { ...given, Type: 'Task', Resource: distributedMap, TimeoutSeconds: maxTimerSeconds };
  };

  return { definition: bridgeMachine(definition), maps, waits, growing };
}

export function isDistributed(state: State): boolean {
  return state.ItemProcessor?.ProcessorConfig?.Mode === 'DISTRIBUTED';
}

/**
 * The engine ends the wait for a token by itself, since the library would leave it behind: the seconds become a parameter
 * beside those of the call. They are the person's, so nothing of them is hurried.
 */
function ownTimeout(state: State): State {
  const { TimeoutSecondsPath, Parameters, ...rest } = state;
  const path = TimeoutSecondsPath === undefined ? {} : { 'WaitSeconds.$': TimeoutSecondsPath };
  const waits = { ...(typeof Parameters === 'object' && Parameters), ...path };
  return { ...rest, Parameters: waits, ...capTimeout(maxTimerSeconds) };
}

function unsupported(name: string, what: string): StateFailure {
  return new StateFailure(
    'States.Runtime',
    `the embedded engine does not know ${what}, which the state '${name}' uses`,
    {
      terminal: true,
    },
  );
}

function capTimeout(seconds: number | undefined): { TimeoutSeconds?: number } {
  return seconds === undefined ? {} : { TimeoutSeconds: Math.min(seconds, maxTimerSeconds) };
}

/** Backoff and attempts stay as they are, so a retry that would save a run on AWS saves it here. */
function hurryRetrier<T extends { IntervalSeconds?: number | undefined; MaxDelaySeconds?: number | undefined }>(
  retrier: T,
  { hurry }: Pace,
): T {
  return {
    ...retrier,
    IntervalSeconds: (retrier.IntervalSeconds ?? 1) / hurry,
    ...(retrier.MaxDelaySeconds !== undefined && { MaxDelaySeconds: retrier.MaxDelaySeconds / hurry }),
  };
}

/** A path into the context object that the engine does not fill in would silently be undefined. */
function refuseUnknownContext(name: string, state: State): void {
  const { ItemProcessor: _, Branches: __, ...own } = state;
  for (const [path] of JSON.stringify(own).matchAll(/\$\$\.[A-Za-z.]+/g)) {
    if (
      !/^\$\$\.(Execution\.(Id|Name|Input|StartTime)|StateMachine\.(Id|Name)|Map\.Item\.(Index|Value)|Task\.Token)\b/.test(
        path,
      )
    ) {
      throw unsupported(name, path);
    }
  }
}
