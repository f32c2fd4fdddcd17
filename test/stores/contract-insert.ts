import { describe, expect, test } from '@jest/globals';
import { type Batch, sliceBatch } from '../../lib/batch.ts';
import type { Store } from '../../lib/stores/port.ts';
import { canonicalJson } from '../make.ts';

/**
 * What a live run needs of its target: the import inserts what is absent, whatever an application upserts and deletes at
 * the same time through another handle.
 */
export interface InsertContract {
  /** Another handle on the collection. */
  readonly open: (collection: string) => Promise<Store>;
  readonly filled: (collection: string, batch: Batch) => Promise<Store>;
  readonly records: (count: number, first?: number) => Batch;
  readonly makeId: (index: number) => string;
  /** Fails where a record of `found` is not as in `written`. */
  readonly sameRecords: (found: Batch, written: Batch) => void;
}

const position = { run: 'r2', shard: '00000-000', offset: 0 };

export function insertContract({ open, filled, records, makeId, sameRecords }: InsertContract): void {
  const none = records(0);
  const base = records(400);
  const slice = (from: number, count: number, payload: string, ids: readonly string[]): Batch => ({
    ...sliceBatch(base, from, from + count),
    ids,
    payloads: ids.map(() => payload),
  });
  const idsOf = (count: number, first: number): readonly string[] => records(count, first).ids;
  const older = (count: number, first = 0): Batch => slice(first, count, olderText, idsOf(count, first));
  /** Another vector too, and none of the fields that the older value has: a mixture of both shows. */
  const newer = (count: number, first = 0): Batch => slice(200 + first, count, '{"newer":true}', idsOf(count, first));
  const payloadsOf = async (store: Store, ids: readonly string[]): Promise<Map<string, string>> => {
    const found = await store.fetch(ids);
    return new Map(found.ids.map((id, at) => [id, canonicalJson(found.payloads[at] ?? '')]));
  };

  describe('inserting only what is absent', () => {
    test('leaves a record that is there as it is, and counts it as written, since it is durable there', async () => {
      const store = await filled('contract_insert', newer(2));
      const { written } = await store.write(older(4), { position, mode: 'insert' });
      expect(written).toBe(4);
      sameRecords(await store.fetch(newer(2).ids), newer(2));
      sameRecords(await store.fetch(older(2, 2).ids), older(2, 2));
      expect(await store.count()).toBe(4);
    });

    test('an upsert at the same time wins, whole, whichever comes first', async () => {
      const importer = await filled('contract_insert_race', none);
      const application = await open('contract_insert_race');
      for (let round = 0; round < 6; round++) {
        const first = round * 20;
        const insert = async (): Promise<unknown> =>
          await importer.write(older(20, first), { position: { ...position, offset: first }, mode: 'insert' });
        const upserts = async (): Promise<void> => {
          for (const at of [0, 5, 10, 15]) await application.write(newer(5, first + at), { mode: 'upsert' });
        };
        await Promise.all(round % 2 === 0 ? [insert(), upserts()] : [upserts(), insert()]);
      }
      const found = await importer.fetch(records(120).ids);
      expect(found.count).toBe(120);
      sameRecords(found, newer(120));
    });

    test('two importers of one batch and deletes at the same time leave no record twice and none half', async () => {
      const store = await filled('contract_insert_twice', none);
      const other = await open('contract_insert_twice');
      const batch = older(30);
      await Promise.all([
        store.write(batch, { position, mode: 'insert' }),
        other.write(batch, { position, mode: 'insert' }),
        other.delete(records(5, 3).ids),
        store.delete(records(5, 20).ids),
      ]);
      const found = await store.fetch(batch.ids);
      expect(found.count).toBe(await store.count());
      expect(new Set(found.ids).size).toBe(found.count);
      expect(found.count).toBeGreaterThanOrEqual(20);
      sameRecords(found, batch);
    });

    test('repeated after deletes and upserts it brings back the deleted records of its own at most, and covers nothing', async () => {
      const store = await filled('contract_insert_again', none);
      await store.write(older(10), { position, mode: 'insert' });
      await store.write(older(10, 10), { position: { ...position, offset: 10 }, mode: 'insert' });
      await store.delete([makeId(1), makeId(2), makeId(12)]);
      await store.write(newer(1, 3), { mode: 'upsert' });
      const { written } = await store.write(older(10), { position, mode: 'insert' });
      expect(written).toBe(10);
      const payloads = await payloadsOf(store, older(20).ids);
      expect(payloads.get(makeId(3))).toBe('{"newer":true}');
      expect(payloads.has(makeId(12))).toBe(false);
      // Whether they come back is the store's affair: tombstones are applied after the import, and the sweep looks again.
      for (const id of [makeId(1), makeId(2)]) expect(payloads.get(id) ?? olderText).toBe(olderText);
      expect(payloads.size).toBeGreaterThanOrEqual(17);
    });

    test('a batch that was cut off is completed by its repetition', async () => {
      const store = await filled('contract_insert_cut', none);
      // Part of the batch is there, as after a write that ended half way, or through another position.
      await store.write(older(4, 3), { position: { ...position, shard: '00001-000' }, mode: 'insert' });
      await store.write(older(10), { position, mode: 'insert' });
      expect(await store.count()).toBe(10);
      sameRecords(await store.fetch(older(10).ids), older(10));
    });
  });
}

const olderText = '{"older":true,"tags":["a"]}';
