import { InvalidEvent } from '../errors.ts';
import type { MigrationFile } from './port.ts';
import { parseSql } from './sql/parse.ts';
import { sqlParts } from './sql/parts.ts';
import type { Standing } from './standing.ts';

/** A file that was mended while the first of its statements stand already: it may be gone on with where those are as they were. */

/** True where `texts` begin with the statements that stand: those before the one to go on with. */
export function followsOn(texts: readonly string[], { statement, said = [] }: Standing): boolean {
  return Array.from({ length: statement - 1 }).every((_, i) => said[i] !== '' && said[i] === texts[i]);
}

/** Numbers of SQL files that were changed since a part of them was applied, and still begin with that part. */
export async function followingFiles(
  files: readonly MigrationFile[],
  standings: ReadonlyMap<number, Standing>,
): Promise<ReadonlySet<number>> {
  const following = new Set<number>();
  for (const file of files) {
    const standing = standings.get(file.number);
    const isBegun = standing?.state === 'pending' && standing.statement > 1;
    if (!isBegun || file.kind !== 'sql' || standing.entry.checksum === file.checksum) continue;
    const statements = await parseSql(sqlParts(file.text, file.path).up, file.path).catch((error: unknown) => {
      if (!(error instanceof InvalidEvent)) throw error;
      // What is no SQL is told, with its line, before anything of it runs: it is mended first.
      return undefined;
    });
    const texts = statements?.map(({ text }) => text);
    if (texts === undefined || followsOn(texts, standing)) following.add(file.number);
  }
  return following;
}
