import { describe, expect, test } from '@jest/globals';
import { flagFinished, flagOnSource, flagOnTarget } from '../../lib/cutover/cutover-flag.ts';
import { RecordRefused, StoreUnavailable, Throttled } from '../../lib/errors.ts';
import { mendRecords } from '../../lib/live/mend.ts';
import type { Log } from '../../lib/log.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { load, makeWorld } from '../world.ts';

/** A live run whose application writes to both sides; `mend` is what the repair queue delivers. */
async function moved() {
  const world = await makeWorld({ event: { live: true } });
  const plan = await load(world);
  await world.flags.write('articles2', flagOnSource(plan));
  const said: string[] = [];
  const log: Log = { info: (message) => said.push(message), warn: (message) => said.push(message) };
  const mend = (body: unknown, sides: { source?: Store; target?: Store } = {}) => {
    const { source, target } = { ...world, ...sides };
    const services = {
      ...world,
      openSource: async () => ({ kind: memory, store: source }),
      openTarget: async () => ({ kind: memory, store: target }),
    };
    return mendRecords({ body: typeof body === 'string' ? body : JSON.stringify(body), services, log });
  };
  return { ...world, plan, mend, said };
}

const message = (...ids: string[]) => ({ version: 1, run: 'r1', ids });
const titled = (id: string, title: string) => makeBatch({ ids: [id], payloads: [JSON.stringify({ title })] });
const upsert = { mode: 'upsert' } as const;
const refuse = async (error: Error): Promise<never> => {
  throw error;
};

describe('a message on the repair queue', () => {
  test('makes the target hold what the source holds now, deletes included, however often and late it comes', async () => {
    const run = await moved();
    await run.source.write(titled('1001', 'new'), upsert);
    await run.source.write(titled('2000', 'added'), upsert);
    await run.source.delete(['1002']);
    for (const _ of [1, 2]) expect(await run.mend(message('1001', '1002', '2000', '9999'))).toBe(true);
    const { ids, payloads } = await run.target.fetch(['1001', '1002', '2000', '9999']);
    expect(new Map(ids.map((id, at) => [id, payloads[at]]))).toEqual(
      new Map([
        ['1001', '{"title":"new"}'],
        ['2000', '{"title":"added"}'],
      ]),
    );
  });

  test('is mended also while readers are on the target: writes still go to the source first', async () => {
    const run = await moved();
    await run.flags.write('articles2', flagOnTarget(run.plan));
    await run.source.write(titled('1001', 'new'), upsert);
    expect(await run.mend(message('1001'))).toBe(true);
    expect((await run.target.fetch(['1001'])).payloads).toEqual(['{"title":"new"}']);
  });

  test('that comes after the run was finished on its target brings no old value back', async () => {
    const run = await moved();
    await run.flags.write('articles2', flagFinished('memory:articles2'));
    await run.target.write(titled('1001', 'newer than the source'), upsert);
    expect(await run.mend(message('1001'))).toBe(true);
    expect((await run.target.fetch(['1001'])).payloads).toEqual(['{"title":"newer than the source"}']);
    expect(run.said).toEqual([expect.stringContaining('no second place for writes')]);
  });

  test.each(['source', 'target'] as const)('comes again while the %s is too busy', async (side) => {
    const run = await moved();
    const busy = () => refuse(new Throttled('busy', { retryAfterMs: 1 }));
    expect(await run.mend(message('1001'), { [side]: { ...run[side], fetch: busy, write: busy } })).toBe(false);
    expect(run.said).toEqual([expect.stringContaining('delivered again')]);
  });

  test('comes again while the flag cannot be read: it may say that there is nothing to mend', async () => {
    const run = await moved();
    run.flags.read = () => refuse(new StoreUnavailable('away'));
    expect(await run.mend(message('1001'))).toBe(false);
  });

  test('with a record that the target refuses mends the others, and is thrown by the refused name', async () => {
    const run = await moved();
    await run.source.write(makeBatch({ ids: ['2000', '2001', '2002'] }), upsert);
    const target: Store = {
      ...run.target,
      write: (batch, options) =>
        batch.ids.includes('2001') ? refuse(new RecordRefused('2001 is too large')) : run.target.write(batch, options),
    };
    const tried = run.mend(message('2000', '2001', '2002'), { target });
    await expect(tried).rejects.toMatchObject({ name: 'RecordRefused', ids: ['2001'] });
    expect([...(await run.target.fetch(['2000', '2001', '2002'])).ids].sort()).toEqual(['2000', '2002']);
  });

  test.each([
    ['that is not JSON', 'hello', 'InvalidEvent'],
    ['of another form', { run: 'r1', id: '1001' }, 'InvalidEvent'],
    ['of another version', { ...message('1001'), version: 2 }, 'InvalidEvent'],
    ['of a run that is not there', { ...message('1001'), run: 'r0' }, 'NotFound'],
  ])('%s is thrown and logged, so that it ends among the dead letters', async (_, body, name) => {
    const run = await moved();
    await expect(run.mend(body)).rejects.toMatchObject({ name });
    expect(run.said).toEqual([expect.stringContaining('dead letters')]);
  });
});
