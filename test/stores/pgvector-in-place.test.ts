import { describe, expect, test } from '@jest/globals';
import { type Batch, denseVector, hasVector } from '../../lib/batch.ts';
import { placeStands } from '../../lib/stores/place-stands.ts';
import {
  built,
  catchUp,
  madeOf,
  madeSchema,
  newSize,
  oldSize,
  readAll,
  stands,
  useInPlace,
  withMade,
} from './pgvector-in-place-world.ts';

/** A table that gets a new vector in place, in every state between two models. */

const { query, open, sides, makeTable, filledTable, indexesOf, lackingIn, columnsOf } = useInPlace('in_place');

const text = (size: number, of: (at: number) => number): string =>
  `[${Array.from({ length: size }, (_, at) => of(at)).join(',')}]`;

describe('a table that gets a new vector in place', () => {
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
    const types = [`vector(${newSize})`, 'real[]', 'double precision[]', `halfvec(${newSize})`];
    for (const [at, type] of types.entries()) {
      const table = `fill_${at}`;
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
