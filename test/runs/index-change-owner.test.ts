import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { reportSchema } from '../../lib/report/report-schema.ts';
import { makeDatabase } from '../servers/database.ts';
import { startSearching } from './search-application.ts';
import { vecferryProcess } from './vecferry-process.ts';

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

test('HNSW becomes denser HNSW by an owner who is no superuser, killed while the old one is asked: both are measured, the old one before the build, and no query of an application fails', async () => {
  await client.query(`CREATE TABLE docs (id bigint PRIMARY KEY, topic text, n int, embedding vector(32))`);
  await client.query(`INSERT INTO docs SELECT i, 'topic ' || i % 10, 0, array_agg(random())::real[]::vector
    FROM generate_series(1, 8000) i, generate_series(1, 32) GROUP BY i`);
  await client.query(
    `CREATE INDEX docs_idx ON docs USING hnsw (embedding vector_cosine_ops) WITH (m = 4, ef_construction = 8);
     ALTER TABLE docs OWNER TO ${role}`,
  );
  const url = new URL(database.url);
  url.username = role;
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-owner-'));
  const vecferry = vecferryProcess(directory, 'r1');
  const start = [
    'run',
    JSON.stringify({
      source: { store: 'pgvector', connection: { url: url.href }, collection: 'public.docs' },
      target: { into: 'place' },
      index: { to: { kind: 'hnsw', m: 24, efConstruction: 96 } },
      validate: { recall: { queries: 120, atLeast: 0.5, search: { efSearch: 100 }, depths: [] } },
    }),
    '--run',
    'r1',
  ];
  const application = await startSearching({ url: database.url, table: 'docs' });
  stopping.push(application.stop);

  await vecferry.killWhen(start, 'before', 1);
  const kept = readFileSync(vecferry.objects('before/00000.json'), 'utf8');
  const told = await vecferry.run(...start);
  // What was asked before it was killed is not asked again.
  expect(readFileSync(vecferry.objects('before/00000.json'), 'utf8')).toBe(kept);
  expect(told).toMatch(/validated/i);
  const report = reportSchema.parse(JSON.parse(readFileSync(vecferry.objects('report.json'), 'utf8')));
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
  const again = reportSchema.parse(JSON.parse(readFileSync(vecferry.objects('report.json'), 'utf8')));
  expect(again.recall?.sets[0]?.source.measured).toBe(true);

  await vecferry.run('rollback', 'r1');
  expect(await indexesOf('docs')).toEqual(['docs_idx m=4 ef_construction=8']);
  await application.stop();
  expect(application.failures).toEqual([]);
}, 600_000);
