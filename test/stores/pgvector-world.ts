import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from '@jest/globals';
import type { Database, Row } from '../../lib/stores/pgvector/connect.ts';
import { connect } from '../../lib/stores/pgvector/open.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { ResolvedConnection, Store } from '../../lib/stores/port.ts';
import { makeDatabase } from '../servers/database.ts';

/** A database of a test file's own, and what its tests ask of it past the store. */
export interface DatabaseWorld {
  /** There once the tests run. */
  readonly connection: () => ResolvedConnection;
  readonly database: () => Database;
  /** Of a server. */
  readonly url: () => string;
  readonly run: (sql: string) => Promise<void>;
  readonly rows: (sql: string) => Promise<readonly Row[]>;
  /** The first column of the first row. */
  readonly scalar: (sql: string) => Promise<string | null | undefined>;
  /** A store that is closed after the tests; `as` is another way into the same database. */
  readonly open: (collection: string, options?: unknown, as?: ResolvedConnection) => Promise<Store>;
}

/** Makes it before the tests around this call, and drops it after them. */
export function useDatabase(
  name: string,
  { where = 'a server', connections = 2 }: { readonly where?: string; readonly connections?: number } = {},
): DatabaseWorld {
  let connection: ResolvedConnection = {};
  let database: Database;
  let drop = async (): Promise<void> => {};
  const opened: Store[] = [];
  beforeAll(async () => {
    if (where === 'PGlite') connection = { path: mkdtempSync(join(tmpdir(), `vecferry-${name}-`)) };
    else {
      const made = await makeDatabase(name);
      drop = made.drop;
      connection = { url: made.url };
    }
    database = await connect(connection, connections);
  });
  afterAll(async () => {
    await Promise.all(opened.map((store) => store.close()));
    await database.close();
    await drop();
  });
  const rows: DatabaseWorld['rows'] = (sql) => database.use((session) => session.rows(sql));
  return {
    connection: () => connection,
    database: () => database,
    url: () => connection.url ?? '',
    run: (sql) => database.use((session) => session.run(sql)),
    rows,
    scalar: async (sql) => Object.values((await rows(sql))[0] ?? {})[0],
    open: async (collection, options = {}, as = connection) => {
      const store = await pgvector.open({ connection: as, collection, options });
      opened.push(store);
      return store;
    },
  };
}
