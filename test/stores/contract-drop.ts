import { describe, expect, test } from '@jest/globals';
import type { Store, StoreKind } from '../../lib/stores/port.ts';
import type { InsertContract } from './contract-insert.ts';

/** Dropping a collection for good, the one step of a migration that cannot be taken back. */
export interface DropContract extends InsertContract {
  readonly kind: StoreKind;
}

export function dropContract({ kind, open, filled, records, makeId, sameRecords }: DropContract): void {
  if (!kind.capabilities.drops) {
    test('has no drop, and says so in its capabilities', async () => {
      expect((await open('contract_drop')).drop).toBeUndefined();
    });
    return;
  }
  const drop = async (store: Store, dryRun = false) => {
    if (store.drop === undefined) throw new Error('capabilities.drops is set, but the store has no drop');
    return await store.drop({ dryRun });
  };
  const isGone = async (store: Store): Promise<void> => {
    await expect(store.describe()).rejects.toMatchObject({ name: 'NotFound' });
  };

  describe('dropping the collection', () => {
    test('says what would be dropped, and drops nothing, when it is only asked', async () => {
      const store = await filled('contract_drop_ask', records(7));
      const said = await drop(store, true);
      expect(said).toMatchObject({ isThere: true, what: expect.stringMatching(/contract_drop_ask/) });
      expect(said.name).toMatch(/contract_drop_ask$/);
      if (said.bytes !== undefined) expect(said.bytes).toBeGreaterThan(100);
      expect(await store.count()).toBe(7);
    });

    test('takes it away for every handle, leaves its neighbour, and is no error a second time', async () => {
      const store = await filled('contract_drop', records(7));
      const other = await open('contract_drop');
      const neighbour = await filled('contract_drop_beside', records(3));
      expect(await other.count()).toBe(7);
      expect(await drop(store)).toMatchObject({ isThere: true });
      await isGone(store);
      await isGone(other);
      expect(await drop(other)).toMatchObject({ isThere: false });
      expect(await drop(store, true)).toMatchObject({ isThere: false });
      expect(await neighbour.count()).toBe(3);
    });

    test('leaves room for another of its name, which takes the same shard again', async () => {
      const store = await filled('contract_drop_again', records(7));
      await drop(store);
      const next = await filled('contract_drop_again', records(5));
      expect(await next.count()).toBe(5);
      sameRecords(await next.fetch([makeId(2)]), records(5));
    });

    test('of one that was never there is no error', async () => {
      expect(await drop(await open('contract_drop_none'))).toMatchObject({ isThere: false });
    });

    if (kind.capabilities.pointer !== false) {
      test('is refused while a pointer stands for it, and never follows one: readers would lose what they read', async () => {
        const store = await filled('contract_drop_read', records(3));
        await store.pointer?.move('contract_drop_live', 'contract_drop_read');
        const refusal = { name: 'Incompatible', message: expect.stringContaining('contract_drop_live') };
        for (const dryRun of [true, false]) {
          await expect(drop(store, dryRun)).rejects.toMatchObject(refusal);
          await expect(drop(await open('contract_drop_live'), dryRun)).rejects.toMatchObject(refusal);
        }
        expect(await store.count()).toBe(3);
        await store.pointer?.move('contract_drop_live', undefined);
        expect(await drop(store)).toMatchObject({ isThere: true });
        await isGone(store);
      });
    }
  });
}
