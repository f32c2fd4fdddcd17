import { describe, expect, test } from '@jest/globals';
import { exportRange } from '../lib/export.ts';
import { loadedKey, shardKey } from '../lib/keys.ts';
import { readManifest, sealManifest } from '../lib/manifest.ts';
import type { ObjectStore } from '../lib/objects.ts';
import { readRanges } from '../lib/plan.ts';
import { decodeShard } from '../lib/shard/shard.ts';
import { makeBatch, makeSchema } from './make.ts';
import { exportAll, makeWorld, nearAfter, noDeadline, plan, quiet, type World } from './world.ts';

/** 100 records, a dozen to a shard. */
const small = { shardBytes: 700 };

/** Counts the shards that are written, and dies at the n-th put. */
function counting(objects: ObjectStore, dieAt = Number.POSITIVE_INFINITY): { objects: ObjectStore; shards: string[] } {
  const shards: string[] = [];
  let puts = 0;
  const put: ObjectStore['put'] = async (key, body, type) => {
    puts += 1;
    if (puts >= dieAt) throw new Error('killed');
    if (key.endsWith('.parquet')) shards.push(key);
    await objects.put(key, body, type);
  };
  return { objects: { ...objects, put }, shards };
}

async function exportedIds(world: World, run = 'r1'): Promise<string[]> {
  const { shards } = await readManifest(world.objects, run);
  const ids = await Promise.all(
    shards.map(
      async ({ shard }) =>
        (await decodeShard((await world.objects.get(shardKey(run, shard))) ?? new Uint8Array(), shard)).batch.ids,
    ),
  );
  return ids.flat();
}

describe('the export', () => {
  test('of a run that only validates queues nothing, because there is nothing to import', async () => {
    const world = await makeWorld(small);
    await world.target.prepare(makeSchema());
    const planned = await plan({ ...world, event: { ...world.event, mode: 'validate' } });
    await exportAll(world, planned);
    expect((await sealManifest({ plan: planned, objects: world.objects })).records).toBe(100);
    expect(world.waiting).toEqual([]);
  });

  test('writes every record of the source once, in shards no larger than asked', async () => {
    const world = await makeWorld(small);
    const planned = await plan(world);
    await exportAll(world, planned);
    const manifest = await sealManifest({ plan: planned, objects: world.objects });
    expect(manifest.records).toBe(100);
    expect(manifest.shards.length).toBeGreaterThan(4);
    expect((await exportedIds(world)).toSorted()).toEqual(Array.from({ length: 100 }, (_, i) => String(1000 + i)));
    expect(world.waiting.map(({ shard }) => shard)).toEqual(manifest.shards.map(({ shard }) => shard));
  });

  test('an empty source makes one empty shard, which proves that nothing was there', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: [] }) });
    const planned = await plan(world);
    await exportAll(world, planned);
    const manifest = await sealManifest({ plan: planned, objects: world.objects });
    expect(manifest).toMatchObject({ records: 0, shards: [{ records: 0, rest: null }] });
  });

  test('hands the rest back when the deadline nears, and goes on from there without a gap', async () => {
    const world = await makeWorld(small);
    const planned = await plan(world);
    const ranges = await readRanges(world.objects, planned.run);
    const counted = counting(world.objects);
    for (const range of ranges) {
      let calls = 0;
      let result = await exportRange({
        ...world,
        objects: counted.objects,
        plan: planned,
        range,
        deadline: nearAfter(1),
        log: quiet,
      });
      for (; !result.done; calls++)
        result = await exportRange({
          ...world,
          objects: counted.objects,
          plan: planned,
          range,
          next: result.next,
          deadline: nearAfter(1),
          log: quiet,
        });
      expect(calls).toBeLessThan(200);
    }
    await sealManifest({ plan: planned, objects: world.objects });
    expect((await exportedIds(world)).toSorted()).toEqual(Array.from({ length: 100 }, (_, i) => String(1000 + i)));
    expect(new Set(counted.shards).size).toBe(counted.shards.length);
  });

  test('killed anywhere and started again ends with the same shards, none exported twice', async () => {
    const reference = await makeWorld(small);
    const planned = await plan(reference);
    await exportAll(reference, planned);
    const expected = (await sealManifest({ plan: planned, objects: reference.objects })).shards;
    for (let dieAt = 1; dieAt < 2 * expected.length; dieAt += 3) {
      const world = await makeWorld(small);
      const first = await plan(world);
      const dying = counting(world.objects, dieAt);
      await expect(exportAll({ ...world, objects: dying.objects }, first)).rejects.toThrow('killed');
      const again = counting(world.objects);
      const second = await plan(world);
      await exportAll({ ...world, objects: again.objects }, second);
      const manifest = await sealManifest({ plan: second, objects: world.objects });
      expect(manifest.shards.map(({ shard, records }) => [shard, records])).toEqual(
        expected.map(({ shard, records }) => [shard, records]),
      );
      const all = [...dying.shards, ...again.shards];
      expect(new Set(all).size).toBe(all.length);
      expect(new Set(world.waiting.map(({ shard }) => shard)).size).toBe(expected.length);
    }
  });

  test.each([
    ['cut short', (bytes: Uint8Array) => bytes.slice(0, bytes.length - 40)],
    [
      'altered',
      (bytes: Uint8Array) => bytes.with(Math.floor(bytes.length / 2), (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 1),
    ],
  ])('a shard that was %s is exported again, and only that one', async (_, damage) => {
    const world = await makeWorld(small);
    const planned = await plan(world);
    await exportAll(world, planned);
    const key = shardKey('r1', '00000-001');
    const whole = (await world.objects.get(key)) ?? new Uint8Array();
    await world.objects.put(loadedKey('r1', '00000-001'), '{}');
    await world.objects.put(key, damage(whole));
    const again = counting(world.objects);
    await exportAll({ ...world, objects: again.objects }, await plan(world));
    expect(again.shards).toEqual([key]);
    expect(await world.objects.get(loadedKey('r1', '00000-001'))).toBeUndefined();
    await sealManifest({ plan: planned, objects: world.objects });
    expect((await exportedIds(world)).toSorted()).toEqual(Array.from({ length: 100 }, (_, i) => String(1000 + i)));
  });

  test('a manifest is not sealed while a range is incomplete', async () => {
    const world = await makeWorld(small);
    const planned = await plan(world);
    const [range] = await readRanges(world.objects, planned.run);
    if (range === undefined) throw new Error('no range');
    await exportRange({ ...world, plan: planned, range, deadline: nearAfter(1), log: quiet });
    await expect(sealManifest({ plan: planned, objects: world.objects })).rejects.toMatchObject({
      name: 'ShardDamaged',
      ids: ['0'],
    });
  });

  test.each([
    ['dense', 4],
    ['multi', 2],
  ] as const)('a NaN in a %s vector is refused by the record that holds it', async (kind, dimension) => {
    const vectors = [{ name: 'v', kind, dimension, distance: 'cosine', precision: 'float32' }] as const;
    const records = makeBatch({ ids: ['1', '2', '3'], vectors });
    const column = records.vectors.get('v');
    // The last float belongs to the last record, whatever the kind.
    column?.values.fill(Number.NaN, column.values.length - 1);
    const world = await makeWorld({ records, schema: makeSchema({ vectors: [...vectors] }) });
    await expect(exportAll(world, await plan(world), noDeadline)).rejects.toMatchObject({
      name: 'RecordRefused',
      ids: ['3'],
    });
  });
});
