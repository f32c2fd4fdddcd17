import { describe, expect, test } from '@jest/globals';
import { conditionsOf } from '../../lib/filter.ts';
import { indexStands } from '../../lib/stores/place-stands.ts';
import { until } from '../until.ts';
import { build, hnsw, ivfflat, request, useIndexes } from './pgvector-index-world.ts';

/** Two indexes of one vector at once, on a real server: each search is answered by the one that it is to measure. */

const { serverUrl, query, close, makeTable, open } = useIndexes('pgvector_index_search');

const connections = async (): Promise<number> =>
  (await query(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'`))
    .length;

/** As an owner of the table has it whose database is somebody else's: RDS, Cloud SQL, Supabase and Neon give no superuser. */
async function asPlainRole(table: string, work: (url: string) => Promise<void>): Promise<void> {
  const role = `plain_${process.pid}_${table}`.slice(0, 60);
  await query(`DROP ROLE IF EXISTS "${role}"; CREATE ROLE "${role}" LOGIN`);
  await query(`ALTER TABLE ${table} OWNER TO "${role}"; GRANT CREATE ON SCHEMA public TO "${role}"`);
  try {
    const url = new URL(serverUrl());
    url.username = role;
    await work(url.href);
  } finally {
    await query(`REASSIGN OWNED BY "${role}" TO CURRENT_USER; DROP OWNED BY "${role}"; DROP ROLE "${role}"`);
  }
}

/** Scans of each index, once the connections that made them have ended: a server process tells of its scans when it does. */
async function scansOf(table: string, connectionsBefore: number): Promise<Record<string, number>> {
  await until(async () => (await connections()) <= connectionsBefore, 'the end of the connections');
  await query('SELECT pg_stat_clear_snapshot()');
  const rows = await query(
    `SELECT indexrelname AS name, idx_scan::int AS scans FROM pg_stat_user_indexes WHERE relname = '${table}' AND indexrelname NOT LIKE '%pkey'`,
  );
  return Object.fromEntries(rows.map(({ name, scans }) => [String(name), Number(scans)]));
}

const refused = /the older one of two of a kind is searched by a superuser alone: vecferry rollback r1 and/;

describe('searches of two indexes that are there at once', () => {
  test.each([
    ['of two kinds, by what each costs', ivfflat, hnsw],
    ['of one kind, by hiding the other from the planner', { kind: 'hnsw', m: 16, efConstruction: 64 } as const, hnsw],
  ])('go through their own, %s', async (_, from, to) => {
    const table = `both_${from.kind}`;
    await makeTable(table);
    const options = from.kind === 'hnsw' ? 'hnsw' : 'ivfflat';
    // Plans are made anew when we say so, and not by an autovacuum that comes in between.
    await query(`ALTER TABLE ${table} SET (autovacuum_enabled = false)`);
    await query(`CREATE INDEX ${table}_idx ON ${table} USING ${options} (embedding vector_cosine_ops)`);
    const before = await connections();
    const [source, target] = [await open(table, { side: 'source', from, to }), await open(table, { from, to })];
    await build(target);
    for (let turn = 0; turn < 7; turn++) {
      expect(await source.search(request)).toHaveLength(5);
      // Plans are made anew then, under other settings.
      if (turn === 3) await query(`ANALYZE ${table}; ALTER TABLE ${table} SET (autovacuum_enabled = false)`);
    }
    for (let turn = 0; turn < 4; turn++) expect(await target.search(request)).toHaveLength(5);
    expect((await source.tuning('embedding')).heeds).not.toEqual({});
    await Promise.all([close(source), close(target)]);
    const scans = await scansOf(table, before);
    const [own = ''] = Object.keys(scans).filter((name) => name.includes('__vecferry_'));
    // One more where a plan was made anew and its answer thrown away.
    expect(scans[`${table}_idx`]).toBeGreaterThanOrEqual(7);
    expect(scans[`${table}_idx`]).toBeLessThanOrEqual(8);
    expect(scans[own]).toBeGreaterThanOrEqual(4);
    expect(scans[own]).toBeLessThanOrEqual(5);
  });

  test.each([
    ['denser', 'hnsw', 'm = 4, ef_construction = 16', { kind: 'hnsw', m: 24, efConstruction: 64 }],
    ['sparser', 'hnsw', 'm = 24, ef_construction = 64', { kind: 'hnsw', m: 4, efConstruction: 16 }],
    ['of the same m', 'hnsw', 'm = 16, ef_construction = 32', { kind: 'hnsw', m: 16, efConstruction: 64 }],
    ['of fewer lists', 'ivfflat', 'lists = 40', { kind: 'ivfflat', lists: 5 }],
    ['of more lists', 'ivfflat', 'lists = 5', { kind: 'ivfflat', lists: 40 }],
  ] as const)(
    'of one kind are told apart by an owner who is no superuser, the new one %s: the old one is asked before, and the younger one has its searches',
    async (name, method, settings, to) => {
      const table = `plain_${name.replaceAll(' ', '_')}`;
      await makeTable(table);
      await query(
        `CREATE INDEX ${table}_idx ON ${table} USING ${method} (embedding vector_cosine_ops) WITH (${settings})`,
      );
      await query(`CREATE INDEX ON ${table} (topic)`);
      const before = await connections();
      let asked = 0;
      await asPlainRole(table, async (url) => {
        const first = await open(table, { to, url });
        const from = (await first.indexes?.now())?.index ?? { kind: 'none' };
        // Its connection would be waited for until it is idle for too long.
        await close(first);
        const [source, target] = [
          await open(table, { side: 'source', from, to, url }),
          await open(table, { from, to, url }),
        ];
        expect(await target.indexes?.check({ index: to }, { isNew: true })).toMatchObject({
          oldAsked: 'before',
          notes: expect.arrayContaining([expect.stringMatching(/is asked its queries before the new one is built/)]),
        });
        const filtered = { ...request, filter: conditionsOf({ topic: 'topic 3' }) };
        for (; asked < 3; asked++) expect(await source.search(request)).toHaveLength(5);
        await build(target);
        for (let turn = 0; turn < 4; turn++) {
          expect(await target.search(request)).toHaveLength(5);
          if (turn === 2) await query(`ANALYZE ${table}`);
        }
        expect(await target.search(filtered)).not.toHaveLength(0);
        // Beside the new one no answer of the wrong index is taken for the old one's.
        await source.search(request).then(
          () => asked++,
          (error: unknown) => expect(String(error)).toMatch(refused),
        );
        await Promise.all([close(source), close(target)]);
      });
      const scans = await scansOf(table, before);
      const [own = ''] = Object.keys(scans).filter((each) => each.includes('__vecferry_'));
      expect(scans[own]).toBeGreaterThanOrEqual(4);
      expect(scans[`${table}_idx`]).toBeGreaterThanOrEqual(asked);
    },
  );

  test('of one kind are not measured by the wrong one where an owner’s old index was built again since, and is the younger', async () => {
    await makeTable('younger');
    await query('CREATE INDEX younger_idx ON younger USING hnsw (embedding vector_cosine_ops) WITH (m = 4)');
    const before = await connections();
    await asPlainRole('younger', async (url) => {
      const from = { kind: 'hnsw', m: 4 } as const;
      const target = await open('younger', { from, to: { kind: 'hnsw', m: 24, efConstruction: 64 }, url });
      await build(target);
      expect(await target.search(request)).toHaveLength(5);
      await query('REINDEX INDEX CONCURRENTLY younger_idx');
      await close(target);
      const again = await open('younger', { from, to: { kind: 'hnsw', m: 24, efConstruction: 64 }, url });
      await expect(again.search(request)).rejects.toThrow(refused);
      // What the refusal says to do.
      await again.pointer?.move('embedding', indexStands.old);
      await build(again);
      expect(await again.search(request)).toHaveLength(5);
      await close(again);
    });
    const scans = await scansOf('younger', before);
    expect(Object.entries(scans).sort()).toEqual([
      [expect.stringContaining('__vecferry_'), 1],
      ['younger_idx', 0],
    ]);
  });
});
