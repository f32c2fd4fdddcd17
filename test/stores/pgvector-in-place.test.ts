/** Over 400 lines: one table in every state between two models, and who else may be at it meanwhile. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { type Batch, concatBatches, denseVector, hasVector, sliceBatch } from '../../lib/batch.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { InPlace, Lacking } from '../../lib/stores/place-port.ts';
import { placeStands } from '../../lib/stores/place-stands.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';
import { until } from '../until.ts';

const everything = { from: null, to: null };
const limits = { maxRecords: 500, maxBytes: 1 << 22 };
const [oldSize, newSize] = [4, 6];

describe('a table that gets a new vector in place', () => {
  let url = '';
  let drop = async (): Promise<void> => {};
  let client: pg.Client;
  const opened: Store[] = [];
  let tables = 0;

  beforeAll(async () => {
    ({ url, drop } = await makeDatabase('in_place'));
    client = new pg.Client(url);
    await client.connect();
  });
  afterAll(async () => {
    await Promise.all(opened.map((store) => store.close()));
    await client.end();
    await drop();
  });

  const query = async (sql: string): Promise<Record<string, unknown>[]> => (await client.query(sql)).rows;
  const open = async (table: string, change: Partial<InPlace> = {}, options = {}): Promise<Store> => {
    const place = {
      side: 'target',
      run: 'a-run',
      vector: undefined,
      dimension: newSize,
      fields: ['title'],
      ...change,
    };
    const store = await pgvector.open({
      connection: { url },
      collection: `public.${table}`,
      options,
      place: { records: 'all', ...place } as InPlace,
    });
    opened.push(store);
    return store;
  };
  const sides = async (table: string, change: Partial<InPlace> = {}) => ({
    source: await open(table, { ...change, side: 'source' }),
    target: await open(table, change),
  });
  const text = (size: number, of: (at: number) => number): string =>
    `[${Array.from({ length: size }, (_, at) => of(at)).join(',')}]`;
  /** A table of so many rows with an index on its vector. */
  const makeTable = async (rows: number, columns = ''): Promise<string> => {
    const table = `docs_${++tables}`;
    await query(
      `CREATE TABLE ${table} (id int PRIMARY KEY, title text, year int, embedding vector(${oldSize})${columns})`,
    );
    await query(
      `INSERT INTO ${table} SELECT i, 'title ' || i, 1900 + i % 100, ('[' || i || ',1,2,3]')::vector FROM generate_series(1, ${rows}) i`,
    );
    await query(`CREATE INDEX ${table}_idx ON ${table} USING hnsw (embedding vector_cosine_ops)`);
    return table;
  };
  const readAll = async (store: Store): Promise<Batch> => {
    const batches: Batch[] = [];
    for await (const { batch } of store.read(everything, limits)) batches.push(batch);
    return concatBatches(batches);
  };
  /** What a model would make of the titles, which no two share. */
  const madeOf = (title: string): number[] => {
    const number = Number(/\d+/.exec(title)?.[0] ?? 0);
    return Array.from({ length: newSize }, (_, at) => number + at * title.length);
  };
  const withMade = (batch: Batch): Batch => {
    const titles = batch.payloads.map((payload): string => JSON.parse(payload).title ?? '');
    const values = Float32Array.from(titles.flatMap(madeOf));
    const present = Uint8Array.from(titles, (title) => (title === '' ? 0 : 1));
    return { ...batch, vectors: new Map([['embedding', { kind: 'dense', dimension: newSize, values, present }]]) };
  };
  const madeSchema = async (source: Store): Promise<CollectionSchema> => {
    const { schema } = await source.describe();
    return { ...schema, vectors: schema.vectors.map((each) => ({ ...each, dimension: newSize, distance: 'cosine' })) };
  };
  const built = async (target: Store, schema: CollectionSchema): Promise<void> => {
    await target.buildIndex(schema);
    await until(async () => {
      const { done, isStalled = false } = await target.indexProgress(schema);
      if (isStalled) await target.buildIndex(schema);
      return done;
    }, 'the index');
  };
  const lackingOf = async (target: Store, after: string | null): Promise<Lacking> => {
    if (target.place === undefined) throw new Error('no target in place');
    return await target.place.lacking(after, 50);
  };
  const catchUp = async (target: Store): Promise<number> => {
    let [caught, after]: [number, string | null] = [0, null];
    do {
      const { batch, next }: Lacking = await lackingOf(target, after);
      if (batch.count > 0) await target.write(withMade(batch), { mode: 'upsert' });
      caught += batch.count;
      after = next;
    } while (after !== null);
    return caught;
  };
  /** A table whose new vectors are all written, and not yet indexed. */
  const filledTable = async (rows: number) => {
    const table = await makeTable(rows);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    const schema = await madeSchema(source);
    await target.prepare(schema);
    await target.write(withMade(exported), { mode: 'upsert' });
    return { table, source, target, exported, schema };
  };
  const indexesOf = async (table: string) =>
    Object.fromEntries(
      (await query(`SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '${table}' ORDER BY 1`)).map((row) => [
        row['indexname'],
        String(row['indexdef']).replace(/^.* USING /, ''),
      ]),
    );
  const lackingIn = async (table: string, column: string) =>
    (await query(`SELECT id FROM ${table} WHERE ${column} IS NULL ORDER BY id`)).map((row) => row['id']);
  const stands = placeStands.made('a-run');

  test('is filled, indexed, switched and taken back, under one name for readers', async () => {
    const table = await makeTable(1200);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    const schema = await madeSchema(source);
    expect((await target.place?.check(schema, { isNew: true, isSearched: false }))?.join('\n')).toContain(
      'ACCESS EXCLUSIVE',
    );
    await target.prepare(schema);
    await target.prepare(schema);
    expect((await source.describe()).schema.vectors.map(({ name, dimension }) => [name, dimension])).toEqual([
      ['embedding', oldSize],
    ]);
    expect(await target.write(withMade(exported), { mode: 'upsert' })).toEqual({ written: 1200 });
    await built(target, schema);
    expect(await target.pointer?.read('embedding')).toBe(placeStands.old);
    const before = await indexesOf(table);

    await target.pointer?.move('embedding', stands);
    await target.pointer?.move('embedding', stands);
    expect(await target.pointer?.read('embedding')).toBe(stands);
    expect(await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 7`)).toEqual([
      { text: `[${madeOf('title 7').join(',')}]` },
    ]);
    const after = await indexesOf(table);
    expect(after[`${table}_idx`]).toBe('hnsw (embedding vector_cosine_ops)');
    expect(Object.keys(after)).toHaveLength(3);
    // Both sides still have what they had, by the same name.
    const [old, made] = [await source.fetch(['7']), await target.fetch(['7'])];
    const vectorOf = (batch: Batch): readonly number[] => {
      const column = batch.vectors.get('embedding');
      return column?.kind === 'dense' ? [...denseVector(column, 0)] : [];
    };
    expect([vectorOf(old), vectorOf(made)]).toEqual([[7, 1, 2, 3], madeOf('title 7')]);
    const query7 = Float32Array.from(madeOf('title 7'));
    expect((await target.search({ vector: 'embedding', query: query7, k: 1 }))[0]?.id).toBe('7');

    await target.pointer?.move('embedding', placeStands.old);
    expect(await indexesOf(table)).toEqual(
      Object.fromEntries(Object.entries(before).filter(([name]) => !name.includes('lacking'))),
    );
    expect((await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 7`))[0]).toEqual({
      text: '[7,1,2,3]',
    });
  });

  test('gets no vector of a text that changed after its export, nor keeps one', async () => {
    const table = await makeTable(100);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    await target.prepare(await madeSchema(source));
    await query(`UPDATE ${table} SET title = 'other ' || id WHERE id <= 3; DELETE FROM ${table} WHERE id = 4`);
    await query(`INSERT INTO ${table} VALUES (1000, 'new 1000', 2000), (1001, NULL, 2000), (1002, '', 2000)`);
    await query(`UPDATE ${table} SET year = 1 WHERE id = 50`);
    await target.write(withMade(exported), { mode: 'upsert' });
    expect(await lackingIn(table, `"${(await columnsOf(table))[4]}"`)).toEqual([1, 2, 3, 1000, 1001, 1002]);
    await query(`UPDATE ${table} SET title = 'changed 60' WHERE id = 60; UPDATE ${table} SET year = 2 WHERE id = 61`);
    expect(await catchUp(target)).toBe(5);
    expect(await catchUp(target)).toBe(0);
    const now = await readAll(target);
    const column = now.vectors.get('embedding');
    now.payloads.forEach((payload, at) => {
      const { title } = JSON.parse(payload);
      if (column === undefined) throw new Error('no vector');
      expect(hasVector(column, at)).toBe(title !== null && title !== '');
      if (hasVector(column, at) && column.kind === 'dense') expect([...denseVector(column, at)]).toEqual(madeOf(title));
    });
  });

  async function columnsOf(table: string): Promise<string[]> {
    return (
      await query(
        `SELECT attname FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
      )
    ).map((row) => String(row['attname']));
  }

  test('says before it begins when the new index is for another operator than the application may use', async () => {
    const table = await makeTable(5);
    await query(`DROP INDEX ${table}_idx; CREATE INDEX ${table}_idx ON ${table} USING hnsw (embedding vector_l2_ops)`);
    const { source, target } = await sides(table);
    const notes = await target.place?.check(await madeSchema(source), { isNew: true, isSearched: false });
    expect(notes?.join('\n')).toMatch(/euclid \(<->\), and the new one of cosine \(<=>\)/);
  });

  test('is not switched while a row with a text lacks its vector, and says which', async () => {
    const { table, target, schema } = await filledTable(20);
    await built(target, schema);
    await query(`UPDATE ${table} SET title = 'late 5' WHERE id = 5`);
    await expect(target.pointer?.move('embedding', stands)).rejects.toThrow(
      /1 record lacks .*\(5\).*nothing was switched/,
    );
    expect(await columnsOf(table)).toContain('embedding');
    await catchUp(target);
    await target.pointer?.move('embedding', stands);
    expect(await target.pointer?.read('embedding')).toBe(stands);
  });

  test('is not switched under a view that was made since the run began, which would go on with the old column', async () => {
    const { table, target, schema } = await filledTable(5);
    await built(target, schema);
    await query(`CREATE VIEW ${table}_late AS SELECT id, embedding FROM ${table}`);
    await expect(target.pointer?.move('embedding', stands)).rejects.toThrow(
      /view .*_late uses column .*since the run began/,
    );
    expect(await target.pointer?.read('embedding')).toBe(placeStands.old);
    await query(`DROP VIEW ${table}_late`);
    await target.pointer?.move('embedding', stands);
    expect(await target.pointer?.read('embedding')).toBe(stands);
  });

  test('after the switch keeps no old vector of a text that changed, and says how many a rollback would lack', async () => {
    const { table, target } = await filledTable(20);
    await target.pointer?.move('embedding', stands);
    expect(await target.pointer?.lost?.('embedding')).toBe(0);
    await query(`UPDATE ${table} SET title = 'new 5', embedding = '${text(newSize, () => 5)}' WHERE id = 5`);
    await query(
      `INSERT INTO ${table} (id, title, year, embedding) VALUES (99, 'new 99', 1, '${text(newSize, () => 9)}')`,
    );
    await query(`UPDATE ${table} SET year = 3 WHERE id = 6`);
    expect(await target.pointer?.lost?.('embedding')).toBe(2);
    await target.pointer?.move('embedding', placeStands.old);
    expect(await lackingIn(table, 'embedding')).toEqual([5, 99]);
    // And forward again: what was added and changed is there with the vectors that the application wrote.
    await target.pointer?.move('embedding', stands);
    expect((await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 99`))[0]).toEqual({
      text: '[9,9,9,9,9,9]',
    });
  });

  test('carries NOT NULL, grants and comments of the column from one to the other', async () => {
    const table = await makeTable(20, ' NOT NULL');
    await query(`CREATE ROLE reader_${table}; GRANT SELECT (embedding) ON ${table} TO reader_${table}`);
    await query(`COMMENT ON COLUMN ${table}.embedding IS 'made by us'`);
    const { source, target } = await sides(table);
    const schema = await madeSchema(source);
    const exported = await readAll(source);
    await target.prepare(schema);
    await target.write(withMade(exported), { mode: 'upsert' });
    await target.pointer?.move('embedding', stands);
    const state = async () =>
      (
        await query(
          `SELECT attnotnull AS required, col_description(attrelid, attnum) AS comment,
             has_column_privilege('reader_${table}', attrelid, attnum, 'SELECT') AS readable
           FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attname = 'embedding'`,
        )
      )[0];
    expect(await state()).toEqual({ required: true, comment: 'made by us', readable: true });
    await expect(query(`INSERT INTO ${table} (id, title, year) VALUES (99, 'x', 1)`)).rejects.toThrow(
      /null value in column "embedding"/,
    );
    await query(
      `INSERT INTO ${table} (id, title, year, embedding) VALUES (99, 'x', 1, '${text(newSize, () => 9)}'); DELETE FROM ${table} WHERE id = 99`,
    );
    await target.pointer?.move('embedding', placeStands.old);
    expect(await state()).toEqual({ required: true, comment: 'made by us', readable: true });
    await query(`INSERT INTO ${table} VALUES (98, 'x', 1, '[1,2,3,4]')`);
    await query(`DELETE FROM ${table} WHERE id = 98`);
    // A row that was written anew since has no old vector, so the way back leaves a check, and the way forth makes it NOT NULL again.
    await target.pointer?.move('embedding', stands);
    await query(`UPDATE ${table} SET title = 'new', embedding = '${text(newSize, () => 9)}' WHERE id = 3`);
    await target.pointer?.move('embedding', placeStands.old);
    expect(await state()).toMatchObject({ required: false });
    await target.pointer?.move('embedding', stands);
    expect(await state()).toEqual({ required: true, comment: 'made by us', readable: true });
    await query(`DROP OWNED BY reader_${table}; DROP ROLE reader_${table}`);
  });

  test('is retired: the old column goes, and nothing of the run is left in the table', async () => {
    const { table, target, schema } = await filledTable(20);
    await built(target, schema);
    await expect(target.drop?.()).rejects.toThrow(/the old column is the one that readers use/);
    await target.pointer?.move('embedding', stands);
    const asked = await target.drop?.({ dryRun: true });
    expect(asked).toMatchObject({ isThere: true, name: expect.stringMatching(/^embedding__before_/) });
    expect(await columnsOf(table)).toHaveLength(5);
    await query(`CREATE VIEW ${table}_old AS SELECT "${asked?.name}" FROM ${table}`);
    await expect(target.drop?.({ dryRun: true })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/view .*_old depends on column "embedding__before_/),
    });
    await query(`DROP VIEW ${table}_old`);
    expect(await target.drop?.()).toEqual(asked);
    expect(await columnsOf(table)).toEqual(['id', 'title', 'year', 'embedding']);
    expect(await indexesOf(table)).toEqual({
      [`${table}_idx`]: 'hnsw (embedding vector_cosine_ops)',
      [`${table}_pkey`]: 'btree (id)',
    });
    expect(await query(`SELECT tgname FROM pg_trigger WHERE tgrelid = '${table}'::regclass`)).toEqual([]);
    expect(
      await query(`SELECT proname FROM pg_proc WHERE proname LIKE 'zzz_vecferry%' AND prosrc LIKE '%${table}%'`),
    ).toEqual([]);
    expect(await target.drop?.()).toMatchObject({ isThere: false });
  });

  test('gives way to a long transaction: the application never waits longer than a try', async () => {
    const table = await makeTable(50);
    const { source, target } = await sides(table);
    const schema = await madeSchema(source);
    const holder = new pg.Client(url);
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
    const holder = new pg.Client(url);
    await holder.connect();
    await holder.query(`BEGIN; UPDATE ${table} SET title = 'under way 9' WHERE id = 9`);
    const moved = Promise.resolve(target.pointer?.move('embedding', stands)).catch((error: unknown) => String(error));
    await new Promise((next) => setTimeout(next, 700));
    await holder.query('COMMIT');
    await holder.end();
    expect(await moved).toMatch(/1 record lacks .*\(9\).*nothing was switched/);
    expect((await query(`SELECT embedding::text AS text FROM ${table} WHERE id = 7`))[0]).toEqual({
      text: '[7,1,2,3]',
    });
  });

  /** An application that changes titles without a pause until readers see the new vector, and what it met. */
  const beBusy = async (table: string, rows: number) => {
    const application = new pg.Client(url);
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
    const holder = new pg.Client(url);
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

  test('sees a text that another trigger changes, and one that an upsert does', async () => {
    const table = await makeTable(10);
    await query(`CREATE FUNCTION shout_${table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.year = 1 THEN NEW.title := 'shouted ' || NEW.id; END IF; RETURN NEW; END $$;
      CREATE TRIGGER shout BEFORE UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION shout_${table}()`);
    const { source, target } = await sides(table);
    const exported = await readAll(source);
    const schema = await madeSchema(source);
    expect((await target.place?.check(schema, { isNew: true, isSearched: false }))?.join()).toContain('shout');
    await target.prepare(schema);
    await target.write(withMade(exported), { mode: 'upsert' });
    await query(`UPDATE ${table} SET year = 1 WHERE id = 3`);
    await query(
      `INSERT INTO ${table} (id, title) VALUES (4, 'put again') ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title`,
    );
    const [, , , , made = ''] = await columnsOf(table);
    expect(await lackingIn(table, `"${made}"`)).toEqual([3, 4]);
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
    const holder = new pg.Client(url);
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
    const holder = new pg.Client(url);
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

  test('refuses what would go on with the old column, or cannot be changed, with every reason', async () => {
    const table = await makeTable(5);
    await query(`CREATE VIEW ${table}_view AS SELECT id, embedding FROM ${table}`);
    await query(
      `ALTER TABLE ${table} ALTER COLUMN embedding SET DEFAULT '[1,2,3,4]', ADD CHECK (embedding <-> '[0,0,0,0]' >= 0)`,
    );
    const { source, target } = await sides(table, { fields: ['title', 'nowhere'] });
    const schema = await madeSchema(source);
    const refusal = await target.place
      ?.check(schema, { isNew: true, isSearched: false })
      .catch((error: unknown) => String(error));
    expect(refusal).toMatch(/view .*_view/);
    expect(refusal).toMatch(/constraint/);
    expect(refusal).toMatch(/default/);
    expect(refusal).toMatch(/'nowhere'/);

    const measured = await makeTable(5, ', norm float8 GENERATED ALWAYS AS (vector_norm(embedding)) STORED');
    const norms = await sides(measured);
    await expect(
      norms.target.place?.check(await madeSchema(norms.source), { isNew: true, isSearched: false }),
    ).rejects.toThrow(/column norm .*would go on with the old one/);

    const left = await makeTable(5);
    const former = await sides(left, { run: 'former' });
    await former.target.prepare(await madeSchema(former.source));
    const next = await sides(left);
    await expect(
      next.target.place?.check(await madeSchema(next.source), { isNew: true, isSearched: false }),
    ).rejects.toThrow(/left by a run in place.*retire/);

    await query(`CREATE TABLE parts (id int PRIMARY KEY, title text, embedding vector(4)) PARTITION BY RANGE (id);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)`);
    for (const part of ['parts', 'parts_1']) {
      const side = await sides(part);
      await expect(
        side.target.place?.check(await madeSchema(side.source), { isNew: true, isSearched: false }),
      ).rejects.toThrow(/partition/);
    }
  });

  test('fills a column where it is NULL and nowhere else, arrays too', async () => {
    for (const type of [`vector(${newSize})`, 'real[]', 'double precision[]', `halfvec(${newSize})`]) {
      const table = `fill_${++tables}`;
      await query(`CREATE TABLE ${table} (a text, b int, title text, embedding ${type}, UNIQUE (a, b));
        ALTER TABLE ${table} ALTER a SET NOT NULL, ALTER b SET NOT NULL`);
      const own = type.endsWith('[]') ? '{1,2,3,4,5,6}' : '[1,2,3,4,5,6]';
      await query(
        `INSERT INTO ${table} SELECT 'k' || i, i, 'title ' || i, CASE WHEN i % 2 = 0 THEN '${own}'::${type} END FROM generate_series(1, 50) i`,
      );
      const change = { records: 'missing', vector: 'embedding' } as const;
      const source = await open(table, { ...change, side: 'source' }, { key: ['a', 'b'] });
      const target = await open(table, change, { key: ['a', 'b'], rowsPerSecond: 500 });
      const { schema, count } = await source.describe();
      expect(count).toBe(25);
      expect(schema.vectors.map(({ name }) => name)).toEqual(['embedding']);
      const wanted = { ...schema, vectors: schema.vectors.map((each) => ({ ...each, dimension: newSize })) };
      expect((await target.place?.check(wanted, { isNew: true, isSearched: false }))?.[0]).toContain(
        'is filled where it is NULL',
      );
      await target.prepare(wanted);
      const exported = await readAll(source);
      expect(exported.count).toBe(25);
      expect(Object.keys(JSON.parse(exported.payloads[0] ?? ''))).toEqual(['title']);
      await query(
        `UPDATE ${table} SET title = 'changed' WHERE b = 1; UPDATE ${table} SET embedding = '${own}' WHERE b = 3`,
      );
      await target.write(withMade(exported), { mode: 'upsert' });
      await target.write(withMade(exported), { mode: 'upsert' });
      expect(await query(`SELECT b FROM ${table} WHERE embedding IS NULL`)).toEqual([{ b: 1 }]);
      expect(await catchUp(target)).toBe(1);
      const now = await readAll(target);
      const column = now.vectors.get('embedding');
      if (column?.kind !== 'dense') throw new Error('no dense vector');
      now.ids.forEach((id, at) => {
        const [, b] = JSON.parse(id);
        const title = b === 1 ? 'changed' : `title ${b}`;
        const isOwn = b % 2 === 0 || b === 3;
        expect([...denseVector(column, at)]).toEqual(isOwn ? [1, 2, 3, 4, 5, 6] : madeOf(title));
      });
      expect((await source.describe()).count).toBe(0);
    }
  });
});
