import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { type Report, reportSchema } from '../../lib/report/report-schema.ts';
import { makeDatabase } from '../servers/database.ts';
import { startSearching } from './search-application.ts';
import { type VecferryProcess, vecferryProcess } from './vecferry-process.ts';

/** An index becomes another one of its kind by the owner of a table whose server is somebody else's: no managed service gives a superuser. */

const role = `owner_${process.pid}`;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
beforeAll(async () => {
  database = await makeDatabase('runs_index_owner');
  client = new pg.Client(database.url);
  await client.connect();
  await client.query(`CREATE ROLE ${role} LOGIN; GRANT CREATE ON SCHEMA public TO ${role}`);
});
const stopping: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const stop of stopping) await stop();
  await client.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  await client.end();
  await database.drop();
});

async function indexesOf(table: string): Promise<string[]> {
  const { rows } = await client.query(
    `SELECT c.relname || ' ' || array_to_string(c.reloptions, ' ') AS text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = '${table}'::regclass AND m.amname <> 'btree' ORDER BY 1`,
  );
  return rows.map(({ text }) => String(text));
}

/** As the owner of the table changes its only index. */
function changeOf(table: string, to: object, recall: object, more: object = {}): readonly string[] {
  const url = new URL(database.url);
  url.username = role;
  const event = {
    source: { store: 'pgvector', connection: { url: url.href }, collection: `public.${table}` },
    target: { into: 'place' },
    index: { to: { kind: 'hnsw', ...to } },
    validate: { recall },
    ...more,
  };
  return ['run', JSON.stringify(event), '--run', 'r1'];
}

const newRun = (): VecferryProcess => vecferryProcess(mkdtempSync(join(tmpdir(), 'vecferry-owner-')), 'r1');
const reportOf = (vecferry: VecferryProcess): Report =>
  reportSchema.parse(JSON.parse(readFileSync(vecferry.objects('report.json'), 'utf8')));

test('HNSW becomes denser HNSW by an owner who is no superuser, killed while the old one is asked: both are measured, the old one before the build, and no query of an application fails', async () => {
  await client.query(`CREATE TABLE docs (id bigint PRIMARY KEY, topic text, n int, embedding vector(32))`);
  await client.query(`INSERT INTO docs SELECT i, 'topic ' || i % 10, 0, array_agg(random())::real[]::vector
    FROM generate_series(1, 8000) i, generate_series(1, 32) GROUP BY i`);
  await client.query(
    `CREATE INDEX docs_idx ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 4, ef_construction = 8);
     ALTER TABLE docs OWNER TO ${role}`,
  );
  const vecferry = newRun();
  const recall = { queries: 120, atLeast: 0.5, search: { efSearch: 100 }, depths: [] };
  const start = changeOf('docs', { m: 24, efConstruction: 96 }, recall);
  const application = await startSearching({ url: database.url, table: 'docs' });
  stopping.push(application.stop);

  await vecferry.killWhen(start, 'before', 1);
  expect(vecferry.kills()).toBe(1);
  const kept = readFileSync(vecferry.objects('before/00000.json'), 'utf8');
  const told = await vecferry.run(...start);
  // What was asked before it was killed is not asked again.
  expect(readFileSync(vecferry.objects('before/00000.json'), 'utf8')).toBe(kept);
  expect(told).toMatch(/validated/i);
  const report = reportOf(vecferry);
  expect(report.verdict).toBe('validated');
  expect(report.index).toMatchObject({ how: 'beside', oldAsked: 'before' });
  const [set] = report.recall?.sets ?? [];
  if (set?.source.measured !== true || set.target.measured !== true) throw new Error('a side was not measured');
  // Four edges a node find less than twenty-four: each side was answered by its own index.
  expect(set.source.mean).toBeLessThan(set.target.mean);
  const backup = expect.stringMatching(/^docs_idx__before_\w{8} m=4 ef_construction=8$/);
  expect(await indexesOf('docs')).toEqual(['docs_idx m=24 ef_construction=96', backup]);

  // A validation by hand holds the answers that were kept against the new one's.
  await vecferry.run('validate', 'r1');
  expect(reportOf(vecferry).recall?.sets[0]?.source.measured).toBe(true);

  await vecferry.run('rollback', 'r1');
  expect(await indexesOf('docs')).toEqual(['docs_idx m=4 ef_construction=8']);
  await application.stop();
  expect(application.failures).toEqual([]);
}, 600_000);

test('other queries than the old index was asked are not asked of it beside the new one, which may answer them, but once that was taken back', async () => {
  // So few that a search by no index at all is cheapest.
  await client.query(`CREATE TABLE few (id bigint PRIMARY KEY, embedding vector(4))`);
  await client.query(`INSERT INTO few SELECT i, array_agg(random())::real[]::vector
    FROM generate_series(1, 120) i, generate_series(1, 4) GROUP BY i`);
  await client.query(
    `CREATE INDEX few_idx ON few USING hnsw (embedding vector_cosine_ops); ALTER TABLE few OWNER TO ${role}`,
  );
  const vecferry = newRun();
  const change = async (queries: number, efSearch = 40) => {
    const recall = { queries, atLeast: 0.5, search: { efSearch }, depths: [] };
    await vecferry.run(...changeOf('few', { m: 4, efConstruction: 16 }, recall, { cutover: null }));
    return reportOf(vecferry).recall?.sets[0]?.source;
  };
  expect(await change(20)).toMatchObject({ measured: true });
  expect(await change(20, 80)).toMatchObject({ measured: true });
  expect(await change(30)).toMatchObject({
    measured: false,
    reason: expect.stringMatching(/before these queries were chosen.*vecferry rollback r1 drops it/),
  });
  await vecferry.run('rollback', 'r1');
  expect(await change(30)).toMatchObject({ measured: true });
});
