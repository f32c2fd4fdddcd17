import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/**
 * An application that knows nothing of vecferry: it searches a table by its vectors, with a filter and without, and inserts rows,
 * moves vectors, counts and deletes, all the time.
 */
export interface SearchApplication {
  readonly counts: Record<SearchWork, number>;
  /** Longest that each took, in milliseconds. */
  readonly longest: Record<SearchWork, number>;
  readonly failures: string[];
  stop(): Promise<void>;
}

type SearchWork = 'search' | 'filtered' | 'insert' | 'move' | 'count' | 'delete';

export async function startSearching({ url, table }: { url: string; table: string }): Promise<SearchApplication> {
  const none = { search: 0, filtered: 0, insert: 0, move: 0, count: 0, delete: 0 };
  const counts = { ...none };
  const longest = { ...none };
  const failures: string[] = [];
  let isOver = false;

  const loop = async (
    everyMs: number,
    work: (query: (sql: string) => Promise<number>, turn: number) => SearchWork | [SearchWork, Promise<number>],
  ): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    for (let turn = 0; !isOver; turn++) {
      const from = performance.now();
      let kind: SearchWork = 'search';
      try {
        const [name, running] = [work(async (sql) => (await client.query(sql)).rows.length, turn)].flat() as [
          SearchWork,
          Promise<number>,
        ];
        kind = name;
        const found = await running;
        // What a filter leaves of an index's answer may be nothing.
        if (kind === 'search' && found === 0) failures.push('nothing was found');
      } catch (error) {
        failures.push(`${kind}: ${String(error)}`);
      }
      longest[kind] = Math.max(longest[kind], performance.now() - from);
      counts[kind] += 1;
      await sleep(everyMs);
    }
    await client.end();
  };

  const near = (id: number): string => `(SELECT embedding FROM ${table} WHERE id >= ${id} ORDER BY id LIMIT 1)`;
  const someId = (): number => Math.floor(Math.random() * 90_000);
  const nearest = (where: string): string =>
    `SELECT id FROM ${table} ${where} ORDER BY embedding <=> ${near(someId())} LIMIT 10`;
  const loops = [
    loop(2, (query) => ['search', query(nearest(''))]),
    loop(5, (query) => ['filtered', query(nearest(`WHERE topic = 'topic ${Math.floor(Math.random() * 10)}'`))]),
    loop(4, (query, turn) => {
      const id = someId();
      const statements: readonly (readonly [SearchWork, string])[] = [
        [
          'insert',
          `INSERT INTO ${table} (id, topic, n, embedding) VALUES (${1_000_000 + turn}, 'topic 1', 0, ${near(id)})`,
        ],
        ['move', `UPDATE ${table} SET embedding = ${near(someId())} WHERE id = ${id}`],
        ['count', `UPDATE ${table} SET n = n + 1 WHERE id BETWEEN ${id} AND ${id + 3}`],
        ['delete', `DELETE FROM ${table} WHERE id = ${id}`],
      ];
      const [kind, sql] = statements[turn % statements.length] ?? ['count', 'SELECT 1'];
      return [kind, query(sql)];
    }),
  ];
  return {
    counts,
    longest,
    failures,
    stop: async () => {
      isOver = true;
      await Promise.all(loops);
    },
  };
}
