import { describe, expect, test } from '@jest/globals';
import type { Answer, CanaryState, Move } from '../../lib/cutover/cutover-files.ts';
import { approvalAnswerKey, moveKey, runKeys, tombstoneKey } from '../../lib/keys.ts';
import type { Sweep } from '../../lib/live/live-files.ts';
import { putJson } from '../../lib/objects.ts';
import { runStatus } from '../../lib/status.ts';
import { memoryObjects } from '../local/memory-objects.ts';
import { makePlan } from '../make-plan.ts';

/** What status says of a run's cutover and live writes, from its objects alone. */

const run = 'r1';
const keys = runKeys(run);
const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 10, minute)).toISOString();
const now = new Date(at(30));
const validated = { [keys.report]: { verdict: 'validated', failure: null } };

async function look(files: Record<string, unknown>, event: Record<string, unknown> = {}) {
  const objects = memoryObjects({});
  for (const [key, value] of Object.entries({ [keys.plan]: makePlan(event, run), ...files }))
    await putJson(objects, key, value);
  const status = await runStatus({ objects, run, now });
  const stageOf = (name: string) => {
    const { state, done, total, detail } = status.stages.find((each) => each.name === name) ?? {};
    return { state, at: `${done}/${total}`, detail };
  };
  return { status, cutover: stageOf('cutover'), live: stageOf('live') };
}

const move = (action: Move['action'], minute: number, more: Partial<Move> = {}): Record<string, Move> => {
  const made = { at: at(minute), action, kind: 'flag', name: 'words', from: 'a:x', to: 'b:y', ...more } as const;
  return { [moveKey(run, minute)]: made };
};
const asked = (minute: number, until: number) => ({
  [keys.approval]: { token: 'secret-token', askedAt: at(minute), until: at(until) },
});
const answered = (answer: Answer['answer'], minute: number, reason = '') => ({
  [approvalAnswerKey(run, at(minute))]: { answer, by: 'ana', reason, at: at(minute), askedAt: at(minute), taken: true },
});
const canary = (more: Partial<CanaryState>): Record<string, CanaryState> => ({
  [keys.canary]: {
    startedAt: at(10),
    since: at(0),
    step: 1,
    stepAt: at(25),
    maxP95Ms: 200,
    state: 'watching',
    lookedAt: at(29),
    seen: { reads: 43, errors: 0, p95Ms: 12, shadows: 31, overlap: 0.974 },
    says: 'too few requests to judge by',
    steps: [],
    ...more,
  },
});
const inSteps = { cutover: { approval: 'person', canary: {} } };

test('a switch of columns is not said to be made before it is: its log comes first, and what was written meanwhile is caught up', async () => {
  const kind = 'column' as const;
  const moved = { ...validated, ...move('cutover', 5, { kind }) };
  const switched = (minute: number) => ({ [keys.switched]: { moveAt: at(minute) } });
  const under = await look(moved);
  expect(under.cutover).toMatchObject({ state: 'running', detail: expect.stringContaining('about to be switched') });
  expect(under.status.lastMove).toBeUndefined();
  const made = await look({ ...moved, ...switched(5) });
  expect(made.cutover).toMatchObject({ state: 'done', detail: 'readers are on b:y' });
  expect(made.status.lastMove).toMatchObject({ action: 'cutover' });
  // Taken back, and cut over once more: what says that the first one was made says nothing of the second.
  const again = { ...moved, ...switched(5), ...move('rollback', 6, { kind }), ...move('cutover', 7, { kind }) };
  expect((await look(again)).cutover.state).toBe('running');
  expect((await look({ ...again, ...switched(7) })).cutover.state).toBe('done');
});

test('what a run replaced is not said to be dropped while its drop waits, or was cut off', async () => {
  const moved = {
    ...validated,
    ...move('cutover', 5),
    ...move('finish', 6, { note: 'roll back' }),
    ...move('retire', 7),
  };
  const under = await look(moved);
  expect(under.cutover).toMatchObject({ state: 'running', detail: expect.stringContaining('vecferry retire r1 fin') });
  expect(under.status.lastMove).toMatchObject({ action: 'finish', note: undefined });
  const retired = { at: at(8), name: 'x', what: 'x of a', records: 1, bytes: null };
  const done = await look({ ...moved, [keys.retired]: retired });
  expect(done.cutover).toMatchObject({ state: 'done', detail: expect.stringContaining('is dropped for good') });
  expect(done.status.lastMove).toMatchObject({ action: 'retire' });
});

test('of a new index that nobody has switched to it says that searches may use it, until it is taken back', async () => {
  const hnsw = { kind: 'hnsw' } as const;
  const index = {
    vector: 'v',
    from: { index: hnsw },
    to: { index: hnsw },
    how: 'beside',
    oldAsked: 'in turn',
    advice: [],
  } as const;
  const of = (event: Record<string, unknown>) => ({ [keys.plan]: { ...makePlan(event, run), index }, ...validated });
  const mayUse = expect.stringMatching(/searches may use it: vecferry rollback r1 drops it$/);
  const none = of({ cutover: null });
  expect((await look(none)).cutover).toMatchObject({ state: 'skipped', detail: mayUse });
  const failed = { ...of({}), [keys.report]: { verdict: 'failed', failure: null } };
  expect((await look(failed)).cutover).toMatchObject({ state: 'ended', detail: 'nothing is cut over' });
  const isBuilt = { [keys.index]: { done: true, detail: '1 of 1 indexes' } };
  expect((await look({ ...failed, ...isBuilt })).cutover).toMatchObject({ state: 'ended', detail: mayUse });
  const instead = { [keys.plan]: { ...makePlan({}, run), index: { ...index, how: 'instead' } } };
  expect((await look({ ...failed, ...isBuilt, ...instead })).cutover).toMatchObject({
    state: 'ended',
    detail: expect.stringMatching(/^readers use the new index: vecferry rollback r1/),
  });
  const waits = { ...of(inSteps), ...asked(20, 40) };
  expect((await look(waits)).cutover).toMatchObject({ state: 'running', detail: mayUse });
  expect((await look({ ...waits, ...answered('rejected', 20) })).cutover).toMatchObject({
    state: 'ended',
    detail: mayUse,
  });
  const stays = { verdict: 'failed', failure: null, createdAt: at(26), index: { kept: 'it finds no less' } };
  const again = { ...failed, ...isBuilt, ...move('rollback', 25, { kind: 'index' }) };
  expect((await look({ ...again, [keys.report]: stays })).cutover).toMatchObject({ state: 'ended', detail: mayUse });
  const earlier = { ...stays, createdAt: at(24) };
  expect((await look({ ...again, [keys.report]: earlier })).cutover.detail).toMatch(/^taken back/);
  const back = { ...waits, ...move('rollback', 25, { kind: 'index' }) };
  expect((await look(back)).cutover.detail).toMatch(/^taken back/);
});

describe('the cutover of a run', () => {
  test('waits until validation has passed, and ends with it where that fails', async () => {
    expect((await look({})).cutover).toMatchObject({ state: 'waiting' });
    expect((await look(validated)).cutover).toMatchObject({ state: 'running' });
    const failed = await look({ [keys.report]: { verdict: 'failed', failure: null } });
    expect(failed.cutover).toMatchObject({ state: 'ended', detail: 'nothing is cut over' });
  });

  test('is skipped where the event asks for none, until somebody cuts over by hand', async () => {
    const event = { cutover: null };
    expect((await look(validated, event)).cutover).toMatchObject({ state: 'skipped' });
    const moved = await look({ ...validated, ...move('cutover', 5) }, event);
    expect(moved.cutover).toEqual({ state: 'done', at: '1/1', detail: 'readers are on b:y' });
  });

  test('waits for a person, by when, without letting out the token by which anybody could answer', async () => {
    const { cutover, status } = await look({ ...validated, ...asked(20, 40) }, inSteps);
    expect(cutover).toMatchObject({ state: 'running', detail: `waiting for approval until ${at(40)}` });
    expect(status.question).toEqual({ askedAt: at(20), until: at(40) });
    expect(JSON.stringify(status)).not.toContain('secret-token');
  });

  test('ends where nobody answered, or somebody rejected, and asks nobody any more', async () => {
    const late = await look({ ...validated, ...asked(20, 29) }, inSteps);
    expect(late.cutover).toMatchObject({ state: 'ended', detail: `nobody answered by ${at(29)}` });
    const no = await look({ ...validated, ...asked(20, 40), ...answered('rejected', 20, 'not today') }, inSteps);
    expect(no.cutover).toMatchObject({ state: 'ended', detail: 'rejected by ana: not today' });
    expect([late.status.question, no.status.question]).toEqual([undefined, undefined]);
    const yes = await look({ ...validated, ...asked(20, 40), ...answered('approved', 20) }, inSteps);
    expect(yes.cutover).toMatchObject({ state: 'running', detail: 'approved by ana' });
  });

  test('says the step, what was seen against what is needed, and until when it is watched', async () => {
    const given = { ...validated, ...asked(5, 9), ...answered('approved', 5), ...move('step', 25, { percent: 10 }) };
    expect((await look({ ...given, ...canary({}) }, inSteps)).cutover).toEqual({
      state: 'running',
      at: '1/4',
      detail: `step 2 of 4: 10 %, 43 requests of 100, 0 errors, p95 12.0 ms, overlap 0.97 of 31 shadow reads; watched until ${at(35)}`,
    });
    const over = await look({ ...given, ...canary({ stepAt: at(15) }) }, inSteps);
    expect(over.cutover.detail).toMatch(/its time is over, waits for enough requests$/);
    const begun = await look({ ...given, ...canary({ step: 0, seen: null, says: 'begun' }) }, inSteps);
    expect(begun.cutover.detail).toMatch(/^step 1 of 4: 1 %, begun;/);
  });

  test('says that nobody watches the readers where the run has stopped in the middle of a step', async () => {
    const stopped = await look(
      { ...validated, ...canary({ lookedAt: at(27) }), ...move('step', 25, { percent: 10 }) },
      inSteps,
    );
    expect(stopped.cutover.detail).toMatch(
      /step 2 of 4: 10 %, .*; nobody has looked since 2026-01-01T10:27.* start the run again.* or roll back$/,
    );
    const notYet = await look({ ...validated, ...canary({ lookedAt: null, seen: null, stepAt: at(27) }) }, inSteps);
    expect(notYet.cutover.detail).toContain(`nobody has looked since ${at(27)}`);
  });

  test('says why readers were taken back, and by the next try where that is', async () => {
    const back = move('rollback', 26, { from: 'b:y', to: 'a:x', reason: 'at 10% 9 of the last 100 reads failed' });
    const given = { ...validated, ...asked(5, 9), ...answered('approved', 5), ...move('step', 25, { percent: 10 }) };
    const taken = await look({ ...given, ...back, ...canary({ state: 'taken back', says: 'x' }) }, inSteps);
    expect(taken.cutover).toMatchObject({
      state: 'ended',
      detail: `taken back at ${at(26)}: at 10% 9 of the last 100 reads failed`,
    });
    const again = await look({ ...given, ...back, ...canary({ startedAt: at(28), step: 0 }) }, inSteps);
    expect(again.cutover.detail).toMatch(/^step 1 of 4/);
    const askedAgain = await look({ ...given, ...back, ...asked(28, 40) }, inSteps);
    expect(askedAgain.cutover.detail).toBe(`waiting for approval until ${at(40)}`);
  });

  test('is done with all readers on the target, and finished with the double writes', async () => {
    const moved = { ...validated, ...move('cutover', 25) };
    expect((await look({ ...moved, ...canary({ state: 'passed' }) }, inSteps)).cutover).toMatchObject({
      state: 'done',
      at: '4/4',
    });
    const { collection, store } = makePlan().event.target;
    const finished = await look({ ...moved, ...move('finish', 26, { to: `${store}:${collection}` }) }, inSteps);
    expect(finished.cutover).toMatchObject({ state: 'done', detail: expect.stringMatching(/^finished: .* alone/) });
    const givenUp = await look({ ...moved, ...move('rollback', 26), ...move('finish', 27, { to: 'a:x' }) }, inSteps);
    expect(givenUp.cutover).toMatchObject({ state: 'ended' });
  });
});

describe('the live writes of a run', () => {
  const event = { live: true };
  const live = (settled: number) => ({ [keys.live]: { flag: 'words', since: at(1), settledAt: at(settled) } });
  const since = `writes go to both sides since ${at(1)}`;
  const sweep = (more: Partial<Sweep>): Record<string, Sweep> => ({
    [keys.sweep]: {
      attempt: 1,
      done: false,
      phase: 'source',
      shards: 1,
      rest: null,
      applied: [],
      tombstones: 0,
      added: 3,
      changed: 2,
      deleted: 1,
      mended: 4,
      mends: [],
      missing: 0,
      different: 0,
      extra: 0,
      unchecked: 0,
      differences: [],
      note: '',
      startedAt: at(2),
      at: at(3),
      ...more,
    },
  });

  test('are no stage of a run that has none', async () => {
    expect((await look({})).status.stages.map(({ name }) => name)).not.toContain('live');
    expect((await look({}, event)).live).toMatchObject({ state: 'waiting' });
  });

  test('are told from their begin to the end of the sweep', async () => {
    expect((await look(live(40), event)).live.detail).toBe(`${since}; writers have until ${at(40)} to see it`);
    expect((await look(live(2), event)).live).toMatchObject({ state: 'running', detail: since });
    const tombstones = { [tombstoneKey(run, at(2))]: { at: at(2), ids: ['1'] } };
    expect((await look({ ...live(2), ...tombstones }, event)).live.detail).toBe(`${since}; 1 tombstone so far`);
    const applied = { [keys.tombstonesApplied]: { attempt: 1, done: true, applied: ['x'], ids: 7 } };
    expect((await look({ ...live(2), ...applied }, event)).live.detail).toMatch(/7 deleted records looked at again/);
    expect((await look({ ...live(2), ...sweep({}) }, event)).live).toEqual({
      state: 'running',
      at: '1/2',
      detail: `${since}; meanwhile 3 added, 2 changed, 1 deleted, 4 mended`,
    });
    const done = (await look({ ...live(2), ...sweep({ done: true, missing: 2 }) }, event)).live;
    expect(done).toMatchObject({
      state: 'done',
      at: '2/2',
      detail: expect.stringMatching(/4 mended, 2 not the same$/),
    });
  });

  test('of a run that goes on are swept anew: what an earlier attempt saw is not told as this one’s', async () => {
    const { live: told } = await look({ ...live(2), ...sweep({ attempt: 9, done: true }) }, event);
    expect(told).toMatchObject({ state: 'running', detail: since });
  });
});
