import { mkdtempSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { fileMetrics } from '../../../lib/client/file-metrics.ts';
import { makeMetrics } from '../../../lib/client/metrics.ts';
import { type Answer, commandLine, type Event, spawnCommand, writeRecords } from './command-line.ts';

/** A cutover that people and the watch decide on, by the command line in processes of their own. */

const work = mkdtempSync(join(tmpdir(), 'vecferry-cutover-'));
const kept = join(work, 'kept');
const vecferry = commandLine(kept);

beforeAll(async () => {
  await writeRecords(join(work, 'source'), 'records.jsonl', 100);
  // The first command synthesizes the stack, which takes its time.
  await vecferry(['run', event('warm', { cutover: null }), '--run', 'warm']);
});

/** A hundred records that go into a LanceDB of the run's own; the flag has the run's name. */
function event(run: string, more: Record<string, unknown> = {}): string {
  return JSON.stringify({
    source: { store: 'files', connection: { path: join(work, 'source') }, collection: 'records.jsonl' },
    target: { store: 'lancedb', connection: { path: join(work, run) }, collection: 'records' },
    validate: { recall: null },
    ...more,
  });
}
const byPerson = (run: string, hours = 1) =>
  event(run, { cutover: { flag: run, approval: 'person', approvalHours: hours } });
/** Ten requests are enough, and a step has no time of its own: it goes on as soon as there are ten. @param more of the event */
const inSteps = (run: string, more: Record<string, unknown> = {}) => {
  const steps = [
    { percent: 20, minutes: 0 },
    { percent: 100, minutes: 0 },
  ];
  const canary = {
    steps,
    watchSeconds: 1,
    patienceMinutes: 20,
    requests: 10,
    minOverlap: null,
    shadowPercent: 0,
  };
  return event(run, { cutover: { flag: run, canary }, ...more });
};

const flagOf = async (run: string): Promise<unknown> =>
  JSON.parse(await readFile(join(kept, 'flags', `${run}.json`), 'utf8'));
/** canary.json says where readers are about to be, before the flag does. */
async function untilWeight(run: string, weight: number): Promise<void> {
  for (;;) {
    const flag = await flagOf(run).catch(() => undefined);
    if (Object(flag).weight === weight) return;
    await sleep(50);
  }
}
const onSource = { active: 'files:records.jsonl', candidate: 'lancedb:records', weight: 0 };
const onTarget = { active: 'lancedb:records', candidate: 'files:records.jsonl', weight: 0 };

interface Running {
  /** Resolves once the run has printed an event that the condition holds for. */
  until(condition: (event: Event) => boolean): Promise<Event>;
  kill(): void;
  readonly ended: Promise<Answer>;
}

/** What a failed test left behind; a run that waits would wait for an hour. */
const left = new Set<() => void>();
afterEach(() => {
  for (const stop of left) stop();
  left.clear();
});

/** `vecferry run` with --json, which other processes meet while it is under way. */
function start(run: string, given: string): Running {
  const seen: Event[] = [];
  const waiting = new Set<() => void>();
  let stop = (): void => undefined;
  const ended = vecferry(['--json', 'run', given, '--run', run], {
    onLine: (line, kill) => {
      stop = kill;
      left.add(kill);
      seen.push(JSON.parse(line));
      for (const look of waiting) look();
    },
  });
  return {
    until: (condition) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = seen.find(condition);
          if (found !== undefined) resolve(found);
        };
        waiting.add(look);
        look();
        void ended.then(({ err }) => reject(new Error(`run '${run}' ended before it came to that: ${err}`)));
      }),
    kill: () => stop(),
    ended,
  };
}
const isAsked = ({ type }: Event): boolean => type === 'approval';
const isAtStep =
  (step: number) =>
  ({ type, stage, detail }: Event): boolean =>
    type === 'progress' && stage === 'cutover' && String(detail).startsWith(`step ${step} `);
/** What a command with --json printed last. */
const last = ({ events }: Answer): Event | undefined => events().at(-1);

describe('approval by a person', () => {
  test('the very command that is shown lets the run go on, from another process', async () => {
    const running = start('approved', byPerson('approved'));
    const { approve } = await running.until(isAsked);
    const status = await vecferry(['status', 'approved']);
    expect(status.out).toMatch(/^cutover +waiting for approval until 20/m);
    expect(status.out).toContain(`approve  ${approve}`);
    const answer = await spawnCommand([
      ...String(approve).split(' ').slice(1),
      '--by',
      'ana',
      '--reason',
      'looks right',
    ]);
    expect({ ...answer, events: undefined }).toMatchObject({
      code: 0,
      err: '',
      out: 'approved by ana: looks right; the run has the answer\n',
    });
    const run = await running.ended;
    expect({ code: run.code, last: last(run) }).toMatchObject({
      code: 0,
      last: { status: 'succeeded', output: { answer: { approved: true, by: 'ana', reason: 'looks right' } } },
    });
    expect(await flagOf('approved')).toMatchObject(onTarget);
    expect((await vecferry(['approve', 'approved', '--by', 'bob'])).code).toBe(0);
    const against = await vecferry(['reject', 'approved']);
    expect({ code: against.code, err: against.err }).toEqual({
      code: 2,
      err: expect.stringMatching(/^InvalidEvent: .*approved by ana .*vecferry rollback approved/),
    });
  });

  test('without an answer in time the run ends the same way, and says so in plain lines', async () => {
    const run = await vecferry(['run', byPerson('late', 0.001), '--run', 'late']);
    expect({ code: run.code, err: run.err }).toEqual({ code: 6, err: '' });
    expect(run.out).toMatch(/^approve +vecferry --dir .* approve late$/m);
    expect(run.out).toMatch(/^notice +.*readers stay, run late$/m);
    expect(run.out).toMatch(/^readers +stay where they are: nobody answered in time$/m);
    expect(run.out).toMatch(/^go on +vecferry --dir \S+ run .* --run late$/m);
    const answer = await vecferry(['approve', 'late']);
    expect({ code: answer.code, err: answer.err }).toEqual({
      code: 2,
      err: expect.stringMatching(/^NotFound: .*ended without one; readers were not moved/),
    });
  });

  test('Ctrl-C leaves the question open: it is answered while the run is stopped, which takes it when it goes on', async () => {
    const running = start('stopped', byPerson('stopped'));
    await running.until(isAsked);
    running.kill();
    expect((await running.ended).code).toBe(130);
    const answer = await vecferry(['--json', 'approve', 'stopped']);
    expect({ code: answer.code, last: last(answer) }).toMatchObject({
      code: 0,
      last: { type: 'answered', taken: false },
    });
    const again = await vecferry(['--json', 'run', byPerson('stopped'), '--run', 'stopped']);
    expect(again.code).toBe(0);
    expect(again.events().filter(isAsked)).toEqual([]);
    expect(await flagOf('stopped')).toMatchObject(onTarget);
  });

  test('a run that waits cannot be finished or cut over from beside, which would undo what it is about; rejected it ends well, with a code of its own, and moves nobody', async () => {
    const running = start('rejected', byPerson('rejected'));
    await running.until(isAsked);
    const [cutover, finish, rollback] = await Promise.all(
      ['cutover', 'finish', 'rollback'].map((command) => vecferry([command, 'rejected'])),
    );
    for (const answer of [cutover, finish])
      expect({ code: answer?.code, err: answer?.err }).toEqual({
        code: 3,
        err: expect.stringMatching(/^RunMismatch: .*running 'rejected'/),
      });
    expect({ code: rollback?.code, err: rollback?.err }).toEqual({
      code: 2,
      err: expect.stringMatching(/^NotFound: .*never cut over/),
    });
    expect((await vecferry(['reject', 'rejected', '--by', 'ana', '--reason', 'not today'])).code).toBe(0);
    const run = await running.ended;
    expect(run.code).toBe(6);
    expect(last(run)).toMatchObject({
      status: 'succeeded',
      output: { answer: { approved: false, reason: 'not today' } },
    });
    expect(run.events()).toContainEqual(expect.objectContaining({ type: 'notice', kind: 'approval not given' }));
    await expect(flagOf('rejected')).rejects.toThrow('ENOENT');
    expect((await vecferry(['status', 'rejected'])).out).toMatch(/^cutover +rejected by ana: not today$/m);
  });

  test('of no run, and of one that asks nothing, is refused by name', async () => {
    const none = await vecferry(['approve', 'nope']);
    expect({ code: none.code, err: none.err }).toMatchObject({ code: 2, err: expect.stringMatching(/^NotFound/) });
    const asksNothing = await vecferry(['reject', 'warm']);
    expect({ code: asksNothing.code, err: asksNothing.err }).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^NotFound: run 'warm' asks nothing/),
    });
  });
});

describe('a canary', () => {
  /** An application that reads the target all the time, as far as its metrics tell. */
  async function reading<T>(flag: string, ok: boolean, during: () => Promise<T>): Promise<T> {
    const sink = fileMetrics(join(kept, 'metrics'));
    const metrics = makeMetrics({ flag, sink, onError: (error) => Promise.reject(error) });
    let isOver = false;
    const reads = (async () => {
      while (!isOver) {
        for (let i = 0; i < 5; i++) metrics.read('lancedb:records', 4, ok);
        await metrics.flush();
        await sleep(50);
      }
      await metrics.close();
    })();
    try {
      return await during();
    } finally {
      isOver = true;
      await reads;
    }
  }

  test('shows each step as it comes, and ends with all readers on the target', async () => {
    // Nobody reads before the first step was shown, or it might be over before anybody looks.
    const shown = Promise.withResolvers<void>();
    const running = vecferry(['run', inSteps('steps'), '--run', 'steps'], {
      onLine: (line) => (/^cutover +step 1 of 2/.test(line) ? shown.resolve() : undefined),
    });
    await Promise.race([shown.promise, running]);
    const run = await reading('steps', true, () => running);
    expect({ code: run.code, err: run.err }).toEqual({ code: 0, err: '' });
    expect(run.out).toMatch(/^cutover +step \d of 2: \d+ %/m);
    expect(run.out).toMatch(/^readers +20 % of the reads go to lancedb:records/m);
    expect(run.out).toMatch(/^readers +100 % of the reads go to lancedb:records/m);
    expect(run.out).toMatch(/^readers +cut over to the target/m);
    expect(await flagOf('steps')).toMatchObject(onTarget);
    expect((await vecferry(['status', 'steps'])).out).toMatch(/^cutover +done +readers are on lancedb:records$/m);
  });

  test('that Ctrl-C stops says that nobody watches its readers, and how they get back', async () => {
    // Nobody reads, so the first step has too few requests and waits.
    const run = await vecferry(['run', inSteps('unwatched'), '--run', 'unwatched'], {
      onLine: (line, kill) => (/^readers +20 %/.test(line) ? kill() : undefined),
    });
    expect(run.code).toBe(130);
    expect(run.out).toMatch(
      /^readers +20 % .*; nobody watches them until the run goes on; vecferry .*rollback unwatched takes/m,
    );
  });

  test('that breaches a bound takes readers back, says why, and fails with a code of its own', async () => {
    const run = await reading('breach', false, () => vecferry(['run', inSteps('breach'), '--run', 'breach']));
    expect({ code: run.code, err: run.err }).toEqual({
      code: 6,
      err: expect.stringMatching(/^TakenBack: .*at 20% 10 of the last 10 reads of the target failed/),
    });
    expect(run.out).toMatch(/^notice +vecferry: readers taken back, run breach$/m);
    expect(run.out).toMatch(/^readers +rolled back: .*to files:records\.jsonl/m);
    expect(await flagOf('breach')).toMatchObject(onSource);
    expect((await vecferry(['status', 'breach'])).out).toMatch(/^cutover +taken back at .*: at 20% 10 of/m);
  });

  test('is taken back by a rollback from another process while it is under way, which waits for no lock', async () => {
    // Nobody reads, so the first step waits for requests until somebody rolls back.
    const running = start('back', inSteps('back'));
    await running.until(isAtStep(1));
    await untilWeight('back', 20);
    const back = await vecferry(['--json', 'rollback', 'back', '--reason', 'the phone rang']);
    expect({ code: back.code, last: last(back) }).toMatchObject({
      code: 0,
      last: { type: 'moved', action: 'rollback', reason: 'the phone rang' },
    });
    const run = await running.ended;
    expect({ code: run.code, last: last(run) }).toMatchObject({
      code: 6,
      last: { type: 'error', error: 'TakenBack', message: expect.stringContaining('the phone rang') },
    });
    expect(await flagOf('back')).toMatchObject(onSource);
  });

  test('goes on at its step after Ctrl-C, and is finished when it is done: from then on there is no way back', async () => {
    const running = start('goes-on', inSteps('goes-on'));
    await running.until(isAtStep(1));
    await untilWeight('goes-on', 20);
    running.kill();
    expect((await running.ended).code).toBe(130);
    expect(await flagOf('goes-on')).toMatchObject({ weight: 20 });
    // From the first step on writes go to both sides, so the run goes on as a live one, whatever its event says of it
    // (test/plan-live.test.ts). Said here, or the fifteen seconds would be waited for that writers have to see the flag.
    const onward = inSteps('goes-on', { live: { settleSeconds: 0 } });
    const again = await reading('goes-on', true, () => vecferry(['--json', 'run', onward, '--run', 'goes-on']));
    expect({ code: again.code, err: again.err, last: last(again) }).toMatchObject({
      code: 0,
      err: '',
      last: { output: { live: true } },
    });
    const finished = await vecferry(['finish', 'goes-on']);
    expect({ code: finished.code, err: finished.err, out: finished.out }).toEqual({
      code: 0,
      err: '',
      out: expect.stringMatching(/^finished: reads and writes go to lancedb:records alone/),
    });
    expect(await flagOf('goes-on')).toEqual({
      active: 'lancedb:records',
      candidate: 'lancedb:records',
      weight: 0,
      shadow: 0,
    });
    const back = await vecferry(['rollback', 'goes-on']);
    expect({ code: back.code, err: back.err }).toEqual({
      code: 2,
      err: expect.stringMatching(/^InvalidEvent: .*was finished/),
    });
  });
});

test('a live run that was finished is neither validated nor run again: its source is old, and would be copied over what is newer', async () => {
  const given = event('over', { live: { settleSeconds: 0 }, cutover: { flag: 'over' } });
  expect((await vecferry(['run', given, '--run', 'over'])).code).toBe(0);
  expect((await vecferry(['validate', 'over'])).code).toBe(0);
  expect((await vecferry(['finish', 'over'])).code).toBe(0);
  const { code, err } = await vecferry(['validate', 'over']);
  expect({ code, err }).toEqual({
    code: 2,
    err: expect.stringMatching(/^InvalidEvent: .* may be newer in lancedb:records, .*vecferry validate EVENT/),
  });
  const again = await vecferry(['run', given, '--run', 'over']);
  expect({ code: again.code, err: again.err }).toEqual({
    code: 3,
    err: expect.stringMatching(/^RunMismatch: run 'over' was finished at .*; start a new run from there/),
  });
});
