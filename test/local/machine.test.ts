import { describe, expect, test } from '@jest/globals';
import { limits, StateFailure } from '../../infra/local/limits.ts';
import { memoryObjects } from './memory-objects.ts';
import { call, machine, run } from './run-definition.ts';

/** A Distributed Map over an object's items that calls `name` for each. */
const mapOver = (name: string, more: Record<string, unknown> = {}) => ({
  Type: 'Map',
  ItemReader: {
    Resource: 'arn:aws:states:::s3:getObject',
    ReaderConfig: { InputType: 'JSON' },
    Parameters: { Bucket: 'runs', 'Key.$': '$.key' },
  },
  ItemSelector: { 'run.$': '$.run', 'item.$': '$$.Map.Item.Value', 'at.$': '$$.Map.Item.Index' },
  ItemProcessor: {
    ProcessorConfig: { Mode: 'DISTRIBUTED', ExecutionType: 'STANDARD' },
    StartAt: 'Do it',
    States: { 'Do it': call(name) },
  },
  End: true,
  ...more,
});

describe('a task', () => {
  test('gets the payload that the service call would send, and its answer goes on', async () => {
    const seen: unknown[] = [];
    const outcome = await run(machine({ Plan: call('plan') }), {
      plan: (payload) => {
        seen.push(payload);
        return { ok: true };
      },
    });
    expect(seen).toEqual([{ run: 'r1', key: 'items.json' }]);
    expect(outcome).toEqual({ status: 'SUCCEEDED', output: { ok: true } });
  });

  test('knows the execution by the context object, which holds the run id', async () => {
    const parameters = {
      FunctionName: 'plan',
      Payload: { 'execution.$': '$$.Execution.Name', 'event.$': '$$.Execution.Input' },
    };
    const outcome = await run(machine({ Plan: call('plan', { Parameters: parameters }) }), {
      plan: (payload) => payload,
    });
    expect(outcome).toEqual({
      status: 'SUCCEEDED',
      output: { execution: 'r1', event: { run: 'r1', key: 'items.json' } },
    });
  });

  test('fails under the name of its error with the cause as text, which Catch hands on', async () => {
    const definition = machine({
      Plan: call('plan', { Catch: [{ ErrorEquals: ['Incompatible'], ResultPath: '$.failure', Next: 'Report' }] }),
      Report: call('report'),
    });
    const outcome = await run(definition, {
      plan: () => {
        throw new StateFailure('Incompatible', '{"errorType":"Incompatible"}');
      },
      report: ({ failure }: { failure: unknown }) => failure,
    });
    expect(outcome).toEqual({
      status: 'SUCCEEDED',
      output: { Error: 'Incompatible', Cause: '{"errorType":"Incompatible"}' },
    });
  });

  test('is tried as often as the definition says, with its intervals shortened', async () => {
    let calls = 0;
    const retry = { Retry: [{ ErrorEquals: ['Throttled'], MaxAttempts: 4, IntervalSeconds: 10, BackoffRate: 2 }] };
    const outcome = await run(machine({ Plan: call('plan', retry) }), {
      plan: () => {
        if (++calls < 5) throw new StateFailure('Throttled', 'busy');
        return calls;
      },
    });
    expect(outcome).toEqual({ status: 'SUCCEEDED', output: 5 });
  });

  test('puts its answer in place of its input where ResultPath is $', async () => {
    const definition = machine({ Plan: call('plan', { ResultPath: '$' }) });
    const outcome = await run(definition, { plan: () => ({ ok: true }) });
    expect(outcome).toEqual({ status: 'SUCCEEDED', output: { ok: true } });
  });

  test('that names no timeout may take longer than a minute, as on AWS', async () => {
    const { bridge, localPace } = await import('../../infra/local/bridge.ts');
    const { definition } = bridge(machine({ Plan: call('plan') }), localPace);
    const { Plan } = definition.States;
    expect(Plan?.TimeoutSeconds).toBeGreaterThan(900);
  });
});

describe('the 256 KiB of a state', () => {
  const large = 'x'.repeat(limits.stateBytes);

  test('are refused in a result, which States.ALL does not catch', async () => {
    const definition = machine({
      Plan: call('plan', { Catch: [{ ErrorEquals: ['States.ALL'], Next: 'Report' }] }),
      Report: call('report'),
    });
    const outcome = await run(definition, { plan: () => large, report: () => 'caught' });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'States.DataLimitExceeded' });
  });

  test('are refused in an input', async () => {
    const outcome = run(machine({ Plan: call('plan') }), { plan: () => 1 }, { input: large });
    await expect(outcome).resolves.toMatchObject({ status: 'FAILED', error: 'States.DataLimitExceeded' });
  });

  test('are refused in an output that only ResultPath made so large', async () => {
    const half = 'x'.repeat(limits.stateBytes * 0.6);
    const definition = machine({
      One: { ...call('one', { ResultPath: '$.one', OutputPath: '$' }), End: undefined, Next: 'Two' },
      Two: {
        ...call('one', { ResultPath: '$.two', OutputPath: '$' }),
        Parameters: { FunctionName: 'one', Payload: {} },
      },
    });
    const outcome = await run(definition, { one: () => half });
    expect(outcome).toMatchObject({
      status: 'FAILED',
      error: 'States.DataLimitExceeded',
      cause: expect.stringMatching(/Two/),
    });
  });
});

describe('a Distributed Map', () => {
  test('reads its items from the object and gives each child what the selector says', async () => {
    const outcome = await run(machine({ Export: mapOver('export') }), { export: (payload) => payload });
    expect(outcome).toEqual({
      status: 'SUCCEEDED',
      output: ['a', 'b', 'c'].map((item, at) => ({ run: 'r1', item, at })),
    });
  });

  test("fails under the name that AWS gives it, not under the child's error", async () => {
    const outcome = await run(machine({ Export: mapOver('export') }), {
      export: () => {
        throw new StateFailure('RecordRefused', 'bad');
      },
    });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'States.ExceedToleratedFailureThreshold' });
  });

  test('bears as many failures as it tolerates', async () => {
    const outcome = await run(machine({ Export: mapOver('export', { ToleratedFailureCount: 1 }) }), {
      export: ({ item }: { item: string }) => {
        if (item === 'b') throw new StateFailure('RecordRefused', 'bad');
        return item;
      },
    });
    expect(outcome).toEqual({ status: 'SUCCEEDED', output: ['a', null, 'c'] });
  });

  test('runs no more children at once than its path says', async () => {
    let now = 0;
    let most = 0;
    const second = Promise.withResolvers<void>();
    const definition = machine({ Export: mapOver('export', { MaxConcurrencyPath: '$.most' }) });
    const outcome = await run(
      definition,
      {
        export: async () => {
          most = Math.max(most, ++now);
          // The first waits until there is a second; a third would come as soon as it may.
          if (now === 2) second.resolve();
          await second.promise;
          await new Promise((resolve) => setTimeout(resolve, 5));
          now -= 1;
          return null;
        },
      },
      { input: { run: 'r1', key: 'items.json', most: 2 } },
    );
    expect(outcome.status).toBe('SUCCEEDED');
    expect(most).toBe(2);
  });

  test('fails when its object is not there, as a state that can be caught', async () => {
    const outcome = run(machine({ Export: mapOver('export') }), {}, { objects: memoryObjects({}) });
    await expect(outcome).resolves.toMatchObject({ status: 'FAILED', error: 'States.ItemReaderFailed' });
  });

  test('loops in its child until the cursor is gone', async () => {
    const processor = {
      ProcessorConfig: { Mode: 'DISTRIBUTED', ExecutionType: 'STANDARD' },
      StartAt: 'Do it',
      States: {
        'Do it': {
          ...call('export', { ResultPath: '$.out', ResultSelector: { 'n.$': '$.Payload.n' } }),
          OutputPath: '$',
          End: undefined,
          Next: 'Done?',
        },
        'Done?': {
          Type: 'Choice',
          Choices: [{ Variable: '$.out.n', NumericEquals: 3, Next: 'Yes' }],
          Default: 'Do it',
        },
        Yes: { Type: 'Succeed' },
      },
    };
    const outcome = await run(machine({ Export: mapOver('export', { ItemProcessor: processor }) }), {
      export: ({ out }: { out?: { n: number } }) => ({ n: (out?.n ?? 0) + 1 }),
    });
    expect(outcome).toMatchObject({ output: [{ item: 'a', out: { n: 3 } }, {}, {}] });
  });

  test("leaves the children's outputs out of the state when a ResultWriter takes them", async () => {
    const writer = { ResultWriter: { Resource: 'arn:aws:states:::s3:putObject', Parameters: { Bucket: 'runs' } } };
    const outcome = await run(machine({ Export: mapOver('export', writer) }), { export: () => 'x'.repeat(200_000) });
    expect(outcome).toMatchObject({ status: 'SUCCEEDED', output: { ResultWriterDetails: {} } });
  });

  test('that holds all outputs in the state breaks its limit, as on AWS', async () => {
    const outcome = await run(machine({ Export: mapOver('export') }), { export: () => 'x'.repeat(200_000) });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'States.DataLimitExceeded' });
  });
});

describe('stopping', () => {
  test('starts nothing more, not even a retry, and waits for what is in flight', async () => {
    const stop = new AbortController();
    const calls: string[] = [];
    let finished = false;
    const retry = { Retry: [{ ErrorEquals: ['States.ALL'], MaxAttempts: 9 }], End: undefined, Next: 'Then' };
    const definition = machine({ First: call('first', retry), Then: call('next') });
    const outcome = run(
      definition,
      {
        first: async () => {
          calls.push('first');
          stop.abort();
          await new Promise((resolve) => setTimeout(resolve, 50));
          finished = true;
          throw new StateFailure('Throttled', 'busy');
        },
        next: () => calls.push('next'),
      },
      { signal: stop.signal },
    );
    await expect(outcome).resolves.toEqual({ status: 'ABORTED' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect({ calls, finished }).toEqual({ calls: ['first'], finished: true });
  });
});

test('a definition that asks the context object for what the engine does not know is refused, not run with undefined', async () => {
  const parameters = { FunctionName: 'plan', Payload: { 'name.$': '$$.State.Name' } };
  const outcome = run(machine({ Plan: call('plan', { Parameters: parameters }) }), { plan: () => 1 });
  await expect(outcome).rejects.toThrow(/\$\$\.State\.Name/);
});
