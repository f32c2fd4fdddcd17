import { appendFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { makeDatabase } from '../servers/database.ts';
import { embedText } from '../servers/embedding-models.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { readGlosses } from './glosses.ts';
import { startApplication } from './table-application.ts';
import { vecferryProcess } from './vecferry-process.ts';
import { fewQueries } from './world.ts';

/** Runs in place, as processes that are killed: definitions of WordNet in a table that an application uses all the time. */

let database: Awaited<ReturnType<typeof makeDatabase>>;
let client: pg.Client;
let server: EmbeddingServer;
beforeAll(async () => {
  database = await makeDatabase('runs_in_place');
  client = new pg.Client(database.url);
  await client.connect();
  server = await startEmbeddings({ delayMs: 40 });
});
const stopping: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const stop of stopping) await stop();
  await client.end();
  await server.close();
  await database.drop();
});

const query = async (sql: string, values: readonly unknown[] = []): Promise<Record<string, unknown>[]> =>
  (await client.query(sql, [...values])).rows;

/** A table of definitions, with a vector of the old model where it says its floats. */
async function makeTable(table: string, count: number, columns: string, floats?: number): Promise<void> {
  await query(`CREATE TABLE ${table} (${columns})`);
  const glosses = readGlosses(count);
  const vectors = await Promise.all(
    glosses.map(async ({ text }) => (floats === undefined ? null : `[${(await embedText(text, floats)).join(',')}]`)),
  );
  const values = [glosses.map(({ id }) => id), glosses.map(({ text }) => text), vectors];
  const cast = floats === undefined ? '' : '::vector';
  await query(
    `INSERT INTO ${table} (id, text${floats === undefined ? '' : ', embedding'})
     SELECT id, text${floats === undefined ? '' : `, made${cast}`} FROM unnest($1::text[], $2::text[], $3::text[]) t (id, text, made)`,
    values,
  );
}

const model = (name: string) => ({
  provider: 'openai',
  connection: { url: server.url },
  name,
  version: '1',
  dimensions: Number(name.split('-')[1]),
  maxInputTokens: 8000,
  usdPerMillionTokens: 1,
});

/** Figures of a run, for whoever asks: a file named in VECFERRY_FIGURES. */
function keepFigures(what: string, figures: unknown): void {
  const file = process.env['VECFERRY_FIGURES'];
  if (file !== undefined) appendFileSync(file, `${what} ${JSON.stringify(figures)}\n`);
}

/** Rows whose vector is not the model's of their text. */
async function wrongRows(table: string, floats: number): Promise<string[]> {
  const rows = await query(`SELECT id, text, embedding::text AS made FROM ${table} WHERE embedding IS NOT NULL`);
  const wrong: string[] = [];
  for (const { id, text: words, made } of rows) {
    const expected = await embedText(String(words), floats);
    const found = JSON.parse(String(made)) as number[];
    const isSame = found.length === floats && expected.every((value, at) => Math.abs(value - (found[at] ?? 9)) < 1e-5);
    if (!isSame) wrong.push(String(id));
  }
  return wrong;
}

/** Texts that were answered twice: a kill costs what was under way, one request each. */
function paidTwice(): number {
  return [...server.counts.embedded.values()].filter((times) => times > 1).length;
}
const oneRequest = 32;

test('an application goes on while 2,000 vectors of 100 floats become 512: the run is killed three times, switched, taken back and retired', async () => {
  await makeTable('docs', 2000, 'id text PRIMARY KEY, text text, seen int DEFAULT 0, embedding vector(100)', 100);
  await query('CREATE INDEX docs_idx ON docs USING hnsw (embedding vector_cosine_ops)');
  const vecferry = vecferryProcess(mkdtempSync(join(tmpdir(), 'vecferry-in-place-')), 'r1');
  const event = JSON.stringify({
    source: { store: 'pgvector', connection: { url: database.url }, collection: 'public.docs' },
    target: { into: 'place' },
    embed: { text: 'text', model: model('glove-512'), limits: { concurrency: 1 } },
    parallel: { shardMiB: 0.0625 },
    validate: fewQueries,
    cutover: null,
  });
  const start = ['run', event, '--run', 'r1'];
  const application = await startApplication({ url: database.url, table: 'docs', textEveryMs: 400 });
  stopping.push(application.stop);

  await application.hasLooked();
  await vecferry.killWhen(start, 'shards', 3);
  await vecferry.killWhen(start, 'texts', 1);
  await vecferry.killWhen(start, 'loaded', 2);
  expect(vecferry.kills()).toBeGreaterThan(0);
  await vecferry.run(...start);
  const waits = { ...application.longest };
  await vecferry.run('cutover', 'r1');
  await application.hasLooked();
  expect(application.sizes).toEqual([100, 512]);
  const said = await vecferry.run('rollback', 'r1');
  expect(said).toMatch(/records with a vector of the new model have none of the old one/);
  await application.hasLooked();
  await vecferry.run('cutover', 'r1');
  await application.hasLooked();
  await application.stop();

  expect(application.failures).toEqual([]);
  // Each statement of a reader saw one state: never rows of both.
  expect(application.sizes).toEqual([100, 512, 100, 512]);
  expect(await wrongRows('docs', 512)).toEqual([]);
  // Texts are embedded while shards are exported and loaded: each of the three kills may meet a request.
  expect(paidTwice()).toBeLessThanOrEqual(3 * oneRequest);
  keepFigures('application', { ...application, waits });

  const told = await vecferry.run('retire', 'r1');
  const name = /--confirm '?([^'\s]+)'?/.exec(told)?.[1] ?? '';
  expect(name).toMatch(/^embedding__before_/);
  await vecferry.run('retire', 'r1', '--confirm', name);
  const columns = `SELECT attname FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attnum > 0 AND NOT attisdropped`;
  expect((await query(columns)).map(({ attname }) => attname)).toEqual(['id', 'text', 'seen', 'embedding']);
  const indexes = await query("SELECT indexname FROM pg_indexes WHERE tablename = 'docs' ORDER BY 1");
  expect(indexes.map(({ indexname }) => indexname)).toEqual(['docs_idx', 'docs_pkey']);
}, 600_000);

test('a column of double precision[] is filled in a database without pgvector: killed three times, each text embedded once, what was there stays', async () => {
  server.counts.embedded.clear();
  const bare = await makeDatabase('runs_backfill');
  const sql = new pg.Client(bare.url);
  await sql.connect();
  try {
    await sql.query('DROP EXTENSION vector');
    await sql.query(
      'CREATE TABLE notes (part int NOT NULL, id text NOT NULL, text text, embedding double precision[], UNIQUE (part, id))',
    );
    const glosses = readGlosses(2000);
    await sql.query(
      'INSERT INTO notes (part, id, text) SELECT i % 7, id, text FROM unnest($1::text[], $2::text[]) WITH ORDINALITY t (id, text, i)',
      [glosses.map(({ id }) => id), glosses.map(({ text }) => text)],
    );
    const there = glosses.slice(0, 200);
    for (const { id, text } of there)
      await sql.query('UPDATE notes SET embedding = $2::float8[] WHERE id = $1', [
        id,
        [...(await embedText(text, 50))],
      ]);
    const versions = async () =>
      (await sql.query('SELECT id, xmin::text FROM notes WHERE id = ANY ($1) ORDER BY 1', [there.map(({ id }) => id)]))
        .rows;
    const before = await versions();

    const vecferry = vecferryProcess(mkdtempSync(join(tmpdir(), 'vecferry-backfill-')), 'b1');
    const event = JSON.stringify({
      source: {
        ...{ store: 'pgvector', connection: { url: bare.url }, collection: 'notes' },
        options: { key: ['part', 'id'] },
        model: { name: 'glove-50', version: '1' },
      },
      target: { into: 'place', options: { rowsPerSecond: 2000 } },
      embed: {
        text: 'text',
        vector: 'embedding',
        records: 'missing',
        model: model('glove-50'),
        limits: { concurrency: 1 },
      },
      parallel: { shardMiB: 0.0625 },
      validate: { recall: null },
    });
    const start = ['run', event, '--run', 'b1'];
    await vecferry.killWhen(start, 'texts', 1);
    await vecferry.killWhen(start, 'texts', 12);
    await vecferry.killWhen(start, 'loaded', 1);
    expect(vecferry.kills()).toBeGreaterThan(0);
    await sql.query(
      "INSERT INTO notes VALUES (1, 'late', 'a river in the mountains'), (2, 'empty', ''), (3, 'none', NULL)",
    );
    await vecferry.run(...start);

    const left = (await sql.query('SELECT id FROM notes WHERE embedding IS NULL ORDER BY id')).rows.map(({ id }) => id);
    expect(left).toEqual(['empty', 'none']);
    expect(await versions()).toEqual(before);
    const { rows } = await sql.query('SELECT id, text, embedding FROM notes WHERE embedding IS NOT NULL');
    for (const { text, embedding } of rows) {
      const expected = await embedText(text, 50);
      expect(embedding).toHaveLength(50);
      expect(expected.every((value, at) => Math.abs(value - embedding[at]) < 1e-5)).toBe(true);
    }
    // Glosses that stand there twice are embedded once; a kill costs the request under way.
    expect(server.counts.embedded.size).toBe(
      new Set([...glosses.slice(200).map(({ text }) => text), 'a river in the mountains']).size,
    );
    expect(paidTwice()).toBeLessThanOrEqual(3 * oneRequest);
    // Nothing is left to do: the next run of a schedule asks for nothing.
    const requests = server.counts.requests;
    await vecferry.run('run', event, '--run', 'b2');
    expect(server.counts.requests).toBe(requests);
  } finally {
    await sql.end();
    await bare.drop();
  }
}, 600_000);

test('a backfill beside rows that have vectors is searched among all of them, through the index that was there', async () => {
  await makeTable('halves', 600, 'id text PRIMARY KEY, text text, embedding vector(50)', 50);
  await query('CREATE INDEX halves_idx ON halves USING hnsw (embedding vector_cosine_ops)');
  const rest = 'id IN (SELECT id FROM halves ORDER BY md5(id) LIMIT 300)';
  await query(`UPDATE halves SET embedding = NULL WHERE ${rest}`);
  const vecferry = vecferryProcess(mkdtempSync(join(tmpdir(), 'vecferry-halves-')), 'h1');
  const event = {
    source: { store: 'pgvector', connection: { url: database.url }, collection: 'halves' },
    target: { into: 'place' },
    embed: { text: 'text', records: 'missing', model: model('glove-50') },
    validate: fewQueries,
  };
  await expect(vecferry.run('run', JSON.stringify(event), '--run', 'h0')).rejects.toThrow(
    /300 records have a vector 'embedding' of a model that is not known.*source\.model/s,
  );
  const said = { ...event, source: { ...event.source, model: { name: 'glove-50', version: '1' } } };
  await vecferry.run('run', JSON.stringify(said), '--run', 'h1');
  expect(await query('SELECT count(*)::int AS count FROM halves WHERE embedding IS NULL')).toEqual([{ count: 0 }]);
  expect(await wrongRows('halves', 50)).toEqual([]);
  const report = JSON.parse(readFileSync(vecferry.objects('report.json'), 'utf8'));
  expect(report).toMatchObject({ verdict: 'validated', compare: { records: 300, equal: 300 } });
  expect(report.recall.sets[0].target.mean).toBeGreaterThan(0.95);
  await expect(vecferry.run('cutover', 'h1')).rejects.toThrow(/nothing to cut over/);
});
