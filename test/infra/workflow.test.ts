import { readdirSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import aslValidator from 'asl-validator';
import { functionSettings } from '../../infra/function-settings.ts';
import { firstWaitSeconds, lambdaFaults, longestRun, lostCalls, storeBusy } from '../../infra/retries.ts';
import { errorNames, InvalidEvent, StoreUnavailable, Throttled } from '../../lib/errors.ts';
import { patienceDays } from '../../lib/patience.ts';
import { at, definitionOf, functionArn, type State, statesOf, synthesize } from './template.ts';

const machine = definitionOf(synthesize());
const states = statesOf(machine);
const tasks = states.filter(([, { Type }]) => Type === 'Task');

/** Called by the queue, and by hand. */
const besideTheMachine = ['import-shard', 'roll-back'];

describe('the state machine', () => {
  test('is valid Amazon States Language', () => {
    const { isValid, errorsText } = aslValidator(machine);
    expect(errorsText('\n')).toBe('');
    expect(isValid).toBe(true);
  });

  test('runs its states in the order that the page says', () => {
    const order: string[] = [];
    for (let name: string | undefined = machine.StartAt; name !== undefined && !order.includes(name); ) {
      order.push(name);
      const state: State = machine.States[name]!;
      const isLoop: boolean = state.Type === 'Choice' && name.startsWith('Done:');
      name = state.Next ?? (isLoop ? state.Choices?.[0]?.Next : state.Default);
    }
    expect(order).toEqual([
      'Plan the run',
      'Dry run?',
      'Validate only?',
      'Prepare the target',
      'Export every range',
      'Seal the manifest',
      'Nothing to import?',
      'Await the import',
      'Done: Await the import?',
      'Build the index',
      'Watch the index',
      'Done: Watch the index?',
      'Choose the queries',
      'Check every shard',
      'Measure recall',
      'Done: Measure recall?',
      'Tune the search',
      'Done: Tune the search?',
      'Find the causes',
      'Write the report',
      'Passed?',
      'Cut over?',
      'Cut over',
      'Readers use the target',
    ]);
  });

  test('leads a run that only validates past everything that would write to the target', () => {
    const away = (name: string) => machine.States[name]?.Choices;
    const condition = { Variable: '$.validateOnly', BooleanEquals: true };
    expect(away('Validate only?')).toEqual([{ ...condition, Next: 'Export every range' }]);
    expect(away('Nothing to import?')).toEqual([{ ...condition, Next: 'Choose the queries' }]);
  });

  test('calls each function from exactly one state, so none is forgotten and none is called in a wrong place', () => {
    const files = readdirSync(new URL('../../functions', import.meta.url)).map((file) => file.replace(/\.ts$/, ''));
    // functions/lambda.ts is the edge that all share.
    const functions = files.filter((name) => name !== 'lambda').sort();
    expect(Object.keys(functionSettings).sort()).toEqual(functions);
    for (const name of functions) {
      const callers = tasks.filter(([, { Resource }]) => Resource === functionArn(name)).map(([state]) => state);
      if (name === 'report-failure') {
        expect(callers).toEqual(['Report the failed range', 'Report the failed shard', 'Report the failure']);
      } else {
        expect([name, callers.length]).toEqual([name, besideTheMachine.includes(name) ? 0 : 1]);
      }
    }
  });

  test('reports every failure, of a task and of a map, and then fails under the name that the report gives', () => {
    const reporters = tasks
      .filter(([, { Resource }]) => Resource === functionArn('report-failure'))
      .map(([name]) => name);
    const canFail = states.filter(([, { Type }]) => Type === 'Task' || Type === 'Map');
    expect(canFail.length).toBeGreaterThan(15);
    for (const [name, { Catch }, within] of canFail) {
      expect([name, Catch?.map(({ ErrorEquals }) => ErrorEquals)]).toEqual([name, [['States.ALL']]]);
      const next = Catch?.[0]?.Next;
      if (reporters.includes(name)) expect(states.find(([state]) => state === next)?.[1].Type).toBe('Fail');
      else
        expect(next).toBe(
          { '': 'Report the failure', 'Export every range': 'Report the failed range' }[within] ??
            'Report the failed shard',
        );
    }
    for (const [, state] of states.filter(([, { Type }]) => Type === 'Fail')) {
      expect(at(state, 'ErrorPath')).toBeDefined();
      expect(at(state, 'CausePath')).toBeDefined();
    }
  });

  test('ends every task a minute after its function would have ended itself, so no call hangs', () => {
    for (const [name, { Resource, TimeoutSeconds }] of tasks) {
      const settings = Object.entries(functionSettings).find(([fn]) => Resource === functionArn(fn))?.[1];
      expect([name, TimeoutSeconds]).toEqual([name, settings!.minutes * 60 + 60]);
      expect(settings!.minutes).toBeLessThanOrEqual(15);
    }
    expect(machine.TimeoutSeconds).toBe(longestRun.toSeconds());
  });

  test('keeps lists in S3: maps read their items there, and write what their children return there', () => {
    const maps = states.filter(([, { Type }]) => Type === 'Map');
    expect(maps.map(([name]) => name)).toEqual(['Export every range', 'Check every shard']);
    for (const [, map] of maps) {
      expect(at(map, 'ItemReader', 'ReaderConfig', 'InputType')).toBe('JSON');
      expect(at(map, 'ResultWriter', 'Parameters', 'Prefix.$')).toBe("States.Format('runs/{}/map-runs', $.run)");
      expect(at(map, 'ResultPath')).toBeNull();
      expect(at(map, 'MaxConcurrencyPath')).toBe('$.exporters');
      expect(at(map, 'ToleratedFailureCount') ?? at(map, 'ToleratedFailurePercentage') ?? 0).toBe(0);
    }
  });

  test('cuts over only behind the two questions that stop it', () => {
    const before = states.filter(([, state]) =>
      JSON.stringify([state.Next, state.Default, state.Choices]).includes('"Cut over"'),
    );
    expect(before.map(([name]) => name)).toEqual(['Cut over?']);
    expect(machine.States['Passed?']?.Choices).toEqual([
      { Variable: '$.report.passed', BooleanEquals: false, Next: 'Validation failed' },
    ]);
    expect(machine.States['Passed?']?.Default).toBe('Cut over?');
  });
});

describe('retries', () => {
  test('name errors of ours that exist and may pass, and no other of ours', () => {
    const ours = new Set<string>(Object.values(errorNames));
    const named = tasks.flatMap(([, { Retry = [] }]) => Retry.flatMap(({ ErrorEquals }) => ErrorEquals));
    const retried = [...new Set(named)].filter((name) => ours.has(name));
    expect(retried.sort()).toEqual([errorNames.storeUnavailable, errorNames.throttled]);
    for (const Failure of [Throttled, StoreUnavailable]) expect(new Failure('away').retryable).toBe(true);
    expect(new InvalidEvent('wrong').retryable).toBe(false);
    for (const name of named)
      expect(ours.has(name) || /^((Lambda|States|Sandbox|Runtime)\.[A-Za-z]+|TimeoutError)$/.test(name)).toBe(true);
    expect(named).not.toContain('States.ALL');
    expect(named).not.toContain('States.TaskFailed');
  });

  test('are the same three of every task', () => {
    for (const [, { Retry }] of tasks) expect(Retry).toEqual(tasks[0]![1].Retry);
    expect(tasks[0]![1].Retry).toHaveLength(3);
  });

  test('wait as long as the page works out', () => {
    expect([lambdaFaults, storeBusy, lostCalls].map(totalSeconds)).toEqual([242, 2115, 30]);
  });

  test('and waits stay within the events that an execution may have', () => {
    const looks = (days: number): number => Math.ceil((Math.sqrt(1 + (8 * days * 86_400) / firstWaitSeconds) - 1) / 2);
    expect(looks(7)).toBe(492);
    const eventsPerLook = 11;
    expect(eventsPerLook * (looks(patienceDays.import) + looks(patienceDays.index))).toBeLessThan(25_000 / 1.5);
    expect(patienceDays.index).toBeLessThan(longestRun.toDays());
  });
});

interface Policy {
  readonly interval: { toSeconds(): number };
  readonly backoffRate: number;
  readonly maxDelay?: { toSeconds(): number };
  readonly maxAttempts: number;
}

function totalSeconds({ interval, backoffRate, maxDelay, maxAttempts }: Policy): number {
  const most = maxDelay?.toSeconds() ?? Number.POSITIVE_INFINITY;
  const waits = Array.from({ length: maxAttempts }, (_, i) => Math.min(most, interval.toSeconds() * backoffRate ** i));
  return waits.reduce((sum, wait) => sum + wait, 0);
}
