import { describe, expect, test } from '@jest/globals';
import { cutOver, finish, rollBack } from '../../lib/cutover/cutover.ts';
import { flagOnTarget } from '../../lib/cutover/cutover-flag.ts';
import { logMove, readMoves } from '../../lib/cutover/moves.ts';
import { pointerOf } from '../../lib/cutover/pointer.ts';
import { retire } from '../../lib/cutover/retire.ts';
import { runKeys } from '../../lib/keys.ts';
import { putJson } from '../../lib/objects.ts';
import type { Plan } from '../../lib/run-files.ts';
import { runStatus } from '../../lib/status.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { validate } from '../validated.ts';
import { load, makeWorld, plan as planned } from '../world.ts';

const now = () => new Date('2026-05-01T00:00:00Z');
const position = { run: 'seed', shard: '00000-000', offset: 0 };

/** A run that is validated and, unless told otherwise, cut over. */
async function moved({ event = {}, isCutOver = true }: { event?: Record<string, unknown>; isCutOver?: boolean } = {}) {
  const world = await makeWorld({ event });
  const plan = await load(world);
  await validate(world, plan);
  const openTarget = async () => ({ store: world.target, kind: memory });
  const pointer = await pointerOf({ plan, flags: world.flags, openTarget });
  const moving = { ...world, plan, pointer, now, passed: true };
  if (isCutOver) await cutOver(moving);
  const call = (confirm?: string, sides: { source?: Store; plan?: Plan } = {}) =>
    retire({
      ...moving,
      plan: sides.plan ?? plan,
      openSource: async () => ({ store: sides.source ?? world.source, kind: memory }),
      openTarget,
      confirm,
    });
  const isThere = async () => await world.source.count().then(Boolean, () => false);
  const log = async () => (await readMoves(world.objects, plan.run)).map(({ action }) => action);
  return { ...moving, call, isThere, log };
}

async function finished(event: Record<string, unknown> = {}) {
  const run = await moved({ event });
  await finish(run);
  return run;
}

const refused = (message: RegExp, name = 'InvalidEvent') => ({ name, message: expect.stringMatching(message) });

describe('retire', () => {
  test('without confirm says what would be dropped and how to say so, and drops nothing', async () => {
    const run = await finished();
    const told = await run.call();
    expect(told).toMatchObject({ dropped: false, name: 'articles', records: 100, bytes: null });
    expect(told.what).toMatch(/would drop collection 'articles'.*100 records; confirm with its name, articles/);
    expect(await run.isThere()).toBe(true);
    expect(await run.log()).not.toContain('retire');
  });

  test('of an index names the old index as what would go, never the table, before anybody has switched', async () => {
    const run = await moved({ isCutOver: false });
    const index: Plan['index'] = {
      ...{ vector: 'v', from: { index: { kind: 'ivfflat' } }, to: { index: { kind: 'hnsw' } } },
      ...{ how: 'beside', oldAsked: 'in turn', advice: [] },
    };
    await expect(run.call(undefined, { plan: { ...run.plan, index } })).rejects.toMatchObject(
      refused(/use the old index, which would be dropped; vecferry cutover .* started again under its id/),
    );
    await expect(run.call()).rejects.toMatchObject(refused(/articles, which would be dropped; vecferry cutover/));
  });

  test('drops the source by its name and by no other, logs it first, and leaves the target', async () => {
    const run = await finished();
    for (const wrong of ['articles2', 'memory:articles', 'Articles', ''])
      await expect(run.call(wrong)).rejects.toMatchObject(refused(/is not the name.*'articles'; nothing was dropped/));
    expect(await run.isThere()).toBe(true);
    expect(await run.call('articles')).toMatchObject({ dropped: true, records: 100 });
    expect(await run.isThere()).toBe(false);
    expect(await run.target.count()).toBe(100);
    expect(await run.log()).toEqual(['cutover', 'finish', 'retire']);
    const { stages } = await runStatus({ objects: run.objects, run: 'r1' });
    expect(stages.at(-1)).toMatchObject({
      state: 'done',
      detail: expect.stringContaining('memory:articles is dropped'),
    });
  });

  test('a second time drops nothing, not even a collection that somebody has made under the old name', async () => {
    const run = await finished();
    await run.call('articles');
    await run.source.prepare(run.plan.source);
    await run.source.write(makeBatch({ ids: ['1', '2'] }), { position, mode: 'upsert' });
    for (const confirm of [undefined, 'articles'])
      expect(await run.call(confirm)).toMatchObject({ dropped: true, what: expect.stringContaining('was dropped at') });
    expect(await run.source.count()).toBe(2);
    expect(await run.log()).toEqual(['cutover', 'finish', 'retire']);
  });

  test('that died between its log and the drop is finished by the next call, with one entry in the log', async () => {
    const run = await finished();
    const dying: Store = {
      ...run.source,
      drop: async (how = {}) => {
        if (how.dryRun === true) return (await run.source.drop?.(how)) ?? { name: '', what: '', isThere: false };
        throw new Error('killed');
      },
    };
    await expect(run.call('articles', { source: dying })).rejects.toThrow('killed');
    expect(await run.isThere()).toBe(true);
    expect(await run.log()).toEqual(['cutover', 'finish', 'retire']);
    // From the log on nobody goes back to what may be half gone.
    await expect(rollBack(run)).rejects.toMatchObject(refused(/was retired at .*memory:articles was dropped/));
    expect(await run.call()).toMatchObject({ dropped: false });
    expect(await run.call('articles')).toMatchObject({ dropped: true });
    expect(await run.isThere()).toBe(false);
    expect(await run.log()).toEqual(['cutover', 'finish', 'retire']);
  });

  test('that died after the drop notes it with the next call', async () => {
    const run = await finished();
    await run.call('articles');
    await run.objects.delete(runKeys('r1').retired);
    expect(await run.call()).toMatchObject({ dropped: false, what: expect.stringContaining('not there any more') });
    expect(await run.call('articles')).toMatchObject({ dropped: true, records: null });
  });

  test('ends the way back, in words, and the run cannot be started again', async () => {
    const run = await finished();
    await run.call('articles');
    await expect(rollBack(run)).rejects.toMatchObject(refused(/retired.*nothing to go back to/));
    await expect(cutOver(run)).rejects.toMatchObject(refused(/finished/));
    await expect(finish(run)).resolves.toMatchObject({ action: 'finish' });
    await run.source.prepare(run.plan.source);
    await expect(planned(run)).rejects.toMatchObject({ name: 'RunMismatch' });
  });
});

describe('retire is refused', () => {
  test('before the run has moved its readers, while a share of them moves, and after a rollback', async () => {
    const before = await moved({ isCutOver: false });
    await expect(before.call('articles')).rejects.toMatchObject(
      refused(/readers.*use memory:articles.*vecferry cutover r1/),
    );
    const back = await moved();
    await rollBack(back);
    await expect(back.call('articles')).rejects.toMatchObject(refused(/the readers of run 'r1' use memory:articles/));
    await finish(back);
    await expect(back.call('articles')).rejects.toMatchObject(refused(/taken back and finished/));
    for (const each of [before, back]) expect(await each.isThere()).toBe(true);
  });

  test('while writes go to both sides, since a rollback goes back to the source', async () => {
    const run = await moved();
    await expect(run.call('articles')).rejects.toMatchObject(refused(/writes.*both sides.*vecferry finish r1/));
    await finish(run);
    expect(await run.call('articles')).toMatchObject({ dropped: true });
  });

  test('when the flag names the source all the same, or is gone, which means the source', async () => {
    const run = await finished();
    const place = 'memory:articles';
    await run.flags.write('articles2', { active: place, candidate: place, weight: 0 });
    await expect(run.call('articles')).rejects.toMatchObject(
      refused(/the flag .*sends reads or writes to memory:articles/),
    );
    await run.flags.write('articles2', { ...flagOnTarget(run.plan), run: 'other' });
    await expect(run.call('articles')).rejects.toMatchObject(refused(/sends reads or writes/));
    const none = { ...run.flags, read: async () => undefined };
    const source = async () => ({ store: run.source, kind: memory });
    const openTarget = async () => ({ store: run.target, kind: memory });
    const given = { ...run, flags: none, openSource: source, openTarget, confirm: 'articles' };
    await expect(retire(given)).rejects.toMatchObject(refused(/flag .* is gone/));
    expect(await run.isThere()).toBe(true);
  });

  test('when the pointer was moved back by hand; one that a later run moved on reads neither side', async () => {
    const run = await moved({ event: { cutover: { pointer: 'live' } } });
    await run.target.pointer?.move('live', 'articles');
    await expect(run.call('articles')).rejects.toMatchObject(refused(/alias 'live' stands for articles/));
    await run.target.pointer?.move('live', undefined);
    await expect(run.call('articles')).rejects.toMatchObject(refused(/stands for nothing/));
    const third = await memory.open({
      connection: run.event.source.connection ?? {},
      collection: 'third',
      options: {},
    });
    await third.prepare(run.plan.target);
    await run.target.pointer?.move('live', 'third');
    expect(await run.call('articles')).toMatchObject({ dropped: true });
    await expect(rollBack(run)).rejects.toMatchObject(refused(/retired/));
  });

  test('when the source is a pointer itself: it stands for the target by now, which must not be dropped', async () => {
    const run = await moved({ event: { cutover: { pointer: 'live' } } });
    const event = { ...run.plan.event, source: { ...run.plan.event.source, collection: 'live' } };
    const source = await memory.open({ connection: event.source.connection ?? {}, collection: 'live', options: {} });
    const call = run.call('live', { source, plan: { ...run.plan, event } });
    await expect(call).rejects.toMatchObject(
      refused(/'live' is a pointer, which stands for collection 'articles2'/, 'Incompatible'),
    );
    expect(await run.target.count()).toBe(100);
  });

  test('when the run has not passed, or the target holds fewer records than the report counted', async () => {
    const run = await finished();
    await run.target.delete(['1000']);
    await expect(run.call('articles')).rejects.toMatchObject(
      refused(/holds 99 records.*counted 100/, 'ValidationFailed'),
    );
    await run.target.drop?.();
    await expect(run.call('articles')).rejects.toMatchObject(refused(/is not there any more/, 'ValidationFailed'));
    await run.objects.delete(runKeys('r1').report);
    await expect(run.call('articles')).rejects.toMatchObject(refused(/has not passed validation/, 'ValidationFailed'));
    expect(await run.isThere()).toBe(true);
  });

  test.each(['source', 'target'] as const)(
    'while another run, which is named, has it as its %s and has not ended',
    async (side) => {
      const run = await finished();
      const endpoint = run.plan.event.source;
      const other = { ...run.plan.event.target, collection: 'elsewhere' };
      const event = {
        ...run.plan.event,
        source: side === 'source' ? endpoint : { ...endpoint, collection: 'elsewhere' },
        target: side === 'target' ? { ...endpoint, into: 'existing' as const } : other,
      };
      const next: Plan = { ...run.plan, run: 'r2', event };
      await putJson(run.objects, runKeys('r2').plan, next);
      await expect(run.call()).rejects.toMatchObject({ ...refused(/run 'r2' has not ended.*articles/), ids: ['r2'] });
      // A plan that was only made to be looked at uses nothing.
      await putJson(run.objects, runKeys('r2').plan, { ...next, event: { ...event, dryRun: true } });
      expect(await run.call()).toMatchObject({ dropped: false });
      // One that ended, well or not, has a report.
      await putJson(run.objects, runKeys('r2').plan, next);
      await putJson(run.objects, runKeys('r2').report, { verdict: 'failed', failure: { error: 'x' } });
      expect(await run.call()).toMatchObject({ dropped: false });
      await putJson(run.objects, runKeys('r2').report, { verdict: 'validated', failure: null });
      await expect(run.call()).rejects.toMatchObject(refused(/run 'r2' has not ended/));
      // One that was stopped, and finished since, can never go on.
      const end = { action: 'finish', kind: 'flag', name: 'r2', from: 'b', to: 'a' } as const;
      await logMove(run.objects, 'r2', { ...end, at: new Date(0).toISOString() });
      expect(await run.call()).toMatchObject({ dropped: false });
    },
  );

  test('while a flag of another run still sends its readers there', async () => {
    const run = await finished();
    const { source, target } = run.plan.event;
    const event = {
      ...run.plan.event,
      source: { ...target, into: undefined, collection: 'old' },
      target: { ...source, into: 'new' as const },
    };
    await putJson(run.objects, runKeys('r0').plan, { ...run.plan, run: 'r0', event });
    await putJson(run.objects, runKeys('r0').report, { verdict: 'failed', failure: { error: 'x' } });
    const place = 'memory:articles';
    await run.flags.write('articles', { active: place, candidate: place, weight: 0 });
    await expect(run.call('articles')).rejects.toMatchObject(refused(/flag .*articles.json sends reads/));
    await run.flags.write('articles', { active: 'memory:articles2', candidate: 'memory:articles2', weight: 0 });
    expect(await run.call('articles')).toMatchObject({ dropped: true });
  });

  test('of a run that moved nothing, and by a store that drops nothing', async () => {
    const run = await finished();
    const plan = { ...run.plan, event: { ...run.plan.event, mode: 'validate' as const } };
    await expect(run.call('articles', { plan })).rejects.toMatchObject(refused(/moved nothing/));
    const { drop: _, ...without } = run.source;
    await expect(run.call('articles', { source: without })).rejects.toMatchObject(refused(/by hand/, 'Incompatible'));
  });
});
