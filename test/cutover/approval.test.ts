import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidToken, SendTaskSuccessCommand, SFNClient, TaskDoesNotExist, TaskTimedOut } from '@aws-sdk/client-sfn';
import { afterAll, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import { type AnswerOptions, answerApproval, askApproval } from '../../lib/cutover/approval.ts';
import type { Answer } from '../../lib/cutover/cutover-files.ts';
import { logMove } from '../../lib/cutover/moves.ts';
import { type Notice, objectNotices } from '../../lib/cutover/notices.ts';
import { fileTasks, stepFunctionsTasks } from '../../lib/cutover/task-tokens.ts';
import { runKeys } from '../../lib/keys.ts';
import { putJson } from '../../lib/objects.ts';
import { openFileObjects } from '../../lib/objects-files.ts';
import { makePlan } from '../make-plan.ts';

const work = mkdtempSync(join(tmpdir(), 'vecferry-approval-'));
afterAll(() => rm(work, { recursive: true }));

const run = 'r1';
const begin = Date.parse('2026-01-01T10:00:00Z');
/** @param minutes after the run came to its question */
const at = (minutes: number): Date => new Date(begin + minutes * 60_000);

/** A run of its own whose event wants a person's approval within an hour. */
async function makeRun(event: Record<string, unknown> = {}) {
  const directory = mkdtempSync(join(work, 'run-'));
  const objects = openFileObjects(directory);
  const sent: Notice[] = [];
  const notices = { send: async (notice: Notice) => void sent.push(notice) };
  const services = {
    objects,
    notices,
    tasks: fileTasks(join(directory, 'tasks')),
    stack: undefined,
  };
  const plan = makePlan({ cutover: { approval: 'person', approvalHours: 1 }, ...event }, run);
  await putJson(objects, runKeys(run).plan, plan);
  const answer = (given: Answer['answer'], more: Partial<AnswerOptions> = {}) =>
    answerApproval({ run, answer: given, by: 'ana', reason: '', services, now: at(5), ...more });
  /** The state is reached: the engine opens its token, and the function is called with it. */
  const ask = async (token: string, now: Date): Promise<void> => {
    await services.tasks.open(token);
    await askApproval({ plan, token, services, now });
  };
  return { directory, objects, services, plan, sent, answer, ask };
}

const yes = { approved: true, by: 'ana', reason: '' };

describe('a question', () => {
  test('tells people where the report is, how to answer, and what happens without an answer', async () => {
    const { sent, ask, objects } = await makeRun();
    await putJson(objects, runKeys(run).report, { summary: 'Validated: all 100 records are equal.' });
    await ask('t1', at(0));
    expect(sent).toMatchObject([{ kind: 'approval asked', run, subject: expect.stringContaining(run) }]);
    const text = sent[0]?.text ?? '';
    expect(text).toContain('Validated: all 100 records are equal.');
    expect(text).toContain(objects.locate(runKeys(run).reportPage));
    expect(text).toMatch(/^Approve: vecferry approve r1$/m);
    expect(text).toMatch(/^Reject: {2}vecferry reject r1 --reason/m);
    expect(text).toContain('all readers use the target at once');
    expect(text).toContain('Without an answer by 2026-01-01T11:00:00.000Z');
  });

  test('on a stack links to the page of the report, and says how to answer without a command line', async () => {
    const { services, plan, sent } = await makeRun({ cutover: { approval: 'person', canary: {} } });
    const locate = (key: string): string => `s3://runs/${key}`;
    const onStack = { ...services, objects: { ...services.objects, locate }, stack: 'Vecferry' };
    await services.tasks.open('t1');
    await askApproval({ plan, token: 't1', services: onStack, now: at(0) });
    const text = sent[0]?.text ?? '';
    expect(text).toContain('https://s3.console.aws.amazon.com/s3/object/runs?prefix=runs%2Fr1%2Freport.html');
    expect(text).toMatch(/^Approve: vecferry approve r1 --stack Vecferry$/m);
    expect(text).toContain('{"run": "r1", "answer": "approved"');
    expect(text).toContain('1 %, 10 %, 50 %, 100 %');
  });

  test('has a subject that SNS takes, however long the id of its run is', async () => {
    const { services, sent } = await makeRun();
    const plan = makePlan({ cutover: { approval: 'person' } }, 'r'.repeat(80));
    await askApproval({ plan, token: 't1', services, now: at(0) });
    expect(sent[0]?.subject.length).toBeLessThanOrEqual(100);
    // The object that a notice becomes on one machine has the same bound in its schema.
    await expect(objectNotices(services.objects).send(sent[0]!)).resolves.toBeUndefined();
  });
});

describe('an answer', () => {
  test('lets the state that waits go on, and is kept with who gave it, when and why', async () => {
    const { services, ask, answer } = await makeRun();
    await ask('t1', at(0));
    const given = await answer('approved', { reason: 'looks right' });
    expect(given).toEqual({
      answer: 'approved',
      by: 'ana',
      reason: 'looks right',
      at: at(5).toISOString(),
      askedAt: at(0).toISOString(),
      taken: true,
    });
    expect(await services.tasks.look('t1')).toEqual({ ...yes, reason: 'looks right' });
  });

  test('given twice is the same as once, and stays that of the first', async () => {
    const { ask, answer } = await makeRun();
    await ask('t1', at(0));
    const first = await answer('approved');
    expect(await answer('approved', { by: 'bob', now: at(6) })).toEqual(first);
    // Also when its time is over: it was given in time.
    expect(await answer('approved', { by: 'bob', now: at(90) })).toEqual(first);
  });

  test('that contradicts the first is refused, and says who gave that and what can be done', async () => {
    const { ask, answer } = await makeRun();
    await ask('t1', at(0));
    await answer('approved');
    await expect(answer('rejected', { by: 'bob' })).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/approved by ana at .*vecferry rollback r1/),
    });
  });

  test('of two people at once: exactly one wins, the run gets that one, and the other is told', async () => {
    for (let round = 0; round < 20; round++) {
      const { services, ask, answer } = await makeRun();
      await ask('t1', at(0));
      const [approved, rejected] = await Promise.allSettled([
        answer('approved', { by: 'ana' }),
        answer('rejected', { by: 'bob' }),
      ]);
      expect([approved.status, rejected.status].sort()).toEqual(['fulfilled', 'rejected']);
      const isApproved = approved.status === 'fulfilled';
      expect(await services.tasks.look('t1')).toMatchObject({ approved: isApproved, by: isApproved ? 'ana' : 'bob' });
      const told = approved.status === 'rejected' ? approved.reason : Object(rejected).reason;
      expect(told).toMatchObject({
        name: 'InvalidEvent',
        message: expect.stringContaining(isApproved ? 'approved by ana' : 'rejected by bob'),
      });
    }
  });

  test('that comes after the time is refused, and says that nothing was moved', async () => {
    const { ask, answer } = await makeRun();
    await ask('t1', at(0));
    await expect(answer('approved', { now: at(61) })).rejects.toMatchObject({
      name: 'NotFound',
      message: expect.stringMatching(/until 2026-01-01T11:00:00.000Z.*readers were not moved/),
    });
  });

  test('after readers were taken back is refused either way: the run that it was for is over', async () => {
    const { ask, answer, objects } = await makeRun();
    await ask('t1', at(0));
    await answer('approved');
    const rollback = {
      at: at(10).toISOString(),
      action: 'rollback',
      kind: 'flag',
      name: 'words',
      from: null,
      to: null,
    } as const;
    await logMove(objects, run, rollback);
    for (const given of ['approved', 'rejected'] as const) {
      const refused = answer(given, { by: 'ben', now: at(20) });
      await expect(refused).rejects.toMatchObject({ name: 'NotFound' });
      await expect(refused).rejects.toThrow(/was approved by ana .* taken back since.* Start the run again/);
    }
  });

  test('to a run that asks nothing, or to none, is refused and says so', async () => {
    const { answer } = await makeRun();
    await expect(answer('approved')).rejects.toMatchObject({
      name: 'NotFound',
      message: expect.stringMatching(/asks nothing/),
    });
    await expect(answer('approved', { run: 'nope' })).rejects.toMatchObject({
      name: 'NotFound',
      message: expect.stringMatching(/there is no run 'nope'/),
    });
  });
});

describe('a run that goes on', () => {
  test('takes the answer that came while it was stopped, and asks nobody again', async () => {
    for (const [given, approved] of [
      ['approved', true],
      ['rejected', false],
    ] as const) {
      const { services, ask, answer, sent } = await makeRun();
      await ask('t1', at(0));
      await services.tasks.close('t1');
      expect(await answer(given)).toMatchObject({ answer: given, taken: false });
      await ask('t2', at(600));
      expect(await services.tasks.look('t2')).toMatchObject({ approved, by: 'ana' });
      expect(sent).toHaveLength(1);
    }
  });

  test('after it was killed takes the answer too: a dead process waits for nothing, whatever it left on the disk', async () => {
    const { directory, services, ask, answer } = await makeRun();
    await ask('t1', at(0));
    const [waiting = ''] = (await openFileObjects(directory).list('tasks/')).filter((key) => key.endsWith('.waiting'));
    // No process has this pid: Linux gives at most 2^22.
    await writeFile(join(directory, waiting), '99999999 00000000-0000-0000-0000-000000000000');
    expect(await answer('rejected')).toMatchObject({ taken: false });
    await ask('t2', at(10));
    expect(await services.tasks.look('t2')).toMatchObject({ approved: false });
  });

  test('before it was answered asks the same question, so that who was told then still answers it', async () => {
    const { services, ask, answer, sent } = await makeRun();
    await ask('t1', at(0));
    await services.tasks.close('t1');
    await ask('t2', at(50));
    expect(sent.map(({ text }) => text.match(/by (\S+) the run ends/)?.[1])).toEqual([
      at(60).toISOString(),
      at(110).toISOString(),
    ]);
    expect(await answer('approved', { now: at(100) })).toMatchObject({ askedAt: at(0).toISOString(), taken: true });
    expect(await services.tasks.look('t2')).toEqual(yes);
  });

  test('gets an answer that comes in the very moment in which it asks again', async () => {
    for (let round = 0; round < 20; round++) {
      const { services, ask, answer } = await makeRun();
      await ask('t1', at(0));
      await services.tasks.close('t1');
      await Promise.all([ask('t2', at(2)), answer('approved')]);
      expect(await services.tasks.look('t2')).toEqual(yes);
    }
  });

  test('is not asked twice once it was approved, until readers are taken back', async () => {
    const { services, objects, ask, answer, sent } = await makeRun();
    await ask('t1', at(0));
    await answer('approved');
    await ask('t2', at(600));
    expect(await services.tasks.look('t2')).toEqual(yes);
    const back = { action: 'rollback', kind: 'flag', name: 'words', from: 'a', to: 'b' } as const;
    await logMove(objects, run, { ...back, at: at(700).toISOString() });
    await ask('t3', at(800));
    expect(await services.tasks.look('t3')).toBeUndefined();
    expect(sent).toHaveLength(2);
  });

  test('that was finished takes no answer: it can never go on, and whoever approved would wait for readers to move', async () => {
    const { ask, answer, objects } = await makeRun();
    await ask('t1', at(0));
    const end = { action: 'finish', kind: 'flag', name: 'words', from: 'b', to: 'a' } as const;
    await logMove(objects, run, { ...end, at: at(1).toISOString() });
    await expect(answer('approved')).rejects.toThrow(/was finished at .* start a new run/);
    await expect(answer('rejected')).rejects.toThrow(/was finished at/);
  });

  test('asks anew after a rejection that ended it, and after a question that nobody answered', async () => {
    const { services, ask, answer, sent } = await makeRun();
    await ask('t1', at(0));
    await answer('rejected');
    await ask('t2', at(10));
    expect(await services.tasks.look('t2')).toBeUndefined();
    await ask('t3', at(100));
    await answer('approved', { now: at(101) });
    expect(await services.tasks.look('t3')).toEqual(yes);
    expect(sent).toHaveLength(3);
  });
});

test('an answer from another process than the one that waits ends the wait', async () => {
  const { directory, services, ask } = await makeRun();
  await ask('t1', at(0));
  const script = `
    import { answerApproval } from './lib/cutover/approval.ts';
    import { openFileObjects } from './lib/objects-files.ts';
    import { fileTasks } from './lib/cutover/task-tokens.ts';
    const services = { objects: openFileObjects('${directory}'), tasks: fileTasks('${join(directory, 'tasks')}') };
    const answer = await answerApproval({ run: 'r1', answer: 'approved', by: 'ana', reason: '', services, now: new Date(${begin}) });
    process.stdout.write(String(answer.taken));
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (err += data));
  await new Promise((resolve) => child.on('close', resolve));
  expect({ out, err }).toEqual({ out: 'true', err: '' });
  expect(await services.tasks.look('t1')).toEqual(yes);
});

describe('Step Functions', () => {
  const client = mockClient(SFNClient);

  test('gets the answer as the output of the state', async () => {
    client.reset();
    await stepFunctionsTasks(new SFNClient({})).succeed('t1', yes);
    expect(client.commandCalls(SendTaskSuccessCommand)[0]?.args[0].input).toEqual({
      taskToken: 't1',
      output: JSON.stringify(yes),
    });
  });

  test.each([TaskTimedOut, TaskDoesNotExist, InvalidToken])(
    'says with %p that nothing waits, which is no fault of whoever answers',
    async (Failure) => {
      client.reset();
      client.on(SendTaskSuccessCommand).rejects(new Failure({ message: 'no', $metadata: {} }));
      const telling = stepFunctionsTasks(new SFNClient({})).succeed('t1', yes);
      await expect(telling).rejects.toMatchObject({ name: 'NotFound' });
    },
  );

  test('that is away is not taken for a run that waits no more', async () => {
    client.reset();
    client.on(SendTaskSuccessCommand).rejects(new Error('ECONNREFUSED'));
    await expect(stepFunctionsTasks(new SFNClient({})).succeed('t1', yes)).rejects.toThrow('ECONNREFUSED');
  });
});
