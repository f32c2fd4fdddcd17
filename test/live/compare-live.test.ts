import { describe, expect, test } from '@jest/globals';
import { type Batch, selectRecords } from '../../lib/batch.ts';
import { compareShard } from '../../lib/compare/compare.ts';
import { flagFinished, flagOnTarget } from '../../lib/cutover/cutover-flag.ts';
import { RecordRefused } from '../../lib/errors.ts';
import { comparedKey } from '../../lib/keys.ts';
import type { Deadline } from '../../lib/log.ts';
import { readManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { type Compared, comparedSchema, type Plan } from '../../lib/run-files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { load, makeWorld, nearAfter, noDeadline, type World } from '../world.ts';

/** Live runs: what a shard is held against moves while it is looked at. */

const idsFrom = (from: number, count: number): string[] => Array.from({ length: count }, (_, i) => String(from + i));
const all = (records: number): string[] => idsFrom(100_000, records);

interface Live {
  readonly world: World;
  readonly planned: Plan;
}

/** A live run up to its loaded target, all in one shard. */
async function moved(records = 50, event: Record<string, unknown> = {}): Promise<Live> {
  const batch = makeBatch({ ids: all(records) });
  const world = await makeWorld({
    records: batch,
    event: { live: true, parallel: { exporters: 1 }, validate: { spotCheck: 0 }, ...event },
  });
  return { world, planned: await load(world) };
}

interface Parts {
  readonly source?: Store;
  readonly target?: Store;
  readonly deadline?: () => Deadline;
}

/** The first shard, which is the only one. */
async function compare(
  { world, planned }: Live,
  { deadline = () => noDeadline, ...sides }: Parts = {},
): Promise<Compared> {
  const manifest = await readManifest(world.objects, planned.run);
  expect(manifest.shards).toHaveLength(1);
  const shard = manifest.shards[0]?.shard ?? '';
  const input = { ...world, ...sides, plan: planned, shard, secondLookMs: 4 };
  let result = await compareShard({ ...input, deadline: deadline() });
  while (!result.done) result = await compareShard({ ...input, offset: result.offset, deadline: deadline() });
  const compared = await getJson(world.objects, comparedKey(planned.run, shard), comparedSchema);
  if (compared === undefined) throw new Error('nothing was written down');
  const { equal, different, missing, unchecked, skipped } = compared;
  expect(equal + different + missing + unchecked + skipped).toBe(compared.records);
  return compared;
}

let seed = 100;
const another = (ids: readonly string[]): Batch => makeBatch({ ids, seed: ++seed });
const upsert = async (batch: Batch, ...sides: readonly Store[]): Promise<void> => {
  for (const side of sides) await side.write(batch, { mode: 'upsert' });
};

async function expectSame({ world: { source, target } }: Live, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const [ours, theirs] = await Promise.all([source.fetch([id]), target.fetch([id])]);
    expect({ id, ids: theirs.ids, payloads: theirs.payloads }).toEqual({ id, ids: ours.ids, payloads: ours.payloads });
    expect([...theirs.vectors]).toEqual([...ours.vectors]);
  }
}

const none = { different: 0, missing: 0, unchecked: 0, mended: 0, mendedIds: [], differences: [] };

describe('what the application wrote to both sides', () => {
  test('is no difference, however much it was: more than a thousand records were changed, and as many deleted', async () => {
    const run = await moved(6000);
    const { source, target } = run.world;
    await upsert(another(idsFrom(100_000, 2500)), source, target);
    for (const side of [source, target]) {
      await side.delete(idsFrom(104_000, 1000));
      await side.delete(idsFrom(105_000, 200));
    }
    const found = await compare(run);
    expect(found).toMatchObject({ ...none, records: 6000, equal: 6000, changed: 3700, gone: 1200 });
    expect(found.changes).toHaveLength(100);
    expect(found.changes[0]?.reason).toMatch(
      /^the source changed after the export, and the target is as .*vector embed/,
    );
  });

  test('and is between its two sides when they are read, is waited for', async () => {
    const run = await moved();
    const { source, target } = run.world;
    await upsert(another(['100003', '100004']), source, target);
    await upsert(another(['100003']), source);
    await source.delete(['100004']);
    const late = setTimeout(async () => {
      await upsert(await source.fetch(['100003']), target);
      await target.delete(['100004']);
    }, 15);
    const found = await compare(run, { target: { ...target, write: async () => Promise.reject(new Error('mended')) } });
    clearTimeout(late);
    expect(found).toMatchObject({ ...none, equal: 50, changed: 2, gone: 1 });
  });

  test('all the time is no difference, though no look ever finds both sides the same', async () => {
    const run = await moved();
    const { source, target } = run.world;
    // Before each read both sides get something newer, the target what the source had two writes ago.
    const [queue, written] = [[another(['100003'])], another(['100003'])];
    await upsert(written, source);
    queue.push(written);
    const hot: Store = {
      ...target,
      fetch: async (ids) => {
        const [late, now] = [queue.shift() ?? written, another(['100003'])];
        queue.push(now);
        await upsert(late, target);
        await upsert(now, source);
        return await target.fetch(ids);
      },
      write: async () => Promise.reject(new Error('mended')),
    };
    expect(await compare(run, { target: hot })).toMatchObject({ ...none, equal: 50, changed: 1 });
  });
});

describe('a second write that was lost', () => {
  test.each<[string, (run: Live) => Promise<void>]>([
    [
      'changed in the source, another value in the target',
      async ({ world: { source, target } }) => {
        await upsert(another(['100003']), source);
        await upsert(another(['100003']), target);
      },
    ],
    ['changed in the target alone', async ({ world: { target } }) => await upsert(another(['100003']), target)],
    ['lost in the target', async ({ world: { target } }) => await target.delete(['100003'])],
    [
      'deleted in the source, another value in the target',
      async ({ world: { source, target } }) => {
        await upsert(another(['100003']), target);
        await source.delete(['100003']);
      },
    ],
  ])('is mended from the source, counted and named: %s', async (_, plant) => {
    const run = await moved();
    await plant(run);
    const found = await compare(run);
    expect(found).toMatchObject({ ...none, equal: 50, mended: 1, mendedIds: ['100003'] });
    await expectSame(run, all(50));
    // And there is nothing left to mend for whoever looks next.
    const again = { world: run.world, planned: { ...run.planned, attempt: 2 } };
    expect(await compare(again)).toMatchObject({ ...none, equal: 50 });
  });

  test('is named and not mended where more than a thousand of a shard are: that is a fault of the run', async () => {
    const run = await moved(3000);
    await run.world.target.delete(idsFrom(100_500, 1001));
    const found = await compare(run);
    expect(found).toMatchObject({ missing: 1001, mended: 0, equal: 1999 });
    expect(found.differences).toHaveLength(100);
    expect(found.differences[0]).toEqual({
      id: '100500',
      verdict: 'missing',
      reason: expect.stringMatching(/is in the source and not in the target.*none was mended.*1001.*1000/),
    });
    expect(await run.world.target.count()).toBe(1999);
  });

  test('is mended up to a thousand a shard, over however many calls', async () => {
    // Two steps of 4,000 records; the deadline is near after each.
    const run = await moved(8000);
    await run.world.target.delete([...idsFrom(100_000, 600), ...idsFrom(106_000, 500)].filter((_, at) => at < 1000));
    await run.world.target.delete(idsFrom(106_400, 100));
    const found = await compare(run, { deadline: () => nearAfter(0) });
    expect(found).toMatchObject({ mended: 600, missing: 500, equal: 7500 });
    expect(await run.world.target.count()).toBe(7500);
  });

  test('stays named when the process dies after it was mended', async () => {
    const run = await moved(8000);
    await run.world.target.delete(['100003']);
    const dies: Store = {
      ...run.world.target,
      fetch: async (ids) => {
        if (ids.includes('107999')) throw new Error('killed');
        return await run.world.target.fetch(ids);
      },
    };
    await expect(compare(run, { target: dies })).rejects.toThrow('killed');
    expect(await run.world.target.count()).toBe(8000);
    const manifest = await readManifest(run.world.objects, 'r1');
    const key = comparedKey('r1', manifest.shards[0]?.shard ?? '');
    expect(await getJson(run.world.objects, key, comparedSchema)).toMatchObject({ offset: 4000, mended: 1 });
    expect(await compare(run)).toMatchObject({ equal: 8000, mended: 1, mendedIds: ['100003'] });
  });

  test('that the target refuses is named with its reason, and the others are mended', async () => {
    const run = await moved();
    const { source, target } = run.world;
    await upsert(another(['100003', '100004', '100005']), source);
    await target.delete(['100003', '100004', '100005']);
    const write: Store['write'] = async (batch, options) => {
      if (batch.ids.includes('100004')) throw new RecordRefused('payload too large', { ids: ['100004'] });
      return await target.write(batch, options);
    };
    const found = await compare(run, { target: { ...target, write } });
    expect(found).toMatchObject({ equal: 49, missing: 1, mended: 2, mendedIds: ['100003', '100005'] });
    expect(found.differences).toEqual([
      { id: '100004', verdict: 'missing', reason: expect.stringMatching(/could not be mended: payload too large/) },
    ]);
  });

  test('is found where a record is written to all the time, but on one side alone', async () => {
    const run = await moved();
    const { source, target } = run.world;
    await upsert(another(['100003']), target);
    const alone: Store = {
      ...source,
      fetch: async (ids) => {
        await upsert(another(['100003']), source);
        return await source.fetch(ids);
      },
    };
    const found = await compare(run, { source: alone });
    expect(found).toMatchObject({ equal: 49, different: 1, mended: 0 });
    expect(found.differences).toEqual([
      { id: '100003', verdict: 'different', reason: expect.stringMatching(/could not be mended: .*changed each time/) },
    ]);
  });
});

describe('the sample that is read back from the source', () => {
  const spots = { validate: { compare: { sample: 1 }, spotCheck: 50 } };

  test('has no fault in what both sides changed, nor in what is on its way', async () => {
    const run = await moved(50, spots);
    const { source, target } = run.world;
    await upsert(another(idsFrom(100_000, 20)), source, target);
    for (const side of [source, target]) await side.delete(['100040', '100041']);
    const later = another(['100030']);
    await upsert(later, source);
    setTimeout(async () => await upsert(later, target), 10);
    expect(await compare(run)).toMatchObject({
      spotChecked: 50,
      spotDifferent: 0,
      mended: 0,
      different: 0,
      missing: 0,
    });
  });

  test('finds a write that never came to the target, though it is as in its shard, mends and names it', async () => {
    const run = await moved(50, spots);
    await upsert(another(['100007']), run.world.source);
    const found = await compare(run);
    expect(found).toMatchObject({ spotDifferent: 0, mended: 1, mendedIds: ['100007'] });
    await expectSame(run, ['100007']);
  });
});

describe('a live run that is started again', () => {
  const counting = (store: Store): { store: Store; fetched: () => number } => {
    let fetched = 0;
    const fetch: Store['fetch'] = async (ids) => {
      fetched += ids.length;
      return await store.fetch(ids);
    };
    return { store: { ...store, fetch }, fetched: () => fetched };
  };

  test('compares anew, because writes went on since', async () => {
    const run = await moved();
    await compare(run);
    const same = counting(run.world.target);
    await compare(run, { target: same.store });
    expect(same.fetched()).toBe(0);
    await run.world.target.delete(['100003']);
    const again = counting(run.world.target);
    const found = await compare({ ...run, planned: { ...run.planned, attempt: 2 } }, { target: again.store });
    expect(again.fetched()).toBeGreaterThanOrEqual(50);
    expect(found.mendedIds).toEqual(['100003']);
  });
});

test('random writes that reach both sides, in any order of their halves, are never a difference; lost ones are all mended and named', async () => {
  const records = 300;
  const run = await moved(records, { validate: { spotCheck: records } });
  const { source, target } = run.world;
  const ids = all(records);
  const lost = new Set<string>();
  for (const [at, id] of ids.entries()) {
    const value = another([id]);
    const kind = at % 6;
    if (kind === 0) await upsert(value, source, target);
    if (kind === 1) for (const side of [source, target]) await side.delete([id]);
    if (kind === 2 || kind === 3 || kind === 4) lost.add(id);
    if (kind === 2) await upsert(value, source);
    if (kind === 3) await source.delete([id]);
    if (kind === 4) await target.delete([id]);
  }
  const found = await compare(run);
  expect(found).toMatchObject({ equal: records, different: 0, missing: 0, unchecked: 0, spotDifferent: 0 });
  expect(found.mended).toBe(lost.size);
  expect(found.mendedIds.every((id) => lost.has(id))).toBe(true);
  await expectSame(run, ids);
});

test('a comparison of a run that is not live writes nothing and is looked at twice, as before', async () => {
  const world = await makeWorld({ records: makeBatch({ ids: all(50) }), event: { validate: { spotCheck: 0 } } });
  const run = { world, planned: await load(world) };
  await world.target.delete(['100003']);
  const found = await compare(run);
  expect(found).toMatchObject({ missing: 1, mended: 0, equal: 49 });
  expect(selectRecords(await world.target.fetch(all(50)), [3]).ids).toEqual(['100004']);
});

describe('once writes do not go to both sides any more', () => {
  test('nothing is mended: what the target alone was written is newer, and the source must not come back over it', async () => {
    const live = await moved();
    const { world, planned } = live;
    const newer = another(['100007']);
    await world.target.write(newer, { mode: 'upsert' });
    await world.flags.write('articles2', flagFinished('memory:articles2'));
    await expect(compare(live)).rejects.toMatchObject({ name: 'InvalidEvent' });
    await expect(compare(live)).rejects.toThrow(/mends nothing; vecferry validate EVENT/);
    expect((await world.target.fetch(['100007'])).payloads).toEqual(newer.payloads);
    // Readers on the target are no reason: until `finish` the source has every write first.
    await world.flags.write('articles2', flagOnTarget(planned));
    expect(await compare(live)).toMatchObject({ mended: 1 });
    await expectSame(live, ['100007']);
  });
});
