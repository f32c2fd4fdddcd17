import { beforeAll, beforeEach, expect } from '@jest/globals';
import type { Condition } from '../../lib/filter.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { SearchSettings } from '../../lib/schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { type DatabaseWorld, useDatabase } from './pgvector-world.ts';

/** A table that is large enough that the planner takes its index by itself, as it would for an application. */

export const dimension = 64;
const records = 4000;
const clusters = 40;
/**
 * Of the 40 candidates that a search keeps by default one or two pass. Half as many topics, and the planner would take the
 * vector's index though there is one on the topic; twice as many, and it would read the whole table even without.
 */
const topics = 33;
export const onTopic: readonly Condition[] = [{ kind: 'in', field: 'topic', values: [3] }];

/** Vectors around 40 centres, and a topic that has nothing to do with them. */
function makeRows(): { readonly values: readonly string[]; readonly queries: readonly Float32Array[] } {
  const random = seededRandom(4);
  const around = (centre: Float32Array): Float32Array => centre.map((each) => each + 1.6 * (random() - 0.5));
  const centres = Array.from({ length: clusters }, () =>
    Float32Array.from({ length: dimension }, () => random() - 0.5),
  );
  const pick = (): Float32Array => around(centres[Math.floor(random() * clusters)] ?? new Float32Array(dimension));
  const values = Array.from(
    { length: records },
    (_, at) => `(${at + 1}, ${Math.floor(random() * topics)}, '[${pick().join(',')}]')`,
  );
  return { values, queries: Array.from({ length: 40 }, pick) };
}
export const { values, queries } = makeRows();
export const query = queries[0] ?? new Float32Array(dimension);

/** The database with the table in it, without an index at the begin of each test. */
export function useWords(name: string, where: string) {
  const world: DatabaseWorld = useDatabase(name, { where });
  const { run } = world;
  beforeAll(async () => {
    await run(`CREATE TABLE words (id int PRIMARY KEY, topic int NOT NULL, embedding vector(${dimension}) NOT NULL);
      INSERT INTO words VALUES ${values.join(', ')}`);
  });
  beforeEach(async () => {
    await run('DROP INDEX IF EXISTS words_index, words_topic');
  });
  const open = (collection = 'words', options: unknown = {}, as = world.connection()): Promise<Store> =>
    world.open(collection, options, as);
  const index = (using: string): Promise<void> =>
    run(`CREATE INDEX words_index ON words USING ${using}; ANALYZE words`);
  const hnsw = () => index('hnsw (embedding vector_l2_ops) WITH (m = 6, ef_construction = 16)');
  const ivfflat = () => index('ivfflat (embedding vector_l2_ops) WITH (lists = 50)');
  /** Recall@10 over all queries, and hits a query. */
  const measure = async (
    store: Store,
    settings: SearchSettings = {},
    filter: readonly Condition[] = [],
  ): Promise<{ recall: number; hits: number }> => {
    let [right, wanted, hits] = [0, 0, 0];
    for (const query of queries) {
      const request = { vector: 'embedding', query, k: 10, filter };
      const nearest = new Set((await store.search({ ...request, exact: true })).map(({ id }) => id));
      const found = await store.search({ ...request, settings });
      expect(found.map(({ score }) => score)).toEqual(found.map(({ score }) => score).sort((a, b) => a - b));
      right += found.filter(({ id }) => nearest.has(id)).length;
      wanted += nearest.size;
      hits += found.length;
    }
    return { recall: right / wanted, hits: hits / queries.length };
  };
  const countOf = async (store: Store, k: number, settings: SearchSettings = {}): Promise<number> =>
    (await store.search({ vector: 'embedding', query, k, settings })).length;

  const ivfflatInstead = async (): Promise<void> => {
    await run('DROP INDEX words_index');
    await ivfflat();
  };
  return { ...world, open, index, hnsw, ivfflat, ivfflatInstead, measure, countOf };
}
