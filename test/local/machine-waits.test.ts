import { mkdtempSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { Machine } from '../../infra/local/asl.ts';
import type { MachineOptions } from '../../infra/local/execution.ts';
import { StateFailure } from '../../infra/local/limits.ts';
import { fileTasks } from '../../lib/cutover/task-tokens.ts';
import { lambda, machine, run } from './run-definition.ts';

describe('a state that waits for somebody', () => {
  const waiting = (more: Record<string, unknown> = {}) => ({
    Type: 'Task',
    Resource: `${lambda}.waitForTaskToken`,
    Parameters: { FunctionName: 'ask', Payload: { 'token.$': '$$.Task.Token' } },
    TimeoutSecondsPath: '$.seconds',
    End: true,
    ...more,
  });
  /** Runs `definition` as an execution whose token's answers lie in a directory of their own, or in the given one. */
  function ask(given: { seconds?: number; definition?: Machine; directory?: string; more?: Partial<MachineOptions> }) {
    const directory = given.directory ?? mkdtempSync(join(tmpdir(), 'vecferry-tasks-'));
    const tasks = fileTasks(directory);
    const asked = Promise.withResolvers<string>();
    const outcome = run(
      given.definition ?? machine({ Ask: waiting() }),
      { ask: ({ token }: { token: string }) => asked.resolve(token) },
      { input: { seconds: given.seconds ?? 60 }, tasks, ...given.more },
    );
    return { directory, tasks, outcome, asked: asked.promise };
  }
  const settled = async (outcome: Promise<unknown>): Promise<boolean> => {
    const late = Symbol('late');
    return (await Promise.race([outcome, sleep(300, late)])) !== late;
  };

  test('goes on with what was handed in for its token, and not before', async () => {
    const { tasks, outcome, asked } = ask({});
    const token = await asked;
    expect(await settled(outcome)).toBe(false);
    await tasks.succeed(token, { approved: true });
    expect(await outcome).toEqual({ status: 'SUCCEEDED', output: { approved: true } });
    await expect(tasks.succeed(token, { approved: false })).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('takes an answer that its own function hands in, before it waits', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vecferry-tasks-'));
    const invoke = async (_: string, { token }: { token: string }) =>
      await fileTasks(directory).succeed(token, 'at once');
    const { outcome } = ask({ directory, more: { invoke: invoke as MachineOptions['invoke'] } });
    expect(await outcome).toEqual({ status: 'SUCCEEDED', output: 'at once' });
  });

  test('ends as a timeout that can be caught, as on AWS, and takes no answer after it', async () => {
    const catching = { Catch: [{ ErrorEquals: ['States.Timeout'], ResultPath: '$.failure', Next: 'Nobody' }] };
    const { tasks, outcome, asked } = ask({
      seconds: 0.5,
      definition: machine({ Ask: waiting(catching), Nobody: { Type: 'Succeed' } }),
    });
    expect(await outcome).toMatchObject({ status: 'SUCCEEDED', output: { failure: { Error: 'States.Timeout' } } });
    await expect(tasks.succeed(await asked, 'late')).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('counts an answer that is handed in as the time ends exactly when whoever gave it is told so', async () => {
    const rounds = Array.from({ length: 30 }, async (_, round) => {
      const { tasks, outcome, asked } = ask({ seconds: 0.4 });
      const token = await asked;
      await sleep(385 + round);
      const isTaken = await tasks.succeed(token, 'just in time').then(
        () => true,
        () => false,
      );
      expect(await outcome).toMatchObject(
        isTaken ? { status: 'SUCCEEDED', output: 'just in time' } : { status: 'FAILED', error: 'States.Timeout' },
      );
    });
    await Promise.all(rounds);
  });

  test('is left by Ctrl-C at once, and whoever answers then is told that nothing waits', async () => {
    const stop = new AbortController();
    const { tasks, outcome, asked } = ask({ more: { signal: stop.signal } });
    const token = await asked;
    stop.abort();
    // Left to itself it would end as a timeout.
    expect(await outcome).toEqual({ status: 'ABORTED' });
    await expect(tasks.succeed(token, true)).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('has a token of its own in each execution, so that of two at once only the one that was meant goes on', async () => {
    const one = ask({});
    const two = ask({ directory: one.directory });
    const [first, second] = await Promise.all([one.asked, two.asked]);
    expect(first).not.toBe(second);
    await one.tasks.succeed(second, 'for the second');
    expect(await two.outcome).toMatchObject({ output: 'for the second' });
    expect(await settled(one.outcome)).toBe(false);
    await one.tasks.succeed(first, 'for the first');
    expect(await one.outcome).toMatchObject({ output: 'for the first' });
  });

  test('is asked again by the same token where its function failed, and the retry is what waits', async () => {
    let calls = 0;
    const retry = { Retry: [{ ErrorEquals: ['Throttled'], MaxAttempts: 2, IntervalSeconds: 1 }] };
    const { tasks, outcome, directory } = ask({
      definition: machine({ Ask: waiting(retry) }),
      more: {
        invoke: async (_, payload) => {
          calls += 1;
          if (calls === 1) throw new StateFailure('Throttled', 'busy');
          await fileTasks(directory).succeed((payload as { token: string }).token, 'second call');
          return undefined;
        },
      },
    });
    expect(await outcome).toMatchObject({ output: 'second call' });
    expect(tasks).toBeDefined();
  });

  test('fails by name where its answer was damaged, and does not wait for ever', async () => {
    for (const text of ['{"output": tr', '[]', '{"outpu": true}']) {
      const { directory, outcome, asked } = ask({});
      await asked;
      const [waits = ''] = await readdir(directory);
      await writeFile(join(directory, waits.replace('.waiting', '.json')), text);
      expect(await outcome).toMatchObject({
        status: 'FAILED',
        error: 'ShardDamaged',
        cause: expect.stringMatching(/delete it/),
      });
    }
  });

  test('is refused where there are two: they would have one token, and one answer would be taken for both', async () => {
    const definition = machine({ One: waiting({ End: undefined, Next: 'Two' }), Two: waiting() });
    await expect(ask({ definition }).outcome).rejects.toThrow(/second state that waits/);
  });
});

test('a loop that waits for a store waits twice as long each time, up to the longest wait: it would ask every few milliseconds for hours', async () => {
  const looks: number[] = [];
  const definition = machine({
    Look: {
      Type: 'Task',
      Resource: lambda,
      Parameters: { FunctionName: 'look', Payload: {} },
      ResultPath: '$.look',
      Next: 'Done?',
    },
    'Done?': {
      Type: 'Choice',
      Choices: [{ Variable: '$.look.Payload.done', BooleanEquals: true, Next: 'End' }],
      Default: 'Wait',
    },
    Wait: { Type: 'Wait', SecondsPath: '$.wait.seconds', Next: 'Look' },
    End: { Type: 'Succeed' },
  });
  const look = () => ({ done: looks.push(performance.now()) === 6 });
  const pace = { hurry: 1, maxWaitMs: 100 };
  const outcome = await run(definition, { look }, { input: { wait: { seconds: 9 } }, pace });
  expect(outcome.status).toBe('SUCCEEDED');
  const pauses = looks.slice(1).map((at, i) => Math.round(at - (looks[i] ?? 0)));
  // Timers are never early, but by the millisecond that clocks are rounded to; how late they are is the machine's matter.
  for (const [at, least] of [15, 30, 60, 100, 100].entries()) expect(pauses[at]).toBeGreaterThanOrEqual(least - 2);
});
