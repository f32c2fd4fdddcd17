import { describe, expect, test } from '@jest/globals';
import { column } from '../lib/batch.ts';
import { RecordRefused, StoreUnavailable, Throttled } from '../lib/errors.ts';
import { failedKey, loadedKey, shardKey } from '../lib/keys.ts';
import { checkImport, readFailures, readLoaded, sealManifest } from '../lib/manifest.ts';
import { memory } from '../lib/stores/memory.ts';
import type { Store } from '../lib/stores/port.ts';
import { makeBatch } from './make.ts';
import { deliver, exportAll, importAll, load, makeWorld, nearAfter, noDeadline, plan, type World } from './world.ts';

/** 100 records, a dozen to a shard. */
const small = { shardBytes: 700 };

async function exported(world: World) {
  const planned = await plan(world);
  await exportAll(world, planned);
  await sealManifest({ plan: planned, objects: world.objects });
  return planned;
}

/** The target, but its writes first go through `gate`, which may throw. */
function gated(world: World, gate: (ids: readonly string[]) => void): World {
  const write: Store['write'] = async (batch, options) => {
    gate(batch.ids);
    return await world.target.write(batch, options);
  };
  return { ...world, target: { ...world.target, write } };
}

describe('the import', () => {
  test('loads every record, and says so from what the target acknowledged', async () => {
    const world = await makeWorld(small);
    const planned = await load(world);
    expect(await world.target.count()).toBe(100);
    const loaded = await readLoaded(world.objects, 'r1');
    expect(loaded.reduce((sum, { written }) => sum + written, 0)).toBe(100);
    expect(await checkImport({ ...world, plan: planned })).toMatchObject({ done: true });
  });

  test('a message delivered twice, and two importers on one shard, leave each record once', async () => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    const messages = [...world.waiting, ...world.waiting];
    await Promise.all(messages.map((message) => deliver(world, planned, message)));
    expect(await world.target.count()).toBe(100);
    expect((await readLoaded(world.objects, 'r1')).reduce((sum, { written }) => sum + written, 0)).toBe(100);
  });

  test('an acknowledgement that is short of the shard is never called loaded', async () => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    const short: World = {
      ...world,
      target: { ...world.target, write: async (batch) => ({ written: batch.count - 1 }) },
    };
    const [message] = world.waiting;
    if (message === undefined) throw new Error('no message');
    expect(await deliver(short, planned, message)).toBe('dead');
    expect(await world.objects.get(loadedKey('r1', message.shard))).toBeUndefined();
  });

  test('a target that throttles for a while slows the run down and does not fail it', async () => {
    const world = await makeWorld();
    const planned = await exported(world);
    let refusals = 0;
    const busy = gated(world, () => {
      refusals += 1;
      if (refusals <= 6)
        throw refusals % 2 === 0 ? new Throttled('429', { retryAfterMs: 5 }) : new StoreUnavailable('503');
    });
    await importAll(busy, planned);
    expect(await world.target.count()).toBe(100);
    expect((await readLoaded(world.objects, 'r1'))[0]?.throttled).toBe(6);
    expect(world.dead).toEqual([]);
  });

  test('a shard that is throttled up to the deadline goes back to the queue without having failed', async () => {
    const world = await makeWorld();
    const planned = await exported(world);
    const busy = gated(world, () => {
      throw new Throttled('429', { retryAfterMs: 60_000 });
    });
    const message = world.waiting.shift();
    if (message === undefined) throw new Error('no message');
    expect(await deliver(busy, planned, message, { remainingMs: () => 40_000 })).toBe('handedBack');
    expect(await readFailures(world.objects, 'r1')).toEqual(new Map());
    await importAll(world, planned);
    expect(await world.target.count()).toBe(100);
    expect((await readLoaded(world.objects, 'r1'))[0]?.throttled).toBe(1);
  });

  test('a shard that nears the deadline is handed back with its tally, and ends complete', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: Array.from({ length: 30_000 }, (_, i) => String(100_000 + i)) }),
      event: { parallel: { exporters: 1 } },
    });
    const planned = await exported(world);
    let deliveries = 0;
    await importAll(world, planned, () => {
      deliveries += 1;
      return nearAfter(0);
    });
    expect(deliveries).toBeGreaterThan(2);
    expect((await readLoaded(world.objects, 'r1')).reduce((sum, { written }) => sum + written, 0)).toBe(30_000);
  });

  test('a poison record goes to the dead letters by name, and all others are loaded', async () => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    const strict = gated(world, (ids) => {
      if (ids.includes('1042')) throw new RecordRefused('field "x" of record 1042 is not allowed', { ids: ['1042'] });
    });
    await importAll(strict, planned);
    expect(await world.target.count()).toBe(99);
    expect(world.dead).toHaveLength(1);
    const [dead] = world.dead;
    expect(await readFailures(world.objects, 'r1')).toMatchObject(
      new Map([[dead?.shard, { final: true, ids: ['1042'] }]]),
    );
    await expect(checkImport({ ...world, plan: planned })).rejects.toMatchObject({
      name: 'ImportFailed',
      ids: [dead?.shard],
      message: expect.stringContaining('1042'),
    });
  });

  test('after the cause is mended the same run goes on with what is missing alone', async () => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    await importAll(
      gated(world, (ids) => {
        if (ids.includes('1042')) throw new RecordRefused('no', { ids: ['1042'] });
      }),
      planned,
    );
    const again = await plan(world);
    await exportAll(world, again);
    expect(world.waiting.map(({ shard }) => shard)).toEqual(world.dead.map(({ shard }) => shard));
    expect(await checkImport({ ...world, plan: again })).toMatchObject({ done: false });
    await importAll(world, again);
    expect(await checkImport({ ...world, plan: again })).toMatchObject({ done: true });
    expect(await world.target.count()).toBe(100);
  });

  test.each([
    ['cut short', (bytes: Uint8Array) => bytes.slice(0, 100)],
    ['altered in one bit', (bytes: Uint8Array) => bytes.with(300, (bytes[300] ?? 0) ^ 1)],
    ['emptied', () => new Uint8Array(0)],
  ])('a shard that was %s is refused, named and not loaded', async (_, damage) => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    const key = shardKey('r1', '00000-001');
    await world.objects.put(key, damage((await world.objects.get(key)) ?? new Uint8Array()));
    await importAll(world, planned);
    expect(await world.objects.get(loadedKey('r1', '00000-001'))).toBeUndefined();
    expect(await world.objects.get(failedKey('r1', '00000-001'))).toBeDefined();
    await expect(checkImport({ ...world, plan: planned })).rejects.toMatchObject({
      name: 'ImportFailed',
      ids: ['00000-001'],
    });
  });

  test('an importer that died without a word is found among the dead letters', async () => {
    const world = await makeWorld(small);
    const planned = await exported(world);
    const dying = world.waiting.shift();
    if (dying === undefined) throw new Error('no message');
    await importAll(world, planned);
    expect(await checkImport({ ...world, plan: planned })).toMatchObject({ done: false });
    world.dead.push(dying);
    await expect(checkImport({ ...world, plan: planned })).rejects.toMatchObject({
      ids: [dying.shard],
      message: expect.stringContaining('died'),
    });
  });

  test('records without a vector are left out and listed when the event says so', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ['1', '2', '3'], missing: [1] }),
      event: { mapping: { missingVectors: 'skip' } },
    });
    await load(world);
    expect(await world.target.count()).toBe(2);
    expect(await readLoaded(world.objects, 'r1')).toMatchObject([
      { records: 3, written: 2, skipped: 1, skippedIds: ['2'] },
    ]);
    const found = await world.target.fetch(['1', '2', '3']);
    expect(column(found, 'embedding').values).toHaveLength(8);
  });

  test('a target that was emptied meanwhile is loaded again, whatever the markers say', async () => {
    const world = await makeWorld(small);
    await load(world);
    const empty = await memory.open({ connection: { path: 'emptied' }, collection: 'articles2', options: {} });
    const emptied = { ...world, target: empty };
    const again = await plan(emptied);
    await exportAll(emptied, again);
    await importAll(emptied, again);
    expect(await empty.count()).toBe(100);
  });

  test('gives up on a target that stays away, after as many deliveries as the queue allows', async () => {
    const world = await makeWorld();
    const planned = await exported(world);
    const broken = gated(world, () => {
      throw new Error('a defect');
    });
    const [message] = world.waiting;
    if (message === undefined) throw new Error('no message');
    expect(await deliver(broken, planned, message, noDeadline)).toBe('dead');
    expect((await readFailures(world.objects, 'r1')).get(message.shard)).toMatchObject({
      attempts: 5,
      final: true,
      message: 'a defect',
    });
  });
});

describe('the import of a live run', () => {
  const live = { ...small, event: { live: true } };

  test('leaves what the application wrote meanwhile as it is, and calls the shard loaded, because its records are durable there', async () => {
    const world = await makeWorld(live);
    const planned = await exported(world);
    const newer = makeBatch({ ids: ['1003', '1050'], seed: 7 });
    for (const side of [world.source, world.target]) await side.write(newer, { mode: 'upsert' });
    await importAll(world, planned);
    expect(await world.target.count()).toBe(100);
    const kept = await world.target.fetch(['1003', '1050']);
    expect(column(kept, 'embedding').values).toEqual(column(newer, 'embedding').values);
    const loaded = await readLoaded(world.objects, 'r1');
    expect(loaded.reduce((sum, { written }) => sum + written, 0)).toBe(100);
    expect(await checkImport({ ...world, plan: planned })).toMatchObject({ done: true });
  });

  test('puts no older value over a newer one when a shard comes a second time', async () => {
    const world = await makeWorld(live);
    const planned = await exported(world);
    const messages = [...world.waiting];
    await importAll(world, planned);
    const newer = makeBatch({ ids: ['1003'], seed: 7 });
    await world.target.write(newer, { mode: 'upsert' });
    // The marker went unwritten: the importer was killed after its last write.
    for (const { shard } of messages) await world.objects.delete(loadedKey('r1', shard));
    for (const message of messages) await deliver(world, planned, message);
    const kept = await world.target.fetch(['1003']);
    expect(column(kept, 'embedding').values).toEqual(column(newer, 'embedding').values);
    expect((await readLoaded(world.objects, 'r1')).reduce((sum, { written }) => sum + written, 0)).toBe(100);
  });

  test('a record that the target refuses is named though all others of its shard were there before', async () => {
    const world = await makeWorld(live);
    const planned = await exported(world);
    const others = Array.from({ length: 100 }, (_, i) => String(1000 + i)).filter((id) => id !== '1003');
    await world.target.write(makeBatch({ ids: others, seed: 7 }), { mode: 'upsert' });
    const picky = gated(world, (ids) => {
      if (ids.includes('1003')) throw new RecordRefused('bad record', { ids: ['1003'] });
    });
    await importAll(picky, planned);
    const failures = await readFailures(world.objects, 'r1');
    expect([...failures.values()].flatMap(({ ids }) => ids)).toEqual(['1003']);
    expect(await world.target.count()).toBe(99);
  });

  test('a run that is not live writes its values over what is there, as before', async () => {
    const world = await makeWorld();
    const planned = await exported(world);
    await world.target.write(makeBatch({ ids: ['1003'], seed: 7 }), { mode: 'upsert' });
    await importAll(world, planned);
    const now = await world.target.fetch(['1003']);
    const exportedNow = await world.source.fetch(['1003']);
    expect(column(now, 'embedding').values).toEqual(column(exportedNow, 'embedding').values);
  });
});
