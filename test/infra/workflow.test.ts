import { readdirSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import aslValidator from 'asl-validator';
import { functionSettings } from '../../infra/function-settings.ts';
import { firstWaitSeconds, lambdaFaults, longestRun, lostCalls, storeBusy } from '../../infra/retries.ts';
import { errorNames, InvalidEvent, StoreUnavailable, Throttled } from '../../lib/errors.ts';
import { parseEvent } from '../../lib/event.ts';
import { patienceDays } from '../../lib/patience.ts';
import { at, definitionOf, functionArn, type State, statesOf, synthesize } from './template.ts';

const machine = definitionOf(synthesize());
const states = statesOf(machine);
const tasks = states.filter(([, { Type }]) => Type === 'Task');

/** Called by a queue, or by hand. */
const besideTheMachine = ['import-shard', 'mend-records', 'answer-approval', 'finish', 'retire'];
/** Waits for a person, not for its function. */
const asking = 'Ask for approval';
const functionCalledBy = (state: State): string | undefined =>
  Object.keys(functionSettings).find((name) =>
    [state.Resource, at(state, 'Parameters', 'FunctionName')].includes(functionArn(name)),
  );

const away = (name: string) => machine.States[name]?.Choices;

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
      const isLoop: boolean = name.startsWith('Done:') || ['Approved?', 'All readers moved?'].includes(name);
      name = state.Next ?? (isLoop ? state.Choices?.[0]?.Next : state.Default);
    }
    expect(order).toEqual([
      'Plan the run',
      'Dry run?',
      'Validate only?',
      'Prepare the target',
      'No live writes?',
      'Begin the live writes',
      'Done: Begin the live writes?',
      'Export every range',
      'Seal the manifest',
      'Nothing to import?',
      'Another index alone?',
      'Vectors as they are?',
      'Embed the texts',
      'Done: Embed the texts?',
      'Await the import',
      'Done: Await the import?',
      'No tombstones?',
      'Apply the tombstones',
      'Done: Apply the tombstones?',
      'A table of its own?',
      'Catch up with the table',
      'Done: Catch up with the table?',
      'Both indexes at once?',
      'Choose the queries first',
      'Search before the change',
      'Done: Search before the change?',
      'Build the index',
      'Watch the index',
      'Done: Watch the index?',
      'Choose the queries',
      'Check every shard',
      'Nothing to sweep?',
      'Sweep the live writes',
      'Done: Sweep the live writes?',
      'Measure recall',
      'Done: Measure recall?',
      'Tune the search',
      'Done: Tune the search?',
      'The same vectors?',
      'Measure the drift',
      'Done: Measure the drift?',
      'Find the causes',
      'Write the report',
      'Passed?',
      'Cut over?',
      'Approval?',
      'Ask for approval',
      'Approved?',
      'At once?',
      'Step the canary',
      'All readers moved?',
      'Cut over',
      'Readers use the target',
    ]);
  });

  test('leads a run that only validates past everything that would write to the target', () => {
    const condition = { Variable: '$.validateOnly', BooleanEquals: true };
    expect(away('Validate only?')).toEqual([{ ...condition, Next: 'No live writes?' }]);
    expect(away('Nothing to import?')).toEqual([{ ...condition, Next: 'Choose the queries' }]);
  });

  test('leads a run without live writes past what looks after them: before the export, after the import, and after the comparison', () => {
    const condition = { Variable: '$.live', BooleanEquals: false };
    expect(away('No live writes?')).toEqual([{ ...condition, Next: 'Export every range' }]);
    expect(away('No tombstones?')).toEqual([{ ...condition, Next: 'A table of its own?' }]);
    expect(away('Nothing to sweep?')).toEqual([{ ...condition, Next: 'Measure recall' }]);
  });

  test('leads a run that copies its vectors past the model, and one with a target of its own past what looks after a run in place', () => {
    const copied = { Variable: '$.embeds', BooleanEquals: false };
    expect(away('Vectors as they are?')).toEqual([{ ...copied, Next: 'Await the import' }]);
    const same = { Variable: '$.drifts', BooleanEquals: false };
    expect(away('The same vectors?')).toEqual([{ ...same, Next: 'Find the causes' }]);
    const apart = { Variable: '$.inPlace', BooleanEquals: false };
    expect(away('A table of its own?')).toEqual([{ ...apart, Next: 'Both indexes at once?' }]);
  });

  test('leads a run that changes an index past the import, and asks the old one first where the new one replaces it', () => {
    const alone = { Variable: '$.changesIndex', BooleanEquals: true };
    expect(away('Another index alone?')).toEqual([{ ...alone, Next: 'Both indexes at once?' }]);
    const both = { Variable: '$.asksOldFirst', BooleanEquals: false };
    expect(away('Both indexes at once?')).toEqual([{ ...both, Next: 'Build the index' }]);
  });

  test('calls each function from exactly one state, so none is forgotten and none is called in a wrong place', () => {
    const files = readdirSync(new URL('../../functions', import.meta.url)).map((file) => file.replace(/\.ts$/, ''));
    // functions/lambda.ts is the edge that all share.
    const functions = files.filter((name) => name !== 'lambda').sort();
    expect(Object.keys(functionSettings).sort()).toEqual(functions);
    for (const name of functions) {
      const callers = tasks.filter(([, state]) => functionCalledBy(state) === name).map(([state]) => state);
      if (name === 'report-failure') {
        expect(callers).toEqual(['Report the failed range', 'Report the failed shard', 'Report the failure']);
      } else if (name === 'roll-back') {
        expect(callers).toEqual(['Take the change back', 'Take readers back']);
      } else if (name === 'choose-queries') {
        // Before the index is built, where that replaces the one that is to be asked; what is chosen stays.
        expect(callers).toEqual(['Choose the queries first', 'Choose the queries']);
      } else {
        expect([name, callers.length]).toEqual([name, besideTheMachine.includes(name) ? 0 : 1]);
      }
    }
  });

  test('reports every failure, of a task and of a map, and then fails under the name that the report gives', () => {
    const reporters = tasks.filter(([, state]) => functionCalledBy(state) === 'report-failure').map(([name]) => name);
    const canFail = states.filter(([, { Type }]) => Type === 'Task' || Type === 'Map');
    expect(canFail.length).toBeGreaterThan(15);
    for (const [name, { Catch = [] }, within] of canFail) {
      const last = Catch.at(-1);
      expect([name, last?.ErrorEquals]).toEqual([name, ['States.ALL']]);
      const early = Catch.slice(0, -1).flatMap(({ ErrorEquals }) => ErrorEquals);
      expect([name, early]).toEqual([name, caughtEarly[name] ?? []]);
      if (reporters.includes(name)) expect(states.find(([state]) => state === last?.Next)?.[1].Type).toBe('Fail');
      else
        expect([name, last?.Next]).toEqual([
          name,
          name === 'Step the canary'
            ? 'Take readers back'
            : ({ '': 'Report the failure', 'Export every range': 'Report the failed range' }[within] ??
              'Report the failed shard'),
        ]);
    }
    for (const [, state] of states.filter(([, { Type }]) => Type === 'Fail')) {
      expect(at(state, 'ErrorPath')).toBeDefined();
      expect(at(state, 'CausePath')).toBeDefined();
    }
  });

  test('takes an index away that did not pass before the run fails, since readers may use it already', () => {
    const takeBack = machine.States['Take the change back'];
    expect(functionCalledBy(takeBack!)).toBe('roll-back');
    expect(takeBack?.Next).toBe('Validation failed');
    expect(at(takeBack, 'ResultPath')).toBeNull();
    // Somebody was first: that is no failure.
    expect(takeBack?.Catch?.[0]).toMatchObject({ ErrorEquals: [errorNames.notFound], Next: 'Validation failed' });
  });

  test('takes readers back before a canary that failed is reported, and reports the failure of the canary', () => {
    const takeBack = machine.States['Take readers back'];
    expect(functionCalledBy(takeBack!)).toBe('roll-back');
    const told = 'Readers are on the source';
    expect(takeBack?.Next).toBe(told);
    expect(at(takeBack, 'ResultPath')).toBeNull();
    // A canary that failed before it moved a reader has nothing to take back, which is no failure of its own.
    expect(takeBack?.Catch?.[0]).toEqual({ ErrorEquals: [errorNames.notFound], Next: told, ResultPath: null });
    expect(machine.States[told]).toMatchObject({ OutputPath: '$.failure', Next: 'Report the failure' });
    expect(machine.States['Step the canary']?.Catch).toEqual([
      { ErrorEquals: ['States.ALL'], Next: 'Take readers back', ResultPath: '$.failure' },
    ]);
    // A cause may be left out, as of a timeout: a path to it would end the run with readers where they are.
    expect(JSON.stringify(at(takeBack, 'Parameters'))).not.toContain('$.failure.Cause');
  });

  test('ends every task a minute after its function would have ended itself, so no call hangs', () => {
    for (const [name, state] of tasks.filter(([each]) => each !== asking)) {
      const { minutes } = functionSettings[functionCalledBy(state) as keyof typeof functionSettings];
      expect([name, state.TimeoutSeconds]).toEqual([name, minutes * 60 + 60]);
      expect(minutes).toBeLessThanOrEqual(15);
    }
    expect(machine.TimeoutSeconds).toBe(longestRun.toSeconds());
  });

  test('waits for a person as long as the event says, and tells that readers stay where there was no approval', () => {
    const ask = machine.States[asking]!;
    expect(functionCalledBy(ask)).toBe('ask-approval');
    expect(ask.Resource).toBe('arn:aws:states:::lambda:invoke.waitForTaskToken');
    expect(at(ask, 'Parameters', 'Payload')).toEqual({ 'run.$': '$.run', 'token.$': '$$.Task.Token' });
    expect([at(ask, 'TimeoutSecondsPath'), ask.TimeoutSeconds]).toEqual(['$.approvalSeconds', undefined]);
    expect(machine.States['Nobody answered']).toMatchObject({
      Parameters: { approved: false, by: '', reason: 'nobody answered in time' },
      ResultPath: '$.answer',
      Next: 'Tell that readers stay',
    });
    expect(away('Approved?')).toEqual([{ Variable: '$.answer.approved', BooleanEquals: true, Next: 'At once?' }]);
    expect(machine.States['Approved?']?.Default).toBe('Tell that readers stay');
    const { Next } = machine.States['Tell that readers stay']!;
    expect([Next, machine.States[Next!]?.Type]).toEqual(['Readers stay put', 'Succeed']);
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

  test('cuts over only behind the questions that stop it', () => {
    const waysTo = (name: string) =>
      states
        .filter(([, state]) => JSON.stringify([state.Next, state.Default, state.Choices]).includes(`"${name}"`))
        .map(([each]) => each)
        .sort();
    expect(waysTo('Cut over')).toEqual(['All readers moved?', 'At once?']);
    expect(waysTo('All readers moved?')).toEqual(['Step the canary']);
    expect(waysTo('Step the canary')).toEqual(['At once?', 'Watch']);
    expect(waysTo('At once?')).toEqual(['Approval?', 'Approved?']);
    expect(waysTo('Approved?')).toEqual(['Ask for approval']);
    expect(waysTo('Approval?')).toEqual(['Cut over?']);
    expect(waysTo('Cut over?')).toEqual(['Passed?']);
    const equals = (Variable: string, BooleanEquals: boolean, Next: string) => [{ Variable, BooleanEquals, Next }];
    expect(away('Passed?')).toEqual(equals('$.report.passed', false, 'Index changed?'));
    const goes = [
      { Variable: '$.changesIndex', BooleanEquals: true },
      { Variable: '$.report.keepsIndex', BooleanEquals: false },
    ];
    expect(away('Index changed?')).toEqual([{ And: goes, Next: 'Take the change back' }]);
    expect(away('Cut over?')).toEqual(equals('$.cutover', false, 'Validated, readers stay put'));
    expect(away('Approval?')).toEqual(equals('$.approval', false, 'At once?'));
    expect(away('At once?')).toEqual(equals('$.canary', false, 'Cut over'));
    expect(away('All readers moved?')).toEqual(equals('$.look.done', true, 'Cut over'));
  });
});

/** Errors that a state treats otherwise than by its last catch. */
const caughtEarly: Readonly<Record<string, readonly string[]>> = {
  [asking]: ['States.Timeout'],
  'Take readers back': [errorNames.notFound],
  'Take the change back': [errorNames.notFound],
};

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

  test('are the same three of every task, but where a person is waited for: no time that is over there is a lost call', () => {
    for (const [name, { Retry }] of tasks) {
      const three = tasks[0]![1].Retry;
      expect([name, Retry]).toEqual([name, name === asking ? three?.slice(0, 2) : three]);
    }
    expect(tasks[0]![1].Retry).toHaveLength(3);
    const [lambda, busy] = tasks[0]![1].Retry ?? [];
    expect([lambda?.ErrorEquals, busy?.ErrorEquals]).toEqual([lambdaFaults.errors, storeBusy.errors]);
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
    const waiting = eventsPerLook * (looks(patienceDays.import) + looks(patienceDays.index));
    const canary = { steps: [{ percent: 100, minutes: 0 }], patienceMinutes: 1500, watchSeconds: 60 };
    const side = { store: 'memory', collection: 'a' };
    const event = { source: side, target: { ...side, collection: 'b' }, cutover: { canary } };
    expect(parseEvent(event).cutover?.canary?.patienceMinutes).toBe(1500);
    const longer = { ...canary, patienceMinutes: 1501 };
    expect(() => parseEvent({ ...event, cutover: { canary: longer } })).toThrow(
      /needs 1501 looks .* has room for 1500/,
    );
    const eventsPerWatch = 9;
    expect(waiting).toBeLessThan(25_000);
    expect(eventsPerWatch * 1500 + eventsPerLook * 2 * looks(patienceDays.import)).toBeLessThan(25_000);
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
