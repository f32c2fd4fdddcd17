import type { MigrationFile } from '../port.ts';

/** What a linter says of one place of a file, and how it is done safely. */
export interface LintFinding {
  readonly path: string;
  readonly line: number;
  /** Its name, to be switched off by: `adding-required-field`. */
  readonly rule: string;
  /** error: locks or loses; warning: may, on a large table. */
  readonly level: 'error' | 'warning';
  readonly message: string;
  /** Expand, backfill, contract: the steps that do the same without harm. */
  readonly safeSteps: readonly string[];
}

/** What is not safe practice in these SQL files. @throws InvalidEvent where one is no SQL. */
export async function lintFiles(_files: readonly MigrationFile[]): Promise<readonly LintFinding[]> {
  throw new Error('lintFiles is not there yet');
}
