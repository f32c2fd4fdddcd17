import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { loadedKey } from '../lib/keys.ts';
import { readLoaded } from '../lib/manifest.ts';
import { memoryObjects } from './local/memory-objects.ts';

const at = new Date(0).toISOString();

/** A marker of a shard that left out 60 records, 20 of them by name. */
function marker(range: number): readonly [string, string] {
  const shard = `0000${range}-000`;
  const ids = Array.from({ length: 20 }, (_, i) => String(range * 1000 + i));
  const dropped = [{ rule: 'one customer', records: 60, ids }];
  const loaded = { shard, records: 100, written: 40, skipped: 60, skippedIds: ids, dropped, throttled: 0 };
  return [loadedKey('r1', shard), JSON.stringify({ ...loaded, startedAt: at, at })];
}

test('the first ids that were left out are those of the first shards, also where a later marker is read first', async () => {
  const objects = memoryObjects(Object.fromEntries([0, 1, 2, 3, 4, 5, 6].map(marker)));
  const late = {
    ...objects,
    get: async (key: string) => await sleep(key.includes('00000-') ? 50 : 0).then(() => objects.get(key)),
  };
  const loaded = await readLoaded(late, 'r1');
  expect(loaded.map(({ skippedIds }) => skippedIds.length)).toEqual([20, 20, 20, 20, 20, 0, 0]);
  expect(loaded.map(({ dropped }) => dropped?.[0]?.ids.length)).toEqual([20, 20, 20, 20, 20, 0, 0]);
  expect(loaded[0]?.skippedIds[0]).toBe('0');
});
