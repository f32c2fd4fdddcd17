import { describe, expect, test } from '@jest/globals';
import type { Batch } from '../../lib/batch.ts';
import { runKeys, tombstoneKey } from '../../lib/keys.ts';
import { type Sweep, sweepSchema } from '../../lib/live/live-files.ts';
import { sweepWrites } from '../../lib/live/sweep.ts';
import { readManifest } from '../../lib/manifest.ts';
import { getJson, putJson } from '../../lib/objects.ts';
import type { Plan } from '../../lib/run-files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { load, makeWorld, nearAfter, noDeadline, type World, type WorldParts } from '../world.ts';

/** A hundred records, 1000 to 1099, moved by a live run; shards of about twenty. */
async function moved(parts: WorldParts = {}): Promise<{ world: World; plan: Plan }> {
  const world = await makeWorld({ shardBytes: 1400, ...parts, event: { live: true, ...parts.event } });
  return { world, plan: await load(world) };
}

interface Sweeping {
  readonly source?: Store;
  readonly target?: Store;
  readonly deadline?: () => { remainingMs(): number };
  readonly maxIds?: number;
  readonly saveEveryMs?: number;
}

/** Calls it until it is done, as the state machine does. */
async function sweep(
  { world, plan }: { world: World; plan: Plan },
  { deadline = () => noDeadline, ...rest }: Sweeping = {},
): Promise<Sweep & { calls: number }> {
  const manifest = await readManifest(world.objects, plan.run);
  for (let calls = 1; ; calls++) {
    if (calls > 500) throw new Error('the sweep does not end');
    const { done } = await sweepWrites({ ...world, plan, manifest, lookAgainMs: 1, ...rest, deadline: deadline() });
    const found = await getJson(world.objects, runKeys(plan.run).sweep, sweepSchema);
    if (found === undefined) throw new Error('no sweep.json');
    if (done) return { ...found, calls };
  }
}

/** Records with other vectors and payload than those of the world. */
const other = (...ids: string[]): Batch =>
  makeBatch({ ids, seed: 99, payloads: ids.map((id) => `{"title":"new ${id}"}`) });
const write = (store: Store, ...ids: string[]) => store.write(other(...ids), { mode: 'upsert' });
const tombstone = (world: World, ...ids: string[]) => {
  const at = new Date().toISOString();
  return putJson(world.objects, tombstoneKey('r1', at), { at, ids });
};

/** Every record as text, by id: what two memory stores are compared by. */
async function contentOf(store: Store): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1, maxBytes: 1 << 20 })) {
    const vectors = [...batch.vectors.values()].map(({ values }) => [...values]);
    found.set(batch.ids[0] ?? '', `${canonicalJson(batch.payloads[0] ?? '')} ${JSON.stringify(vectors)}`);
  }
  return found;
}

const expectSame = async ({ source, target }: World) =>
  expect(await contentOf(target)).toEqual(await contentOf(source));

describe('a sweep', () => {
  test('finds nothing to mend where every write reached both sides, and says what was written', async () => {
    const run = await moved();
    for (const side of [run.world.source, run.world.target]) {
      await write(side, '1003', '1004', '2000');
      await side.delete(['1050', '1051']);
    }
    await tombstone(run.world, '1050', '1051');
    const found = await sweep(run);
    expect(found).toMatchObject({ changed: 2, added: 1, deleted: 2, tombstones: 2, mended: 0, mends: [] });
    expect(found).toMatchObject({ missing: 0, different: 0, extra: 0, unchecked: 0, differences: [], note: '' });
  });

  test('mends every write that reached the source alone, and names it with what was wrong', async () => {
    const run = await moved();
    await write(run.world.source, '1003', '2000');
    await run.world.source.delete(['1050']);
    const found = await sweep(run);
    expect(found).toMatchObject({ changed: 1, added: 1, deleted: 1, mended: 3, missing: 0, different: 0, extra: 0 });
    expect(found.mends).toEqual([
      { id: '1003', reason: expect.stringMatching(/^vector embedding, float 0/) },
      { id: '2000', reason: expect.stringMatching(/^is in the source and not in the target/) },
      { id: '1050', reason: 'is in the target, and the source holds it no more' },
    ]);
    await expectSame(run.world);
  });

  test('mends every write that reached the target alone: the source says what counts', async () => {
    const run = await moved();
    await write(run.world.target, '2000');
    await run.world.source.write(other('1003'), { mode: 'upsert' });
    await run.world.target.write(makeBatch({ ids: ['1003'], seed: 5 }), { mode: 'upsert' });
    const found = await sweep(run);
    expect(found.mends.map(({ id }) => id)).toEqual(['1003', '2000']);
    await expectSame(run.world);
  });

  test('leaves what a target of its own holds besides where the event says that it may', async () => {
    const world = await makeWorld();
    const event = { ...world.event, live: true, target: { ...world.event.target, into: 'existing' as const } };
    await world.target.prepare(makeSchema());
    await write(world.target, '7');
    const live = { world: { ...world, event }, plan: await load({ ...world, event }) };
    await world.source.delete(['1001']);
    const found = await sweep(live);
    expect(found).toMatchObject({ deleted: 1, mended: 1, extra: 0 });
    expect((await world.target.fetch(['7', '1001'])).ids).toEqual(['7']);
  });

  test('waits for a write that is between its two sides, and counts nothing', async () => {
    const run = await moved();
    await write(run.world.source, '1003');
    let looks = 0;
    const target: Store = {
      ...run.world.target,
      fetch: async (ids) => {
        if (ids.includes('1003') && ++looks === 2) await write(run.world.target, '1003');
        return run.world.target.fetch(ids);
      },
    };
    expect(await sweep(run, { target })).toMatchObject({ changed: 1, mended: 0, different: 0 });
  });

  test('names what the target refuses and mends the others', async () => {
    const run = await moved();
    await write(run.world.source, '1003', '2000', '2001');
    const { RecordRefused } = await import('../../lib/errors.ts');
    const target: Store = {
      ...run.world.target,
      write: async (batch, options) => {
        if (batch.ids.includes('2000')) throw new RecordRefused('record 2000 is too large');
        return run.world.target.write(batch, options);
      },
    };
    const found = await sweep(run, { target });
    expect(found).toMatchObject({ added: 2, changed: 1, mended: 2, missing: 1, different: 0 });
    expect(found.differences).toEqual([
      {
        id: '2000',
        verdict: 'missing',
        reason: expect.stringMatching(/not in the target.*could not be mended: record 2000 is too large/),
      },
    ]);
  });

  test('misses no record that the mapping leaves out on purpose, and takes one away that lost its vector', async () => {
    // 1000 lacks its vector from the beginning, and stands in the target all the same; 1001 loses its own.
    const records = makeBatch({ ids: ['1000', '1001', '1002'], missing: [0] });
    const world = await makeWorld({ records, event: { live: true } });
    const run = { world, plan: await load(world) };
    const plan = { ...run.plan, mapping: { ...run.plan.mapping, missingVectors: 'skip' as const } };
    await world.source.write(makeBatch({ ids: ['1001', '2000'], missing: [0, 1] }), { mode: 'upsert' });
    const found = await sweep({ world, plan });
    expect(found).toMatchObject({ added: 1, changed: 1, mended: 2, missing: 0, extra: 0 });
    const reason = expect.stringContaining('the mapping leaves it out');
    expect(found.mends).toEqual([
      { id: '1001', reason },
      { id: '1000', reason },
    ]);
    expect((await world.target.fetch(['1000', '1001', '1002', '2000'])).ids).toEqual(['1002']);
  });

  test('takes away what an importer given up for dead brought back after the tombstones were applied', async () => {
    const run = await moved();
    for (const side of [run.world.source, run.world.target]) await side.delete(['1050']);
    await tombstone(run.world, '1050');
    await run.world.target.write(makeBatch({ ids: ['1050'] }), { mode: 'insert' });
    const found = await sweep(run);
    expect(found.mends).toEqual([{ id: '1050', reason: 'is in the target, and the source holds it no more' }]);
    await expectSame(run.world);
  });

  test('finds that also without a tombstone', async () => {
    const run = await moved();
    await run.world.source.delete(['1050']);
    expect(await sweep(run)).toMatchObject({ tombstones: 0, deleted: 1, mended: 1 });
    await expectSame(run.world);
  });

  test.each([
    ['looks for every record of the target in the source where the ids do not fit in memory', 10],
    ['asks of few where they do', 10_000_000],
  ])('%s', async (_, maxIds) => {
    const run = await moved();
    await write(run.world.target, '2000', '2001');
    let asked = 0;
    const source: Store = {
      ...run.world.source,
      fetch: async (ids) => {
        asked += ids.length;
        return await run.world.source.fetch(ids);
      },
    };
    expect(await sweep(run, { source, maxIds })).toMatchObject({ mended: 2, extra: 0 });
    if (maxIds === 10) expect(asked).toBeGreaterThan(100);
    else expect(asked).toBeLessThan(30);
    await expectSame(run.world);
  });

  test.each([10, 10_000_000])(
    'takes no record of the target for known that the mapping leaves out (%i ids)',
    async (maxIds) => {
      const records = makeBatch({ ids: ['1000', '1001'], missing: [0] });
      const world = await makeWorld({ records, event: { live: true } });
      const loaded = await load(world);
      const plan = { ...loaded, mapping: { ...loaded.mapping, missingVectors: 'skip' as const } };
      expect(await sweep({ world, plan }, { maxIds })).toMatchObject({ mended: 1, mends: [{ id: '1000' }] });
    },
  );

  test('mends nothing where more differs than single writes account for: an emptied source does not empty the target', async () => {
    const ids = Array.from({ length: 1100 }, (_, at) => String(1000 + at));
    const run = await moved({ records: makeBatch({ ids }), shardBytes: 1 << 20 });
    for (let at = 0; at < ids.length; at += 1000) await run.world.source.delete(ids.slice(at, at + 1000));
    const found = await sweep(run);
    expect([found.mended, found.extra, await run.world.target.count()]).toEqual([0, 1100, 1100]);
  });

  test('counts a record that no id of the source stands for as extra, and does not delete it', async () => {
    const run = await moved();
    // Where ids become UUIDs none stands for plain text that the target cannot hold.
    const plan = { ...run.plan, mapping: { ...run.plan.mapping, ids: 'uuid5' as const } };
    const foreign = 'x'.repeat(70_000);
    await write(run.world.target, foreign);
    const found = await sweep({ ...run, plan });
    expect(found).toMatchObject({ extra: 1, mended: 0 });
    expect((await run.world.target.fetch([foreign])).count).toBe(1);
  });

  test('of another attempt begins anew, and one that is done does nothing', async () => {
    const run = await moved();
    expect(await sweep(run)).toMatchObject({ attempt: 1, changed: 0 });
    await write(run.world.source, '1003');
    expect(await sweep(run)).toMatchObject({ attempt: 1, changed: 0, mended: 0 });
    const again = { ...run, plan: { ...run.plan, attempt: 2 } };
    expect(await sweep(again)).toMatchObject({ attempt: 2, changed: 1, mended: 1 });
  });
});

/** Writes lost in either direction in every shard, beside those that came through, and tombstones. */
async function writtenTo(run: { world: World }): Promise<void> {
  const { source, target } = run.world;
  await write(source, '1001', '1041', '1099', '0999', '1041a', '3000');
  await write(target, '0998', '1042a', '3001');
  for (const side of [source, target]) await write(side, '1005', '2500');
  for (const side of [source, target]) await side.delete(['1060', '1061']);
  await source.delete(['1020', '1098']);
  await tombstone(run.world, '1060');
  await tombstone(run.world, '1061', '1020');
}
const tallies = { changed: 4, added: 4, deleted: 4, tombstones: 3, mended: 11, missing: 0, different: 0, extra: 0 };

/** Both sides hand over three records at a time, so that a call may end anywhere within a shard's keys. */
function inPieces({ source, target }: World): { source: Store; target: Store } {
  const small = (store: Store): Store => ({
    ...store,
    read: (range, options) => store.read(range, { ...options, maxRecords: 3 }),
  });
  return { source: small(source), target: small(target) };
}

describe('a sweep that is cut off', () => {
  test('at any point counts nothing twice and misses nothing: the deadline is near from the first time it is asked', async () => {
    const run = await moved();
    await writtenTo(run);
    const found = await sweep(run, { ...inPieces(run.world), deadline: () => nearAfter(0) });
    expect(found).toMatchObject(tallies);
    expect(found.calls).toBeGreaterThan(50);
    expect(new Set(found.mends.map(({ id }) => id)).size).toBe(11);
    await expectSame(run.world);
  });

  test.each([1, 2, 3, 5, 8])('is the same with %i steps a call', async (steps) => {
    const run = await moved();
    await writtenTo(run);
    expect(await sweep(run, { ...inPieces(run.world), deadline: () => nearAfter(steps) })).toMatchObject(tallies);
    await expectSame(run.world);
  });

  test.each(['source', 'target'] as const)(
    'by a kill while the %s is read goes on from what was written down',
    async (side) => {
      const run = await moved();
      await writtenTo(run);
      let left = side === 'source' ? 3 : 1;
      const store = run.world[side];
      const broken: Store = {
        ...store,
        read: (range, options) => {
          if (--left === 0) throw new Error('killed');
          return store.read(range, options);
        },
      };
      await expect(sweep(run, { [side]: broken, saveEveryMs: 0 })).rejects.toThrow('killed');
      const found = await sweep(run);
      expect(found).toMatchObject({ ...tallies, mended: tallies.mended });
      await expectSame(run.world);
    },
  );
});

test('writes that go on while the sweep is under way leave both sides the same, and none counts as lost', async () => {
  const run = await moved();
  const { source, target } = run.world;
  let isOver = false;
  const writers = [0, 1, 2, 3].map(async (worker) => {
    for (let at = 0; !isOver; at++) {
      const id = String(1000 + worker * 25 + (at % 25));
      if (at % 7 === 6) {
        await tombstone(run.world, id);
        for (const side of [source, target]) {
          await side.delete([id]);
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      } else {
        const batch = makeBatch({ ids: [id, `${id}-${at}`], seed: at });
        for (const side of [source, target]) {
          await side.write(batch, { mode: 'upsert' });
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
    }
  });
  const manifest = await readManifest(run.world.objects, run.plan.run);
  const { done } = await sweepWrites({ ...run.world, plan: run.plan, manifest, deadline: noDeadline, lookAgainMs: 20 });
  isOver = true;
  await Promise.all(writers);
  expect(done).toBe(true);
  const found = await getJson(run.world.objects, runKeys('r1').sweep, sweepSchema);
  expect(found).toMatchObject({ missing: 0, different: 0, extra: 0, unchecked: 0 });
  await expectSame(run.world);
});
