import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { connect } from '../../lib/stores/pgvector/open.ts';
import type { ResolvedConnection, Store } from '../../lib/stores/port.ts';
import { query, useWords } from './pgvector-words.ts';

/** Where the settings that tuning chose are kept, for whom, and what is said where they are not. */

describe.each(['a server', 'PGlite'])('settings of a search in %s', (where) => {
  const { open, run, rows, connection, url, hnsw, ivfflatInstead, countOf } = useWords('pgvector_keep', where);

  test('PostgreSQL has no place for a table’s settings, so the application is told the words, and they work', async () => {
    await hnsw();
    const store = await open();
    const { kept, how } = await store.keepSearch('embedding', { efSearch: 120, iterativeScan: true });
    expect(kept).toBe(false);
    expect(how).toContain('SET hnsw.ef_search = 120; SET hnsw.iterative_scan = strict_order');
    expect(how).toContain("ALTER ROLE <the application's role> SET hnsw.ef_search = 120");
    await ivfflatInstead();
    const { how: words } = await store.keepSearch('embedding', { probes: 7, iterativeScan: true });
    expect(words).toContain('SET ivfflat.probes = 7; SET ivfflat.iterative_scan = relaxed_order');
    const [, sets = ''] = /^(.*?) --/.exec(`${how.split(' --')[0]}; ${words}`) ?? [];
    const fresh = await connect(connection(), 1);
    await fresh.use(async (session) => {
      await session.rows(`SELECT '[1]'::vector::text`);
      await session.run(sets);
      expect(
        await session.rows(`SELECT current_setting('hnsw.ef_search') AS a, current_setting('ivfflat.probes') AS b`),
      ).toEqual([{ a: '120', b: '7' }]);
      await session.run('RESET ALL');
    });
    await fresh.close();
  });

  test('where the options ask for it, a database keeps the settings for every new session, and for ours that are open', async () => {
    await hnsw();
    const store = await open('words', { keepSearch: 'database' });
    const plain = await open();
    const before = await plain.tuning('embedding');
    const wanted = { efSearch: 120, iterativeScan: true };
    const dry = await store.keepSearch('embedding', wanted, { dryRun: true });
    expect(dry).toEqual(await plain.keepSearch('embedding', wanted));
    const { kept, how } = await store.keepSearch('embedding', wanted);
    expect(kept).toBe(where === 'a server');
    const [standing] = await rows('SELECT count(*)::text AS count FROM pg_db_role_setting');
    if (where === 'PGlite') {
      // PGlite takes ALTER DATABASE without a word, and starts as if it had not been said.
      expect(how).toMatch(/PGlite.*SET hnsw.ef_search = 120/);
      expect([standing, await store.tuning('embedding')]).toEqual([{ count: '0' }, before]);
      return;
    }
    expect((await store.tuning('embedding')).current).toEqual(wanted);
    // Without iterative scans an HNSW index hands over as many as efSearch.
    await store.keepSearch('embedding', { iterativeScan: false });
    expect(await countOf(store, 200)).toBe(120);
    expect(await countOf(store, 200, { efSearch: 50 })).toBe(50);
    expect(await newSession('SET enable_seqscan = off')).toEqual({ efSearch: '120', found: 120 });
    const again = await store.keepSearch('embedding', { efSearch: 60 });
    const back = (said: string): string => said.split('To take it back: ')[1] ?? '';
    await run(back(again.how));
    expect((await newSession()).efSearch).toBe('120');
    await run(back(how));
    expect((await newSession()).efSearch).toBe('40');
    expect((await store.tuning('embedding')).current).toEqual(before.current);
  });

  const newSession = async (first = ''): Promise<{ efSearch: unknown; found: number }> => {
    const client = new pg.Client(url());
    await client.connect();
    await client.query(first);
    const select = `SELECT id FROM words ORDER BY embedding <-> '[${query.join(',')}]' LIMIT 200`;
    const found = (await client.query(select)).rows.length;
    const shown = await client.query('SHOW hnsw.ef_search');
    await client.end();
    return { efSearch: shown.rows[0]['hnsw.ef_search'], found };
  };

  test('nothing is kept where the endpoint, the role or the connection would hide it', async () => {
    if (where === 'PGlite') return;
    await hnsw();
    const own = await open('words', { keepSearch: 'database', efSearch: 20 });
    expect(await own.keepSearch('embedding', { efSearch: 120 })).toMatchObject({
      kept: false,
      how: expect.stringMatching(/options say efSearch.*SET hnsw.ef_search = 120/),
    });
    const other = `${url()}?options=-c%20hnsw.ef_search%3D30`;
    const store = await open('words', { keepSearch: 'database' }, { url: other });
    expect(await store.keepSearch('embedding', { efSearch: 120 })).toMatchObject({
      kept: false,
      how: expect.stringMatching(/connection sets hnsw.ef_search.*SET hnsw.ef_search = 120/),
    });
    expect((await store.tuning('embedding')).current.efSearch).toBe(30);
    expect(await rows('SELECT setconfig::text FROM pg_db_role_setting')).toEqual([]);
  });

  test('a role keeps them for its own sessions alone; who may not alter it is told what to grant', async () => {
    if (where === 'PGlite') return;
    await hnsw();
    const [app, other] = [`app_${process.pid}`, `other_${process.pid}`];
    await run(`CREATE ROLE ${app} LOGIN PASSWORD 'x'; CREATE ROLE ${other} LOGIN PASSWORD 'x';
      GRANT SELECT ON words TO ${app}, ${other}`);
    const as = (role: string): ResolvedConnection => ({ ...connection(), user: role, password: 'x' });
    const openAs = (role: string, keepSearch: string): Promise<Store> => open('words', { keepSearch }, as(role));
    try {
      // An administrator keeps it for the application, and searches as the application does from now on.
      const admin = await open('words', { keepSearch: `role:${app}` });
      expect((await admin.keepSearch('embedding', { efSearch: 90 })).kept).toBe(true);
      expect((await admin.tuning('embedding')).current.efSearch).toBe(90);
      expect(await countOf(admin, 200)).toBe(90);
      const current = async (store: Store) => (await store.tuning('embedding')).current.efSearch;
      expect(await current(await openAs(app, `role:${app}`))).toBe(90);
      expect(await current(await openAs(other, `role:${other}`))).toBe(40);
      expect(await current(await open())).toBe(40);
      // A role may alter itself.
      expect((await (await openAs(other, `role:${other}`)).keepSearch('embedding', { efSearch: 70 })).kept).toBe(true);
      const mine = (await openAs(other, `role:${app}`)).keepSearch('embedding', { efSearch: 80 });
      await expect(mine).rejects.toMatchObject({
        name: 'AccessDenied',
        message: expect.stringMatching(/ADMIN OPTION.*CREATEROLE/),
      });
      // A setting of the role goes before the database's.
      const hidden = await (await openAs(other, 'database')).keepSearch('embedding', { efSearch: 80 });
      expect(hidden).toMatchObject({ kept: false, how: expect.stringMatching(/the role or the connection sets/) });
      await run(
        `ALTER ROLE ${other} IN DATABASE ${(await rows('SELECT current_database()::text AS name'))[0]?.['name']} RESET ALL`,
      );
      const owned = (await openAs(other, 'database')).keepSearch('embedding', { efSearch: 80 });
      await expect(owned).rejects.toMatchObject({
        name: 'AccessDenied',
        message: expect.stringMatching(/ALTER DATABASE.*owner of database.*GRANT/),
      });
      const nobody = await open('words', { keepSearch: 'role:nobody_there' });
      await expect(nobody.keepSearch('embedding', { efSearch: 80 })).rejects.toMatchObject({ name: 'NotFound' });
    } finally {
      await run(`DROP OWNED BY ${app}, ${other}; DROP ROLE ${app}, ${other}`);
    }
    await expect(open('words', { keepSearch: 'table' })).rejects.toMatchObject({ name: 'InvalidEvent' });
  });
});
