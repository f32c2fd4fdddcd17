import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { type Batch, denseVector, sliceBatch } from '../../lib/batch.ts';
import { placeStands } from '../../lib/stores/place-stands.ts';
import { until } from '../until.ts';
import {
  built,
  catchUp,
  madeOf,
  madeSchema,
  newSize,
  readAll,
  stands,
  useInPlace,
  withMade,
} from './pgvector-in-place-world.ts';

/** A table that gets a new vector in place while others are at it: applications, long transactions, a second run. */

const { serverUrl, query, open, sides, makeTable, filledTable, lackingIn, columnsOf } = useInPlace('in_place_busy');

describe('a table that gets a new vector in place while others use it', () => {
  test('gives way to a long transaction: the application never waits longer than a try', async () => {
    const table = await makeTable(50);
    const { source, target } = await sides(table);
    const schema = await madeSchema(source);
    const holder = new pg.Client(serverUrl());
    await holder.connect();
    await holder.query(`BEGIN; SELECT count(*) FROM ${table}`);
    let longest = 0;
    let isOver = false;
    const prepared = target.prepare(schema).finally(() => {
      isOver = true;
    });
    const end = performance.now() + 1500;
    while (performance.now() < end) {
      const from = performance.now();
      await query(`UPDATE ${table} SET year = year + 1 WHERE id = 1`);
      longest = Math.max(longest, performance.now() - from);
    }
    expect(isOver).toBe(false);
    await holder.query('COMMIT');
    await holder.end();
    await prepared;
    expect(await columnsOf(table)).toHaveLength(5);
    // A try is 100 ms; the lock that nobody waits behind is waited for for 3 s.
    expect(longest).toBeLessThan(2500);
    expect((await source.describe()).count).toBe(50);
  });

  test('is not switched over a write that was under way when the switch began', async () => {
    const { table, target, schema } = await filledTable(20);
    await built(target, schema);
    const holder = new pg.Client(serverUrl());
    await holder.connect();
    await holder.query(`BEGIN; UPDATE ${table} SET title = 'under way 9' WHERE id = 9`);
    const moved = Promise.resolve(target.pointer?.move('embedding', stands)).catch((error: unknown) => String(error));
    const waiting = `SELECT pid FROM pg_locks WHERE relation = '${table}'::regclass AND NOT granted`;
    await until(async () => (await query(waiting)).length > 0, 'the switch that waits for it');
    await holder.query('COMMIT');
    await holder.end();
    expect(await moved).toMatch(/1 record lacks .*\(9\).*nothing was switched/);
    expect((await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 7`))[0]).toEqual({
      text: '[7,1,2,3]',
    });
  });

  /** An application that changes titles without a pause until readers see the new vector, and what it met. */
  const beBusy = async (table: string, rows: number) => {
    const application = new pg.Client(serverUrl());
    await application.connect();
    const met = { writes: 0, longestMs: 0 };
    const work = async (): Promise<void> => {
      for (;;) {
        const id = 1 + (met.writes % rows);
        const seen = await application.query(`SELECT vector_dims(embedding) AS size FROM ${table} WHERE id = ${id}`);
        if (seen.rows[0]?.size === newSize) return;
        const begun = performance.now();
        await application.query(`UPDATE ${table} SET title = 'changed ' || ${1000 + met.writes++} WHERE id = ${id}`);
        met.longestMs = Math.max(met.longestMs, performance.now() - begun);
      }
    };
    const ended = work().finally(async () => await application.end());
    return { met, ended };
  };
  const modelTaking = (ms: number) => async (lacking: Batch) => {
    await new Promise((next) => setTimeout(next, ms));
    return withMade(lacking);
  };

  test('is switched though its texts change all the time: writers wait for the last few vectors', async () => {
    const { table, target, schema } = await filledTable(100);
    await built(target, schema);
    const { met, ended } = await beBusy(table, 100);
    await until(() => met.writes >= 20, 'the twentieth write');
    await expect(target.pointer?.move('embedding', stands)).rejects.toMatchObject({ name: 'StoreUnavailable' });
    // On a busy machine a writer may keep the table for longer than a try, and then for all of them: it is tried again, as a run does.
    await until(async () => {
      try {
        await target.pointer?.moveFilled?.('embedding', stands, modelTaking(300));
        return true;
      } catch (error) {
        expect(error).toMatchObject({ name: 'StoreUnavailable', retryable: true });
        return false;
      }
    }, 'the switch');
    await ended;
    expect(await target.pointer?.read('embedding')).toBe(stands);
    expect(await lackingIn(table, 'embedding')).toEqual([]);
    expect(met.longestMs).toBeGreaterThan(40);
    // One write may have waited for the switch, and its row has the vector of the text before it.
    const { ids, payloads, vectors } = await readAll(target);
    const column = vectors.get('embedding');
    if (column?.kind !== 'dense') throw new Error('no vectors');
    const stale = ids.filter((_, at) => {
      const made = madeOf(JSON.parse(payloads[at] ?? '{}').title);
      return made.some((value, i) => value !== denseVector(column, at)[i]);
    });
    expect(stale.length).toBeLessThanOrEqual(1);
  });

  test('is not kept from its writers by a model that takes long, nor switched without what it lacks', async () => {
    const { table, target } = await filledTable(20);
    await query(`UPDATE ${table} SET title = 'other 77' WHERE id = 7`);
    let isAnswered = false;
    let isWritten = false;
    let isAsked = false;
    // It answers once a writer that came after it was asked has gone on.
    const late = target.pointer?.moveFilled?.('embedding', stands, async (lacking) => {
      isAsked = true;
      await until(() => isWritten, 'the write');
      isAnswered = true;
      return withMade(lacking);
    });
    const refused = expect(late).rejects.toMatchObject({ name: 'StoreUnavailable', ids: ['7'] });
    await until(() => isAsked, 'the question');
    await query(`UPDATE ${table} SET year = 2000 WHERE id = 1`);
    expect(isAnswered).toBe(false);
    isWritten = true;
    await refused;
    // It is paid for: whoever tries next finds it kept.
    expect(isAnswered).toBe(true);
    expect(await target.pointer?.read('embedding')).toBe(placeStands.old);
    expect(await lackingIn(table, (await columnsOf(table)).find((each) => each.includes('__vecferry_')) ?? '')).toEqual(
      [7],
    );
    const nothing = target.pointer?.moveFilled?.('embedding', stands, async (batch) =>
      sliceBatch(withMade(batch), 0, 0),
    );
    await expect(nothing).rejects.toMatchObject({ name: 'StoreUnavailable', ids: ['7'] });
    expect(await target.pointer?.read('embedding')).toBe(placeStands.old);
  });

  test('is filled by two at once and switched by two at once, as it would be by one', async () => {
    const table = await makeTable(1500);
    const { source, target } = await sides(table);
    const other = await open(table);
    const schema = await madeSchema(source);
    const exported = await readAll(source);
    await Promise.all([target.prepare(schema), other.prepare(schema)]);
    const made = withMade(exported);
    await Promise.all([target.write(made, { mode: 'upsert' }), other.write(made, { mode: 'upsert' })]);
    while ((await catchUp(target)) > 0);
    await Promise.all([target.pointer?.move('embedding', stands), other.pointer?.move('embedding', stands)]);
    expect(await lackingIn(table, 'embedding')).toEqual([]);
    expect(await columnsOf(table)).toHaveLength(5);
    await Promise.all([
      target.pointer?.move('embedding', placeStands.old),
      other.pointer?.move('embedding', placeStands.old),
    ]);
    expect((await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 7`))[0]).toEqual({
      text: '[7,1,2,3]',
    });
  });

  test('never waits for a row that somebody has locked, so that nobody is caught in a deadlock with it', async () => {
    const table = await makeTable(100);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    await target.prepare(await madeSchema(source));
    const holder = new pg.Client(serverUrl());
    await holder.connect();
    await holder.query(`BEGIN; UPDATE ${table} SET year = 7 WHERE id = 30`);
    // Else it would not come back while the row is locked.
    await target.write(withMade(exported), { mode: 'upsert' });
    await holder.query('COMMIT');
    await holder.end();
    const [, , , , made = ''] = await columnsOf(table);
    expect(await lackingIn(table, `"${made}"`)).toEqual([30]);
    expect(await catchUp(target)).toBe(1);
  });

  test('is filled no faster than was asked for, by however many', async () => {
    const table = await makeTable(300);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    await target.prepare(await madeSchema(source));
    const slow = await Promise.all([0, 1].map(() => open(table, {}, { rowsPerSecond: 100 })));
    const half = (from: number): Batch => withMade(sliceBatch(exported, from, from + 150));
    const begun = performance.now();
    await Promise.all(slow.map((each, at) => each.write(half(at * 150), { mode: 'upsert' })));
    const seconds = (performance.now() - begun) / 1000;
    expect(seconds).toBeGreaterThan(2.9);
    expect(await catchUp(target)).toBe(0);
  });

  test('takes away what a build of its index that was ended has left, without a lock that readers feel', async () => {
    const { table, target, schema } = await filledTable(50);
    // A build waits for older snapshots, and is ended there.
    const holder = new pg.Client(serverUrl());
    await holder.connect();
    await holder.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ${table}`);
    await target.buildIndex(schema);
    const isBuilding = `SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%"${table}"%' AND state = 'active'`;
    await until(async () => (await query(isBuilding)).length > 0, 'the build');
    for (const { pid } of await query(isBuilding)) await query(`SELECT pg_terminate_backend(${pid})`);
    const invalid = `SELECT count(*)::int AS count FROM pg_index WHERE indrelid = '${table}'::regclass AND NOT indisvalid`;
    await until(async () => (await query(isBuilding)).length === 0, 'the end of the build');
    expect((await query(invalid))[0]).toEqual({ count: expect.any(Number) });
    expect((await query(invalid))[0]?.['count']).toBeGreaterThan(0);
    await holder.query('COMMIT');
    await holder.end();
    const again = await open(table);
    await built(again, schema);
    expect((await query(invalid))[0]).toEqual({ count: 0 });
  });

  test('builds its indexes one after the other, since two would wait for each other until the server ends one', async () => {
    const { table, target, schema } = await filledTable(50);
    const holder = new pg.Client(serverUrl());
    await holder.connect();
    await holder.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ${table}`);
    // As a state that watches does: one index that waits is stalled, so it is called again.
    const second = await open(table);
    for (const each of [target, second, target]) await each.buildIndex(schema);
    const builds = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%"${table}"%' AND state = 'active'`;
    expect((await query(builds))[0]).toEqual({ count: 1 });
    expect(await target.indexProgress(schema)).toMatchObject({ done: false, isStalled: true });
    await holder.query('COMMIT');
    await holder.end();
    await built(target, schema);
  });
});
