import { describe, expect, test } from '@jest/globals';
import { type Batch, column, denseVector } from '../../lib/batch.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import type { Store, StoreKind } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import type { InsertContract } from './contract-insert.ts';

/** Deleting by id, which an application's own writes and the tombstones of a live run need. */
export interface DeleteContract extends InsertContract {
  readonly kind: StoreKind;
  readonly vector: VectorSpec;
}

export function deleteContract(contract: DeleteContract): void {
  const { kind, vector, open, filled, records, makeId, sameRecords } = contract;
  const nearest = async (store: Store, batch: Batch, at: number): Promise<readonly string[]> => {
    const embeddings = column(batch, vector.name);
    if (embeddings.kind !== 'dense') throw new Error('the vector is dense');
    const hits = await store.search({ vector: vector.name, query: denseVector(embeddings, at), k: batch.count });
    return hits.map(({ id }) => id);
  };

  if (!kind.capabilities.deletes) {
    test('says that it cannot delete, and deletes nothing', async () => {
      const store = await filled('contract_delete', records(3));
      await expect(store.delete([makeId(1)])).rejects.toMatchObject({ name: 'Incompatible' });
      expect(await store.count()).toBe(3);
    });
    return;
  }

  describe('deleting by id', () => {
    test('takes the records from reads, counts and searches, of every handle', async () => {
      const batch = records(30);
      const store = await filled('contract_delete', batch);
      const other = await open('contract_delete');
      const gone = [makeId(3), makeId(7), makeId(29)];
      expect(await nearest(other, batch, 3)).toContain(makeId(3));
      await store.delete(gone);
      for (const each of [store, other]) {
        expect(await each.count()).toBe(27);
        expect((await each.fetch([...gone, makeId(4)])).ids).toEqual([makeId(4)]);
        const left = await nearest(each, batch, 3);
        expect(gone.filter((id) => left.includes(id))).toEqual([]);
      }
    });

    test('takes ids that are not there, or that no record could have, for deleted', async () => {
      const store = await filled('contract_delete_odd', records(9));
      await store.delete([makeId(1), makeId(5000)]);
      await store.delete([makeId(1)]);
      await store.delete([]);
      await store.delete(["o'brien", '', '99999999999999999999', '-1', 'a,b', '{1}', '1 OR 1=1', "') OR ('1'='1"]);
      expect(await store.count()).toBe(8);
    });

    test('tells an id from one that is spelt otherwise', async () => {
      const store = await filled('contract_delete_spelt', records(9));
      const others = [`0${makeId(4)}`, ` ${makeId(4)}`, `${makeId(4)} `, `+${makeId(4)}`, `${makeId(4)}.0`];
      await store.delete(others);
      expect(await store.count()).toBe(9);
      expect((await store.fetch(others)).count).toBe(0);
    });

    test('leaves room for another record of the same id, which is then the new one alone', async () => {
      const store = await filled('contract_delete_again', records(3));
      await store.delete([makeId(1)]);
      const next = makeBatch({ ids: [makeId(1)], vectors: [vector], payloads: ['{"next":1}'], seed: 9 });
      await store.write(next, { mode: 'upsert' });
      expect(await store.count()).toBe(3);
      const found = await store.fetch([makeId(1)]);
      expect(found.count).toBe(1);
      sameRecords(found, next);
    });

    test('takes a thousand ids in one call', async () => {
      const store = await filled('contract_delete_many', records(1200));
      await store.delete(records(1000, 100).ids);
      expect(await store.count()).toBe(200);
    });

    test('in a collection that is not there is NotFound, since it may be another that was meant', async () => {
      const store = await open('contract_delete_nowhere');
      await expect(store.delete([makeId(1)])).rejects.toMatchObject({ name: 'NotFound' });
    });
  });
}
