import { describe, expect, test } from '@jest/globals';
import { countSides } from '../../lib/compare/counts.ts';
import { RecordRefused } from '../../lib/errors.ts';
import { beginLive } from '../../lib/live/live.ts';
import { readManifest } from '../../lib/manifest.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { validate } from '../validated.ts';
import { load, makeWorld, type World } from '../world.ts';

const upsert = { mode: 'upsert' } as const;

/** A live run up to its loaded target; the flag is set, as the state machine does. */
async function moved(event: Record<string, unknown> = {}) {
  const asked = { live: { settleSeconds: 0 }, validate: { recall: null, spotCheck: 0 }, ...event };
  const world = await makeWorld({ event: asked });
  const plan = await load(world);
  await beginLive({ plan, ...world, now: () => new Date() });
  return { world, plan };
}

/** In the source alone: one changed, two added, one deleted. */
async function lose({ source }: World): Promise<void> {
  await source.write(makeBatch({ ids: ['1003', '2000', '2001'], seed: 9 }), upsert);
  await source.delete(['1050']);
}

describe('the report of a live run', () => {
  test('passes where the sweep left nothing missing, different or extra, whatever the counts, and says how many were mended', async () => {
    const { world, plan } = await moved();
    await lose(world);
    const { outcome, report, page } = await validate(world, plan);
    expect(outcome.passed).toBe(true);
    expect(report.findings).toEqual([]);
    expect(report.summary).toContain(
      'Meanwhile the application changed 1 record, added 2 and deleted 1, and both sides hold the same of them.',
    );
    expect(report.summary).toMatch(/\d records? had to be mended, since a write had not reached both sides\./);
    expect(report.live).toMatchObject({
      changed: 1,
      added: 2,
      deleted: 1,
      missing: 0,
      different: 0,
      extra: 0,
      flag: 'articles2',
    });
    expect(report.live?.mended).toBe(report.live?.first.mended.length);
    expect(report.live?.first.mended.map(({ id }) => id).sort()).toEqual(['1003', '1050', '2000', '2001']);
    expect(report.counts).toMatchObject({ source: 101, manifest: 100, gone: 1, added: 2, target: 101, expected: 101 });
    expect(page).toContain('<h2>Live writes</h2>');
  });

  test('passes while counts differ, since they are of a moment: a record was added after the sweep', async () => {
    const { world, plan } = await moved();
    let isSwept = false;
    // The last that validation asks of the source is its count.
    const source: Store = {
      ...world.source,
      count: async () => {
        if (!isSwept) await world.source.write(makeBatch({ ids: ['3000'] }), upsert);
        isSwept = true;
        return await world.source.count();
      },
    };
    const { outcome, report } = await validate(world, plan, { source });
    expect(report.counts).toMatchObject({ agree: false, source: 101, target: 100 });
    expect(outcome.passed).toBe(true);
    expect(report.summary).toContain('the application wrote nothing meanwhile');
  });

  test('fails where a record could not be mended, and names it with why and what to do', async () => {
    const { world, plan } = await moved();
    await lose(world);
    const target: Store = {
      ...world.target,
      write: async (batch, options) => {
        if (batch.ids.includes('2000')) throw new RecordRefused('record 2000 is too large');
        return await world.target.write(batch, options);
      },
    };
    const { outcome, report, page } = await validate(world, plan, { target });
    expect(outcome.passed).toBe(false);
    expect(report.verdict).toBe('failed');
    expect(report.findings).toMatchObject([
      {
        check: 'live',
        severity: 'failed',
        what: '1 record that was written during the run is missing in the target',
        ids: ['2000'],
        next: expect.stringContaining('start the run again under its id'),
      },
    ]);
    expect(report.live?.first.missing).toEqual([{ id: '2000', reason: expect.stringContaining('is too large') }]);
    expect(page).toContain('could not be made, or shown to be, the same on both sides');
  });

  test('is unproven where a record could not be read from both sides: that is not equal', async () => {
    const { world, plan } = await moved();
    await lose(world);
    const target: Store = {
      ...world.target,
      fetch: async (ids) => {
        if (ids.includes('2000')) throw new RecordRefused('record 2000 is broken', { ids: ['2000'] });
        return await world.target.fetch(ids);
      },
    };
    const { report } = await validate(world, plan, { target });
    expect(report.verdict).toBe('unproven');
    expect(report.findings).toMatchObject([{ check: 'live', severity: 'unproven', ids: ['2000'] }]);
  });

  test('cannot be written before the sweep of its attempt: nothing could be said of the live writes', async () => {
    const { world, plan } = await moved();
    await validate(world, plan);
    const manifest = await readManifest(world.objects, plan.run);
    const later = { ...plan, attempt: 2 };
    await expect(countSides({ ...world, plan: later, manifest })).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('of a shared target looks for no extra records, and says so', async () => {
    const world = await makeWorld();
    const event = { ...world.event, live: true as const, target: { ...world.event.target, into: 'existing' as const } };
    const shared = { ...world, event: { ...event, validate: { ...event.validate, recall: null } } };
    const plan = await load(shared);
    await world.target.write(makeBatch({ ids: ['7'] }), upsert);
    const { report } = await validate(shared, plan);
    expect(report).toMatchObject({ verdict: 'validated', live: { extra: null }, compare: { extra: null } });
    expect(report.counts?.note).toContain('were not looked for there');
  });
});
