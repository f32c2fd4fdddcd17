import { InvalidEvent } from '../errors.ts';
import type { MigrationFile } from './port.ts';
import { type ParsedStatement, parseSql } from './sql/parse.ts';
import { sqlParts } from './sql/parts.ts';
import type { Standing } from './standing.ts';

/** A file that was mended while the first of its statements stand already: it may be gone on with where those are as they were. */

/** The same on every machine, as the checksum is: git may give line ends as \r\n. */
export const isSameText = (one: string | undefined, other: string | undefined): boolean =>
  one?.replaceAll('\r\n', '\n') === other?.replaceAll('\r\n', '\n');

/**
 * True where `statements`, those of `file`, begin with what stands: those before the one to go on with. Where the history does not say
 * what one was, its file must be as it was. Their text counts and not the checksum alone, since variables may have other values by now.
 */
export function followsOn(
  statements: readonly ParsedStatement[],
  file: MigrationFile,
  { statement, entry, said = [] }: Standing,
): boolean {
  return Array.from({ length: statement - 1 }, (_, i) => said[i] ?? '').every((text, i) => {
    const now = statements[i];
    if (text === '') return file.checksum === entry.checksum;
    return isSameText(text, now?.text) || (isSetting.test(text) && isSetting.test(now?.text ?? ''));
  });
}

/** A setting ends with its session, so nothing of it stands: one that was too low may be raised. */
const isSetting = /^(re)?set\s/i;

/** Numbers of SQL files of which a part is applied, and which still begin with that part. */
export async function followingFiles(
  files: readonly MigrationFile[],
  standings: ReadonlyMap<number, Standing>,
): Promise<ReadonlySet<number>> {
  const following = new Set<number>();
  for (const file of files) {
    const standing = standings.get(file.number);
    const isBegun = standing?.state === 'pending' && standing.statement > 1;
    if (!isBegun || file.kind !== 'sql') continue;
    const statements = await parseSql(sqlParts(file.text, file.path).up, file.path).catch((error: unknown) => {
      if (!(error instanceof InvalidEvent)) throw error;
      // What is no SQL is told, with its line, before anything of it runs: it is mended first.
      return undefined;
    });
    if (statements === undefined || followsOn(statements, file, standing)) following.add(file.number);
  }
  return following;
}
