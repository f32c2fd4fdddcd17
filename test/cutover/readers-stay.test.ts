import { expect, test } from '@jest/globals';
import { type Notice, noticeSchema } from '../../lib/cutover/notices.ts';
import { tellReadersStay } from '../../lib/cutover/readers-stay.ts';
import { makePlan } from '../make-plan.ts';

async function told(plan = makePlan(), answer = { by: 'Ada', reason: 'not on a Friday' }, stack?: string) {
  const sent: Notice[] = [];
  const notices = { send: async (notice: Notice) => void sent.push(noticeSchema.parse(notice)) };
  await tellReadersStay({ plan, ...answer, services: { notices, stack }, now: new Date('2026-01-02T03:04:05Z') });
  return sent[0];
}

test('a rejection is told with who and why, and with what may be done next in this very stack', async () => {
  const notice = await told(makePlan(), undefined, 'Vecferry');
  expect(notice).toMatchObject({ kind: 'approval not given', run: 'r1', at: '2026-01-02T03:04:05.000Z' });
  expect(notice?.text).toContain('rejected by Ada: not on a Friday');
  expect(notice?.text).toContain('vecferry run EVENT --run r1 --stack Vecferry');
  expect(notice?.text).toContain('vecferry cutover r1 --stack Vecferry');
  expect(notice?.text).not.toContain('finish');
});

test('of a live run it says that writes still go to both sides, since nobody would think of it', async () => {
  const notice = await told(makePlan({ live: true }), { by: '', reason: 'nobody answered in time' });
  expect(notice?.text).toContain('nobody answered in time');
  expect(notice?.text).toMatch(/still writes to both sides.*vecferry finish r1$/);
});

test('of a new index it says that searches may use it all the same, since a planner waits for nobody', async () => {
  const hnsw = { kind: 'hnsw' } as const;
  const index = {
    vector: 'v',
    from: { index: hnsw },
    to: { index: hnsw },
    how: 'beside',
    oldAsked: 'in turn',
    advice: [],
  } as const;
  const notice = await told({ ...makePlan(), index: { ...index, advice: [] } }, undefined, 'Vecferry');
  expect(notice?.text).toMatch(
    /nothing was switched, but .*searches may use it: vecferry rollback r1 --stack Vecferry drops it/,
  );
  expect(notice?.text).not.toContain('readers use what they used before');
});

test('the longest run id still makes a subject that SNS takes', async () => {
  const notice = await told(makePlan({}, 'r'.repeat(80)));
  expect(notice?.subject.length).toBeLessThanOrEqual(100);
});
