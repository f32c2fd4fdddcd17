import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { until } from '../until.ts';

/**
 * An application that knows nothing of vecferry: it reads the nearest rows by the column that it has always read, inserts
 * rows, changes texts and counters, deletes. It leaves the vector of a text that it writes empty, for a job to fill.
 */
export interface TableApplication {
  readonly counts: Record<'read' | 'seen' | 'insert' | 'text' | 'delete', number>;
  /** Longest that each took, in milliseconds. */
  readonly longest: Record<keyof TableApplication['counts'], number>;
  readonly failures: string[];
  /** Dimensions that readers found, in the order in which they changed. */
  readonly sizes: number[];
  /** Waits for a look at the dimensions that began after the call: a busy process may have made none since. */
  hasLooked(): Promise<void>;
  stop(): Promise<void>;
}

export interface ApplicationOptions {
  readonly url: string;
  readonly table: string;
  /** Milliseconds between two writes of a text, each insert, change or deletion. */
  readonly textEveryMs: number;
}

export async function startApplication({ url, table, textEveryMs }: ApplicationOptions): Promise<TableApplication> {
  const none = { read: 0, seen: 0, insert: 0, text: 0, delete: 0 };
  const counts = { ...none };
  const longest = { ...none };
  const failures: string[] = [];
  const sizes: number[] = [];
  const looks = { begun: 0, ended: 0 };
  let isOver = false;

  const timed = async (kind: keyof typeof none, work: () => Promise<unknown>): Promise<void> => {
    const from = performance.now();
    try {
      await work();
    } catch (error) {
      failures.push(`${kind}: ${String(error)}`);
    }
    longest[kind] = Math.max(longest[kind], performance.now() - from);
    counts[kind] += 1;
  };
  const loop = async (work: (client: pg.Client, turn: number) => Promise<void>, everyMs: number): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    for (let turn = 0; !isOver; turn++) {
      await work(client, turn);
      await sleep(everyMs);
    }
    await client.end();
  };

  const loops = [
    // One statement sees one state: rows of two dimensions in it would be a switch that is half done.
    loop(async (client) => {
      const look = ++looks.begun;
      await timed('read', async () => {
        const { rows } = await client.query(
          `SELECT DISTINCT vector_dims(embedding) AS size FROM ${table} WHERE embedding IS NOT NULL`,
        );
        if (rows.length > 1) failures.push(`readers found ${rows.length} dimensions at once`);
        const [{ size } = { size: 0 }] = rows;
        if (sizes.at(-1) !== size) sizes.push(size);
      });
      looks.ended = look;
    }, 5),
    loop(async (client) => {
      await timed('read', async () => {
        const nearest = `SELECT id FROM ${table} WHERE embedding IS NOT NULL ORDER BY embedding <=> (SELECT embedding FROM ${table} WHERE embedding IS NOT NULL LIMIT 1) LIMIT 10`;
        if ((await client.query(nearest)).rows.length !== 10) failures.push('fewer than ten were found');
      });
    }, 5),
    loop(async (client) => {
      await timed('seen', () =>
        client.query(
          `UPDATE ${table} SET seen = seen + 1 WHERE id IN (SELECT id FROM ${table} ORDER BY random() LIMIT 3)`,
        ),
      );
    }, 3),
    loop(async (client, turn) => {
      const any = `(SELECT id FROM ${table} ORDER BY random() LIMIT 1)`;
      const kind = (['insert', 'text', 'delete'] as const)[turn % 3] ?? 'insert';
      const statements = {
        insert: `INSERT INTO ${table} (id, text) VALUES ('new-${turn}', 'the river and the town number ${turn}')`,
        text: `UPDATE ${table} SET text = 'a house of wood number ${turn}', embedding = NULL WHERE id = ${any}`,
        delete: `DELETE FROM ${table} WHERE id = ${any}`,
      };
      await timed(kind, () => client.query(statements[kind]));
    }, textEveryMs),
  ];
  return {
    counts,
    longest,
    failures,
    sizes,
    hasLooked: async () => {
      const { begun } = looks;
      await until(() => looks.ended > begun, 'a look of the application at its table');
    },
    stop: async () => {
      isOver = true;
      await Promise.all(loops);
    },
  };
}
