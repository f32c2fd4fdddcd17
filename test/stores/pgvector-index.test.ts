import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { indexStands } from '../../lib/stores/place-stands.ts';
import type { Store } from '../../lib/stores/port.ts';
import { until } from '../until.ts';
import { build, hnsw, ivfflat, made, request, useIndexes } from './pgvector-index-world.ts';

/** Another index of a vector, on a real server. */

const { serverUrl, query, close, makeTable, open, indexesOf } = useIndexes('pgvector_index');

/** Until its build says that it waits for somebody. */
async function waiting(store: Store): Promise<void> {
  const { schema } = await store.describe();
  await until(
    async () => (await store.indexProgress(schema)).detail?.includes('waits for process') === true,
    'a build that waits',
  );
}

describe('a change', () => {
  test('keeps operator class, comment and precision, and can be repeated at every step', async () => {
    await makeTable('halves', { type: 'halfvec(16)' });
    await query(`CREATE INDEX halves_idx ON halves USING ivfflat (embedding halfvec_l2_ops) WITH (lists = 5)`);
    await query(`COMMENT ON INDEX halves_idx IS 'of the page'`);
    const target = await open('halves');
    expect(await target.indexes?.now()).toMatchObject({ index: { kind: 'ivfflat', lists: 5 }, distance: 'euclid' });
    const { notes = [] } = (await target.indexes?.check({ index: hnsw }, { isNew: true })) ?? {};
    expect(notes.join('\n')).toMatch(/CONCURRENTLY[\s\S]*disk space[\s\S]*planner may use either/);
    await build(target);
    await build(target);
    expect(await target.pointer?.read('embedding')).toBe(indexStands.old);
    for (let turn = 0; turn < 2; turn++) await target.pointer?.move('embedding', made);
    expect(await indexesOf('halves')).toEqual(['halves_idx hnsw', expect.stringMatching(/__before_\w{8} ivfflat$/)]);
    const [row] = await query(
      `SELECT obj_description('halves_idx'::regclass) AS words, pg_get_indexdef('halves_idx'::regclass) AS sql`,
    );
    expect(row).toMatchObject({ words: 'of the page', sql: expect.stringContaining('halfvec_l2_ops') });
    expect(await target.indexes?.used?.({})).toMatch(/old|new/);
    for (let turn = 0; turn < 2; turn++) await target.pointer?.move('embedding', indexStands.old);
    expect(await indexesOf('halves')).toEqual(['halves_idx ivfflat']);
    await expect(target.pointer?.read('embedding')).rejects.toThrow(/start the run again under its id/);
    await build(target);
    await expect(target.drop?.()).rejects.toThrow(/nothing of table/);
    await target.pointer?.move('embedding', made);
    expect(await target.drop?.({ dryRun: true })).toMatchObject({ isThere: true });
    expect(await indexesOf('halves')).toHaveLength(2);
    const dropped = await target.drop?.();
    expect(await target.drop?.()).toMatchObject({ isThere: false, name: dropped?.name });
    expect(await indexesOf('halves')).toEqual(['halves_idx hnsw']);
  });

  test('from no index at all measures exact searches beside the new one, and a rollback takes that away', async () => {
    await makeTable('bare');
    const from = { kind: 'none' } as const;
    const [source, target] = [await open('bare', { side: 'source', from }), await open('bare', { from })];
    expect((await target.indexes?.now())?.index).toEqual(from);
    await build(target);
    const exact = await source.search({ ...request, exact: true });
    expect(await source.search(request)).toEqual(exact);
    for (let turn = 0; turn < 2; turn++) await target.pointer?.move('embedding', made);
    expect(await target.pointer?.read('embedding')).toBe(made);
    expect(await indexesOf('bare')).toEqual(['bare_embedding_hnsw hnsw']);
    expect(await target.drop?.()).toMatchObject({ isThere: false });
    await target.pointer?.move('embedding', indexStands.old);
    expect(await indexesOf('bare')).toEqual([]);
  });

  test('of an index that a run made from nothing leaves that run’s mark where it is, so that its late rollback drops no other run’s', async () => {
    await makeTable('twice');
    const none = { kind: 'none' } as const;
    const first = await open('twice', { from: none });
    await build(first);
    await first.pointer?.move('embedding', made);
    const second = await open('twice', { run: 'r2', from: hnsw, to: ivfflat });
    await build(second);
    const refused = /another run has begun since/;
    await expect(first.pointer?.move('embedding', indexStands.old)).rejects.toThrow(refused);
    await second.pointer?.move('embedding', indexStands.made('r2'));
    await expect(first.pointer?.read('embedding')).rejects.toThrow(refused);
    await expect(first.pointer?.move('embedding', indexStands.old)).rejects.toThrow(refused);
    await second.drop?.();
    await expect(first.pointer?.read('embedding')).rejects.toThrow(/is not there/);
    await first.pointer?.move('embedding', indexStands.old);
    expect(await indexesOf('twice')).toEqual(['twice_embedding_hnsw ivfflat']);
  });

  test('is built whatever the role’s settings let a query wait: a build waits for every older transaction', async () => {
    await makeTable('patient', { rows: 300 });
    await query('CREATE INDEX patient_idx ON patient USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5)');
    for (const setting of ['lock_timeout', 'statement_timeout', 'transaction_timeout'])
      await query(`ALTER DATABASE ${new URL(serverUrl()).pathname.slice(1)} SET ${setting} = '1s'`);
    const other = new pg.Client(serverUrl());
    await other.connect();
    await other.query(`SET transaction_timeout = 0`);
    await other.query(`BEGIN; UPDATE patient SET topic = 'x' WHERE id = 1`);
    const target = await open('patient');
    const { schema } = await target.describe();
    await target.buildIndex(schema);
    await waiting(target);
    // Longer than the settings let a query wait, after it began to.
    await query('SET statement_timeout = 0; SET transaction_timeout = 0; SELECT pg_sleep(1.5)');
    expect(await target.indexProgress(schema)).toMatchObject({ done: false, detail: expect.stringContaining('waits') });
    await other.query('COMMIT');
    await other.end();
    await build(target);
    expect(await indexesOf('patient')).toHaveLength(2);
    for (const setting of ['lock_timeout', 'statement_timeout', 'transaction_timeout'])
      await query(`ALTER DATABASE ${new URL(serverUrl()).pathname.slice(1)} RESET ${setting}`);
  });

  test('goes on in a server that looks after its clients, when the process that began it is gone', async () => {
    await makeTable('orphan', { rows: 300 });
    await query('CREATE INDEX orphan_idx ON orphan USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5)');
    const name = new URL(serverUrl()).pathname.slice(1);
    await query(`ALTER DATABASE ${name} SET client_connection_check_interval = '100ms'`);
    const other = new pg.Client(serverUrl());
    await other.connect();
    await other.query(`BEGIN; UPDATE orphan SET topic = 'x' WHERE id = 1`);
    const first = await open('orphan');
    await first.buildIndex((await first.describe()).schema);
    await close(first);
    await new Promise((resolve) => setTimeout(resolve, 600));
    await query(`ALTER DATABASE ${name} RESET client_connection_check_interval`);
    const target = await open('orphan');
    const { schema } = await target.describe();
    await waiting(target);
    await other.query('COMMIT');
    await other.end();
    await until(async () => (await target.indexProgress(schema)).done, 'the index');
  });

  test('is not built beside that of another run, which was planned at the same time', async () => {
    await makeTable('raced', { rows: 300 });
    await query('CREATE INDEX raced_idx ON raced USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5)');
    const [first, second] = [await open('raced'), await open('raced', { run: 'r2' })];
    for (const each of [first, second]) await each.indexes?.check({ index: hnsw }, { isNew: true });
    await build(first);
    await expect(build(second)).rejects.toThrow(/another run has begun since.*raced_embedding__vecferry_/);
    expect(await indexesOf('raced')).toHaveLength(2);
    await build(first);
  });

  test('on PGlite is made by its one connection', async () => {
    const target = await open('docs', { path: 'memory://index', from: { kind: 'none' } });
    const plain = await pgvector.open({ connection: { path: 'memory://index' }, collection: 'docs', options: {} });
    await plain.prepare({
      store: 'pgvector',
      idType: 'integer',
      key: [],
      vectors: [{ name: 'embedding', kind: 'dense', dimension: 16, distance: 'cosine', precision: 'float32' }],
      payloadIndexes: [],
      native: {},
    });
    await build(target);
    await target.pointer?.move('embedding', made);
    expect(await target.search(request)).toEqual([]);
    await target.pointer?.move('embedding', indexStands.old);
    await expect(target.search(request)).rejects.toThrow(/not there or not valid/);
    await plain.close();
  });

  test('says for whom its build waits, and a rollback ends a build that is under way', async () => {
    await makeTable('waits', { rows: 500 });
    await query('CREATE INDEX waits_idx ON waits USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5)');
    const other = new pg.Client(serverUrl());
    await other.connect();
    await other.query(`BEGIN; UPDATE waits SET topic = 'x' WHERE id = 1`);
    const target = await open('waits');
    const { schema } = await target.describe();
    await target.buildIndex(schema);
    await waiting(target);
    expect((await target.indexProgress(schema)).detail).toMatch(/idle in transaction, in a transaction for \d+ s/);
    const building = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND state = 'active'`;
    expect(await query(building)).toHaveLength(1);
    const back = target.pointer?.move('embedding', indexStands.old);
    // It is ended, and not waited for: whom it waits for goes on.
    await until(async () => (await query(building)).length === 0, 'the end of the build');
    await other.query('COMMIT');
    await other.end();
    await back;
    expect(await indexesOf('waits')).toEqual(['waits_idx ivfflat']);
  });
});

describe('a plan', () => {
  test.each([
    [
      'partial',
      `CREATE INDEX partial_p ON partial USING hnsw (embedding vector_cosine_ops) WHERE id > 5`,
      /'partial_p': an index of some rows/,
    ],
    [
      'several',
      `CREATE INDEX several_a ON several USING hnsw (embedding vector_cosine_ops); CREATE INDEX several_b ON several USING ivfflat (embedding vector_l2_ops)`,
      /several indexes, 'several_a' \(vector_cosine_ops\), 'several_b' \(vector_l2_ops\), .*index\.replaces takes its name/,
    ],
    [
      'left',
      `CREATE INDEX left__vecferry_12345678 ON "left" USING hnsw (embedding vector_cosine_ops)`,
      /'left__vecferry_12345678' was left by another run/,
    ],
  ])('refuses a table with %s indexes, and names them', async (table, sql, words) => {
    await makeTable(`"${table}"`, { rows: 50 });
    await query(sql);
    const target = await open(table);
    await expect(target.indexes?.check({ index: hnsw }, { isNew: true })).rejects.toThrow(words);
  });

  test('refuses a partitioned table, settings that pgvector does not take, and a distance that IVFFlat has not', async () => {
    await query('CREATE TABLE parts (id int PRIMARY KEY, embedding vector(16)) PARTITION BY RANGE (id)');
    const parts = await open('parts');
    await expect(parts.indexes?.check({ index: hnsw }, { isNew: true })).rejects.toThrow(/it is partitioned/);
    await makeTable('taxi', { rows: 50 });
    await query('CREATE INDEX taxi_idx ON taxi USING hnsw (embedding vector_l1_ops)');
    const taxi = await open('taxi');
    const wrong = { index: { kind: 'hnsw', m: 20, efConstruction: 30 } } as const;
    await expect(taxi.indexes?.check({ index: ivfflat }, { isNew: true })).rejects.toThrow(/no manhattan distance/);
    await expect(taxi.indexes?.check(wrong, { isNew: true })).rejects.toThrow(/less than twice m/);
  });

  test.each(['named_l2', 'vector_l2_ops'])(
    'takes one of several indexes of different operator classes where %s names it, and leaves the others alone',
    async (replaces) => {
      const table = `named_${replaces.length}`;
      await makeTable(table, { rows: 500 });
      await query(`CREATE INDEX ${table}_cosine ON ${table} USING hnsw (embedding vector_cosine_ops);
        CREATE INDEX "${table === 'named_8' ? 'named_l2' : `${table}_l2`}" ON ${table} USING ivfflat (embedding vector_l2_ops) WITH (lists = 5)`);
      const before = await query(`SELECT '${table}_cosine'::regclass::oid::text AS oid`);
      const [source, target] = [await open(table, { side: 'source', replaces }), await open(table, { replaces })];
      expect(await target.indexes?.now()).toMatchObject({ index: { kind: 'ivfflat', lists: 5 }, distance: 'euclid' });
      const { notes = [] } = (await target.indexes?.check({ index: hnsw }, { isNew: true })) ?? {};
      expect(notes.join('\n')).toMatch(/_cosine' \(vector_cosine_ops\) stays as it is/);
      await build(target);
      for (const each of [source, target]) expect(await each.search(request)).toHaveLength(5);
      for (let turn = 0; turn < 2; turn++) await target.pointer?.move('embedding', made);
      expect(await indexesOf(table)).toEqual([
        `${table}_cosine hnsw`,
        expect.stringMatching(/_l2 hnsw$/),
        expect.stringMatching(/_l2__before_\w{8} ivfflat$/),
      ]);
      expect(await target.pointer?.read('embedding')).toBe(made);
      await target.drop?.();
      expect(await indexesOf(table)).toEqual([`${table}_cosine hnsw`, expect.stringMatching(/_l2 hnsw$/)]);
      expect(await query(`SELECT '${table}_cosine'::regclass::oid::text AS oid`)).toEqual(before);
    },
  );

  test('refuses an index that is not there, and two of one operator class, whichever is named', async () => {
    await makeTable('alike', { rows: 50 });
    await query(`CREATE INDEX alike_a ON alike USING hnsw (embedding vector_cosine_ops);
      CREATE INDEX alike_b ON alike USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5)`);
    const check = async (replaces: string) =>
      await (await open('alike', { replaces })).indexes?.check({ index: hnsw }, { isNew: true });
    await expect(check('alike_b')).rejects.toThrow(/each may serve the same search/);
    await expect(check('nobody')).rejects.toThrow(
      /no index 'nobody'.*it has 'alike_a' \(vector_cosine_ops\), 'alike_b'/,
    );
  });

  test('lets indexes of some rows, and of an expression, stay beside one of the whole column', async () => {
    await makeTable('tenants', { rows: 500 });
    await query(`CREATE INDEX tenants_one ON tenants USING hnsw (embedding vector_cosine_ops) WHERE topic = 'topic 1';
      CREATE INDEX tenants_all ON tenants USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5);
      CREATE INDEX tenants_half ON tenants USING hnsw ((embedding::halfvec(16)) halfvec_l2_ops)`);
    const target = await open('tenants');
    const { notes = [] } = (await target.indexes?.check({ index: hnsw }, { isNew: true })) ?? {};
    expect(notes.join('\n')).toMatch(/'tenants_one', 'tenants_half', of some rows or of an expression, stay/);
    await build(target);
    expect(await target.search(request)).toHaveLength(5);
    await target.pointer?.move('embedding', made);
    await target.drop?.();
    expect(await indexesOf('tenants')).toEqual(['tenants_all hnsw', 'tenants_half hnsw', 'tenants_one hnsw']);
  });

  test('takes a partition whose index is its own, and refuses one whose index is a part of its parent’s', async () => {
    await makeTable('whole', { rows: 0, more: 'PARTITION BY RANGE (id)' });
    await query(`CREATE TABLE half_1 PARTITION OF whole FOR VALUES FROM (0) TO (500);
      CREATE INDEX half_1_own ON half_1 USING ivfflat (embedding vector_cosine_ops) WITH (lists = 2)`);
    const partition = await open('half_1');
    await partition.indexes?.check({ index: hnsw }, { isNew: true });
    await query(`DROP INDEX half_1_own; CREATE INDEX whole_idx ON whole USING ivfflat (embedding vector_cosine_ops)`);
    const part = await open('half_1');
    await expect(part.indexes?.check({ index: hnsw }, { isNew: true })).rejects.toThrow(
      /'half_1_embedding_idx' is a part/,
    );
  });

  test('refuses a column of bits by its type, and a connection that only reads', async () => {
    await makeTable('bits', { rows: 50 });
    await query('ALTER TABLE bits RENAME embedding TO floats; ALTER TABLE bits ADD embedding bit(16)');
    await expect((await open('bits')).indexes?.now()).rejects.toThrow(/column 'embedding' of table 'bits' is a "?bit/);
    await makeTable('standby', { rows: 50 });
    const url = new URL(serverUrl());
    url.searchParams.set('options', '-c default_transaction_read_only=on');
    const standby = await open('standby', { url: url.href });
    await expect(standby.indexes?.check({ index: hnsw }, { isNew: true })).rejects.toThrow(/leads to a replica/);
  });

  test('names an invalid index that somebody else has left, and leaves it', async () => {
    await makeTable('spoiled', { rows: 50 });
    await query('CREATE INDEX spoiled_idx ON spoiled USING hnsw (embedding vector_cosine_ops)');
    await query(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'spoiled_idx'::regclass`);
    const target = await open('spoiled', { from: { kind: 'none' } });
    const { notes = [] } = (await target.indexes?.check({ index: ivfflat }, { isNew: true })) ?? {};
    expect(notes.join('\n')).toMatch(/index 'spoiled_idx' is INVALID.*DROP INDEX CONCURRENTLY/);
    expect(await indexesOf('spoiled')).toEqual(['spoiled_idx hnsw']);
  });
});
