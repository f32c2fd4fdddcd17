import { type Machine, machineSchema } from '../../infra/local/asl.ts';
import type { MachineOptions } from '../../infra/local/execution.ts';
import { runMachine } from '../../infra/local/machine.ts';
import { memoryObjects } from './memory-objects.ts';

/** Small state machines, and functions in their place. */

export const lambda = 'arn:aws:states:::lambda:invoke';

/** A task that calls `name` with its whole input, and takes the function's answer as its output. */
export const call = (name: string, more: Record<string, unknown> = {}) => ({
  Type: 'Task',
  Resource: lambda,
  Parameters: { FunctionName: `arn:aws:lambda:local:000000000000:function:${name}`, 'Payload.$': '$' },
  OutputPath: '$.Payload',
  End: true,
  ...more,
});
export const machine = (states: Record<string, unknown>, startAt = Object.keys(states)[0]): Machine =>
  machineSchema.parse({ StartAt: startAt, States: states });

/** Runs the definition with these functions, at a pace of milliseconds. */
export function run(
  definition: Machine,
  functions: Record<string, (payload: never) => unknown>,
  more: Partial<MachineOptions> = {},
) {
  return runMachine({
    definition,
    input: { run: 'r1', key: 'items.json' },
    execution: 'r1',
    invoke: async (name, payload) => await functions[name]?.(payload as never),
    objects: memoryObjects({ 'items.json': '["a","b","c"]' }),
    maxConcurrency: 4,
    signal: new AbortController().signal,
    pace: { hurry: 1000, maxWaitMs: 10 },
    ...more,
  });
}
