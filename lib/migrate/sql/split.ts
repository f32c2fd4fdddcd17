import { parseSql } from './parse.ts';
import { isTransactional } from './transactional.ts';

/** One statement of a SQL file, as PostgreSQL's own parser cuts it. */
export interface SqlStatement {
  readonly text: string;
  /** Of its first character, from 1; comments before it are not counted. */
  readonly line: number;
  /** The parser's name of it: `CreateStmt`, `IndexStmt`. `transactionControl` is BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their kin. */
  readonly kind: string;
  /** False for what PostgreSQL refuses in a transaction: CREATE INDEX CONCURRENTLY, VACUUM, CREATE DATABASE, ALTER SYSTEM … */
  readonly isTransactional: boolean;
}

/** The kind of BEGIN, COMMIT, ROLLBACK, SAVEPOINT, PREPARE TRANSACTION …: a migration must not hold them, for its transaction is ours. */
export const transactionControl = 'TransactionStmt';

/**
 * The statements of a SQL file, in order; a file of comments has none.
 *
 * @param where The file, as messages name it.
 * @throws InvalidEvent naming file, line, column and what the parser says; psql's commands and COPY FROM stdin are refused too.
 */
export async function splitStatements(sql: string, where: string): Promise<readonly SqlStatement[]> {
  const statements = await parseSql(sql, where);
  return await Promise.all(
    statements.map(async ({ text, line, node }) => ({
      text,
      line,
      kind: Object.keys(node)[0] ?? '',
      isTransactional: await isTransactional(text, node),
    })),
  );
}
