import { randomUUID } from 'node:crypto';
import type { Context } from 'aws-lambda';
import type { FunctionSettings } from './deployment.ts';
import type { Invoke } from './execution.ts';
import { limits, StateFailure, utf8Bytes } from './limits.ts';

/** Calls functions/<name>.ts in this process, through JSON text as Lambda does. */

export type Handler = (event: unknown, context: Context) => Promise<unknown>;

export interface Functions {
  /** Settings of the deployed functions, by name. */
  readonly settings: ReadonlyMap<string, FunctionSettings>;
  readonly load: (name: string) => Promise<Handler>;
  /** Once aborted a function has no time left: it hands back its cursor at the next batch. */
  readonly signal: AbortSignal;
}

/** A function by its name, with the timeout that the stack gives it. */
export function localInvoke({ settings, load, signal }: Functions): Invoke {
  return async (name, payload) => {
    const setting = settings.get(name);
    if (setting === undefined)
      throw new StateFailure('Lambda.ResourceNotFoundException', `there is no function '${name}'`);
    const handler = await load(name);
    const request = textWithin(payload, 'RequestTooLargeException', `the request to '${name}'`);
    const awsRequestId = randomUUID();
    const timeoutMs = Math.min(setting.timeoutMs, limits.invocationMs);
    const deadline = Date.now() + timeoutMs;
    const remaining = (): number => (signal.aborted ? 0 : Math.max(0, deadline - Date.now()));
    const answer = await within(timeoutMs, awsRequestId, () =>
      call(handler, JSON.parse(request), makeContext(name, awsRequestId, setting.memoryMiB, remaining)),
    );
    return JSON.parse(textWithin(answer ?? null, 'Function.ResponseSizeTooLarge', `the answer of '${name}'`));
  };
}

/** An error as Step Functions shows it: its name, and a cause that holds Lambda's JSON. */
async function call(handler: Handler, event: unknown, context: Context): Promise<unknown> {
  try {
    return await handler(event, context);
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const trace = (error.stack ?? '').split('\n');
    throw new StateFailure(error.name, JSON.stringify({ errorType: error.name, errorMessage: error.message, trace }));
  }
}

/** Lambda stops the function; here it cannot be stopped, so its late answer is thrown away and its work is idempotent. */
async function within(ms: number, requestId: string, work: () => Promise<unknown>): Promise<unknown> {
  const timer = Promise.withResolvers<never>();
  const timeout = setTimeout(() => {
    const errorMessage = `RequestId: ${requestId} Error: Task timed out after ${(ms / 1000).toFixed(2)} seconds`;
    timer.reject(new StateFailure('Sandbox.Timedout', JSON.stringify({ errorType: 'Sandbox.Timedout', errorMessage })));
  }, ms);
  try {
    return await Promise.race([work(), timer.promise]);
  } finally {
    clearTimeout(timeout);
  }
}

function textWithin(value: unknown, failure: string, what: string): string {
  const text = JSON.stringify(value);
  const bytes = utf8Bytes(text);
  if (bytes <= limits.invocationBytes) return text;
  const errorMessage = `${what} has ${bytes} bytes; Lambda takes at most ${limits.invocationBytes}`;
  throw new StateFailure(failure, JSON.stringify({ errorType: failure, errorMessage }));
}

function makeContext(name: string, awsRequestId: string, memoryMiB: number, remaining: () => number): Context {
  return {
    callbackWaitsForEmptyEventLoop: false,
    functionName: name,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:local:000000000000:function:${name}`,
    memoryLimitInMB: String(memoryMiB),
    awsRequestId,
    logGroupName: `/vecferry/${name}`,
    logStreamName: 'local',
    getRemainingTimeInMillis: remaining,
    done: () => undefined,
    fail: () => undefined,
    succeed: () => undefined,
  };
}
