import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Batch } from '../../lib/batch.ts';
import type { Report } from '../../lib/report/report-schema.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { VectorIndex } from '../../lib/schema.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { makeDatabase } from '../servers/database.ts';
import { qdrantUrl } from '../servers/urls.ts';
import { binary, built, coarse, indexed, records, schema, vector, weakGraph } from '../stores/qdrant-recipes.ts';
import { type EndpointInput, endpointIn, type Runs, startRuns } from './world.ts';

/**
 * Each cause is made to happen in a real store, and a whole run finds it named; beside it a run in which it is not the
 * cause, and is not named.
 */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

/** Validates two collections, and says the causes of each finding. */
async function causesOf(
  source: EndpointInput,
  target: EndpointInput,
  recall: Record<string, unknown> = {},
  more: Record<string, unknown> = {},
): Promise<{ names: readonly string[]; report: Report }> {
  const { report, outcome } = await runs.run({
    mode: 'validate',
    source,
    target,
    ...more,
    validate: { spotCheck: 0, recall: { queries: 100, k: 10, depths: [], ...recall } },
  });
  if (report === undefined) throw new Error(`no report: ${JSON.stringify(outcome)}`);
  if (report.failure !== null) throw new Error(`the run failed: ${report.failure.message}`);
  return { names: report.findings.flatMap(({ causes }) => causes.map(({ cause }) => cause)), report };
}

async function post(method: string, path: string, body: unknown): Promise<void> {
  const response = await fetch(`${await qdrantUrl()}/collections/${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
}

describe('Qdrant', () => {
  const batch = records();
  const filled = async (name: string, options: Record<string, unknown>, all: Batch = batch): Promise<EndpointInput> => {
    const endpoint = { ...(await endpointIn(runs, 'qdrant', name)), options };
    await built(await runs.seed(endpoint, schema, all));
    return endpoint;
  };
  const bare = ({ options: _, ...endpoint }: EndpointInput): EndpointInput => endpoint;
  const onTenth = { sets: [{ name: 'a tenth', sample: 100, filter: { tenth: 3 } }] };
  let source: EndpointInput;
  let weak: EndpointInput;
  beforeAll(async () => {
    // Below the full scan threshold every search is exact.
    source = await filled('causes_source', {});
    weak = await filled('causes_weak', weakGraph);
  });

  test('a clean copy that is searched exactly has no finding, and so no cause', async () => {
    const { names, report } = await causesOf(source, await filled('causes_clean', {}));
    expect([report.verdict, names]).toEqual(['validated', []]);
  });

  test('efSearch too low, and nothing else, where the graph has few links', async () => {
    const { names, report } = await causesOf(source, weak);
    expect(names).toEqual(['efSearch too low']);
    expect(report.findings[0]?.causes[0]?.what).toMatch(/efSearch is 24/);
    expect(report.findings[0]?.next).toMatch(/vecferry tune/);
  });

  test('quantized without rescoring, where vectors are in few bytes', async () => {
    const { names, report } = await causesOf(source, await filled('causes_coarse', coarse), {
      search: { efSearch: 512 },
    });
    expect(names).toEqual(['quantized without rescoring']);
    expect(report.findings[0]?.causes[0]?.evidence).toMatch(/With rescore, oversampling 4, recall@10 .* goes from/);
  });

  test('oversampling too low, where a bit stands for a float and too few hits are rescored; tuning then goes as far as it takes', async () => {
    const target = await filled('causes_binary', binary);
    const { names, report } = await causesOf(source, target, { atLeast: 0.9, tune: true });
    expect([report.verdict, names]).toEqual(['unproven', ['oversampling too low']]);
    const [cause] = report.findings[0]?.causes ?? [];
    expect(cause?.what).toMatch(/ranked again by the whole vectors: oversampling is 1\.$/);
    expect(cause?.evidence).toMatch(/With oversampling 64, recall@10 .* goes from/);
    const chosen = report.tuning?.[0]?.chosen ?? {};
    expect(chosen.oversampling).toBeGreaterThan(8);
    const search = { efSearch: 1000, oversampling: 64 };
    const far = await causesOf(source, target, { atLeast: 0.9, search });
    expect([far.report.verdict, far.names]).toEqual(['validated', []]);
  });

  test('a clean copy in strict mode that takes no exact count, exact search or large page is validated all the same', async () => {
    const guarded = await filled('causes_guarded', {});
    const limits = { enabled: true, search_allow_exact: false, max_query_limit: 50 };
    await post('PATCH', guarded.collection, { strict_mode_config: limits });
    for (const [one, other] of [
      [guarded, source],
      [source, guarded],
    ] as const) {
      const { names, report } = await causesOf(one, other);
      expect([report.verdict, names]).toEqual(['validated', []]);
      expect(report.counts).toMatchObject({ source: 3000, target: 3000 });
    }
  });

  test('payload index missing, by the field that is filtered on', async () => {
    const { names, report } = await causesOf(source, weak, onTenth);
    expect(names).toEqual(['payload index missing']);
    expect(report.findings[0]?.causes[0]?.what).toMatch(/no payload index on tenth, which the searches filter by\.$/);
    const lost = await causesOf(await filled('causes_indexed_source', indexed), weak, onTenth);
    expect(lost.report.findings[0]?.causes[0]?.what).toMatch(/The source has one on tenth\./);
  });

  test('not a payload index where it is there, though the same searches miss their goal', async () => {
    // Fewer links than weakGraph has: with those a search of ten candidates comes within chance of the goal.
    const hnsw = { ...weakGraph.hnsw, m: 4, efConstruction: 8 };
    const target = await filled('causes_indexed', { ...weakGraph, hnsw, ...indexed });
    const { names, report } = await causesOf(source, target, { ...onTenth, search: { efSearch: 10 } });
    expect(report.verdict).not.toBe('validated');
    expect(names).not.toContain('payload index missing');
  });

  test('payload index missing, in the store’s own words where it refuses to search without', async () => {
    const target = await filled('causes_strict', weakGraph);
    await post('PATCH', target.collection, {
      strict_mode_config: { enabled: true, unindexed_filtering_retrieve: false },
    });
    const { names, report } = await causesOf(source, bare(target), onTenth);
    expect(names).toEqual(['payload index missing']);
    expect(report.findings[0]?.causes[0]?.evidence).toMatch(/Index required but not found for "tenth"/);
  });

  test('index not built, where building is off since a graph of few links was made', async () => {
    const target = await filled('causes_off', weakGraph);
    await post('PATCH', target.collection, { optimizers_config: { indexing_threshold: 0 } });
    const { names, report } = await causesOf(source, bare(target));
    expect(names[0]).toBe('index not built');
    expect(report.findings[0]?.causes[0]?.what).toMatch(/index building is off/);
  });

  const lengths = (isUnit: boolean): Batch => {
    const made = records();
    const column = made.vectors.get('');
    if (column?.kind !== 'dense') throw new Error('the vectors are dense');
    const values = column.values.slice();
    for (let at = 0; at < made.count; at++) {
      const own = values.subarray(at * 64, at * 64 + 64);
      const scale = (isUnit ? 1 : 0.2 * 25 ** ((at % 17) / 16)) / Math.hypot(...own);
      own.forEach((value, i) => {
        own[i] = value * scale;
      });
    }
    return { ...made, vectors: new Map([['', { ...column, values }]]) };
  };
  const ranking = async (distance: 'cosine' | 'dot' | 'euclid', isUnit: boolean): Promise<EndpointInput> => {
    const endpoint = await endpointIn(runs, 'files', `causes_${distance}`);
    if (distance !== 'cosine') Object.assign(endpoint, await endpointIn(runs, 'qdrant', `causes_${distance}`));
    const own = makeSchema({ vectors: [{ ...vector, distance }] });
    await runs.seed(endpoint, own, lengths(isUnit));
    return endpoint;
  };

  test('not normalised, and another distance, where the source ranks by cosine and lengths differ', async () => {
    const { names, report } = await causesOf(await ranking('cosine', false), await ranking('dot', false));
    expect(names).toEqual(['not normalised', 'other distance']);
    expect(report.findings[0]?.causes[0]?.what).toMatch(/ranks by dot, .* lengths from 0\.2 to 5\.$/);
    const euclid = await causesOf(await ranking('cosine', false), await ranking('euclid', false));
    expect(euclid.names).toContain('other distance');
  });

  test('neither where every length is 1: the searches find the same', async () => {
    for (const distance of ['dot', 'euclid'] as const) {
      const { names, report } = await causesOf(await ranking('cosine', true), await ranking(distance, true));
      expect([report.verdict, names]).toEqual(['validated', []]);
    }
  });

  test('range missing, by its first and last id, and as why searches miss too', async () => {
    const target = await filled('causes_range', {});
    const gone = batch.ids.slice(1000, 1800).map(Number);
    await post('POST', `${target.collection}/points/delete?wait=true`, { points: gone });
    const parallel = { shardMiB: 0.1 };
    const { report } = await causesOf(source, bare(target), {}, { parallel });
    const found = report.findings.flatMap(({ check, causes }) => causes.map(({ cause }) => [check, cause]));
    expect(found).toEqual([
      ['compare', 'range missing'],
      ['recall', 'range missing'],
    ]);
    const [compared] = report.findings.filter(({ check }) => check === 'compare');
    expect(compared?.causes[0]?.what).toMatch(/800 records from id 1000 to id 1799 \(shards \d+-\d+ to \d+-\d+\)/);
    expect(compared?.next).toMatch(/^Write these records from the source/);
  });

  test('no range where as many are missing here and there', async () => {
    const target = await filled('causes_scattered', {});
    const gone = batch.ids.filter((_, at) => at % 4 === 1).map(Number);
    await post('POST', `${target.collection}/points/delete?wait=true`, { points: gone });
    const { names, report } = await causesOf(source, bare(target));
    expect([report.verdict, names]).toEqual(['failed', []]);
  });
});

describe('PostgreSQL', () => {
  const dimension = 64;
  const topics = 33;
  let sql: pg.Client;
  let url = '';
  let drop = async (): Promise<void> => {};
  beforeAll(async () => {
    ({ url, drop } = await makeDatabase('causes'));
    sql = new pg.Client(url);
    await sql.connect();
    await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
    const random = seededRandom(4);
    const around = (centre: readonly number[]): number[] => centre.map((each) => each + 1.6 * (random() - 0.5));
    const centres = Array.from({ length: 40 }, () => Array.from({ length: dimension }, () => random() - 0.5));
    const rows = Array.from({ length: 4000 }, (_, at) => {
      const values = around(centres[Math.floor(random() * 40)] ?? []);
      return `(${at + 1}, ${Math.floor(random() * topics)}, '[${values.join()}]')`;
    });
    await sql.query(
      `CREATE TABLE exact (id int PRIMARY KEY, topic int NOT NULL, embedding vector(${dimension}) NOT NULL)`,
    );
    await sql.query(`INSERT INTO exact VALUES ${rows.join()}`);
  });
  afterAll(async () => {
    await sql.end();
    await runs.close();
    await drop();
    runs = await startRuns();
  });

  const table = (collection: string): EndpointInput => ({
    store: 'pgvector',
    connection: { url },
    collection,
  });
  const onTopic = { sets: [{ name: 'a topic', sample: 100, filter: { topic: 3 } }] };
  /** The same records, indexed. */
  const copy = async (...indexes: readonly string[]): Promise<EndpointInput> => {
    const name = runs.unique('words');
    await sql.query(`CREATE TABLE ${name} (LIKE exact INCLUDING CONSTRAINTS); INSERT INTO ${name} SELECT * FROM exact`);
    await sql.query(`ALTER TABLE ${name} ADD PRIMARY KEY (id)`);
    for (const each of indexes) await sql.query(`CREATE INDEX ON ${name} USING ${each}`);
    await sql.query(`ANALYZE ${name}`);
    return table(name);
  };
  const hnsw = 'hnsw (embedding vector_l2_ops) WITH (m = 6, ef_construction = 16)';

  test('efSearch too low, with an HNSW index of few links', async () => {
    const { names, report } = await causesOf(table('exact'), await copy(hnsw));
    expect(names).toEqual(['efSearch too low']);
    expect(report.findings[0]?.causes[0]?.what).toMatch(/efSearch is 40/);
  });

  test('probes too low, with an IVFFlat index', async () => {
    const target = await copy('ivfflat (embedding vector_l2_ops) WITH (lists = 50)');
    const { names, report } = await causesOf(table('exact'), target);
    expect(names).toEqual(['probes too low']);
    expect(report.findings[0]?.causes[0]?.what).toMatch(/probes is 1/);
  });

  test('filtered after the index; a payload index is missing too where the source has one, and neither once it is there', async () => {
    // With links enough that a scan which goes on finds what passes the filter.
    const linked = 'hnsw (embedding vector_l2_ops) WITH (m = 8, ef_construction = 100)';
    const filtered = await copy(linked);
    const { names } = await causesOf(table('exact'), filtered, onTopic);
    expect(names).toEqual(['filtered after the index']);
    const lost = await causesOf(await copy('btree (topic)'), filtered, onTopic);
    expect(lost.names.toSorted()).toEqual(['filtered after the index', 'payload index missing']);
    const mended = await causesOf(table('exact'), await copy(linked, 'btree (topic)'), onTopic);
    expect([mended.report.verdict, mended.names]).toEqual(['validated', []]);
  });

  test('no cause without an index, for every search is exact then', async () => {
    const { names, report } = await causesOf(table('exact'), await copy());
    expect([report.verdict, names]).toEqual(['validated', []]);
  });
});

describe('LanceDB and Chroma', () => {
  const made = (store: 'lancedb' | 'chroma', index?: VectorIndex) => {
    const name = store === 'lancedb' ? 'vector' : 'embedding';
    return { ...vector, name, distance: 'euclid' as const, ...(index && { index }) };
  };
  const filled = async (
    store: 'lancedb' | 'chroma',
    index?: VectorIndex,
    options: Record<string, unknown> = {},
  ): Promise<EndpointInput> => {
    const vectors = [made(store, index)];
    const ids = Array.from({ length: 3000 }, (_, at) => String(at));
    const endpoint = { ...(await endpointIn(runs, store, 'causes')), options };
    await runs.seed(endpoint, makeSchema({ idType: 'string', vectors }), makeBatch({ ids, vectors, seed: 3 }));
    return endpoint;
  };

  test('quantized without rescoring, with an IVF_PQ index; probes too low with IVF_FLAT', async () => {
    const source = await filled('lancedb');
    const quantized = await filled('lancedb', { kind: 'other', name: 'IVF_PQ' }, { indexFrom: 256, nprobes: 60 });
    expect((await causesOf(source, quantized)).names).toEqual(['quantized without rescoring']);
    const flat = await filled('lancedb', { kind: 'ivfflat', lists: 40 }, { indexFrom: 256, nprobes: 2 });
    expect((await causesOf(source, flat)).names).toEqual(['probes too low']);
  });

  test('efSearch too low, with a graph of few links in Chroma', async () => {
    const source = await filled('lancedb');
    const target = await filled('chroma', { kind: 'hnsw', m: 8, efConstruction: 20, efSearch: 10 });
    expect((await causesOf(source, target)).names).toEqual(['efSearch too low']);
  });
});
