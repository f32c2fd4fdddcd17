/** One statement of a SQL file, as PostgreSQL's own parser cuts it. */
export interface SqlStatement {
  readonly text: string;
  /** Of its first character, from 1. */
  readonly line: number;
  /** The parser's name of it: `CreateStmt`, `IndexStmt`. */
  readonly kind: string;
  /** False for what PostgreSQL refuses in a transaction: CREATE INDEX CONCURRENTLY, VACUUM, CREATE DATABASE, ALTER SYSTEM … */
  readonly isTransactional: boolean;
}

/** @throws InvalidEvent naming file, line and what the parser expected. */
export async function splitStatements(_sql: string, _where: string): Promise<readonly SqlStatement[]> {
  throw new Error('splitStatements is not there yet');
}
