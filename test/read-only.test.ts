import { expect, test } from '@jest/globals';
import { compareShard } from '../lib/compare/compare.ts';
import { countSides } from '../lib/compare/counts.ts';
import { findCauses } from '../lib/diagnose.ts';
import { sealManifest } from '../lib/manifest.ts';
import { planRun } from '../lib/plan.ts';
import { readOnly } from '../lib/read-only.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { noFiles } from '../lib/recall/query-file.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import { tuneSearch } from '../lib/recall/tune.ts';
import { memory } from '../lib/stores/memory.ts';
import type { Store } from '../lib/stores/port.ts';
import { approximate } from './approximate.ts';
import { makeBatch, makeSchema } from './make.ts';
import { exportAll, makeWorld, noDeadline } from './world.ts';

/** A run that only validates writes nothing: neither through the steps, nor where a step would try. */

/** Everything of the two ports that does not change a collection. */
const reading = [
  'describe',
  'schema',
  'count',
  'fetch',
  'search',
  'tuning',
  'values',
  'close',
  'ranges',
  'read',
  'indexProgress',
] as const;
const writing = ['prepare', 'write', 'delete', 'buildIndex', 'keepSearch', 'drop'] as const;

/** Notes the name of each method that is called. */
function noting(store: Store, called: Set<string>): Store {
  return new Proxy(store, {
    get: (target, name, receiver) => {
      called.add(String(name));
      return Reflect.get(target, name, receiver);
    },
  });
}

test('a whole validation, with its goal missed, tuning asked for and faults to explain, calls nothing that writes', async () => {
  const world = await makeWorld({
    event: { mode: 'validate', validate: { recall: { k: 3, queries: 100, atLeast: 0.9, tune: true } } },
    shardBytes: 700,
  });
  const ids = Array.from({ length: 90 }, (_, i) => String(1000 + i));
  await world.target.prepare(makeSchema());
  await world.target.write(makeBatch({ ids, seed: 5 }), {
    position: { run: 'x', shard: '00000-000', offset: 0 },
    mode: 'upsert',
  });
  const called = { source: new Set<string>(), target: new Set<string>() };
  // Not through readOnly: the steps themselves must not try.
  const { objects, queue } = world;
  const sides = { source: noting(world.source, called.source), target: noting(world.target, called.target) };
  const kinds = { sourceKind: memory, targetKind: memory };
  const input = { run: 'r1', event: world.event, ...sides, ...kinds, objects, now: new Date() };
  const plan = { ...(await planRun(input)), shardBytes: 700 };
  await exportAll({ ...world, ...sides, queue }, plan);
  const manifest = await sealManifest({ plan, objects });
  const step = { plan, manifest, objects, ...sides };
  await chooseQueries({ ...step, files: noFiles });
  for (const { shard } of manifest.shards) {
    await compareShard({ ...step, shard, deadline: noDeadline, secondLookMs: 0 });
    await findNeighbours({ ...step, shard });
  }
  await measureRecall(step);
  await tuneSearch({ ...step, deadline: noDeadline });
  await findCauses({ ...step, deadline: noDeadline });
  const counts = await countSides(step);
  expect(counts).toMatchObject({ source: 100, manifest: 100, target: 90, skipped: 0 });
  for (const side of [called.source, called.target]) {
    expect([...side].filter((name) => writing.some((each) => each === name))).toEqual([]);
    expect(side.size).toBeGreaterThan(3);
  }
  expect(world.waiting).toEqual([]);
});

test('what would write is refused by the store that such a run is given, and what reads is not', async () => {
  const world = await makeWorld();
  const store = readOnly(world.source, memory, 'articles');
  expect(Object.keys(store).toSorted()).toEqual([...reading, ...writing].toSorted());
  expect(store.pointer).toBeUndefined();
  const refusal = { name: 'InvalidEvent', message: expect.stringMatching(/changes nothing.*'articles'/) };
  const position = { run: 'x', shard: '00000-000', offset: 0 };
  await expect(store.prepare(makeSchema())).rejects.toMatchObject(refusal);
  await expect(store.write(makeBatch(), { position, mode: 'upsert' })).rejects.toMatchObject(refusal);
  await expect(store.delete(['1000'])).rejects.toMatchObject(refusal);
  await expect(store.buildIndex(makeSchema())).rejects.toMatchObject(refusal);
  await expect(store.drop?.()).rejects.toMatchObject(refusal);
  // The store's own words, of one that would keep settings too.
  expect(await store.keepSearch('embedding', {})).toEqual(await world.source.keepSearch('embedding', {}));
  const keeping = approximate(world.source, { efSearch: 40, full: 40, keeps: true });
  const words = { kept: false, how: expect.stringContaining('"efSearch":80') };
  expect(await readOnly(keeping, memory, 'articles').keepSearch('embedding', { efSearch: 80 })).toEqual(words);
  expect((await keeping.tuning('embedding')).current).toEqual({ efSearch: 40 });
  expect(await store.count()).toBe(100);
  expect((await store.fetch(['1000'])).ids).toEqual(['1000']);
});
