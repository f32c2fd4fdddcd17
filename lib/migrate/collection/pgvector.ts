import { readLayout } from '../../stores/pgvector/catalog.ts';
import type { Database } from '../../stores/pgvector/connect.ts';
import { storeError } from '../../stores/pgvector/errors.ts';
import { findTable, parseTableName } from '../../stores/pgvector/names.ts';
import { connect } from '../../stores/pgvector/open.ts';
import { planColumns, planPayloadIndexes, planVectors, type Table } from './pgvector-tables.ts';
import type { OpenPlanner } from './planner.ts';
import { openPortPlanner } from './port.ts';

/**
 * A table as a collection: columns are added, and indexes built CONCURRENTLY, beside what readers and writers do. Each statement may be
 * repeated. Anything else of a table is for a SQL migration.
 */
export const openPgvectorPlanner: OpenPlanner = async (migrated) =>
  await openPortPlanner(migrated, async (connection) => {
    const database = await connect(connection, 2);
    return {
      changesDistance: true,
      changes: async ({ draft, collection, wanted }) => {
        const { change, file } = wanted;
        const natives = new Map<string, string | undefined>();
        for (const { type } of Object.values(change.columns ?? {})) natives.set(type, await nativeOf(database, type));
        const table = await tableOf(database, collection, file.path);
        planColumns(draft, table, change, natives);
        planVectors(draft, table, change);
        planPayloadIndexes(draft, table, change);
      },
      carryOutSql: async (statements) => {
        try {
          for (const statement of statements) await runStatement(database, statement);
        } catch (error) {
          throw storeError(error, 'migrating');
        }
      },
      close: async () => await database.close(),
    };
  });

/** ALTER TABLE waits for whoever uses the table, and everybody else waits behind it: rather it gives up, and is tried again. */
const lockTimeout = '5s';

async function runStatement(database: Database, statement: string): Promise<void> {
  // What is CONCURRENTLY waits without holding anybody up, and takes no transaction.
  if (/ CONCURRENTLY /.test(statement)) await database.use(async (session) => await session.run(statement));
  else
    await database.transact(async (session) => {
      await session.run(`SET LOCAL lock_timeout = '${lockTimeout}'`);
      await session.run(statement);
    });
}

async function tableOf(database: Database, collection: string, path: string): Promise<Table> {
  const name = parseTableName(collection);
  const layout = await database.use(async (session) => {
    const oid = await findTable(session, name);
    return oid === undefined ? undefined : await readLayout(session, oid);
  });
  return { name, layout, path };
}

/** A type as the catalog writes it; undefined: this database has none of the name. to_regtype parses a type's name and nothing else. */
async function nativeOf(database: Database, type: string): Promise<string | undefined> {
  const [row] = await database.use(
    async (session) => await session.rows('SELECT to_regtype($1::text)::text AS type', [type]),
  );
  const found = row?.['type'] ?? undefined;
  const modifier = /\(.*\)/.exec(type)?.[0].replaceAll(' ', '') ?? '';
  return found === undefined ? undefined : `${found}${modifier}`;
}
