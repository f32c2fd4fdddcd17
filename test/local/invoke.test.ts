import { describe, expect, test } from '@jest/globals';
import { type Handler, localInvoke } from '../../infra/local/invoke.ts';
import { limits, StateFailure } from '../../infra/local/limits.ts';
import { Throttled } from '../../lib/errors.ts';

const never = new AbortController().signal;
const invokeWith = (handler: Handler, { timeoutMs = 900_000, signal = never } = {}) =>
  localInvoke({ settings: new Map([['plan', { timeoutMs, memoryMiB: 512 }]]), load: async () => handler, signal });

async function failureOf(call: Promise<unknown>): Promise<StateFailure> {
  const thrown: unknown = await call.catch((error: unknown) => error);
  if (thrown instanceof StateFailure) return thrown;
  throw new Error(`expected a StateFailure, got ${String(thrown)}`);
}

describe('a function on one machine', () => {
  test('sees its event as JSON made it, so that what only memory can hold is found here', async () => {
    const invoke = invokeWith(async (event) => event);
    await expect(invoke('plan', { at: new Date(0), none: undefined })).resolves.toEqual({
      at: '1970-01-01T00:00:00.000Z',
    });
  });

  test('answers null where it returns nothing', async () => {
    await expect(invokeWith(async () => undefined)('plan', {})).resolves.toBeNull();
  });

  test('fails under the literal name of its error, with the cause in the JSON of Lambda', async () => {
    const failure = await failureOf(
      invokeWith(async () => {
        throw new Throttled('come back later');
      })('plan', {}),
    );
    expect(failure.name).toBe('Throttled');
    expect(JSON.parse(failure.message)).toMatchObject({ errorType: 'Throttled', errorMessage: 'come back later' });
    expect(failure.isRetryable).toBe(true);
  });

  test('may not answer with more than Lambda returns', async () => {
    const failure = await failureOf(invokeWith(async () => 'x'.repeat(limits.invocationBytes))('plan', {}));
    expect(failure.name).toBe('Function.ResponseSizeTooLarge');
  });

  test('may not be called with more than Lambda takes', async () => {
    const failure = await failureOf(invokeWith(async () => 1)('plan', 'x'.repeat(limits.invocationBytes)));
    expect(failure.name).toBe('RequestTooLargeException');
  });

  test('is given up after its timeout, under the name that Lambda gives it', async () => {
    const slow: Handler = () => new Promise((resolve) => setTimeout(resolve, 200));
    const failure = await failureOf(invokeWith(slow, { timeoutMs: 20 })('plan', {}));
    expect(failure.name).toBe('Sandbox.Timedout');
    expect(failure.message).toMatch(/timed out after 0\.02 seconds/);
  });

  test('has never more than the fifteen minutes of Lambda', async () => {
    const invoke = invokeWith(async (_, context) => context.getRemainingTimeInMillis(), { timeoutMs: 10 * 3_600_000 });
    await expect(invoke('plan', {})).resolves.toBeLessThanOrEqual(limits.invocationMs);
  });

  test('has no time left once the run is stopped, so it hands back its cursor', async () => {
    const stop = new AbortController();
    const invoke = invokeWith(
      async (_, context) => {
        const before = context.getRemainingTimeInMillis();
        stop.abort();
        return [before > 0, context.getRemainingTimeInMillis()];
      },
      { signal: stop.signal },
    );
    await expect(invoke('plan', {})).resolves.toEqual([true, 0]);
  });

  test('that the stack does not have cannot be called', async () => {
    const failure = await failureOf(invokeWith(async () => 1)('nope', {}));
    expect(failure.name).toBe('Lambda.ResourceNotFoundException');
  });
});
