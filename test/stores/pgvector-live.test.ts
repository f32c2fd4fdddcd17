import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Batch } from '../../lib/batch.ts';
import type { Store, WriteOptions } from '../../lib/stores/port.ts';
import { canonicalJson, makeBatch, makeSchema } from '../make.ts';
import { until } from '../until.ts';
import { useDatabase } from './pgvector-world.ts';

/** A PostgreSQL table into which a live run imports, while its application writes there too. */

const { open, scalar, url } = useDatabase('pgvector_live');
const prepared = async (collection: string): Promise<Store> => {
  const store = await open(collection);
  await store.prepare(makeSchema({ store: 'pgvector' }));
  return store;
};
const at = (offset: number, mode: WriteOptions['mode'] = 'upsert'): WriteOptions => ({
  position: { run: 'run', shard: '00000-000', offset },
  mode,
});
const numbered = (count: number, payload: string, first = 1): Batch => {
  const ids = Array.from({ length: count }, (_, i) => String(first + i));
  return makeBatch({ ids, payloads: ids.map(() => payload) });
};
const payloadOf = async (store: Store, id: string): Promise<string> =>
  canonicalJson((await store.fetch([id])).payloads[0] ?? '');

describe('an application writes while an importer does', () => {
  test('a batch that comes again brings back no record that was deleted since it was loaded', async () => {
    const store = await prepared('live_again');
    await store.write(numbered(5, '{"v":"old"}'), at(0, 'insert'));
    await store.delete(['2']);
    await store.write(numbered(1, '{"v":"new"}', 3), { mode: 'upsert' });
    expect(await store.write(numbered(5, '{"v":"old"}'), at(0, 'insert'))).toEqual({ written: 5 });
    expect((await store.fetch(['1', '2', '3'])).ids).toEqual(['1', '3']);
    expect(await payloadOf(store, '3')).toBe('{"v":"new"}');
    // A later start of the run loads a shard again where its records are gone: what is absent is inserted.
    await store.delete(['4', '5']);
    const later = (attempt: number): WriteOptions => ({
      position: { run: 'run', shard: '00000-000', offset: 0, attempt },
      mode: 'insert',
    });
    await store.write(numbered(5, '{"v":"old"}'), later(2));
    expect((await store.fetch(['4', '5'])).count).toBe(2);
    // An importer of the earlier start that was slow.
    await store.delete(['4']);
    await store.write(numbered(5, '{"v":"old"}'), later(1));
    expect((await store.fetch(['4'])).count).toBe(0);
    // The shard cut anew: more records from the same place. What is absent is inserted, and nothing else.
    await store.write(numbered(6, '{"v":"old"}'), later(2));
    expect(await store.count()).toBe(6);
    expect(await payloadOf(store, '3')).toBe('{"v":"new"}');
  });

  test("an application's own writes leave no row in the ledger, which would grow without end", async () => {
    const store = await prepared('live_ledger');
    for (let i = 0; i < 3; i++) await store.write(numbered(2, '{}'), { mode: 'upsert' });
    const ofTable = "FROM vecferry_ledger WHERE collection = 'live_ledger'::regclass";
    expect(await scalar(`SELECT count(*)::text ${ofTable}`)).toBe('0');
  });

  test.each(['a write', 'a delete'])('%s that the server ends for a deadlock is begun again', async (what) => {
    const store = await prepared(`live_deadlock_${what.slice(2)}`);
    const table = `live_deadlock_${what.slice(2)}`;
    const other = new pg.Client(url());
    other.on('error', () => undefined);
    await other.connect();
    let startedAt = 0;
    for (let hasGivenWay = false; !hasGivenWay; ) {
      await store.write(numbered(2, '{}'), { mode: 'upsert' });
      startedAt = performance.now();
      await other.query(`BEGIN; UPDATE ${table} SET payload = '{"other":1}' WHERE id = 2`);
      const ours =
        what === 'a write' ? store.write(numbered(2, '{"ours":1}'), { mode: 'upsert' }) : store.delete(['1', '2']);
      const blocked = `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'`;
      await until(async () => (await scalar(blocked)) !== '0', 'the store, which waits for the row');
      // Who waits first looks first whether it is a deadlock, and gives way: the store, or it is done once more.
      hasGivenWay = await other.query(`UPDATE ${table} SET payload = '{"other":1}' WHERE id = 1; COMMIT`).then(
        () => true,
        async ({ code }: pg.DatabaseError) => {
          expect(code).toBe('40P01');
          await other.query('ROLLBACK');
          return false;
        },
      );
      await ours;
    }
    await other.end();
    expect(await store.count()).toBe(what === 'a write' ? 2 : 0);
    if (what === 'a write') expect(await payloadOf(store, '1')).toBe('{"ours":1}');
    // It did come to a deadlock: the server looks for one after a second.
    expect(performance.now() - startedAt).toBeGreaterThan(800);
  });

  test('no write fails because others lock the same rows in another order', async () => {
    const [store, other] = await Promise.all([prepared('live_locks'), open('live_locks')]);
    const forth = numbered(300, '{}');
    const back = makeBatch({ ids: forth.ids.toReversed(), payloads: forth.payloads });
    await store.write(back, { mode: 'upsert' });
    const rounds = Array.from({ length: 12 }, (_, round) => [
      store.write(forth, { mode: 'upsert' }),
      other.write(back, at(round * 300)),
      other.write(back, { ...at(round * 300, 'insert'), position: { run: 'other', shard: 's', offset: round } }),
      other.delete(back.ids),
      store.delete(forth.ids.filter((_, each) => each % 3 === 0)),
    ]);
    await Promise.all(rounds.flat());
    await store.write(forth, { mode: 'upsert' });
    expect(await store.count()).toBe(300);
  });
});
